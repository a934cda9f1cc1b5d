"""Local: many cells on this machine, as many at once as there is room for.

Workers take them one after the other (`uadbench.sweep.processes`). On a GPU a cell whose maps are made leaves
the device to the next, whose training goes on beside its evaluation; on a CPU both would want the same core.
"""

import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path

from uadbench.experiment import record
from uadbench.sweep import worker
from uadbench.sweep.estimate import Estimate
from uadbench.sweep.processes import Worker, free_mb, load_libraries
from uadbench.sweep.tasks import Task, at_rest
from uadbench.sweep.worker import Orders
from uadbench.system import locks

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
    load_libraries([task.config.method for task in tasks if not task.mistake], orders.threads)
    floor = _Floor(orders, devices, estimates, tell, timeout_s, time.monotonic() + for_s, list(tasks))
    with _ended_by_signals():
        return floor.work()


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
    running: list[Worker] = field(default_factory=list)
    idle: list[Worker] = field(default_factory=list)  # between two cells
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
                for one in list(self.running):
                    self._look_at(one)
                self._take_back()
        except EndNow as reason:
            left = [*(one.task for one in self.running), *self.waiting, *self.elsewhere]
            self.results += [Result(task, "interrupted", str(reason)) for task in left]
        finally:
            for one in [*self.running, *self.idle]:
                one.stop()
        return self.results

    def _next(self) -> int | None:
        """Position of the cell to begin now: the first with room whose fit nobody else is making."""
        if self._free_slot() is None:
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
        promised = sum(max(0.0, one.need_mb - one.resident_mb) for one in self.running)
        return SPARE * (free_mb() + sum(one.resident_mb for one in self.idle)) - promised

    def _free_slot(self) -> int | None:
        """The first device that no cell needs any more; of two cells on one the first is being evaluated."""
        for slot, device in enumerate(self.devices):
            there = [one for one in self.running if one.slot == slot]
            if not there or (device.startswith("cuda") and len(there) == 1 and there[0].scored):
                return slot
        return None

    def _start(self, task: Task) -> None:
        """Hand a cell to an idle worker of a free device, else to a new one."""
        slot, need_mb = self._free_slot(), self._need_mb(task)
        assert slot is not None
        for one in [one for one in self.idle if one.slot == slot]:
            self.idle.remove(one)
            if one.take(task, need_mb):
                self.running.append(one)
                return
            one.stop()  # it was ended from without
        self.running.append(Worker.start(task, self.orders, self.devices[slot], slot, need_mb))

    def _wait(self) -> None:
        """Sleep until a process ends, a time is over, or a cell elsewhere may be looked at again."""
        now = time.monotonic()
        moments = [LONG_S, self.end - now, *(r.begun + self.timeout_s - now for r in self.running)]
        soonest = max(0.0, min([*moments, ELSEWHERE_S] if self.elsewhere else moments))
        if self.running:
            connection.wait([end for r in self.running for end in (r.process.sentinel, r.line)], soonest)
        elif self.elsewhere:
            time.sleep(soonest)
        for one in self.running:
            if time.monotonic() > one.begun + self.timeout_s and one.process.is_alive():
                one.too_long = True
                one.stop()

    def _look_at(self, one: Worker) -> None:
        """Take note of what a process has said, or of how it ended."""
        alive = one.process.is_alive()
        one.hear()
        if one.idle:
            self.fitted.add(one.task.fit_group)
            self._close(one, "done", _words(one.task.said("state.json")))
            self.idle.append(one)
        elif not alive:
            self._end(one)

    def _end(self, one: Worker) -> None:
        """Take note of how a process ended."""
        code = one.process.exitcode
        state = one.task.said("state.json")
        if code not in (worker.FAILED, worker.REFUSED, worker.ELSEWHERE):
            time.sleep(SIGNAL_S)  # the signal that ended it may be on its way to this process as well
        if code == worker.ELSEWHERE:
            self._hand_over(one)
        elif one.too_long:
            minutes, stage = self.timeout_s / 60, state.get("stage", "start")
            self._crash(one, f"took longer than {minutes:g} minutes (--timeout), in stage '{stage}'")
        elif code == worker.REFUSED or (code == worker.FAILED and state.get("end") == "failed"):
            kind = "refused" if code == worker.REFUSED else "failed"
            self._close(one, kind, str(state.get("reason", "")))
        elif code is not None and -code in ENDED:
            self._close(one, "interrupted", signal.Signals(-code).name)
        elif locks.owner_of(one.task.lock) is not None:  # the process that forked it died, and not itself
            self._hand_over(one)
        else:
            self._crash(one, _how(code, state))

    def _crash(self, one: Worker, reason: str) -> None:
        """Record a cell whose process could not do so itself."""
        log = os.path.relpath(one.task.log, self.orders.runtime.paths.runs)
        try:
            record.write_failure(one.task.path, reason, log)
        except OSError as error:
            reason += f"; and that cannot be recorded: {error}"
        self._close(one, "failed", reason)

    def _hand_over(self, one: Worker) -> None:
        self.running.remove(one)
        self.elsewhere.append(one.task)

    def _close(self, one: Worker, kind: str, note: str) -> None:
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
