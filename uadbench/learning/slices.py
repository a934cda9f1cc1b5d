"""Slices: the axial slices of a cohort as training draws them, packed on the device where they fit."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uadbench.data.prepared import STEPS
from uadbench.data.volumes import Volumes
from uadbench.learning.device import send
from uadbench.system.errors import UserError

MEMORY_LIMIT = 8 * 2**30  # bytes of packed slices kept in memory; a larger cohort is read as it is drawn


@dataclass(frozen=True)
class Batch:
    """Axial slices on the device: `image` (B, 1, R, A) in [0, 1], `brain` (B, 1, R, A) bool."""

    image: Tensor
    brain: Tensor
    which: NDArray[np.int64]  # (B, 2): volume and slice


class Slices:
    """Every axial slice of some volumes, packed in memory on the device where they fit.

    Of a cohort that does not fit, the slices of the next draw are read while the network learns from these.
    """

    def __init__(self, volumes: Volumes, device: str) -> None:
        """Read the slices; a cohort beyond `MEMORY_LIMIT` stays on disk."""
        self.volumes, self.which = volumes, volumes.slices()
        if not len(self.which):
            raise UserError("Training needs volumes with at least one slice of 2,000 mm2 of brain, got none.")
        self._device = device
        rows, columns, _ = volumes.grid.shape
        fits = len(self.which) * rows * columns * 2 <= MEMORY_LIMIT
        self._codes = send(self._read(self.which), device) if fits else None
        self._reader = None if fits else ThreadPoolExecutor(1)
        self._ahead: tuple[NDArray[np.int64], Future[Tensor]] | None = None
        # Slices stand volume by volume: first slice and number of slices of each volume that has any.
        _, self._first, self._count = np.unique(self.which[:, 0], return_index=True, return_counts=True)
        self.row = np.full((len(volumes), max(volumes.depths)), -1)  # of `which`, by volume and slice
        self.row[tuple(self.which.T)] = np.arange(len(self.which))

    @classmethod
    def of(cls, volumes: "Volumes | Slices", device: str) -> "Slices":
        """The slices of volumes, or those that were packed already."""
        return volumes if isinstance(volumes, Slices) else cls(volumes, device)

    def __len__(self) -> int:
        """How many slices there are."""
        return len(self.which)

    def _read(self, which: NDArray[np.int64]) -> Tensor:
        # torch cannot index uint16: the same bits as int16.
        return torch.from_numpy(self.volumes.read_codes(which).view(np.int16))  # (B, R, A)

    def _read_pinned(self, which: NDArray[np.int64]) -> Tensor:
        # Only from pinned memory is a copy made beside a GPU's work.
        codes = self._read(which)
        return codes.pin_memory() if self._device.startswith("cuda") else codes

    def take(self, index: NDArray[np.int64]) -> Batch:
        """The slices of these rows of `which`."""
        if self._codes is None:
            return self._unpack(self._read(self.which[index]), self.which[index])
        return self._unpack(self._codes[send(torch.from_numpy(index), self._device)], self.which[index])

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

    def _unpack(self, codes: Tensor, which: NDArray[np.int64]) -> Batch:
        unsigned = (send(codes, self._device).to(torch.int32) & 0xFFFF)[:, None]  # (B, R, A) -> (B, 1, R, A)
        image = unsigned.sub(1).clamp_(min=0).to(torch.float32) * np.float32(1 / STEPS).item()
        return Batch(image.contiguous(memory_format=torch.channels_last), unsigned > 0, which)

    def draw(self, batch: int, generator: torch.Generator) -> Batch:
        """Random slices: a volume, then one of its slices, both uniformly, with replacement."""
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
        """Rows of at most `count` slices, evenly spaced."""
        return np.unique(np.linspace(0, len(self.which) - 1, count).astype(np.int64))
