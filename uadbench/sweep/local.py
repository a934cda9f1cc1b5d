"""Local: many cells on this machine, each in a process of its own, as many at once as there is room for.

The processes are forked from one that has loaded the libraries and done nothing else, so that a cell pays no
start-up and still shares nothing with the others.
"""

import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import connection, get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil

from uadbench.cards import method_card
from uadbench.experiment import record
from uadbench.sweep import worker
from uadbench.sweep.estimate import Estimate
from uadbench.sweep.tasks import Task, at_rest
from uadbench.sweep.worker import Orders
from uadbench.system import locks

GRACE_S = 5.0  # between asking a process to end and ending it
LONG_S = 3600.0  # no system waits longer in one go
ELSEWHERE_S = 1.0  # between two looks at a cell that another process carries out
SIGNAL_S = 0.3
SPARE = 0.95  # of the free memory may be promised to cells
# Signals by which a subject or Slurm ends a process: the cell has not failed, it goes on another time.
ENDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)


@dataclass(frozen=True)
class Result:
    """How one cell ended here: `done`, `failed`, `refused` or `interrupted`, and why."""

    task: Task
    kind: str
    note: str = ""
    seconds: float = 0.0


@dataclass
class _Running:
    task: Task
    process: ForkServerProcess
    slot: int
    need_mb: float
    begun: float = field(default_factory=time.monotonic)
    asked_to_end: float | None = None


class EndNow(BaseException):
    """The user or Slurm wants everything to end now."""


def carry_out(
    tasks: Sequence[Task],
    orders: Orders,
    devices: Sequence[str],
    estimates: Mapping[Path, Estimate],
    timeout_s: float | None,
    tell: Callable[[Result], None],
) -> list[Result]:
    """Carry out cells, one at a time on each of `devices`; `tell` hears of each as it ends.

    A cell that another process carries out is waited for, and taken over if that process dies.
    """
    _load_libraries(tasks, orders)
    with _ended_by_signals():
        return _Floor(orders, devices, estimates, timeout_s, tell).work(tasks)


