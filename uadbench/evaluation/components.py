"""Lesion-wise counts: lesions found and false components, by size (protocol, rule 10)."""

from collections.abc import Sequence

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadbench.data.sizes import VOLUMES, Sizes
from uadbench.protocol import FOUND_FRACTION

# Columns of the counts.
LESIONS, FOUND, FALSE = 0, 1, 2


def components(mask: NDArray[np.bool_], flat: bool = False) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Labels (R, A, S) of the components of a mask from 1 on, and how many voxels have each label.

    26-connected; of `flat` slices 8-connected, each slice for itself, because slices of unknown distance may
    lie further apart than a lesion is long.
    """
    if not flat:
        labels = cc3d.connected_components(mask, connectivity=26, out_dtype=np.uint32)
    else:  # an empty slice after each slice keeps them apart
        apart = np.zeros((*mask.shape[:2], 2 * mask.shape[2]), bool)
        apart[..., ::2] = mask
        labels = cc3d.connected_components(apart, connectivity=26, out_dtype=np.uint32)[..., ::2]
    return labels, np.bincount(labels.ravel(order="K"), minlength=1)


def without_small(mask: NDArray[np.bool_], largest_dropped: int, flat: bool = False) -> NDArray[np.bool_]:
    """The mask without its components of at most so many voxels."""
    labels, sizes = components(mask, flat)
    kept = sizes > largest_dropped
    kept[0] = False
    return np.asarray(kept[labels])


def _touching(labels: NDArray[np.uint32], ignored: NDArray[np.bool_], flat: bool) -> Sequence[int]:
    """The labels of components that touch an ignored voxel."""
    if not ignored.any():
        return []
    around = np.ones((3, 3, 1 if flat else 3), bool)
    found: list[int] = np.unique(labels[ndimage.binary_dilation(ignored, around)]).tolist()
    return found


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
        self.voxel_size, self.flat = voxel_ml, flat
        self._lesion, self._ignored, self._sizes_in = lesion, ignored, sizes
        self.labels, self.voxels = components(lesion, flat)
        self.counts = np.ones(len(self.voxels), bool)  # by label: whether it is a lesion that counts
        self.counts[[0, *_touching(self.labels, ignored, flat)]] = False
        self.bands = self._bands(self.voxels)  # by label: its band of size

    def covered(self, predicted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """By label: how many voxels of it are predicted."""
        return np.bincount(self.labels[predicted], minlength=len(self.counts))

    def against(self, predicted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Counts (size bands, 3) of lesions, of lesions found, and of false components.

        A lesion is found when at least a tenth of it is covered. A false component is a predicted
        one that overlaps no lesion voxel; one that touches an ignored voxel is neither.
        """
        counts = np.zeros((len(self._sizes_in.bands), 3), np.int64)
        found = is_found(self.covered(predicted), self.voxels)
        np.add.at(counts[:, LESIONS], self.bands[self.counts], 1)
        np.add.at(counts[:, FOUND], self.bands[self.counts & found], 1)
        labels, sizes = components(predicted, self.flat)
        false = np.ones(len(sizes), bool)
        false[[0, *np.unique(labels[self._lesion]), *_touching(labels, self._ignored, self.flat)]] = False
        np.add.at(counts[:, FALSE], self._bands(sizes)[false], 1)
        return counts

    def _bands(self, voxels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Size band of each component."""
        return np.searchsorted(self._sizes_in.limits, voxels * self.voxel_size, side="right")


def is_found(covered: NDArray[np.integer], voxels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Of lesions of so many voxels, whether enough of them is covered."""
    return np.asarray(covered >= FOUND_FRACTION * voxels)
