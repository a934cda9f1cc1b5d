"""Files that are there whole or not at all, and their hashes."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends without an error.

    A process killed in between leaves the old file as it was (and a `.partial` file, which the next
    writer of that path removes).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{path.name}.*.partial"):
        if not _alive(int(leftover.name.split(".")[-2].split("-")[0])):
            leftover.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(suffix=".partial", prefix=f".{path.name}.{os.getpid()}-", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        with open(partial, "rb") as written:
            os.fsync(written.fileno())
        partial.chmod(0o666 & ~umask())  # mkstemp made it the owner's alone
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def umask() -> int:
    """The file mode mask of this process, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, keys sorted, so that equal content is equal bytes."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")


def sha256(content: bytes | str) -> str:
    """Hexadecimal SHA-256 of bytes or of UTF-8 text."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def sha256_json(content: Any) -> str:
    """SHA-256 of anything JSON can hold, whatever the order of its keys."""
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")))


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
