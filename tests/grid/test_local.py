"""Grids on this machine, and what can happen to them; each fault befalls real processes.

`undisturbed` are the records of the same grid when nothing happens to it: after each fault the same command
has to end with exactly those.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from uadbench import record

if TYPE_CHECKING:
    from tests.grid.conftest import Arena

FATES = """
methods = ["tortoise"]
datasets = ["balls"]
presets = ["ci"]
limit = 1
variant = [
  { method = "tortoise", set = { fate = "nan" } },
  { method = "tortoise", set = { fate = "segfault" } },
]
"""


def test_a_crash_and_a_nan_take_their_own_cell_only_and_one_fit_serves_all(arena: "Arena") -> None:
    arena.describe(FATES)

    printed = arena.grid(str(arena.file), "--jobs", "2", code=1)

    assert "1 done" in printed
    assert "2 failed" in printed
    assert len(arena.records()) == 1
    assert arena.threads() == {1}
    assert arena.fits() == [1]
    reasons = {path.parent.name: path.read_text() for path in arena.results.rglob("*.failed.json")}
    assert "values that are not finite" in reasons["ci,fate=nan,limit=1"]
    assert "crashed in stage 'tortoise: score' with SIGABRT" in reasons["ci,fate=segfault,limit=1"]
    assert "Fatal Python error: Aborted" in arena.log()
    shown = " ".join(arena.grid("status", str(arena.file)).split())
    assert "3 cells: 1 done, 2 failed" in shown
    assert "log: " in shown
    again = arena.grid()
    assert "0 to carry out" in again
    assert "--retry-failed tries it again" in again


def test_two_grids_over_the_same_cells_do_each_cell_once(arena: "Arena") -> None:
    arena.describe('methods = ["tortoise"]\ndatasets = ["balls"]\npresets = ["ci"]\nlimit = 1')
    arena.hold("score")
    first, second = arena.start(str(arena.file), "--jobs", "1"), arena.start(str(arena.file), "--jobs", "1")
    arena.reached("score")
    arena.release("score")

    printed = [process.communicate()[0] for process in (first, second)]

    assert [first.returncode, second.returncode] == [0, 0], printed
    assert len(arena.records()) == 1
    assert arena.fits() == [1]
    assert arena.log().count("begun") == 1


# ---- killed ------------------------------------------------------------------------------------


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


def kill_when(arena: "Arena", moment: str) -> None:
    """Kill the tortoise's process in a stage."""
    if moment in ("fit-5", "score"):
        process = arena.reached(moment)
        arena.release(moment)
    else:
        process = arena.worker()
        wanted = {"prepare": "runs/cache/*/*.safetensors", "record": "results/*/*/*/tortoise/*/seed-0.npz"}
        arena.wait_for(lambda: list(arena.home.glob(wanted[moment])), every=0.001)
    kill(process)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["prepare", "fit-5", "score", "record"])
def test_a_worker_is_killed_and_its_cell_is_retried(
    arena: "Arena", undisturbed: dict[str, Any], moment: str
) -> None:
    if moment in ("fit-5", "score"):
        arena.hold(moment)
    process = arena.start(str(arena.file), "--jobs", "1")
    kill_when(arena, moment)
    printed, _ = process.communicate()

    assert process.returncode == 1, printed
    assert "was killed in stage" in arena.failures()["tortoise"]
    assert len(arena.records()) == 1  # the other cell
    again = arena.grid(str(arena.file), "--retry-failed")
    assert "again: tortoise" in again
    assert "before: failed, the process was killed" in again
    assert arena.records() == undisturbed
    assert not arena.failures()
    if moment == "fit-5":
        assert "training goes on after step 5" in again
    if moment in ("score", "record"):
        assert arena.fits() == [1]


@pytest.mark.slow
def test_the_whole_grid_is_killed_and_goes_on(arena: "Arena", undisturbed: dict[str, Any]) -> None:
    arena.hold("fit-5")
    process = arena.start(str(arena.file))
    worker = arena.reached("fit-5")
    kill(process.pid)
    process.communicate()
    arena.release("fit-5")
    arena.wait_for(lambda: not Path(f"/proc/{worker}").exists())  # it does not outlive the grid

    assert "1 interrupted" in arena.grid("status", str(arena.file)) or not arena.failures()
    again = arena.grid()
    assert "before: interrupted, training" in again
    assert "training goes on after step 5" in again
    assert "which is gone: taken over" in again
    assert arena.records() == undisturbed


@pytest.mark.slow
def test_ctrl_c_ends_everything_and_the_same_command_goes_on(
    arena: "Arena", undisturbed: dict[str, Any]
) -> None:
    arena.hold("fit-5")
    process = arena.start(str(arena.file))
    arena.reached("fit-5")
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate()
    arena.release("fit-5")

    assert process.returncode == 130, printed
    assert "goes on from here" in printed
    assert not arena.failures()
    assert "training goes on after step 5" in arena.grid()
    assert arena.records() == undisturbed


@pytest.mark.slow
def test_a_cell_that_takes_too_long_is_recorded_as_failed(
    arena: "Arena", undisturbed: dict[str, Any]
) -> None:
    arena.hold("score")

    printed = arena.grid(str(arena.file), "--timeout", "0.7", code=1)

    assert "took longer than 0.7 minutes (--timeout), in stage 'tortoise: score'" in printed
    assert list(arena.failures()) == ["tortoise"]
    arena.release("score")
    assert "before: failed, took longer" in arena.grid(str(arena.file), "--retry-failed")
    assert arena.records() == undisturbed


