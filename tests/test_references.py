"""The metrics of maps against other people's implementations, on random and on real scans."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import nibabel
import numpy as np
import pytest
import surface_distance
from monai.metrics.froc import compute_froc_curve_data, compute_froc_score
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure as shapes
from sklearn.metrics import average_precision_score, f1_score, roc_curve

from uadbench.data.sizes import SIZE_LIMITS_ML
from uadbench.data.space import Grid
from uadbench.evaluation.components import FALSE, FOUND, LESIONS, components, without_small
from uadbench.evaluation.details import (
    CALLED,
    FALSES,
    FROC_RATES,
    HITS,
    OVERLAP,
    RATES,
    Sweep,
    detail_of,
    swept,
)
from uadbench.evaluation.ground import Ground
from uadbench.evaluation.postprocess import PROFILES
from uadbench.evaluation.scan_facts import scan_score
from uadbench.evaluation.surfaces import surface_dice
from uadbench.evaluation.view import View
from uadbench.protocol import FOUND_FRACTION, OPERATING_POINTS
from uadbench.report import further
from uadbench.report.evidence import Evidence
from uadbench.report.sweeps import AUPRO_LIMIT, FROC_LEVELS, aupro_of, froc_of

Mask = NDArray[np.bool_]
SHAPE = (24, 28, 22)
CASES = range(20)
ALL = (slice(None),) * 3


def view_of(scores: NDArray[np.float32], lesion: Mask, brain: Mask, profile: str = "raw") -> View:
    """A scan of 1 mm voxels, of which nothing is ignored."""
    grid = Grid("test", cast("tuple[int, int, int]", scores.shape), 1.0, (0.0, 0.0, 0.0))
    nothing = np.zeros(grid.shape, bool)
    ground = Ground(grid, 1.0, grid.voxel_ml, brain, lesion & brain, nothing, brain, ALL)
    return View(ground, PROFILES[profile], scores[brain])


def volume_of(view: View) -> NDArray[np.float32]:
    """The map, lower than all scores where nothing is evaluated."""
    scores = np.full(view.ground.grid.shape, -9, np.float32)
    scores[view.ground.inside] = view.vector
    return scores


def random_scan(seed: int, profile: str = "raw") -> View:
    """A brain with a few lesions of all sizes, and a map that is higher in them, with many ties."""
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.standard_normal(SHAPE), random.uniform(0.5, 1.5))
    centres = ndimage.gaussian_filter(random.standard_normal(SHAPE), 1.5)
    lesion = centres > np.quantile(centres, random.uniform(0.93, 0.99))
    brain = np.zeros(SHAPE, bool)
    brain[2:-2, 2:-2, 2:-2] = True
    scores = noise / noise.std() + random.uniform(0, 2) * lesion
    return view_of(np.round(scores, 2).astype(np.float32), lesion, brain, profile)


@pytest.fixture(params=["mslub", "brats2013"])
def real_views(request: pytest.FixtureRequest, real_scans: Any) -> Iterator[View]:
    """Two patients with multiple sclerosis and three with glioma; the map is the FLAIR image itself."""
    root: Path = real_scans(request.param)
    marks = {"mslub": ("*/*/patient*", "FLAIR*", "GOLD*"), "brats2013": ("brats*", "Flair*", "OTMulti*")}
    folders, image, truth = marks[request.param]
    found = []
    for folder in sorted(root.glob(folders)):
        flair, labels = (
            np.asarray(nibabel.load(next(folder.glob(name))).dataobj, np.float32) for name in (image, truth)
        )
        masks = list(folder.glob("brainmask*"))
        brain = np.asarray(nibabel.load(masks[0]).dataobj) > 0 if masks else flair != 0
        lesion = np.isin(labels, (1, 2, 3, 4)) if masks else labels > 0.5
        found.append(view_of(flair, lesion, brain | lesion))
    assert len(found) in (2, 3)
    return iter(found)


# ---- components ----------------------------------------------------------------------------------


def counted_by_scipy(view: View, called: Mask) -> list[int]:
    """Lesions, found lesions and false components, one component after the other."""
    around = np.ones((3, 3, 3))
    lesions, count = ndimage.label(view.ground.lesion, around)
    own = [lesions == n + 1 for n in range(count)]
    found = sum((one & called).sum() >= FOUND_FRACTION * one.sum() for one in own)
    predicted, n_predicted = ndimage.label(called, around)
    false = sum(not (view.ground.lesion & (predicted == n + 1)).any() for n in range(n_predicted))
    return [count, int(found), false]


@pytest.mark.parametrize("seed", CASES)
def test_lesions_found_and_false_components_are_those_of_scipy(seed: int) -> None:
    view = random_scan(seed)
    called = view.called(float(np.quantile(view.vector, 0.9)))

    by_size = view.ground.lesions.against(called)

    assert by_size.sum(0)[[LESIONS, FOUND, FALSE]].tolist() == counted_by_scipy(view, called)
    labels, sizes = components(called)
    assert len(sizes) - 1 == shapes.label(called, connectivity=3).max()
    assert sizes[1:].sum() == called.sum() == (labels > 0).sum()


def test_components_of_slices_end_with_their_slice() -> None:
    mask = np.zeros((4, 4, 2), bool)
    mask[0, 0, 0] = mask[1, 1, 0] = mask[0, 0, 1] = True  # corner to corner, and slice to slice

    labels, sizes = components(mask, flat=True)

    assert sizes[1:].tolist() == [2, 1]
    assert labels.shape == mask.shape
    assert without_small(mask, 1, flat=True).sum() == 2


@pytest.mark.slow
def test_components_of_real_scans_are_those_of_skimage(real_views: Iterator[View]) -> None:
    for view in real_views:
        called = view.called(float(np.quantile(view.vector, 0.98)))
        lesions = shapes.label(view.ground.lesion, connectivity=3)
        sizes = np.bincount(lesions.ravel())
        found = np.bincount(lesions[called], minlength=len(sizes)) >= FOUND_FRACTION * sizes
        predicted = shapes.label(called, connectivity=3)
        false = predicted.max() - len(set(np.unique(predicted[view.ground.lesion])) - {0})
        expected = [len(sizes) - 1, int(found[1:].sum()), false]
        assert view.ground.lesions.against(called).sum(0).tolist() == expected


# ---- surface Dice --------------------------------------------------------------------------------


def surface_dice_of_its_authors(called: Mask, lesion: Mask, spacing_mm: float) -> float:
    """By google-deepmind's surface-distance."""
    distances = surface_distance.compute_surface_distances(lesion, called, (spacing_mm,) * 3)
    return float(surface_distance.compute_surface_dice_at_tolerance(distances, 2.0))


