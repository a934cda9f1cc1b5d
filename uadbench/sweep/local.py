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
TIME_OVER = "the time for this call is over"
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
    too_long: bool = False


class EndNow(BaseException):
    """The user or Slurm wants everything to end now, or its time is over."""


def carry_out(
    tasks: Sequence[Task],
    orders: Orders,
    devices: Sequence[str],
    estimates: Mapping[Path, Estimate],
    tell: Callable[[Result], None],
    timeout_s: float = math.inf,
    for_s: float = math.inf,
) -> list[Result]:
    """Carry out cells, one at a time on each of `devices`; `tell` hears of each as it ends.

    A cell that takes longer than `timeout_s` has failed; after `for_s` all that runs is interrupted. A cell
    that another process carries out is waited for, and taken over if that process dies.
    """
    _load_libraries(tasks, orders)
    floor = _Floor(orders, devices, estimates, tell, timeout_s, time.monotonic() + for_s, list(tasks))
    with _ended_by_signals():
        return floor.work()


def _load_libraries(tasks: Sequence[Task], orders: Orders) -> None:
    """Name what the process from which cells are forked is to import."""
    os.environ.update(worker.thread_variables(orders.threads))  # read when the libraries are loaded
    rows = {method_card(task.config.method).folder for task in tasks if not task.mistake}
    modules = ["uadbench.sweep.worker", "uadbench.experiment.figures", "matplotlib.figure"]
    modules += ["matplotlib.backends.backend_agg", *(f"uadbench.methods.{r}.method" for r in sorted(rows))]
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


@dataclass
class _Floor:
    """Where the cells are carried out: slots, memory, time."""

    orders: Orders
    devices: Sequence[str]
    estimates: Mapping[Path, Estimate]
    tell: Callable[[Result], None]
    timeout_s: float  # of a cell
    end: float  # of everything, by the monotonic clock
    waiting: list[Task]
    running: list[_Running] = field(default_factory=list)
    elsewhere: list[Task] = field(default_factory=list)
    fitted: set[str] = field(default_factory=set)
    results: list[Result] = field(default_factory=list)

    def work(self) -> list[Result]:
        """Carry out all cells."""
        try:
            while self.waiting or self.running or self.elsewhere:
                if time.monotonic() >= self.end:
                    raise EndNow(TIME_OVER)
                while (position := self._next()) is not None:
                    self._start(self.waiting.pop(position))
                self._wait()
                for one in [r for r in self.running if not r.process.is_alive()]:
                    self._end(one)
                self._take_back()
        except EndNow as reason:
            left = [*(one.task for one in self.running), *self.waiting, *self.elsewhere]
            self.results += [Result(task, "interrupted", str(reason)) for task in left]
        finally:
            for one in self.running:
                _stop(one)
        return self.results

    def _next(self) -> int | None:
        """Position of the cell to begin now: the first with room whose fit nobody else is making."""
        if len(self.running) >= len(self.devices):
            return None
        busy = {r.task.fit_group for r in self.running} - self.fitted
        order = [n for n, task in enumerate(self.waiting) if task.fit_group not in busy]
        # Where all that is left shares a fit that is being made, waiting for it in the cell costs nothing.
        for position in order or range(len(self.waiting)):
            if not self.running or self._need_mb(self.waiting[position]) <= self._room_mb():
                return position
        return None

    def _need_mb(self, task: Task) -> float:
        estimate = self.estimates.get(task.path)
        return estimate.memory_mb if estimate else 0.0

    def _room_mb(self) -> float:
        """Free memory that no running cell is going to need."""
        promised = sum(max(0.0, r.need_mb - _resident_mb(r.process.pid)) for r in self.running)
        return SPARE * free_mb() - promised

    def _start(self, task: Task) -> None:
        slot = min(set(range(len(self.devices))) - {r.slot for r in self.running})
        runtime = replace(self.orders.runtime, device=self.devices[slot])
        orders = replace(self.orders, runtime=runtime)
        process = get_context("forkserver").Process(target=worker.main, args=(task, orders))
        process.start()
        self.running.append(_Running(task, process, slot, self._need_mb(task)))

    def _wait(self) -> None:
        """Sleep until a process ends, a time is over, or a cell elsewhere may be looked at again."""
        now = time.monotonic()
        moments = [LONG_S, self.end - now, *(r.begun + self.timeout_s - now for r in self.running)]
        soonest = max(0.0, min([*moments, ELSEWHERE_S] if self.elsewhere else moments))
        if self.running:
            connection.wait([r.process.sentinel for r in self.running], soonest)
        elif self.elsewhere:
            time.sleep(soonest)
        for one in self.running:
            if time.monotonic() > one.begun + self.timeout_s and one.process.is_alive():
                one.too_long = True
                _stop(one)

    def _end(self, one: _Running) -> None:
        """Take note of how a process ended."""
        code = one.process.exitcode
        state = one.task.said("state.json")
        if code not in (worker.DONE, worker.FAILED, worker.REFUSED, worker.ELSEWHERE):
            time.sleep(SIGNAL_S)  # the signal that ended it may be on its way to this process as well
        if code == worker.ELSEWHERE:
            self._hand_over(one)
        elif one.too_long:
            minutes, stage = self.timeout_s / 60, state.get("stage", "start")
            self._crash(one, f"took longer than {minutes:g} minutes (--timeout), in stage '{stage}'")
        elif code == worker.DONE:
            self.fitted.add(one.task.fit_group)
            self._close(one, "done", _words(state))
        elif code == worker.REFUSED or (code == worker.FAILED and state.get("end") == "failed"):
            kind = "refused" if code == worker.REFUSED else "failed"
            self._close(one, kind, str(state.get("reason", "")))
        elif code is not None and -code in ENDED:
            self._close(one, "interrupted", signal.Signals(-code).name)
        elif locks.owner_of(one.task.lock) is not None:  # the process that forked it died, and not itself
            self._hand_over(one)
        else:
            self._crash(one, _how(code, state))

    def _crash(self, one: _Running, reason: str) -> None:
        """Record a cell whose process could not do so itself."""
        log = os.path.relpath(one.task.log, self.orders.runtime.paths.runs)
        try:
            record.write_failure(one.task.path, reason, log)
        except OSError as error:
            reason += f"; and that cannot be recorded: {error}"
        self._close(one, "failed", reason)

    def _hand_over(self, one: _Running) -> None:
        self.running.remove(one)
        self.elsewhere.append(one.task)

    def _close(self, one: _Running, kind: str, note: str) -> None:
        self.running.remove(one)
        self._note(Result(one.task, kind, note, time.monotonic() - one.begun))

    def _note(self, result: Result) -> None:
        self.results.append(result)
        self.tell(result)

    def _take_back(self) -> None:
        """Note the cells that another process has finished, and do those that it gave up."""
        for task in [task for task in self.elsewhere if locks.owner_of(task.lock) is None]:
            self.elsewhere.remove(task)
            how = at_rest(task)
            if how.kind in ("done", "failed", "refused"):
                self._note(Result(task, how.kind, f"by another process {how.note}".strip()))
            else:
                self.waiting.append(task)


def _stop(one: _Running) -> None:
    """End a process and its helpers, first with a request."""
    _signal(one.process.pid, signal.SIGTERM)
    one.process.join(GRACE_S)
    _signal(one.process.pid, signal.SIGKILL)
    one.process.join()


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
        return f"the process was killed {where}, probably out of memory"
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
