"""Tasks: the cells of a sweep, each with its place among the records, and how it stands.

What is known about a cell lies in a folder of its own below `runs/sweep`, the same for every sweep that has
the cell:

* `lock.<n>`: who carries it out now, see `uadbench.system.locks`;
* `state.json`: what its process last said (stage, progress, how it ended), written by that process;
* `job.json`: the Slurm job that is to carry it out, written where it was submitted;
* `log.txt`: everything its processes have printed.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uadbench import methods
from uadbench.data.space import Frame
from uadbench.datasets import Found
from uadbench.experiment import record
from uadbench.experiment.cohort import EVALUATED
from uadbench.experiment.config import ResolvedRun, RunConfig, Runtime, resolve_run
from uadbench.experiment.score import count_draws
from uadbench.source import source_hash
from uadbench.system import locks
from uadbench.system.errors import UserError
from uadbench.system.files import read_json, sha256, sha256_file, sha256_json, write_json
from uadbench.system.owners import Owner

STACK = (256, 256, 64)  # pixels and slices of a stack of which nothing is known yet
# How a cell can stand. `recorded`: there is a record that no sweep has looked at yet.
KINDS = ("done", "recorded", "running", "queued", "failed", "refused", "interrupted", "waiting")


@dataclass(frozen=True)
class Task:
    """A cell of a sweep, planned."""

    config: RunConfig
    title: str  # method, variant, data set, contrast
    results: Path
    home: Path  # of what is known about cells
    place: Path  # of the record, below the results
    fit: str | None = None  # hash of what decides a fit besides the seed; None: nothing is fitted
    source: str = ""  # hash of the method's code
    map_mb: float = 0.0  # of score maps, if the method stores nothing else
    scans: int = 0  # that are scored
    preparation: Mapping[str, tuple[int, float]] = field(default_factory=dict)  # what: scans, CPU seconds
    mistake: str = ""  # why it cannot be carried out as it was asked for

    @property
    def label(self) -> str:
        """The cell in words."""
        return f"{self.title} seed {self.config.seed}"

    @property
    def path(self) -> Path:
        """Of the record."""
        return self.results / self.place

    @property
    def folder(self) -> Path:
        """Of what is known about the cell."""
        return self.home / self.place.with_suffix("")

    @property
    def fit_group(self) -> str:
        """Equal for cells that share a fit."""
        return str(self.place) if self.fit is None else f"{self.fit}-{self.config.seed}"

    @property
    def lock(self) -> Path:
        """Held by whoever carries it out."""
        return self.folder / "lock"

    @property
    def log(self) -> Path:
        """What its processes print."""
        return self.folder / "log.txt"

    def said(self, name: str) -> dict[str, Any]:
        """The content of `state.json` or `job.json`; {} where there is none."""
        with suppress(OSError):
            return read_json(self.folder / name, dict[str, Any]) or {}
        return {}

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


def plan_tasks(configs: Sequence[RunConfig], runtime: Runtime) -> list[Task]:
    """Every cell with its place; a mistake in one is noted and the others go on.

    Cells that differ in their seeds alone are planned once: a seed changes neither card nor partition.
    """
    known: dict[str, Found] = {}
    planned: dict[str, Task] = {}
    home = runtime.paths.runs / "sweep" / sha256(str(runtime.paths.results.resolve()))[:8]
    tasks = []
    for config in configs:
        key = repr(replace(config, seed=0))
        if key not in planned:
            try:
                planned[key] = _planned(resolve_run(config, runtime, known), runtime.paths.results, home)
            except UserError as error:
                title = f"{config.method} {config.preset} on {config.dataset} {config.contrast or ''}"
                place = Path("mistakes", sha256(key)[:16], "none.json")
                planned[key] = Task(config, title, home, home, place, mistake=str(error))
        place = planned[key].place.with_name(f"seed-{config.seed}.json")
        tasks.append(replace(planned[key], config=config, place=place))
    return tasks


def _planned(resolved: ResolvedRun, results: Path, home: Path) -> Task:
    config = resolved.config
    title = f"{config.method} {resolved.variant} on {config.dataset} {resolved.contrast}"
    source = source_hash(resolved.card.folder)
    scans = sum(len(resolved.parts[part]) for part in EVALUATED)
    return Task(
        *(
            config,
            title,
            results,
            home,
            resolved.place,
            _fit_facts(resolved),
            source,
            _map_mb(resolved, scans),
        ),
        scans=scans,
        preparation=_preparation(resolved),
    )


# CPU seconds by scan and grid, rounded up: most of it is the registration to MNI152 (benchmarks/prepare.py).
PREPARE_S: Mapping[str, float] = {"MNI152": 0.7, "pixels": 1.0}
REGISTER_S = 6.0


def _preparation(resolved: ResolvedRun) -> dict[str, tuple[int, float]]:
    """By data set and contrast: scans of a cell, and the CPU seconds of preparing them if none is yet."""
    grids = len({resolved.model_target, resolved.protocol.grid})
    found: dict[str, tuple[int, float]] = {}
    for part, sessions in resolved.parts.items():
        if not sessions:
            continue
        card, trained = resolved.card_of(part), part == "healthy-train"
        each = PREPARE_S.get(card.space, REGISTER_S) * (1 if trained else grids)
        for contrast in resolved.train_contrasts if trained else (resolved.contrast,):
            scans, seconds = found.get(f"{card.name} {contrast}", (0, 0.0))
            found[f"{card.name} {contrast}"] = scans + len(sessions), seconds + each * len(sessions)
    return found


def _fit_facts(resolved: ResolvedRun) -> str | None:
    """What decides a fit, as far as it is known before the scans are prepared; None: nothing to wait for."""
    if not resolved.card.trained:
        return None
    train = resolved.train.card.name if resolved.train else None
    people = {part: [s.id for s in resolved.parts[part]] for part in ("healthy-train", "healthy-val")}
    facts = [resolved.card.folder, methods.parameters(resolved.method, "fit"), resolved.config.precision]
    return sha256_json([*facts, train, resolved.train_contrasts, people, resolved.config.preparation.label])


def _map_mb(resolved: ResolvedRun, scans: int) -> float:
    """Size of the float32 score maps of a cell in MB."""
    on = resolved.model_target
    if isinstance(on, Frame):
        rows, columns = on.pixels or STACK[:2]
        slices = STACK[2]
    else:
        rows, columns, slices = on.shape
    kept = count_draws(resolved.method)
    return 4e-6 * scans * rows * columns * slices * (kept + 1 if kept > 1 else 1)


# ---- how it stands -----------------------------------------------------------------------------


def standing(task: Task, queue: Mapping[str, str] | None = None) -> Standing:
    """How a cell stands; `queue`: the state of every Slurm job that is known there, by its number."""
    if task.mistake:
        return Standing("refused", task.mistake)
    owner = locks.owner_of(task.lock)
    if owner is not None:
        state = task.said("state.json")
        return Standing("running", _progress(state), owner, _moment(state.get("started")))
    job = task.said("job.json")
    number = str(job.get("job", ""))
    if queue is not None and number in queue:
        word = queue[number].lower()
        return Standing("queued", f"Slurm job {number}: {word}", since=_moment(job.get("submitted")))
    return at_rest(task)


def at_rest(task: Task) -> Standing:
    """How a cell stands that nobody works on."""
    state = task.said("state.json")
    if task.path.exists():
        # Only what a sweep has seen through with this code is done; another record is looked at first.
        known = state.get("end") == "done" and state.get("source") == task.source
        return Standing("done" if known and state.get("sha256") == sha256_file(task.path) else "recorded")
    failure = record.failure_path(task.path)
    if failure.exists():
        return Standing("failed", record.read_failure(failure))
    if state.get("end") == "refused":
        return Standing("refused", str(state.get("reason", "")))
    if state:
        return Standing("interrupted", _progress(state), since=_moment(state.get("started")))
    return Standing("waiting")


def _moment(said: Any) -> float | None:
    """A time that a side file states, if it is one."""
    return float(said) if isinstance(said, int | float) else None


def _progress(state: Mapping[str, Any]) -> str:
    stage, of = state.get("stage", ""), state.get("of", 0)
    return f"{stage} {state.get('done', 0)}/{of}" if of else str(stage)


def is_whole(task: Task) -> bool:
    """Whether the record of a cell that is `done` can be read and has its pieces."""
    try:
        record.read_record(task.path)
    except UserError:
        return False
    return True