# ---- damaged files -----------------------------------------------------------------------------


def flip(path: Path, position: float = 0.5) -> None:
    """Change a byte of a file."""
    content = bytearray(path.read_bytes())
    content[int(position * (len(content) - 1))] ^= 0xFF
    path.write_bytes(content)


DAMAGE = {
    "runs/cache/g48/*.safetensors": "is damaged: prepared again",
    "runs/fits/*/state.safetensors": "the fit .* is damaged: made again",
    "runs/maps/*/*.safetensors": "the map .* is damaged: made again",
}


@pytest.mark.slow
def test_damaged_caches_are_found_and_made_again(arena: "Arena", undisturbed: dict[str, Any]) -> None:
    arena.grid()
    shutil.rmtree(arena.results)
    for pattern in DAMAGE:
        flip(max(arena.home.glob(pattern), key=lambda path: path.stat().st_size), 0.9)

    arena.grid()

    for said in DAMAGE.values():
        assert any(said.split(" .* ")[-1] in line for line in arena.log().splitlines()), said
    assert arena.records() == undisturbed


@pytest.mark.slow
def test_a_damaged_record_is_found_and_made_again(arena: "Arena", undisturbed: dict[str, Any]) -> None:
    arena.grid()
    pieces = next(arena.results.glob("*/*/*/tortoise/*/seed-0.npz"))
    flip(pieces)

    assert "its record is damaged" in arena.grid()
    assert arena.records() == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["version", "cut short", "changed"])
def test_a_checkpoint_that_cannot_be_taken_up(
    arena: "Arena", undisturbed: dict[str, Any], damage: str
) -> None:
    arena.hold("fit-5")
    process = arena.start(str(arena.file))
    arena.reached("fit-5")
    kill(process.pid)
    process.communicate()
    arena.release("fit-5")
    checkpoint = next(arena.runs.glob("fits/*/*.checkpoint"))
    if damage == "version":
        content = torch.load(checkpoint, weights_only=True)
        content["of"]["torch"] = "1.0"
        torch.save(content, checkpoint)
    elif damage == "cut short":
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    else:
        flip(checkpoint, 0.02)

    again = arena.grid()

    wanted = "another training or version (torch)" if damage == "version" else "checkpoint is damaged"
    assert wanted in again
    assert "training begins afresh" in again
    assert arena.records() == undisturbed


# ---- no space left -----------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)], capture_output=True
    )
    if made.returncode:
        pytest.skip(f"a file system cannot be mounted here: {made.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte on a disk."""
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as opened:
        try:
            while True:
                opened.write(bytes(1024))
        except OSError:
            pass
    return ballast


@pytest.mark.slow
def test_a_full_disk_while_a_checkpoint_is_written(
    arena: "Arena", undisturbed: dict[str, Any], small_disk: Path
) -> None:
    arena.runs.mkdir()
    (arena.runs / "fits").symlink_to(small_disk)
    arena.hold("fit-5")
    process = arena.start(str(arena.file))
    arena.reached("fit-5")
    ballast = fill(small_disk)
    arena.hold("fit-7")
    arena.release("fit-5")
    arena.reached("fit-7")
    ballast.unlink()
    arena.release("fit-7")
    printed, _ = process.communicate()

    assert process.returncode == 0, printed
    assert "cannot be written, training goes on without" in printed
    assert arena.records() == undisturbed


@pytest.mark.slow
def test_a_full_disk_while_a_record_is_written(
    arena: "Arena", undisturbed: dict[str, Any], small_disk: Path
) -> None:
    arena.results.symlink_to(small_disk)
    arena.hold("score")
    process = arena.start(str(arena.file))
    arena.reached("score")
    ballast = fill(small_disk)
    arena.release("score")
    printed, _ = process.communicate()

    assert process.returncode == 1, printed
    assert "No space left on device" in printed
    ballast.unlink()
    again = arena.grid(str(arena.file), "--retry-failed")
    assert "again: tortoise" in again
    assert arena.records() == undisturbed


# ---- the whole of it ---------------------------------------------------------------------------


@pytest.mark.slow
def test_force_does_everything_again_and_a_shared_fit_once(arena: "Arena") -> None:
    arena.describe(FATES.replace('"segfault"', '"other"').replace('"nan"', '"another"'))
    arena.grid()
    before = arena.records()
    times = {path: path.stat().st_mtime for path in arena.results.rglob("seed-0.json")}

    arena.grid(str(arena.file), "--force", "--jobs", "2")

    assert arena.records() == before
    assert len(before) == 3
    assert arena.fits() == [2]
    assert all(path.stat().st_mtime > then for path, then in times.items())


@pytest.mark.slow
def test_a_record_that_no_grid_made_is_looked_at_and_kept(arena: "Arena") -> None:
    command = ["run", "--method", "random", "--dataset", "balls", "--preset", "ci", "--limit", "3", "--quiet"]
    subprocess.run(
        [sys.executable, "-m", "uadbench", *command], env=arena.environment, check=True, capture_output=True
    )
    arena.describe('methods = ["random"]\ndatasets = ["balls"]\npresets = ["ci"]\nlimit = 3')
    path = next(arena.results.rglob("seed-0.json"))
    made = path.stat().st_mtime_ns

    assert "the record was there" in arena.grid()
    assert path.stat().st_mtime_ns == made
    path.write_text(json.dumps(json.loads(path.read_text()) | {"score_hash": "other"}))
    assert "--force replaces it" in arena.grid(code=2)
    assert record.read(path).score_hash == "other"
