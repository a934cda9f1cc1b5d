"""`import uadbench`: a dozen names, nothing heavy before they are used, and what the commands do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import uadbench
from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.experiment.config import Runtime
from uadbench.experiment.record import paths_of_records


def test_the_import_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'pandas', 'msgspec', 'typer'}"
    code = f"import sys, uadbench; print(sorted({heavy} & set(sys.modules)), 'run' in dir(uadbench))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[] True"


def test_every_public_name_is_there_and_documented() -> None:
    assert sorted(uadbench.__all__) == uadbench.__all__
    for name in uadbench.__all__:
        assert getattr(uadbench, name).__doc__, name
        assert name in (uadbench.__doc__ or "")
    assert "vae" in uadbench.methods.names()
    assert "phantom" in uadbench.datasets.names()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        uadbench.nothing  # noqa: B018


def test_a_run_is_carried_out_measured_again_and_read(runtime: Runtime) -> None:
    made = uadbench.run("brightness", "balls", runtime=runtime, preset="ci", settings={"sign": -1})
    assert made.record.variant == "ci,sign=-1.0"
    assert uadbench.evaluate(made.path, runtime=runtime).record.summary == made.record.summary
    with pytest.raises(uadbench.UserError, match="no method 'vea'; did you mean 'vae'"):
        uadbench.run("vea", "balls", runtime=runtime)
    frame = uadbench.read_records(runtime.paths.results)
    assert frame.method.tolist() == ["brightness"]
    assert frame.path.tolist() == [str(made.path)]


@pytest.mark.thorough
def test_code_that_was_edited_or_is_another_folder_s_now_is_what_runs(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a notebook, which is one process: a record names the hash of the files as they are."""
    shipped = Path(__file__).parent / "plugins"

    def auroc(folder: Path) -> float:
        monkeypatch.setenv(PLUGINS_VARIABLE, os.pathsep.join([str(folder), str(shipped)]))
        made = uadbench.run("edited", "balls", runtime=runtime, preset="ci", force=True).record
        return float(made.summary.profiles["raw"].auroc or 0)

    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        shutil.copytree(shipped / "methods/brightness", folder / "methods/edited")
    before = auroc(first)
    code = first / "methods/edited/method.py"
    code.write_text(code.read_text().replace("self.sign * volume", "-self.sign * volume"))
    after = auroc(first)
    assert before > 0.5 > after
    assert auroc(second) == before


def test_a_volume_is_as_a_method_sees_it(runtime: Runtime) -> None:
    volume = uadbench.load_volume("balls", "ball-20", runtime=runtime)
    assert isinstance(volume, uadbench.Volume)
    assert volume.image.shape == (1, *volume.brain.shape)
    assert volume.image.dtype == np.float32
    assert volume.image[0][~volume.brain].max() == 0
    with pytest.raises(uadbench.UserError, match="no session 'ball-2000' of balls; did you mean 'ball-20"):
        uadbench.load_volume("balls", "ball-2000", runtime=runtime)


def test_records_and_the_leaderboard_are_tables(results: Path) -> None:
    frame = uadbench.read_records(results)
    assert len(frame) == len(paths_of_records(results)) == 4
    assert {"method", "seed", "ap", "dsc_oracle", "path"} <= set(frame.columns)
    board = uadbench.leaderboard(results, preset="ci", resamples=0)
    assert sorted(board.method) == ["intensity", "pca", "random"]
    assert board.ap.is_monotonic_decreasing
    seeds = frame[frame.method == "random"].ap.mean()
    assert board[board.method == "random"].ap.item() == pytest.approx(seeds)
