"""Estimate: what a cell is going to need, from earlier records, else from its card, else from its preset."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import cast

from uadbench.cards import MethodCard, method_card
from uadbench.experiment import record
from uadbench.experiment.record import RunRecord
from uadbench.sweep.tasks import Task
from uadbench.system.errors import UserError
from uadbench.system.paths import Paths

# Where nothing is known: minutes, GB of memory and GPUs by preset, chosen generously. No measurement.
BY_PRESET: Mapping[str, Mapping[str, float]] = {
    "ci": {"minutes": 5, "memory_gb": 2, "gpus": 0},
    "demo": {"minutes": 30, "memory_gb": 3, "gpus": 0},
    "small": {"minutes": 240, "memory_gb": 12, "gpus": 1},
    "paper": {"minutes": 1440, "memory_gb": 24, "gpus": 1},
}


@dataclass(frozen=True)
class Estimate:
    """What a cell needs."""

    fit_s: float
    rest_s: float  # scoring and evaluation; preparation is done once and not counted
    memory_mb: float
    disk_mb: float  # of fit and score maps
    source: str  # from what it was estimated, in words

    def seconds(self, fit: bool) -> float:
        """Time, with or without the fit."""
        return self.rest_s + (self.fit_s if fit else 0.0)


@dataclass(frozen=True)
class _Cost:
    """What an earlier run took."""

    method: str
    preset: str
    test: str
    variant: str
    fit_s: float
    rest_s: float
    memory_mb: float
    fit_hash: str
    score_hash: str


def estimates(tasks: Iterable[Task], paths: Paths) -> dict[Path, Estimate]:
    """What each cell needs, by the path of its record."""
    costs = _costs(paths.results)
    alike: dict[tuple[str, str, str, float], Estimate] = {}  # tasks that differ in seed or variant
    found = {}
    for task in tasks:
        if not task.mistake:
            key = (task.config.method, task.config.preset, task.config.dataset, task.map_mb)
            if key not in alike:
                alike[key] = _estimate(task, costs, paths)
            found[task.path] = alike[key]
    return found


def _costs(results: Path) -> list[_Cost]:
    """The costs that all records state."""
    found = []
    for path in sorted(results.rglob("seed-*.json")) if results.is_dir() else []:
        if not path.name.endswith(record.FAILED):
            try:
                found.append(_cost(record.parse_record(path)))
            except (UserError, KeyError):
                continue  # a damaged record says nothing here; whoever runs its cell meets it
    return found


def _cost(made: RunRecord) -> _Cost:
    timing = made.timing
    return _Cost(
        made.method, made.preset, made.test, made.variant,
        timing["fit"].seconds,
        timing["score"].seconds + timing["evaluate"].seconds,
        max(stage.peak_memory_mb for stage in timing.values()),
        made.fit_hash, made.score_hash,
    )  # fmt: skip


def _estimate(task: Task, costs: Sequence[_Cost], paths: Paths) -> Estimate:
    config = task.config
    same = [c for c in costs if (c.method, c.preset) == (config.method, config.preset)]
    nearest = [c for c in same if c.test == config.dataset] or same
    if not nearest:
        return _unmeasured(task, method_card(config.method))
    disk = [size for c in nearest if (size := _on_disk(c, paths))]
    return Estimate(
        fit_s=median(c.fit_s for c in nearest),
        rest_s=median(c.rest_s for c in nearest),
        memory_mb=max(c.memory_mb for c in nearest),
        disk_mb=median(disk) if disk else task.map_mb,
        source=f"{len(nearest)} earlier record{'s' if len(nearest) > 1 else ''}",
    )


def _unmeasured(task: Task, card: MethodCard) -> Estimate:
    stated = card.needs.get(task.config.preset, {})
    needs: dict[str, float] = {**BY_PRESET[task.config.preset], **cast(Mapping[str, float], stated)}
    seconds = 60 * needs["minutes"]
    source = "the card" if stated else f"preset {task.config.preset}, not measured"
    share = 0.5 if card.trained else 0.0
    return Estimate(share * seconds, (1 - share) * seconds, 1024 * needs["memory_gb"], task.map_mb, source)


def gpus(task: Task) -> int:
    """How many GPUs a cell is to be given on a cluster."""
    card = method_card(task.config.method)
    wanted = card.needs.get(task.config.preset, {}).get("gpus", BY_PRESET[task.config.preset]["gpus"])
    return int(wanted) if card.trained else 0


def _on_disk(cost: _Cost, paths: Paths) -> float:
    """MB that an earlier run's fit and maps take, if they are there still."""
    folders = (paths.runs / "fits" / cost.fit_hash, paths.runs / "maps" / cost.score_hash)
    files = [file for folder in folders if folder.is_dir() for file in folder.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6
