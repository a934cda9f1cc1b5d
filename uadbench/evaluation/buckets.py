"""Ranks of many scores among few values without sorting the many.

A score falls into one of some million buckets by its leading bits, more of them where more scores lie. The
buckets are counted, and only scores that share one with a value are sorted: numpy's sort is up to six times
slower on some processors than on others, counting is not.
"""

import numpy as np
from numpy.typing import NDArray

BUCKETS = 1 << 20  # about; the counts of twice as many are 16 MB
COARSE = 1 << 16  # first level: the leading half of the bits
SAMPLE = 1 << 20  # scores that decide how finely each part of the range is divided
CHUNK = 1 << 16  # scores at a time: the buffers stay in the processor's cache


class Buckets:
    """A division of the float32 numbers, in ascending order, fine where a sample of scores is dense."""

    def __init__(self, scores: NDArray[np.float32]) -> None:
        """Divide by what a part of these scores shows."""
        sample = _ordered(scores[:: max(1, scores.size // SAMPLE)]) >> np.uint32(16)
        share = np.bincount(sample, minlength=COARSE) / sample.size
        bits = np.ceil(np.log2(np.maximum(share * BUCKETS, 1))).clip(0, 16).astype(np.int64)
        self.shift = (16 - bits).astype(np.uint32)
        self.end = (1 << bits).cumsum()
        self.start = (self.end - (1 << bits)).astype(np.uint32)
        self.count = int(self.end[-1])

    def of(self, scores: NDArray[np.float32]) -> NDArray[np.intp]:
        """The bucket of each score."""
        bits = _ordered(scores)
        coarse = (bits >> np.uint32(16)).astype(np.intp)
        bits &= np.uint32(COARSE - 1)
        bits >>= self.shift.take(coarse)
        bits += self.start.take(coarse)
        return bits.astype(np.intp)

    def hold_one_value(self, buckets: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which buckets are as fine as float32."""
        return np.equal(self.shift[np.searchsorted(self.end, buckets, "right")], 0)


def _ordered(scores: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Bit patterns as numbers in the order of the scores; -0.0 becomes 0.0."""
    bits = (scores + np.float32(0)).view(np.uint32)
    bits ^= (bits.view(np.int32) >> 31).view(np.uint32) | np.uint32(1 << 31)
    return bits


def below_and_equal(
    scores: NDArray[np.float32], skipped: NDArray[np.bool_], values: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many scores, but the skipped, lie below and at each of the ascending distinct `values`."""
    buckets = Buckets(scores)
    of_value = buckets.of(values)
    exact = buckets.hold_one_value(of_value)
    shared = np.zeros(buckets.count, bool)
    shared[of_value[~exact]] = True
    counts = np.zeros(buckets.count, np.int64)
    near = [scores[:0]]
    for start in range(0, scores.size, CHUNK):
        part = scores[start : start + CHUNK][~skipped[start : start + CHUNK]]
        place = buckets.of(part)
        np.add.at(counts, place, 1)
        near.append(part[shared.take(place)])
    sorted_near = np.concatenate(near)
    sorted_near.sort()
    before = counts.cumsum() - counts
    near_before = np.where(shared, counts, 0).cumsum()[of_value] - counts[of_value]
    low = np.searchsorted(sorted_near, values, "left")
    high = np.searchsorted(sorted_near, values, "right")
    below = before[of_value] + np.where(exact, 0, low - near_before)
    return below, np.where(exact, counts[of_value], high - low)
