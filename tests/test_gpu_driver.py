"""The driver of all rows on a GPU: steps, budget, resumption; here on the CPU."""

import importlib.util
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.experiment import record

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "gpu.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="only a checkout has the benchmarks")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module; what it puts into the environment goes with the test."""
    for variable in ("UADBENCH_RUNS", "UADBENCH_DATA", "UADBENCH_PHANTOM_HEALTHY"):
        monkeypatch.setenv(variable, "what the script changes")
    monkeypatch.setenv(PLUGINS_VARIABLE, str(Path(__file__).parent / "plugins"))
    spec = importlib.util.spec_from_file_location("gpu", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """Small and on the CPU, in a folder of its own."""
    return [
        "--device", "cpu", "--preset", "ci", "--limit", "2", "--dataset", "balls", "--seconds", "0.02",
        "--results", str(tmp_path / "results"), "--runs", str(tmp_path / "runs"), "--methods", "ae", "random",
    ]  # fmt: skip


class Shell:
    """Stands for the commands: notes them, and ends those that it is told to stop."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self.stops, self.commands = list(stops), list[str]()

    def __call__(self, command: Sequence[str], seconds: float) -> int | None:
        assert seconds > 0
        self.commands.append(" ".join(command[1:]))
        return None if any(stop in self.commands[-1] for stop in self.stops) else 0


def test_two_rows_are_prepared_measured_and_run(
    gpu: Any, arguments: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gpu.main(arguments)
    said = capfd.readouterr().out
    assert "all steps are done" in said, said
    assert "no record" not in said, said
    records = {r.method: r for r in record.read_records(tmp_path / "results")}
    assert set(records) == {"ae", "random"}
    assert records["ae"].hardware["device"] == "cpu"
    assert records["ae"].limit == 2
    (table,) = (tmp_path / "results" / "throughput").glob("*.md")
    assert "| ae |" in table.read_text()

    gpu.main(arguments)
    assert "$" not in capfd.readouterr().out, "what is done is not done again"


def test_a_step_that_is_stopped_is_taken_up_by_the_next_call(
    gpu: Any, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    shell = Shell(stops=["throughput.py"])
    monkeypatch.setattr(gpu, "run_for", shell)
    gpu.main(arguments)
    assert [step(command) for command in shell.commands] == ["prepare", "throughput"]
    assert "left: throughput, run balls T1; call again" in capsys.readouterr().out

    shell.stops, shell.commands = [], []
    gpu.main(arguments)
    assert [step(command) for command in shell.commands] == ["throughput", "run"]
    said = capsys.readouterr().out
    assert "all steps are done" in said
    assert "no record of run balls T1: ae, random" in said


def step(command: str) -> str:
    return "throughput" if "throughput.py" in command else command.split()[2]


def test_rows_of_a_stopped_run_that_have_a_record_are_not_run_again(
    gpu: Any, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = Shell(stops=[" run "])
    monkeypatch.setattr(gpu, "run_for", shell)
    gpu.main(arguments)
    driver = gpu.Driver(gpu.options(arguments))
    (run,) = (s for s in driver.steps() if s.kind == "run")
    made = driver.record(run, "ae")
    made.parent.mkdir(parents=True)
    made.touch()
    shell.commands = []
    gpu.main(arguments)
    assert "--method random" in shell.commands[0]
    assert "--method ae" not in shell.commands[0]

    os.utime(made, (0, 0))  # of another day: its numbers are not this campaign's
    shell.commands, shell.stops = [], []
    gpu.main(arguments)
    assert [("--force" in c, "--method ae" in c) for c in shell.commands] == [(False, False), (True, True)]


def test_rows_go_by_the_time_that_the_table_says_their_fit_takes(
    gpu: Any, arguments: list[str], tmp_path: Path
) -> None:
    rows = {"ae": [{"fit_s": 20.0}], "vae": [{"fit_s": 5.0}, {"fit_s": 6.0}], "random": []}
    content = {"facts": {"preset": "ci"}, "methods": {k: {"training": v} for k, v in rows.items()}}
    table = tmp_path / "results" / "throughput" / "x.json"
    table.parent.mkdir(parents=True)
    table.write_text(json.dumps(content))
    driver = gpu.Driver(gpu.options([*arguments, "pca", "vae"]))
    assert sorted(driver.rows, key=driver.fit_s) == ["random", "vae", "ae", "pca"]


def test_when_the_time_of_all_calls_is_spent_nothing_is_begun(
    gpu: Any, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell()
    monkeypatch.setattr(gpu, "run_for", shell)
    gpu.main([*arguments, "--total-minutes", "0.1"])
    assert shell.commands == []
    assert "are spent; not done: prepare balls T1, throughput, run balls T1" in capsys.readouterr().out


def test_patients_are_run_where_their_healthy_partner_is_there(
    gpu: Any, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = gpu.options([*arguments, "--data", f"ixi={tmp_path}", f"mslub={tmp_path}"])
    steps = [step.name for step in gpu.Driver(given).steps()]
    assert steps[3:] == ["run mslub T1", "run mslub T2"]
    assert "left out: mslub FLAIR" in capsys.readouterr().out


def test_only_the_step_that_is_named_is_done(
    gpu: Any, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = Shell()
    monkeypatch.setattr(gpu, "run_for", shell)
    gpu.main([*arguments, "--step", "throughput"])
    assert [step(command) for command in shell.commands] == ["throughput"]


def test_a_command_is_ended_when_its_time_is_over(gpu: Any) -> None:
    begun = time.monotonic()
    assert gpu.run_for([sys.executable, "-c", "import time; time.sleep(60)"], 0.5) is None
    assert gpu.run_for([sys.executable, "-c", "raise SystemExit(3)"], 60) == 3
    assert time.monotonic() - begun < 50
