"""Status: how the cells of a sweep stand, on the screen."""

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from uadbench.sweep.estimate import Estimate
from uadbench.sweep.tasks import KINDS, Standing, Task
from uadbench.system.progress import duration
from uadbench.system.text import escape

EVERY_S = 2.0  # between two looks
COLOURS = {"done": "green", "running": "cyan", "failed": "red", "refused": "red", "interrupted": "yellow"}
AT_REST = ("done", "failed", "refused", "recorded")  # nothing more will happen to such a cell by itself

Look = Callable[[], Sequence[tuple[Task, Standing]]]


def show_dry_run(
    cells: Sequence[tuple[Task, Standing]],
    needs: Mapping[Path, Estimate],
    left_out: Sequence[str],
    jobs: int,
    cores: int,
) -> None:
    """Every job with its status and needs, the preparation of the scans, and the sum of what is left."""
    table = Table("job", "status", "time", "memory", "disk", "estimated from", box=None, header_style="bold")
    fits: set[str] = set()
    seconds, disk, memory = 0.0, 0.0, 0.0
    for what, (scans, taken) in _preparation(cells).items():
        seconds += taken / cores
        table.add_row(escape(f"prepare {what}: {scans} scans"), "", _time(taken / cores, True), "", "", "")
    for task, standing in cells:
        need = needs.get(task.path)
        status = f"[{COLOURS.get(standing.kind, 'default')}]{standing.kind}[/]"
        if need is None or standing.kind == "done":
            table.add_row(escape(task.label), status, "", "", "", escape(standing.note))
        else:
            taken = need.seconds(task.fit_group not in fits)
            seconds, disk, memory = seconds + taken, disk + need.disk_mb, max(memory, need.memory_mb)
            row = (_time(taken, need.bound), _size(need.memory_mb), _size(need.disk_mb), need.source)
            table.add_row(escape(task.label), status, *row)
        fits.add(task.fit_group)
    console = Console(width=None if os.isatty(1) else 160)
    console.print(table)
    for reason in left_out:
        console.print(f"left out: {escape(reason)}")
    console.print(_counts(cells))
    at_once = f", {duration(seconds / jobs)} with {jobs} at once" if jobs > 1 else ""
    console.print(
        f"left: about {duration(seconds)} of work{at_once}; {_size(disk)} of disk; up to {_size(memory)} of "
        "memory for a job. Scans that are prepared already cost no time."
    )


def _preparation(cells: Sequence[tuple[Task, Standing]]) -> dict[str, tuple[int, float]]:
    """The scans that the runs which are not done need, each data set and contrast once."""
    found: dict[str, tuple[int, float]] = {}
    for task, standing in cells:
        if standing.kind != "done":
            for what, own in task.preparation.items():
                found[what] = max(found.get(what, own), own)
    return found


def _time(seconds: float, bound: bool) -> str:
    return f"up to {duration(seconds)}" if bound else duration(seconds)


def watch(look: Look, needs: Mapping[Path, Estimate], runs: Path, once: bool) -> None:
    """Show the sweep, again and again until nothing is under way; once where nobody watches."""
    console = Console()
    if once or not console.is_terminal:
        console.print(_page(look(), needs, runs))
        return
    cells = look()
    with Live(_page(cells, needs, runs), console=console, auto_refresh=False) as live:
        while any(standing.kind in ("running", "queued") for _, standing in cells):
            time.sleep(EVERY_S)
            cells = look()
            live.update(_page(cells, needs, runs), refresh=True)


def _page(cells: Sequence[tuple[Task, Standing]], needs: Mapping[Path, Estimate], runs: Path) -> Group:
    """Counts, what runs, what failed and why, and the time left."""
    parts: list[Text | Table] = [_counts(cells), *_left(cells, needs)]
    table = Table("running", "stage", "for", "by", box=None, header_style="bold cyan")
    for task, standing in cells:
        if standing.kind == "running":
            age = duration(time.time() - standing.since) if standing.since else ""
            table.add_row(escape(task.label), escape(standing.note), age, escape(str(standing.owner)))
    if table.rows:
        parts.append(table)
    for task, standing in cells:
        if standing.kind in ("failed", "refused", "interrupted"):
            line = Text(f"{standing.kind}: ", COLOURS[standing.kind])
            line.append(task.label, "bold").append(f": {standing.note}")
            if task.log.exists():
                line.append(f"\n  log: {runs / task.log}", "dim")
            parts.append(line)
    return Group(*parts)


def _counts(cells: Sequence[tuple[Task, Standing]]) -> Text:
    """How many cells stand how."""
    counts = Counter(standing.kind for _, standing in cells)
    line = Text(f"{len(cells)} jobs: ")
    for number, kind in enumerate(kind for kind in KINDS if counts[kind]):
        line.append(", " if number else "").append(f"{counts[kind]} {kind}", COLOURS.get(kind, ""))
    return line


def _left(cells: Sequence[tuple[Task, Standing]], needs: Mapping[Path, Estimate]) -> list[Text]:
    """The time left, if as many run at once as run now."""
    fitted = {task.fit_group for task, standing in cells if standing.kind in ("done", "recorded")}
    seconds, under_way = 0.0, 0
    for task, standing in cells:
        if standing.kind in AT_REST or task.path not in needs:
            continue
        taken = needs[task.path].seconds(task.fit_group not in fitted)
        fitted.add(task.fit_group)
        if standing.kind == "running":
            under_way += 1
            taken = max(0.0, taken - (time.time() - (standing.since or time.time())))
        seconds += taken
    if not under_way:
        return []
    return [Text(f"about {duration(seconds / under_way)} left with {under_way} at once")]


def _size(megabytes: float) -> str:
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"
