"""Small synthetic worlds that the tests share."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volume, Volumes
from uadbench.system import locks
from uadbench.system.paths import Paths
from uadbench.system.progress import Silent
from uadbench.testing.toys import draw_ellipsoid, make_toy

if TYPE_CHECKING:
    from uadbench.experiment.config import Runtime
    from uadbench.experiment.record import Stored
    from uadbench.experiment.run import Outcome


@pytest.fixture(scope="session")
def demo_records(made_results: Path) -> "list[Stored]":
    """Records of three methods with one seed each: one table of three rows."""
    from uadbench.experiment import collect

    return [one for one in collect.collect_records(made_results).records if one.record.seed == 0]


@pytest.fixture(scope="session")
def implanted_records(demo_records: "list[Stored]") -> "list[Stored]":
    """The same, as if their patients were implanted: by turns of two sizes and two contrasts."""
    from msgspec.structs import replace

    from uadbench.experiment.facts import ImplantedResult
    from uadbench.experiment.record import Stored

    def implant(stored: Stored) -> Stored:
        subjects, number = [], 0
        for subject in stored.record.subjects:
            asked = None
            if subject.partition == "lesion-test":
                asked = ImplantedResult(ml=(0.5, 5.0)[number % 2], contrast=(-2.0, None)[number // 2 % 2])
                number += 1
            subjects.append(replace(subject, implanted=asked))
        return Stored(replace(stored.record, subjects=subjects), stored.path)

    return [implant(one) for one in demo_records]


@pytest.fixture
def toy(tmp_path: Path) -> Callable[..., list[Prepared]]:
    """A maker of prepared toy subjects: `toy(range(4), healthy=True)`."""

    def make(
        numbers: Iterable[int], healthy: bool, grid: str = "g48", contrast: str = "T1"
    ) -> list[Prepared]:
        return [make_toy(tmp_path / contrast, n, healthy, GRIDS[grid], contrast) for n in numbers]

    return make


@pytest.fixture
def volume(toy: Callable[..., list[Prepared]]) -> Volume:
    """A toy patient on the grid g48, as a method sees it."""
    first: Volume = Volumes(toy(range(1), healthy=False), GRIDS["g48"])[0]
    return first


@pytest.fixture
def real_scans() -> Callable[[str], Path]:
    """A folder of those in `UADBENCH_TEST_DATA`: `real_scans("mslub")`; without it a test is skipped."""

    def find(name: str) -> Path:
        folder = Path(os.environ.get("UADBENCH_TEST_DATA") or "absent") / name
        if not folder.is_dir():  # the data may not be passed on, so no checkout has them
            pytest.skip(
                f"needs real scans in $UADBENCH_TEST_DATA/{name}: CONTRIBUTING.md says where to get them"
            )
        return folder

    return find


def demand(*command: str) -> None:
    """Carry out a command that only the administrator of a machine may; elsewhere the test is skipped."""
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        # Disks and name spaces are real ones; without root there is no way to have them, and nothing to test.
        pytest.skip(f"needs the rights of root: {error}")


@pytest.fixture(scope="session")
def name_space() -> tuple[str, ...]:
    """The beginning of a command that runs in a name space of processes of its own, as on another machine."""
    command = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    demand(*command, "true")
    return command


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A maker of an empty disk of a size that tmpfs understands: `mount_disk("256k")`."""
    place = tmp_path / "disk"

    def mount(size: str) -> Path:
        place.mkdir()
        demand("mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place))
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", "--lazy", str(place)], check=True)


PLUGINS = Path(__file__).parent / "plugins"


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Runtime":
    """An installation of its own in a temporary folder, with the plug-ins of the tests."""
    from uadbench.experiment.config import Runtime

    monkeypatch.setenv(PLUGINS_VARIABLE, str(PLUGINS))
    for name in ("data", "runs", "results"):
        monkeypatch.setenv(f"UADBENCH_{name.upper()}", str(tmp_path / name))
    return Runtime(Paths.default(), Silent(), "cpu", workers=1)


# ---- records made here -------------------------------------------------------------------------


def make_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that is filled once, whichever of the processes that share the tests needs it first."""
    shared = factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    with locks.held(shared / f"{name}.lock"):
        if not (shared / name).exists():
            make(shared / f"{name}.partial")
            (shared / f"{name}.partial").rename(shared / name)
    return shared / name


@pytest.fixture(scope="session")
def balls_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data, runs and results of one run of the smallest method on the smallest data set."""
    from uadbench.experiment.config import RunConfig, Runtime
    from uadbench.experiment.run import run

    def make(here: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(PLUGINS_VARIABLE, str(PLUGINS))
            paths = Paths(here / "data", here / "runs", here / "results", here / "runs" / "cache")
            run(
                RunConfig(method="brightness", dataset="balls", preset="ci"),
                Runtime(paths, Silent(), "cpu", workers=1),
            )

    return make_once(tmp_path_factory, "balls-run", make)


@pytest.fixture
def finished(balls_run: Path, runtime: "Runtime", tmp_path: Path) -> "Outcome":
    """A run that is done in the installation of `runtime`."""
    from uadbench.experiment.config import RunConfig
    from uadbench.experiment.run import run

    shutil.copytree(balls_run, tmp_path, dirs_exist_ok=True)
    done = run(RunConfig(method="brightness", dataset="balls", preset="ci"), runtime)
    assert done.reused
    return done


def write_toy_phantom(root: Path) -> None:
    """The phantom's members with toy heads in place of theirs: who they are stays, and it takes seconds."""
    from uadbench import phantom
    from uadbench.phantom.cohort import write_volume

    grid = GRIDS["g48"]
    for member in phantom.make_members():
        random = np.random.default_rng(member.number)
        brain = draw_ellipsoid(grid, (random.normal(0, 2), -18, 8), (66, 82, 62))
        place = (random.uniform(-30, 30), random.uniform(-50, 10), random.uniform(0, 30))
        lesion = draw_ellipsoid(grid, place, (random.uniform(8, 16),) * 3) & brain
        image = np.where(brain, 0.5 + random.normal(0, 0.06, grid.shape), 0).astype(np.float32)
        if member.kind:
            image[lesion] += np.float32(0.25)
        files = phantom.list_files(root, member.id, lesion=member.kind is not None)
        for name, file in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            volume = {"brain": brain, "lesion": lesion}.get(name)
            write_volume(file, 1000 * image if volume is None else volume.astype(np.uint8), grid)
    phantom.write_cohort(root, phantom.make_members(), Silent())  # the table; the files are all there


MADE = (("random", 0), ("random", 1), ("intensity", 0), ("pca", 0))


@pytest.fixture(scope="session")
def made_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with the records of three methods; whoever changes it copies it first."""
    from uadbench.experiment.config import RunConfig, Runtime
    from uadbench.experiment.run import run

    def make(here: Path) -> None:
        write_toy_phantom(here / "data" / "phantom")
        paths = Paths(here / "data", here / "runs", here / "results", here / "runs" / "cache")
        for method, seed in MADE:
            config = RunConfig(method=method, dataset="phantom", preset="ci", protocol="uad-1-4mm", seed=seed)
            run(config, Runtime(paths, Silent(), "cpu", workers=1))

    return make_once(tmp_path_factory, "made", make) / "results"


@pytest.fixture
def results(made_results: Path, tmp_path: Path) -> Path:
    """A copy of the records that may be changed."""
    return Path(shutil.copytree(made_results, tmp_path / "results"))
