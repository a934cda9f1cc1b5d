"""Run a sweep: which cells are to be carried out, by whom, and what came of it."""

import itertools
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import typer

from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.experiment.config import Runtime
from uadbench.experiment.own import name_dataset
from uadbench.sweep import cluster, local, processes, status
from uadbench.sweep.description import read_description
from uadbench.sweep.estimate import Estimate, estimates
from uadbench.sweep.local import Result
from uadbench.sweep.tasks import Standing, Task, is_whole, plan_tasks, standing
from uadbench.sweep.worker import Orders
from uadbench.system import locks
from uadbench.system.environment import resolve_device
from uadbench.system.errors import UserError, unknown
from uadbench.system.files import clock
from uadbench.system.progress import duration

WHERE = ("local", "slurm")
LONGEST_MINUTES = 1_000_000


@dataclass(frozen=True)
class Wish:
    """What the command line asks for beside the description."""

    on: str = "local"
    jobs: int | None = None
    force: bool = False
    retry_failed: bool = False
    timeout_minutes: float | None = None  # of a cell
    for_minutes: float | None = None  # of this call

    def __post_init__(self) -> None:
        """Refuse a place or a time that cannot be meant."""
        if self.on not in WHERE:
            raise unknown("place to run on", self.on, WHERE)
        for name, minutes in (("timeout", self.timeout_minutes), ("for-minutes", self.for_minutes)):
            if minutes is not None and not 0 < minutes <= LONGEST_MINUTES:
                raise UserError(f"--{name} expects 0 to {LONGEST_MINUTES:,} minutes, got {minutes}.")


PLAIN = Wish()


