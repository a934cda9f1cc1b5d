"""LGG and the protocol uad-1-2d: slices without geometry, from the pictures to the record."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from uadbench import catalog, datasets, testing
from uadbench.cards import dataset_card
from uadbench.cli import main
from uadbench.data import splits
from uadbench.data.prepared import Prepared
from uadbench.data.session import Session, Slice
from uadbench.data.sizes import PIXELS
from uadbench.data.space import GRIDS, NATIVE, Frame, make_frame, resample
from uadbench.data.volumes import Volumes
from uadbench.datasets import Found
from uadbench.evaluation import postprocess
from uadbench.evaluation.components import FALSE, FOUND, LESIONS, Lesions
from uadbench.evaluation.postprocess import PROFILES
from uadbench.evaluation.summary import _slice_level
from uadbench.experiment.config import RunConfig, Runtime, resolve_run
from uadbench.experiment.prepare_dataset import prepare_dataset
from uadbench.experiment.record import Stored, plain
from uadbench.experiment.run import run
from uadbench.learning.training import Slices, reconstruct
from uadbench.preprocessing import duplicates, prepare, slice_brains, stacks
from uadbench.preprocessing.verify import Report, verify
from uadbench.protocol import protocol
from uadbench.report import formats, leaderboard
from uadbench.system.errors import SubjectError, UserError
from uadbench.system.progress import Silent
from uadbench.testing.slices import SLICE_CORRUPTIONS

CARD = dataset_card("lgg")
PATIENT = "TCGA_ZZ_7002_19990101"  # whom a single corruption befalls

Maker = Callable[..., Found]


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    """Write a fixture and find what lies there."""

    def made(*corruptions: str, subjects: int = 3, layout: str | None = None) -> Found:
        root = tmp_path / f"lgg {len(list(tmp_path.iterdir()))}"
        testing.write_fixture("lgg", root, subjects=subjects, corruptions=corruptions, layout=layout)
        return datasets.find_sessions("lgg", root)

    return made


def check(found: Found) -> Report:
    return verify(found, 1, Silent())


def one(found: Found, subject_id: str) -> Session:
    return next(subject for subject in found.sessions if subject.id == subject_id)


def prepared_of(found: Found, tmp_path: Path, contrast: str = "FLAIR", on: Frame = NATIVE) -> list[Prepared]:
    subjects = [subject for subject in found.sessions if contrast in subject.images]
    made = prepare.prepare(subjects, contrast, on, found.card, tmp_path / "cache", 1, Silent())
    assert made.failures == ()
    return list(made.prepared)


# ---- the adapter -------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["kaggle_3m", "nested"])
def test_a_patient_is_a_whole_stack_and_its_lesion_free_slices(layout: str, make: Maker) -> None:
    found = make(layout=layout, subjects=2)
    assert [s.id for s in found.sessions] == [
        "TCGA_ZZ_7001_19990101",
        "TCGA_ZZ_7001_19990101_lesion-free",
        "TCGA_ZZ_7002_19990101",
        "TCGA_ZZ_7002_19990101_lesion-free",
    ]
    assert found.left_out == ()
    whole, free = found.sessions[:2]
    assert (whole.subject, whole.label, whole.site) == ("TCGA_ZZ_7001", "19990101", "ZZ")
    assert (whole.healthy, whole.slices, free.healthy, free.slices) == (False, "all", True, "lesion-free")
    assert whole.channels == {"T1": 0, "FLAIR": 1, "T1c": 2}
    assert whole.sex in ("F", "M")
    assert whole.age is not None
    # The numbers have no leading zeros: 10 comes after 9, not after 1.
    assert [s.image.stem.rpartition("_")[2] for s in whole.stack] == [str(n) for n in range(1, 17)]
    report = check(found)
    assert report.ok
    assert [(c.contrast, c.expected, c.found, c.missing) for c in report.counts] == [
        ("FLAIR", 110, 2, 108),
        ("T1", 104, 2, 102),
        ("T1c", 101, 2, 99),
    ]


def test_the_table_may_have_commas_and_points(make: Maker) -> None:
    plain, *others = (
        [(s.age, s.sex) for s in make(*corruptions).sessions]
        for corruptions in ((), ("commas",), ("semicolons",), ("unicode_text",), ("remark_lines",))
    )
    assert others == [plain] * 4


@pytest.mark.parametrize("corruption", ["contradicting_rows", "impossible_age"])
def test_an_age_that_cannot_be_true_is_unknown(corruption: str, make: Maker) -> None:
    found = make(corruption)
    assert [s.id for s in found.sessions if s.age is None] == [PATIENT, f"{PATIENT}_lesion-free"]
    assert PATIENT.rpartition("_")[0] in found.remarks[0].reason


def test_a_patient_without_a_row_has_neither_age_nor_sex(make: Maker) -> None:
    known = {s.id: s.age is not None and s.sex is not None for s in make("file_without_row").sessions}
    assert [name for name, there in known.items() if not there] == [PATIENT, f"{PATIENT}_lesion-free"]


@pytest.mark.parametrize(
    ("corruption", "item", "reason"),
    [
        ("missing_sequence", f"{PATIENT} T1c", "missing and replaced by FLAIR"),
        ("no_mask", f"{PATIENT} slice 3", "has no mask"),
        ("no_image", f"{PATIENT} slice 3", "has a mask and no image"),
        ("row_without_file", "data.csv", "rows without an image: 1, TCGA_ZZ_7002"),
    ],
)
def test_what_is_not_used_is_named_with_the_reason(
    corruption: str, item: str, reason: str, make: Maker
) -> None:
    found = make(corruption)
    assert {left.id: reason in left.reason for left in found.left_out} == {item: True}
    assert check(found).ok


def test_a_slice_in_two_files_is_left_out(make: Maker) -> None:
    root = make().root
    for name, again in (("3.tif", "3.TIFF"), ("5_mask.tif", "05_mask.tif")):
        (picture,) = root.rglob(f"{PATIENT}_{name}")
        shutil.copy(picture, picture.with_name(f"{PATIENT}_{again}"))
    found = datasets.find_sessions("lgg", root)
    assert {item.id: item.reason for item in found.left_out} == {
        f"{PATIENT} slice 3": "is there twice",
        f"{PATIENT} slice 5": "is there twice",
    }
    assert len(one(found, PATIENT).stack) == 14


def test_a_missing_sequence_leaves_the_other_contrasts(make: Maker) -> None:
    subject = one(make("missing_sequence"), PATIENT)
    assert sorted(subject.images) == sorted(subject.channels) == ["FLAIR", "T1"]


def test_the_archive_holds_everything_twice(make: Maker) -> None:
    found = make("downloaded_twice", subjects=2)
    assert len(found.sessions) == 4
    assert [left.reason for left in found.left_out] == ["a second copy beside kaggle_3m"] * 2


def test_a_patient_without_any_lesion_is_healthy_only(make: Maker) -> None:
    found = make("no_lesion")
    subject = one(found, PATIENT)
    assert (subject.healthy, subject.slices, subject.lesion_mask) == (True, "all", None)
    assert len(found.sessions) == 5
    assert check(found).ok


def test_macos_files_and_copies_of_flair_in_single_slices_harm_nobody(make: Maker) -> None:
    report = check(make("macos", "missing_slice"))
    assert report.ok
    assert report.left_out == ()
    (remark,) = report.remarks
    assert "T1c of TCGA_ZZ_7003_19990101_8.tif is a copy of FLAIR" in remark.reason


@pytest.mark.parametrize(
    ("corruption", "sentence"),
    [
        ("unknown_label", r"_3_mask.tif has the labels [7], the data set's card lists [0, 255]"),
        ("constant", "FLAIR has one value in all pixels"),
        ("truncated", "_3.tif cannot be read"),
        ("zero_bytes", "_3.tif cannot be read"),
        ("duplicate", "FLAIR is the same image voxel by voxel as TCGA_ZZ_7001_19990101 FLAIR"),
    ],
)
def test_a_spoilt_picture_is_a_problem_of_that_patient_alone(
    corruption: str, sentence: str, make: Maker
) -> None:
    report = check(make(corruption))
    assert {problem.subject_id for problem in report.problems} == {PATIENT}
    assert any(sentence in problem.reason for problem in report.problems)


def test_every_corruption_is_tested() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert set(testing.corruption_names("lgg")) == {
        *SLICE_CORRUPTIONS,
        *("commas", "downloaded_twice", "semicolons", "file_without_row", "unicode_text", "remark_lines"),
        *("contradicting_rows", "impossible_age", "macos"),
    }
    assert all(f'"{corruption}"' in text for corruption in testing.corruption_names("lgg"))


def test_adapter_and_fixture_stay_short() -> None:
    for file in ("dataset.py", "fixture.py"):
        assert len((catalog.locate("datasets", "lgg") / file).read_text().splitlines()) <= 80


# ---- preparation -------------------------------------------------------------------------------


def test_pictures_are_turned_with_the_front_last_and_the_right_last(tmp_path: Path) -> None:
    from uadbench.testing.slices import write_picture

    picture = np.zeros((4, 6, 3), np.uint8)
    picture[0, 0, 1] = 9  # top left: the person's front and right
    write_picture(tmp_path / "1.tif", picture)
    images = stacks.read_images([Slice(tmp_path / "1.tif", tmp_path / "1_mask.tif")])
    assert images.shape == (3, 6, 4, 1)
    assert np.argwhere(images).tolist() == [[1, 5, 3, 0]]


@pytest.mark.parametrize("compression", ["tiff_lzw", "zstd", "packbits", None])
def test_pictures_are_read_however_they_are_compressed(compression: str | None, tmp_path: Path) -> None:
    """LZW needs a codec that tifffile lacks: "fetch the file again"."""
    path = tmp_path / "1.tif"
    for shape in ((20, 30, 3), (20, 30)):
        picture = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
        Image.fromarray(picture).save(path, "TIFF", compression=compression)
        np.testing.assert_array_equal(stacks.read_picture(path), picture)


def test_masks_of_0_and_1_are_taken_where_the_card_says_255(make: Maker, tmp_path: Path) -> None:
    found = make(subjects=1)
    before = prepared_of(found, tmp_path)[0].lesion()
    for one_slice in found.sessions[0].stack:
        mask = stacks.read_picture(one_slice.mask)
        tifffile.imwrite(one_slice.mask, (mask > 0).astype(np.uint8), metadata=None)
    report = check(found)
    assert report.ok
    assert [r.reason for r in report.remarks] == ["masks have the values 0 and 1: 1 is taken for lesion"]
    np.testing.assert_array_equal(prepared_of(found, tmp_path)[0].lesion(), before)


def test_a_codec_that_nobody_here_has_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "1.tif"
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(path, "TIFF", compression="tiff_lzw")

    def refuse(_: Path) -> None:
        raise OSError("decoder is not available")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(SubjectError, match=r"1\.tif is compressed by LZW.* install the package imagecodecs"):
        stacks.read_picture(path)


def test_a_picture_that_announces_gigabytes_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "1.tif"
    tifffile.imwrite(path, np.zeros((8, 8), np.uint8), metadata=None)
    with tifffile.TiffFile(path, mode="r+") as opened:
        for tag in ("ImageWidth", "ImageLength"):
            opened.pages.first.tags[tag].overwrite(60_000)
    with pytest.raises(SubjectError, match="announces 3600000000 values"):
        stacks.read_picture(path)


def test_empty_slices_are_no_copies() -> None:
    images = np.zeros((2, 3, 3, 3), np.uint8)
    images[:, 1, 1, 1] = 5  # equal and not empty
    images[0, 1, 1, 2] = 5
    assert stacks.find_repeated(images, 0, 1).tolist() == [False, True, False]
    assert not stacks.find_repeated(images, 1, 1).any()


def test_lesion_free_slices_are_those_of_the_whole_stack_pixel_by_pixel(make: Maker, tmp_path: Path) -> None:
    whole, free = prepared_of(make(subjects=1), tmp_path)
    clear = ~whole.lesion().any((0, 1))
    assert 0 < clear.sum() < 16
    np.testing.assert_array_equal(free.image(), whole.image()[..., clear])
    np.testing.assert_array_equal(free.brain(), whole.brain()[..., clear])
    assert not free.lesion().any()
    assert free.facts["slices"] == (np.flatnonzero(clear) + 1).tolist()
    assert whole.grid.shape == (256, 256, 16)
    assert whole.grid.voxel_size == 1
    assert whole.image().max() == 1
    assert whole.facts["quality"]["flags"] == []


def test_the_brain_of_a_phantom_head_is_found_without_an_atlas(make: Maker, tmp_path: Path) -> None:
    from uadbench.testing.heads import draw_head, sample
    from uadbench.testing.slices import SliceFolder, lay_pixels

    whole, _ = prepared_of(make(subjects=1), tmp_path)
    visit = testing.Visit(1, 1, 1, 50.0, "F")
    folder = SliceFolder(visit=visit, image="", mask="", channels=())
    truth = sample(draw_head(1, "glioma", 0).brain, *lay_pixels(folder), 0) > 0
    brain = whole.brain()
    assert 2 * (brain & truth).sum() / (brain.sum() + truth.sum()) > 0.93


def test_bridges_to_the_scalp_do_not_let_it_into_the_brain() -> None:
    """Where brain and scalp touch, the scalp came into the masks of seven patients that nobody flagged."""
    right, front = np.indices((256, 256)) - 128.0
    radius, angle = np.hypot(right, front * 0.8), np.arctan2(front, right)
    flair = np.zeros((256, 256, 14), np.uint8)
    brains = np.zeros(flair.shape, bool)
    for position, size in enumerate([48, 55, 62, 66, 68, 70, 70, 70, 68, 65, 60, 52, 42, 30]):
        brains[..., position] = radius < size
        scalp = (radius >= size + 7) & (radius < size + 15)
        # An eighth of the way round there is no dark rim between them.
        bridge = (radius >= size) & (radius < size + 7) & (np.abs(angle - position / 3) < 0.4)
        flair[..., position] = np.where(brains[..., position] | bridge, 100, np.where(scalp, 130, 0))
    found = slice_brains.find_brains(flair, "a")
    assert (found & ~brains).sum() < 0.02 * brains.sum()
    assert (brains & ~found).sum() < 0.05 * brains.sum()


def test_a_brain_that_is_missed_on_one_side_is_flagged() -> None:
    from uadbench.preprocessing.prepare_stack import _quality

    brain = np.zeros((256, 256, 10), bool)
    brain[64:192, 64:192] = True
    nothing = np.zeros_like(brain)
    assert _quality(brain, nothing)["flags"] == []
    brain[128:, :, 8] = False
    assert _quality(brain, nothing)["flags"] == []  # the last slice at an end
    brain[128:, :, 7] = False
    said = "2 slices whose brain is on one side, expected 1 or fewer"
    assert _quality(brain, nothing)["flags"] == [said]


def test_air_has_no_brain() -> None:
    with pytest.raises(SubjectError, match="shows no head"):
        slice_brains.find_brains(np.zeros((32, 32, 4), np.uint8), "nobody")


def test_a_slice_that_copies_flair_is_dropped_from_the_other_contrast(make: Maker, tmp_path: Path) -> None:
    found = make("missing_slice", subjects=2)
    counts = {
        contrast: {p.session.id: len(p.facts["slices"]) for p in prepared_of(found, tmp_path, contrast)}
        for contrast in ("FLAIR", "T1c")
    }
    assert counts["FLAIR"][PATIENT] == 16
    assert counts["T1c"][PATIENT] == 15


def test_model_grids_resize_slices_in_the_plane_and_keep_their_number() -> None:
    stack = make_frame(GRIDS["g128"]).stack((256, 256), 7)
    assert (stack.name, stack.shape, stack.spacing_mm, stack.origin_mm) == (
        "g128-2d",
        (128, 128, 7),
        2.0,
        (0.5, 0.5, 0.0),
    )
    assert stack.voxel_size == 4
    # 48 x 56 pixels: one scale for both axes, so that the whole slice is there.
    small = make_frame(GRIDS["g48"]).stack((256, 256), 7)
    assert small.shape == (48, 56, 7)
    assert small.spacing_mm == pytest.approx(256 / 48)
    with pytest.raises(TypeError, match="no volume"):
        _ = stack.voxel_ml


def test_maps_come_back_to_the_pixels_slice_by_slice() -> None:
    source, target = Frame("two", (2, 2)).stack((4, 4), 2), NATIVE.stack((4, 4), 2)
    volume = np.zeros((2, 2, 2), np.float32)
    volume[1, :, 0] = 1
    volume[..., 1] = 5
    back = resample(volume, source, target)
    # Centres of the coarse pixels lie at 0.5 and 2.5 of the fine ones.
    np.testing.assert_allclose(back[:, 0, 0], [0, 0.25, 0.75, 1])
    np.testing.assert_allclose(back[..., 1], 5)  # nothing crosses from slice to slice
    with pytest.raises(ValueError, match="Nothing leads from grid two"):
        resample(volume, source, NATIVE.stack((4, 4), 3))
    with pytest.raises(ValueError, match="Nothing leads"):
        resample(volume, source, GRIDS["g48"])


def test_training_takes_volumes_of_differing_numbers_of_slices(make: Maker, tmp_path: Path) -> None:
    items = prepared_of(make(subjects=2), tmp_path, on=make_frame(GRIDS["g48"]))
    volumes = Volumes(items, GRIDS["g48"])
    assert len({volume.brain.shape[2] for volume in volumes}) > 1
    counted = [int(PIXELS.counted_slices(item.facts).sum()) for item in items]
    slices = Slices(volumes, "cpu")
    assert np.bincount(slices.which[:, 0]).tolist() == counted
    assert slices.take(np.arange(3)).image.shape == (3, 1, 48, 56)
    for volume in volumes:
        np.testing.assert_array_equal(reconstruct(lambda image: image, volume, "cpu"), volume.image)


# ---- evaluation in the plane -------------------------------------------------------------------


def test_the_median_and_the_erosion_stay_in_their_slice() -> None:
    grid = NATIVE.stack((9, 9), 3)
    score = np.zeros(grid.shape, np.float32)
    score[..., 1] = 1  # a cube of 5 would see 25 ones of 125 in the middle slice, and give 0
    everywhere = np.ones(grid.shape, bool)
    profile = replace(PROFILES["baur5"], erosion_mm=0.0)
    np.testing.assert_array_equal(postprocess.filtered(score, everywhere, profile, grid), score)
    score[4, 4, 1] = 9
    assert postprocess.filtered(score, everywhere, profile, grid)[4, 4, 1] == 1


def test_components_end_with_their_slice_and_sizes_are_pixels() -> None:
    grid = NATIVE.stack((20, 20), 3)
    mask = np.zeros(grid.shape, bool)
    mask[2:4, 2:4, 0] = mask[2:4, 2:4, 1] = True  # 4 pixels in each of two slices: 8 in three dimensions
    mask[10:13, 10:13, 2] = True  # 9 pixels
    kept = postprocess.drop_components(mask, PROFILES["baur5"], grid)  # 7 or fewer are dropped
    assert np.argwhere(kept.any((0, 1))).ravel().tolist() == [2]

    lesion = np.zeros(grid.shape, bool)
    lesion[2:4, 2:4, 0] = lesion[2:4, 2:4, 1] = True
    lesion[5:15, 5:15, 2] = True  # 100 pixels
    counts = Lesions(lesion, np.zeros_like(lesion), 1.0, PIXELS, flat=True).against(mask)
    assert counts[:, LESIONS].tolist() == [2, 0, 1, 0]
    assert counts[:, FOUND].tolist() == [2, 0, 0, 0]  # 9 of 100 are less than a tenth
    assert counts[:, FALSE].tolist() == [0, 0, 0, 0]


def test_the_slice_auroc_holds_lesion_free_slices_against_those_with_lesion() -> None:
    subjects: list[dict[str, Any]] = [
        {
            "partition": "healthy-test",
            "lesion_kind": None,
            "slice_scores": [1, 3],
            "slice_lesion": [False] * 2,
        },
        {
            "partition": "lesion-test",
            "lesion_kind": "glioma",
            "slice_scores": [9, 2, 4],  # the first is lesion-free, and counted in healthy-test alone
            "slice_lesion": [False, True, True],
        },
        {"partition": "healthy-val", "lesion_kind": None, "slice_scores": [7], "slice_lesion": [False]},
    ]
    found = _slice_level(subjects)
    assert found["auroc_slice"] == 0.75  # 2 > 1, 2 < 3, 4 > 1, 4 > 3
    assert (found["lesion_free"], found["with_lesion"]) == (2, 2)


# ---- the regime within -------------------------------------------------------------------------


def test_a_person_is_learned_from_or_tested_never_both(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    people = [
        Session(id=f"{n}{free}", cohort="lgg", subject=f"p{n}", images={}, healthy=bool(free), slices=kind)
        for n in range(60)
        for free, kind in (("", "all"), ("-free", "lesion-free"))
    ]
    parts = splits.split_sessions(people, CARD)
    splits.check_subjects(parts)
    persons = {name: {s.subject for s in members} for name, members in parts.items()}
    assert persons["healthy-val"] == persons["lesion-val"]
    assert persons["healthy-test"] == persons["lesion-test"]
    assert not persons["healthy-train"] & (persons["lesion-val"] | persons["lesion-test"])
    assert sum(len(p) for p in parts.values()) < len(people)  # whole stacks of train persons take no part
    assert min(len(p) for p in parts.values()) > 0


def test_may_share_allows_one_stage_of_one_person_only() -> None:
    whole = Session(id="a", cohort="lgg", subject="p", images={}, healthy=False)
    free = replace(whole, id="b", healthy=True, slices="lesion-free")
    assert splits.may_share("healthy-test", free, "lesion-test", whole)
    assert splits.may_share("lesion-val", whole, "healthy-val", free)
    assert not splits.may_share("healthy-train", free, "lesion-test", whole)
    assert not splits.may_share("healthy-val", free, "lesion-test", whole)
    assert not splits.may_share("healthy-test", replace(free, slices="all"), "lesion-test", whole)
    with pytest.raises(UserError, match="is in healthy-train and in lesion-test"):
        splits.check_subjects({"healthy-train": [free], "lesion-test": [whole]})


def test_slices_of_one_patient_under_two_names_stop_the_run(make: Maker, tmp_path: Path) -> None:
    items = prepared_of(make("duplicate", subjects=2), tmp_path)
    free_of_one, whole_of_two = items[1], items[2]
    with pytest.raises(UserError, match="share a slice voxel by voxel"):
        duplicates.check_voxels({"healthy-train": [free_of_one], "lesion-test": [whole_of_two]})
    duplicates.check_voxels({"healthy-test": [items[1]], "lesion-test": [items[0]]})


# ---- from end to end ---------------------------------------------------------------------------


@pytest.fixture
def here(runtime: Runtime, tmp_path: Path) -> Runtime:
    testing.write_fixture("lgg", tmp_path / "fixture", subjects=12)
    runtime.paths.remember_root("lgg", tmp_path / "fixture")
    return runtime


@pytest.mark.thorough
def test_verify_prepare_run_and_leaderboard(here: Runtime) -> None:
    made = prepare_dataset("lgg", ["FLAIR"], [], here)
    assert made.counts == {("FLAIR", "pixels"): 24}
    assert (made.failures, made.flagged) == ((), ())
    assert all(page.is_file() for page in made.sheets)

    config = RunConfig(method="intensity", dataset="lgg", contrast="FLAIR", preset="ci")
    outcome = run(config, here)
    record = outcome.record
    assert (record.protocol, record.train, record.test) == ("uad-1-2d", "lgg", "lgg")
    assert record.splits["healthy-test"].persons == record.splits["lesion-test"].persons > 0
    assert record.excluded == []  # to be learned from is no exclusion
    assert record.summary.scan.auroc is None
    assert record.summary.slice is not None
    assert record.summary.slice.with_lesion > 0
    assert 0 <= (record.summary.slice.auroc_slice or -1) <= 1
    points = record.summary.profiles["baur5"].points
    assert set(points) == {"oracle", "oracle_mean", "val", "fpr1", "fpr5"}
    assert set(points["val"].by_size) == set(PIXELS.bands)
    assert "_ml" not in json.dumps([plain(record)["summary"], plain(record)["subjects"]])
    assert all(picture.is_file() for picture in outcome.pictures)
    text = formats.markdown(leaderboard.tables([Stored(record, outcome.path)]))
    assert "Slice-level AUROC" in text
    assert "Scan-level AUROC" not in text

    again = run(replace(config, method="ae", settings={"steps": "3"}), here).record
    assert again.summary.profiles["raw"].prevalence == record.summary.profiles["raw"].prevalence
    assert (again.summary.restoration.healthy_l1 or 0) > 0


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"method": "pca"}, "pca needs volumes in MNI152, and lgg has slices"),
        ({"method": "atlas_z"}, "atlas_z needs volumes in MNI152"),
        ({"protocol": "uad-1"}, "Protocol uad-1 is for volumes in MNI152, and lgg has slices"),
        ({"train": "phantom"}, "Protocol uad-1-2d is for slices without geometry, and phantom has volumes"),
        (
            {"dataset": "phantom", "protocol": "uad-1-2d"},
            "uad-1-2d is for slices .* the protocol of its card",
        ),
    ],
)
def test_slices_and_volumes_do_not_meet(changed: dict[str, str], sentence: str, runtime: Runtime) -> None:
    config = replace(RunConfig(method="ae", dataset="lgg", contrast=None, preset="ci"), **changed)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=sentence):
        resolve_run(config, runtime)


def test_a_method_that_needs_an_atlas_is_refused_with_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["uadbench", "run", "-m", "pca", "-d", "lgg"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("uadbench: pca needs volumes in MNI152")


def test_the_protocol_has_no_grid_of_its_own() -> None:
    assert protocol("uad-1-2d").flat
    assert not protocol("uad-1").flat
    assert protocol("uad-1").model_target("g96") is GRIDS["g96"]


# ---- real patients -----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_real_sample_is_prepared_and_flair_intensity_beats_chance(
    real_scans: Callable[[str], Path], runtime: Runtime
) -> None:
    runtime.paths.remember_root("lgg", real_scans("lgg/kaggle_3m"))
    made = prepare_dataset("lgg", ["FLAIR"], [], runtime)
    assert made.counts == {("FLAIR", "pixels"): 28}
    assert made.failures == ()
    assert {flag.subject_id[:12] for flag in made.flagged} <= {"TCGA_CS_4941"}
    found = {
        method: run(RunConfig(method=method, dataset="lgg", contrast="FLAIR"), runtime).record.summary
        for method in ("intensity", "random")
    }
    raw = {method: summary.profiles["raw"] for method, summary in found.items()}
    assert raw["random"].ap == pytest.approx(raw["random"].prevalence, rel=0.1)
    assert (raw["intensity"].ap or 0) > 2 * (raw["random"].ap or 1)
