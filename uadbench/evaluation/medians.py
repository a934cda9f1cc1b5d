"""The median filter of volumes and of stacks, exactly that of scipy.ndimage and many times faster.

Windows overlap, so their sorted parts are shared: runs of voxels are sorted along one axis, these runs are
merged along the next, and those planes along the last, where only the ranks that can still be the median are
kept. Every step is an elementwise minimum or maximum of whole arrays, in blocks that stay in the processor's
cache. (Sharing sorted runs: Adams, "Fast median filters using separable sorting networks", ACM Transactions
on Graphics 40, 2021.)
"""

import math
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = (16, 16, 32)  # results at a time: the buffers, 32 kB each, stay in the processor's cache
FLAT_BLOCK = (16, 16, 64)  # of slices each for itself, where nothing is sorted along the last axis

Values = NDArray[np.float32]
Window = tuple[int, int, int]  # voxels along each axis


def median(
    volume: NDArray[np.float32], window: Window, where: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """`scipy.ndimage.median_filter(volume, window)` of a three-dimensional volume; -0.0 counts as 0.0.

    As there, the border reflects, and of an even window it is the upper median. Where `where` is False
    voxels keep their value, which saves time. Along an axis on which the window is 1 nothing is joined: of
    a window (5, 5, 1) every slice is filtered for itself.
    """
    block = np.minimum(FLAT_BLOCK if window[2] == 1 else BLOCK, volume.shape)
    padding = -np.array(volume.shape) % block  # to whole blocks
    around = [(n // 2, n - 1 - n // 2) for n in window]
    padded = np.pad(volume + np.float32(0), around, "symmetric")
    padded = np.pad(padded, [(0, extra) for extra in padding], "edge")
    wanted = np.ones(volume.shape, bool) if where is None else where
    wanted = np.pad(wanted, [(0, extra) for extra in padding])
    result = np.pad(volume, [(0, extra) for extra in padding])
    filtering = _Filter(window)
    for corner in product(*(range(0, n, b) for n, b in zip(result.shape, block, strict=True))):
        inner = tuple(slice(c, c + b) for c, b in zip(corner, block, strict=True))
        outer = tuple(slice(c, c + b + n - 1) for c, b, n in zip(corner, block, window, strict=True))
        if wanted[inner].any():
            np.copyto(result[inner], filtering(padded[outer]), where=wanted[inner])
    return np.ascontiguousarray(result[tuple(slice(n) for n in volume.shape)])


class _Sorted(NamedTuple):
    """Sorted values of runs of voxels: arrays in ascending order, one per rank, over all places."""

    arrays: list[Values]
    first: int  # rank of the first array; those below it cannot be the median
    voxels: int  # in the window of each place
    length: int  # of the run along the axis in hand


class _Filter:
    """Medians of blocks of one shape, in buffers that are used again."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.buffers: dict[tuple[int, int], list[Values]] = {}

    def __call__(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Medians of a block, which is larger by the window less 1 along each axis."""
        lowest = block.min()
        if lowest == block.max():
            return np.full([n - size + 1 for n, size in zip(block.shape, self.window, strict=True)], lowest)
        runs = _Sorted([block], 0, 1, 1)
        for axis in (2, 1, 0):
            runs = self._slide(runs._replace(length=1), axis)
        (medians,) = runs.arrays
        return medians

    def _slide(self, run: _Sorted, axis: int) -> _Sorted:
        """The sorted values of runs as long as the window, along an axis, by the binary digits of that."""
        joined = None
        while True:
            if self.window[axis] & run.length:
                joined = run if joined is None else self._merge(joined, run, axis)
                if joined.length == self.window[axis]:
                    return joined
            run = self._merge(run, run, axis)

    def _merge(self, a: _Sorted, b: _Sorted, axis: int) -> _Sorted:
        """Runs that begin as `a` and go on as `b`, with the ranks that may be the median of the window."""
        length, voxels, first = a.length + b.length, a.voxels + b.voxels, a.first + b.first
        window = math.prod(self.window)
        rank = window // 2
        low = max(0, rank - (window - voxels) - first)
        high = min(len(a.arrays) + len(b.arrays) - 1, rank - first)
        places = a.arrays[0].shape[axis] - b.length
        front: tuple[slice, ...] = (slice(None),) * axis
        inputs = [array[(*front, slice(places))] for array in a.arrays]
        inputs += [array[(*front, slice(a.length, a.length + places))] for array in b.arrays]
        program = _program(len(a.arrays), len(b.arrays), low, high)
        return _Sorted(self._run(program, inputs, (axis, length)), first + low, voxels, length)

    def _run(self, program: "_Program", inputs: list[Values], step: tuple[int, int]) -> list[Values]:
        if step not in self.buffers:
            self.buffers[step] = [np.empty(inputs[0].shape, np.float32) for _ in range(program.buffers)]
        values = inputs + self.buffers[step]
        for is_maximum, left, right, out in program.steps:
            (np.maximum if is_maximum else np.minimum)(values[left], values[right], out=values[out])
        return [values[place] for place in program.outputs]


class _Program(NamedTuple):
    """Minima and maxima that merge two sorted lists; values are numbered, the inputs first."""

    steps: list[tuple[bool, int, int, int]]  # is it a maximum, of which two values, kept where
    outputs: list[int]
    buffers: int


@cache
def _program(a: int, b: int, low: int, high: int) -> _Program:
    """Merge sorted lists of `a` and `b` values into the ranks low .. high."""
    steps: list[tuple[bool, int, int]] = []

    def compare(left: int, right: int) -> list[int]:
        steps.extend([(False, left, right), (True, left, right)])
        return [a + b + len(steps) - 2, a + b + len(steps) - 1]

    merged = _odd_even_merge(list(range(a)), list(range(a, a + b)), compare)
    return _allocate(steps, a + b, merged[low : high + 1])


def _odd_even_merge(a: list[int], b: list[int], compare: Callable[[int, int], list[int]]) -> list[int]:
    """Batcher's odd-even merge of sorted lists of any lengths (Knuth, volume 3, section 5.3.4)."""
    if not a or not b:
        return a or b
    if len(a) == len(b) == 1:
        return compare(a[0], b[0])
    even = _odd_even_merge(a[::2], b[::2], compare)
    odd = _odd_even_merge(a[1::2], b[1::2], compare)
    merged = even[:1]
    for low, high in zip(odd, even[1:], strict=False):
        merged += compare(low, high)
    paired = min(len(odd), len(even) - 1)
    return merged + even[paired + 1 :] + odd[paired:]


def _allocate(steps: list[tuple[bool, int, int]], inputs: int, outputs: list[int]) -> _Program:
    """Drop the steps that no output needs, and keep values in as few buffers as can be."""
    last_use = dict.fromkeys(outputs, len(steps))
    for number in range(len(steps) - 1, -1, -1):
        _, left, right = steps[number]
        if inputs + number in last_use:
            for value in (left, right):
                last_use.setdefault(value, number)
    place = {value: value for value in range(inputs)}
    free: list[int] = []
    buffers = 0
    kept = []
    for number, (is_maximum, left, right) in enumerate(steps):
        value = inputs + number
        if value not in last_use:
            continue
        operands = place[left], place[right]
        free += [place[v] for v in {left, right} if v >= inputs and last_use[v] == number]
        if not free:
            free.append(inputs + buffers)
            buffers += 1
        place[value] = free.pop()
        kept.append((is_maximum, *operands, place[value]))
    return _Program(kept, [place[value] for value in outputs], buffers)
