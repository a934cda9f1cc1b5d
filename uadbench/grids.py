"""Grids: axis-aligned RAS voxel lattices in MNI152 millimetres.

The evaluation grids belong to a protocol, the model grids are a parameter of a method
(protocol, rule 8).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uadbench.errors import UserError


@dataclass(frozen=True)
class Grid:
    """A lattice of `shape` (R, A, S) voxels of `spacing_mm`, its first voxel centre at `origin_mm`."""

    name: str
    shape: tuple[int, int, int]
    spacing_mm: float
    origin_mm: tuple[float, float, float]

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel indices to MNI152 millimetres, (4, 4)."""
        affine = np.diag([self.spacing_mm] * 3 + [1.0])
        affine[:3, 3] = self.origin_mm
        return affine

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return self.spacing_mm**3 / 1000


CORNER = (-96.0, -130.0, -80.0)  # first voxel centre of the evaluation grids, mm (protocol, rule 8)

GRIDS = {
    grid.name: grid
    for grid in (
        Grid("g48", (48, 56, 48), 4.0, CORNER),  # for continuous integration
        Grid("g96", (96, 112, 96), 2.0, CORNER),
        # 128 x 128 slices; its centre is the centre of the 1 mm grid.
        Grid("g128", (128, 128, 110), 1.75, (-111.625, -129.625, -79.875)),
        Grid("g192", (192, 224, 192), 1.0, CORNER),
    )
}


def grid(name: str) -> Grid:
    """The grid of that name; an unknown name lists the known ones."""
    if name not in GRIDS:
        raise UserError(f"There is no grid '{name}'; known are: {', '.join(GRIDS)}.")
    return GRIDS[name]


def _weights(source: Grid, target: Grid, axis: int) -> NDArray[np.float32]:
    """Linear interpolation along one axis as a matrix (target voxels, source voxels)."""
    n_source, n_target = source.shape[axis], target.shape[axis]
    position = target.origin_mm[axis] + target.spacing_mm * np.arange(n_target)
    position = (position - source.origin_mm[axis]) / source.spacing_mm
    position = position.clip(0, n_source - 1)  # the border value continues outside
    low = np.minimum(position.astype(int), n_source - 2)
    weights = np.zeros((n_target, n_source), np.float32)
    weights[np.arange(n_target), low] = 1 - (position - low)
    weights[np.arange(n_target), low + 1] = position - low
    return weights


def resample(volume: NDArray[np.float32], source: Grid, target: Grid) -> NDArray[np.float32]:
    """Trilinear resampling of a (R, A, S) volume from one grid to another."""
    if source == target:
        return volume
    for axis in range(3):
        weights = _weights(source, target, axis)
        volume = np.moveaxis(np.tensordot(weights, volume, (1, axis)), 0, axis)
    return np.ascontiguousarray(volume)
