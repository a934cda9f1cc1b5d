"""Sweeps on this machine, and what can happen to them; each fault befalls real processes.

`undisturbed` are the records of the same sweep when nothing happens to it: after each fault the same command
has to end with exactly those.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import torch

from uadbench.experiment import record
from uadbench.sweep import local

if TYPE_CHECKING:
    from tests.sweep.conftest import Arena

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


@pytest.mark.thorough
def test_a_crash_and_a_nan_take_their_own_cell_only_and_one_fit_serves_all(arena: "Arena") -> None:
    arena.describe(FATES)

    printed = arena.sweep(str(arena.file), "--jobs", "2", code=1)

    assert "1 done" in printed
    assert "2 failed" in printed
    assert len(arena.records()) == 1
    assert arena.threads() == {1}
    assert arena.fits() == [1]
    reasons = {path.parent.name: path.read_text() for path in arena.results.rglob("*.failed.json")}
    assert "values that are not finite" in reasons["ci,fate=nan,limit=1"]
    assert "crashed in stage 'scoring' with SIGABRT" in reasons["ci,fate=segfault,limit=1"]
    assert "Fatal Python error: Aborted" in arena.log()
    shown = " ".join(arena.sweep("status", str(arena.file)).split())
    assert "3 jobs: 1 done, 2 failed" in shown
    assert "log: " in shown
    again = arena.sweep()
    assert "0 to run" in again
    assert "--retry-failed tries it again" in again


@pytest.mark.thorough
def test_a_worker_takes_one_cell_after_the_other_until_one_is_not_done(arena: "Arena") -> None:
    arena.describe(arena.file.read_text().replace("[0, 1, 2, 3]", "[0, 1, 2]"))
    arena.hold("score 1")
    process = arena.start(str(arena.file), "--jobs", "1")
    os.kill(arena.reached("score 1"), signal.SIGKILL)
    arena.release("score 1")
    process.communicate()

    workers = [(fit.parent, fit.read_text().split()) for fit in arena.runs.glob("fits/*/fits.txt")]
    first, second, third = (pid for _, pids in sorted(workers, key=_when) for pid in pids)
    assert first == second != third
    assert list(arena.failures()) == ["seed-1"]
    assert len(arena.records()) == 2


def _when(fit: tuple[Path, list[str]]) -> int:
    return (fit[0] / "fits.txt").stat().st_mtime_ns


def on_the_floor(device: str, *scored: bool) -> int | None:
    """The free slot of one device with cells under way, of which some are scored."""
    floor = local._Floor(mock.Mock(), [device], {}, mock.Mock(), 1.0, 1.0, [])
    floor.running = [mock.Mock(slot=0, scored=one) for one in scored]
    return floor._free_slot()


def test_a_cell_leaves_a_gpu_to_the_next_when_its_maps_are_made_and_keeps_its_core() -> None:
    assert on_the_floor("cuda:0") == 0
    assert on_the_floor("cuda:0", False) is None
    assert on_the_floor("cuda:0", True) == 0
    assert on_the_floor("cuda:0", True, False) is None  # no third one, however long evaluation takes
    assert on_the_floor("cpu", True) is None


@pytest.mark.slow
def test_two_sweeps_over_the_same_cells_do_each_cell_once(
    arena: "Arena", undisturbed: dict[str, Any]
) -> None:
    processes = [arena.start(str(arena.file), "--jobs", "1") for _ in range(2)]
    printed = [process.communicate()[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0], printed
    assert arena.records() == undisturbed
    assert arena.fits() == [1, 1, 1, 1]
    assert "".join(arena.log(seed) for seed in range(4)).count("begun") == 4


# ---- killed ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_workers_are_killed_in_every_stage(arena: "Arena", undisturbed: dict[str, Any]) -> None:
    """In prepare, fit, score and while the record is written: each takes its own cell only."""
    for place in ("fit-5 1", "score 2"):
        arena.hold(place)
    process = arena.start(str(arena.file), "--jobs", "1")
    for seed, moment in enumerate(("prepare", "fit-5", "score", "record")):
        arena.kill(moment, seed)
    printed, _ = process.communicate()

    assert process.returncode == 1, printed
    failures = arena.failures()
    assert sorted(failures) == ["seed-0", "seed-1", "seed-2", "seed-3"]
    assert all("the process was killed in stage" in reason for reason in failures.values())
    assert "prepare" in failures["seed-0"]
    assert "4 failed" in arena.sweep("status", str(arena.file))
    again = arena.sweep(str(arena.file), "--retry-failed")
    assert again.count("before: failed, the process was killed") == 4
    assert "training resumes after step 5" in again
    assert arena.records() == undisturbed
    assert not arena.failures()
    assert sorted(arena.fits()) == [1, 1, 1, 2]  # what was fitted is not fitted again


def has_ended(process: int) -> bool:
    return not Path(f"/proc/{process}").exists()


@pytest.mark.slow
def test_the_whole_sweep_is_killed_and_its_checkpoints_are_intact_of_another_version_and_damaged(
    arena: "Arena", undisturbed: dict[str, Any]
) -> None:
    for seed in range(4):
        arena.hold(f"fit-5 {seed}")
    process = arena.start(str(arena.file), "--jobs", "4")
    workers = [arena.reached(f"fit-5 {seed}") for seed in range(4)]
    process.kill()
    process.communicate()
    for seed, worker in enumerate(workers):  # none outlives the sweep
        arena.wait_for(partial(has_ended, worker))
        arena.release(f"fit-5 {seed}")
    checkpoints = {
        torch.load(path, weights_only=True)["of"]["seed"]: path
        for path in arena.runs.glob("fits/*/*.checkpoint")
    }
    content = torch.load(checkpoints[1], weights_only=True)
    torch.save(content | {"of": content["of"] | {"torch": "1.0"}}, checkpoints[1])
    checkpoints[2].write_bytes(checkpoints[2].read_bytes()[:1000])
    flip(checkpoints[3], 0.02)

    again = arena.sweep()

    assert again.count("before: interrupted, training") == 4
    assert "which has ended: taken over" in again
    assert "training resumes after step 5" in arena.log(0)
    assert "is of another training or version (torch): training starts from the beginning" in arena.log(1)
    for seed in (2, 3):
        assert "checkpoint is damaged" in arena.log(seed)
        assert "training starts from the beginning" in arena.log(seed)
    assert arena.records() == undisturbed


@pytest.mark.slow
def test_ctrl_c_ends_everything_and_the_same_command_goes_on(
    arena: "Arena", undisturbed: dict[str, Any]
) -> None:
    arena.hold("fit-5 1")
    process = arena.start(str(arena.file), "--jobs", "1")
    arena.reached("fit-5 1")
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate()
    arena.release("fit-5 1")

    assert process.returncode == 130, printed
    assert "the same command resumes" in printed
    assert not arena.failures()
    assert "4 jobs: 1 done, 1 interrupted, 2 waiting" in arena.sweep("status", str(arena.file))
    assert "training resumes after step 5" in arena.sweep()
    assert arena.records() == undisturbed


@pytest.mark.slow
def test_a_cell_that_takes_too_long_is_recorded_as_failed(
    arena: "Arena", undisturbed: dict[str, Any]
) -> None:
    arena.sweep()
    place = next(arena.results.rglob("seed-2.json"))
    shutil.rmtree(arena.runs / "maps" / record.read_record(place).score_hash)
    place.unlink()
    arena.hold("score 2")

    printed = arena.sweep(str(arena.file), "--timeout", "0.25", code=1)

    assert "took longer than 0.25 minutes (--timeout), in stage 'scoring'" in printed
    arena.release("score 2")
    assert "before: failed, took longer" in arena.sweep(str(arena.file), "--retry-failed")
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
def test_damaged_caches_and_records_are_found_and_made_again(
    arena: "Arena", calm: "Arena", undisturbed: dict[str, Any]
) -> None:
    for name in ("data", "runs", "results"):
        shutil.copytree(getattr(calm, name), getattr(arena, name))
    for pattern in DAMAGE:
        flip(max(arena.home.glob(pattern), key=lambda path: path.stat().st_size), 0.9)
    flip(next(arena.results.rglob("seed-0.npz")))
    for seed in (1, 2, 3):
        next(arena.results.rglob(f"seed-{seed}.json")).unlink()

    printed = arena.sweep()

    for said in (*DAMAGE.values(), "the record is damaged and made again"):
        assert re.search(said, printed), said
    assert arena.records() == undisturbed
    flip(next(arena.results.rglob("seed-3.npz")))
    assert "seed 3 (its record is damaged)" in arena.sweep()
    assert arena.records() == undisturbed


# ---- no space left -----------------------------------------------------------------------------


@pytest.fixture
def small_disk(mount_disk: Callable[[str], Path]) -> Path:
    return mount_disk("2m")


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
    arena.hold("fit-5 0")
    arena.hold("fit-7 0")
    process = arena.start(str(arena.file), "--jobs", "1")
    arena.reached("fit-5 0")
    ballast = fill(small_disk)
    arena.release("fit-5 0")
    arena.reached("fit-7 0")
    ballast.unlink()
    arena.release("fit-7 0")
    printed, _ = process.communicate()

    assert process.returncode == 0, printed
    assert "cannot be written, training continues without it" in printed
    assert arena.records() == undisturbed


@pytest.mark.slow
def test_a_full_disk_while_a_record_is_written(
    arena: "Arena", undisturbed: dict[str, Any], small_disk: Path
) -> None:
    arena.results.symlink_to(small_disk)
    arena.hold("score 0")
    process = arena.start(str(arena.file), "--jobs", "1")
    arena.reached("score 0")
    ballast = fill(small_disk)
    arena.release("score 0")
    printed, _ = process.communicate()
    ballast.unlink()

    assert process.returncode == 1, printed
    assert "No space left on device" in printed
    assert "again: tortoise" in (again := arena.sweep(str(arena.file), "--retry-failed")), again
    assert arena.records() == undisturbed


# ---- the whole of it ---------------------------------------------------------------------------


@pytest.mark.slow
def test_force_does_everything_again_and_a_shared_fit_once(arena: "Arena") -> None:
    arena.describe(FATES.replace('"segfault"', '"other"').replace('"nan"', '"another"'))
    arena.sweep()
    before = arena.records()
    times = {path: path.stat().st_mtime for path in arena.results.rglob("seed-0.json")}

    arena.sweep(str(arena.file), "--force", "--jobs", "2")

    assert arena.records() == before
    assert len(before) == 3
    assert arena.fits() == [2]
    assert all(path.stat().st_mtime > then for path, then in times.items())


@pytest.mark.slow
def test_a_record_that_no_sweep_made_is_looked_at_and_kept(arena: "Arena") -> None:
    command = ["run", "--method", "random", "--dataset", "balls", "--preset", "ci", "--limit", "3", "--quiet"]
    subprocess.run(
        [sys.executable, "-m", "uadbench", *command], env=arena.environment, check=True, capture_output=True
    )
    arena.describe('methods = ["random"]\ndatasets = ["balls"]\npresets = ["ci"]\nlimit = 3')
    path = next(arena.results.rglob("seed-0.json"))
    made = path.stat().st_mtime_ns

    assert "the record was there" in arena.sweep()
    assert path.stat().st_mtime_ns == made
    path.write_text(json.dumps(json.loads(path.read_text()) | {"score_hash": "0" * 64}))
    assert "--force replaces it" in arena.sweep(code=2)
    assert record.read_record(path).score_hash == "0" * 64
