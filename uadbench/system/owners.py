"""Owners: the process that a lock or a half-written file belongs to, in words that mean the same everywhere.

A process number means something in one name space of one start of one machine only, so none stands alone:
it goes with a word for where it counts, and with the ticks of the machine's clock since its start at which
the process began. Ticks do not move when somebody sets the clock, and tell a process from a later one with
its number.
"""

import hashlib
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Owner:
    """A process."""

    host: str
    place: str  # where `pid` and `ticks` count
    pid: int
    ticks: int  # when it began, in ticks since the machine's start
    job: str = ""  # of Slurm; "" outside

    @classmethod
    def me(cls) -> "Owner":
        """The process that calls."""
        pid = os.getpid()
        return cls(socket.gethostname(), this_place(), pid, start_ticks(pid) or 0, slurm_job())

    def __str__(self) -> str:
        job = f", Slurm job {self.job}" if self.job else ""
        return f"process {self.pid} on {self.host}{job}"

    def has_ended(self) -> bool | None:
        """Whether it has ended; None where that cannot be seen from here."""
        return has_ended(self.pid, self.ticks) if self.place == this_place() else None


def mark() -> str:
    """The calling process, short enough for a part of a file's name: place, process number and ticks."""
    return f"{this_place()}-{os.getpid()}-{start_ticks(os.getpid()) or 0}"


def marked_has_ended(text: str) -> bool | None:
    """Whether the process of a `mark` has ended; None where it is none, or that cannot be seen from here."""
    place, _, numbers = text.partition("-")
    pid, _, ticks = numbers.partition("-")
    if place != this_place() or not (pid.isdecimal() and ticks.isdecimal()):
        return None
    return has_ended(int(pid), int(ticks))


def has_ended(pid: int, ticks: int) -> bool | None:
    """Whether a process of this machine and name space has ended; None where the system hides it."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass  # another user's
    began = start_ticks(pid)
    return None if began is None else began != ticks or is_zombie(pid)


def start_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since the machine's start; None where the system does not say."""
    fields = _stat(pid)
    if fields:
        return int(fields[19])  # field 22 of the line, see proc(5)
    if not Path("/proc").is_dir():
        with suppress(psutil.Error):  # such a system keeps the time at which a process began
            return round(100 * psutil.Process(pid).create_time())
    return None


def is_zombie(pid: int) -> bool:
    """Whether a process has ended and nobody has taken note of it."""
    return _stat(pid)[:1] in (["Z"], ["X"])


def _stat(pid: int) -> list[str]:
    """What Linux says about a process, from field 3 (its state) on; [] where it says nothing."""
    own = pid == os.getpid()
    with suppress(OSError):
        # A new name space may still see the old one's /proc, where the numbers are other processes'.
        if own or os.readlink("/proc/self") == str(os.getpid()):
            line = Path(f"/proc/{'self' if own else pid}/stat").read_text(errors="replace")
            return line.rpartition(")")[2].split()  # the name in field 2 may hold spaces and brackets
    return []


@cache
def this_place() -> str:
    """A short word for this machine, its start and its name spaces of processes and clocks."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    for name in ("pid", "time"):
        with suppress(OSError):
            parts.append(os.readlink(f"/proc/self/ns/{name}"))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]


def slurm_job() -> str:
    """The Slurm job in which this process runs, as `squeue` names it; "" outside."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
