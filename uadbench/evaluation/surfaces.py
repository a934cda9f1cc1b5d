"""Normalised surface Dice: how much of two surfaces lies near the other (protocol, rule 10)."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uadbench.protocol import SURFACE_TOLERANCE_MM

Mask = NDArray[np.bool_]
BITS = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)  # of the eight voxels around a corner


class Surface(NamedTuple):
    """The surface of a mask: elements between voxels, one at each corner of eight that are not all alike."""

    places: NDArray[np.intp]  # (elements, 3) of the corner
    areas: NDArray[np.float64]  # (elements,) mm2

    @classmethod
    def of(cls, mask: Mask, sides_mm: Sequence[float]) -> "Surface":
        """Of a mask (R, A, S) with a voxel in it."""
        start, box = _box(mask)
        shape = [n + 1 for n in mask[box].shape]
        around, code = np.pad(mask[box], 1).view(np.uint8), np.zeros(shape, np.uint8)
        for corner, bit in np.ndenumerate(BITS):
            code |= around[tuple(slice(c, c + n) for c, n in zip(corner, shape, strict=True))] << bit
        there = np.flatnonzero((code > 0) & (code < 255))
        places = np.stack(np.unravel_index(there, code.shape), 1) + start
        return cls(places, _areas(tuple(sides_mm))[code.reshape(-1)[there]])


def _areas(sides_mm: tuple[float, ...]) -> NDArray[np.float64]:
    """Area (256,) of an element by which of its eight voxels are in the mask, each with its bit."""
    codes, triangles = _triangles()
    first, second, third = np.moveaxis(triangles * sides_mm, 1, 0)
    areas = np.linalg.norm(np.cross(second - first, third - first), axis=1) / 2
    return np.asarray(np.bincount(codes, areas, minlength=256), np.float64)


@cache
def _triangles() -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The triangles of all elements: which element has each, and its corners (triangles, 3, 3) in voxels.

    By marching cubes around the voxels that are in the mask, or out of it, whichever are fewer: these are
    the areas of the authors' table.
    """
    from skimage.measure import marching_cubes

    codes, triangles = [], []
    for code in range(1, 255):
        inside = (np.uint8(code) >> BITS & 1).astype(np.float64)
        fewer = inside if inside.sum() <= 4 else 1 - inside
        corners, faces, _, _ = marching_cubes(fewer, 0.5, method="lorensen")
        codes += [code] * len(faces)
        triangles.append(corners[faces])
    return np.array(codes), np.concatenate(triangles).astype(np.float64)


def _box(mask: Mask) -> tuple[NDArray[np.intp], tuple[slice, ...]]:
    """Where the box around a mask begins, and the box."""
    found = [np.flatnonzero(np.logical_or.reduce(mask, axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    return np.array([side[0] for side in found]), tuple(slice(int(s[0]), int(s[-1]) + 1) for s in found)


def surface_dice(
    called: Mask, lesion: Mask, sides_mm: Sequence[float], tolerance_mm: float = SURFACE_TOLERANCE_MM
) -> float:
    """Normalised surface Dice of two masks (R, A, S); NaN without a lesion.

    The share of the area of both surfaces that lies within the tolerance of the other (Nikolov et al., J Med
    Internet Res 23(7):e26151, 2021), with surface elements between voxels as in the authors' code. MONAI's
    `compute_surface_dice` with subvoxels is the same to single precision; what lies beyond the tolerance is
    not looked for here, and importing MONAI takes two seconds.
    """
    if not lesion.any():
        return float("nan")
    if not called.any():
        return 0.0
    from scipy.spatial import KDTree

    both = [Surface.of(mask, sides_mm) for mask in (called, lesion)]
    origin = both[1].places[0]
    points = [(one.places - origin) * np.asarray(sides_mm, np.float64) for one in both]
    within = 0.0
    for own, other, surface in zip(points[::-1], points, both[::-1], strict=True):
        bound = tolerance_mm * (1 + 1e-6)  # a distance of the tolerance itself may be rounded up
        nearest, _ = KDTree(other, leafsize=32).query(own, distance_upper_bound=bound)
        within += float(surface.areas[np.isfinite(nearest)].sum())
    return within / float(sum(one.areas.sum() for one in both))
