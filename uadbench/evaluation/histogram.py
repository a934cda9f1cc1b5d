"""Counts of scores in fixed bins: metrics of any number of voxels in bounded memory.

A bin holds the float32 values whose bit patterns share sign, exponent and the first 13 bits of the
fraction, so it is 0.006 to 0.012 % wide at any magnitude, of either sign, without a range to agree on:
histograms of any subjects and workers add. A bin begins one pattern above a multiple of 1024 and ends
at a multiple: so 0 has a bin of its own, and round values close a bin. There are 4.2 million bins;
score maps fill some ten thousand, and only these are kept.

Where many voxels share one value, as where a map was clipped, quantised or set to the lowest score, the
order within the bin would be unknown and the bounds wide. Such a bin stands out from its neighbours; `add`
then counts its most frequent value apart. A shared value of which few voxels were seen is not noticed; so
much wider are the bounds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uadbench.evaluation.bins import Ties, curve_of_bins
from uadbench.evaluation.metrics import Curve, checked, require_finite

LOWEST = np.finfo(np.float32).min  # the score of voxels that post-processing removed
SHIFT = 10  # low bits of a float32 that a bin does not tell apart
WIDTH = 1 << SHIFT  # bit patterns per bin
SLOTS = 1 << (32 - SHIFT)
NEGATIVE = SLOTS // 2  # first slot of the scores below 0; they descend from there
ZEROS = 16  # slots that zeros are spread over: adding to one and the same slot makes the processor wait
BLOCKS = 512  # one per sign and exponent
CHUNK = 1 << 16  # voxels at a time: the buffers stay in the processor's cache
AT_ONCE = 1 << 31  # voxels that uint32 counts can hold for sure
MOST_SPIKES = 4096  # bins of one call that are looked through for a shared value: 32 MB of counts


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


class Sparse(NamedTuple):
    """Counts by ascending names: bins or values."""

    names: NDArray[Any]
    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]

    def __add__(self, other: "Sparse") -> "Sparse":  # type: ignore[override]  # not the sum of two tuples
        names = np.sort(np.concatenate((self.names, other.names)), kind="stable")  # merges two runs
        names = names[np.append(names[1:] != names[:-1], True)[: names.size]]
        counts = np.zeros((2, names.size), np.int64)
        for part in (self, other):
            counts[:, np.searchsorted(names, part.names)] += np.stack(part[1:])
        return Sparse(names, *counts)

    def at(self, names: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The counts of these names, 0 where a name is not there."""
        place = np.searchsorted(self.names, names)
        place[place == self.names.size] = 0
        found = self.names[place] == names if self.names.size else np.zeros(names.shape, bool)
        counts = np.zeros((2, names.size), np.int64)
        counts[:, found] = np.stack(self[1:])[:, place[found]]
        return counts[0], counts[1]


