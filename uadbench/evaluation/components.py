"""Lesion-wise counts: lesions found and false components, by size (protocol, rule 10)."""

from typing import NamedTuple

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadbench.data.sizes import VOLUMES, Sizes
from uadbench.protocol import FOUND_FRACTION

# Columns of the counts.
LESIONS, FOUND, FALSE = 0, 1, 2


class Called(NamedTuple):
    """Voxels of a volume that are called, and the component that each belongs to.

    Components are 26-connected; of `flat` slices 8-connected, each slice for itself, because slices of
    unknown distance may lie further apart than a lesion is long.
    """

    places: NDArray[np.intp]  # (k,) flat, ascending
    labels: NDArray[np.uint32]  # (k,) of their components, from 1 on
    sizes: NDArray[np.int64]  # by label: how many voxels have it

    def without_small(self, largest_dropped: int) -> "Called":
        """Without the components of at most so many voxels; labels stay."""
        if not largest_dropped:
            return self
        kept = self.sizes > largest_dropped
        left = kept[self.labels]
        return Called(self.places[left], self.labels[left], np.where(kept, self.sizes, 0))

    def mask(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """The volume of that shape, True where it is called."""
        mask = np.zeros(shape, bool)
        mask.reshape(-1)[self.places] = True
        return mask


def call(places: NDArray[np.intp], shape: tuple[int, ...], flat: bool = False) -> Called:
    """The components of the voxels at some ascending places of a volume (R, A, S)."""
    if not places.size:
        return Called(places, np.zeros(0, np.uint32), np.zeros(1, np.int64))
    layer, step = shape[1] * shape[2], 2 if flat else 1  # an empty slice after each slice keeps them apart
    first, last = int(places[0]) // layer, int(places[-1]) // layer + 1
    own = (places - first * layer) * step
    mask = np.zeros((last - first, shape[1], shape[2] * step), bool)
    mask.reshape(-1)[own] = True
    labels = cc3d.connected_components(mask, connectivity=26, out_dtype=np.uint32).reshape(-1)[own]
    return Called(places, labels, np.bincount(labels))


def components(mask: NDArray[np.bool_], flat: bool = False) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Labels (R, A, S) of the components of a mask from 1 on, and how many voxels have each label."""
    called = call(np.flatnonzero(mask), mask.shape, flat)
    labels = np.zeros(mask.shape, np.uint32)
    labels.reshape(-1)[called.places] = called.labels
    return labels, called.sizes


def without_small(mask: NDArray[np.bool_], largest_dropped: int, flat: bool = False) -> NDArray[np.bool_]:
    """The mask without its components of at most so many voxels."""
    return call(np.flatnonzero(mask), mask.shape, flat).without_small(largest_dropped).mask(mask.shape)


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
        self.voxel_size, self._flat, self._sizes_in = voxel_ml, flat, sizes
        self.labels, self.voxels = components(lesion, flat)
        around = np.ones((3, 3, 1 if flat else 3), bool)
        self._near = ndimage.binary_dilation(ignored, around).reshape(-1) if ignored.any() else None
        self.counts = self.voxels > 0  # by label: whether it is a lesion that counts
        if self._near is not None:
            self.counts[np.unique(self.labels.reshape(-1)[self._near])] = False
        self.bands = self._bands(self.voxels)  # by label: its band of size

    def covered(self, called: Called) -> NDArray[np.int64]:
        """By label: how many voxels of it are called."""
        return np.bincount(self.labels.reshape(-1)[called.places], minlength=len(self.counts))

    def against(self, predicted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """`count` of a mask (R, A, S)."""
        return self.count(call(np.flatnonzero(predicted), predicted.shape, self._flat))

    def count(self, called: Called) -> NDArray[np.int64]:
        """Counts (size bands, 3) of lesions, of lesions found, and of false components.

        A lesion is found when at least a tenth of it is covered. A false component is a called
        one that overlaps no lesion voxel; one that touches an ignored voxel is neither.
        """
        counts = np.zeros((len(self._sizes_in.bands), 3), np.int64)
        own = self.labels.reshape(-1)[called.places]
        found = is_found(np.bincount(own, minlength=len(self.counts)), self.voxels)
        np.add.at(counts[:, LESIONS], self.bands[self.counts], 1)
        np.add.at(counts[:, FOUND], self.bands[self.counts & found], 1)
        false = called.sizes > 0
        false[called.labels[own > 0]] = False
        if self._near is not None:
            false[called.labels[self._near[called.places]]] = False
        np.add.at(counts[:, FALSE], self._bands(called.sizes)[false], 1)
        return counts

    def _bands(self, voxels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Size band of each component."""
        return np.searchsorted(self._sizes_in.limits, voxels * self.voxel_size, side="right")


def is_found(covered: NDArray[np.integer], voxels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Of lesions of so many voxels, whether enough of them is covered."""
    return np.asarray(covered >= FOUND_FRACTION * voxels)
