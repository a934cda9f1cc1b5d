"""Matching: lesions and called components one to one, as challenges of segmentation count them.

Rule 10 of the protocol counts a lesion as found when a tenth of it is called, by however many components.
Here every lesion has at most one component and every component at most one lesion, so that the Dice of all
pairs together is largest, as BraTS does with panoptica (Kofler et al., arXiv:2312.02608).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from uadbench.evaluation.components import components

Mask = NDArray[np.bool_]
MARGIN = 2  # voxels around a pair of components: their surfaces are whole, and what lies beyond is outside


@dataclass(frozen=True)
class Pair:
    """A lesion and the component that was called for it."""

    lesion: int  # label of either
    component: int
    dice: float
    hd95_mm: float  # 95th percentile of the distances of both surfaces from each other
    nsd: float  # mean over both surfaces of the share within one voxel, its shortest side, of the other


@dataclass(frozen=True)
class Matching:
    """The pairs of one scan, and how many components were called."""

    pairs: tuple[Pair, ...]
    components: int

    @property
    def false(self) -> int:
        """Components without a lesion."""
        return self.components - len(self.pairs)


def match_lesions(
    labels: NDArray[np.integer], called: Mask, sides_mm: tuple[float, float, float]
) -> Matching:
    """Pair the lesions of a labelled volume (R, A, S) with the 26-connected components of a mask."""
    own, sizes = components(called)
    lesions = np.bincount(labels.ravel())
    both = (labels > 0) & (own > 0)
    overlaps, counts = np.unique(np.stack([labels[both], own[both]]), axis=1, return_counts=True)
    if not counts.size:
        return Matching((), len(sizes) - 1)
    rows, columns = (np.unique(one, return_inverse=True) for one in overlaps)
    dices = np.zeros((len(rows[0]), len(columns[0])))
    dices[rows[1], columns[1]] = 2 * counts / (lesions[overlaps[0]] + sizes[overlaps[1]])
    chosen = zip(*linear_sum_assignment(dices, maximize=True), strict=True)
    pairs = [
        _pair(labels, own, (int(rows[0][r]), int(columns[0][c])), float(dices[r, c]), sides_mm)
        for r, c in chosen
        if dices[r, c] > 0
    ]
    return Matching(tuple(pairs), len(sizes) - 1)


def _pair(
    labels: NDArray[np.integer],
    own: NDArray[np.integer],
    who: tuple[int, int],
    dice: float,
    sides_mm: tuple[float, float, float],
) -> Pair:
    lesion, component = labels == who[0], own == who[1]
    box = ndimage.find_objects((lesion | component).astype(np.uint8))[0]
    inside = tuple(slice(max(0, side.start - MARGIN), side.stop + MARGIN) for side in box)
    apart = surface_distances(lesion[inside], component[inside], sides_mm)
    near = np.mean([np.mean(one <= min(sides_mm) + 1e-9) for one in apart])
    return Pair(*who, dice, float(np.percentile(np.concatenate(apart), 95)), float(near))


def surface_distances(
    one: Mask, other: Mask, sides_mm: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far each surface voxel of a mask lies from the surface of the other, in mm, of either mask.

    A surface voxel has a face on the outside; what lies beyond the volume is outside.
    """
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in (one, other)]
    to = [ndimage.distance_transform_edt(~surface, sides_mm) for surface in surfaces]
    return to[1][surfaces[0]], to[0][surfaces[1]]
