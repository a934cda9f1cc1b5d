"""Resampling of a scan to a grid through an affine: once, and without aliasing.

Before a coarser grid is sampled, the scan is smoothed so that its voxels become as wide as the grid's:
Gaussian point spread functions with the voxel spacing as full width at half maximum, so that the
smoothing has the variance (target² - source²) / (8 ln 2) mm² along each axis (Cardoso, Modat,
Vercauteren and Ourselin, "Scale factor point spread function matching", MICCAI 2015, eq. 4).

Nothing here calls a threaded library: the result is the same bits on any number of cores.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from scipy.sparse import csr_array

WIDTH = 8 * np.log(2)  # squared full width at half maximum of a Gaussian over its variance
TRUNCATE = 3.0  # standard deviations of the Gaussian that are kept
STRAIGHT = 1e-3  # voxels that an affine may lean over a whole axis and still be taken as straight


def sample_linear(
    array: NDArray[np.float32], to_source: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """A volume (R, A, S), 0 outside, sampled trilinearly at every voxel of a grid of `shape`.

    `to_source` (4, 4) takes the grid's voxel indices to those of the volume.
    """
    sigmas = _sigmas(to_source)
    if not _straight(to_source, shape):
        if sigmas.any():
            array = _along_axes(array, [_gaussian(n, s) for n, s in zip(array.shape, sigmas, strict=True)])
        return _oblique(array, to_source, shape, order=1)
    points = [_points(to_source, axis, shape[axis]) for axis in range(3)]
    if not sigmas.any() and all((there == np.rint(there)).all() for there in points):
        return sample_nearest(array, to_source, shape)  # every weight is 0 or 1
    matrices = [
        (_hat(there, n) @ _gaussian(n, sigma)).tocsr()
        for there, n, sigma in zip(points, array.shape, sigmas, strict=True)
    ]
    return _along_axes(array, matrices)


def sample_nearest(
    array: NDArray[Any], to_source: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[Any]:
    """A volume (R, A, S) of labels, 0 outside, at every voxel of a grid of `shape`; see `sample_linear`."""
    if not _straight(to_source, shape):
        return _oblique(array, to_source, shape, order=0)
    # In memory as the volume is: a copy that exchanges axes takes many times as long.
    result = np.zeros(shape, array.dtype, "F" if array.strides[0] < array.strides[-1] else "C")
    # Rounding first keeps a point half way between two voxels from falling with its last bit.
    points = (np.round(_points(to_source, axis, shape[axis]), 6) for axis in range(3))
    picked = [np.floor(there + 0.5).astype(int) for there in points]
    inside = [np.flatnonzero((p >= 0) & (p < n)) for p, n in zip(picked, array.shape, strict=True)]
    if all(len(there) for there in inside):
        sources = [_steps(p[there]) for p, there in zip(picked, inside, strict=True)]
        # One axis at a time, as slices where the steps are even: many times as fast as picking voxels.
        for axis, source in enumerate(sources):
            array = array[(slice(None),) * axis + (source,)]
        result[tuple(slice(there[0], there[-1] + 1) for there in inside)] = array
    return result


def _points(to_source: NDArray[np.float64], axis: int, count: int) -> NDArray[np.float64]:
    """Where the voxels of a grid lie along one axis, in those of the source, if the axes are parallel."""
    return np.asarray(to_source[axis, axis] * np.arange(count) + to_source[axis, 3])


def _steps(picked: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Ascending indices as a slice, where they are evenly apart."""
    step = int(picked[1] - picked[0]) if len(picked) > 1 else 1
    if step > 0 and (np.diff(picked) == step).all():
        return slice(int(picked[0]), int(picked[-1]) + 1, step)
    return picked


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """The smallest box that holds all True voxels (there is at least one)."""
    turned = mask.strides[0] < mask.strides[-1]  # the first axis lies closest in memory
    by_memory = mask.T if turned else mask
    face = np.logical_or.reduce(by_memory)
    shadows = [by_memory.reshape(len(by_memory), -1).any(1), face.any(1), face.any(0)]
    ends = [np.flatnonzero(shadow)[[0, -1]] for shadow in (shadows[::-1] if turned else shadows)]
    right, front, up = (slice(int(first), int(last) + 1) for first, last in ends)
    return right, front, up


