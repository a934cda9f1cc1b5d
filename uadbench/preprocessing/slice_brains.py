"""Brains in stacks of FLAIR slices, found without an atlas: slices of unknown distance cannot be registered.

On FLAIR bone and fluid are dark, so that a dark rim lies between brain and scalp. In every slice the closed
line of least cost is sought around the middle of the head: tissue on its inside, darkness on its outside,
and skin and bone further out (Amini, Weymouth and Jain, "Using dynamic programming for solving variational
problems in vision", IEEE PAMI 1990). From a slice above the middle of the head, where the brain is largest
and nothing but the rim lies beside it, the brain is then followed slice by slice to both ends, inside that
line: what is bright enough, less a strip along its border that cuts bridges, connected to the brain of the
slice before, and no further out than that by a little. Once it has become small it only shrinks: what grows
there is neck or scalp.

It was looked at on 110 patients, without their lesions. Where half of the crown lies in shadow that half is
missed; below the temporal lobes patches of the skull base remain. Lengths are millimetres, as far as the size
of the head tells them: pixels have none.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import convex_hull_image

from uadbench.preprocessing import bodies
from uadbench.system.errors import SubjectError

SLICE_BRAINS_VERSION = "2"
SMOOTHING = 0.7  # deviation, pixels in the plane
HEAD_MM2 = 24_000.0  # of an adult's head in its largest slice, from which the pixels' size is guessed
START = 0.6  # of the head's height, from the neck
DEEP_MM = 25.0  # this far from the air there is brain, where the search begins
BRIGHT = 0.6  # of the brain's level; on 14 patients .5 took in scalp and .65 cut off cortex
STRIP_MM = 4.0  # taken off and put back
REACH_MM = 2.0  # by which the brain may grow from one slice to the next
ENDING = 0.5  # of its largest area, below which it only shrinks
CLOSING_MM = 8.0  # width over two of sulci and ventricles that belong to the brain
SMALLEST_MM2 = 1000.0  # of brain in the first slice; less is no brain
# Of the line around the brain.
ANGLES = 120
FARTHEST_MM = 120
SKULL_MM = 6.0  # skin and bone are at least as thick
INNER_MM, OUTER_MM = 5, 4  # tissue and darkness are looked for that far in and out
USUAL_MM = 18.0  # skin, bone and fluid; further in a line costs more, so that it does not follow ventricles
COST_PER_MM, MOVE_PER_MM, BEND_COST = 0.02, 0.01, 0.02
BEND = 2  # mm from one angle to the next, 3 degrees on
BARRED = 2.0  # a cost above all others


def find_brains(flair: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """The brain (R, A, S) in a stack of FLAIR slices; a stack that shows none is a SubjectError."""
    smooth = ndimage.gaussian_filter(flair.astype(np.float32), (SMOOTHING, SMOOTHING, 0))
    head = _head(smooth)
    area = head.sum((0, 1))
    there = np.flatnonzero(area > 0.5 * area.max())
    if not len(there):
        raise SubjectError(f"{name} shows no head: check its pictures.")
    first = int(there[0] + round(START * (there[-1] - there[0])))
    pixel_mm = float(np.sqrt(HEAD_MM2 / area.max()))
    deep = _depth(head[..., first]) * pixel_mm > DEEP_MM
    if not deep.any():
        raise SubjectError(f"{name} shows no head in slice {first + 1} of the stack: check its pictures.")
    level = max(float(np.median(smooth[..., first][deep])), 1e-6)
    search = _Search(smooth / level, head, np.argwhere(deep).mean(0), pixel_mm)
    brain = search.from_slice(first)
    if np.count_nonzero(brain[..., first]) * pixel_mm**2 < SMALLEST_MM2:
        raise SubjectError(f"{name} shows no brain in slice {first + 1} of the stack: check its pictures.")
    return brain


class _Search:
    """The brain in slices whose level is 1, around a centre (R, A) in pixels."""

    def __init__(
        self,
        slices: NDArray[np.float32],
        head: NDArray[np.bool_],
        centre: NDArray[np.float64],
        pixel_mm: float,
    ) -> None:
        self.slices, self.head, self.centre, self.pixel_mm = slices, head, centre, pixel_mm
        self.strip, self.reach, self.closing = (mm / pixel_mm for mm in (STRIP_MM, REACH_MM, CLOSING_MM))

    def from_slice(self, first: int) -> NDArray[np.bool_]:
        """The brain (R, A, S), followed from a slice to both ends of the stack."""
        brain = np.zeros(self.head.shape, bool)
        inside, around = self._inside(first, None)
        tissue = (self.slices[..., first] > BRIGHT) & inside
        brain[..., first] = self._put_back(bodies.keep_largest(eroded(tissue, self.strip))) & inside
        count = self.slices.shape[-1]
        for step in (1, -1):
            radii, before, largest = around, brain[..., first], 0
            for position in range(first + step, count if step > 0 else -1, step):
                inside, radii = self._inside(position, radii)
                area = int(np.count_nonzero(before))
                largest = max(largest, area)
                ending = area < ENDING * largest
                before = self._followed(before, (self.slices[..., position] > BRIGHT) & inside, ending)
                before &= inside
                brain[..., position] = before
        return brain

    def _followed(
        self, before: NDArray[np.bool_], tissue: NDArray[np.bool_], ending: bool
    ) -> NDArray[np.bool_]:
        """The brain of a slice, given that of its neighbour, both (R, A); nothing where it ends."""
        allowed = before if ending else dilated(before, self.reach)
        labels, count = ndimage.label(eroded(tissue & allowed, self.strip))
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        shared = np.bincount(labels[eroded(before, self.strip)], minlength=count + 1)
        kept = (shared > 0.5 * sizes) & (sizes > 0.05 * sizes[1:].max(initial=0))
        kept[0] = False
        return self._put_back(kept[labels]) & allowed

    def _put_back(self, core: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The strip put back, gaps closed, holes filled."""
        if not core.any():
            return core
        margin = int(self.closing + self.strip) + 2
        grown = dilated(np.pad(core, margin), self.strip + 0.5)
        closed = eroded(dilated(grown, self.closing), self.closing)[margin:-margin, margin:-margin]
        return np.asarray(ndimage.binary_fill_holes(closed))

    def _inside(
        self, position: int, before: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """What a closed line around the brain of a slice encloses (R, A), and its radii (ANGLES,) in mm."""
        turns = 2 * np.pi * np.arange(ANGLES) / ANGLES
        rays = np.stack([np.cos(turns), np.sin(turns)])[:, :, None] * np.arange(FARTHEST_MM) / self.pixel_mm
        places = self.centre[:, None, None] + rays
        lit = ndimage.map_coordinates(self.slices[..., position], places, order=1).clip(0, 1)
        depth = _depth(self.head[..., position]) * self.pixel_mm
        cost = _cost(lit, ndimage.map_coordinates(depth, places, order=1), before)
        radii = _closed_line(cost)
        right, front = (
            (index - middle) * self.pixel_mm
            for index, middle in zip(np.indices(depth.shape), self.centre, strict=True)
        )
        angle = np.arctan2(front, right) % (2 * np.pi)
        limit = np.interp(angle, np.append(turns, 2 * np.pi), np.append(radii, radii[0]))
        return np.hypot(right, front) <= limit + 0.5, radii


def _cost(
    lit: NDArray[np.float32], depth: NDArray[np.float64], before: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """What it costs (ANGLES, mm) to let the line pass, given brightness and depth in the head along rays."""
    inner = ndimage.uniform_filter1d(lit, INNER_MM, axis=1, origin=INNER_MM // 2)
    outer = ndimage.uniform_filter1d(lit, OUTER_MM, axis=1, origin=-(OUTER_MM // 2))
    cost = outer - inner + COST_PER_MM * np.clip(depth - USUAL_MM, 0, 40)
    cost = np.where(depth < SKULL_MM, BARRED, cost)
    cost[:, :8] = BARRED  # a line around nothing
    if before is not None:
        further = np.arange(FARTHEST_MM) - before[:, None]
        cost = cost + MOVE_PER_MM * np.abs(further) + np.where(further > REACH_MM, BARRED, 0)
    return np.asarray(cost, np.float64)


def _closed_line(cost: NDArray[np.float64]) -> NDArray[np.float64]:
    """The radii (angles,) of least cost (angles, radii), bending little: the second of three rounds."""
    angles = len(cost)
    total, came = cost[0], []
    bends = np.arange(-BEND, BEND + 1)
    for turn in range(1, 3 * angles):
        padded = np.pad(total, BEND, constant_values=np.inf)
        options = np.stack([padded[BEND - b : len(padded) - BEND - b] for b in bends])
        options += BEND_COST * bends[:, None] ** 2
        came.append(options.argmin(0))
        total = options.min(0) + cost[turn % angles]
    line = [int(total.argmin())]
    for best in reversed(came):
        line.append(line[-1] - int(bends[best[line[-1]]]))
    return np.array(line[::-1][angles : 2 * angles], np.float64)


def _head(smooth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """What is no air, slice by slice: above half of Otsu's threshold, and what lies between.

    Skin may be dark in places, or outside of the picture: heads are nearly convex.
    """
    lit = smooth[smooth > 0]
    if not lit.size or lit.min() == lit.max():
        return np.zeros(smooth.shape, bool)
    bright = smooth > 0.5 * threshold_otsu(lit)
    return np.stack([_convex(one) for one in np.moveaxis(bright, 2, 0)], 2)


def _convex(bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The convex hull of what is large in a slice (R, A): markers beside the head are not."""
    labels, count = ndimage.label(eroded(bright, 1.0))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    large = sizes > max(0.02 * sizes.max(), 60)
    return np.asarray(convex_hull_image(dilated(large[labels], 1.0))) if large.any() else large[labels]


def _depth(head: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance to the air in pixels; beyond the picture a head goes on."""
    margin = 40
    padded = np.pad(head, margin, mode="edge")
    return np.asarray(ndimage.distance_transform_edt(padded)[margin:-margin, margin:-margin])


def eroded(mask: NDArray[np.bool_], pixels: float) -> NDArray[np.bool_]:
    """What lies further than a distance from the outside of a mask (R, A); beyond the picture is outside."""
    return np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] > pixels)


def dilated(mask: NDArray[np.bool_], pixels: float) -> NDArray[np.bool_]:
    """What lies within a distance of a mask (R, A)."""
    return np.asarray(ndimage.distance_transform_edt(~mask) <= pixels) if mask.any() else mask
