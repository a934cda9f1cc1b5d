"""Tensors: arrays in a safetensors file with facts and a checksum over all of it.

Arrays are read when they are asked for and no file stays open: cohorts have more scans than a process may
have open files. Reads, not memory maps: a map keeps a file descriptor, and a file that is cut while it is
mapped ends the process.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from uadbench.system.files import open_file, replacing

KINDS = {"U8": np.uint8, "U16": np.uint16, "F32": np.float32}
NAMES = {np.dtype(kind): name for name, kind in KINDS.items()}
FACTS, CHECKSUM = "facts", "crc32"
BLOCK = 2**22  # bytes read at a time


class DamagedError(ValueError):
    """A file that is not as it was written."""


class _Entry(msgspec.Struct):
    """A tensor in a header of safetensors."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


@dataclass(frozen=True)
class Stored:
    """The header of a file: where its arrays lie, and its facts."""

    path: Path
    facts: Mapping[str, Any]
    arrays: Mapping[str, _Entry]
    start: int  # byte at which the arrays begin

    def shape(self, name: str) -> tuple[int, ...]:
        """Of an array."""
        return self.arrays[name].shape

    def read(self, name: str) -> NDArray[Any]:
        """An array as a whole."""
        entry = self.arrays[name]
        return self._read(entry, 0, math.prod(entry.shape)).reshape(entry.shape)

    def read_part(self, name: str, position: int) -> NDArray[Any]:
        """One element along the first axis of an array."""
        entry = self.arrays[name]
        if not 0 <= position < entry.shape[0]:
            raise IndexError(position)
        count = math.prod(entry.shape[1:])
        return self._read(entry, position * count, count).reshape(entry.shape[1:])

    def _read(self, entry: _Entry, first: int, count: int) -> NDArray[Any]:
        kind = np.dtype(KINDS[entry.dtype])
        offset = self.start + entry.data_offsets[0] + first * kind.itemsize
        found: NDArray[Any] = np.fromfile(self.path, kind, count, offset=offset)
        if len(found) < count:
            raise DamagedError(f"{self.path} is cut short")
        return found


def open_stored(path: Path) -> Stored:
    """The header of a file; DamagedError where it is none. Its arrays are not looked at."""
    with open_file(path) as opened:
        length, size = int.from_bytes(opened.read(8), "little"), path.stat().st_size
        if length > size - 8:
            raise DamagedError(f"{path} is cut short")
        text = opened.read(length)
    try:
        header = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        facts = msgspec.json.decode(header.pop("__metadata__"), type=dict[str, str])[FACTS]
        arrays = {name: msgspec.json.decode(raw, type=_Entry) for name, raw in header.items()}
        content = msgspec.json.decode(facts, type=dict[str, Any])
    except (ValueError, KeyError, RecursionError) as error:
        raise DamagedError(f"{path} has a damaged header: {error}") from error
    for name, entry in arrays.items():
        begin, end = entry.data_offsets
        wanted = _bytes(entry)
        if wanted is None or end - begin != wanted or not 0 <= begin <= end <= size - 8 - length:
            raise DamagedError(f"{path} has a damaged header: {name} is not where it is said to be")
    return Stored(path, content, arrays, 8 + length)


def _bytes(entry: _Entry) -> int | None:
    """Size of an array; None for one that cannot be."""
    if entry.dtype not in KINDS or any(size < 0 for size in entry.shape):
        return None
    return np.dtype(KINDS[entry.dtype]).itemsize * math.prod(entry.shape)


def write(path: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """Write arrays and facts atomically; equal content gives equal bytes.

    The format is that of safetensors, whose own `save` holds the arrays three times over.
    """
    # The widest numbers first, so that all lie at multiples of their size.
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    stored = {name: np.ascontiguousarray(arrays[name]) for name in order}
    entries, end = {}, 0
    for name, array in stored.items():
        begin, end = end, end + array.nbytes
        kind = NAMES[array.dtype]
        entries[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [begin, end]}
    total = _of_header(facts, entries)
    for array in stored.values():
        total = isal_zlib.crc32(array.data, total)
    # All facts in one entry: they hold numbers and lists, and entries are text.
    known = {FACTS: json.dumps({**facts, CHECKSUM: total}, sort_keys=True)}
    header = json.dumps({"__metadata__": known, **entries}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with replacing(path) as partial, open(partial, "wb") as opened:
        opened.write(len(header).to_bytes(8, "little") + header)
        for array in stored.values():
            opened.write(array.data)


def is_whole(stored: Stored) -> bool:
    """Whether facts and arrays are what was written: reads all of the file, a block at a time."""
    facts = {name: value for name, value in stored.facts.items() if name != CHECKSUM}
    total = _of_header(facts, {name: msgspec.to_builtins(entry) for name, entry in stored.arrays.items()})
    with open(stored.path, "rb") as opened:
        opened.seek(stored.start)
        while block := opened.read(BLOCK):
            total = isal_zlib.crc32(block, total)
    return bool(stored.facts.get(CHECKSUM) == total)


def _of_header(facts: Mapping[str, Any], entries: Mapping[str, Any]) -> int:
    """Checksum of facts and of where the arrays lie, whatever the order of their names."""
    return int(isal_zlib.crc32(json.dumps([facts, entries], sort_keys=True).encode()))