def list_corners(ends: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """The corners (3, 8) of a box, given its two ends along each axis."""
    return np.stack(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)


def crop_affine(affine: NDArray[np.float64], box: tuple[slice, ...]) -> NDArray[np.float64]:
    """The affine of the part of a volume that a box cuts out."""
    affine = affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    return affine


def _sigmas(to_source: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smoothing along each source axis, in source voxels; 0 where the grid is not coarser."""
    step = np.linalg.norm(to_source[:3, :3], axis=1)  # of the grid along each source axis, source voxels
    sigmas: NDArray[np.float64] = np.sqrt(np.maximum(step**2 - 1, 0) / WIDTH)
    return np.where(sigmas > 0.1, sigmas, 0)  # the smoothing of less is below 1 % of a voxel's value


def _straight(to_source: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    lean = to_source[:3, :3] - np.diag(np.diag(to_source[:3, :3]))
    return bool((np.abs(lean) @ np.array(shape) < STRAIGHT).all())


def _gaussian(count: int, sigma: float) -> csr_array:
    """Smoothing along an axis of `count` voxels as a matrix, 0 beyond the ends."""
    radius = int(np.ceil(TRUNCATE * sigma))
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2) if sigma > 0 else np.ones(1)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    row = np.repeat(np.arange(count), len(offsets))
    column = row + np.tile(offsets, count)
    inside = (column >= 0) & (column < count)
    return csr_array((np.tile(kernel, count)[inside], (row[inside], column[inside])), (count, count))


def _hat(points: NDArray[np.float64], count: int) -> csr_array:
    """Linear interpolation at points (in voxels) of an axis of `count` voxels, 0 beyond the ends."""
    low = np.floor(points).astype(int)
    high_part = (points - low).astype(np.float32)
    row = np.repeat(np.arange(len(points)), 2)
    column = np.stack([low, low + 1], 1).ravel()
    weight = np.stack([1 - high_part, high_part], 1).ravel()
    inside = (column >= 0) & (column < count)
    return csr_array((weight[inside], (row[inside], column[inside])), (len(points), count))


def _along_axes(array: NDArray[np.float32], weights: Sequence[csr_array]) -> NDArray[np.float32]:
    """A volume (R, A, S) with a matrix applied along each axis: the last one first."""
    right, front, up = weights
    # Volumes lie in memory as in their file, the last axis slowest: axial slices, which stay in the cache.
    stored = np.ascontiguousarray(array.T)
    slices = (up @ stored.reshape(len(stored), -1)).reshape(-1, *stored.shape[1:])
    result = np.zeros((up.shape[0], front.shape[0], right.shape[0]), np.float32)
    for position in np.flatnonzero(np.diff(up.indptr)):
        there = front @ slices[position]  # (A, R)
        result[position] = (right @ np.ascontiguousarray(there.T)).T
    return result.T


def _oblique(
    array: NDArray[Any], to_source: NDArray[np.float64], shape: tuple[int, ...], order: Literal[0, 1]
) -> NDArray[Any]:
    """Sampling through a general affine, only where the grid meets what is not 0 in the volume."""
    result = np.zeros(shape, array.dtype)
    there = array != 0
    if not there.any():
        return result
    box = bounding_box(there)
    array = array[box]
    to_source = to_source.copy()
    to_source[:3, 3] -= [side.start for side in box]
    ends = list_corners([(-1, n) for n in array.shape])
    to_grid = np.linalg.inv(to_source)
    corners = to_grid[:3, :3] @ ends + to_grid[:3, 3:]
    start = np.clip(np.floor(corners.min(1)).astype(int), 0, shape)
    stop = np.clip(np.ceil(corners.max(1)).astype(int) + 1, start, shape)
    if (stop == start).any():
        return result
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    offset = to_source[:3, :3] @ start + to_source[:3, 3]
    result[window] = scipy.ndimage.affine_transform(
        np.ascontiguousarray(array),
        to_source[:3, :3],
        offset,
        tuple(int(count) for count in stop - start),
        order=order,
        mode="grid-constant",
        prefilter=False,
    )
    return result
