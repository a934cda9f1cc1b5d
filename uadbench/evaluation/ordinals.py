"""The float32 numbers in their order: the number of each, and coarse bins of neighbours.

Metrics depend on the order of scores alone, so scores are counted by ordinal: 0 is number 0, the next
larger float32 number 1, the next smaller number -1, whatever their magnitude. A bin holds 1,024 neighbours,
which share sign, exponent and the first 13 bits of the fraction: it is .006 to .012 % wide. Bins are
numbered from 0 in both directions; the number 0 has bin 0 to itself.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LOWEST = np.finfo(np.float32).min  # the score of voxels that post-processing removed
SHIFT = 10  # low bits of a float32 that a bin does not tell apart
WIDTH = 1 << SHIFT  # numbers per bin
SLOTS = 1 << (32 - SHIFT)  # where bins are counted: by the leading bits of the number before, as stored
NEGATIVE = SLOTS // 2  # first slot of the scores below 0; they descend from there
LARGEST = 0x7F7FFFFF  # ordinal of the largest finite number

Integers = NDArray[np.integer[Any]]


def ordinals(scores: NDArray[np.float32]) -> NDArray[np.int32]:
    """The number of each finite score; -0.0 is 0."""
    bits = (scores + np.float32(0)).view(np.int32)
    return np.where(bits < 0, -(bits & np.int32(0x7FFFFFFF)), bits)


def scores_at(numbers: Integers) -> NDArray[np.float32]:
    """The inverse of `ordinals`, infinite above the largest number and the lowest number below that one."""
    numbers = np.clip(np.asarray(numbers, np.int64), -LARGEST, LARGEST + 1)
    magnitudes = np.abs(numbers).astype(np.uint32).view(np.float32)
    return np.where(numbers < 0, -magnitudes, magnitudes)


def bins_of(numbers: Integers) -> NDArray[np.int32]:
    """The bin of each ordinal, ascending with it."""
    numbers = np.asarray(numbers, np.int64)
    bins: NDArray[np.int64] = np.sign(numbers) * ((np.abs(numbers) + WIDTH - 1) >> SHIFT)
    return bins.astype(np.int32)


def first_of(bins: Integers) -> NDArray[np.int64]:
    """The lowest ordinal of each bin."""
    bins = np.asarray(bins, np.int64)
    return np.where(bins > 0, (bins - 1) * WIDTH + 1, bins * WIDTH)


def slots_of(bins: Integers) -> NDArray[np.intp]:
    """Where bins other than 0 are counted."""
    return np.where(bins > 0, bins - 1, NEGATIVE - 1 - bins).astype(np.intp)


def bins_at(slots: Integers) -> NDArray[np.int32]:
    """The inverse of `slots_of`."""
    return np.where(slots < NEGATIVE, slots + 1, NEGATIVE - 1 - slots).astype(np.int32)
