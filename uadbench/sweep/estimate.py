"""Estimate: what a cell is going to need, from earlier records, else from those that come with the project,
else from its card, else from its preset.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import cast

from uadbench.cards import method_card
from uadbench.catalog import checkout
from uadbench.experiment import record
from uadbench.experiment.cohort import EVALUATED
from uadbench.experiment.record import RunRecord
from uadbench.sweep.tasks import Task
from uadbench.system.errors import UserError
from uadbench.system.paths import Paths

# Where nothing is known: minutes, GB of memory and GPUs by preset, chosen as a bound. No measurement.
BY_PRESET: Mapping[str, Mapping[str, float]] = {
    "ci": {"minutes": 5, "memory_gb": 2, "gpus": 0},
    "demo": {"minutes": 30, "memory_gb": 3, "gpus": 0},
    "cpu": {"minutes": 90, "memory_gb": 4, "gpus": 0},
    "small": {"minutes": 240, "memory_gb": 12, "gpus": 1},
    "paper": {"minutes": 1440, "memory_gb": 24, "gpus": 1},
}


@dataclass(frozen=True)
class Estimate:
    """What a cell needs."""

    fit_s: float
    rest_s: float  # scoring and evaluation; preparation is done once, and counted for all cells together
    memory_mb: float
    disk_mb: float  # of fit and score maps
    source: str  # from what it was estimated, in words
    scans: int = 0  # that were scored
    bound: bool = False  # nothing was measured: it takes no longer than this

    def seconds(self, fit: bool) -> float:
        """Time, with or without the fit."""
        return self.rest_s + (self.fit_s if fit else 0.0)


def estimates(tasks: Iterable[Task], paths: Paths) -> dict[Path, Estimate]:
    """What each cell needs, by the path of its record."""
    earlier = _read_costs(paths, paths.results)
    reference = checkout()
    prior = _read_costs(paths, reference / "results") if reference else {}
    alike: dict[tuple[str, str, str, float], Estimate] = {}  # tasks that differ in seed or variant
    found = {}
    for task in tasks:
        if not task.mistake:
            key = (task.config.method, task.config.preset, task.config.dataset, task.map_mb)
            if key not in alike:
                alike[key] = (
                    _estimate(task, earlier, "earlier")
                    or _estimate(task, prior, "reference")
                    or _unmeasured(task)
                )
            found[task.path] = alike[key]
    return found


def _read_costs(paths: Paths, results: Path) -> dict[tuple[str, str], list[Estimate]]:
    """What the runs of all records below a folder took, by method and preset; `source` is their test set."""
    found: dict[tuple[str, str], list[Estimate]] = {}
    for path in record.paths_of_records(results):
        try:
            made = record.parse_record(path)
            found.setdefault((made.method, made.preset), []).append(_cost(made, paths))
        except (UserError, KeyError):
            continue  # a damaged record says nothing here; whoever runs its cell meets it
    return found


def _cost(made: RunRecord, paths: Paths) -> Estimate:
    timing = made.timing
    rest_s = timing["score"].seconds + timing["evaluate"].seconds
    memory_mb = max(stage.peak_memory_mb for stage in timing.values())
    folders = (paths.fit(made.fit_hash), paths.runs / "maps" / made.score_hash)
    disk_mb = sum(file.stat().st_size for folder in folders for file in folder.rglob("*")) / 1e6
    scans = sum(count for part, count in made.summary.subjects.items() if part in EVALUATED)
    return Estimate(timing["fit"].seconds, rest_s, memory_mb, disk_mb, made.test, scans)


def _estimate(task: Task, costs: Mapping[tuple[str, str], list[Estimate]], which: str) -> Estimate | None:
    """The median of the records of the same method and preset, best of the same test set; None without any.

    Of another test set, scoring and evaluation are taken to grow with the number of scans.
    """
    config = task.config
    same = costs.get((config.method, config.preset), [])
    own = [cost for cost in same if cost.source == config.dataset]
    nearest = own or [
        replace(cost, rest_s=cost.rest_s * task.scans / cost.scans) for cost in same if cost.scans
    ]
    if not nearest:
        return None
    return Estimate(
        fit_s=median(cost.fit_s for cost in nearest),
        rest_s=median(cost.rest_s for cost in nearest),
        memory_mb=max(cost.memory_mb for cost in nearest),
        disk_mb=median([cost.disk_mb for cost in nearest if cost.disk_mb] or [task.map_mb]),
        source=f"{len(nearest)} {which} record{'s' if len(nearest) > 1 else ''}"
        + ("" if own else f" on {nearest[0].source}"),
    )


def _unmeasured(task: Task) -> Estimate:
    card = method_card(task.config.method)
    stated = card.needs.get(task.config.preset, {})
    needs: dict[str, float] = {**BY_PRESET[task.config.preset], **cast(Mapping[str, float], stated)}
    seconds = 60 * needs["minutes"]
    source = "the card" if stated else f"preset {task.config.preset}, not measured"
    share = 0.5 if card.trained else 0.0
    return Estimate(
        share * seconds, (1 - share) * seconds, 1024 * needs["memory_gb"], task.map_mb, source, bound=True
    )


def gpus(task: Task) -> int:
    """How many GPUs a cell is to be given on a cluster."""
    card = method_card(task.config.method)
    wanted = card.needs.get(task.config.preset, {}).get("gpus", BY_PRESET[task.config.preset]["gpus"])
    return int(wanted) if card.trained else 0
