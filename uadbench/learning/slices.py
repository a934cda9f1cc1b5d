"""Slices: the axial slices of a cohort as training draws them, packed on the device where they fit."""

import math
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uadbench.data.prepared import STEPS
from uadbench.data.volumes import Volumes
from uadbench.learning.device import send
from uadbench.learning.layout import channels_last
from uadbench.system.errors import UserError

MEMORY_LIMIT = 8 * 2**30  # bytes of packed slices kept in memory; a larger cohort is read as it is drawn


@dataclass(frozen=True)
class Batch:
    """Axial slices on the device: `image` (B, 1, R, A) in [0, 1], `brain` (B, 1, R, A) bool.

    Of whole volumes both are (B, 1, R, A, S).
    """

    image: Tensor
    brain: Tensor
    which: NDArray[np.int64]  # (B, 2): volume and slice; of whole volumes (B, 1): the volume


class Packed(ABC):
    """The parts of some volumes that training draws, packed in memory on the device where they fit.

    Of a cohort that does not fit, the parts of the next draw are read while the network learns from these.
    """

    dimensions: ClassVar[int]  # of a part: 2 of a slice, 3 of a whole volume

    def __init__(self, volumes: Volumes, device: str) -> None:
        """Read the parts; a cohort beyond `MEMORY_LIMIT` stays on disk."""
        self.volumes, self.which = volumes, self._list(volumes)
        self._device = device
        voxels = math.prod(volumes.grid.shape[: self.dimensions])
        fits = len(self.which) * voxels * 2 <= MEMORY_LIMIT
        self._codes = send(self._read(self.which), device) if fits else None
        self._reader = None if fits else ThreadPoolExecutor(1)
        self._ahead: tuple[NDArray[np.int64], Future[Tensor]] | None = None
        # Parts stand volume by volume: first part and number of parts of each volume that has any.
        _, self._first, self._count = np.unique(self.which[:, 0], return_index=True, return_counts=True)

    @abstractmethod
    def _list(self, volumes: Volumes) -> NDArray[np.int64]:
        """What there is to draw, (n, ...), the volume first; a UserError where that is nothing."""

    @abstractmethod
    def _read_codes(self, which: NDArray[np.int64]) -> NDArray[np.uint16]:
        """Packed images (B, R, A, ...) of rows of `which`."""

    @classmethod
    def of(cls, volumes: "Volumes | Packed", device: str) -> "Packed":
        """The parts of volumes, or those that were packed already."""
        return volumes if isinstance(volumes, Packed) else cls(volumes, device)

    def __len__(self) -> int:
        """How many parts there are."""
        return len(self.which)

    def _read(self, which: NDArray[np.int64]) -> Tensor:
        # torch cannot index uint16: the same bits as int16.
        return torch.from_numpy(self._read_codes(which).view(np.int16))

    def _read_pinned(self, which: NDArray[np.int64]) -> Tensor:
        # Only from pinned memory is a copy made beside a GPU's work.
        codes = self._read(which)
        return codes.pin_memory() if self._device.startswith("cuda") else codes

    def take(self, index: NDArray[np.int64]) -> Batch:
        """The parts of these rows of `which`."""
        if self._codes is None:
            return self._unpack(self._read(self.which[index]), self.which[index])
        return self._unpack(self._codes[send(torch.from_numpy(index), self._device)], self.which[index])

    def _unpack(self, codes: Tensor, which: NDArray[np.int64]) -> Batch:
        unsigned = (send(codes, self._device).to(torch.int32) & 0xFFFF)[:, None]  # (B, ...) -> (B, 1, ...)
        image = unsigned.sub(1).clamp_(min=0).to(torch.float32) * np.float32(1 / STEPS).item()
        return Batch(image.contiguous(memory_format=channels_last(self.dimensions)), unsigned > 0, which)

    def draw(self, batch: int, generator: torch.Generator) -> Batch:
        """Random parts: a volume, then one of its parts, both uniformly, with replacement."""
        index = self._draw_rows(batch, generator)
        if self._reader is None:
            return self.take(index)
        codes = self._read_ahead(index)
        # What the generator will say next; it does not go on, as a checkpoint keeps its state.
        following = self._draw_rows(batch, generator.clone_state())
        self._ahead = following, self._reader.submit(self._read_pinned, self.which[following])
        return self._unpack(codes, self.which[index])

    def _draw_rows(self, batch: int, generator: torch.Generator) -> NDArray[np.int64]:
        volume = torch.randint(len(self._first), (batch,), generator=generator).numpy()
        part = torch.rand(batch, generator=generator, dtype=torch.float64).numpy()
        return self._first[volume] + (part * self._count[volume]).astype(np.int64)  # type: ignore[no-any-return]

    def _read_ahead(self, index: NDArray[np.int64]) -> Tensor:
        """Codes of these rows, which were read already if they are those that were expected."""
        if self._ahead is not None and np.array_equal(self._ahead[0], index):
            return self._ahead[1].result()
        return self._read(self.which[index])

    def spread(self, count: int) -> NDArray[np.int64]:
        """Rows of at most `count` parts, evenly spaced."""
        return np.unique(np.linspace(0, len(self.which) - 1, count).astype(np.int64))


class Slices(Packed):
    """Every axial slice with enough brain."""

    dimensions = 2

    def __init__(self, volumes: Volumes, device: str) -> None:
        """Read the slices; a cohort beyond `MEMORY_LIMIT` stays on disk."""
        super().__init__(volumes, device)
        self.row = np.full((len(volumes), max(volumes.depths)), -1)  # of `which`, by volume and slice
        self.row[tuple(self.which.T)] = np.arange(len(self.which))

    def _list(self, volumes: Volumes) -> NDArray[np.int64]:
        which = volumes.slices()
        if not len(which):
            raise UserError("Training needs volumes with at least one slice of 2,000 mm2 of brain, got none.")
        return which

    def _read_codes(self, which: NDArray[np.int64]) -> NDArray[np.uint16]:
        return self.volumes.read_codes(which)  # (B, R, A)

    def find(self, which: NDArray[np.int64]) -> Batch:
        """Any slices by (volume, slice) (B, 2); those with too little brain to learn from come from disk."""
        if self._codes is None:
            return self._unpack(self._read(which), which)
        row = self.row[tuple(which.T)]
        codes = self._codes[send(torch.from_numpy(row.clip(0)), self._device)]
        absent = np.flatnonzero(row < 0)
        if len(absent):
            there = send(torch.from_numpy(absent), self._device)
            codes[there] = send(self._read(which[absent]), self._device)
        return self._unpack(codes, which)
