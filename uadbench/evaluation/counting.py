"""Counts voxels by score: all of them in coarse bins, then single values in a few of these bins.

Both walk through the scores in chunks whose buffers stay in the processor's cache, without sorting.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uadbench.evaluation.metrics import require_finite
from uadbench.evaluation.ordinals import SHIFT, SLOTS, WIDTH, Integers, bins_at, first_of, scores_at, slots_of

ZEROS = 16  # slots that zeros are spread over: adding to one and the same slot makes the processor wait
BLOCKS = 512  # of slots, one per sign and exponent
CHUNK = 1 << 16  # voxels at a time
AT_ONCE = 1 << 31  # voxels that uint32 counts can hold for sure


Voxels = tuple[NDArray[np.float32], NDArray[np.bool_]]  # scores and labels


class Cells(NamedTuple):
    """Voxels in intervals of ordinals, ascending and apart; only those that hold a voxel."""

    starts: NDArray[np.int32]  # lowest ordinal
    widths: NDArray[np.int32]  # numbers in the interval: 1 where all of its voxels are tied
    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]


def coarse(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> Cells:
    """The counts of vectors of scores and labels in coarse bins, of at most AT_ONCE voxels."""
    voxels, positives = np.zeros((2, SLOTS), np.uint32)
    bits, slots = np.empty(CHUNK, np.uint32), np.empty(CHUNK, np.intp)
    zero_slots = (SLOTS - 1 - np.arange(CHUNK) % ZEROS).astype(np.uint32)
    one = np.uint32(1)
    for part, truth in _chunks(scores, labels):
        require_finite(part)
        own, slot = bits[: part.size], slots[: part.size]
        np.add(part, np.float32(0), out=own.view(np.float32))  # -0.0 becomes 0.0
        np.subtract(own, one, out=own)  # 0 wraps to the last slot
        np.right_shift(own, np.uint32(SHIFT), out=own)
        np.minimum(own, zero_slots[: part.size], out=slot, casting="unsafe")
        np.add.at(voxels, slot, one)
        np.add.at(positives, slot[np.flatnonzero(truth)], one)
    filled = _filled(voxels)
    bins = np.where(filled >= SLOTS - ZEROS, 0, bins_at(filled)).astype(np.int32)
    names, place = np.unique(bins, return_inverse=True)
    true = np.bincount(place, positives[filled], len(names)).astype(np.int64)
    every = np.bincount(place, voxels[filled], len(names)).astype(np.int64)
    widths = np.where(names == 0, 1, WIDTH).astype(np.int32)
    return Cells(first_of(names).astype(np.int32), widths, true, every - true)


def _chunks(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> Iterator[Voxels]:
    for start in range(0, scores.size, CHUNK):
        yield scores[start : start + CHUNK], labels[start : start + CHUNK]


def _filled(voxels: NDArray[np.uint32]) -> NDArray[np.intp]:
    """The slots that count something; looked for where the maximum, which is fast, finds any."""
    blocks = voxels.reshape(BLOCKS, -1)
    used = np.flatnonzero(blocks.max(1))
    block, place = np.nonzero(blocks[used])
    return used[block] * blocks.shape[1] + place


class Look:
    """A second look at the voxels of some coarse bins, each divided into cells of 2 ** shift numbers."""

    def __init__(self, bins: Integers, shift: int = 0) -> None:
        """Of bins other than 0, in any order."""
        self.bins = np.unique(np.asarray(bins, np.int32))
        self.shift = shift
        self.cells = WIDTH >> shift  # of a bin
        self.row = np.zeros(SLOTS, np.int32)  # by slot: where its cells begin, 0 for all other bins
        self.row[slots_of(self.bins)] = np.arange(1, self.bins.size + 1) * self.cells
        firsts = first_of(self.bins)
        self.low, self.high = scores_at(firsts[[0]])[0], scores_at(firsts[[-1]] + WIDTH - 1)[0]

    def empty(self, voxels: int) -> NDArray[Any]:
        """Counters for so many voxels, (all and positive, rows of cells); row 0 takes all other bins."""
        return np.zeros((2, (self.bins.size + 1) * self.cells), np.uint32 if voxels < 1 << 32 else np.uint64)

    def count(self, scores: NDArray[np.float32], labels: NDArray[np.bool_], into: NDArray[Any]) -> None:
        """Count vectors of scores and labels."""
        one = into.dtype.type(1)
        for part, truth in _chunks(scores, labels):
            part, truth = self._near(part, truth)
            bits = (part + np.float32(0)).view(np.uint32)
            bits -= np.uint32(1)
            cell = self.row.take((bits >> np.uint32(SHIFT)).astype(np.intp)).astype(np.intp)
            bits &= np.uint32(WIDTH - 1)
            cell += bits >> np.uint32(self.shift)
            np.add.at(into[0], cell, one)
            np.add.at(into[1], cell[np.flatnonzero(truth)], one)

    def _near(self, part: NDArray[np.float32], truth: NDArray[np.bool_]) -> Voxels:
        """At least those voxels of a chunk that lie in the bins, where leaving out the others pays."""
        for compare, end in ((np.greater_equal, self.low), (np.less_equal, self.high)):
            near = compare(part, end)
            if 4 * np.count_nonzero(near) < 3 * part.size:
                chosen = np.flatnonzero(near)
                part, truth = part[chosen], truth[chosen]
        return part, truth

    def found(self, counts: NDArray[Any]) -> Cells:
        """The cells of the counts that hold a voxel."""
        rows = counts.reshape(2, -1, self.cells)[:, 1:]
        below_0 = self.bins < 0  # their bit patterns descend
        rows[:, below_0] = rows[:, below_0, ::-1]
        row, place = np.nonzero(rows[0])
        starts = first_of(self.bins)[row] + (place << self.shift)
        every, true = rows[:, row, place].astype(np.int64)
        widths = np.full(starts.shape, 1 << self.shift, np.int32)
        return Cells(starts.astype(np.int32), widths, true, every - true)
