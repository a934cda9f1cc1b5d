"""Shelf: arrays that are needed again, in memory as far as there is room and else on the disk."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.system.arrays import load_array

ROOM = 1 << 30  # bytes in memory, of all arrays of one evaluation together

Kept = Callable[[], NDArray[Any]]  # gives the array back, not to be changed


class Shelf:
    """Takes arrays from any number of threads."""

    def __init__(self, folder: Path, room: int = ROOM) -> None:
        """Of which so many bytes stay in memory; the folder takes the others."""
        self._folder, self._room, self._files = folder, room, 0
        self._taking = Lock()

    def keep(self, array: NDArray[Any]) -> Kept:
        """Take an array."""
        with self._taking:
            if array.nbytes <= self._room:
                self._room -= array.nbytes
                return lambda: array
            self._files += 1
            path = self._folder / f"{self._files}.npy"
        np.save(path, array)
        return partial(load_array, path)