@pytest.mark.parametrize("seed", CASES)
def test_surface_dice_is_that_of_its_authors(seed: int) -> None:
    view = random_scan(seed)
    called = view.called(float(np.quantile(view.vector, 0.95)))
    for spacing_mm in (1.0, 0.87, 2.0):
        expected = surface_dice_of_its_authors(called, view.ground.lesion, spacing_mm)
        assert surface_dice(called, view.ground.lesion, (spacing_mm,) * 3) == pytest.approx(
            expected, abs=1e-6
        )


def test_surface_dice_where_a_mask_is_empty() -> None:
    some, nothing = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    some[5:9, 5:9, 5:9] = True

    assert surface_dice(nothing, some, (1.0,) * 3) == 0.0
    assert np.isnan(surface_dice(some, nothing, (1.0,) * 3))
    assert surface_dice(some, some, (1.0,) * 3) == 1.0


@pytest.mark.slow
def test_surface_dice_of_real_scans_is_that_of_its_authors(real_views: Iterator[View]) -> None:
    for view in real_views:
        called = view.called(float(np.quantile(view.vector, 0.98)))
        expected = surface_dice_of_its_authors(called, view.ground.lesion, 1.0)
        assert surface_dice(called, view.ground.lesion, (1.0,) * 3) == pytest.approx(expected, abs=1e-5)


# ---- FROC ----------------------------------------------------------------------------------------


