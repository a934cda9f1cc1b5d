"""Brains in stacks of FLAIR slices, found without an atlas: slices of unknown distance cannot be registered.

On FLAIR bone and fluid are dark, so that a dark rim lies between brain and scalp. From a slice above the
middle of the head, where the brain is largest and nothing but the rim lies beside it, the brain is followed
slice by slice to both ends: what is bright enough, less a strip along its border that cuts bridges to the
scalp, connected to the brain of the slice before, and no further out than that by a few pixels.

It was looked at on 14 patients. In the middle of the head it follows the cortex; where scalp and brain touch
(thick slices, near the crown) it takes in scalp, and below the temporal lobes patches of the skull base.
All lengths are pixels of about 1 mm.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from uadbench.errors import SubjectError

SLICE_BRAINS_VERSION = "1"
SMOOTHING = 0.7  # deviation, in the plane
START = 0.6  # of the head's height, from the neck
DEEP = 25.0  # this far from the air there is brain, where the search begins
BRIGHT = 0.6  # of the brain's level; on the 14 patients .5 took in scalp and .65 cut off cortex
STRIP = 4.0  # taken off and put back
REACH = 2.0  # by which the brain may grow from one slice to the next
CLOSING = 8.0  # width over two of sulci and ventricles that belong to the brain
SMALLEST = 1000  # pixels of brain in the first slice; less is no brain


def find(flair: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """The brain (R, A, S) in a stack of FLAIR slices; a stack that shows none is a SubjectError."""
    smooth = ndimage.gaussian_filter(flair.astype(np.float32), (SMOOTHING, SMOOTHING, 0))
    head = _head(smooth)
    area = head.sum((0, 1))
    there = np.flatnonzero(area > 0.5 * area.max())
    if not len(there):
        raise SubjectError(f"{name} shows no head: check its pictures.")
    first = int(there[0] + round(START * (there[-1] - there[0])))
    deep = eroded(head[..., first], DEEP)
    if not deep.any():
        raise SubjectError(f"{name} shows no head in slice {first + 1} of the stack: check its pictures.")
    tissue = head & (smooth > BRIGHT * np.median(smooth[..., first][deep]))
    brain = np.zeros(tissue.shape, bool)
    brain[..., first] = _put_back(_largest(eroded(tissue[..., first], STRIP)))
    if np.count_nonzero(brain[..., first]) < SMALLEST:
        raise SubjectError(f"{name} shows no brain in slice {first + 1} of the stack: check its pictures.")
    for step in (1, -1):
        end = tissue.shape[2] if step > 0 else -1
        for position in range(first + step, end, step):
            brain[..., position] = _followed(brain[..., position - step], tissue[..., position])
    return brain


def _head(smooth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """What is no air, slice by slice: half of Otsu's threshold, the largest component, without holes."""
    lit = smooth[smooth > 0]
    if not lit.size or lit.min() == lit.max():
        return np.zeros(smooth.shape, bool)
    bright = smooth > 0.5 * threshold_otsu(lit)
    return np.stack([ndimage.binary_fill_holes(_largest(one)) for one in np.moveaxis(bright, 2, 0)], 2)


def _followed(before: NDArray[np.bool_], tissue: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The brain of a slice, given that of its neighbour, both (R, A); nothing where it ends."""
    allowed = dilated(before, REACH)
    labels, count = ndimage.label(eroded(tissue & allowed, STRIP))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    shared = np.bincount(labels[eroded(before, STRIP)], minlength=count + 1)
    kept = (shared > 0.5 * sizes) & (sizes > 0.05 * sizes[1:].max(initial=0))
    kept[0] = False
    return _put_back(kept[labels]) & allowed


def _put_back(core: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The strip put back, gaps closed, holes filled."""
    if not core.any():
        return core
    margin = int(CLOSING + STRIP) + 2
    grown = dilated(np.pad(core, margin), STRIP + 0.5)
    closed = eroded(dilated(grown, CLOSING), CLOSING)[margin:-margin, margin:-margin]
    return np.asarray(ndimage.binary_fill_holes(closed))


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask)
    return mask if count < 2 else np.asarray(labels == 1 + np.bincount(labels.ravel())[1:].argmax())


def eroded(mask: NDArray[np.bool_], pixels: float) -> NDArray[np.bool_]:
    """What lies further than a distance from the outside of a mask (R, A); beyond the picture is outside."""
    return np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] > pixels)


def dilated(mask: NDArray[np.bool_], pixels: float) -> NDArray[np.bool_]:
    """What lies within a distance of a mask (R, A)."""
    return np.asarray(ndimage.distance_transform_edt(~mask) <= pixels) if mask.any() else mask
