"""Counts voxels by score: all of them in coarse bins, then single values in a few of these bins.

Both walk through the scores in chunks whose buffers stay in the processor's cache, without sorting.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from uadbench.evaluation.histogram import (
    NEGATIVE,
    SHIFT,
    SLOTS,
    WIDTH,
    ScoreHistogram,
    bins_at,
    bins_of,
    each_once,
    first_of,
    slots_of,
    total,
)
from uadbench.evaluation.metrics import AP_BOUND, Curve, Voxels, checked, lowest_of
from uadbench.evaluation.ordinals import CHUNK, Integers, tally

AREAS = 0.75 * AP_BOUND  # what a histogram may leave open of AP
AT_ONCE = 1 << 30  # voxels that int32 counts can hold for sure
LOOK_CELLS = 1 << 18  # of one second look: its counts take 2 MB
WINDOW = 1 << 18  # cells up to which a look counts what lies between its bins too
BLOCKS = 512  # of slots, one per sign and exponent
ZEROS = 128  # slots that zeros are spread over: adding to one and the same slot makes the processor wait
ONE = np.uint32(1)

K = TypeVar("K", bound=Hashable)


def _chunks(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> Iterator[Voxels]:
    for start in range(0, scores.size, CHUNK):
        yield scores[start : start + CHUNK], labels[start : start + CHUNK]


def count_scores(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> ScoreHistogram:
    """Coarse counts of float32 scores of any shape, with bool labels of that shape."""
    scores, labels = checked(scores, labels)
    parts = (slice(start, start + AT_ONCE) for start in range(0, max(scores.size, 1), AT_ONCE))
    return total(_coarse(scores[part], labels[part]) for part in parts)


def _coarse(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> ScoreHistogram:
    """The counts of vectors of at most AT_ONCE scores and labels."""
    voxels, positives = np.zeros((2, SLOTS), np.int32)
    numbers = np.empty(CHUNK, np.uint32)
    zero_slots = (SLOTS - 1 - np.arange(CHUNK) % ZEROS).astype(np.uint32)
    for part, truth in _chunks(scores, labels):
        lowest = lowest_of(part)
        number = np.subtract(part.view(np.uint32), ONE, out=numbers[: part.size])  # 0 wraps to the last slot
        np.right_shift(number, np.uint32(SHIFT), out=number)
        if lowest <= 0:
            np.minimum(number, zero_slots[: part.size], out=number)
        slot = number.view(np.int32)
        tally(voxels, slot)
        tally(positives, slot[np.flatnonzero(truth)])
    for counts in (voxels, positives):
        counts[NEGATIVE - 1] += counts[-ZEROS:].sum(dtype=np.int32)  # -0.0 was counted there
        counts[-ZEROS:] = 0
    filled = _filled(voxels)
    bins = np.where(filled == NEGATIVE - 1, 0, bins_at(filled)).astype(np.int32)
    order = np.argsort(bins, kind="stable")
    bins, filled = bins[order], filled[order]
    every, true = voxels[filled].astype(np.int64), positives[filled].astype(np.int64)
    widths = np.where(bins == 0, 1, WIDTH).astype(np.int32)
    return ScoreHistogram(first_of(bins).astype(np.int32), widths, true, every - true)


def _filled(voxels: NDArray[np.int32]) -> NDArray[np.intp]:
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
        slots = slots_of(self.bins)
        self.first = np.uint32(int(slots.min()) * WIDTH + 1)  # bits of the lowest number
        self.span = np.uint32(int(slots.max() - slots.min() + 1) * WIDTH)  # numbers from there on
        self.rows = slots - slots.min()  # of counters, of each bin; one more takes all other voxels
        self.others = int(self.rows.max()) + 1
        self.cell_of: NDArray[np.int32] | None = None
        if self.others * self.cells > WINDOW:  # the bins lie far apart: counters for them alone
            self.cell_of = np.full(self.others + 1, self.bins.size * self.cells, np.int32)
            self.cell_of[self.rows] = np.arange(self.bins.size) * self.cells
            self.rows, self.others = np.arange(self.bins.size), self.bins.size

    def empty(self, voxels: int) -> NDArray[Any]:
        """Counters for so many voxels, (all and positive, rows of cells)."""
        return np.zeros((2, (self.others + 1) * self.cells), np.int32 if voxels < 1 << 31 else np.int64)

    def count(self, scores: NDArray[np.float32], labels: NDArray[np.bool_], into: NDArray[Any]) -> None:
        """Count vectors of scores and labels."""
        numbers = np.empty(CHUNK, np.uint32)
        for part, truth in _chunks(scores, labels):
            number = np.subtract(part.view(np.uint32), self.first, out=numbers[: part.size])
            inside = number < self.span
            if 4 * np.count_nonzero(inside) < 3 * part.size:
                chosen = np.flatnonzero(inside)
                number, truth = number[chosen], truth[chosen]
            np.minimum(number, self.span, out=number)
            cell = self._cells(number).view(np.int32)
            tally(into[0], cell)
            tally(into[1], cell[np.flatnonzero(truth)])

    def _cells(self, number: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Where numbers from the first on are counted, in place."""
        if self.cell_of is None:
            return np.right_shift(number, np.uint32(self.shift), out=number)
        starts = self.cell_of.take((number >> np.uint32(SHIFT)).astype(np.intp), mode="clip")
        np.bitwise_and(number, np.uint32(WIDTH - 1), out=number)
        np.right_shift(number, np.uint32(self.shift), out=number)
        return np.add(number, starts.view(np.uint32), out=number)

    def found(self, counts: NDArray[Any]) -> ScoreHistogram:
        """The cells of the counts that hold a voxel."""
        rows = counts.reshape(2, -1, self.cells)[:, self.rows]
        below_0 = self.bins < 0  # their bit patterns descend
        rows[:, below_0] = rows[:, below_0, ::-1]
        row, place = np.nonzero(rows[0])
        starts = first_of(self.bins)[row] + (place << self.shift)
        every, true = rows[:, row, place].astype(np.int64)
        widths = np.full(starts.shape, 1 << self.shift, np.int32)
        return ScoreHistogram(starts.astype(np.int32), widths, true, every - true)


