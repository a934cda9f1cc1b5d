"""Leases: one process at a time does a piece of work, on one machine or on several that share a folder.

A lease is a folder `<name>.<generation>` with the file `owner.json`. It comes into being by one atomic
rename, which fails where the folder is there already, and the highest generation is the one that counts.
Whoever finds it released, or its owner dead, tries to make the next generation: of several only one can.
No file lock is used, which network file systems implement in different ways or not at all.

An owner on this machine is dead when its process is gone. One elsewhere is dead when its lease has not been
touched for `SILENCE_S`; it touches it every `BEAT_S`. Ages are differences of times of change of files on the
shared folder, so that the clocks of the machines play no part.

What a lease guards must be whole files that are replaced atomically: an owner that was suspended and takes
itself for alive after its lease was taken over does work twice, and spoils nothing.
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

from uadbench.system.files import clock, marked, read_json, sweep
from uadbench.system.owners import Owner

BEAT_S = 15.0
SILENCE_S = 120.0  # eight beats
PATIENCE_S = 0.2  # between two looks at a lease that another holds
OWNER, RELEASED = "owner.json", "released.json"
DRAFT = ".draft"

logger = logging.getLogger(__name__)


# ---- looking -----------------------------------------------------------------------------------


def _generations(path: Path) -> list[int]:
    """The generations of a lease that are there, ascending."""
    found = (place.name.rpartition(".")[2] for place in path.parent.glob(f"{path.name}.*"))
    return sorted(int(number) for number in found if number.isdigit())


def _place(path: Path, generation: int) -> Path:
    return path.with_name(f"{path.name}.{generation}")


def holder(path: Path) -> Owner | None:
    """The living owner of a lease, if it has one."""
    there = _generations(path)
    owner = _owner(_place(path, there[-1])) if there else None
    return owner if owner is not None and _alive(owner, _place(path, there[-1])) else None


def _owner(place: Path) -> Owner | None:
    """Whose a generation is; None: released."""
    try:
        return read_json(place / OWNER, Owner)
    except OSError:
        return None  # swept away by a later generation


def _alive(owner: Owner, place: Path) -> bool:
    ended = owner.has_ended()
    if ended is not None:
        return not ended
    try:
        return clock(place.parent) - (place / OWNER).stat().st_mtime < SILENCE_S
    except OSError:
        return False


# ---- holding -----------------------------------------------------------------------------------


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lease while the block runs; waits for it, and says once in the log who has it."""
    told = False
    while True:
        with trying(path) as mine:
            if mine:
                yield
                return
            owner = holder(path)
        if owner is not None and not told:
            told = True
            logger.info("%s is held by %s: waiting for it", path.name, owner)
        time.sleep(PATIENCE_S)


@contextmanager
def trying(path: Path) -> Iterator[bool]:
    """Hold a lease while the block runs, if nobody else does; whether it is held."""
    place = _taken(path)
    if place is None:
        yield False
        return
    ended = Event()
    beat = Thread(target=_beat, args=(place, ended), daemon=True)
    beat.start()
    try:
        yield True
    finally:
        ended.set()
        beat.join()
        with suppress(OSError):  # the folder stays, so that generations only grow; a full disk is no bar
            os.replace(place / OWNER, place / RELEASED)


def _taken(path: Path) -> Path | None:
    """The generation of a lease that is now this process's; None: another's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    there = _generations(path)
    latest = there[-1] if there else 0
    before = _owner(_place(path, latest)) if there else None
    if before is not None and _alive(before, _place(path, latest)):
        return None
    place = _place(path, latest + 1)
    if not _made(place):
        return None
    # A slow process may have made a generation that others have passed and swept away meanwhile.
    if _generations(path)[-1] != latest + 1:
        shutil.rmtree(place, ignore_errors=True)
        return None
    if before is not None:
        logger.warning("%s was left by %s, which is gone: taken over", path.name, before)
    for old in there:
        shutil.rmtree(_place(path, old), ignore_errors=True)
    return place


def _made(place: Path) -> bool:
    """Make a generation that names this process; False where it is there already."""
    sweep(place.parent, ".", DRAFT)
    draft = place.with_name(marked(".", DRAFT))
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


def _beat(place: Path, ended: Event) -> None:
    """Touch a lease until it is given back."""
    while not ended.wait(BEAT_S):
        with suppress(OSError):
            os.utime(place / OWNER)
