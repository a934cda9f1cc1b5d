"""Tasks: the cells of a grid, each with its place among the records, and how it stands.

What is known about a cell lies in a folder of its own below `runs/grid`, the same for every grid that has
the cell:

* `lease.<n>`: who carries it out now, see `uadbench.leases`;
* `state.json`: what its process last said (stage, progress, how it ended), written by that process;
* `job.json`: the Slurm job that is to carry it out, written where it was submitted;
* `log.txt`: everything its processes have printed.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uadbench import leases, methods, record
from uadbench.cohort import EVALUATED
from uadbench.datasets import Found
from uadbench.errors import UserError
from uadbench.files import sha256, sha256_file, sha256_json, write_json
from uadbench.leases import Owner
from uadbench.plan import Cell, Machine, Plan, make_plan
from uadbench.text import visible

# How a cell can stand. `recorded`: there is a record that no grid has looked at yet.
KINDS = ("done", "recorded", "running", "queued", "failed", "refused", "interrupted", "waiting")


@dataclass(frozen=True)
class Task:
    """A cell of a grid, planned."""

    cell: Cell
    label: str  # method, variant, data set, contrast, seed
    path: Path  # of the record
    folder: Path  # of what is known about the cell
    fit_group: str  # equal for cells that share a fit
    source: str  # hash of the method's code
    map_mb: float  # of score maps, if the method stores nothing else
    mistake: str = ""  # why it cannot be carried out as it was asked for

    @property
    def lease(self) -> Path:
        """Held by whoever carries it out."""
        return self.folder / "lease"

    @property
    def log(self) -> Path:
        """What its processes print."""
        return self.folder / "log.txt"

    def said(self, name: str) -> dict[str, Any]:
        """The content of `state.json` or `job.json`; {} where there is none."""
        try:
            content: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content

    def say(self, name: str, content: Mapping[str, Any]) -> None:
        """Write `state.json` or `job.json`."""
        write_json(self.folder / name, dict(content))


@dataclass(frozen=True)
class Standing:
    """How a cell stands, with what there is to say about it."""

    kind: str  # one of KINDS
    note: str = ""  # stage and progress, reason, job
    owner: Owner | None = None  # of a running cell
    since: float | None = None  # s since 1970


def plan_tasks(cells: Sequence[Cell], machine: Machine) -> list[Task]:
    """Every cell with its place; a mistake in one is noted and the others go on."""
    known: dict[tuple[str, str], Found] = {}
    return [_task(cell, machine, known) for cell in cells]


def _task(cell: Cell, machine: Machine, known: dict[tuple[str, str], Found]) -> Task:
    home = machine.places.runs / "grid" / sha256(str(machine.places.results.resolve()))[:8]
    try:
        plan = make_plan(cell, machine, known)
    except UserError as error:
        name = _label(cell, cell.preset, cell.contrast or "")
        folder = home / "mistakes" / sha256(repr(cell))[:16]
        return Task(cell, name, folder / "none.json", folder, "", "", 0.0, str(error))
    return Task(
        cell=cell,
        label=_label(cell, plan.variant, plan.contrast),
        path=machine.places.results / plan.place(),
        folder=home / plan.place().with_suffix(""),
        fit_group=_fit_group(plan),
        source=methods.source_hash(plan.card),
        map_mb=_map_mb(plan),
    )


def _label(cell: Cell, variant: str, contrast: str) -> str:
    return f"{cell.method} {variant} on {cell.dataset} {contrast} seed {cell.seed}"


def _fit_group(plan: Plan) -> str:
    """What decides a fit, as far as it is known before the scans are prepared."""
    if not plan.card.trained:
        return str(plan.place())  # nothing to wait for
    train = plan.train.card.name if plan.train else None
    people = {part: [s.id for s in plan.parts[part]] for part in ("healthy-train", "healthy-val")}
    facts = [plan.card.folder, methods.parameters(plan.method, "fit"), plan.cell.seed, plan.cell.precision]
    return sha256_json([*facts, train, plan.train_contrasts, people, plan.cell.preparation.label])


def _map_mb(plan: Plan) -> float:
    """Size of the float32 score maps of a cell in MB."""
    scans = sum(len(plan.parts[part]) for part in EVALUATED)
    rows, columns, slices = plan.model_grid.shape
    return 4e-6 * scans * rows * columns * slices


# ---- how it stands -----------------------------------------------------------------------------


def standing(task: Task, queue: Mapping[str, str] | None = None) -> Standing:
    """How a cell stands; `queue`: the state of every Slurm job that is known there, by its number."""
    if task.mistake:
        return Standing("refused", task.mistake)
    owner = leases.holder(task.lease)
    if owner is not None:
        state = task.said("state.json")
        return Standing("running", _progress(state), owner, state.get("started"))
    job = task.said("job.json")
    if job and queue is not None and job["job"] in queue:
        word = queue[job["job"]].lower()
        return Standing("queued", f"Slurm job {job['job']}: {word}", since=job["submitted"])
    return at_rest(task)


def at_rest(task: Task) -> Standing:
    """How a cell stands that nobody works on."""
    state = task.said("state.json")
    if task.path.exists():
        # Only what a grid has seen through with this code is done; another record is looked at first.
        known = state.get("end") == "done" and state.get("source") == task.source
        return Standing("done" if known and state["sha256"] == sha256_file(task.path) else "recorded")
    failure = record.failure_path(task.path)
    if failure.exists():
        try:
            return Standing("failed", visible(record.read_failure(failure).reason))
        except UserError as error:
            return Standing("failed", str(error))
    if state.get("end") == "refused":
        return Standing("refused", state["reason"])
    if state:
        return Standing("interrupted", _progress(state), since=state.get("started"))
    return Standing("waiting")


def _progress(state: Mapping[str, Any]) -> str:
    stage, of = state.get("stage", ""), state.get("of", 0)
    return f"{stage} {state.get('done', 0)}/{of}" if of else str(stage)


def look_closely(task: Task) -> bool:
    """Whether the record of a cell that is `done` can be read and has its pieces."""
    try:
        record.read(task.path)
    except UserError:
        return False
    return True


def begun(task: Task, again: str) -> dict[str, Any]:
    """The first state of a process that carries out a cell; `again`: what became of the one before."""
    before = task.said("state.json")
    return {
        "owner": str(Owner.me()),
        "started": time.time(),
        "attempt": before.get("attempt", 0) + 1,
        "again": again,
        "stage": "start",
        "done": 0,
        "of": 0,
        "redone": [],
        "end": "",
    }
