"""Figures of the pitfalls paper that MetricsReloaded has as test values, where ours is defined alike.

Reinke et al., Nature Methods 21 (2024), supplementary notes; the values stand in `test/test_metrics` of
github.com/Project-MONAI/MetricsReloaded at cb38dfc. Not defined alike are its average precision (a
trapezoid) and its percentile of surface distances (the larger of two; ours is of both surfaces together).
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from uadbench.evaluation.matching import match_lesions, surface_distances
from uadbench.evaluation.metrics import dice, measure

Mask = NDArray[np.bool_]
SIDES = (1.0, 1.0)


def square(edge: int, low: int, high: int) -> Mask:
    mask = np.zeros((edge, edge), bool)
    mask[low:high, low:high] = True
    return mask


def cross() -> tuple[Mask, Mask]:
    """Figure 10: a square, and one with a beam across in each direction."""
    lesion = square(11, 3, 8)
    called = lesion.copy()
    called[5, 1:10] = called[1:10, 5] = True
    return called, lesion


def annotation_error() -> tuple[Mask, Mask]:
    """Figure 5c: a square that was found, and a single pixel far away that was not."""
    called = square(14, 9, 12)
    lesion = called.copy()
    lesion[1, 1] = True
    return called, lesion


SMALLER, LARGER = (square(14, 6, 8), square(14, 5, 9)), (square(14, 4, 10), square(14, 5, 9))  # SN 2.10


def dice_of(called: Mask, lesion: Mask) -> float:
    return float(dice((called & lesion).sum(), (called & ~lesion).sum(), lesion.sum()))


def test_dice() -> None:
    runs = [(45, 5, 10, 40), (81, 9, 2, 8)]  # SN 2.9: true positives, missed, false positives, the rest
    assert [float(dice(t, f, t + m)) for t, m, f, _ in runs] == pytest.approx([0.86, 0.94], abs=0.01)
    assert dice_of(*cross()) == pytest.approx(0.862, abs=0.001)


def test_area_under_the_roc_curve() -> None:
    scores = np.array([0.21, 0.35, 0.63, 0.92, 0.32, 0.79], np.float32)  # SN 2.18
    found = measure(scores, np.array([0, 0, 0, 1, 1, 1], bool))
    assert found.auroc == pytest.approx(0.78, abs=0.01)


@pytest.mark.parametrize(
    ("pair", "masd", "assd"),
    [(SMALLER, 1.07, 1.10), (LARGER, 1.04, 1.05), (cross(), 0.425, 0.44)],
    ids=["smaller", "larger", "cross"],
)
def test_mean_distances_of_surfaces(pair: tuple[Mask, Mask], masd: float, assd: float) -> None:
    apart = surface_distances(*pair, SIDES)
    assert np.mean([one.mean() for one in apart]) == pytest.approx(masd, abs=0.01)
    assert np.concatenate(apart).mean() == pytest.approx(assd, abs=0.01)


@pytest.mark.parametrize(
    ("pair", "expected"),
    [(SMALLER, 1.41), (LARGER, 1.41), (annotation_error(), 11.31)],
    ids=["smaller", "larger", "annotation error"],
)
def test_hausdorff_distance(pair: tuple[Mask, Mask], expected: float) -> None:
    assert np.concatenate(surface_distances(*pair, SIDES)).max() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("pair", "tolerance", "expected"),
    [(SMALLER, 1, 0.75), (LARGER, 1, 0.875), (cross(), 1, 0.89), (cross(), 2, 1.0)],
    ids=["smaller", "larger", "cross", "cross, two pixels"],
)
def test_surface_dice(pair: tuple[Mask, Mask], tolerance: float, expected: float) -> None:
    apart = np.concatenate(surface_distances(*pair, SIDES))
    assert np.mean(apart <= tolerance) == pytest.approx(expected, abs=0.01)


def test_lesions_and_components_that_are_missed_and_false() -> None:
    """Figure 3.51: of three lesions one has a component that overlaps by more than half; one is missed."""
    called, lesions = np.zeros((18, 18), bool), np.zeros((18, 18), np.int32)
    for rows, columns in (((3, 7), (1, 3)), ((3, 6), (3, 7)), ((13, 16), (4, 6)), ((7, 12), (13, 17))):
        called[slice(*rows), slice(*columns)] = True
    called[13:15, 13:17] = called[15, 15] = True
    lesions[2:7, 1:3] = lesions[2:5, 3:6] = 1
    lesions[6:12, 12:17] = 2
    lesions[14:15, 7:10] = lesions[13:16, 8:9] = 3
    found = match_lesions(lesions[..., None], called[..., None], (1.0, 1.0, 1.0))
    shared = {pair.lesion: pair.dice / (2 - pair.dice) for pair in found.pairs}  # intersection over union
    over_half = [share for share in shared.values() if share > 0.5]
    missed, false = 3 - len(over_half), 4 - len(over_half)
    quality = sum(over_half) / (len(over_half) + missed / 2 + false / 2)
    assert (found.components, found.false) == (4, 2)
    assert quality == pytest.approx(0.350, abs=0.001)
