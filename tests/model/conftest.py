"""Runs of one method of each kind on toy balls, made once, and their models."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import uadbench
from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.experiment import figures
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.run import Outcome, run
from uadbench.system.paths import Paths
from uadbench.system.progress import Silent

PLUGINS = Path(__file__).parent.parent / "plugins"
# One of each kind: untrained, drawn twice, calibrated, a network, a network that is calibrated.
RUNS: dict[str, dict[str, str]] = {
    "intensity": {},
    "random": {"draws": "2"},
    "pca": {"score_kind": "zres"},
    "vae": {"steps": "4"},
    "dal_r": {"steps": "20"},
}


@contextmanager
def _plugins() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PLUGINS_VARIABLE, str(PLUGINS))
        yield patch


@pytest.fixture
def plugins() -> Iterator[None]:
    """The plug-ins of the tests, as long as a test takes."""
    with _plugins():
        yield


def _open_place(home: Path) -> Runtime:
    return Runtime(Paths(home / "data", home / "runs", home / "results", home / "runs" / "cache"), Silent())


def _make_run(home: Runtime, method: str) -> Outcome:
    """A run on toy balls, with few subjects."""
    config = RunConfig(
        method=method, dataset="balls", preset="ci", protocol="uad-1-4mm", limit=3, settings=RUNS[method]
    )
    return run(config, home)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """Where the runs are made."""
    return _open_place(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def away(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """Another machine: nothing is there."""
    return _open_place(tmp_path_factory.mktemp("away"))


@pytest.fixture(scope="session")
def made(home: Runtime) -> dict[str, Outcome]:
    """A run of each kind of method."""
    with _plugins() as patch:
        patch.setattr(figures, "draw_pictures", lambda *of: [])  # nobody looks at them
        return {method: _make_run(home, method) for method in RUNS}


@pytest.fixture(scope="session")
def patients(home: Runtime, made: dict[str, Outcome], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans of lesion-test and, beside their folder, their masks; no word of the data set."""
    folder = tmp_path_factory.mktemp("patients")
    for name in ("scans", "masks"):
        (folder / name).mkdir()
    for subject in made["pca"].record.subjects:
        if subject.partition == "lesion-test":
            number = int(subject.id.split("-")[1])
            shutil.copy(home.paths.data / f"balls/scan-{number}.nii", folder / f"scans/{subject.id}.nii")
            shutil.copy(home.paths.data / f"balls/mask-{number}.nii", folder / f"masks/{subject.id}.nii")
    return folder


@pytest.fixture(scope="session")
def exported(made: dict[str, Outcome], home: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of all runs."""
    folder = tmp_path_factory.mktemp("models")
    with _plugins():
        for method, outcome in made.items():
            uadbench.export(outcome.path, folder / f"{method}.zip", runtime=home)
    return folder
