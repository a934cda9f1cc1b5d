"""Normalised surface Dice: how much of two surfaces lies near the other (protocol, rule 10)."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from uadbench.protocol import SURFACE_TOLERANCE_MM

Mask = NDArray[np.bool_]
BITS = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)  # of the eight voxels around a corner


def _codes(mask: Mask, start: NDArray[np.intp], shape: Sequence[int]) -> NDArray[np.uint8]:
    """Which of the eight voxels around each corner are in a mask, each with its bit; 0: no surface.

    On an array of this shape, whose first corner is the first one of voxel `start`; what of it lies outside
    the box around the mask is 0.
    """
    codes = np.zeros(shape, np.uint8)
    first, box = _box(mask)
    around, sides = np.pad(mask[box], 1).view(np.uint8), [n + 1 for n in mask[box].shape]
    place = tuple(slice(a, a + n) for a, n in zip(first - start, sides, strict=True))
    for corner, bit in np.ndenumerate(BITS):
        part = tuple(slice(c, c + n) for c, n in zip(corner, sides, strict=True))
        codes[place] |= around[part] << bit
    codes[codes == 255] = 0
    return codes


@cache
def _offsets(sides_mm: tuple[float, ...], tolerance_mm: float) -> NDArray[np.intp]:
    """Steps (steps, 3) from a corner to all within the tolerance of it, the shortest first."""
    most = [int(tolerance_mm / side) for side in sides_mm]
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), -1).reshape(-1, 3)
    length = np.linalg.norm(steps * sides_mm, axis=1)
    return np.asarray(steps[np.argsort(length, kind="stable")][: (length <= tolerance_mm).sum()], np.intp)


@cache
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
    `compute_surface_dice` with subvoxels is the same to single precision. Here it is only asked whether the
    other surface has an element at a place within the tolerance, not how far the nearest one is.
    """
    if not lesion.any():
        return float("nan")
    if not called.any():
        return 0.0
    sides = tuple(float(side) for side in sides_mm)
    bound = tolerance_mm * (1 + 1e-6)  # a distance of the tolerance itself may be rounded up
    areas, offsets = _areas(sides), _offsets(sides, bound)
    start, box = _box(called | lesion)
    margin = np.abs(offsets).max(0)  # so that no step from a corner leaves the array
    shape = tuple(int(one.stop - one.start + 1 + 2 * m) for one, m in zip(box, margin, strict=True))
    both = [_codes(mask, start - margin, shape).reshape(-1) for mask in (called, lesion)]
    total = beyond = 0.0
    for own, other in (both, both[::-1]):
        far, elsewhere = np.flatnonzero(own), other > 0
        total += float(areas[own[far]].sum())
        for step in offsets @ [shape[1] * shape[2], shape[2], 1]:
            far = far[~elsewhere[far + step]]
        beyond += float(areas[own[far]].sum())
    return 1 - beyond / total
