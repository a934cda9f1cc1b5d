"""The throughput benchmark: what it counts and times, on values known by hand."""

import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from uadbench import methods
from uadbench.learning import training
from uadbench.learning.training import Schedule

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "throughput.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="only a checkout has the benchmarks")


def script(path: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def throughput() -> Any:
    return script(SCRIPT)


def test_operations_and_bytes_of_a_matrix_product_are_those_by_hand(throughput: Any) -> None:
    a, b = torch.rand(8, 16), torch.rand(16, 4)
    result, work = throughput.counted(lambda: a @ b)
    assert work.flops == 2 * 8 * 16 * 4
    assert work.bytes == 4 * (8 * 16 + 16 * 4 + 8 * 4)
    torch.testing.assert_close(result, a @ b)


def test_views_cost_nothing_and_an_enlarged_tensor_its_storage(throughput: Any) -> None:
    a = torch.rand(8, 16)
    assert throughput.counted(lambda: a.T.reshape(2, 8, 8)[0].expand(5, 8, 8))[1].bytes < 4 * 3 * 128
    assert throughput.counted(lambda: a.view(128))[1].bytes == 0
    assert throughput.counted(lambda: a[:1].expand(1000, 16) + 0)[1].bytes < 4 * (2 * 128 + 1000 * 16)


def test_the_backward_pass_is_counted_too(throughput: Any) -> None:
    layer = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    image = torch.rand(2, 3, 8, 8, requires_grad=True)
    forward = 2 * 9 * 3 * 5 * 2 * 64
    _, work = throughput.counted(lambda: layer(image).sum().backward())
    assert work.flops == 3 * forward  # forward, gradient of the image, gradient of the weights


def test_the_floor_is_the_larger_of_the_two_times(throughput: Any) -> None:
    rates = {"float32": 100.0, "bf16": 400.0, "copy": 10.0}
    assert throughput.Work(flops=200, bytes=5).floor_s(rates, "float32") == 2.0
    assert throughput.Work(flops=200, bytes=5).floor_s(rates, "bf16") == 0.5
    assert throughput.Work(flops=200, bytes=50).floor_s(rates, "float32") == 5.0


def test_a_training_is_timed_without_its_warm_up_and_ends_by_the_clock(
    throughput: Any, tmp_path: Path
) -> None:
    (train, _) = throughput.Bench("cpu", "ci", 0.1, (), tmp_path).volumes("g48")
    network = nn.Linear(1, 1)
    calls = 0

    def update(batch: training.Batch, step: int) -> torch.Tensor:
        nonlocal calls
        calls += 1
        time.sleep(0.5 if calls <= throughput.WARM_UP else 0.01)
        return torch.tensor(0.0)

    with throughput.clocked(0.1, count=False) as rates:
        training.loop(
            update, {"network": network}, network, lambda: 0.0, training.Slices(train, "cpu"),
            methods.Context(folder=tmp_path), Schedule(steps=5, batch=4, learning_rate=0.0), "short",
        )  # fmt: skip
    (rate,) = rates
    assert (rate.name, rate.slices, rate.steps) == ("short", 4, 5)
    assert 0.01 <= rate.step_s < 0.1  # the slow steps are the warm-up
    assert training.loop.__module__ == "uadbench.learning.training", "the loop is put back"


@pytest.mark.thorough
def test_the_table_has_every_row_and_goes_on_where_it_was_stopped(
    throughput: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "table.md"
    arguments = [
        "--device",
        "cpu",
        "--preset",
        "ci",
        "--seconds",
        "0.02",
        "--output",
        str(output),
        "--methods",
    ]
    throughput.main([*arguments, "random"])
    throughput.main([*arguments, "random", "ae"])
    assert capsys.readouterr().out.count("random: measured") == 1

    content = json.loads(output.with_suffix(".json").read_text())
    (trained,) = content["methods"]["ae"]["training"]
    assert trained["slices_per_s"] > 0
    assert 0 < trained["share_of_floor"] < 1.5
    assert {"bf16", "contiguous", "batch x 4"} >= {k for k in trained if k in throughput.FASTER}
    assert content["methods"]["random"]["training"] == []
    assert content["methods"]["ae"]["scoring"]["batch 1"] > 0
    assert content["facts"]["hardware"]["processor"]
    assert content["loader"]["g48"]["times_fastest"] > 2
    assert content["trainer"]["overhead"] > -0.9
    text = output.read_text()
    for line in (
        "| ae | ae, 16 slices a step | g48 |",
        "| random | g96 |",
        "The loader alone",
        "not compiled",
    ):
        assert line.lower() in text.lower()
