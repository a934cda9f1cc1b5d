"""The engine gives MetricsReloaded's published test values, where a metric is defined alike.

Shapes and values are those of its `test/test_metrics` (github.com/Project-MONAI/MetricsReloaded, commit
cb38dfc), which take them from the figures of Reinke et al., "Understanding metric-related pitfalls in image
analysis validation" (Nature Methods 21, 2024), to the digits printed there. Defined otherwise, and therefore
not here: its average precision, which is the trapezoid under the curve, and all that is weighted by costs.
"""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from uadbench.evaluation.matching import surface_distances
from uadbench.evaluation.metrics import dice, measure

Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]


def mask(side: int, *boxes: Box) -> Mask:
    """Squares of `side` pixels in which some boxes (first row, end, first column, end) are filled."""
    filled = np.zeros((side, side), bool)
    for top, bottom, left, right in boxes:
        filled[top:bottom, left:right] = True
    return filled


SQUARE = mask(11, (3, 8, 3, 8))
CROSS_ON_IT = SQUARE | mask(11, (5, 6, 1, 10), (1, 10, 5, 6))
MIDDLE = mask(14, (5, 9, 5, 9))
TOO_SMALL, TOO_LARGE = mask(14, (6, 8, 6, 8)), mask(14, (4, 10, 4, 10))
SPECK_AND_LESION = mask(14, (1, 2, 1, 2), (9, 12, 9, 12))
LESION_ALONE = mask(14, (9, 12, 9, 12))


def of_masks(called: Mask, lesion: Mask) -> tuple[int, int, int]:
    """True positives, false positives, positives."""
    return int((called & lesion).sum()), int((called & ~lesion).sum()), int(lesion.sum())


@pytest.mark.parametrize(
    ("hits", "value"),
    [
        (of_masks(CROSS_ON_IT, SQUARE), 0.862),
        ((45, 10, 50), 0.86),  # figure SN 2.9: 45 of 50 found, 10 false
        ((81, 2, 90), 0.94),
    ],
    ids=["a cross on a square", "SN 2.9, balanced", "SN 2.9, not balanced"],
)
def test_dice(hits: tuple[int, int, int], value: float) -> None:
    assert float(dice(*hits)) == pytest.approx(value, abs=0.5e-2 if value != 0.862 else 0.5e-3)


@pytest.mark.parametrize(
    ("called", "hits"), [(TOO_SMALL, (4, 0, 16)), (TOO_LARGE, (16, 20, 16))], ids=["smaller", "larger"]
)
def test_counts_of_figure_2_10(called: Mask, hits: tuple[int, int, int]) -> None:
    assert of_masks(called, MIDDLE) == hits


def test_auroc_of_figure_2_18() -> None:
    scores = np.array([0.21, 0.35, 0.63, 0.92, 0.32, 0.79], np.float32)
    ill = np.array([0, 0, 0, 1, 1, 1], bool)

    assert measure(scores, ill).auroc == pytest.approx(0.78, abs=0.5e-2)


def test_everything_is_found_where_the_scores_are_in_order() -> None:
    scores, ill = np.arange(0, 1, 0.01, dtype=np.float32), np.arange(100) >= 50
    found = measure(scores, ill)

    assert (found.auroc, found.ap, found.best_dice) == (1, 1, 1)


# ---- of surfaces: both take the pixels of a mask that have a face on the outside ---------------------


def both(called: Mask, lesion: Mask) -> Sequence[NDArray[np.float64]]:
    return surface_distances(called, lesion, (1.0, 1.0))


@pytest.mark.parametrize(
    ("called", "lesion", "tolerance", "value"),
    [
        (CROSS_ON_IT, SQUARE, 1, 0.89),
        (CROSS_ON_IT, SQUARE, 2, 1.0),
        (TOO_SMALL, MIDDLE, 1, 0.75),
        (TOO_LARGE, MIDDLE, 1, 0.875),
    ],
    ids=["a cross, 1 pixel", "a cross, 2 pixels", "smaller", "larger"],
)
def test_surface_dice(called: Mask, lesion: Mask, tolerance: float, value: float) -> None:
    apart = np.concatenate(both(called, lesion))

    assert np.mean(apart <= tolerance) == pytest.approx(value, abs=0.5e-2)


@pytest.mark.parametrize(
    ("called", "lesion", "of_each", "of_all"),
    [(CROSS_ON_IT, SQUARE, 0.425, 0.44), (TOO_SMALL, MIDDLE, 1.07, 1.10), (TOO_LARGE, MIDDLE, 1.04, 1.05)],
    ids=["a cross", "smaller", "larger"],
)
def test_mean_distances(called: Mask, lesion: Mask, of_each: float, of_all: float) -> None:
    apart = both(called, lesion)

    assert np.mean([one.mean() for one in apart]) == pytest.approx(of_each, abs=0.6e-2)
    assert np.concatenate(apart).mean() == pytest.approx(of_all, abs=0.6e-2)


@pytest.mark.parametrize(
    ("called", "lesion", "farthest"),
    [(TOO_SMALL, MIDDLE, 1.41), (TOO_LARGE, MIDDLE, 1.41), (LESION_ALONE, SPECK_AND_LESION, 11.31)],
    ids=["smaller", "larger", "a speck of annotation"],
)
def test_hausdorff_distance(called: Mask, lesion: Mask, farthest: float) -> None:
    assert np.concatenate(both(called, lesion)).max() == pytest.approx(farthest, abs=0.5e-2)


def test_the_95th_percentile_forgives_a_speck() -> None:
    """Of each surface and then the larger, as they take it; of both together it is less."""
    apart = both(LESION_ALONE, SPECK_AND_LESION)

    assert max(np.percentile(one, 95) for one in apart) == pytest.approx(6.79, abs=0.5e-2)
