"""Grids: axis-aligned RAS voxel lattices in MNI152 millimetres, and stacks of slices that lie nowhere.

The evaluation grids belong to a protocol, the model grids are a parameter of a method
(protocol, rule 8).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from uadbench.system.errors import unknown


@dataclass(frozen=True)
class Grid:
    """A lattice of `shape` (R, A, S) voxels of `spacing_mm`, its first voxel centre at `origin_mm`."""

    name: str
    shape: tuple[int, int, int]
    spacing_mm: float
    origin_mm: tuple[float, float, float]

    flat: ClassVar[bool] = False  # slices without a third dimension
    placed: ClassVar[bool] = True  # whether it is known where in MNI152 the voxels lie

    @property
    def sides_mm(self) -> tuple[float, float, float]:
        """Length of a voxel along each axis."""
        return (self.spacing_mm,) * 3

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel in cubic millimetres."""
        return self.spacing_mm**3

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel indices to MNI152 millimetres, (4, 4)."""
        affine = np.diag([self.spacing_mm] * 3 + [1.0])
        affine[:3, 3] = self.origin_mm
        return affine

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return self.voxel_mm3 / 1000

    @property
    def voxel_size(self) -> float:
        """What one voxel adds to a size: millilitres; of a stack, pixels of its files."""
        return self.voxel_ml


@dataclass(frozen=True)
class Stack(Grid):
    """Slices of `shape` (R, A, slices), each for itself: where they lie and how far apart is not known.

    Every length counts pixels of the stored slices, in the plane: `spacing_mm` and `origin_mm` too.
    """

    flat: ClassVar[bool] = True
    placed: ClassVar[bool] = False

    @property
    def affine(self) -> NDArray[np.float64]:
        """Indices to pixels of the stored slices and the number of the slice, (4, 4)."""
        affine = np.diag([self.spacing_mm, self.spacing_mm, 1.0, 1.0])
        affine[:3, 3] = self.origin_mm
        return affine

    @property
    def voxel_ml(self) -> float:
        """A pixel has no volume: TypeError."""
        raise TypeError("A stack of slices without geometry has no volume in millilitres; use voxel_size.")

    @property
    def voxel_size(self) -> float:
        """How many pixels of the stored slices one pixel covers."""
        return self.spacing_mm**2


@dataclass(frozen=True)
class ScanGrid(Grid):
    """A scan's own voxels, in RAS order, with sides of their own along each axis.

    `spacing_mm` is the edge of a cube of the same volume. Where in MNI152 the scan lies is not known.
    """

    sides_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)

    placed: ClassVar[bool] = False

    @classmethod
    def of(cls, shape: tuple[int, int, int], sides_mm: tuple[float, float, float]) -> "ScanGrid":
        """The grid of voxels of these sides; its first voxel centre is its origin."""
        edge = float(np.prod(sides_mm)) ** (1 / 3)
        return cls(OWN_VOXELS, shape, edge, (0.0, 0.0, 0.0), sides_mm)

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel in cubic millimetres."""
        return float(np.prod(self.sides_mm))

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel indices to millimetres from the first voxel's centre, (4, 4)."""
        return np.diag([*self.sides_mm, 1.0])


@dataclass(frozen=True)
class Frame:
    """To how many pixels (R, A) slices are brought, in the plane alone; None: as many as they have."""

    name: str
    pixels: tuple[int, int] | None = None

    def stack(self, stored: tuple[int, int], slices: int) -> Stack:
        """The grid of so many slices of `stored` pixels; all of a slice is there, in its proportions."""
        right, front = self.pixels or stored
        spacing = max(stored[0] / right, stored[1] / front)
        origin = [(n - 1 - spacing * (m - 1)) / 2 for n, m in zip(stored, (right, front), strict=True)]
        return Stack(self.name, (right, front, slices), spacing, (origin[0], origin[1], 0.0))


NATIVE = Frame("pixels")
OWN_VOXELS = "native"  # name of the grid of a scan's own voxels
Target = Grid | Frame  # what scans are prepared on


# A model grid of this name is the evaluation grid of the run's protocol (rule 8: baselines need no other).
EVALUATION = "evaluation"
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


def find_grid(name: str) -> Grid:
    """The grid of that name; an unknown name lists the known ones."""
    if name not in GRIDS:
        raise unknown("grid", name, GRIDS)
    return GRIDS[name]


def make_frame(on: Grid) -> Frame:
    """The frame that gives slices as many pixels as those of a model grid."""
    return Frame(f"{on.name}-2d", on.shape[:2])


def _weights(source: Grid, target: Grid, axis: int) -> NDArray[np.float64]:
    """Linear interpolation along one axis as a matrix (target voxels, source voxels)."""
    n_source, n_target = source.shape[axis], target.shape[axis]
    position = target.origin_mm[axis] + target.spacing_mm * np.arange(n_target)
    position = (position - source.origin_mm[axis]) / source.spacing_mm
    position = position.clip(0, n_source - 1)  # the border value continues outside
    low = np.minimum(position.astype(int), n_source - 2)
    weights = np.zeros((n_target, n_source))
    weights[np.arange(n_target), low] = 1 - (position - low)
    weights[np.arange(n_target), low + 1] = position - low
    return weights


def resample(volume: NDArray[np.float32], source: Grid, target: Grid) -> NDArray[np.float32]:
    """Trilinear resampling of a (R, A, S) volume from one grid to another; of a stack in the plane alone.

    Computed in double precision and rounded once, so that neither tiny nor huge values are lost.
    """
    if source == target:
        return volume
    if source.flat != target.flat or (target.flat and source.shape[2] != target.shape[2]):
        raise ValueError(
            f"Nothing leads from grid {source.name} {source.shape} to {target.name} {target.shape}."
        )
    result = volume.astype(np.float64)
    for axis in range(2 if target.flat else 3):
        weights = _weights(source, target, axis)
        result = np.moveaxis(np.tensordot(weights, result, (1, axis)), 0, axis)
    return np.ascontiguousarray(result, np.float32)
