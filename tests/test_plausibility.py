"""Plausibility: what cannot belong together is refused with the reason, by verify and preparation alike."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uadbench.cards import DatasetCard
from uadbench.data.session import Session
from uadbench.data.space import GRIDS, Grid
from uadbench.datasets import Found
from uadbench.preprocessing import background, plausibility, prepare, resampling
from uadbench.preprocessing.scan import Scan
from uadbench.preprocessing.verify import verify
from uadbench.system.errors import SubjectError
from uadbench.system.progress import Silent

G48, G96 = GRIDS["g48"], GRIDS["g96"]
LATTICE = Grid("scan", (46, 56, 46), 4.0, (-92.0, -126.0, -80.0))
AFFINE, SHAPE = LATTICE.affine, LATTICE.shape
BALL_MM = (28.0, -30.0, 20.0)


def inside(centre: Any, radius: Any, affine: NDArray[np.float64] = AFFINE, shape: Any = SHAPE) -> Any:
    """Voxels whose world coordinates lie in an ellipsoid."""
    world = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    return (((world - centre) / radius) ** 2).sum(-1) <= 1


BRAIN = inside((0, -18, 8), (64, 80, 60))
BALL = inside(BALL_MM, 13)
NOISE = np.random.default_rng(0).normal(0, 5, SHAPE)
IMAGE = np.where(BALL, 400, np.where(BRAIN, 200 + NOISE, 0)).astype(np.float32)
HEAD = np.where(inside((0, -18, 8), (84, 100, 80)) & ~BRAIN, 120, IMAGE).astype(np.float32)


def card(**facts: Any) -> DatasetCard:
    words: Any = dict.fromkeys(
        ("title", "summary", "address", "access", "licence", "forbids", "citation", "layout"), ""
    )
    return DatasetCard(
        **words,
        name="made",
        role="both",
        population="synthetic",
        layout_confidence="V",
        contrasts=("T1",),
        space="MNI152",
        skull_stripped=True,
        **facts,
    )


def save(path: Path, array: NDArray[Any], affine: NDArray[np.float64] = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def session(folder: Path, **facts: Any) -> Session:
    made: dict[str, Any] = {
        "images": {"T1": save(folder / "t1.nii.gz", HEAD)},
        "brain_mask": save(folder / "brain.nii.gz", BRAIN.astype(np.uint8)),
        "lesion_mask": save(folder / "lesion.nii.gz", BALL.astype(np.uint8)),
        "healthy": False,
        "space": "MNI152",
    }
    return Session(id="a", cohort="made", subject="a", **made | facts)


def reasons(folder: Path, one: Session, **facts: Any) -> tuple[list[str], list[str]]:
    """What verify and what prepare say against a subject."""
    found = verify(Found(card(**facts), folder, (one,), ()), 1, Silent())
    cohort = prepare.prepare([one], "T1", G48, card(**facts), folder / "cache", 1, Silent())
    return [p.reason for p in found.problems], [f.reason for f in cohort.failures]


def refused(folder: Path, one: Session, words: str) -> None:
    """Both refuse it, with one reason."""
    said, left_out = reasons(folder, one)
    assert len(said) == len(left_out) == 1
    assert re.search(words, said[0])
    assert left_out[0].startswith(said[0])


def turned(axes: tuple[int, ...]) -> NDArray[np.float64]:
    """The affine with the world turned about the origin along some axes, as a lost LPS gives it."""
    return np.diag([-1.0 if axis in axes else 1.0 for axis in range(3)] + [1.0]) @ AFFINE


def test_files_that_belong_together_are_taken(tmp_path: Path) -> None:
    assert reasons(tmp_path, session(tmp_path)) == ([], [])


@pytest.mark.parametrize(
    "affine", [np.eye(4), turned((0, 1)), turned((0,)), AFFINE + np.eye(4, k=3) * 12], ids=range(4)
)
def test_a_mask_of_the_images_shape_on_another_affine_is_never_scored(
    affine: NDArray[np.float64], tmp_path: Path
) -> None:
    """verify said so, and run scored 16 ml as .3 ml."""
    lesion = save(tmp_path / "off.nii.gz", BALL.astype(np.uint8), affine)
    refused(tmp_path, session(tmp_path, lesion_mask=lesion), r"off\.nii\.gz has the shape of T1, but another")
    brain = save(tmp_path / "mask.nii.gz", BRAIN.astype(np.uint8), affine)
    refused(
        tmp_path, session(tmp_path, brain_mask=brain), r"mask\.nii\.gz has the shape of .*T1, but another"
    )


def test_affines_that_differ_by_rounding_are_one(tmp_path: Path) -> None:
    near = AFFINE + np.eye(4, k=3) * 0.4
    lesion = save(tmp_path / "near.nii.gz", BALL.astype(np.uint8), near)
    assert reasons(tmp_path, session(tmp_path, lesion_mask=lesion)) == ([], [])


@pytest.mark.parametrize("place", ["origin", "shifted", "far"])
def test_a_mask_on_other_voxels_in_another_place_is_never_scored(place: str, tmp_path: Path) -> None:
    affine, shape = G96.affine, G96.shape
    ball = inside(BALL_MM, 13, affine, shape).astype(np.uint8)
    words = r"of the lesion in .*off\.nii\.gz .* is more than 5 mm outside the brain"
    if place == "origin":
        affine[:3, 3] = 0
        words = "begins at the origin of the world"
    else:
        affine[:3, 3] += (60, 0, 20) if place == "shifted" else (600, 0, 0)
    lesion = save(tmp_path / "off.nii.gz", ball, affine)
    refused(tmp_path, session(tmp_path, lesion_mask=lesion), words)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.ones(SHAPE, bool), "covers 7584 ml of the scan"),
        (~BRAIN, r"covers \d{4} ml"),
        (inside((0, -18, 8), (9, 9, 9)), "covers [34] ml"),
        (inside((0, -18, 8), (84, 100, 80)) & ~BRAIN, "is hollow"),
        (inside((0, -18, 70), (100, 100, 30)) & ~inside((0, -18, 8), (84, 100, 80)), "the scan is dark"),
    ],
    ids=["everything", "inverted", "tiny", "shell", "air"],
)
def test_brain_masks_that_cannot_be_one_are_refused(mask: Any, words: str, tmp_path: Path) -> None:
    """Masks of ones and inverted ones were taken: "nothing is wrong", AUROC .000."""
    path = save(tmp_path / "mask.nii.gz", mask.astype(np.uint8))
    refused(tmp_path, session(tmp_path, brain_mask=path), words)


def test_an_inverted_mask_of_a_small_field_of_view_is_refused_for_its_corners(tmp_path: Path) -> None:
    small = (slice(5, -5), slice(5, -5), slice(5, -5))
    mask = ~BRAIN[small]
    affine = AFFINE.copy()
    affine[:3, 3] += 20
    for one in (mask, np.ones_like(mask)):
        path = save(tmp_path / "mask.nii.gz", one.astype(np.uint8), affine)
        refused(tmp_path, session(tmp_path, brain_mask=path), "holds 8 corners of the field of view")


def test_a_full_head_that_is_called_stripped_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "head.nii.gz", np.where(HEAD > 0, HEAD, 0).repeat(2, 0), AFFINE)
    made = session(tmp_path, images={"T1": path}, brain_mask=None, lesion_mask=None, healthy=True)
    refused(tmp_path, replace(made, skull_stripped=True), "that a scan that is called skull-stripped is")


@pytest.mark.parametrize(
    ("lesion", "words"),
    [
        (~BALL, "he lesion in .* has 7574 ml and the brain 1282 ml"),
        (BRAIN & ~BALL, "it is inverted, or is not a lesion mask"),
        (inside((0, -18, 84), (30, 30, 6)), "outside the brain"),
    ],
    ids=["inverted", "all of the brain", "scalp"],
)
def test_lesions_that_cannot_be_one_are_refused(lesion: Any, words: str, tmp_path: Path) -> None:
    path = save(tmp_path / "lesion2.nii.gz", lesion.astype(np.uint8))
    refused(tmp_path, session(tmp_path, lesion_mask=path), words)


def test_a_small_lesion_on_the_cortex_may_begin_outside_a_close_mask() -> None:
    image = Scan(HEAD, AFFINE)
    lesion = np.zeros(SHAPE, np.uint8)
    top = np.flatnonzero(BRAIN[23, 27])[-1]
    lesion[23, 27, top + 1] = 1  # one voxel, .064 ml, 4 mm from the brain's outermost
    plausibility.check_lesion(Scan(lesion, AFFINE), BRAIN, image, "lesion")
    lesion = np.roll(lesion, 2, 2)
    with pytest.raises(SubjectError, match=r"100% of the lesion in lesion \(0.064 ml\)"):
        plausibility.check_lesion(Scan(lesion, AFFINE), BRAIN, image, "lesion")
    plausibility.check_lesion(Scan(np.zeros_like(lesion), AFFINE), BRAIN, image, "lesion")  # empty is legal


def test_the_volume_of_a_lesion_on_a_grid_is_that_of_its_file_in_the_patients_millilitres() -> None:
    lesion, transform = Scan(BALL.astype(np.uint8), AFFINE), np.diag([1.2, 1.2, 1.2, 1.0])
    own_ml = BALL.sum() * 0.064  # 9.2 ml by hand: 4/3 pi 1.3^3
    assert own_ml == pytest.approx(9.2, rel=0.05)
    voxels = round(own_ml * 1.2**3 / 0.008)
    plausibility.check_lesion_on_grid(lesion, voxels, transform, G96, "a")
    for wrong in (0, voxels // 2, voxels * 2):
        with pytest.raises(SubjectError, match=r"has 9\.\d* ml in its file and"):
            plausibility.check_lesion_on_grid(lesion, wrong, transform, G96, "a")


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.floats(0.7, 1.3))
@settings(max_examples=30, deadline=None)
def test_small_scattered_lesions_keep_their_volume_on_every_grid(seed: int, parts: int, scale: float) -> None:
    """Lesions of single millimetre voxels, as those of multiple sclerosis may be, on grids of 1 to 4 mm."""
    random = np.random.default_rng(seed)
    shape = (80, 80, 80)
    lesion = np.zeros(shape, np.uint8)
    for corner in random.integers(0, 75, (parts, 3)):
        size = random.integers(1, 5, 3)
        lesion[tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))] = 1
    affine = np.eye(4)
    affine[:3, 3] = (-40, -50, -30)
    transform = np.diag([scale, scale, scale, 1.0])
    for grid in (G48, G96):
        to_file = np.linalg.inv(transform @ affine) @ grid.affine
        voxels = int(resampling.sample_nearest(lesion, to_file, grid.shape).sum())
        plausibility.check_lesion_on_grid(Scan(lesion, affine), voxels, transform, grid, "a")


@pytest.mark.parametrize("size", [1e-7, 1e-3, 0.5, 3.0])
def test_a_background_of_noise_instead_of_one_value_shows_the_brain(size: float) -> None:
    """Noise of 1e-7 made every scan "could not be registered, Dice .37"."""
    noise = np.random.default_rng(1).normal(0, size, SHAPE).astype(np.float32)
    found = background.find_standing_out(Scan(np.where(BRAIN, IMAGE, noise).astype(np.float32), AFFINE), "a")
    assert (found ^ BRAIN).mean() < 2e-4
    padded = np.where(BRAIN, IMAGE, noise)
    padded[:5], padded[-5:], padded[:, :5], padded[..., :5] = 0, 0, 0, 0  # noise near the brain alone
    if size < 1e-2:
        found = background.find_standing_out(Scan(padded.astype(np.float32), AFFINE), "a")
        assert (found ^ BRAIN).mean() < 2e-4


def test_a_background_from_which_no_brain_stands_out_is_named_as_the_cause(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(0, 40, SHAPE)
    path = save(tmp_path / "noisy.nii.gz", np.where(BRAIN, IMAGE, noise).astype(np.float32))
    made = session(tmp_path, images={"T1": path}, brain_mask=None, lesion_mask=None, healthy=True)
    refused(
        tmp_path, replace(made, skull_stripped=True), "is called skull-stripped, but its background strays"
    )


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e3), st.sampled_from(["float32", "int16"]))
@settings(max_examples=30, deadline=None)
def test_a_stripped_brain_is_found_at_every_level_and_scale(level: float, scale: float, dtype: str) -> None:
    if dtype == "int16":
        level, scale = round(level), max(1.0, round(min(scale, 40)))
    image = np.where(BRAIN, level + scale * IMAGE, level).astype(dtype)
    found = background.find_standing_out(Scan(image, AFFINE), "a")
    np.testing.assert_array_equal(found, BRAIN)
