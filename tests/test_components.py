"""Lesion-wise counts on masks small enough to count by hand."""

import numpy as np
from numpy.typing import NDArray

from uadbench.evaluation.components import FALSE, FOUND, LESIONS, Lesions

SHAPE = (30, 30, 30)
NOTHING = np.zeros(SHAPE, bool)


def box(*corner: int, size: int = 2) -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(c, c + size) for c in corner)] = True
    return mask


def test_a_lesion_is_found_from_a_tenth_of_its_voxels_on() -> None:
    lesion = np.zeros(SHAPE, bool)
    lesion[:20, 0, 0] = True
    one, two = NOTHING.copy(), NOTHING.copy()
    one[0, 0, 0] = two[:2, 0, 0] = True

    counted = Lesions(lesion, NOTHING, voxel_ml=0.001)

    assert counted.against(one)[:, FOUND].sum() == 0
    assert counted.against(two)[:, FOUND].sum() == 1


def test_voxels_that_touch_at_a_corner_are_one_lesion() -> None:
    lesion = box(5, 5, 5) | box(7, 7, 7)

    assert Lesions(lesion, NOTHING, 0.001).against(NOTHING)[:, LESIONS].sum() == 1


def test_sizes_are_millilitres_and_a_band_begins_at_its_lower_end() -> None:
    lesion = box(1, 1, 1, size=2) | box(10, 10, 10, size=5)  # 8 and 125 voxels

    by_band = Lesions(lesion, NOTHING, voxel_ml=0.008).against(NOTHING)[:, LESIONS]  # 0.064 and 1.0 ml

    assert by_band.tolist() == [1, 0, 1, 0]


def test_a_predicted_component_without_any_lesion_voxel_is_false() -> None:
    predicted = box(5, 5, 5) | box(20, 20, 20)

    counts = Lesions(box(6, 6, 6), NOTHING, 0.001).against(predicted)

    assert counts[:, FALSE].sum() == 1
    assert counts[:, FOUND].sum() == 1


def test_a_component_that_touches_an_ignored_voxel_is_neither_hit_nor_false() -> None:
    ignored = box(10, 10, 10, size=3)
    lesion, predicted = box(13, 13, 13), box(8, 8, 8)

    counts = Lesions(lesion, ignored, 0.001).against(predicted | lesion)

    assert counts.sum() == 0


def test_no_lesion_and_no_prediction_count_nothing() -> None:
    assert Lesions(NOTHING, NOTHING, 0.001).against(NOTHING).sum() == 0