def totals(views: list[View]) -> NDArray[np.float64]:
    """The last line of a sweep: non-lesion voxels, lesions, scans, lesions."""
    lesions = sum(int(view.ground.lesions.counts.sum()) for view in views)
    return np.array(
        [
            sum((view.ground.inside & ~view.ground.lesion).sum() for view in views),
            lesions,
            len(views),
            lesions,
        ]
    )


def summed(views: list[View], thresholds: NDArray[np.float32], counted: int) -> NDArray[np.float64]:
    """Sums (1, thresholds + 1, 4) over some scans."""
    each = sum(swept(view, Sweep(thresholds, counted)) for view in views)
    return np.concatenate([np.asarray(each), totals(views)[None]])[None]


def detections(seed: int) -> tuple[View, list[float], list[float]]:
    """A scan whose map is boxes that stand apart, and the scores of those on a lesion and elsewhere."""
    random = np.random.default_rng(seed)
    scores, lesion = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, bool)
    hits: list[float] = []
    false: list[float] = []
    for place in np.ndindex(5, 5, 4):
        box = tuple(slice(4 * n + 1, 4 * n + 3) for n in place)
        kind = random.uniform()
        if kind < 0.1:
            lesion[box] = True
        if kind < 0.06 or kind > 0.85:
            scores[box] = random.uniform(0.1, 1)
            (hits if kind < 0.06 else false).append(float(scores[box].max()))
    return view_of(scores, lesion, np.ones(SHAPE, bool)), hits, false


@pytest.mark.parametrize("seed", CASES)
def test_froc_is_that_of_monai_where_components_stand_apart(seed: int) -> None:
    scans = [detections(100 * seed + n) for n in range(6)]
    views = [view for view, _, _ in scans]
    hits = np.array([score for _, own, _ in scans for score in own])
    false = np.array([score for _, _, own in scans for score in own])
    thresholds = np.unique(np.concatenate([hits, false]).astype(np.float32))[::-1]

    sums = summed(views, thresholds, len(thresholds))

    n_lesions = int(totals(views)[1])
    curve = compute_froc_curve_data(false, hits, n_lesions, len(views))
    expected = compute_froc_score(*curve, eval_thresholds=FROC_LEVELS)
    assert sums[0, -2, [HITS, FALSES]].tolist() == [len(hits), len(false)]
    assert froc_of(sums, FROC_LEVELS)[0] == pytest.approx(float(expected), abs=1e-9)


@pytest.mark.parametrize("profile", ["raw", "dae20"])
def test_sweeps_count_what_a_threshold_leaves(profile: str) -> None:
    view = random_scan(3, profile)
    thresholds = np.quantile(view.vector, [0.99, 0.95, 0.8]).astype(np.float32)

    found = swept(view, Sweep(thresholds, 2))

    for line, threshold in zip(found, thresholds, strict=True):
        assert (
            line[CALLED] == (view.ground.inside & ~view.ground.lesion & (volume_of(view) >= threshold)).sum()
        )
    for line, threshold in zip(found[:2], thresholds[:2], strict=True):
        assert line[[HITS, FALSES]].tolist() == counted_by_scipy(view, view.called(float(threshold)))[1:]
    assert np.isnan(found[2, [HITS, FALSES]]).all()


def test_what_is_found_after_components_have_merged_costs_what_there_was_before() -> None:
    sums = np.zeros((1, 4, 4))
    sums[0, :, HITS] = 0, 1, 4, 4  # the last line: four lesions
    sums[0, :, FALSES] = 1, 6, 0, 1  # one scan; at the third threshold all is one component

    assert froc_of(sums, [0.5])[0] == 0.0
    assert froc_of(sums, [6])[0] == 1.0  # not at 0 false components


@pytest.mark.slow
def test_froc_of_real_scans_is_that_of_components_counted_by_skimage(real_views: Iterator[View]) -> None:
    for view in real_views:
        thresholds = np.quantile(
            volume_of(view)[view.ground.inside & ~view.ground.lesion], 1 - np.array(FROC_RATES[::5])
        )
        sums = summed([view], thresholds.astype(np.float32), len(thresholds))
        lesions = shapes.label(view.ground.lesion, connectivity=3)
        sizes = np.bincount(lesions.ravel())
        curve = []
        for threshold in thresholds.astype(np.float32):
            called = view.ground.inside & (volume_of(view) >= threshold)
            found = np.bincount(lesions[called], minlength=len(sizes)) >= FOUND_FRACTION * sizes
            predicted = shapes.label(called, connectivity=3)
            curve.append(
                [found[1:].sum(), predicted.max() - len(set(np.unique(predicted[view.ground.lesion])) - {0})]
            )
        assert sums[0, :-1][:, [HITS, FALSES]].tolist() == curve


