"""Scores as whole numbers in the same order, and counts by number.

0 is number 0, the next larger float32 number 1, the next smaller number -1, whatever their magnitude.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    from scipy.sparse._sparsetools import csr_column_index1
except ImportError:  # it is private to scipy: where it has gone, numpy's way is there
    csr_column_index1 = None  # type: ignore[assignment]

LARGEST = 0x7F7FFFFF  # ordinal of the largest finite number
WORD_BITS = 5
WORD = 1 << WORD_BITS  # numbers that a word of bits stands for
ROW_BITS = 10  # of the most numbers that a row of words stands for
ROWS = 1 << 18  # so many are looked up in the processor's cache
CHUNK = 1 << 16  # scores at a time: what is made of them stays in the processor's cache

Integers = NDArray[np.integer[Any]]


def ordinals(scores: NDArray[np.float32]) -> NDArray[np.int32]:
    """The number of each finite score; -0.0 is 0."""
    bits = (scores + np.float32(0)).view(np.int32)
    if bits.size and bits.min() < 0:
        sign = bits >> np.int32(31)  # -1 of those below 0, whose bits descend
        bits = (bits ^ (sign & np.int32(0x7FFFFFFF))) - sign
    return bits


def scores_at(numbers: Integers) -> NDArray[np.float32]:
    """The inverse of `ordinals`, infinite above the largest number and the lowest number below that one."""
    numbers = np.clip(np.asarray(numbers, np.int64), -LARGEST, LARGEST + 1)
    magnitudes = np.abs(numbers).astype(np.uint32).view(np.float32)
    return np.where(numbers < 0, -magnitudes, magnitudes)


def tally(counts: NDArray[Any], places: NDArray[np.int32]) -> None:
    """One more in the int32 or int64 counts at each of the places, a place as often as it comes.

    What is called counts the columns that scipy chooses from a sparse matrix, here one without rows or
    columns, and does not check the places. `np.add.at` takes two to three times as long, and keeps all
    other threads waiting.
    """
    if csr_column_index1 is None:
        np.add.at(counts, places, counts.dtype.type(1))
    else:
        none, ends = np.zeros((2, 1), counts.dtype)
        places = places.astype(counts.dtype, copy=False)
        csr_column_index1(places.size, places, 0, 0, none, none, counts, ends)  # type: ignore[arg-type]


def below_and_at(
    values: NDArray[np.float32], scores: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many of the finite scores (n,) lie below, and at, each of the ascending distinct values (m,).

    In one pass without sorting the scores, which takes 7 to 60 ns a score by the processor (most where NumPy
    sorts by the slowest instructions of AMD's Zen 4); this takes 10 to 15.
    """
    if not values.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    known = Known(values)
    counts = np.zeros(2 * values.size + 1, np.int32 if scores.size < 1 << 31 else np.int64)
    for start in range(0, scores.size, CHUNK):
        tally(counts, known.places(scores[start : start + CHUNK]))
    running = counts.cumsum(dtype=np.int64)
    at = counts[1::2].astype(np.int64)
    return running[1::2] - at, at


class Known:
    """Ascending distinct values, as a set of ordinals that tells quickly where any other score lies.

    The numbers are cut into rows. A row that holds a value, and each gap between such rows, has words of a
    bit for each number, and with each word stands how many values lie before it. Rows are short, so that
    there are few words, but no more than `ROWS` where that can be.
    """

    def __init__(self, values: NDArray[np.float32]) -> None:
        """Of at least one value."""
        numbers = ordinals(values).astype(np.int64)
        self.lowest, self.highest = np.int32(numbers[0] - 1), np.int32(numbers[-1] + 1)
        self.first = int(self.lowest)
        numbers -= self.first
        span = int(self.highest) - self.first
        self.row_bits = min(max((span // ROWS).bit_length(), WORD_BITS), ROW_BITS)
        words = 1 << self.row_bits - WORD_BITS  # of a row
        row = numbers >> self.row_bits
        used = np.zeros((span >> self.row_bits) + 1, np.int32)
        used[row] = 1
        rows = 2 * used.cumsum(dtype=np.int32) - used  # odd where used, even in a gap
        self.word_of = rows * np.int32(words)  # its first one
        word = self.word_of[row] + (numbers >> WORD_BITS) % words
        filled = np.flatnonzero(np.diff(word, prepend=-1))
        held = np.zeros((int(rows[-1]) + 1) * words, np.uint64)
        held[word[filled]] = np.diff(filled, append=word.size)
        bits = np.uint32(1) << (numbers % WORD).astype(np.uint32)
        # One number for both, so that they are fetched together.
        self.words = held.cumsum()
        self.words -= held
        self.words <<= np.uint64(WORD)
        self.words[word[filled]] |= np.bitwise_or.reduceat(bits, filled)

    def places(self, scores: NDArray[np.float32]) -> NDArray[np.int32]:
        """2 i + 1 at the value i, 2 i between the values i - 1 and i."""
        number = ordinals(scores)
        offset = np.clip(number, self.lowest, self.highest, out=number).view(np.uint32)
        offset -= np.uint32(self.first % (1 << 32))
        word = self.word_of.take((offset >> np.uint32(self.row_bits)).astype(np.intp), mode="clip")
        if self.row_bits > WORD_BITS:
            last = np.uint32((1 << self.row_bits - WORD_BITS) - 1)
            word += ((offset >> np.uint32(WORD_BITS)) & last).view(np.int32)
        both = self.words.take(word.astype(np.intp), mode="clip")
        above = ~offset & np.uint32(WORD - 1)  # numbers of the word
        reached = both.astype(np.uint32) << above  # a bit for each value of the word up to this number
        place = (both >> np.uint64(WORD)).astype(np.uint32)
        place += np.bitwise_count(reached)
        place += place
        place -= reached >> np.uint32(WORD - 1)
        return place.view(np.int32)