def sharpened(
    histograms: Mapping[K, ScoreHistogram],
    undecided: Callable[[Mapping[K, ScoreHistogram]], NDArray[np.int32]],
    count: Callable[[Look, Mapping[K, NDArray[Any]]], None],
) -> Mapping[K, ScoreHistogram]:
    """Histograms of one division, looked at until no bin is undecided.

    `count` counts all of their voxels again, of each histogram into its own counters.
    """
    while (bins := undecided(histograms)).size:
        look = _next_look(bins, histograms.values())
        counts = {name: look.empty(histogram.voxels) for name, histogram in histograms.items()}
        count(look, counts)
        histograms = {n: h.refined(look.bins, look.found(counts[n])) for n, h in histograms.items()}
    return histograms


def _next_look(bins: NDArray[np.int32], histograms: Iterable[ScoreHistogram]) -> Look:
    """A look at as many of these bins as there is room for, the first before others.

    Many bins are divided into cells of several numbers, so that one look serves for all; bins that are so
    already into single numbers.
    """
    shift = max(0, int(np.ceil(np.log2(bins.size / LOOK_CELLS))) + SHIFT)
    if shift:
        finer = [bins_of(h.starts)[h.widths <= 1 << shift] for h in histograms]
        left = bins[~np.isin(bins, np.concatenate(finer))]
        if left.size:
            return Look(left, shift)
    return Look(bins[: LOOK_CELLS // WIDTH])


def sharpened_in_memory(voxels: Sequence[Voxels], tolerance: float) -> ScoreHistogram:
    """All of these voxels: the best Dice exactly, AP certain within the tolerance, AUROC within five."""

    def undecided(histograms: Mapping[None, ScoreHistogram]) -> NDArray[np.int32]:
        return each_once([histograms[None].open_for_dice(), histograms[None].open_for_areas(tolerance)])

    def count(look: Look, counts: Mapping[None, NDArray[Any]]) -> None:
        for scores, labels in voxels:
            look.count(scores, labels, counts[None])

    return sharpened({None: total(count_scores(*own) for own in voxels)}, undecided, count)[None]


def streamed(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> Curve:
    """Metrics of float32 scores of any shape within the promised bounds, best Dice exactly."""
    return sharpened_in_memory([checked(scores, labels)], AREAS).curve()