# ---- AUPRO ---------------------------------------------------------------------------------------


def area_to_limit(rate: NDArray[np.float64], overlap: NDArray[np.float64]) -> float:
    """The trapezoid under a curve up to the limit, over the limit."""
    inner = rate < AUPRO_LIMIT
    rates = [*rate[inner], AUPRO_LIMIT]
    overlaps = [*overlap[inner], np.interp(AUPRO_LIMIT, rate, overlap)]
    return float(np.trapezoid(overlaps, rates) / AUPRO_LIMIT)


def aupro_by_regions(view: View) -> float:
    """As anomalib defines it: the mean over regions of true-positive rates, at every distinct score."""
    scores, labels = view.vector, view.ground.lesion[view.ground.inside]
    rate, _, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    regions = shapes.label(view.ground.lesion, connectivity=3)[view.ground.inside]
    each = [
        [(scores[regions == n] >= threshold).mean() for threshold in thresholds]
        for n in range(1, regions.max() + 1)
    ]
    return area_to_limit(rate, np.mean(each, axis=0))


def aupro_by_sorting(view: View) -> float:
    """The same, of any number of voxels."""
    regions = shapes.label(view.ground.lesion, connectivity=3)[view.ground.inside]
    sizes = np.bincount(regions)
    order = np.argsort(-view.vector, kind="stable")
    ranked, regions = view.vector[order], regions[order]
    last = np.append(ranked[1:] != ranked[:-1], True)
    overlap = np.where(regions > 0, 1 / sizes[regions], 0).cumsum()[last] / (len(sizes) - 1)
    rate = (regions == 0).cumsum()[last] / (regions == 0).sum()
    return area_to_limit(np.append(0.0, rate), np.append(0.0, overlap))


def own_aupro(view: View) -> float:
    rates = np.unique(
        np.quantile(volume_of(view)[view.ground.inside & ~view.ground.lesion], 1 - np.array(RATES))
    )[::-1]
    return float(aupro_of(summed([view], rates.astype(np.float32), 0)[:, :, [CALLED, OVERLAP]])[0])


@pytest.mark.parametrize("seed", CASES)
def test_aupro_is_that_of_all_thresholds(seed: int) -> None:
    view = random_scan(seed)
    exact = aupro_by_regions(view)

    assert aupro_by_sorting(view) == pytest.approx(exact, abs=1e-9)
    assert own_aupro(view) == pytest.approx(exact, abs=5e-3)  # of some 9,000 voxels


@pytest.mark.slow
def test_aupro_of_real_scans_is_that_of_all_thresholds(real_views: Iterator[View]) -> None:
    for view in real_views:
        assert own_aupro(view) == pytest.approx(aupro_by_sorting(view), abs=1e-3)


# ---- average precision by size -------------------------------------------------------------------


def check_ap_by_size(view: View) -> None:
    found = detail_of(view, None, dict.fromkeys(OPERATING_POINTS), Sweep(np.empty(0, np.float32), 0))
    lesions = shapes.label(view.ground.lesion, connectivity=3)
    band = np.searchsorted(SIZE_LIMITS_ML, np.bincount(lesions.ravel()) / 1000, "right")
    others = view.ground.inside & ~view.ground.lesion
    for number, own in enumerate(found["size_ap"]):
        wanted = view.ground.lesion & (band[lesions] == number)
        assert np.isnan(own) == (not wanted.any())
        if wanted.any():
            among = wanted | others
            expected = average_precision_score(wanted[among], volume_of(view)[among])
            assert own == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", CASES)
def test_ap_by_size_of_lesions_is_that_of_sklearn(seed: int) -> None:
    check_ap_by_size(random_scan(seed))


