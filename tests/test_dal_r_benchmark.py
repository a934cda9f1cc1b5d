"""The benchmark of dal_r's anatomy: its numbers on tensors made by hand."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "dal_r.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="only a checkout has the benchmarks")


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_hard_anatomy_leaks_nothing_of_the_image_within_a_class_and_soft_does(script: Any) -> None:
    torch.manual_seed(0)
    image, brain = torch.rand(1, 1, 32, 32), torch.ones(1, 1, 32, 32)
    soft = torch.cat([0 * image, 0.4 * image, 1 - 0.4 * image, 0 * image], 1)
    nothing = torch.zeros(1)

    def found(maps: torch.Tensor) -> Any:
        return script.Findings(np.arange(1), image, brain, maps, maps, brain, nothing, nothing)

    assert script.leak(found(soft)) == pytest.approx(1, abs=1e-6)
    assert script.leak(found(script.hard(soft))) == pytest.approx(0, abs=1e-6)
    assert script.anatomy_dice(found(soft), found(soft)) == 1
    lesion = np.zeros((32, 32, 1), bool)
    assert script.copy_rate(found(soft), lesion) is None
    lesion[4:8, 4:8] = True
    assert script.copy_rate(found(soft), lesion) == 1


def test_a_probe_finds_what_is_there_and_only_that(script: Any) -> None:
    random = np.random.default_rng(0)
    contrasts, groups = ["T1", "T2"] * 20, [i // 2 for i in range(40)]
    telling = np.array([[c == "T1"] for c in contrasts]) + 0.1 * random.normal(size=(40, 1))
    assert script.probe(telling, contrasts, groups) == 1
    assert script.probe(random.normal(size=(40, 1)), contrasts, groups) < 0.75