def _load_libraries(tasks: Sequence[Task], orders: Orders) -> None:
    """Name what the process from which cells are forked is to import."""
    os.environ.update(worker.thread_variables(orders.threads))  # read when the libraries are loaded
    rows = {method_card(task.config.method).folder for task in tasks if not task.mistake}
    modules = ["uadbench.sweep.worker", "uadbench.experiment.figures", "matplotlib.figure"]
    modules += [
        "matplotlib.backends.backend_agg",
        *(f"uadbench.methods.{row}.method" for row in sorted(rows)),
    ]
    get_context("forkserver").set_forkserver_preload(modules)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block with `EndNow`."""

    def end(number: int, _: object) -> None:
        raise EndNow(signal.Signals(number).name)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Floor:
    """Where the cells are carried out: slots, memory, time."""

    def __init__(
        self,
        orders: Orders,
        devices: Sequence[str],
        estimates: Mapping[Path, Estimate],
        timeout_s: float | None,
        tell: Callable[[Result], None],
    ) -> None:
        self._orders, self._devices, self._estimates = orders, devices, estimates
        self._timeout_s, self._tell = timeout_s, tell
        self._running: list[_Running] = []
        self._elsewhere: list[Task] = []
        self._fitted: set[str] = set()
        self._results: list[Result] = []

    def work(self, tasks: Sequence[Task]) -> list[Result]:
        """Carry out all cells."""
        waiting = list(tasks)
        try:
            while waiting or self._running or self._elsewhere:
                while (position := self._next(waiting)) is not None:
                    self._start(waiting.pop(position))
                self._wait()
                for one in [r for r in self._running if not r.process.is_alive()]:
                    self._end(one)
                waiting += self._given_up()
        except EndNow as reason:
            for one in self._running:
                self._results.append(Result(one.task, "interrupted", str(reason)))
            self._results += [Result(task, "interrupted", str(reason)) for task in waiting + self._elsewhere]
        finally:
            for one in self._running:
                self._stop(one)
        return self._results

    # ---- what to begin ---------------------------------------------------------------------

    def _next(self, waiting: Sequence[Task]) -> int | None:
        """Position of the cell to begin now: the first with room whose fit nobody else is making."""
        if len(self._running) >= len(self._devices):
            return None
        busy = {r.task.fit_group for r in self._running} - self._fitted
        order = [n for n, task in enumerate(waiting) if task.fit_group not in busy]
        # Where all that is left shares a fit that is being made, waiting for it in the cell costs nothing.
        for position in order or range(len(waiting)):
            if not self._running or self._need_mb(waiting[position]) <= self._room_mb():
                return position
        return None

    def _need_mb(self, task: Task) -> float:
        estimate = self._estimates.get(task.path)
        return estimate.memory_mb if estimate else 0.0

    def _room_mb(self) -> float:
        """Free memory that no running cell is going to need."""
        promised = sum(max(0.0, r.need_mb - _resident_mb(r.process.pid)) for r in self._running)
        return SPARE * free_mb() - promised

    def _start(self, task: Task) -> None:
        slot = min(set(range(len(self._devices))) - {r.slot for r in self._running})
        machine = replace(self._orders.runtime, device=self._devices[slot])
        process = get_context("forkserver").Process(
            target=worker.main, args=(task, replace(self._orders, runtime=machine))
        )
        process.start()
        self._running.append(_Running(task, process, slot, self._need_mb(task)))

    # ---- what has ended --------------------------------------------------------------------

    def _wait(self) -> None:
        """Sleep until a process ends, a cell runs out of time, or one elsewhere may be looked at again."""
        limit = math.inf if self._timeout_s is None else self._timeout_s
        moments = [r.begun + limit - time.monotonic() for r in self._running]
        moments += [ELSEWHERE_S] if self._elsewhere else []
        soonest = max(0.0, min([*moments, LONG_S]))
        if self._running:
            connection.wait([r.process.sentinel for r in self._running], soonest)
        elif self._elsewhere:
            time.sleep(soonest)
        for one in self._running:
            if time.monotonic() > one.begun + limit and one.process.is_alive():
                self._stop(one)

    def _stop(self, one: _Running) -> None:
        """End a process and its helpers, first with a request."""
        one.asked_to_end = one.asked_to_end or time.monotonic()
        _signal(one.process.pid, signal.SIGTERM)
        one.process.join(GRACE_S)
        _signal(one.process.pid, signal.SIGKILL)
        one.process.join()

    def _end(self, one: _Running) -> None:
        """Take note of how a process ended."""
        code = one.process.exitcode
        state = one.task.said("state.json")
        if code not in (worker.DONE, worker.FAILED, worker.REFUSED, worker.ELSEWHERE):
            time.sleep(SIGNAL_S)  # the signal that ended it may be on its way to this process as well
        if code == worker.ELSEWHERE:
            self._running.remove(one)
            self._elsewhere.append(one.task)
        elif one.asked_to_end is not None:
            minutes, stage = (self._timeout_s or 0) / 60, state.get("stage", "start")
            self._crashed(one, f"took longer than {minutes:g} minutes (--timeout), in stage '{stage}'")
        elif code == worker.DONE:
            self._fitted.add(one.task.fit_group)
            self._close(one, "done", _words(state))
        elif code == worker.REFUSED:
            self._close(one, "refused", str(state.get("reason", "")))
        elif code == worker.FAILED and state.get("end") == "failed":
            self._close(one, "failed", str(state.get("reason", "")))
        elif code is not None and -code in ENDED:
            self._close(one, "interrupted", signal.Signals(-code).name)
        elif locks.holder(one.task.lease) is not None:  # the process that forked it died, and not itself
            self._running.remove(one)
            self._elsewhere.append(one.task)
        else:
            self._crashed(one, _how(code, state))

    def _crashed(self, one: _Running, reason: str) -> None:
        """Record a cell whose process could not do so itself."""
        log = os.path.relpath(one.task.log, self._orders.runtime.paths.runs)
        try:
            record.write_failure(one.task.path, reason, log)
        except OSError as error:
            reason += f"; and that cannot be recorded: {error}"
        self._close(one, "failed", reason)

    def _close(self, one: _Running, kind: str, note: str) -> None:
        self._running.remove(one) if one in self._running else None
        self._note(Result(one.task, kind, note, time.monotonic() - one.begun))

    def _note(self, result: Result) -> None:
        self._results.append(result)
        self._tell(result)

    def _given_up(self) -> list[Task]:
        """Cells that were in the hands of another process, which has finished or died."""
        free = [task for task in self._elsewhere if locks.holder(task.lease) is None]
        self._elsewhere = [task for task in self._elsewhere if task not in free]
        ended = {task.path: at_rest(task) for task in free}
        for task in free:
            if ended[task.path].kind in ("done", "failed", "refused"):
                standing = ended[task.path]
                self._note(Result(task, standing.kind, f"by another process {standing.note}".strip()))
        return [task for task in free if ended[task.path].kind not in ("done", "failed", "refused")]


def _words(state: Mapping[str, object]) -> str:
    """What there is to say of a cell that is done: its figure, and all that was made again."""
    redone = state.get("redone")
    words = [f"AP {state['ap']:.3f}"] if isinstance(state.get("ap"), float) else []
    words += ["the record was there"] if state.get("reused") else []
    words += [f"before: {state['again']}"] if state.get("again") else []
    words += [str(one) for one in redone] if isinstance(redone, list) else []
    return "; ".join(words)


def _how(code: int | None, state: Mapping[str, object]) -> str:
    """Why a process ended, in words."""
    where = f"in stage '{state.get('stage', 'start')}'"
    if code == -signal.SIGKILL:
        return f"the process was killed {where}, probably for want of memory"
    if code is not None and code < 0:
        return f"the process crashed {where} with {signal.Signals(-code).name}"
    return f"the process ended {where} with exit code {code}"


def _signal(pid: int | None, number: int) -> None:
    """Send a signal to a process and those that it started."""
    with suppress(ProcessLookupError, PermissionError):
        if pid is not None:
            os.killpg(pid, number)


def _resident_mb(pid: int | None) -> float:
    """Memory of a process and of those that it started."""
    try:
        process = psutil.Process(pid)
        return float(sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]) / 2**20)
    except psutil.NoSuchProcess:
        return 0.0


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
