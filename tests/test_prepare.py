"""Preparation: geometry by hand, what is wrong in real files, the cache, and who fails alone."""

import operator
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from uadbench import cards
from uadbench.cards import DatasetCard
from uadbench.data import prepared
from uadbench.data.session import Session
from uadbench.data.space import GRIDS, Grid
from uadbench.preprocessing import (
    background,
    duplicates,
    intensities,
    prepare,
    prepare_scan,
    resampling,
    scan,
)
from uadbench.preprocessing.prepare import Cohort
from uadbench.preprocessing.register import Registration
from uadbench.preprocessing.scan import Scan
from uadbench.system import pool
from uadbench.system.errors import UserError
from uadbench.system.progress import Silent

G48 = GRIDS["g48"]
LATTICE = Grid("scan", (44, 52, 44), 4.0, (-88.0, -122.0, -72.0))  # of the scans below: g48, cut
BALL_MM = (28.0, -30.0, 20.0)  # a voxel centre of LATTICE and of g48


def card(**facts: Any) -> DatasetCard:
    names = ("title", "summary", "address", "access", "licence", "forbids", "citation", "layout")
    words: dict[str, Any] = dict.fromkeys(names, "")
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


def inside(affine: NDArray[np.float64], shape: tuple[int, ...], centre: Any, radii: Any) -> NDArray[np.bool_]:
    """Voxels whose world coordinates lie in an ellipsoid."""
    index = np.moveaxis(np.indices(shape), 0, -1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    return np.asarray((((world - centre) / radii) ** 2).sum(-1) <= 1)


def head(
    affine: NDArray[np.float64] = LATTICE.affine, shape: tuple[int, ...] = LATTICE.shape, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Image, brain and a bright ball in it, on any lattice of MNI152."""
    brain = inside(affine, shape, (0, -18, 8), (64, 80, 60))
    ball = inside(affine, shape, BALL_MM, (11, 11, 11))
    noise = np.random.default_rng(seed).normal(0, 5, shape)
    return np.where(ball, 400, np.where(brain, 200 + noise, 0)).astype(np.float32), brain, ball


def save(path: Path, array: NDArray[Any], affine: NDArray[np.float64] = LATTICE.affine) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def session(folder: Path, name: str = "a", seed: int = 0, **facts: Any) -> Session:
    image, _, ball = head(seed=seed)
    given: dict[str, Any] = {
        "images": {"T1": save(folder / f"{name}_T1.nii.gz", image)},
        "lesion_mask": save(folder / f"{name}_lesion.nii.gz", ball.astype(np.uint8)),
        "healthy": False,
        "space": "MNI152",
        "skull_stripped": True,
    }
    return Session(id=name, cohort="made", subject=name, **given | facts)


def run(
    sessions: list[Session],
    cache: Path,
    grid: Grid = G48,
    workers: int = 1,
    contrast: str = "T1",
    **facts: Any,
) -> Cohort:
    return prepare.prepare(sessions, contrast, grid, card(**facts), cache, workers, Silent())


def only(cohort: Cohort) -> prepared.Prepared:
    assert not cohort.failures
    return cohort.prepared[0]


def reason(cohort: Cohort) -> str:
    assert not cohort.prepared
    return cohort.failures[0].reason


def centre_mm(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float64]:
    return np.asarray(np.argwhere(mask).mean(0) * grid.spacing_mm + np.array(grid.origin_mm))


# ---- geometry ----------------------------------------------------------------------------------


def test_a_scan_on_the_grids_own_lattice_is_scaled_and_not_interpolated(tmp_path: Path) -> None:
    image, brain, ball = head()
    found = only(run([session(tmp_path)], tmp_path / "cache"))
    box = tuple(slice(2, 2 + count) for count in LATTICE.shape)  # LATTICE begins 8 mm inside g48
    values = np.sort(image[brain])
    low, high = values[round(0.01 * (len(values) - 1))], values[round(0.99 * (len(values) - 1))]
    expected = np.where(brain, ((image - low) / (high - low)).clip(0, 1), 0)
    np.testing.assert_allclose(found.image()[box], expected, atol=1 / prepared.STEPS)
    np.testing.assert_array_equal(found.lesion()[box], ball)
    assert found.brain().sum() == brain.sum()
    assert (found.facts["p1"], found.facts["p99"]) == (low, high)


@pytest.mark.parametrize("degrees", [0.0, 25.0], ids=["straight", "oblique"])
def test_a_point_keeps_its_world_coordinates_through_reading_and_resampling(
    degrees: float, tmp_path: Path
) -> None:
    turn = np.deg2rad(degrees)
    # Stored back to front (first axis P, second S, third R), 3 x 3 x 4 mm, tilted about the R axis.
    affine = np.eye(4)
    affine[:3, 0] = 3 * np.array([0, -np.cos(turn), -np.sin(turn)])
    affine[:3, 1] = 3 * np.array([0, -np.sin(turn), np.cos(turn)])
    affine[:3, 2] = [4, 0, 0]
    shape = (70, 70, 51)
    affine[:3, 3] = np.array([0, -18, 8]) - affine[:3, :3] @ (np.array(shape) - 1) / 2
    image, _, ball = head(affine, shape)
    images = {"T1": save(tmp_path / "psr.nii.gz", image, affine)}
    lesion = save(tmp_path / "ball.nii.gz", ball.astype(np.uint8), affine)
    for grid in (G48, GRIDS["g96"]):
        made = session(tmp_path, images=images, lesion_mask=lesion)
        found = only(run([made], tmp_path / "cache", grid))
        np.testing.assert_allclose(centre_mm(found.lesion(), grid), BALL_MM, atol=1.1)
        near = inside(grid.affine, grid.shape, BALL_MM, (20, 20, 20))
        bright = (found.image() > 0.99) & near
        np.testing.assert_allclose(centre_mm(bright, grid), BALL_MM, atol=1.1)
        expected = inside(grid.affine, grid.shape, (0, -18, 8), (64, 80, 60))
        overlap = 2 * (found.brain() & expected).sum() / (found.brain().sum() + expected.sum())
        assert overlap > 0.97
        assert found.facts["lesion_ml"] == pytest.approx(4 / 3 * np.pi * 1.1**3, rel=0.2)


def test_smoothing_before_a_coarser_grid_has_the_documented_width() -> None:
    point = np.zeros((41, 41, 41), np.float32)
    point[20, 20, 20] = 1
    for lean in (0.0, 0.001):  # the separable and the general way
        to_source = np.diag([2.0, 2, 2, 1])
        to_source[0, 1] = lean
        found = resampling.sample_linear(point, to_source, (21, 21, 21))
        # By hand: the variance is (2² - 1²) / (8 ln 2) voxels²; the neighbour is 2 voxels away.
        neighbour = np.exp(-(2.0**2) / (2 * 3 / (8 * np.log(2))))
        assert found[11, 10, 10] / found[10, 10, 10] == pytest.approx(neighbour, rel=0.02)
        inner = resampling.sample_linear(np.ones_like(point), to_source, (21, 21, 21))[3:-3, 3:-3, 3:-3]
        np.testing.assert_allclose(inner, 1, atol=1e-5)


def test_both_ways_of_resampling_agree() -> None:
    random = np.random.default_rng(0)
    array = random.random((20, 22, 24)).astype(np.float32)
    straight = np.diag([1.3, 0.8, 2.1, 1.0])
    straight[:3, 3] = -2.2, 3.1, 0.4
    leaning = straight.copy()
    leaning[0, 1] = 1.1e-4  # too much to be taken as straight, too little to matter
    shape = (18, 30, 14)
    np.testing.assert_allclose(
        resampling.sample_linear(array, straight, shape),
        resampling.sample_linear(array, leaning, shape),
        atol=5e-3,
    )
    labels = (array * 5).astype(np.uint8)
    same = resampling.sample_nearest(labels, straight, shape) == resampling.sample_nearest(
        labels, leaning, shape
    )
    assert same.mean() > 0.999


def test_linear_interpolation_by_hand() -> None:
    array = np.zeros((2, 2, 2), np.float32)
    array[1, 0, 0], array[1, 1, 0] = 8, 16
    to_source = np.eye(4)
    to_source[:3, 3] = 0.5, 0.25, 0
    found = resampling.sample_linear(array, to_source, (1, 1, 1))
    assert found[0, 0, 0] == 0.5 * (0.75 * 8 + 0.25 * 16)


# ---- brain and intensities ---------------------------------------------------------------------


def test_a_z_scored_volume_keeps_its_dark_brain(tmp_path: Path) -> None:
    image, brain, _ = head()
    scored = np.where(brain, (image - image[brain].mean()) / image[brain].std(), -3.6).astype(np.float32)
    scored[20:24, 26, 22] = -3.6  # a hole that has the background's value
    images = {"T1": save(tmp_path / "z.nii.gz", scored)}
    found = only(run([session(tmp_path, images=images)], tmp_path / "cache"))
    plain = only(run([session(tmp_path)], tmp_path / "cache"))
    np.testing.assert_array_equal(found.brain(), plain.brain())
    assert np.abs(found.image() - plain.image()).mean() < 2e-4
    assert (found.image()[~found.brain()] == 0).all()
    assert 0 <= found.image().min() < found.image().max() <= 1


def test_a_mask_whose_maximum_is_just_below_one_is_a_mask(tmp_path: Path) -> None:
    image, brain, _ = head()
    full_head = image + np.float32(50)  # nothing shows where the brain ends
    images = {"T1": save(tmp_path / "head.nii.gz", full_head)}
    mask = save(tmp_path / "mask.nii.gz", brain * np.float32(0.99999997))
    made = session(tmp_path, images=images, brain_mask=mask, skull_stripped=False)
    found = only(run([made], tmp_path / "cache"))
    assert found.facts["brain_ml"] == brain.sum() * 64 / 1000


def test_an_extractor_that_is_not_installed_or_not_known_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for extractor, message in (
        ("hd-bet", "needs the program `hd-bet`, which is not on"),
        ("x", "There is no extractor 'x'"),
    ):
        with pytest.raises(UserError, match=message):
            prepare.prepare(
                [], "T1", G48, card(), tmp_path, 1, Silent(), prepare_scan.Options(extractor=extractor)
            )


def test_a_contrasts_own_mask_goes_before_the_common_one(tmp_path: Path) -> None:
    _, brain, _ = head()
    own = brain.copy()
    own[:, :, :20] = False
    common = save(tmp_path / "common.nii.gz", brain.astype(np.uint8))
    masks_of = {"T1": save(tmp_path / "own.nii.gz", own.astype(np.uint8))}
    made = session(tmp_path, brain_mask=common, contrast_masks=masks_of)
    assert only(run([made], tmp_path / "cache")).facts["brain_ml"] == own.sum() * 64 / 1000


def test_small_negative_background_and_islands_are_not_brain() -> None:
    image, brain, _ = head()
    image[~brain] = 0
    image[0:2, 0:2, 0:2] = -4  # an island in the corner, on a border that is 0 for the most part
    found = background.find_standing_out(Scan(image, LATTICE.affine), "a")
    np.testing.assert_array_equal(found, brain)


def test_percentiles_are_those_of_the_volume_and_by_nearest_rank() -> None:
    values = np.random.default_rng(0).permutation(np.arange(201, dtype=np.float32))
    assert intensities.percentiles(values) == (2.0, 198.0)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "uint32"])
def test_percentiles_of_whole_numbers_hold_wherever_they_lie(dtype: str) -> None:
    """Numbers above 2^31 of a narrow range were counted wrong."""
    for least in (0, min(int(np.iinfo(dtype).max), 10**11) - 200):
        values = np.random.default_rng(0).permutation(np.arange(least, least + 201).astype(dtype))
        assert intensities.percentiles(values) == (least + 2.0, least + 198.0)


def test_a_scan_of_tiny_values_is_prepared_as_any_other(tmp_path: Path) -> None:
    image, _, _ = head()
    images = {"T1": save(tmp_path / "adc.nii.gz", (image * 1e-11).astype(np.float32))}
    found = only(run([session(tmp_path, images=images)], tmp_path / "cache"))
    plain = only(run([session(tmp_path)], tmp_path / "cache"))
    np.testing.assert_allclose(found.image(), plain.image(), atol=1e-4)


def test_a_brain_of_one_value_is_refused(tmp_path: Path) -> None:
    _, brain, _ = head()
    images = {"T1": save(tmp_path / "flat.nii.gz", brain.astype(np.float32))}
    assert "shows nothing there" in reason(run([session(tmp_path, images=images)], tmp_path / "cache"))


def test_the_share_above_the_healthy_percentile_grows_with_the_lesion(tmp_path: Path) -> None:
    _, brain, ball = head()
    ill = only(run([session(tmp_path)], tmp_path / "cache")).facts["above_healthy_p99"]
    well = session(tmp_path, "well", healthy=True, lesion_mask=None)
    assert ill == pytest.approx(ball.sum() / brain.sum() + 0.01, abs=1e-3)
    # Without a mask of it the ball counts as healthy tissue.
    assert only(run([well], tmp_path / "cache")).facts["above_healthy_p99"] <= 0.0101


def test_slice_areas_are_those_of_the_brain(tmp_path: Path) -> None:
    found = only(run([session(tmp_path)], tmp_path / "cache"))
    areas = np.array(found.facts["slice_area_mm2"])
    np.testing.assert_array_equal(areas, found.brain().sum((0, 1)) * 16.0)


def test_a_scan_that_does_not_lie_where_its_card_says_is_refused(tmp_path: Path) -> None:
    image, _, _ = head()
    away = LATTICE.affine
    away[0, 3] += 120
    images = {"T1": save(tmp_path / "away.nii.gz", image, away)}
    made = session(tmp_path, images=images, lesion_mask=None, healthy=True)
    found = reason(run([made], tmp_path / "cache"))
    assert "not in the space that the data set's card states" in found


# ---- labels ------------------------------------------------------------------------------------


def test_lesion_and_ignored_labels_follow_the_card(tmp_path: Path) -> None:
    _, _, ball = head()
    other = np.roll(ball, 6, 1)
    labels = save(tmp_path / "labels.nii.gz", (ball * 4 + other * 2).astype(np.float32) * 0.9999999)
    made = session(tmp_path, lesion_mask=labels, ignore_mask=labels)
    found = only(run([made], tmp_path / "cache", lesion_labels=(1, 4), ignore_labels=(2,)))
    assert found.lesion().sum() == ball.sum()
    assert found.ignored().sum() == other.sum()
    assert not (found.lesion() & found.ignored()).any()


def test_labels_outside_the_card_are_named(tmp_path: Path) -> None:
    _, _, ball = head()
    stored = ball.astype(np.uint8) * 7
    stored[ball.nonzero()[0][0]] = 3  # two labels: nobody can say which of them is meant
    labels = save(tmp_path / "labels.nii.gz", stored)
    found = reason(run([session(tmp_path, lesion_mask=labels)], tmp_path / "cache"))
    assert "has the labels [3, 7], the data set's card lists [0, 1]" in found
    legal = run([session(tmp_path, lesion_mask=labels)], tmp_path / "cache", other_labels=(3, 7))
    assert only(legal).facts["lesion_ml"] == 0


@pytest.mark.parametrize("value", [7, 255, 0.5])
def test_a_plainly_binary_mask_is_a_mask_whatever_stands_for_lesion(value: float, tmp_path: Path) -> None:
    """Masks of 0 and 255 were refused with "correct the card"."""
    _, _, ball = head()
    mask = save(tmp_path / "mask.nii.gz", (ball * value).astype(np.float32 if value < 1 else np.uint8))
    found = only(run([session(tmp_path, lesion_mask=mask)], tmp_path / "cache"))
    assert found.lesion().sum() == ball.sum()
    # Where the card knows more than one value a single other one may mean anything.
    for facts in ({"ignore_labels": (2,)}, {"lesion_labels": (1, 4)}, {"other_labels": (3,)}):
        if value > 1:
            several = reason(run([session(tmp_path, lesion_mask=mask)], tmp_path / "cache", **facts))
            assert f"has the labels [{value}]" in several


def test_an_empty_lesion_mask_is_legal_and_an_empty_brain_mask_is_not(tmp_path: Path) -> None:
    empty = save(tmp_path / "empty.nii.gz", np.zeros(LATTICE.shape, np.uint8))
    assert not only(run([session(tmp_path, lesion_mask=empty)], tmp_path / "cache")).lesion().any()
    found = reason(run([session(tmp_path, brain_mask=empty)], tmp_path / "cache"))
    assert "covers 0 ml of the scan" in found


def test_a_mask_on_another_grid_is_brought_over_through_the_world(tmp_path: Path) -> None:
    affine, shape = GRIDS["g96"].affine, GRIDS["g96"].shape
    _, brain, ball = head(affine, shape)
    made = session(
        tmp_path,
        lesion_mask=save(tmp_path / "ball.nii.gz", ball.astype(np.uint8), affine),
        brain_mask=save(tmp_path / "brain.nii.gz", brain.astype(np.uint8), affine),
    )
    found = only(run([made], tmp_path / "cache"))
    np.testing.assert_allclose(centre_mm(found.lesion(), G48), BALL_MM, atol=0.5)
    np.testing.assert_allclose(centre_mm(found.brain(), G48), (0, -18, 8), atol=2.5)


# ---- cache -------------------------------------------------------------------------------------


def test_the_key_is_the_content_not_the_path_or_the_id(tmp_path: Path) -> None:
    first = only(run([session(tmp_path / "here", "a")], tmp_path / "cache"))
    moved = only(run([session(tmp_path / "there", "b")], tmp_path / "cache"))
    other = only(run([session(tmp_path / "here", "c", seed=1)], tmp_path / "cache"))
    assert first.key == moved.key
    assert other.key != first.key
    assert only(run([session(tmp_path / "here")], tmp_path / "cache", lesion_labels=(1, 2))).key != first.key


def test_what_is_there_is_not_made_again_and_what_is_damaged_is(tmp_path: Path) -> None:
    made, cache = [session(tmp_path)], tmp_path / "cache"
    path = only(run(made, cache)).path
    whole, written = path.read_bytes(), path.stat().st_mtime_ns
    assert only(run(made, cache)).path.stat().st_mtime_ns == written
    swapped = whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:]
    for damaged in (
        whole[:-1000],
        whole[:5],
        b"",
        swapped[: len(swapped) // 2] + b"xx" + whole[len(whole) // 2 + 2 :],
    ):
        path.write_bytes(damaged)
        assert only(run(made, cache)).path.read_bytes() == whole


def test_a_source_that_changes_is_prepared_anew(tmp_path: Path) -> None:
    first = only(run([session(tmp_path)], tmp_path / "cache")).key
    assert only(run([session(tmp_path, seed=3)], tmp_path / "cache")).key != first


def test_killed_in_the_middle_leaves_no_half_file_and_the_rest_is_done_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [session(tmp_path, name, seed) for seed, name in enumerate("abc")]
    cache, write, count = tmp_path / "cache", prepared.write_codes, [0]

    def killed(*arguments: Any) -> None:
        count[0] += 1
        if count[0] == 2:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(prepared, "write_codes", killed)
    with pytest.raises(KeyboardInterrupt):
        run(made, cache)
    assert len(list((cache / "g48").iterdir())) == 1
    assert len(run(made, cache).prepared) == 3
    assert count[0] == 4  # the first was not done again


def test_one_and_two_workers_give_the_same_bytes_and_a_failing_subject_harms_no_other(tmp_path: Path) -> None:
    made = [session(tmp_path, name, seed) for seed, name in enumerate("abcd")]
    made[1].images["T1"].write_bytes(b"")
    made[2] = replace(made[2], images={"T1": tmp_path / "absent.nii.gz"})
    cohorts = [run(made, tmp_path / str(workers), workers=workers) for workers in (1, 2)]
    for cohort in cohorts:
        assert [p.session.id for p in cohort.prepared] == ["a", "d"]
        assert [(f.subject_id, f.contrast) for f in cohort.failures] == [("b", "T1"), ("c", "T1")]
    assert "is empty: fetch the file again" in cohorts[0].failures[0].reason
    assert cohorts[0].failures == cohorts[1].failures
    for one, two in zip(*(c.prepared for c in cohorts), strict=True):
        assert one.path.read_bytes() == two.path.read_bytes()


def test_a_process_that_is_killed_costs_its_own_job_only() -> None:
    jobs: list[Any] = [partial(abs, -number) for number in range(6)]
    jobs[2] = partial(os._exit, 9)
    found = dict(pool.results(operator.call, jobs, 2))
    assert isinstance(found.pop(2), pool.Died)
    assert found == {0: 0, 1: 1, 3: 3, 4: 4, 5: 5}


def lives(process: int) -> bool:
    """Whether a process runs; one that ended and waits for init to take note has no command line."""
    try:
        return bool(Path(f"/proc/{process}/cmdline").read_bytes())
    except OSError:
        return False


def test_workers_end_when_their_parent_is_killed() -> None:
    program = (
        "import time, os\n"
        "from uadbench.system import pool\n"
        "if __name__ == '__main__':\n"
        "    for _, result in pool.results(print_and_wait, [1, 2], 2): pass\n"
    )
    work = "def print_and_wait(n):\n    print(os.getpid(), flush=True)\n    time.sleep(60)\n"
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(program.replace("if __name__", work + "if __name__"))
        parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        parent.kill()
        parent.wait()
        parent.stdout.read()  # ends when the last worker has let go of it
        parent.stdout.close()
    deadline = time.monotonic() + 60
    while any(lives(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker lives on without its parent"
        time.sleep(0.05)


PREPARES = """
import sys, pickle
from pathlib import Path
from uadbench.system.progress import Silent
from uadbench import cards
from uadbench.preprocessing import prepare
from uadbench.data.space import GRIDS
if __name__ == "__main__":
    subjects = pickle.loads(Path(sys.argv[1]).read_bytes())
    card = cards.dataset_card("brats13")
    prepare.prepare(subjects, "T1", GRIDS["g96"], card, Path(sys.argv[2]), int(sys.argv[3]), Silent())
"""


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed_gives_the_same_cache(tmp_path: Path) -> None:
    made = [session(tmp_path, name, seed, space="native") for seed, name in enumerate("abc")]
    script, pickled = tmp_path / "prepares.py", tmp_path / "subjects"
    script.write_text(PREPARES)
    pickled.write_bytes(pickle.dumps(made))

    def start(cache: Path, workers: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, str(script), str(pickled), str(cache), str(workers)])

    def content(cache: Path) -> dict[str, bytes]:
        kept = [p for p in cache.rglob("*") if p.is_file() and p.name != "files.json"]
        return {str(p.relative_to(cache)): p.read_bytes() for p in kept if p.suffix != ".partial"}

    began = time.monotonic()
    assert start(tmp_path / "whole", 1).wait() == 0
    whole, duration = content(tmp_path / "whole"), time.monotonic() - began
    for share in np.random.default_rng().uniform(0.2, 1, 5):
        process = start(tmp_path / "killed", 2)
        time.sleep(share * duration)
        process.kill()
        process.wait()
    assert start(tmp_path / "killed", 2).wait() == 0
    assert content(tmp_path / "killed") == whole
    assert len(whole) == 6  # three volumes, three transforms


@pytest.mark.slow
def test_n4_takes_a_slow_brightening_away_and_is_part_of_the_key(tmp_path: Path) -> None:
    image, brain, ball = head()
    slope = np.linspace(0.6, 1.4, image.shape[1], dtype=np.float32)[None, :, None]
    tissue = brain & ~ball
    for offset in (0, -300):  # negative values, as z-scored volumes have them
        found = intensities.correct_bias(
            Scan(image * slope + np.float32(offset), LATTICE.affine), brain
        ).array[tissue]
        assert found.std() < 0.4 * (image * slope)[tissue].std()
    made = [session(tmp_path)]
    for n4 in (False, True):
        options = prepare_scan.Options(n4=n4)
        cohort = prepare.prepare(made, "T1", G48, card(), tmp_path / "cache", 1, Silent(), options)
        assert only(cohort).facts["n4"] is n4
    assert len(list((tmp_path / "cache/g48").iterdir())) == 2


def test_the_field_of_a_large_scan_is_read_while_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field of some megabytes goes back to the system with its image: reading it later ends the process."""
    monkeypatch.setattr(intensities, "ITERATIONS", [1])
    brain = np.zeros((160, 160, 160), np.bool_)
    brain[20:140, 20:140, 20:140] = True
    image = brain * np.linspace(50, 100, 160, dtype=np.float32)
    one, other = (intensities.correct_bias(Scan(image, np.eye(4)), brain).array for _ in range(2))
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one, other)


def test_a_contrast_that_a_subject_lacks_is_a_failure(tmp_path: Path) -> None:
    assert reason(run([session(tmp_path)], tmp_path / "cache", contrast="T2")) == "a has no T2; it has T1."


# ---- transforms --------------------------------------------------------------------------------


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Registration replaced by a shift of 8 mm to the front; the names of what was registered."""
    names: list[str] = []
    matrix = np.eye(4)
    matrix[1, 3] = 8

    def register(image: Scan, brain: NDArray[np.bool_], name: str) -> Registration:
        names.append(name)
        return Registration(matrix, 0.9, 0.8, 1.0)

    monkeypatch.setattr(prepare_scan, "register_brain", register)
    return names


def test_a_second_grid_and_a_second_contrast_use_the_same_transform(
    registered: list[str], tmp_path: Path
) -> None:
    image, _, _ = head(seed=1)
    first = session(tmp_path, space="SRI24")
    made = [replace(first, images={"FLAIR": save(tmp_path / "f.nii.gz", image), **first.images})]
    for contrast in ("FLAIR", "T1"):
        for grid in (G48, GRIDS["g96"]):
            found = only(run(made, tmp_path / "cache", grid, contrast=contrast))
            expected = np.add(BALL_MM, (0, 8, 0))
            np.testing.assert_allclose(centre_mm(found.lesion(), grid), expected, atol=1.1)
            assert found.facts["transform"][1][3] == 8
            assert found.facts["registration"]["reference"] == "T1"
    assert registered == ["a T1"]


def test_contrasts_in_native_space_are_registered_each_on_its_own(
    registered: list[str], tmp_path: Path
) -> None:
    image, _, _ = head(seed=1)
    first = session(tmp_path, space="native")
    made = [replace(first, images={"FLAIR": save(tmp_path / "f.nii.gz", image), **first.images})]
    for contrast in ("FLAIR", "T1"):
        only(run(made, tmp_path / "cache", contrast=contrast))
    assert registered == ["a FLAIR", "a T1"]


# ---- duplicates --------------------------------------------------------------------------------


def test_the_same_voxels_in_two_partitions_or_under_two_persons_stop_the_run(tmp_path: Path) -> None:
    made = [session(tmp_path, "a"), session(tmp_path, "b", seed=1), session(tmp_path, "twin")]
    a, b, twin = run(made, tmp_path / "cache").prepared
    duplicates.check_voxels({"healthy-train": [a, b], "healthy-test": []})
    for parts in ({"x": [a, b, twin], "y": []}, {"x": [a, b], "y": [twin]}, {"x": [a], "y": [a]}):
        with pytest.raises(UserError, match=r"^a of made \(x\) and (twin|a) of made"):
            duplicates.check_voxels(parts)


# ---- real scans --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "folder", "contrast", "least_dice"),
    [
        ("ixi", "ixi_hh_2mm", "T1", 0.85),  # brains are laid on each other by their insides, not their rims
        ("mslub", "mslub", "FLAIR", 0.85),
        ("brats13", "brats2013", "T1c", 0.85),
    ],
)
def test_real_scans_are_brought_to_the_template(
    name: str,
    folder: str,
    contrast: str,
    least_dice: float,
    real_scans: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    from uadbench import datasets

    found = datasets.find_sessions(name, real_scans(folder))
    card = cards.dataset_card(name)
    grid = GRIDS["g96"]
    cohort = prepare.prepare(found.sessions[:3], contrast, grid, card, tmp_path, 2, Silent())
    assert not cohort.failures
    for item in cohort.prepared:
        assert item.facts["registration"]["dice"] > least_dice
        assert (
            scan.fingerprint(scan.read_image(item.session.images[contrast]).array)
            == item.facts["fingerprint"]
        )
        if not item.session.healthy:
            assert (item.lesion() & item.brain()).sum() > 0.95 * item.lesion().sum() > 0
            if contrast == "FLAIR":  # lesions are bright there
                image, lesion = item.image(), item.lesion()
                assert image[lesion].mean() > image[item.brain() & ~lesion].mean() + 0.15
