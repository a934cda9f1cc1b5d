"""Sizes in the patient's own millimetres: counted by hand, and from end to end on a head of another size."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uadbench.cards import HEADLINES, dataset_card
from uadbench.data import prepared
from uadbench.data.prepared import Prepared
from uadbench.data.sizes import VOLUMES, area_scale, template_scale, voxel_size
from uadbench.data.space import GRIDS, Grid
from uadbench.datasets import names
from uadbench.evaluation import maps
from uadbench.evaluation.evaluate import evaluate
from uadbench.evaluation.maps import Case
from uadbench.evaluation.postprocess import PROFILES, drop_components
from uadbench.evaluation.summary import summarise
from uadbench.experiment import pieces_file
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.predict import predict_scan
from uadbench.experiment.prediction import Asked
from uadbench.experiment.record import RunRecord, Stored
from uadbench.experiment.run import Outcome, run
from uadbench.methods import Score
from uadbench.system.progress import Silent
from uadbench.testing import write_fixture

G48 = GRIDS["g48"]
ONE_MM = Grid("one", (40, 40, 40), 1.0, (0.0, 0.0, 0.0))


def registered(*scales: float) -> dict[str, Any]:
    """Facts of a scan that was enlarged along each axis, and moved."""
    transform = np.diag([*scales, 1.0])
    transform[:3, 3] = [3.0, -7.0, 11.0]
    return {"transform": transform.tolist()}


# ---- by hand -----------------------------------------------------------------------------------


def test_volumes_are_divided_by_the_determinant_and_areas_by_the_two_scales_in_the_plane() -> None:
    facts = registered(1.2, 1.25, 1.1)
    assert template_scale(facts) == pytest.approx(1.65)
    assert area_scale(facts) == pytest.approx(1.5)
    assert voxel_size(G48, facts) == pytest.approx(0.064 / 1.65)
    assert voxel_size(G48, {}) == 0.064  # not registered: slices, and scans that lie on the template
    assert template_scale(registered(-1.2, 1.25, 1.1)) == pytest.approx(1.65)  # stored the other way round


def test_a_slice_that_is_tilted_in_the_head_is_larger_there_than_its_shadow() -> None:
    facts = {"transform": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]}
    # Where y + z stays the same, a step of 1 along y is one of sqrt(2) in the head.
    assert area_scale(facts) == pytest.approx(1 / np.sqrt(2))


@settings(deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=9, max_size=9))
def test_an_axial_area_goes_back_to_the_head_like_its_two_edges(numbers: list[float]) -> None:
    matrix = 2.5 * np.eye(3) + np.reshape(numbers, (3, 3))
    if abs(np.linalg.det(matrix)) < 0.1:
        return
    transform = np.eye(4)
    transform[:3, :3] = matrix
    right, front = np.linalg.inv(matrix)[:, :2].T
    own = np.linalg.norm(np.cross(right, front))
    assert area_scale({"transform": transform.tolist()}) == pytest.approx(1 / own, rel=1e-6)


def test_slices_count_from_2000_of_the_patients_own_square_millimetres() -> None:
    areas = {"slice_area_mm2": [1999.0, 2000.0, 2999.0, 3000.0]}
    assert VOLUMES.counted_slices(areas).tolist() == [False, True, True, True]
    grown = areas | registered(1.2, 1.25, 1.7)
    assert VOLUMES.counted_slices(grown).tolist() == [False, False, False, True]


def test_components_are_dropped_up_to_7_of_the_patients_own_cubic_millimetres() -> None:
    binary = np.zeros(ONE_MM.shape, bool)
    for row, length in enumerate((7, 8, 12, 13)):
        binary[5 * row, 5, :length] = True
    baur = PROFILES["baur5"]
    for scale, kept in ((1.0, {8, 12, 13}), (1.77, {13})):  # 12 / 1.77 = 6.8; 13 / 1.77 = 7.3
        found = drop_components(binary, baur, ONE_MM, scale)
        assert set(found.sum(2).ravel()) - {0} == kept


def test_a_window_is_never_even_unless_it_was_asked_for() -> None:
    edges = {name: [profile.median_voxels(GRIDS[g])[0] for g in GRIDS] for name, profile in PROFILES.items()}
    assert edges["median3"] == [1, 1, 1, 3]  # of 4, 2, 1.75 and 1 mm
    assert edges["baur5"] == [1, 3, 3, 5]
    assert edges["median4"] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", [n for n in names() if dataset_card(n).role != "healthy"])
def test_every_test_set_says_by_which_profile_it_ranks(name: str) -> None:
    card = dataset_card(name)
    assert card.headline in HEADLINES
    small = name in ("mslub", "msseg16", "wmh17", "isles22")
    assert card.headline == ("raw" if small else "baur5")


# ---- evaluation of a head that is 1.728 times as large on the template --------------------------


@pytest.fixture
def two_sizes(toy: Callable[..., list[Prepared]], tmp_path: Path) -> Callable[[dict[str, Any]], Any]:
    """Evaluates a map that marks the lesion and 20 voxels beside it, of toys with these facts."""

    def work(more: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        cases = []
        for item, part in (
            *((p, "healthy-test") for p in toy(range(3), healthy=True)),
            *((p, "lesion-test") for p in toy(range(8, 11), healthy=False)),
        ):
            facts = dict(item.facts) | more
            path = tmp_path / "again" / item.path.name
            prepared.write_codes(path, np.asarray(item.codes), _axes(item.labels), facts)
            own = replace(item, path=path)
            score_map = own.lesion().astype(np.float32)
            score_map[14:19, 26:30, 22] = 1.0
            file = tmp_path / "maps" / path.name
            maps.write_map(file, Score(score_map), 0.1, 1.0)
            cases.append(Case(part, own, file, own.grid))
        made = evaluate(cases, ("raw",), tmp_path / "scratch", 1, Silent())
        return made, summarise(made, 0.064)

    return work


def _axes(labels: Any) -> Any:
    return None if labels is None else np.asarray(labels).transpose(1, 2, 0)


def test_lesions_false_positives_and_bands_are_the_patients_own(two_sizes: Any) -> None:
    (plain, before), (grown, after) = two_sizes({}), two_sizes(registered(1.2, 1.2, 1.2))
    for small, large in zip(plain.subjects, grown.subjects, strict=True):
        assert (small["template_scale"], large["template_scale"]) == (1.0, pytest.approx(1.728))
        assert large["lesion_ml"] == pytest.approx(small["lesion_ml"] / 1.728, rel=0.02)  # thin slices
    points = [s["profiles"]["raw"]["points"]["oracle"] for s in (before, after)]
    assert points[0]["healthy_false_ml"] == pytest.approx(20 * 0.064)
    assert points[1]["healthy_false_ml"] == pytest.approx(20 * 0.064 / 1.728)
    # 20 voxels are 1.28 ml of the template, but 0.74 ml of the patient.
    false = [point["by_size"]["1 to 10 ml"]["false_components"] for point in points]
    assert false[0] > 0 == false[1]
    assert points[1]["by_size"]["0.1 to 1 ml"]["false_components"] > 0


def test_the_whole_lesion_has_the_volume_of_its_file(two_sizes: Any) -> None:
    made, _ = two_sizes(registered(1.2, 1.2, 1.2) | {"lesion_own_ml": 4.2})
    for subject in made.subjects:
        total = subject["lesion_ml"] + subject["lesion_ml_outside_counted_slices"]
        assert total == pytest.approx(4.2 if subject["partition"] == "lesion-test" else 0)


def test_flagged_scans_can_be_left_out_of_the_pooled_figures(two_sizes: Any) -> None:
    made, summary = two_sizes({"quality": {"flags": []}})
    assert summary["profiles"]["raw"]["unflagged"] is None
    made.subjects[3]["flags"].append("scalp in the brain mask")
    found = summarise(made, 0.064)["profiles"]["raw"]
    assert found["unflagged"]["subjects"] == 2
    alone = {k: found["unflagged"][k] for k in ("ap", "auroc", "prevalence")}
    made.subjects[3]["partition"] = "lesion-val"
    rest = summarise(made, 0.064)["profiles"]["raw"]
    assert alone == {k: rest[k] for k in alone}


# ---- from end to end: a head of another size -----------------------------------------------------


@pytest.fixture
def small_heads(runtime: Runtime) -> Path:
    """The fixture of BraTS 2013, its voxels shrunk to .85 of their edge: heads of .61 of the volume."""
    root = runtime.paths.data / "brats13"
    write_fixture("brats13", root, subjects=2)
    for file in root.rglob("*.nii*"):
        image = nibabel.load(file)
        affine = image.affine.copy()
        affine[:3] *= 0.85
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), file)
    return root


@pytest.fixture
def scaled(runtime: Runtime, small_heads: Path) -> Outcome:
    """`brightness` on the T1c of the small heads, which is what their registration is made on."""
    config = RunConfig(
        method="brightness", dataset="brats13", contrast="T1c", train="none", preset="ci",
        protocol="uad-1-4mm", split="all-test",
    )  # fmt: skip
    return run(config, runtime)


def own_lesion_ml(root: Path, subject: str) -> float:
    (folder,) = (f for f in root.rglob(f"*{subject}*") if f.is_dir())
    image = nibabel.load(folder / "OTMultiClass.nii.gz")
    voxel = abs(np.linalg.det(image.affine[:3, :3]))
    return float((np.asarray(image.dataobj) > 0).sum() * voxel / 1000)


@pytest.mark.thorough
def test_run_and_predict_state_the_volumes_of_the_files(
    scaled: Outcome, runtime: Runtime, small_heads: Path, tmp_path: Path
) -> None:
    made: RunRecord = scaled.record
    assert (made.train, made.regime, made.headline) == (None, "phantom", "baur5")
    assert made.variant == "ci,split=all-test"
    assert made.splits["lesion-val"].subjects == 0
    for subject in made.subjects:
        assert subject.template_scale > 1.2
        whole = (subject.lesion_ml or 0) + (subject.lesion_ml_outside_counted_slices or 0)
        assert whole == pytest.approx(own_lesion_ml(small_heads, subject.id), rel=0.02)

    first = made.subjects[0]
    arrays = pieces_file.read_pieces(Stored(made, scaled.path)).voxels["baur5"]
    marked = int(arrays[0, 0, 0] + arrays[0, 0, 1])  # at the oracle's threshold
    stated = marked * GRIDS["g48"].voxel_ml / first.template_scale
    (folder,) = (f for f in small_heads.rglob(f"*{first.id}*") if f.is_dir())
    scan, brain = folder / "T1c_subtrMeanDivStd.nii.gz", folder / "brainmask.nii.gz"
    threshold = str(made.thresholds["baur5"]["oracle"])
    found = predict_scan(scaled.path, scan, tmp_path / "out", runtime, Asked(brain, point=threshold))
    assert found.operating_point == "given"
    assert found.suspicious_ml == pytest.approx(stated, rel=1e-4)
    mask = nibabel.load(tmp_path / "out" / "mask.nii.gz")
    voxel = abs(np.linalg.det(mask.affine[:3, :3]))  # voxels of 4 mm and of 1.7 mm share no borders
    assert found.suspicious_ml == pytest.approx(mask.get_fdata().sum() * voxel / 1000, rel=0.1)
    outside = nibabel.load(brain).get_fdata() == 0
    assert not nibabel.load(tmp_path / "out" / "score_map.nii.gz").get_fdata()[outside].any()

    bare = predict_scan(scaled.path, scan, tmp_path / "bare", runtime, Asked(brain))  # no threshold is frozen
    assert (bare.operating_point, bare.threshold, bare.suspicious_ml) == (None, None, None)
    assert (tmp_path / "bare" / "score_map.nii.gz").exists()
    assert not (tmp_path / "bare" / "mask.nii.gz").exists()
    assert json.loads((tmp_path / "bare" / "prediction.json").read_text())["threshold"] is None
