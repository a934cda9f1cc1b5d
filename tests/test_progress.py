"""Progress in a log, and what Ctrl-C says."""

import re
import subprocess
import sys
from unittest import mock

import pytest
import typer
from typer.testing import CliRunner

from uadbench.cli import Stoppable
from uadbench.sweep.worker import Report
from uadbench.system.progress import Clock, Lines, Silent, about, duration


class Watch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    made = Watch()
    monkeypatch.setattr("uadbench.system.progress.time.monotonic", made.monotonic)
    return made


def test_a_log_gets_one_line_in_30_seconds_at_most(watch: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    with about("vae on lgg", training="vae"), lines.stage("vae", 1500) as stage:
        for _ in range(15):  # 10 steps in 4 s each
            watch.now += 4
            stage.advance(10, "loss 0.068")
    printed = capsys.readouterr()
    assert printed.out == ""
    found = printed.err.splitlines()
    assert len(found) == 2  # at 8 s and at 40 s
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d vae on lgg: training 20/1500 \(1 %\), loss 0.068, about 10 min left", found[0]
    )
    assert "training 100/1500 (6 %), loss 0.068, about 9 min left" in found[1]


def test_a_cell_of_a_sweep_gets_such_lines_too(watch: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    task = mock.Mock()
    with Report(task, "").stage("vae", 1500) as stage:
        for _ in range(15):
            watch.now += 4
            stage.advance(10, "loss 0.068")
    found = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0].split(" ", 1)[1] for line in found] == [
        "vae 20/1500 (1 %)",
        "vae 100/1500 (6 %)",
    ]
    assert task.say.call_args.args[1]["done"] == 150  # and `sweep status` is told all the while


def test_short_work_writes_nothing_into_a_log(watch: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for _ in range(3):
        with lines.stage("curves", 4) as stage:
            watch.now += 1
            stage.advance(4)
    assert capsys.readouterr().err == ""


def test_a_resumed_training_is_not_faster_than_it_is(watch: Watch) -> None:
    clock = Clock(1000)
    assert clock.left(500) == ""  # of an earlier process: nothing is known yet
    watch.now += 10
    assert clock.left(510) == "about 8 min left"
    assert clock.left(1000) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (59, "59 s"), (59.7, "1 min"), (330, "6 min"), (5400, "1.5 h"), (259200, "3.0 days")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_ctrl_c_says_where_it_stopped_and_that_the_same_command_resumes() -> None:
    app = typer.Typer(cls=Stoppable)

    @app.command()
    def work() -> None:
        with about("vae on lgg", training="vae"), Silent().stage("vae", 1500) as stage:
            stage.advance(110)
            raise KeyboardInterrupt

    @app.command()
    def read() -> None:
        raise KeyboardInterrupt

    done = CliRunner().invoke(app, ["work"])
    assert done.exit_code == 130
    assert done.stderr == "Stopped at step 110 of 1500 (vae on lgg: training); the same command resumes.\n"
    done = CliRunner().invoke(app, ["read"])
    assert (done.exit_code, done.stderr) == (130, "Stopped.\n")


def test_bars_on_a_pipe_write_no_empty_line() -> None:
    code = (
        "import time\nfrom uadbench.system.progress import Bars\n"
        "with Bars().stage('short', 3) as stage:\n    stage.advance(3)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
