"""Smooth random fields in MNI152 millimetres: the same field whatever grid it is looked at on."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadbench.data.space import Grid

Map = NDArray[np.float32]

# The box in mm that every field covers: more than any brain and any of the grids of uadbench.data.space.
LOW_MM, HIGH_MM = (-120.0, -150.0, -100.0), (120.0, 130.0, 130.0)
# Mean square of the weights of a cubic B-spline, 151/315, per axis: what a coefficient's variance keeps.
SPLINE_VARIANCE = (151 / 315) ** 3


def axes_mm(grid: Grid) -> list[Map]:
    """Voxel centres along each axis, shaped to broadcast to (R, A, S)."""
    lines = [o + grid.spacing_mm * np.arange(n) for o, n in zip(grid.origin_mm, grid.shape, strict=True)]
    return [np.asarray(mesh, np.float32) for mesh in np.meshgrid(*lines, indexing="ij", sparse=True)]


def crop(grid: Grid, low_mm: Sequence[float], high_mm: Sequence[float]) -> tuple[Grid, tuple[slice, ...]]:
    """The part of a grid between two corners, as a grid of its own and as slices of the whole."""
    slices, origin = [], []
    for axis in range(3):
        first = max(0, int(np.floor((low_mm[axis] - grid.origin_mm[axis]) / grid.spacing_mm)))
        last = int(np.ceil((high_mm[axis] - grid.origin_mm[axis]) / grid.spacing_mm))
        slices.append(slice(first, min(grid.shape[axis], last + 1)))
        origin.append(grid.origin_mm[axis] + first * grid.spacing_mm)
    right, front, up = (part.stop - part.start for part in slices)
    origin_mm = (origin[0], origin[1], origin[2])
    return Grid(grid.name, (right, front, up), grid.spacing_mm, origin_mm), tuple(slices)


@lru_cache(maxsize=64)
def _spline(
    start: float, step: float, count: int, low: float, lattice_mm: float
) -> tuple[NDArray[np.intp], Map]:
    """Per voxel along one axis the first of its four coefficients, (n,), and their weights, (4, n)."""
    position = (start + step * np.arange(count) - low) / lattice_mm
    first = np.floor(position).astype(np.intp)
    t = position - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    return first, weights.astype(np.float32)


def lattice_shape(lattice_mm: float) -> tuple[int, ...]:
    """How many coefficients a field with that many mm between them has along each axis."""
    extents = [high - low for low, high in zip(LOW_MM, HIGH_MM, strict=True)]
    return tuple(int(np.ceil(extent / lattice_mm)) + 4 for extent in extents)


def spline_field(coefficients: Map, grid: Grid, lattice_mm: float) -> Map:
    """The cubic B-spline of a lattice of coefficients, seen on a grid (R, A, S).

    Sums of four products in a fixed order, rather than a matrix product, whose rounding may depend
    on the number of threads.
    """
    field = coefficients
    for axis in range(3):
        line = (grid.origin_mm[axis], grid.spacing_mm, grid.shape[axis], LOW_MM[axis], lattice_mm)
        first, weights = _spline(*line)
        shape = [1, 1, 1]
        shape[axis] = -1
        summed = field.take(first, axis)
        summed *= weights[0].reshape(shape)
        for k in (1, 2, 3):
            part = field.take(first + k, axis)
            part *= weights[k].reshape(shape)
            summed += part
        field = summed
    return field


def smooth_field(random: np.random.Generator, grid: Grid, lattice_mm: float) -> Map:
    """A smooth random field (R, A, S) of mean 0 and variance 1; its bumps are about 2 lattices wide."""
    coefficients = random.standard_normal(lattice_shape(lattice_mm), np.float32)
    return spline_field(coefficients / np.float32(np.sqrt(SPLINE_VARIANCE)), grid, lattice_mm)


def find_voxels(grid: Grid, position: Map) -> Map:
    """Positions (3, ...) in mm as voxel indices of a grid."""
    origin = np.asarray(grid.origin_mm, np.float32).reshape(3, *[1] * (position.ndim - 1))
    return (position - origin) / np.float32(grid.spacing_mm)


def sample(source: Map, lattice: Grid, position: Map) -> Map:
    """A map at positions (3, ...) in mm, trilinear; the border value continues outside."""
    index = find_voxels(lattice, position)
    return np.asarray(ndimage.map_coordinates(source, index, np.float32, 1, "nearest"), np.float32)


def soft_step(field: Map, width: float) -> Map:
    """0 far below 0, 1 far above, 0.5 at 0; rises over about `width` in the field's unit."""
    return np.asarray(0.5 + 0.5 * np.tanh(field * np.float32(2 / width)), np.float32)
