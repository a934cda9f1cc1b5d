"""Lesion-wise counts: lesions found and false components, by size (protocol, rule 10)."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadbench.data.sizes import VOLUMES, Sizes
from uadbench.protocol import FOUND_FRACTION

NEIGHBOURS = np.ones((3, 3, 3), bool)  # 26-connected
# 8-connected in the plane: slices of unknown distance may lie further apart than a lesion is long.
IN_PLANE = NEIGHBOURS & np.array([False, True, False])

# Columns of the counts.
LESIONS, FOUND, FALSE = 0, 1, 2


def neighbours(flat: bool) -> NDArray[np.bool_]:
    """Which voxels around one belong to its component, (3, 3, 3)."""
    return IN_PLANE if flat else NEIGHBOURS


def _components(
    mask: NDArray[np.bool_], ignored: NDArray[np.bool_], around: NDArray[np.bool_]
) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
    """Labelled components, and which labels count: those that touch no ignored voxel."""
    labels, count = ndimage.label(mask, around)
    counts = np.ones(count + 1, bool)
    counts[0] = False
    if ignored.any():
        near = ndimage.binary_dilation(ignored, around)
        counts[np.unique(labels[near])] = False
    return labels, counts


class Lesions:
    """The lesions of one scan, labelled once and held against any number of predictions."""

    def __init__(
        self,
        lesion: NDArray[np.bool_],
        ignored: NDArray[np.bool_],
        voxel_ml: float,
        sizes: Sizes = VOLUMES,
        flat: bool = False,
    ) -> None:
        """Label a lesion mask (R, A, S); components that touch an ignored voxel are set aside.

        `voxel_ml` is the patient's own volume of a voxel (`data.sizes.voxel_size`), in the unit of `sizes`;
        `flat` components end with their slice.
        """
        self._lesion, self._ignored, self._voxel_size = lesion, ignored, voxel_ml
        self._sizes_in, self._around = sizes, neighbours(flat)
        self._labels, self._counts = _components(lesion, ignored, self._around)
        self._sizes = np.bincount(self._labels.ravel(), minlength=len(self._counts))

    def against(self, predicted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Counts (size bands, 3) of lesions, of lesions found, and of false components.

        A lesion is found when at least a tenth of it is covered. A false component is a predicted
        one that overlaps no lesion voxel; one that touches an ignored voxel is neither.
        """
        counts = np.zeros((len(self._sizes_in.bands), 3), np.int64)
        covered = np.bincount(self._labels[predicted], minlength=len(self._counts))
        found = covered >= FOUND_FRACTION * self._sizes
        bands = self._bands(self._sizes)
        np.add.at(counts[:, LESIONS], bands[self._counts], 1)
        np.add.at(counts[:, FOUND], bands[self._counts & found], 1)
        labels, false = _components(predicted, self._ignored, self._around)
        false[np.unique(labels[self._lesion])] = False
        sizes = np.bincount(labels.ravel(), minlength=len(false))
        np.add.at(counts[:, FALSE], self._bands(sizes)[false], 1)
        return counts

    def _bands(self, voxels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Size band of each component."""
        return np.searchsorted(self._sizes_in.limits, voxels * self._voxel_size, side="right")
