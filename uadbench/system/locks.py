"""Locks: one process at a time does a piece of work, on one machine or on several that share a folder.

A lock is a folder `<name>.<generation>` with the file `owner.json`. It comes into being by one atomic
rename, which fails where the folder is there already, and the highest generation is the one that counts.
Whoever finds it released, or its owner dead, tries to make the next generation: of several only one can.
No lock of the file system is used, which network file systems implement in different ways or not at all;
nor `filelock.SoftFileLease` (4.3), which takes over from a lost machine only after watching it for the whole
silence in one process: a command that looks once, such as `sweep --on slurm`, would take a lost cell for a
running one for ever, and learn nothing of the owner's Slurm job.

An owner on this machine is dead when its process is gone. One elsewhere is dead when its lock has not been
touched for `SILENCE_S`; it touches it every `BEAT_S`. Ages are differences of times of change of files on the
shared folder, so that the clocks of the machines play no part.

What a lock guards must be whole files that are replaced atomically: an owner that was suspended and takes
itself for alive after its lock was taken over does work twice, and spoils nothing.
"""

import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from threading import Event, Thread

from uadbench.system.files import clock, marked_name, read_json, remove_abandoned
from uadbench.system.owners import Owner

BEAT_S = 15.0
SILENCE_S = 120.0  # eight beats
PATIENCE_S = 0.2  # between two looks at a lock that another holds
OWNER, RELEASED = "owner.json", "released.json"
DRAFT = ".draft"

logger = logging.getLogger(__name__)


def owner_of(path: Path) -> Owner | None:
    """The living owner of a lock, if it has one."""
    there = _generations(path)
    owner = _read_owner(there[-1]) if there else None
    return owner if owner is not None and _is_alive(owner, there[-1]) else None


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock while the block runs; waits for it, and says once in the log who has it."""
    told = False
    while True:
        with trying(path) as mine:
            if mine:
                yield
                return
            owner = owner_of(path)
        if owner is not None and not told:
            told = True
            logger.info("%s is held by %s: waiting for it", path.name, owner)
        time.sleep(PATIENCE_S)


@contextmanager
def trying(path: Path) -> Iterator[bool]:
    """Hold a lock while the block runs, if nobody else does; whether it is held."""
    place = _take(path)
    if place is None:
        yield False
        return
    ended = Event()
    beat = Thread(target=_touch, args=(place, ended), daemon=True)
    beat.start()
    try:
        yield True
    finally:
        ended.set()
        beat.join()
        with suppress(OSError):  # the folder stays, so that generations only grow; a full disk is no bar
            os.replace(place / OWNER, place / RELEASED)


# ---- one generation ----------------------------------------------------------------------------


def _generations(path: Path) -> list[Path]:
    """The generations of a lock that are there, the one that counts last."""
    found = [p for p in path.parent.glob(f"{path.name}.*") if p.name.rpartition(".")[2].isdigit()]
    return sorted(found, key=_number)


def _number(place: Path) -> int:
    return int(place.name.rpartition(".")[2])


def _read_owner(place: Path) -> Owner | None:
    """Whose a generation is; None: released."""
    with suppress(OSError):  # swept away by a later generation
        return read_json(place / OWNER, Owner)
    return None


def _is_alive(owner: Owner, place: Path) -> bool:
    ended = owner.has_ended()
    if ended is not None:
        return not ended
    with suppress(OSError):
        return clock(place.parent) - (place / OWNER).stat().st_mtime < SILENCE_S
    return False


def _take(path: Path) -> Path | None:
    """The generation of a lock that is now this process's; None: another's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    there = _generations(path)
    before = _read_owner(there[-1]) if there else None
    if before is not None and _is_alive(before, there[-1]):
        return None
    place = path.with_name(f"{path.name}.{_number(there[-1]) + 1 if there else 1}")
    if not _make(place):
        return None
    # A slow process may have made a generation that others have passed and swept away meanwhile.
    if _generations(path)[-1] != place:
        shutil.rmtree(place, ignore_errors=True)
        return None
    if before is not None:
        logger.warning("%s was left by %s, which has ended: taken over", path.name, before)
    for old in there:
        shutil.rmtree(old, ignore_errors=True)
    return place


def _make(place: Path) -> bool:
    """Make a generation that names this process; False where it is there already."""
    remove_abandoned(place.parent, ".", DRAFT)
    draft = place.with_name(marked_name(".", DRAFT))
    try:
        draft.mkdir()
        (draft / OWNER).write_text(json.dumps(asdict(Owner.me())), encoding="utf-8")
        os.rename(draft, place)  # fails where there is a folder that is not empty
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _touch(place: Path, ended: Event) -> None:
    """Touch a lock until it is given back."""
    while not ended.wait(BEAT_S):
        with suppress(OSError):
            os.utime(place / OWNER)
