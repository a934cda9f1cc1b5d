"""Maps and masks that were made elsewhere: paired, refused where they must be, measured, recorded, shown."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from typer.testing import CliRunner

import uadbench
from uadbench.api import make_runtime
from uadbench.cli import app
from uadbench.data.space import Grid
from uadbench.evaluation.matching import match_lesions
from uadbench.experiment.check_record import check_record
from uadbench.experiment.collect import collect_records
from uadbench.experiment.config import Runtime
from uadbench.experiment.elsewhere.asked import MapsConfig
from uadbench.experiment.elsewhere.cases import bring_scores
from uadbench.experiment.elsewhere.pairing import key_of, pair_files
from uadbench.experiment.record import Stored
from uadbench.experiment.run import Outcome
from uadbench.report import formats, views
from uadbench.report import leaderboard as board
from uadbench.system.errors import UserError
from uadbench.system.paths import Paths
from uadbench.system.progress import Silent

SHAPE, SIDES = (12, 14, 8), (2.0, 2.0, 4.0)
AFFINE = np.diag([-2.0, 2.0, 4.0, 1.0])  # the first axis runs to the left
Array = NDArray[Any]


def write(path: Path, array: Array, affine: Array = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def lesion_of(number: int) -> NDArray[np.bool_]:
    """Two lesions, of 8 and 2 voxels."""
    mask = np.zeros(SHAPE, bool)
    mask[4:6, 4 + number : 6 + number, 3:5] = True
    mask[8:10, 10, 6] = True
    return mask


def score_of(number: int, lesion: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    noise = np.random.default_rng(number).normal(0, 1, SHAPE)
    return (noise + (0 if lesion is None else 2 * lesion)).astype(np.float32)


def brain() -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, bool)
    mask[1:11, 1:13, 1:8] = True
    return mask


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of maps, lesion masks and brain masks of three patients, and maps of healthy scans."""
    root = tmp_path_factory.mktemp("own")
    for n in range(3):
        lesion = lesion_of(n)
        write(root / f"maps/sub-{n}_T1w_anomaly.nii.gz", score_of(n, lesion))
        write(root / f"masks/sub-{n}_pred.nii", (score_of(n, lesion) > 1.5).astype(np.uint8) * 255)
        write(root / f"truth/sub-{n}_label-L_mask.nii.gz", lesion.astype(np.uint8))
    for n in range(20, 26):
        write(root / ("healthy" if n < 23 else "val") / f"sub-{n}_anomaly.nii.gz", score_of(n))
    for n in (*range(3), *range(20, 26)):
        write(root / f"brain/sub-{n}_desc-brain_mask.nii.gz", brain().astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def done(made: Path) -> Outcome:
    """What was measured of the maps, with healthy scans; nobody changes it."""
    paths = Paths(made / "data", made / "runs", made / "results", made / "runs" / "cache")
    runtime = Runtime(paths, Silent(), "cpu", workers=1)
    folders: dict[str, Any] = {name: made / name for name in ("truth", "brain", "healthy", "val")}
    return uadbench.evaluate_maps(made / "maps", runtime=runtime, name="mine", **folders)


@pytest.fixture(scope="module")
def masked(made: Path, done: Outcome) -> Outcome:
    """The same of the masks, in the same results."""
    paths = Paths(made / "data", made / "runs", made / "results", made / "runs" / "cache")
    runtime = Runtime(paths, Silent(), "cpu", workers=1)
    folders: dict[str, Any] = {name: made / name for name in ("truth", "brain")}
    return uadbench.evaluate_maps(made / "masks", runtime=runtime, name="mask", **folders)


@pytest.fixture
def own(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folders that may be changed, with results of its own."""
    for name in ("data", "runs", "results"):
        monkeypatch.setenv(f"UADBENCH_{name.upper()}", str(tmp_path / name))
    ignored = shutil.ignore_patterns("results", "runs")
    return Path(shutil.copytree(made, tmp_path / "own", ignore=ignored))


def evaluate(own: Path, maps: str = "maps", **asked: Any) -> Any:
    settings: dict[str, Any] = {"truth": own / "truth", "brain": own / "brain", "name": "mine"} | asked
    return uadbench.evaluate_maps(own / maps, runtime=make_runtime("cpu", 1), **settings)


def listed(path: Path, name: str) -> list[dict[str, str]]:
    with open(path.with_suffix(f".{name}.csv"), encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


# ---- figures -----------------------------------------------------------------------------------


def test_figures_are_those_of_the_voxels_of_the_files(done: Outcome) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    regions = [brain() | lesion_of(n) for n in range(3)]
    labels = [lesion_of(n)[region] for n, region in enumerate(regions)]
    scores = [score_of(n, lesion_of(n))[region] for n, region in enumerate(regions)]
    raw = done.record.summary.profiles["raw"]
    pooled = np.concatenate(labels), np.concatenate(scores)
    assert raw.ap == pytest.approx(average_precision_score(*pooled), abs=1e-4)
    assert raw.auroc == pytest.approx(roc_auc_score(*pooled), abs=1e-4)
    ill = [one for one in done.record.subjects if one.partition == "lesion-test"]
    for subject, label, score in zip(ill, labels, scores, strict=True):
        assert subject.ap["raw"] == pytest.approx(average_precision_score(label, score), abs=1e-6)
        assert subject.lesion_ml == pytest.approx(10 * 0.016)  # voxels of 2 x 2 x 4 mm
        assert subject.voxel_ml == pytest.approx(0.016)
    healthy = np.concatenate([score_of(n)[brain()] for n in range(23, 26)])
    threshold = done.record.thresholds["raw"]["fpr1"]
    assert (healthy >= np.float32(threshold)).mean() <= 0.01
    assert raw.points["fpr1"].healthy_false_ml is not None
    assert done.record.summary.scan.auroc is not None


def test_the_record_says_where_its_maps_come_from_and_is_consistent(done: Outcome) -> None:
    made = done.record
    assert made.elsewhere is not None
    assert made.elsewhere.kind == "maps"
    assert made.elsewhere.own_truth
    assert (made.protocol, made.model_grid, made.trained, made.train) == (
        "uad-1-native",
        "native",
        False,
        None,
    )
    assert check_record(done.path).wrong == []


def test_arrays_give_the_record_of_the_files(own: Path, done: Outcome) -> None:
    of_files = done.record
    lesions = {f"sub-{n}": lesion_of(n) for n in range(3)}
    of_arrays = uadbench.evaluate_maps(
        {name: score_of(n, mask) for n, (name, mask) in enumerate(lesions.items())},
        lesions,
        brain=dict.fromkeys(lesions, brain()),
        spacing_mm=SIDES,
        name="arrays",
        runtime=make_runtime("cpu", 1),
    ).record

    # The files run to the left, the arrays to the right: figures do not know.
    assert of_arrays.summary.profiles["raw"].ap == of_files.summary.profiles["raw"].ap
    of_both = (one.summary.profiles["raw"].points["oracle"] for one in (of_arrays, of_files))
    assert len({(point.dsc, point.recall, point.threshold) for point in of_both}) == 1


def test_storage_orientation_does_not_matter(own: Path, done: Outcome) -> None:
    straight = done.record
    for path in (own / "maps").iterdir():
        image = nibabel.load(path)
        nibabel.save(image.as_reoriented(nibabel.orientations.axcodes2ornt(("P", "S", "R"))), path)

    turned = evaluate(own, name="turned").record

    assert turned.summary.profiles["raw"].ap == straight.summary.profiles["raw"].ap


def test_every_lesion_is_listed_with_its_volume_and_place(masked: Outcome) -> None:
    rows = listed(masked.path, "lesions")

    assert len(rows) == 6
    small, large = sorted(rows[:2], key=lambda row: float(row["volume_ml"]))
    assert (float(large["volume_ml"]), float(small["volume_ml"])) == (0.128, 0.032)
    # Voxels 4-5, 4-5 and 3-4 in the file: -2 * 4.5, 2 * 4.5 and 4 * 3.5 mm in its world.
    assert [float(large[axis]) for axis in ("x_mm", "y_mm", "z_mm")] == [-9.0, 9.0, 14.0]
    covered = ((score_of(0, lesion_of(0)) > 1.5) & lesion_of(0))[4:6, 4:6, 3:5].sum()
    assert float(large["overlap_given"]) == pytest.approx(covered / 8)
    assert large["found_given"] == "found"


def test_masks_have_dice_and_no_thresholds_and_no_curves(masked: Outcome) -> None:
    made, raw = masked.record, masked.record.summary.profiles["raw"]
    called = [(score_of(n, lesion_of(n)) > 1.5) & (brain() | lesion_of(n)) for n in range(3)]
    hits = sum(int((c & lesion_of(n)).sum()) for n, c in enumerate(called))
    expected = 2 * hits / (sum(int(c.sum()) for c in called) + 30)
    assert raw.points["given"].dsc == pytest.approx(expected, abs=1e-6)
    assert set(raw.points) == {"given"}
    assert (raw.ap, raw.auroc, made.summary.scan.auroc) == (None, None, None)
    assert not any(subject.ap for subject in made.subjects)
    assert made.elsewhere is not None
    assert made.elsewhere.kind == "masks"
    assert check_record(masked.path).wrong == []


def test_lesions_and_components_are_matched_one_to_one() -> None:
    labels = np.zeros((20, 10, 10), np.uint32)
    labels[2:6, 2:6, 2:6], labels[10:12, 2:4, 2:4] = 1, 2
    called = np.zeros(labels.shape, bool)
    called[2:6, 2:6, 2:4] = True  # half of the first
    called[2:6, 2:6, 5:6] = True  # another component on a quarter of it
    called[16:18, 8:9, 8:9] = True  # on nothing

    found = match_lesions(labels, called, (1.0, 1.0, 2.0))

    (pair,) = found.pairs  # the second lesion has none
    assert (pair.lesion, found.components, found.false) == (1, 3, 2)
    assert pair.dice == pytest.approx(2 * 32 / (64 + 32))
    assert pair.hd95_mm == 4.0  # two slices of 2 mm


# ---- pairing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("sub-01_ses-2_T1w_anomaly.nii.gz", "sub-01_ses-2"),
        ("sub-01_ses-2_space-orig_label-lesion_mask.nii", "sub-01_ses-2"),
        ("patient07_FLAIR_score.nii.gz", "patient07"),
        ("BraTS-GLI-00001-000-seg.nii.gz", "BraTS-GLI-00001-000"),
        ("a/b/anomaly.nii.gz", "a_b"),
        ("mask.nii", "mask"),
    ],
)
def test_files_of_a_scan_have_one_key(name: str, key: str) -> None:
    assert key_of(Path("/root") / name, Path("/root")) == key


def test_what_belongs_to_nobody_is_listed_and_no_truth_is_passed_over(own: Path) -> None:
    write(own / "maps/sub-9_anomaly.nii.gz", score_of(9))
    (own / "maps/sub-1_T1w_anomaly.nii.gz").unlink()

    paired = pair_files(MapsConfig(maps=own / "maps", truth=own / "truth"))

    assert [one.id for one in paired.entries if one.map is None] == ["sub-1"]
    assert paired.unmatched == (("sub-9", "a map without a lesion mask"),)
    with pytest.raises(UserError, match="sub-1 has no map"):
        evaluate(own)
    done = evaluate(own, leave_out=True).record
    assert [(one.id, one.partition) for one in done.excluded] == [("sub-1", "lesion-test")]
    assert done.splits["lesion-test"].subjects == 3
    assert done.elsewhere is not None
    assert any("sub-9" in said for said in done.elsewhere.remarks)


def test_a_table_names_the_files_and_the_subjects(own: Path, done: Outcome) -> None:
    lines = ["map,truth,brain,subject,site,age,sex,lesion_kind"]
    for n in range(3):
        files = f"maps/sub-{n}_T1w_anomaly.nii.gz,truth/sub-{n}_label-L_mask.nii.gz"
        lines.append(f"{files},brain/sub-{n}_desc-brain_mask.nii.gz,p{n},Leeds,{40 + n},f,stroke")
    lines.append("healthy/sub-20_anomaly.nii.gz,,brain/sub-20_desc-brain_mask.nii.gz,c1,Leeds,50,M,")
    (own / "table.csv").write_text("\n".join(lines))

    made = uadbench.evaluate_maps(own / "table.csv", name="mine", runtime=make_runtime("cpu", 1)).record

    ill = next(one for one in made.subjects if one.id == "p1")
    assert (ill.site, ill.age, ill.sex, ill.lesion_kind) == ("Leeds", 41.0, "F", "stroke")
    assert made.summary.subjects["healthy-test"] == 1
    assert made.summary.profiles["raw"].ap == done.record.summary.profiles["raw"].ap


# ---- bad input ---------------------------------------------------------------------------------


def spoil_shape(own: Path) -> None:
    write(own / "maps/sub-1_T1w_anomaly.nii.gz", np.zeros((12, 14, 9), np.float32))


def spoil_affine(own: Path) -> None:
    write(own / "maps/sub-1_T1w_anomaly.nii.gz", score_of(1), np.diag([2.0, 2.0, 4.0, 1.0]))


def spoil_nan(own: Path) -> None:
    scores = score_of(1)
    scores[5, 5, 4] = np.nan
    write(own / "maps/sub-1_T1w_anomaly.nii.gz", scores)


def spoil_infinite(own: Path) -> None:
    scores = score_of(1)
    scores[5, 5, 4] = np.inf
    write(own / "maps/sub-1_T1w_anomaly.nii.gz", scores)


def spoil_axes(own: Path) -> None:
    write(own / "maps/sub-1_T1w_anomaly.nii.gz", np.zeros((*SHAPE, 2), np.float32))


def spoil_grid_of_mask(own: Path) -> None:
    write(own / "truth/sub-1_label-L_mask.nii.gz", np.zeros((6, 7, 4), np.uint8), AFFINE * 2)


def spoil_name(own: Path) -> None:
    write(own / "maps/sub-1_T2w_anomaly.nii.gz", score_of(1))


def spoil_brain(own: Path) -> None:
    (own / "brain/sub-1_desc-brain_mask.nii.gz").unlink()


def spoil_empty_brain(own: Path) -> None:
    write(own / "brain/sub-1_desc-brain_mask.nii.gz", np.zeros(SHAPE, np.uint8))


def spoil_labels(own: Path) -> None:
    write(own / "truth/sub-1_label-L_mask.nii.gz", score_of(1))


def spoil_folder(own: Path) -> None:
    shutil.rmtree(own / "maps")
    (own / "maps").mkdir()


def spoil_file(own: Path) -> None:
    path = own / "maps/sub-1_T1w_anomaly.nii.gz"
    path.write_bytes(path.read_bytes()[:400])


def spoil_truth(own: Path) -> None:
    for n in range(3):
        write(own / f"truth/sub-{n}_label-L_mask.nii.gz", np.zeros(SHAPE, np.uint8))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_shape, "12 x 14 x 9"),
        (spoil_affine, "same shape, but their affines"),
        (spoil_nan, "1 voxels in the measured region that are NaN or infinite"),
        (spoil_infinite, "1 voxels in the measured region that are NaN or infinite"),
        (spoil_axes, "expected three axes"),
        (spoil_grid_of_mask, "resample the map"),
        (spoil_name, "could both be the file of sub-1"),
        (spoil_brain, "sub-1 has no brain mask"),
        (spoil_empty_brain, "it is no brain"),
        (spoil_labels, "values that are no integers"),
        (spoil_folder, "holds no file that ends in .nii"),
        (spoil_file, "sub-1_T1w_anomaly.nii.gz"),
        (spoil_truth, "no measured voxel is lesion"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence_and_writes_nothing(
    own: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(own)
    arguments = ["evaluate", str(own / "maps"), "--truth", str(own / "truth"), "--brain", str(own / "brain")]

    result = CliRunner().invoke(app, [*arguments, "--quiet", "--workers", "1"])

    assert isinstance(result.exception, UserError)
    assert said in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not list(Path(own.parent, "results").rglob("*.*"))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"truth": None, "brain": None}, "--truth names a folder"),
        ({"name": "intensity"}, "is a method of this benchmark"),
        ({"name": "../x"}, "--name expects"),
        ({"grid": "mni"}, "value of --grid"),
        ({"nan": "zero"}, "value of --nan"),
        ({"dataset": "phantom"}, "has lesion and brain masks of its own"),
        ({"brain": {"sub-0": brain()}}, "must all be arrays"),
        ({"protocol": "uad-1"}, "say --grid protocol"),
        ({"val": "absent"}, "is not a folder"),
        ({"healthy": "maps"}, "every scan is in one partition"),
        ({"grid": "protocol"}, "not where MNI152 has its brain"),
    ],
)
def test_what_was_asked_for_is_looked_at_first(own: Path, asked: dict[str, Any], said: str) -> None:
    folders: dict[str, Any] = {name: own / str(asked[name]) for name in ("val", "healthy") if name in asked}
    with pytest.raises(UserError, match=said):
        evaluate(own, **(asked | folders))


def test_scores_that_are_no_numbers_count_as_the_lowest_where_that_is_asked_for(own: Path) -> None:
    spoil_nan(own)

    done = evaluate(own, nan="lowest").record

    assert done.variant == "made-elsewhere,nan=lowest"
    assert done.elsewhere is not None
    assert any("lowest score" in said for said in done.elsewhere.remarks)


def test_nan_outside_the_brain_is_nothing(own: Path, done: Outcome) -> None:
    scores = score_of(1, lesion_of(1))
    scores[0, 0, 0] = np.nan
    write(own / "maps/sub-1_T1w_anomaly.nii.gz", scores)

    assert evaluate(own).record.summary.profiles["raw"].ap == done.record.summary.profiles["raw"].ap


def test_whole_numbers_with_few_values_are_remarked_on(own: Path) -> None:
    for n in range(3):
        rounded = np.clip(np.rint(score_of(n, lesion_of(n))), 0, 3).astype(np.int16)
        write(own / f"maps/sub-{n}_T1w_anomaly.nii.gz", rounded)

    made = evaluate(own).record

    assert made.elsewhere is not None
    assert any("3 of 3 maps have at most 64 different scores (sub-0: 4" in s for s in made.elsewhere.remarks)


def test_an_empty_lesion_mask_is_counted_and_said(own: Path) -> None:
    write(own / "truth/sub-1_label-L_mask.nii.gz", np.zeros(SHAPE, np.uint8))

    made = evaluate(own).record

    assert made.summary.empty_masks == 1
    assert made.subjects[1].dsc["raw"]["oracle"] is None  # protocol, rule 6
    assert made.elsewhere is not None
    assert any("sub-1 is empty" in said for said in made.elsewhere.remarks)


def test_the_record_of_other_maps_is_not_lost(own: Path) -> None:
    first = evaluate(own)
    write(own / "maps/sub-1_T1w_anomaly.nii.gz", score_of(7))

    with pytest.raises(UserError, match="--force replaces it"):
        evaluate(own)
    assert evaluate(own, force=True).record.score_hash != first.record.score_hash


def test_a_record_takes_no_options_of_maps(done: Outcome) -> None:
    result = CliRunner().invoke(app, ["evaluate", str(done.path), "--truth", "truth"])

    assert "whose maps are known: leave --truth out" in str(result.exception)


# ---- tables ------------------------------------------------------------------------------------


def test_every_table_shows_the_mark(done: Outcome, masked: Outcome) -> None:
    found = collect_records(done.path.parents[5])
    assert not found.left_out
    (table,) = board.tables(found.records, resamples=200)

    assert [row.facts[0] for row in table.rows] == ["mine †", "mask †"]
    assert [row.numbers["ap"] is None for row in table.rows] == [False, True]
    assert table.rows[1].numbers["dsc_given"] is not None
    for text in (formats.markdown([table]), views.sheets_by("lesion", [table], 200)[0].cautions[0]):
        assert "made elsewhere: the maps come from outside" in text
    assert all(row["made_elsewhere"] for row in formats.rows([table]))
    assert {row.trained_on for row in table.rows} == {"not stated"}


def test_a_method_that_is_stated_to_learn_nothing_is_shown_so(done: Outcome) -> None:
    made = done.record
    assert made.elsewhere is not None
    stated = replace(made, elsewhere=replace(made.elsewhere, untrained=True))
    (table,) = board.tables([Stored(stated, done.path)], resamples=0)
    assert table.rows[0].trained_on == "none"


def test_scores_on_another_grid_are_scores_of_the_map_and_no_means() -> None:
    scores = np.random.default_rng(0).normal(size=(6, 7, 5)).astype(np.float32)
    grid = Grid("half", (6, 7, 5), 1.0, (0.0, 0.0, 0.0))
    shift = np.eye(4)
    shift[:3, 3] = 0.4
    np.testing.assert_array_equal(bring_scores(scores, shift, grid), scores)


def test_a_record_of_ours_has_no_mark(made_results: Path) -> None:
    for stored in collect_records(made_results).records:
        assert stored.record.elsewhere is None
        assert not stored.record.of_masks
        assert "elsewhere" not in json.loads(stored.path.read_text())