class Sweep:
    """A sweep's description and its cells, and what is to become of them."""

    def __init__(self, file: Path, runtime: Runtime, wish: Wish = PLAIN) -> None:
        """Read the file."""
        self.wish, self.runtime = wish, _absolute(runtime)
        self.asked = read_description(file).rename(
            lambda place, contrast: name_dataset(place, self.runtime, contrast)
        )
        minutes = wish.timeout_minutes or self.asked.timeout_minutes or math.inf
        self.timeout_s = 60 * minutes  # of a cell

    @cached_property
    def tasks(self) -> list[Task]:
        """Every cell, planned."""
        return plan_tasks(self.asked.cells(), self.runtime)

    def show_dry_run(self) -> None:
        """Print cells, how they stand, and what they need."""
        jobs = self.wish.jobs or (len(self._devices()) if self.wish.on == "local" else 1)
        cores = max(1, len(os.sched_getaffinity(0)))
        cells = self._stand(cluster.queue_if_any())
        status.show_dry_run(
            cells, estimates(self.tasks, self.runtime.paths), self.asked.left_out(), jobs, cores
        )

    def show_status(self, once: bool) -> None:
        """Show how the sweep stands, live where somebody watches."""
        needs = estimates(self.tasks, self.runtime.paths)
        status.watch(lambda: self._stand(cluster.queue_if_any()), needs, self.runtime.paths.runs, once)

    def run(self) -> int:
        """Carry it out, or submit it; the exit code: 0 done or submitted, 1 something failed, 2 refused."""
        self.runtime.paths.check_writable()
        orders, on_slurm = self._orders(), self.wish.on == "slurm"
        if not on_slurm:  # beside the planning, which takes as long
            processes.load_libraries((cell.method for cell in self.asked.cells()), orders.threads)
        # Two who submit the same sweep at the same time would both find its cells waiting; and a queue that
        # was read before the other had submitted does not hold its jobs.
        with locks.held(self.runtime.paths.runs / "sweep" / "beginning"):
            queue = cluster.queue() if on_slurm else cluster.queue_if_any()
            stands = self._stand(queue)
            todo = [task for task, how in stands if self._is_wanted(task, how)]
            _announce(stands, todo, self.wish.force)
            needs = self._needs(todo)
            if on_slurm:
                return self._submit(todo, orders, needs)
        return self._carry_out(todo, orders, needs)

    def _stand(self, queue: dict[str, str] | None) -> list[tuple[Task, Standing]]:
        return [(task, standing(task, queue)) for task in self.tasks]

    def _orders(self) -> Orders:
        """What every process of the sweep is told."""
        threads, force = self.asked.threads, self.wish.force
        runtime = replace(self.runtime, workers=threads)
        moment = clock(runtime.paths.runs) if force else math.inf
        return Orders(runtime, threads, os.environ.get(PLUGINS_VARIABLE, ""), force, moment)

    def _needs(self, todo: Sequence[Task]) -> dict[Path, Estimate]:
        """What each cell needs, with the memory that the description names."""
        found, memory_gb = estimates(todo, self.runtime.paths), self.asked.memory_gb
        if memory_gb is None:
            return found
        return {path: replace(need, memory_mb=1024 * memory_gb) for path, need in found.items()}

    def _is_wanted(self, task: Task, how: Standing) -> bool:
        if task.mistake or how.kind == "queued":
            return False
        if how.kind == "running":
            return self.wish.on == "local"  # waited for; a job of Slurm would do the same and take a place
        if how.kind == "failed":
            return self.wish.retry_failed or self.wish.force
        return self.wish.force or how.kind != "done" or not is_whole(task)

    def _devices(self) -> list[str]:
        """The device of each place: one for each GPU, or for so many cores as a cell has threads."""
        device = resolve_device(self.asked.device)
        there = [device]
        if device == "cuda":
            import torch

            there = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        elif device == "cpu":
            there *= max(1, len(os.sched_getaffinity(0)) // self.asked.threads)
        return [there[n % len(there)] for n in range(self.wish.jobs or len(there))]

    def _submit(self, todo: Sequence[Task], orders: Orders, needs: dict[Path, Estimate]) -> int:
        asked, at_once = self.asked, self.wish.jobs
        submission = cluster.Submission(orders, asked.device, asked.slurm, needs, at_once, self.timeout_s)
        jobs = submission.submit(todo)
        for label, number in jobs.items():
            typer.echo(f"{label}: Slurm job {number}")
        typer.echo(f"{len(jobs)} jobs submitted; `uadbench sweep status FILE` shows them.")
        return 0

    def _carry_out(self, todo: Sequence[Task], orders: Orders, needs: dict[Path, Estimate]) -> int:
        number = itertools.count(1)
        if todo:
            typer.echo("`uadbench sweep status FILE` shows what is running, and the time left.")

        def tell(result: Result) -> None:
            words = f"{result.kind}: {result.task.label}, {duration(result.seconds)}"
            note = f"; {result.note}" if result.note else ""
            typer.echo(f"[{next(number)}/{len(todo)}] {words}{note}")
            if result.kind == "failed":
                typer.echo(f"  log: {result.task.log}", err=True)

        for_s = 60 * (self.wish.for_minutes or math.inf)
        ended = local.carry_out(todo, orders, self._devices(), needs, tell, self.timeout_s, for_s)
        counts = Counter(result.kind for result in ended)
        typer.echo(_words(counts) or "nothing was left to do")
        if counts["interrupted"]:
            typer.echo("interrupted: the same command resumes", err=True)
            return 0 if any(result.note == local.TIME_OVER for result in ended) else 130
        return 1 if counts["failed"] else 2 if counts["refused"] else 0


def _absolute(runtime: Runtime) -> Runtime:
    """The same places from every folder and in every process."""
    folders = {name: folder.absolute() for name, folder in vars(runtime.paths).items()}
    return replace(runtime, paths=replace(runtime.paths, **folders))


def _announce(stands: Sequence[tuple[Task, Standing]], todo: Sequence[Task], force: bool) -> None:
    """Say what is done, what is to be done and what is done again, before it begins."""
    counts = Counter(how.kind for _, how in stands)
    typer.echo(f"{len(stands)} jobs: {_words(counts)}; {len(todo)} to run")
    chosen = {task.path for task in todo}
    for task, how in stands:
        if how.kind in ("interrupted", "failed") and task.path in chosen:
            typer.echo(f"again: {task.label} ({how.kind}: {how.note})")
        elif how.kind == "done" and task.path in chosen and not force:
            typer.echo(f"again: {task.label} (its record is damaged)")
        elif how.kind == "failed":
            typer.echo(f"left as it is: {task.label} (failed: {how.note}); --retry-failed tries it again")
        elif task.mistake:
            typer.echo(f"refused: {task.label}: {task.mistake}", err=True)


def _words(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())