@pytest.mark.slow
def test_ap_by_size_of_real_lesions_is_that_of_sklearn(real_views: Iterator[View]) -> None:
    for view in real_views:
        check_ap_by_size(view)


# ---- whole scans ---------------------------------------------------------------------------------


def evidence_of(scores: NDArray[np.float64], ill: NDArray[np.bool_]) -> Evidence:
    """What evidence is asked of whole scans, and no more."""
    subjects = [
        SimpleNamespace(scan_score=float(score), partition="lesion-test" if sick else "healthy-test")
        for score, sick in zip(scores, ill, strict=True)
    ]
    stand_in = SimpleNamespace(
        subjects=subjects,
        ill=list(np.flatnonzero(ill)),
        weights=np.ones((1, len(ill)), np.int64),
        ill_weights=np.ones((1, int(ill.sum())), np.int64),
        record=SimpleNamespace(of_masks=False),
    )
    return cast("Evidence", stand_in)


def check_scan_level(scores: NDArray[np.float64], ill: NDArray[np.bool_]) -> None:
    """Both figures of whole scans are scikit-learn's."""
    evidence = evidence_of(scores, ill)
    ap, sensitivity = further.scan_ap(evidence), further.scan_sensitivity(evidence)
    false, true, _ = roc_curve(ill, scores, drop_intermediate=False)

    assert ap is not None
    assert sensitivity is not None
    assert ap.value == pytest.approx(average_precision_score(ill, scores), abs=1e-9)
    assert sensitivity.value == pytest.approx(true[false <= 0.05].max())


@pytest.mark.parametrize("seed", CASES)
def test_scan_level_figures_are_those_of_sklearn(seed: int) -> None:
    """Some of the scans have equal scores."""
    random = np.random.default_rng(seed)
    ill = random.uniform(size=40) < random.uniform(0.3, 0.7)

    check_scan_level(np.round(random.normal(ill * random.uniform(0, 2)), 1), ill)


# Maps that nothing was trained for, of very different use.
MAPS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "bright": lambda image: image,
    "dark": lambda image: -image,
    "unusual": np.abs,
    "smooth": lambda image: ndimage.gaussian_filter(image, 2.0),
    "edges": lambda image: ndimage.gaussian_gradient_magnitude(image, 1.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MAPS)
def test_scan_level_figures_of_real_scans_are_those_of_sklearn(
    name: str, real_scans: Callable[[str], Path]
) -> None:
    """T1 of twelve healthy people against T1 of three with glioma and two with multiple sclerosis."""
    places = ("ixi_hh_2mm/IXI-T1/*", "brats2013/brats*/T1c*", "mslub/*/*/patient*/T1_N4*")
    files = [path for place in places for path in sorted(real_scans(".").glob(place))[:12]]
    scores = []
    for path in files:
        image = np.asarray(nibabel.load(path).dataobj, np.float32)
        brain = image != image[0, 0, 0]
        standard = (image - image[brain].mean()) / image[brain].std()
        scores.append(scan_score(MAPS[name](standard)[brain].astype(np.float32)))

    assert len(files) == 17
    check_scan_level(np.array(scores), np.arange(17) >= 12)


@pytest.mark.parametrize("seed", CASES)
def test_lesion_f1_is_that_of_sklearn_on_a_list_of_lesions_and_components(seed: int) -> None:
    view = random_scan(seed)
    called = view.called(float(np.quantile(view.vector, 0.95)))
    n_lesions, n_found, n_false = counted_by_scipy(view, called)
    evidence = SimpleNamespace(
        record=SimpleNamespace(headline="raw"),
        lesion_counts=lambda point: view.ground.lesions.against(called).sum(0)[None].astype(float),
        ill_weights=np.ones((1, 1), np.int64),
    )
    truth = [1] * n_lesions + [0] * n_false
    predicted = [1] * n_found + [0] * (n_lesions - n_found) + [1] * n_false

    found = further.lesion_f1(cast("Evidence", evidence), "fpr1")

    assert found is not None
    assert found.value == pytest.approx(f1_score(truth, predicted))
