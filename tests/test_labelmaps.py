"""Label maps: segmentations become healthy scans of every contrast, and faulty ones are left out."""

import importlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from uadbench import datasets, testing
from uadbench.cards import dataset_card
from uadbench.cli import app
from uadbench.data import splits
from uadbench.data.space import GRIDS
from uadbench.datasets import Found
from uadbench.experiment.config import RunConfig, Runtime, find_dataset, resolve_run
from uadbench.preprocessing import scan
from uadbench.preprocessing.prepare import prepare
from uadbench.preprocessing.scan import Scan
from uadbench.preprocessing.verify import verify
from uadbench.protocol import regime
from uadbench.system.errors import SubjectError, UserError
from uadbench.system.progress import Silent

DRAWS = 2  # in these tests

adapter: Any = datasets.load("labelmaps")
drawing: Any = importlib.import_module("uadbench.datasets.labelmaps.drawing")
structures: Any = importlib.import_module("uadbench.datasets.labelmaps.structures")


SHIPPED = adapter.DRAWS


@pytest.fixture(scope="module", autouse=True)
def _few() -> Iterator[None]:
    """Fewer draws than a user gets, to save time."""
    adapter.DRAWS = DRAWS
    yield
    adapter.DRAWS = SHIPPED


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three segmentations under the names of the release."""
    root = tmp_path_factory.mktemp("labelmaps") / "release"
    testing.write_fixture("labelmaps", root, subjects=3)
    return root


@pytest.fixture(scope="module")
def drawn(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    return found(written, tmp_path_factory.mktemp("drawn"))


def found(root: Path, folder: Path) -> Found:
    adapter.draw(root, folder, 1, Silent())
    return datasets.find_sessions("labelmaps", root, folder)


def voxels(path: Path) -> NDArray[Any]:
    return np.asarray(nibabel.load(path).dataobj)


def corrupted(folder: Path, *corruptions: str) -> Found:
    testing.write_fixture("labelmaps", folder / "root", subjects=2, corruptions=corruptions)
    return found(folder / "root", folder / "drawn")


def subjects(here: Found) -> set[str]:
    return {session.subject for session in here.sessions}


# ---- the adapter -------------------------------------------------------------------------------


def test_every_segmentation_is_one_person_drawn_several_times(drawn: Found) -> None:
    assert drawn.left_out == ()
    assert [s.id for s in drawn.sessions] == [
        f"training_seg_{subject:02d}-{number}" for subject in (1, 2, 3) for number in range(1, DRAWS + 1)
    ]
    assert subjects(drawn) == {"training_seg_01", "training_seg_02", "training_seg_03"}
    for session in drawn.sessions:
        assert sorted(session.images) == ["FLAIR", "PD", "T1", "T2"]
        assert session.healthy
        assert session.skull_stripped
    parts = splits.split_sessions(drawn.sessions, drawn.card)
    splits.check_subjects(parts)
    assert all(len(members) % DRAWS == 0 for members in parts.values())
    report = verify(drawn, 1, Silent())
    assert (report.problems, report.remarks) == ((), ())  # no two draws are the same


def test_ten_segmentations_give_as_many_scans_as_a_small_cohort_has() -> None:
    assert 40 <= 10 * SHIPPED <= 100
    assert dataset_card("labelmaps").expected["FLAIR"] == 20 * SHIPPED


def test_the_first_ten_segmentations_of_the_release_fill_every_partition(drawn: Found) -> None:
    one = drawn.sessions[0]
    ten = [replace(one, id=str(n), subject=f"training_seg_{n:02d}") for n in range(1, 11)]
    parts = splits.split_sessions(ten, drawn.card)
    assert {name: len(members) for name, members in parts.items() if members} == {
        "healthy-train": 8, "healthy-val": 1, "healthy-test": 1,
    }  # fmt: skip


def test_the_download_is_only_read_and_nothing_is_drawn_twice(written: Path, tmp_path: Path) -> None:
    root = tmp_path / "release"
    root.mkdir()
    shutil.copy(written / "training_seg_02.nii.gz", root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    first = found(root, tmp_path / "drawn")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    files = {path: path.stat().st_mtime_ns for s in first.sessions for path in s.images.values()}
    assert [s.id for s in found(root, tmp_path / "drawn").sessions] == [s.id for s in first.sessions]
    assert {path: path.stat().st_mtime_ns for path in files} == files
    lost = next(iter(files))
    lost.unlink()  # as after a run that was killed
    found(root, tmp_path / "drawn")
    assert lost.exists()
    shutil.copy(written / "training_seg_03.nii.gz", root)
    assert subjects(found(root, tmp_path / "drawn")) == {"training_seg_02", "training_seg_03"}
    (root / "training_seg_02.nii.gz").unlink()
    assert subjects(found(root, tmp_path / "drawn")) == {"training_seg_03"}


def test_a_draw_depends_on_its_segmentation_and_number_alone(
    drawn: Found, written: Path, tmp_path: Path
) -> None:
    (tmp_path / "root").mkdir()
    shutil.copy(written / "training_seg_03.nii.gz", tmp_path / "root" / "Training_seg_03.nii.gz")
    alone = found(tmp_path / "root", tmp_path / "drawn")
    for one, other in zip(alone.sessions, drawn.sessions[-DRAWS:], strict=True):
        assert one.id == other.id
        for contrast in one.images:
            assert one.images[contrast].read_bytes() == other.images[contrast].read_bytes()


@pytest.mark.parametrize(
    ("corruption", "reason"),
    [
        ("unknown_number", r"has the label numbers \[1035\].* is it a segmentation"),
        ("zero_bytes", "is empty: fetch the file again"),
        ("truncated", "cannot be read|is cut short"),
        ("constant", "of labelled brain; expected more|brain at the edge"),
        ("nan", "values that are no integers"),
        ("cut_view", "has brain at the edge of its volume"),
        ("disagreeing_forms", "has a qform and an sform that place a corner"),
        ("duplicate", "a second copy of training_seg_01"),
    ],
)
def test_a_spoilt_segmentation_is_left_out_with_the_reason(
    corruption: str, reason: str, tmp_path: Path
) -> None:
    here = corrupted(tmp_path, corruption)
    assert subjects(here) == {"training_seg_01"}
    (left,) = here.left_out
    assert left.id == "training_seg_02.nii.gz"
    assert re.search(reason, left.reason)


@pytest.mark.parametrize(
    "corruptions",
    [
        ("macos", "orientations", "folder_with_space"),
        ("four_axes", "disguised_gzip"),
        ("mixed_case",),
        ("capital_suffixes", "folder_with_space", "linked_folders", "doubled_folders"),
    ],
)
def test_how_a_segmentation_is_stored_changes_no_voxel(
    corruptions: tuple[str, ...], drawn: Found, tmp_path: Path
) -> None:
    here = corrupted(tmp_path, *corruptions)
    assert here.left_out == ()
    assert [s.id for s in here.sessions] == [s.id for s in drawn.sessions[: 2 * DRAWS]]
    for one, other in zip(here.sessions[::DRAWS], drawn.sessions[::DRAWS], strict=False):
        np.testing.assert_array_equal(voxels(one.images["FLAIR"]), voxels(other.images["FLAIR"]))


def test_a_segmentation_that_was_not_fetched_is_left_out(tmp_path: Path) -> None:
    here = corrupted(tmp_path, "absent_content")
    assert subjects(here) == {"training_seg_01"}
    assert [item.id for item in here.left_out] == ["links without content"]


def test_verifying_draws_nothing_and_says_what_cannot_be_drawn(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    testing.write_fixture("labelmaps", root, subjects=2, corruptions=["constant"])
    monkeypatch.setattr(drawing, "draw_scans", None)  # must not be called
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    done = CliRunner().invoke(app, ["verify", "labelmaps", "--root", str(root), "--quiet", "--workers", "1"])
    assert done.exit_code == 0, done.output
    assert "left out: training_seg_02.nii.gz: " in done.stdout
    assert f"of the whole release are missing: {120 - DRAWS} of 120 T1" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert not runtime.paths.drawn("labelmaps").exists()


def test_an_oblique_segmentation_is_drawn_upright(tmp_path: Path) -> None:
    assert subjects(corrupted(tmp_path, "oblique")) == {"training_seg_01", "training_seg_02"}


def test_every_corruption_of_the_fixture_is_tested() -> None:
    tested = {"unknown_number", "zero_bytes", "truncated", "constant", "nan", "cut_view", "oblique"}
    tested |= {"capital_suffixes", "linked_folders", "doubled_folders", "absent_content"}
    tested |= {"disagreeing_forms", "duplicate", "macos", "orientations", "four_axes", "disguised_gzip"}
    assert set(testing.corruption_names("labelmaps")) == tested | {"mixed_case", "folder_with_space"}


# ---- what is drawn -----------------------------------------------------------------------------


def ball(*layers: tuple[float, int], axes: str = "RAS") -> Scan:
    """Concentric balls (radius in mm, label), 4 mm voxels, from the outside inwards."""
    mesh = np.meshgrid(*[4.0 * np.arange(-26, 27)] * 3, indexing="ij", sparse=True)
    radius = np.sqrt(mesh[0] ** 2 + mesh[1] ** 2 + mesh[2] ** 2)
    array = np.zeros(radius.shape, np.int32)
    for outer, label in layers:
        array[radius <= outer] = label
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -104
    return Scan(array, affine)


HEAD = ((100.0, 507), (84.0, 24), (76.0, 3), (64.0, 2), (36.0, 10), (20.0, 4))


def layer_means(labels: Scan, number: int = 0) -> dict[str, list[float]]:
    """Median of each contrast in ventricle, deep grey, white matter and cortex of a ball."""
    drawn = drawing.draw_scans(drawing.brain_of(labels, "ball"), (1, number))
    depth = drawing.ndimage.distance_transform_edt(drawn.brain)
    depth /= depth.max()
    bands = [depth > 0.85, (depth > 0.57) & (depth < 0.67), (depth > 0.25) & (depth < 0.45)]
    bands += [(depth > 0.07) & (depth < 0.13)]
    return {c: [float(np.median(image[band])) for band in bands] for c, image in drawn.images.items()}


@pytest.mark.parametrize("number", range(4))
def test_the_tissues_are_in_the_order_of_each_contrast(number: int) -> None:
    means = layer_means(ball(*HEAD), number)
    fluid, deep, white, cortex = means["T1"]
    assert fluid < cortex < deep < white
    fluid, deep, white, cortex = means["T2"]
    assert white < deep < fluid
    assert white < cortex < fluid
    fluid, deep, white, cortex = means["FLAIR"]
    assert fluid < white < cortex
    assert fluid < deep < cortex
    fluid, deep, white, cortex = means["PD"]
    assert white < cortex


def test_lesions_of_a_segmentation_are_drawn_as_white_matter() -> None:
    whole = ball(*HEAD)
    spotted = Scan(whole.array.copy(), whole.affine)
    white = np.argwhere(whole.array == 2)
    spotted.array[tuple(white[::3].T)] = 25
    spotted.array[tuple(white[1::3].T)] = 57
    for contrast, image in drawing.draw_scans(drawing.brain_of(whole, ""), (3,)).images.items():
        other = drawing.draw_scans(drawing.brain_of(spotted, ""), (3,)).images[contrast]
        np.testing.assert_array_equal(image, other)


def test_the_mask_is_closed_over_sulci_and_leaves_the_skull_out() -> None:
    labels = ball(*HEAD)
    array = labels.array.copy()
    array[26:28, 26:28, 44:] = np.where(
        array[26:28, 26:28, 44:] == 3, 24, array[26:28, 26:28, 44:]
    )  # a sulcus
    brain = drawing.brain_of(Scan(array, labels.affine), "")
    for number in range(3):
        drawn = drawing.draw_scans(brain, (number,))
        volume_ml = np.count_nonzero(drawn.brain) * drawn.grid.spacing_mm**3 / 1000
        assert 0.75 < volume_ml / (4 / 3 * np.pi * 7.6**3) < 1.35  # scaled at random
        assert drawing.ndimage.label(~drawn.brain)[1] == 1
        assert not any(drawn.brain.take(end, axis).any() for axis in range(3) for end in (0, -1))
        assert all((image[~drawn.brain] == 0).all() for image in drawn.images.values())


def test_the_deformation_does_not_fold() -> None:
    brain = drawing.brain_of(ball(*HEAD), "")
    for number in range(3):
        position = drawing._position(brain, drawing.Subject((number,), 50.0, "F"))
        slopes = np.array([np.gradient(component, brain.coarse.spacing_mm) for component in position])
        assert np.linalg.det(slopes.transpose(2, 3, 4, 0, 1)).min() > 0


def test_every_number_of_the_release_is_known_and_belongs_to_one_structure() -> None:
    release = [0, *range(2, 6), 7, 8, *range(10, 19), *range(24, 27), 28, 30, *range(41, 45), 46, 47]
    release += [*range(49, 55), 57, 58, 60, 62, 72, 85, 136, 137, 163, 164, 502, 506, 507, 511, 530]
    assert set(release) <= structures.KNOWN
    every = [label for structure in structures.STRUCTURES for label in structure.labels]
    assert len(every) == len(set(every))
    table = structures.numbers()
    assert structures.NAMES[table[25]] == structures.NAMES[table[2]] == "white matter"
    with pytest.raises(SubjectError, match="labelled brain"):
        drawing.brain_of(ball((20.0, 3)), "a pea")


# ---- with the rest -----------------------------------------------------------------------------


@pytest.mark.thorough
def test_drawn_scans_are_prepared(drawn: Found, tmp_path: Path) -> None:
    for contrast in ("FLAIR", "T2"):
        cohort = prepare(drawn.sessions[:1], contrast, GRIDS["g48"], drawn.card, tmp_path, 1, Silent())
        assert cohort.failures == ()
        assert 1500 < cohort.prepared[0].facts["brain_ml"] < 2300


def test_flair_of_patients_is_learned_from_label_maps_in_a_regime_of_its_own(
    runtime: Runtime, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "DRAWS", 1)
    for name in ("mslub", "brats21", "brats13", "wmh17", "isles22", "msseg16"):
        card = dataset_card(name)
        assert list(card.partners["FLAIR"]) == ["labelmaps"]
        assert regime(dataset_card("labelmaps"), card) == "synthetic"
        assert all(sets[-1] == "labelmaps" for sets in card.partners.values())
    testing.write_fixture("mslub", tmp_path / "mslub", subjects=2)
    runtime.paths.remember_root("mslub", tmp_path / "mslub")
    config = RunConfig(method="random", dataset="mslub", contrast="FLAIR", preset="ci", protocol="uad-1-4mm")
    with pytest.raises(UserError, match="labelmaps, the first partner of mslub, is not under"):
        resolve_run(replace(config, method="ae"), runtime)
    assert resolve_run(config, runtime).train is None
    runtime.paths.remember_root("labelmaps", written)
    assert resolve_run(config, runtime).train is None  # whether label maps lie on the disk changes nothing
    plan = resolve_run(replace(config, train="labelmaps"), runtime)
    assert plan.train is not None
    assert plan.train.card.name == "labelmaps"
    assert plan.train.sessions[0].images["FLAIR"].is_relative_to(runtime.paths.drawn("labelmaps"))
    (tmp_path / "mslub" / datasets.FIXTURE_NOTE).unlink()
    plan = resolve_run(replace(config, method="ae"), runtime)
    assert regime(plan.train.card if plan.train else None, plan.test.card) == "synthetic"


def test_a_folder_without_segmentations_says_where_to_get_them(runtime: Runtime, tmp_path: Path) -> None:
    for root in (tmp_path / "absent", tmp_path / "empty"):
        runtime.paths.remember_root("labelmaps", root)
        with pytest.raises(UserError, match=r"SynthSeg .*expected: training_seg_01"):
            find_dataset("labelmaps", runtime)
        (tmp_path / "empty").mkdir(exist_ok=True)


@pytest.mark.slow
def test_the_segmentations_of_real_people_are_drawn(real_scans: Callable[[str], Path]) -> None:
    for path in sorted(real_scans("labelmaps").glob("*.nii.gz"))[:2]:
        brain = drawing.brain_of(drawing.read_segmentation(path), path.name)
        drawn = drawing.draw_scans(brain, (1,))
        volume_ml = np.count_nonzero(drawn.brain) * drawn.grid.spacing_mm**3 / 1000
        assert 1000 < volume_ml < 2000
        assert scan.voxel_hash(drawn.images["T1"]) != scan.voxel_hash(
            drawing.draw_scans(brain, (2,)).images["T1"]
        )
