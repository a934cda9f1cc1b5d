"""Processes: the workers of a sweep, as whoever hands them cells sees them.

They are forked from a process that has loaded the libraries and done nothing else, so that one that is
replaced pays no start-up. A worker that ends takes its own cell with it and no other.
"""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil

from uadbench.cards import method_cards
from uadbench.sweep import worker
from uadbench.sweep.tasks import Task
from uadbench.sweep.worker import Orders

GRACE_S = 5.0  # between asking a process to end and ending it
LIBRARIES = (
    "uadbench.sweep.worker", "uadbench.experiment.figures", "matplotlib.figure",
    "matplotlib.backends.backend_agg", "monai.metrics.surface_dice", "torch",
)  # fmt: skip


def load_libraries(rows: Iterable[str], threads: int) -> None:
    """Start the process from which workers are forked, which loads what cells of these rows import.

    Returns at once. Where the process is there already nothing happens: workers load what it lacks.
    """
    os.environ.update(worker.thread_variables(threads))  # read when the libraries are loaded
    folders = sorted({card.folder for row in set(rows) if (card := method_cards().get(row))})
    modules = [*LIBRARIES, *(f"uadbench.methods.{folder}.method" for folder in folders)]
    get_context("forkserver").set_forkserver_preload(modules)
    forkserver.ensure_running()


@dataclass
class Worker:
    """A process that carries out cells on one device, one after the other; `task` is the one it has."""

    process: ForkServerProcess
    line: Connection
    slot: int  # place among the devices
    task: Task
    need_mb: float
    begun: float = field(default_factory=time.monotonic)
    too_long: bool = False
    scored: bool = False  # what is left of the cell needs no device
    idle: bool = False  # the cell is done, and may be followed by another

    @classmethod
    def start(cls, task: Task, orders: Orders, device: str, slot: int, need_mb: float) -> "Worker":
        """A new process, with its first cell."""
        here, there = get_context("forkserver").Pipe()
        own = replace(orders, runtime=replace(orders.runtime, device=device))
        process = get_context("forkserver").Process(target=worker.main, args=(own, there))
        process.start()
        there.close()  # so that the line ends with the process
        here.send(task)
        return cls(process, here, slot, task, need_mb)

    def take(self, task: Task, need_mb: float) -> bool:
        """Take another cell; False where the process has ended meanwhile."""
        try:
            self.line.send(task)
        except OSError:
            return False
        self.task, self.need_mb, self.begun = task, need_mb, time.monotonic()
        self.scored = self.idle = False
        return True

    def hear(self) -> None:
        """Take in what the process has said of its cell."""
        with suppress(EOFError, OSError):  # it has ended
            while self.line.poll():
                said = self.line.recv()
                self.scored = self.scored or said == worker.SCORED
                self.idle = self.idle or said == worker.DONE

    def stop(self) -> None:
        """End the process and its helpers, first with a request."""
        self.line.close()
        _signal(self.process.pid, signal.SIGTERM)
        self.process.join(GRACE_S)
        _signal(self.process.pid, signal.SIGKILL)
        self.process.join()

    @property
    def resident_mb(self) -> float:
        """Memory of the process and of those that it started."""
        try:
            process = psutil.Process(self.process.pid)
            every = [process, *process.children(recursive=True)]
            return float(sum(one.memory_info().rss for one in every) / 2**20)
        except psutil.NoSuchProcess:
            return 0.0


def _signal(pid: int | None, number: int) -> None:
    """Send a signal to a process and those that it started."""
    with suppress(ProcessLookupError, PermissionError):
        if pid is not None:
            os.killpg(pid, number)


def free_mb() -> float:
    """Memory that is free here: of the machine, or of the control group that limits this process."""
    free = psutil.virtual_memory().available / 2**20
    with suppress(OSError, ValueError, KeyError, StopIteration):
        groups = Path("/proc/self/cgroup").read_text().splitlines()
        own = next(line.removeprefix("0::") for line in groups if line.startswith("0::"))
        group = Path("/sys/fs/cgroup") / own.lstrip("/")
        limit = int((group / "memory.max").read_text())  # "max" is no number: no limit
        facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        files = int(facts["active_file"]) + int(facts["inactive_file"])  # given up when memory is wanted
        used = int((group / "memory.current").read_text()) - files
        free = min(free, (limit - used) / 2**20)
    return float(free)
