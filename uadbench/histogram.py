"""Counts of scores in fixed bins: metrics of any number of voxels in bounded memory.

A bin holds the float32 values whose bit patterns share sign, exponent and the first 13 bits of the
fraction, so it is 0.006 to 0.012 % wide at any magnitude, of either sign, without a range to agree on:
histograms of any subjects and workers add. A bin begins one pattern above a multiple of 1024 and ends
at a multiple: so 0 has a bin of its own, and round values close a bin. There are 4.2 million bins;
score maps fill some ten thousand, and only these are kept.

Where many voxels share one value, as where a map was clipped, quantised or set to the lowest score, the
order within the bin would be unknown and the bounds wide. Such a bin stands out from its neighbours; `add`
then looks whether it holds a single value, and the bounds treat it as the tie that it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from uadbench.bins import curve_of_bins
from uadbench.metrics import Curve, checked, require_finite

LOWEST = np.finfo(np.float32).min  # the score of voxels that post-processing removed
SHIFT = 10  # low bits of a float32 that a bin does not tell apart
WIDTH = 1 << SHIFT  # bit patterns per bin
SLOTS = 1 << (32 - SHIFT)
NEGATIVE = SLOTS // 2  # first slot of the scores below 0; they descend from there
ZEROS = 16  # slots that zeros are spread over: adding to one and the same slot makes the processor wait
BLOCKS = 512  # one per sign and exponent
CHUNK = 1 << 16  # voxels at a time: the buffers stay in the processor's cache
AT_ONCE = 1 << 31  # voxels that uint32 counts can hold for sure
MIXED = -1  # instead of the one value that a bin holds


def keys_of(scores: NDArray[np.float32]) -> NDArray[np.int32]:
    """The bin of each score: 0 for 0, ascending with the score."""
    bits = (scores + np.float32(0)).view(np.uint32)
    return _keys((bits - np.uint32(1)) >> np.uint32(SHIFT))


def edges_of(keys: NDArray[np.int32]) -> NDArray[np.float32]:
    """The lowest score of each bin: all and only the scores of this bin and those above reach it."""
    magnitude = np.where(keys > 0, (keys.astype(np.int64) - 1) * WIDTH + 1, -keys.astype(np.int64) * WIDTH)
    lowest = -float(LOWEST)
    values = magnitude.astype(np.uint32).view(np.float32)
    return np.where(keys < 0, -np.minimum(values, np.float32(lowest)), values)


def _keys(slots: NDArray[np.integer]) -> NDArray[np.int32]:
    slots = slots.astype(np.int32)
    keys = np.where(slots < NEGATIVE, slots + 1, NEGATIVE - 1 - slots)
    return np.where(slots >= SLOTS - ZEROS, 0, keys).astype(np.int32)


class _Slots:
    """Finds slots chunk by chunk in buffers that are used again."""

    def __init__(self) -> None:
        self.bits = np.empty(CHUNK, np.uint32)
        self.slots = np.empty(CHUNK, np.intp)
        self.zero_slots = (SLOTS - 1 - np.arange(CHUNK) % ZEROS).astype(np.uint32)

    def __call__(self, scores: NDArray[np.float32]) -> Iterator[tuple[slice, NDArray[np.intp]]]:
        """Slices of the scores, and the slots of their voxels; valid until the next step."""
        for start in range(0, scores.size, CHUNK):
            part = scores[start : start + CHUNK]
            require_finite(part)
            bits, slots = self.bits[: part.size], self.slots[: part.size]
            np.add(part, np.float32(0), out=bits.view(np.float32))  # -0.0 becomes 0.0
            np.subtract(bits, np.uint32(1), out=bits)  # 0 wraps to the last slot
            np.right_shift(bits, np.uint32(SHIFT), out=bits)
            np.minimum(bits, self.zero_slots[: part.size], out=slots, casting="unsafe")
            yield slice(start, start + part.size), slots


@dataclass
class ScoreHistogram:
    """Counts of positive and negative voxels per bin of score; sparse, ascending, and they add.

    `keys` (bins,) int32 names the filled bins, `positives` and `negatives` (bins,) int64 count, and `ties`
    (bins,) int32 is the place of the one value that all voxels of the bin share, or MIXED.
    """

    keys: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    positives: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    negatives: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    ties: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))

    def add(self, scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> None:
        """Count float32 scores of any shape, with bool labels of that shape."""
        scores, labels = checked(scores, labels)
        for start in range(0, scores.size, AT_ONCE):
            part = slice(start, start + AT_ONCE)
            self.merge(_counted(scores[part], labels[part]))

    def merge(self, other: "ScoreHistogram") -> None:
        """Add the counts of another histogram."""
        total = self + other
        self.keys, self.ties = total.keys, total.ties
        self.positives, self.negatives = total.positives, total.negatives

    def __add__(self, other: "ScoreHistogram") -> "ScoreHistogram":
        total = ScoreHistogram()
        keys = np.sort(np.concatenate((self.keys, other.keys)), kind="stable")  # merges two runs
        total.keys = keys[np.diff(keys, append=SLOTS) != 0]
        shape = total.keys.shape
        total.positives, total.negatives = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        low, high = np.full(shape, WIDTH, np.int32), np.full(shape, MIXED, np.int32)
        for part in (self, other):
            at = np.searchsorted(total.keys, part.keys)
            total.positives[at] += part.positives
            total.negatives[at] += part.negatives
            low[at] = np.minimum(low[at], part.ties)
            high[at] = np.maximum(high[at], part.ties)
        total.ties = np.where(low != high, MIXED, low).astype(np.int32)
        return total

    @property
    def tied(self) -> NDArray[np.bool_]:
        """Bins (bins,) that hold one value only."""
        return np.not_equal(self.ties, MIXED)

    @property
    def edges(self) -> NDArray[np.float32]:
        """Lowest scores of the filled bins, ascending."""
        return edges_of(self.keys)

    def curve(self) -> Curve:
        """The metrics with their bounds; the best threshold is an edge, and its Dice is attained."""
        return curve_of_bins(self.edges, self.positives, self.negatives, self.tied)

    def counts_at(self, threshold: float) -> tuple[int, int]:
        """True and false positives of score >= threshold, which must be an edge (or infinite)."""
        if np.isposinf(threshold):
            return 0, 0
        first = np.searchsorted(self.keys, key_of_edge(threshold))
        return int(self.positives[first:].sum()), int(self.negatives[first:].sum())

    def threshold_at_false_positive_rate(self, rate: float) -> float:
        """The smallest edge at which at most this share of the negatives is called positive."""
        allowed = rate * int(self.negatives.sum())
        if not self.negatives.any():
            raise ValueError("Expected negative voxels to hold a false-positive rate against, got none.")
        too_many = np.flatnonzero(self.negatives[::-1].cumsum() > allowed)
        if not too_many.size:
            return float(self.edges[0])
        above = self.keys[len(self.keys) - 1 - too_many[0]] + 1
        edge = edges_of(np.array([above], np.int32))[0]
        return float(edge) if np.isfinite(edge) else float("inf")


def key_of_edge(threshold: float) -> np.int32:
    """The bin that begins at a threshold; any other threshold would split a bin and cannot be counted."""
    value = np.array([threshold], np.float32)
    key = keys_of(value)
    if float(value[0]) != threshold or edges_of(key)[0] != value[0]:
        raise ValueError(
            f"Expected the edge of a bin as threshold, got {threshold!r}: use {float(edges_of(key)[0])!r}."
        )
    return np.int32(key[0])


def _counted(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> ScoreHistogram:
    """The histogram of at most AT_ONCE voxels."""
    voxels, positives = np.zeros(SLOTS, np.uint32), np.zeros(SLOTS, np.uint32)
    one = np.uint32(1)
    for part, slots in _Slots()(scores):
        np.add.at(voxels, slots, one)
        np.add.at(positives, slots[np.flatnonzero(labels[part])], one)
    filled = _filled(voxels)
    keys, place = np.unique(_keys(filled), return_inverse=True)
    histogram = ScoreHistogram()
    histogram.keys = keys
    histogram.positives = np.bincount(place, positives[filled], len(keys)).astype(np.int64)
    histogram.negatives = np.bincount(place, voxels[filled], len(keys)).astype(np.int64) - histogram.positives
    histogram.ties = np.where(keys == 0, WIDTH - 1, MIXED).astype(np.int32)
    _resolve_ties(histogram, scores)
    return histogram


def _filled(voxels: NDArray[np.uint32]) -> NDArray[np.intp]:
    """The slots that count something; looked for where the maximum, which is fast, finds any."""
    blocks = voxels.reshape(BLOCKS, -1)
    used = np.flatnonzero(blocks.max(1))
    block, place = np.nonzero(blocks[used])
    return used[block] * blocks.shape[1] + place


def _spikes(histogram: ScoreHistogram) -> NDArray[np.intp]:
    """Bins that hold far more voxels than their neighbours; of continuous scores next to none does.

    The usual values of clipped or removed voxels count even if few here, for in another subject they
    may be many.
    """
    keys, voxels = histogram.keys, histogram.positives + histogram.negatives
    touching = np.diff(keys) == 1
    beside = np.zeros(len(keys), np.int64)
    beside[1:] += np.where(touching, voxels[:-1], 0)
    beside[:-1] += np.where(touching, voxels[1:], 0)
    usual = np.isin(keys, keys_of(np.array([LOWEST, -1, 1], np.float32)))
    return np.flatnonzero((voxels > 2 * beside + np.where(usual, 0, 16)) & (keys != 0))


def _resolve_ties(histogram: ScoreHistogram, scores: NDArray[np.float32]) -> None:
    """Find which of the bins that stand out hold one value only."""
    spikes = _spikes(histogram)
    if not spikes.size:
        return
    keys = histogram.keys[spikes]
    is_spike = np.zeros(SLOTS, bool)
    is_spike[np.where(keys > 0, keys - 1, NEGATIVE - 1 - keys)] = True
    low, high = np.full(len(keys), WIDTH, np.int32), np.full(len(keys), -1, np.int32)
    for part, slots in _Slots()(scores):
        inside = scores[part][is_spike.take(slots)]
        spike = np.searchsorted(keys, keys_of(inside))
        places = ((inside.view(np.uint32) - np.uint32(1)) & np.uint32(WIDTH - 1)).astype(np.int32)
        np.minimum.at(low, spike, places)
        np.maximum.at(high, spike, places)
    histogram.ties[spikes] = np.where(low == high, low, MIXED)