def _nothing(dtype: type[np.generic]) -> Sparse:
    return Sparse(np.empty(0, dtype), np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass
class ScoreHistogram:
    """Counts of positive and negative voxels per bin of score; sparse, and they add."""

    bins: Sparse = field(default_factory=lambda: _nothing(np.int32))  # by key, see `keys_of`
    values: Sparse = field(default_factory=lambda: _nothing(np.float32))  # shared ones, also in their bins

    def add(self, scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> None:
        """Count float32 scores of any shape, with bool labels of that shape."""
        scores, labels = checked(scores, labels)
        for start in range(0, scores.size, AT_ONCE):
            part = slice(start, start + AT_ONCE)
            self.merge(_counted(scores[part], labels[part]))

    def merge(self, other: "ScoreHistogram") -> None:
        """Add the counts of another histogram."""
        self.bins, self.values = self.bins + other.bins, self.values + other.values

    def __add__(self, other: "ScoreHistogram") -> "ScoreHistogram":
        return ScoreHistogram(self.bins + other.bins, self.values + other.values)

    @property
    def keys(self) -> NDArray[np.int32]:
        """The filled bins, ascending."""
        return self.bins.names

    @property
    def positives(self) -> NDArray[np.int64]:
        """Positive voxels of the filled bins."""
        return self.bins.positives

    @property
    def negatives(self) -> NDArray[np.int64]:
        """Negative voxels of the filled bins."""
        return self.bins.negatives

    def shared_values(self) -> NDArray[np.float32]:
        """The most frequent known value of each bin that has one, ascending; of equals the lowest."""
        values, positives, negatives = self.values
        order = np.lexsort((values, -(positives + negatives), keys_of(values)))
        first = np.diff(keys_of(values[order]), prepend=np.int32(-SLOTS)) != 0
        return np.sort(values[order[first]])

    @property
    def edges(self) -> NDArray[np.float32]:
        """Lowest scores of the filled bins, ascending."""
        return edges_of(self.keys)

    def curve(self) -> Curve:
        """The metrics with their bounds; the best threshold is an edge, and its Dice is attained."""
        values = self.shared_values()
        ties = Ties(np.searchsorted(self.keys, keys_of(values)), *self.values.at(values))
        return curve_of_bins(self.edges, self.positives, self.negatives, ties)

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
    true = np.bincount(place, positives[filled], len(keys)).astype(np.int64)
    all_voxels = np.bincount(place, voxels[filled], len(keys)).astype(np.int64)
    bins = Sparse(keys, true, all_voxels - true)
    return ScoreHistogram(bins, _zeros(bins) + _shared(bins, scores, labels))


def _zeros(bins: Sparse) -> Sparse:
    """The value 0, which has a bin of its own."""
    place = np.flatnonzero(bins.names == 0)
    return Sparse(np.zeros(place.size, np.float32), bins.positives[place], bins.negatives[place])


def _filled(voxels: NDArray[np.uint32]) -> NDArray[np.intp]:
    """The slots that count something; looked for where the maximum, which is fast, finds any."""
    blocks = voxels.reshape(BLOCKS, -1)
    used = np.flatnonzero(blocks.max(1))
    block, place = np.nonzero(blocks[used])
    return used[block] * blocks.shape[1] + place


def _spikes(bins: Sparse) -> NDArray[np.int32]:
    """Keys of bins that hold far more voxels than their neighbours, if any is worth another pass.

    Of continuous scores next to none is. Where one is, bins of few voxels are looked at with it, and the
    usual values of clipped or removed voxels always are: in another subject they may hold many.
    """
    keys, voxels = bins.names, bins.positives + bins.negatives
    touching = np.diff(keys) == 1
    beside = np.zeros(len(keys), np.int64)
    beside[1:] += np.where(touching, voxels[:-1], 0)
    beside[:-1] += np.where(touching, voxels[1:], 0)
    removed, *clipped = keys_of(np.array([LOWEST, -1, 1], np.float32))
    spikes = (voxels > 2 * beside + np.where(keys == removed, 0, 2)) & (keys != 0)
    usual = np.isin(keys, (removed, *clipped))
    if not (spikes & (usual | (voxels > 2 * beside + 16))).any():
        return keys[:0]
    found = np.flatnonzero(spikes)
    heaviest = found[np.argsort(-voxels[found], kind="stable")[:MOST_SPIKES]]
    return np.sort(keys[heaviest])


def _shared(bins: Sparse, scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> Sparse:
    """The most frequent value of each bin that stands out, where it is at least half of the bin's voxels."""
    keys = _spikes(bins)
    if not keys.size:
        return _nothing(np.float32)
    number = np.zeros(SLOTS, np.int16)  # of a spike, from 1 on
    number[np.where(keys > 0, keys - 1, NEGATIVE - 1 - keys)] = np.arange(1, keys.size + 1)
    voxels, positives = np.zeros((2, keys.size * WIDTH), np.uint32)
    for part, slots in _Slots()(scores):
        spike = number.take(slots)
        inside = np.flatnonzero(spike > 0)
        place = (scores[part][inside].view(np.uint32) - np.uint32(1)) & np.uint32(WIDTH - 1)
        cell = (spike[inside].astype(np.intp) - 1) * WIDTH + place
        np.add.at(voxels, cell, np.uint32(1))
        np.add.at(positives, cell[labels[part][inside]], np.uint32(1))
    place = voxels.reshape(-1, WIDTH).argmax(1)
    cell = np.arange(keys.size) * WIDTH + place
    total = np.add.reduceat(voxels, np.arange(keys.size) * WIDTH, dtype=np.int64)
    shared = (voxels[cell] > 1) & (2 * voxels[cell].astype(np.int64) >= total)
    values = _value(keys, place)[shared]
    true, every = positives[cell].astype(np.int64)[shared], voxels[cell].astype(np.int64)[shared]
    order = np.argsort(values)
    return Sparse(values[order], true[order], (every - true)[order])


def _value(keys: NDArray[np.int32], places: NDArray[np.intp]) -> NDArray[np.float32]:
    """The score at a place of a bin: its bit pattern less one ends in the place."""
    magnitude = (np.abs(keys.astype(np.int64)) - 1) * WIDTH + 1 + places
    return np.copysign(magnitude.astype(np.uint32).view(np.float32), keys).astype(np.float32)
