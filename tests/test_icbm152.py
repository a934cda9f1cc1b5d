"""The template's maps are read as nilearn reads them."""

import numpy as np
import pytest
from nilearn import datasets

from uadbench.data import icbm152

LOADERS = {
    "t1": datasets.load_mni152_template,
    "gm": datasets.load_mni152_gm_template,
    "wm": datasets.load_mni152_wm_template,
}


@pytest.mark.parametrize("name", LOADERS)
def test_maps_are_nilearns_to_the_bit(name: str) -> None:
    expected = LOADERS[name](resolution=1)
    found, first_mm = icbm152.read_map(name)
    np.testing.assert_array_equal(found, expected.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(first_mm, expected.affine[:3, 3])
    np.testing.assert_array_equal(np.diag(expected.affine), 1)


def test_the_brain_is_nilearns() -> None:
    expected = datasets.load_mni152_brain_mask(resolution=1).get_fdata(dtype=np.float32)
    np.testing.assert_array_equal(icbm152.read_map("t1")[0] > icbm152.BRAIN, expected > 0)
