"""Volumes: what a method may see of a cohort: images and brain masks, no label, no name."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uadbench.data.prepared import Prepared, decode
from uadbench.data.sizes import sizes
from uadbench.data.space import Grid


@dataclass(frozen=True)
class Volume:
    """One prepared scan. It carries no label, no cohort and no identity, by type.

    `image` (C, R, A, S) float32 in [0, 1], exactly 0 outside the brain; `brain` (R, A, S) bool.
    """

    image: NDArray[np.float32]
    brain: NDArray[np.bool_]
    spacing_mm: float  # of slices without geometry: pixels of their files, which are about 1 mm wide
    contrasts: tuple[str, ...]  # one per channel


class Volumes(Sequence[Volume]):
    """Prepared scans of a cohort: a volume or a slice is read when it is asked for.

    With several contrasts each contrast of a session is a volume of its own;
    `groups[i] == groups[j]` says that i and j show the same subject at the same session.
    `depths[i]` is the number of axial slices of i.
    """

    def __init__(self, prepared: Sequence[Prepared], grid: Grid) -> None:
        """Volumes of the prepared scans, in the given order.

        All have the in-plane shape of `grid`, the model grid; of slices without geometry each volume has as
        many as there are.
        """
        self.grid = grid
        self._prepared = tuple(prepared)
        order: dict[tuple[str, str], int] = {}
        self.groups = tuple(order.setdefault((p.session.cohort, p.session.id), len(order)) for p in prepared)
        self.contrasts = tuple(p.contrast for p in prepared)
        self.depths = tuple(p.grid.shape[2] for p in prepared)

    def __len__(self) -> int:
        """How many volumes there are."""
        return len(self._prepared)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # Sequence's overloads: int only here
        """One volume, read from the cache."""
        prepared = self._prepared[index]
        image = prepared.image()
        return Volume(image[None], prepared.brain(), prepared.grid.spacing_mm, (prepared.contrast,))

    def slices(self) -> NDArray[np.int64]:
        """(volume, slice) of every axial slice with enough brain (protocol, rule 7), shape (n, 2)."""
        found = [
            (volume, position)
            for volume, prepared in enumerate(self._prepared)
            for position in np.flatnonzero(sizes(prepared.grid).counted_slices(prepared.facts))
        ]
        return np.array(found, np.int64).reshape(-1, 2)

    def read_codes(self, which: NDArray[np.int64]) -> NDArray[np.uint16]:
        """Packed images (B, R, A) of (volume, slice) pairs, as `prepared.encode` makes them."""
        return np.stack([self._prepared[volume].slice_codes(position) for volume, position in which])

    def read_whole_codes(self, which: NDArray[np.int64]) -> NDArray[np.uint16]:
        """Packed images (B, R, A, S) of volumes (B,), as `prepared.encode` makes them but for the axes."""
        codes = np.empty((len(which), *self.grid.shape), np.uint16)  # a cohort of them may be large
        for place, volume in enumerate(which):
            codes[place] = np.moveaxis(self._prepared[volume].codes, 0, -1)  # (S, R, A) -> (R, A, S)
        return codes

    def read_slices(self, which: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Images (B, 1, R, A) float32 in [0, 1] and brain masks (B, R, A) of (volume, slice) pairs."""
        codes = self.read_codes(which)
        return decode(codes)[:, None], codes > 0
