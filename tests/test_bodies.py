"""Bodies of masks: runs that touch are joined as voxels that touch are, whatever the order in memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from uadbench.preprocessing import bodies


def test_the_largest_body_is_kept_and_edges_do_not_connect() -> None:
    mask = np.zeros((5, 5, 5), bool)
    mask[0, 0, :3] = True  # three voxels
    mask[1, 1, :4] = True  # four, which touch the others by an edge alone
    found = bodies.keep_largest(mask)
    assert np.argwhere(found).tolist() == [[1, 1, 0], [1, 1, 1], [1, 1, 2], [1, 1, 3]]
    assert bodies.keep_largest(found) is found


def test_a_hole_is_filled_with_what_lies_in_it_and_a_bay_is_not() -> None:
    mask = np.zeros((7, 7, 7), bool)
    mask[1:6, 1:6, 1:6] = True
    mask[2:5, 2:5, 2:5] = False
    mask[3, 3, 3] = True  # an island in the hole
    assert np.count_nonzero(bodies.fill_holes(mask)) == 125
    mask[3, 3, 5] = False  # a way out
    assert bodies.fill_holes(mask) is mask


def test_a_hole_at_the_border_of_the_field_of_view_is_open() -> None:
    mask = np.ones((3, 3, 3), bool)
    mask[1, 1, 2] = False
    assert bodies.fill_holes(mask) is mask


@pytest.mark.parametrize("axes", [2, 3])
@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.0, 0.1, 0.4, 0.6, 0.8, 0.95, 1.0]))
def test_bodies_and_holes_are_those_of_scipy(axes: int, seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    mask = random.random(random.integers(1, 12, axes)) < share
    for stored in (mask, np.asfortranarray(mask), np.pad(mask, 2)[(slice(2, -2),) * axes]):
        np.testing.assert_array_equal(bodies.fill_holes(stored), ndimage.binary_fill_holes(mask))
        largest = bodies.keep_largest(stored)
        labels, count = ndimage.label(mask)
        assert not (largest & ~mask).any()
        assert ndimage.label(largest)[1] == min(count, 1)
        assert np.count_nonzero(largest) == max(np.bincount(labels.ravel())[1:], default=0)
