"""Small synthetic worlds that the tests share."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.data import prepared
from uadbench.data.prepared import Prepared
from uadbench.data.session import Session
from uadbench.data.space import GRIDS, Grid
from uadbench.system.paths import Paths
from uadbench.system.progress import Silent

if TYPE_CHECKING:
    from uadbench.experiment.config import Runtime
    from uadbench.experiment.record import Stored


@pytest.fixture(scope="session")
def demo_records(made_results: Path) -> "list[Stored]":
    """Records of three methods with one seed each: one table of three rows."""
    from uadbench.experiment import collect

    return [one for one in collect.collect_records(made_results).records if one.record.seed == 0]


def ellipsoid(
    grid: Grid, centre_mm: tuple[float, float, float], radii_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Voxels (R, A, S) inside an ellipsoid."""
    axes = [o + grid.spacing_mm * np.arange(n) for o, n in zip(grid.origin_mm, grid.shape, strict=True)]
    mesh = np.meshgrid(*axes, indexing="ij")
    return sum(((m - c) / r) ** 2 for m, c, r in zip(mesh, centre_mm, radii_mm, strict=True)) <= 1  # type: ignore[no-any-return]


def toy_subject(
    folder: Path, number: int, healthy: bool, grid: Grid = GRIDS["g48"], contrast: str = "T1"
) -> Prepared:
    """A prepared head: bright shell, mid grey inside, dark middle, and a bright ball as the lesion."""
    random = np.random.default_rng(number)
    shift = random.normal(0, 3, 3)
    brain = ellipsoid(grid, (shift[0], -18 + shift[1], 8 + shift[2]), (66, 82, 62))
    inner = ellipsoid(grid, (shift[0], -18 + shift[1], 8 + shift[2]), (52, 66, 48))
    ventricle = ellipsoid(grid, (shift[0], -18 + shift[1], 12), (12, 26, 14))
    image = np.where(inner, 0.7, 0.45) * brain
    image[ventricle] = 0.15
    lesion = ellipsoid(grid, (28, -30 + 4 * (number % 5), 18), (13, 13, 13)) & brain
    if not healthy:
        image[lesion] = 0.98
    image = np.clip(image + random.normal(0, 0.03, image.shape), 0, 1).astype(np.float32) * brain
    subject = Session(
        id=f"toy-{number:02d}",
        cohort="toy",
        subject=f"toy-{number:02d}",
        images={contrast: folder / f"{number}.nii"},
        healthy=healthy,
        lesion_kind=None if healthy else "ball",
        site="here",
        age=40.0 + number,
        sex="F",
    )
    area = brain.sum((0, 1)) * grid.spacing_mm**2
    facts = {
        "slice_area_mm2": [float(a) for a in area],
        "voxel_sha256": f"{number:064d}",
        "subject": subject.id,
    }
    path = folder / grid.name / f"{number:064d}.safetensors"
    labels = None if healthy else lesion.astype(np.uint8)
    prepared.write_codes(path, prepared.encode(image, brain), labels, facts)
    return Prepared(subject, contrast, grid, path)


@pytest.fixture
def toy(tmp_path: Path) -> Callable[..., list[Prepared]]:
    """A maker of prepared toy subjects: `toy(range(4), healthy=True)`."""

    def make(
        numbers: Iterable[int], healthy: bool, grid: str = "g48", contrast: str = "T1"
    ) -> list[Prepared]:
        return [toy_subject(tmp_path / contrast, n, healthy, GRIDS[grid], contrast) for n in numbers]

    return make


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


def write_toy_phantom(root: Path) -> None:
    """The phantom's members with toy heads in place of theirs: who they are stays, and it takes seconds."""
    from uadbench import phantom
    from uadbench.phantom.cohort import write_volume

    grid = GRIDS["g48"]
    for member in phantom.make_members():
        random = np.random.default_rng(member.number)
        brain = ellipsoid(grid, (random.normal(0, 2), -18, 8), (66, 82, 62))
        place = (random.uniform(-30, 30), random.uniform(-50, 10), random.uniform(0, 30))
        lesion = ellipsoid(grid, place, (random.uniform(8, 16),) * 3) & brain
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

    here = tmp_path_factory.mktemp("made")
    write_toy_phantom(here / "data" / "phantom")
    paths = Paths(here / "data", here / "runs", here / "results", here / "runs" / "cache")
    for method, seed in MADE:
        config = RunConfig(method=method, dataset="phantom", preset="ci", protocol="uad-1-4mm", seed=seed)
        run(config, Runtime(paths, Silent(), "cpu", workers=1))
    return paths.results


@pytest.fixture
def results(made_results: Path, tmp_path: Path) -> Path:
    """A copy of the records that may be changed."""
    import shutil

    return Path(shutil.copytree(made_results, tmp_path / "results"))
