"""Arrays in NumPy's format: read by one thread at a time as far as their headers are parsed."""

import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from uadbench.system.parsing import PARSING

LONGEST_HEADER = 4096  # bytes


def read_array(opened: BinaryIO) -> NDArray[Any]:
    """The array that begins here, in NumPy's format 1.0; ValueError for what is none, or is cut short."""
    with PARSING:
        version = npy.read_magic(opened)
        if version != (1, 0):
            raise ValueError(f"an array in format {version}, expected (1, 0)")
        shape, by_columns, kind = npy.read_array_header_1_0(opened, max_header_size=LONGEST_HEADER)
    if kind.hasobject:
        raise ValueError("an array of objects, which is not read")
    flat = np.empty(math.prod(shape), kind)
    if opened.readinto(flat.view(np.uint8)) != flat.nbytes:  # type: ignore[attr-defined]
        raise ValueError("an array that is cut short")
    return flat.reshape(shape, order="F" if by_columns else "C")


def load_array(path: Path) -> NDArray[Any]:
    """The array of a file."""
    with open(path, "rb") as opened:
        return read_array(opened)
