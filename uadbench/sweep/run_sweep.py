"""Run a grid: which cells are to be carried out, by whom, and what came of it."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.experiment.config import Runtime
from uadbench.sweep import cluster, description, local, status
from uadbench.sweep.description import Description
from uadbench.sweep.estimate import Estimate, estimates
from uadbench.sweep.local import Result
from uadbench.sweep.tasks import Standing, Task, look_closely, plan_tasks, standing
from uadbench.sweep.worker import Orders
from uadbench.system import locks
from uadbench.system.environment import resolve_device
from uadbench.system.errors import UserError, unknown
from uadbench.system.files import clock

WHERE = ("local", "slurm")
LONGEST_MINUTES = 1_000_000


@dataclass(frozen=True)
class Wish:
    """What the command line asks for beside the description."""

    on: str = "local"
    jobs: int | None = None
    force: bool = False
    retry_failed: bool = False
    timeout_minutes: float | None = None

    def __post_init__(self) -> None:
        """Refuse a place or a time that cannot be meant."""
        if self.on not in WHERE:
            raise unknown("place to run on", self.on, WHERE)
        minutes = self.timeout_minutes
        if minutes is not None and not 0 < minutes <= LONGEST_MINUTES:
            raise UserError(f"--timeout expects 0 to {LONGEST_MINUTES:,} minutes, but {minutes} came.")


def absolute(runtime: Runtime) -> Runtime:
    """The same places from every folder and in every process."""
    names = ("data", "runs", "results", "cache")
    return replace(
        runtime,
        paths=replace(runtime.paths, **{n: getattr(runtime.paths, n).absolute() for n in names}),
    )


def show_dry_run(file: Path, runtime: Runtime, wish: Wish) -> None:
    """Print cells, how they stand, and what they need."""
    asked, tasks = _planned(file, runtime)
    needs = estimates(tasks, runtime.paths)
    jobs = wish.jobs or (len(_devices(asked, wish)) if wish.on == "local" else 1)
    status.dry_run(_stand(tasks, cluster.queue_if_any()), needs, asked.left_out(), jobs)


def show_status(file: Path, runtime: Runtime, once: bool) -> None:
    """Show how the grid stands, live where somebody watches."""
    _, tasks = _planned(file, runtime)
    needs = estimates(tasks, runtime.paths)
    status.watch(lambda: _stand(tasks, cluster.queue_if_any()), needs, runtime.paths.runs, once)


def run_grid(file: Path, runtime: Runtime, wish: Wish) -> int:
    """Carry a grid out, or submit it; the exit code: 0 done or submitted, 1 something failed, 2 refused."""
    runtime.paths.check_writable()
    asked, tasks = _planned(file, runtime)
    orders = _orders(asked, runtime, wish)
    queue = cluster.queue() if wish.on == "slurm" else cluster.queue_if_any()
    # Two who submit the same grid at the same time would both find its cells waiting.
    with locks.held(runtime.paths.runs / "grid" / "beginning"):
        stands = _stand(tasks, queue)
        todo = [task for task, how in stands if _is_wanted(task, how, wish)]
        _announce(stands, todo, wish)
        if wish.on == "slurm":
            return _submit(todo, orders, asked, wish)
    return _carry_out(todo, orders, asked, wish)


def _planned(file: Path, runtime: Runtime) -> tuple[Description, list[Task]]:
    asked = description.read(file)
    return asked, plan_tasks(asked.cells(), runtime)


def _stand(tasks: Sequence[Task], queue: dict[str, str] | None) -> list[tuple[Task, Standing]]:
    return [(task, standing(task, queue)) for task in tasks]


def _orders(asked: Description, runtime: Runtime, wish: Wish) -> Orders:
    """What every process of the grid is told."""
    runtime = replace(runtime, workers=asked.threads)
    moment = _file_time(runtime.paths.runs) if wish.force else math.inf
    return Orders(runtime, asked.threads, os.environ.get(PLUGINS_VARIABLE, ""), wish.force, moment)


def _file_time(folder: Path) -> float:
    """The present by the clock of the file system."""
    folder.mkdir(parents=True, exist_ok=True)
    return clock(folder)


def _is_wanted(task: Task, how: Standing, wish: Wish) -> bool:
    if how.kind in ("queued", "refused") and (task.mistake or how.kind == "queued"):
        return False
    if how.kind == "running":
        return wish.on == "local"  # waited for; a job of Slurm would do the same and take a place
    if how.kind == "failed":
        return wish.retry_failed or wish.force
    return wish.force or how.kind != "done" or not look_closely(task)


def _announce(stands: Sequence[tuple[Task, Standing]], todo: Sequence[Task], wish: Wish) -> None:
    """Say what is done, what is to be done and what is done again, before it begins."""
    counts = Counter(how.kind for _, how in stands)
    words = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    typer.echo(f"{len(stands)} cells: {words}; {len(todo)} to carry out")
    chosen = {task.path for task in todo}
    for task, how in stands:
        if how.kind in ("interrupted", "failed") and task.path in chosen:
            typer.echo(f"again: {task.label} ({how.kind}: {how.note})")
        elif how.kind == "done" and task.path in chosen and not wish.force:
            typer.echo(f"again: {task.label} (its record is damaged)")
        elif how.kind == "failed":
            typer.echo(f"left as it is: {task.label} (failed: {how.note}); --retry-failed tries it again")
        elif task.mistake:
            typer.echo(f"refused: {task.label}: {task.mistake}", err=True)


def _needs(todo: Sequence[Task], orders: Orders, asked: Description) -> dict[Path, Estimate]:
    """What each cell needs, with the memory that the description names."""
    found = estimates(todo, orders.runtime.paths)
    if asked.memory_gb is None:
        return found
    return {path: replace(need, memory_mb=1024 * asked.memory_gb) for path, need in found.items()}


def _submit(todo: Sequence[Task], orders: Orders, asked: Description, wish: Wish) -> int:
    needs = _needs(todo, orders, asked)
    minutes = wish.timeout_minutes or asked.timeout_minutes
    submission = cluster.Submission(orders, asked.device, asked.slurm, needs, wish.jobs, minutes)
    jobs = submission.submit(todo)
    for label, number in jobs.items():
        typer.echo(f"{label}: Slurm job {number}")
    typer.echo(f"{len(jobs)} jobs submitted; `uadbench grid status FILE` shows them.")
    return 0


def _carry_out(todo: Sequence[Task], orders: Orders, asked: Description, wish: Wish) -> int:
    needs = _needs(todo, orders, asked)
    minutes = wish.timeout_minutes or asked.timeout_minutes
    told = 0

    def tell(result: Result) -> None:
        nonlocal told
        told += 1
        line = f"[{told}/{len(todo)}] {result.kind}: {result.task.label}, {status.duration(result.seconds)}"
        typer.echo(f"{line}; {result.note}" if result.note else line)
        if result.kind == "failed":
            typer.echo(f"  log: {result.task.log}", err=True)

    timeout_s = None if minutes is None else 60 * minutes
    ended = local.carry_out(todo, orders, _devices(asked, wish), needs, timeout_s, tell)
    counts = Counter(result.kind for result in ended)
    typer.echo(", ".join(f"{count} {kind}" for kind, count in counts.items()) or "nothing was left to do")
    if counts["interrupted"]:
        typer.echo("interrupted: the same command goes on from here", err=True)
        return 130
    return 1 if counts["failed"] else 2 if counts["refused"] else 0


def _devices(asked: Description, wish: Wish) -> list[str]:
    """The device of each place: one for each GPU, or for so many cores as a cell has threads."""
    device = resolve_device(asked.device)
    if device == "cuda":
        import torch

        there = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    else:
        there = [device] * (max(1, len(os.sched_getaffinity(0)) // asked.threads) if device == "cpu" else 1)
    return [there[n % len(there)] for n in range(wish.jobs or len(there))]
