"""Folders that cannot be written, disks that are full, and shells that allow few open files."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from uadbench import methods
from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.experiment import record
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.run import run, run_recording_failure
from uadbench.system.errors import UserError
from uadbench.system.files import check_writable, disk_fault

CELL = RunConfig(method="brightness", dataset="balls", preset="ci")
RUN = ("run", "-m", "brightness", "-m", "random", "-d", "balls", "--preset", "ci", "--quiet")


def uadbench(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "uadbench", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["RUNS", "RESULTS"])
def test_a_file_in_the_place_of_a_folder_is_one_sentence(runtime: Runtime, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        done = uadbench(*RUN, **{f"UADBENCH_{name}": str(place)})
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert str(place) in done.stderr
        assert f"UADBENCH_{name}" in done.stderr


@pytest.fixture
def mounted(mount_disk: Callable[[str], Path]) -> Path:
    return mount_disk("256k")


def test_a_folder_on_a_read_only_file_system_is_refused_before_any_work(mounted: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    with pytest.raises(UserError, match="Read-only file system; make room or give rights there, or name"):
        check_writable(mounted, "--results")


def test_a_folder_without_room_is_refused_before_any_work(mounted: Path) -> None:
    with open(mounted / "large", "wb") as opened:
        opened.write(bytes(256 * 1024))
    with pytest.raises(UserError, match="No space left on device"):
        check_writable(mounted, "--results")


def test_a_disk_that_fills_in_the_middle_is_a_recorded_failure(
    runtime: Runtime, mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UADBENCH_RUNS", str(mounted / "runs"))
    paths = type(runtime.paths).default()
    reason = run_recording_failure(CELL, Runtime(paths, runtime.progress))

    assert isinstance(reason, str)
    assert "No space left on device" in reason
    assert [said for _, said in record.failures(paths.results)] == [reason.split("; and that")[0]]


def test_the_failure_is_recorded_before_the_log_and_the_log_may_fail(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("uadbench.experiment.run.write_text", full)
    monkeypatch.setattr(methods.load("brightness"), "score", lambda *_: 1 / 0)
    reason = run_recording_failure(CELL, runtime)

    assert reason == (
        "ZeroDivisionError: division by zero; and that cannot be logged: No space left on device"
    )
    assert [said for _, said in record.failures(runtime.paths.results)] == [
        "ZeroDivisionError: division by zero"
    ]


def test_only_faults_of_the_disk_are_told_as_such() -> None:
    assert disk_fault(OSError(28, "No space left on device", "/x/y")) == (
        "/x/y cannot be used: No space left on device; make room or give rights there, then call again."
    )
    assert disk_fault(OSError(32, "Broken pipe")) is None
    assert disk_fault(OSError("something else")) is None


# ---- open files --------------------------------------------------------------------------------


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.usefixtures("finished")
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted on Linux")
def test_no_file_stays_open_after_preparation(runtime: Runtime) -> None:
    from uadbench.experiment.cohort import prepare_cohort
    from uadbench.experiment.config import resolve_run

    run(CELL, runtime)
    before = _open_files()
    plan = resolve_run(CELL, runtime)
    cohort = prepare_cohort(plan, runtime)
    held = [item for members in cohort.evaluation.values() for item in members]
    codes, labels = [item.codes for item in held], [item.labels for item in held]
    volumes = plan.volumes(held)
    volumes.read_codes(volumes.slices()[:40])

    assert len(codes) == len(labels) > 5
    assert _open_files() == before


TINY = """
from collections.abc import Iterator
from pathlib import Path
from uadbench.data.session import LeftOut, Session


def sessions(root: Path) -> Iterator[Session | LeftOut]:
    for path in sorted(root.glob("scan-*.nii")):
        yield Session(
            id=path.stem, cohort="many", subject=path.stem, images={"T1": path}, healthy=False,
            brain_mask=root / "mask.nii", lesion_mask=root / "lesion.nii", lesion_kind="spot",
            space="MNI152", skull_stripped=True,
        )
"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [pytest.param(700, id="as many as ATLAS has")])
def test_a_cohort_larger_than_the_allowed_open_files_gives_a_record(
    runtime: Runtime, tmp_path: Path, count: int
) -> None:
    home, root = tmp_path / "mine/datasets/many", tmp_path / "data/many"
    home.mkdir(parents=True)
    root.mkdir(parents=True)
    balls = Path(__file__).parent / "plugins/datasets/balls"
    card = (balls / "card.toml").read_text().replace('"balls"', '"many"')
    (home / "card.toml").write_text(card)
    (home / "dataset.py").write_text(TINY)
    affine = np.diag([20.0, 20.0, 20.0, 1.0])
    affine[:3, 3] = (-110, -140, -95)
    brain = np.zeros((11, 12, 11), np.uint8)
    brain[3:8, 3:9, 3:8] = 1
    lesion = np.zeros_like(brain)
    lesion[4, 4, 4] = 1
    nib.save(nib.Nifti1Image(brain, affine), root / "mask.nii")
    nib.save(nib.Nifti1Image(lesion, affine), root / "lesion.nii")
    random = np.random.default_rng(0)
    for number in range(count):
        image = (random.integers(100, 900, brain.shape) * brain).astype(np.int16)
        nib.save(nib.Nifti1Image(image, affine), root / f"scan-{number:04d}.nii")

    done = subprocess.run(
        ["bash", "-c", 'ulimit -n 256; exec "$@"', "bash", sys.executable, "-m", "uadbench", "run",
         "--method", "random", "--dataset", "many", "--preset", "ci", "--quiet", "--workers", "2"],
        env=os.environ | {PLUGINS_VARIABLE: str(tmp_path / "mine")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-2000:]
    (made,) = record.read_records(runtime.paths.results)
    assert len(made.subjects) == count


# ---- workers -----------------------------------------------------------------------------------

SCRIPT = """
from uadbench.system import pool
if {guard}:
    print(dict(pool.results(abs, [-1, -2, -3], 2)))
"""


def test_a_script_from_standard_input_is_told_that_it_must_be_a_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable], input=SCRIPT.format(guard="True"), cwd=tmp_path, capture_output=True, text=True
    )
    assert "UserError: The processes that share the work cannot begin: it needs a script file" in done.stderr
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(guard="__name__ == '__main__'"))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert eval(done.stdout) == {0: 1, 1: 2, 2: 3}


def test_how_a_worker_died_is_said_by_its_exit_code() -> None:
    from uadbench.system.pool import _how

    assert "was killed, probably out of memory" in _how([-9])
    assert _how([-11]) == "the process that worked on it crashed with SIGSEGV"
    assert _how([3]) == "the process that worked on it ended with exit code 3"
