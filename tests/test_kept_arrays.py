"""What an evaluation keeps: maps in memory or on the disk, and the regions of a grid from run to run."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from uadbench.data.space import GRIDS, Grid
from uadbench.evaluation import regions
from uadbench.evaluation.postprocess import eroded
from uadbench.evaluation.shelf import Shelf


def test_arrays_beyond_the_room_are_on_the_disk_and_the_same(tmp_path: Path) -> None:
    arrays = [np.arange(5, dtype=np.float32) + n for n in range(3)]
    shelf = Shelf(tmp_path, room=20)

    kept = [shelf.keep(array) for array in arrays]

    assert len(list(tmp_path.iterdir())) == 2
    for array, one in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(one(), array)


def test_regions_are_kept_and_made_again_where_the_file_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Grid] = []

    def make(grid: Grid) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        made.append(grid)
        return np.full(grid.shape, 3, np.uint8)

    monkeypatch.setattr(regions, "_made", make)
    grid, brain = GRIDS["g48"], np.ones(GRIDS["g48"].shape, bool)

    def find() -> int:
        """How often they have been made, as in a new process."""
        monkeypatch.setattr(regions, "_known", {})
        assert (regions.regions_of(grid, brain, folder=tmp_path) == 3).all()
        return len(made)

    assert (find(), find()) == (1, 1)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:200])
    assert (find(), find()) == (2, 2)


def test_erosion_is_that_of_scipy_with_a_disc() -> None:
    brain = np.random.default_rng(0).random((30, 25, 4)) < 0.98
    disc = np.hypot(*np.mgrid[-3:4, -3:4])[:, :, None] <= 3

    found = eroded(brain, 3.0, Grid("test", (30, 25, 4), 1.0, (0.0, 0.0, 0.0)))

    np.testing.assert_array_equal(found, ndimage.binary_erosion(brain, disc))
