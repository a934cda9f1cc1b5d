"""Bodies of a mask: its largest component, and the mask without holes; faces connect.

A mask is looked at as runs of True voxels along the axis that lies closest in memory. A brain has some ten
thousand runs and millions of voxels, so that joining runs that touch takes half the time of numbering voxels,
as cc3d and ITK do, and a tenth of the memory. (Of voxels drawn by chance it would take five times as long.)
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

Ends = tuple[NDArray[np.int64], NDArray[np.int64]]  # where runs begin, and behind where they end, ascending


def keep_largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest face-connected component of a volume or slice; the mask itself where there is but one."""
    body = _Padded(mask)
    starts, ends = body.runs
    pairs = (_overlaps((starts + step, ends + step), body.runs) for step in body.steps)
    labels = _join(len(starts), pairs)
    sizes = np.bincount(labels, ends - starts)
    if len(sizes) < 2:
        return mask
    return body.painted(labels != sizes.argmax(), body.runs, False)


def fill_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A volume or slice, what cannot be reached from outside filled; the mask itself where nothing is."""
    body = _Padded(mask)
    starts, ends = body.runs
    gaps = np.append(0, ends), np.append(starts, body.line.size)
    # A gap that ends with its row touches the rim; only those between two runs of a row may be holes.
    inner = 1 + np.flatnonzero(ends[:-1] // body.steps[-1] == starts[1:] // body.steps[-1])
    if not len(inner):
        return mask
    number = np.zeros(len(gaps[0]), np.int64)  # of each gap: 0 is outside
    number[inner] = np.arange(1, len(inner) + 1)
    between = gaps[0][inner], gaps[1][inner]
    found = (
        _overlaps((between[0] + step, between[1] + step), gaps) for one in body.steps for step in (one, -one)
    )
    labels = _join(1 + len(inner), ((1 + first, number[second]) for first, second in found))
    holes = labels[1:] != labels[0]
    return body.painted(holes, between, True) if holes.any() else mask


@dataclass(frozen=True)
class _Padded:
    """A mask with a rim that parts its rows."""

    mask: NDArray[np.bool_]

    @cached_property
    def volume(self) -> NDArray[np.bool_]:
        """The mask as it lies in memory, the closest axis last, with a rim behind rows and around slices."""
        by_memory = self.mask.T if self._turned else self.mask
        first, *others = by_memory.shape
        padded = np.zeros((first + 2, *(side + 1 for side in others)), bool)
        padded[self._inside] = by_memory
        return padded

    @property
    def _turned(self) -> bool:
        return self.mask.strides[0] < self.mask.strides[-1]

    @property
    def _inside(self) -> tuple[slice, ...]:
        return np.s_[1:-1], *([np.s_[:-1]] * (self.mask.ndim - 1))

    @property
    def line(self) -> NDArray[np.bool_]:
        """All voxels in their order in memory."""
        return self.volume.reshape(-1)

    @property
    def steps(self) -> tuple[int, ...]:
        """From a voxel to its neighbours behind it along the line: in the next slice, in the next row."""
        return self.volume.strides[:-1]  # a truth value takes one byte

    @cached_property
    def runs(self) -> Ends:
        """Of True voxels along the line."""
        changes = 1 + np.flatnonzero(self.line[1:] != self.line[:-1])
        return changes[::2], changes[1::2]

    def painted(self, chosen: NDArray[np.bool_], runs: Ends, value: bool) -> NDArray[np.bool_]:
        """The mask with a value in the chosen runs."""
        starts, lengths = runs[0][chosen], (runs[1] - runs[0])[chosen]
        self.line[_spread(starts, lengths)] = value
        inside = self.volume[self._inside]
        return inside.T if self._turned else inside


def _overlaps(queries: Ends, runs: Ends) -> Ends:
    """Pairs of a query and a run that have a voxel in common, by their positions."""
    first = np.searchsorted(runs[1], queries[0], "right")
    counts = np.searchsorted(runs[0], queries[1], "left") - first
    return np.repeat(np.arange(len(first)), counts), _spread(first, counts)


def _spread(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """start, start + 1, ... of each of many ranges, one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())


def _join(count: int, pairs: Iterable[Ends]) -> NDArray[np.int64]:
    """The component of each of so many nodes, some pairs of which are joined."""
    first, second = (np.concatenate(one) for one in zip(*pairs, strict=True))
    joined = csr_array((np.ones(len(first)), (first, second)), (count, count))
    return np.asarray(connected_components(joined, directed=False)[1])
