"""Parsing: source and the headers of arrays, one at a time whatever the number of threads.

Python 3.11 keeps one count of depth for the syntax trees of all threads (CPython issue 106905), so that two
which parse at once end now and then with "AST constructor recursion depth mismatch". NumPy parses the header
of every array that it reads.
"""

import ast
import math
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

LONGEST_HEADER = 4096  # bytes
_PARSING = Lock()


def parse_file(file: Path) -> ast.Module:
    """The syntax of a file."""
    with _PARSING:
        return ast.parse(file.read_bytes(), str(file))


def read_array(opened: BinaryIO) -> NDArray[Any]:
    """The array that begins here, in NumPy's format 1.0; ValueError for what is none, or is cut short."""
    with _PARSING:
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
