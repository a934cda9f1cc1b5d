"""Prepared: one contrast of one session on one grid, in a file of its own.

The file is a safetensors file with at most two tensors, axial slices first so that a slice is one
contiguous read:

* `codes` (S, R, A) uint16: 0 outside the brain mask, else 1 + 65534 * intensity;
* `labels` (S, R, A) uint8: 1 lesion, 2 ignored; only where the session has a lesion or ignore mask.

and its facts as JSON in the header, with a checksum over all of it (`uadbench.system.tensors`). Background is
exactly 0 and the brain mask is `codes > 0`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.data.session import Session
from uadbench.data.space import Grid, Target
from uadbench.system import tensors
from uadbench.system.tensors import Stored

LESION, IGNORED = 1, 2
FINGERPRINT, SLICE_FINGERPRINTS = "fingerprint", "slice_sha256"  # facts
STEPS = 65534  # intensity levels of a code, beside the 0 of the background


def encode(image: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Codes (S, R, A) of an image (R, A, S) in [0, 1] and its brain mask."""
    right, front, slices = image.shape
    codes = np.zeros((slices, right, front), np.uint16)
    face = np.logical_or.reduce(brain.T)  # (A, R)
    ends = [np.flatnonzero(shadow)[[0, -1]] for shadow in (face.any(1), face.any(0)) if face.any()]
    box = tuple(slice(first, last + 1) for first, last in ends)
    for out, values, inside in zip(codes, image.T, brain.T, strict=True):  # slices stay in the cache
        if box and inside.any():
            levels = np.rint(values[box] * np.float32(STEPS)) + 1
            out[box[::-1]] = (levels.astype(np.uint16) * inside[box]).T
    return codes


def decode(codes: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Intensities in [0, 1], 0 outside the brain, in the layout of the codes."""
    image = codes.astype(np.float32)
    image -= 1
    image *= np.float32(1 / STEPS)
    return np.maximum(image, 0, out=image)


@dataclass(frozen=True)
class Prepared:
    """One contrast of one session on one grid; opened when first used."""

    session: Session
    contrast: str
    grid: Grid
    path: Path

    @cached_property
    def _stored(self) -> Stored:
        return tensors.open_stored(self.path)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What preparation found: key, voxel hash, percentiles, slice areas (mm2)."""
        return self._stored.facts

    @property
    def fingerprints(self) -> list[str]:
        """Of the voxels of the scan, or of every slice of the stack: equal ones are copies of one another."""
        slices = self.facts.get(SLICE_FINGERPRINTS)
        return [str(one) for one in ([self.facts[FINGERPRINT]] if slices is None else slices)]

    @property
    def has_fingerprints(self) -> bool:
        """Whether they are there: volumes that were written by earlier versions lack them."""
        return not {FINGERPRINT, SLICE_FINGERPRINTS}.isdisjoint(self.facts)

    @property
    def key(self) -> str:
        """Hash of source content, preparation version and grid: equal keys are equal volumes."""
        return self.path.stem

    @property
    def codes(self) -> NDArray[np.uint16]:
        """The packed image (S, R, A), read from the file each time."""
        return self._stored.read("codes")

    def slice_codes(self, position: int) -> NDArray[np.uint16]:
        """One axial slice (R, A) of the packed image."""
        return self._stored.read_part("codes", position)

    def image(self) -> NDArray[np.float32]:
        """Intensities (R, A, S) in [0, 1], exactly 0 outside the brain."""
        return np.ascontiguousarray(decode(self.codes).transpose(1, 2, 0))

    def brain(self) -> NDArray[np.bool_]:
        """Brain mask (R, A, S)."""
        return np.ascontiguousarray((self.codes > 0).transpose(1, 2, 0))

    @property
    def labels(self) -> NDArray[np.uint8] | None:
        """The packed labels (S, R, A); None where there are none. For evaluation only."""
        return self._stored.read("labels") if "labels" in self._stored.arrays else None

    def _label(self, bit: int) -> NDArray[np.bool_]:
        labels = self.labels
        if labels is None:
            return np.zeros(self.grid.shape, bool)
        return np.ascontiguousarray((labels & bit > 0).transpose(1, 2, 0))

    def lesion(self) -> NDArray[np.bool_]:
        """Lesion mask (R, A, S); all False for a healthy session. For evaluation only."""
        return self._label(LESION)

    def ignored(self) -> NDArray[np.bool_]:
        """Voxels that are neither hit nor false (R, A, S). For evaluation only."""
        return self._label(IGNORED)


def open_prepared(session: Session, contrast: str, on: Target, path: Path) -> Prepared:
    """A prepared file of a session; its grid, if it is one of slices, has as many as the file holds."""
    return Prepared(session, contrast, _grid(path, on), path)


def is_whole(path: Path, on: Target) -> bool:
    """Whether a prepared file is there, on a grid, and to the bit as it was written. Reads all of it."""
    try:
        stored = tensors.open_stored(path)
        right, front, slices = _grid(path, on).shape
        return stored.shape("codes") == (slices, right, front) and tensors.is_whole(stored)
    except (OSError, ValueError, KeyError, TypeError):  # whatever a damaged header leads to
        return False


def _grid(path: Path, on: Target) -> Grid:
    if isinstance(on, Grid):
        return on
    stored = tensors.open_stored(path)
    right, front = stored.facts["stored_pixels"]
    return on.stack((right, front), stored.shape("codes")[0])


def write_codes(
    path: Path, codes: NDArray[np.uint16], labels: NDArray[np.uint8] | None, facts: Mapping[str, Any]
) -> None:
    """Write a prepared file atomically: codes (S, R, A) as `encode` makes them, labels (R, A, S).

    Equal content gives equal bytes.
    """
    arrays: dict[str, NDArray[Any]] = {"codes": codes}
    if labels is not None:
        arrays["labels"] = np.ascontiguousarray(labels.transpose(2, 0, 1))
    tensors.write(path, arrays, facts)
