"""Files that are there whole or not at all, folders for a while, and hashes.

Several machines may share a folder. What a process leaves half written carries its mark
(`uadbench.system.owners`): whoever comes by removes what a process of this machine left when it died, and
never what a living process anywhere still writes.
"""

import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from uadbench.system import owners
from uadbench.system.errors import UserError

ABANDONED_S = 7 * 24 * 3600.0  # after such a silence what an unknown process left behind is removed
PARTIAL, SCRATCH = ".partial", ".scratch"
PROBE = 4096  # bytes that must find room

Content = TypeVar("Content")
logger = logging.getLogger(__name__)


# ---- whole files -------------------------------------------------------------------------------


class NotAFileError(OSError):
    """A pipe or a device has the name of a file; what it gives may never come, or never end."""


def open_file(path: Path) -> BufferedReader:
    """A file, open for reading; NotAFileError for what is none, at once."""
    opened = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115  # the caller closes it
    if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
        opened.close()
        raise NotAFileError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
    return opened


def _open_without_waiting(path: str, flags: int) -> int:
    """Open what has that name, a pipe into which nobody writes included."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, to be written in the block, that takes its place at the end.

    After an error, or when the process is killed, the old file is as it was; what a killed process has left
    (a `.partial` file) goes with the next write of that path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent, f".{path.name}.", PARTIAL)
    partial = path.with_name(marked_name(f".{path.name}.", PARTIAL))
    try:
        yield partial
        with open(partial, "rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def update_text(path: Path, text: str) -> None:
    """Write a text file atomically, unless it holds this very text: many processes may state one fact."""
    with suppress(OSError):
        if path.read_bytes() == text.encode():
            return
    write_text(path, text)


def as_json(content: Any) -> str:
    """JSON with sorted keys, so that equal content is equal text."""
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically."""
    write_text(path, as_json(content))


def read_json(path: Path, kind: type[Content]) -> Content | None:
    """What a JSON file says, as a type that `msgspec` knows.

    None where there is no such file, or it is damaged or holds something of another form; the log names it
    then. Meant for files that the program writes itself and can do without.
    """
    try:
        with open_file(path) as opened:
            return msgspec.json.decode(opened.read(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (
        ValueError,
        RecursionError,
        IsADirectoryError,
        NotAFileError,
    ) as error:  # also of text that is no UTF-8
        logger.warning("%s is damaged (%s): it is made again", path, error)
        return None


class _Sealed(msgspec.Struct):
    content: dict[str, Any]
    sha256: str


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON atomically, with a hash of what it says."""
    write_json(path, {"content": content, "sha256": sha256_json(content)})


def read_sealed(path: Path) -> dict[str, Any] | None:
    """What `write_sealed` wrote; None where it is missing, or not to the letter what was written."""
    sealed = read_json(path, _Sealed)
    if sealed is None:
        return None
    if sha256_json(sealed.content) != sealed.sha256:
        logger.warning("%s is damaged (its hash is another): it is made again", path)
        return None
    return sealed.content


def check_writable(folder: Path, how: str) -> None:
    """UserError where a folder cannot be made or written, or has no room; `how` says how to name another."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(PROBE))
            probe.flush()
    except OSError as error:
        raise UserError(
            f"{folder} must be a folder that can be written, but: {error.strerror}; make room or give rights "
            f"there, or name another one with {how}."
        ) from error


# Faults of a disk or a folder, which are no faults of the program: rights, room, medium.
_OF_THE_DISK = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOTDIR,
    errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE, errno.ESTALE,
)  # fmt: skip


def disk_fault(error: OSError) -> str | None:
    """A fault of the disk in one sentence; None for an error that is none."""
    if error.errno not in _OF_THE_DISK:
        return None
    where = f"{error.filename} cannot be used" if error.filename else "A file cannot be used"
    return f"{where}: {error.strerror}; make room or give rights there, then call again."


# ---- what is there for a while -----------------------------------------------------------------


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A new folder below `parent` for the time of the block; those that dead processes left are removed."""
    parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(parent)
    folder = parent / marked_name("", SCRATCH)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def marked_name(prefix: str, suffix: str) -> str:
    """A new name that says whose the file is: prefix, the process's mark, chance, suffix."""
    return f"{prefix}{owners.mark()}.{secrets.token_hex(4)}{suffix}"


def remove_abandoned(folder: Path, prefix: str = "", suffix: str = "") -> None:
    """Remove the entries with a `marked_name` of a folder whose process has ended.

    Where that cannot be known, because it is another machine's, age decides.
    """
    with os.scandir(folder) as found:
        names = [one.name for one in found if one.name.startswith(prefix) and one.name.endswith(suffix)]
    for name in names:
        left, ended = folder / name, owners.marked_has_ended(name.removeprefix(prefix).partition(".")[0])
        if ended or (ended is None and _is_old(left)):
            with suppress(OSError):  # another process was faster
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()


def _is_old(path: Path) -> bool:
    with suppress(OSError):
        return clock(path.parent) - path.stat().st_mtime > ABANDONED_S
    return False


def clock(folder: Path) -> float:
    """The present (s since 1970) by the clock that dates the files of a folder."""
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(b".")
        probe.flush()
        return os.fstat(probe.fileno()).st_mtime


# ---- hashes ------------------------------------------------------------------------------------


def sha256(content: bytes | str) -> str:
    """Hexadecimal SHA-256 of bytes or of UTF-8 text."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def sha256_json(content: Any) -> str:
    """SHA-256 of anything JSON can hold, whatever the order of its keys."""
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")))


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open_file(path) as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
