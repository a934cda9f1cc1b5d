"""Worker: a process that carries out cells one after the other, so that only the first pays its start-up.

Whatever happens to a cell happens to nobody else: a worker goes on only after a cell that is done.
"""

import faulthandler
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.experiment.config import Runtime
from uadbench.experiment.run import Outcome
from uadbench.sweep.run_all import run_all
from uadbench.sweep.tasks import Standing, Task, at_rest, is_whole
from uadbench.system import environment, locks, pool
from uadbench.system.files import sha256_file
from uadbench.system.progress import Lines, Stage

DONE, FAILED, REFUSED, ELSEWHERE = 0, 1, 2, 75  # exit codes; 75 is `EX_TEMPFAIL`: come back later
SCORED = -1  # said of a cell under way: its maps are there, what is left needs no device
REPORT_S = 1.0  # between two words about progress

logger = logging.getLogger("uadbench")


@dataclass(frozen=True)
class Orders:
    """How the cells of a sweep are carried out; the same for all of them."""

    runtime: Runtime
    threads: int
    plugins: str  # the variable that names the folders of plug-ins
    force: bool = False
    older_than: float = math.inf  # with `force`: time of change (s) before which a file is made again


def thread_variables(threads: int) -> dict[str, str]:
    """Variables by which numerical libraries start so many threads, which sleep while they wait."""
    names = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
    itk = {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads)}
    return {f"{name}_NUM_THREADS": str(threads) for name in names} | itk | environment.ASLEEP


class Report(logging.Handler):
    """Progress that is told to `state.json`, now and then, and in lines to the log.

    Warnings are kept there too: they say what was found damaged or left behind, and made again.
    """

    def __init__(self, task: Task, again: str) -> None:
        """Speak about one cell; `again`: what became of the process before."""
        super().__init__(logging.WARNING)
        self._task, self._told, self._lines = task, -math.inf, Lines()
        self._state: dict[str, Any] = {"started": time.time(), "again": again, "redone": [], "end": ""}
        self.tell(stage="start", done=0, of=0)

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Stage]:
        """A block of `total` steps."""
        self.tell(stage=title, done=0, of=total)
        logger.info("%s (%d)", title, total)
        report, done = self, 0

        class Told:
            def advance(self, steps: int = 1, note: str = "") -> None:
                nonlocal done
                done += steps
                line.advance(steps, note)
                report.tell(later=done < total, done=done, note=note)

        with self._lines.stage(title, total) as line:
            yield Told()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning."""
        self._state["redone"].append(record.getMessage())
        self.tell()

    def tell(self, later: bool = False, **facts: Any) -> None:
        """Write the state; with `later` only if the last word is old enough."""
        self._state.update(facts)
        if later and time.monotonic() - self._told < REPORT_S:
            return
        self._told = time.monotonic()
        with suppress(OSError):  # a full disk; the lock says that the process lives
            self._task.say("state.json", self._state)


def main(orders: Orders, line: Connection) -> None:
    """Carry out the cells that come along the line, one after the other; `DONE` goes back after each.

    The first that is not done ends the process with one of the exit codes above: what went wrong in it
    (memory, a device, a library's state) must not reach the next cell. So does the end of the line.
    """
    os.setpgid(0, 0)  # with its own helpers it can be ended as one
    pool.end_with_the_parent()
    with suppress(OSError, ValueError):
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # Slurm warns every process of a job with it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.update(thread_variables(orders.threads))
    os.environ[PLUGINS_VARIABLE] = orders.plugins
    import torch

    torch.set_num_threads(orders.threads)
    code = DONE
    while code == DONE:
        try:
            task = line.recv()
        except (EOFError, OSError):
            break  # nothing is left to do
        code = _answer_for(task, orders, line)
        if code == DONE:
            with suppress(OSError):
                line.send(DONE)
    os._exit(code)  # threads of libraries have no say in when a worker ends


def _answer_for(task: Task, orders: Orders, line: Connection) -> int:
    """Carry out a cell, which speaks into its own log; its exit code."""
    _speak_into(task)
    try:
        with locks.trying(task.lock) as mine:
            code = _carry_out(task, orders, line) if mine else ELSEWHERE
    except Exception:
        logger.exception("the job cannot be run")
        code = FAILED
    for handler in logging.getLogger().handlers:
        handler.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _speak_into(task: Task) -> None:
    """Everything this process and its helpers print goes to the cell's log."""
    task.folder.mkdir(parents=True, exist_ok=True)
    with open(task.log, "ab", buffering=0) as opened:
        os.dup2(opened.fileno(), 1)
        os.dup2(opened.fileno(), 2)
    sys.stdout, sys.stderr = (
        os.fdopen(number, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)
        for number in (1, 2)
    )
    faulthandler.enable(sys.stderr)
    form = "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, stream=sys.stderr, force=True)


def _carry_out(task: Task, orders: Orders, line: Connection) -> int:
    before = at_rest(task)
    if _is_done(task, before, orders):
        return DONE  # by another process since it was asked for
    again = "" if before.kind in ("waiting", "recorded", "done") else f"{before.kind}, {before.note}"
    report = Report(task, again)
    logger.info("%s: begun%s", task.label, f" again; before: {again}" if again else "")
    logger.addHandler(report)
    device = orders.runtime.device
    runtime = replace(orders.runtime, progress=report, on_scored=partial(_leave_device, device, line))
    (ended,) = run_all([task.config], runtime, force=orders.force, older_than=orders.older_than)
    logger.removeHandler(report)
    if ended.outcome is None:
        logger.error("%s: %s; see also %s", ended.kind, ended.reason, runtime.paths.runs / "logs")
        report.tell(end=ended.kind, reason=ended.reason)
        return REFUSED if ended.kind == "refused" else FAILED
    report.tell(end="done", **_facts(task, ended.outcome))
    logger.info("done")
    return DONE


def _leave_device(device: str, line: Connection) -> None:
    """Give up the memory of a GPU that the next cell may use, and say so."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()
        line.send(SCORED)


def _is_done(task: Task, before: Standing, orders: Orders) -> bool:
    if before.kind != "done" or not is_whole(task):
        return False
    return not (orders.force and task.path.stat().st_mtime < orders.older_than)


def _facts(task: Task, made: Outcome) -> dict[str, Any]:
    """What is kept of a cell that is done."""
    profiles = made.record.summary.profiles
    return {
        "reused": made.reused,
        "source": task.source,
        "sha256": sha256_file(task.path),
        "ap": profiles[made.record.headline].ap if made.record.headline in profiles else None,
    }
