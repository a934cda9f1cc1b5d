"""Prepared: one contrast of one subject on one grid, in a memory-mapped file.

The file is a safetensors file with at most two tensors, axial slices first so that a slice is one
contiguous read:

* `codes` (S, R, A) uint16: 0 outside the brain mask, else 1 + 65534 * intensity;
* `labels` (S, R, A) uint8: 1 lesion, 2 ignored; only where the subject has a lesion or ignore mask.

and its facts as JSON in the header. Background is exactly 0 and the brain mask is `codes > 0`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from uadbench.files import replacing
from uadbench.grids import Frame, Grid, Target
from uadbench.subject import Subject

LESION, IGNORED = 1, 2
STEPS = 65534  # intensity levels of a code, beside the 0 of the background


def encode(image: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Codes (S, R, A) of an image (R, A, S) in [0, 1] and its brain mask."""
    codes = np.where(brain, np.rint(image * STEPS) + 1, 0).astype(np.uint16)
    return np.ascontiguousarray(codes.transpose(2, 0, 1))


def decode(codes: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Intensities in [0, 1], 0 outside the brain, in the layout of the codes."""
    image = codes.astype(np.float32)
    image -= 1
    image *= np.float32(1 / STEPS)
    return np.maximum(image, 0, out=image)


def _map(path: Path) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
    """Facts and memory-mapped tensors of a safetensors file."""
    with open(path, "rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
    kinds = {"U8": np.uint8, "U16": np.uint16}
    tensors = {
        name: np.memmap(path, kinds[t["dtype"]], "r", 8 + length + t["data_offsets"][0], tuple(t["shape"]))
        for name, t in header.items()
        if name != "__metadata__"
    }
    return json.loads(header["__metadata__"]["facts"]), tensors


@dataclass(frozen=True)
class Prepared:
    """One contrast of one subject on one grid; opened when first used."""

    subject: Subject
    contrast: str
    grid: Grid
    path: Path

    @cached_property
    def _content(self) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        return _map(self.path)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What preparation found: key, voxel hash, percentiles, slice areas (mm2)."""
        return self._content[0]

    @property
    def key(self) -> str:
        """Hash of source content, preparation version and grid: equal keys are equal volumes."""
        return self.path.stem

    @property
    def codes(self) -> NDArray[np.uint16]:
        """The packed image (S, R, A), memory-mapped."""
        return self._content[1]["codes"]

    def image(self) -> NDArray[np.float32]:
        """Intensities (R, A, S) in [0, 1], exactly 0 outside the brain."""
        return np.ascontiguousarray(decode(np.asarray(self.codes)).transpose(1, 2, 0))

    def brain(self) -> NDArray[np.bool_]:
        """Brain mask (R, A, S)."""
        return np.ascontiguousarray((np.asarray(self.codes) > 0).transpose(1, 2, 0))

    @property
    def labels(self) -> NDArray[np.uint8] | None:
        """The packed labels (S, R, A), memory-mapped; None where there are none. For evaluation only."""
        return self._content[1].get("labels")

    def _label(self, bit: int) -> NDArray[np.bool_]:
        labels = self.labels
        if labels is None:
            return np.zeros(self.grid.shape, bool)
        return np.ascontiguousarray((np.asarray(labels) & bit > 0).transpose(1, 2, 0))

    def lesion(self) -> NDArray[np.bool_]:
        """Lesion mask (R, A, S); all False for a healthy subject. For evaluation only."""
        return self._label(LESION)

    def ignored(self) -> NDArray[np.bool_]:
        """Voxels that are neither hit nor false (R, A, S). For evaluation only."""
        return self._label(IGNORED)


def opened(subject: Subject, contrast: str, on: Target, path: Path) -> Prepared:
    """A prepared file of a subject; its grid, if it is one of slices, has as many as the file holds."""
    if isinstance(on, Frame):
        facts, tensors = _map(path)
        right, front = facts["stored_pixels"]
        on = on.stack((right, front), len(tensors["codes"]))
    return Prepared(subject, contrast, on, path)


def write(
    path: Path,
    image: NDArray[np.float32],
    brain: NDArray[np.bool_],
    labels: NDArray[np.uint8] | None,
    facts: Mapping[str, Any],
) -> None:
    """Write a prepared file atomically; all arrays are (R, A, S), equal content gives equal bytes."""
    write_codes(path, encode(image, brain), labels, facts)


def write_codes(
    path: Path, codes: NDArray[np.uint16], labels: NDArray[np.uint8] | None, facts: Mapping[str, Any]
) -> None:
    """Write a prepared file atomically: codes (S, R, A) as `encode` makes them, labels (R, A, S)."""
    from safetensors.numpy import save

    tensors: dict[str, NDArray[Any]] = {"codes": codes}
    if labels is not None:
        tensors["labels"] = np.ascontiguousarray(labels.transpose(2, 0, 1))
        facts = dict(facts) | {"labels_crc32": checksum(tensors["labels"])}
    with replacing(path) as partial:
        partial.write_bytes(save(tensors, metadata={"facts": json.dumps(facts, sort_keys=True)}))


def checksum(packed: NDArray[Any]) -> int:
    """CRC-32 of the bytes of packed codes or labels."""
    return int(isal_zlib.crc32(np.ascontiguousarray(packed).data.cast("B")))
