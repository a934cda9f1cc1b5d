"""Regress: fresh phantom records against committed ones, metric by metric."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from uadbench.experiment.collect import collect_records
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.record import RunRecord
from uadbench.experiment.run import run
from uadbench.report.leaderboard import numbers
from uadbench.system.errors import UserError

# How far a metric may move before it is a regression. Training on another processor sums in another
# order; the differences seen between one and two threads are well below these.
TOLERANCES = dict.fromkeys(("ap", "ap_raw", "ap_median3", "ap_baur5", "ap_mean", "auroc"), 0.01) | {
    "dsc_oracle": 0.02,
    "dsc_val": 0.03,
    "dsc_fpr1": 0.02,
    "dsc_fpr5": 0.02,
    "recall_fpr1": 0.06,
    "auroc_scan": 0.05,
}


@dataclass(frozen=True)
class Change:
    """One metric of one row, before and now."""

    row: str
    metric: str
    reference: float | None
    fresh: float | None

    @property
    def tolerance(self) -> float:
        """How far it may move."""
        return TOLERANCES[self.metric]

    @property
    def moved(self) -> bool:
        """Whether it is not the same number."""
        return self.reference != self.fresh

    @property
    def regressed(self) -> bool:
        """Whether it moved beyond its tolerance, or came or went."""
        if self.reference is None or self.fresh is None:
            return self.moved
        return abs(self.reference - self.fresh) > self.tolerance


def find_changes(reference: RunRecord, fresh: RunRecord) -> list[Change]:
    """All metrics of a row; other subjects than the reference's are an error, not a regression."""
    moved = [name for name in reference.splits if reference.splits[name] != fresh.splits.get(name)]
    if moved:
        raise UserError(
            f"The phantom holds other subjects than the reference in {', '.join(moved)}: "
            "make the reference records again."
        )
    row = f"{reference.method} {reference.variant} {reference.contrast} seed {reference.seed}"
    before, now = numbers(reference), numbers(fresh)
    return [Change(row, metric, before[metric], now[metric]) for metric in TOLERANCES if metric in before]


def committed_results() -> Path:
    """The records that this checkout of the project was committed with.

    Raises:
        UserError: the program is installed without them; a `results` folder that happens to lie in the
            current folder is not taken for them.
    """
    folder = Path(__file__).parents[2] / "results"
    if not (folder.parent / "pyproject.toml").is_file() or not folder.is_dir():
        raise UserError(
            "This installation has no committed records to compare with: name their folder with --reference."
        )
    return folder


def rerun_records(results: Path, preset: str, methods: Sequence[str], runtime: Runtime) -> list[Change]:
    """Run every phantom record of a preset again, from the fit on, and compare."""
    collected = collect_records(
        results,
        lambda r: r.regime == "phantom" and r.preset == preset and (not methods or r.method in methods),
    )
    references = [stored.record for stored in collected.records]
    if not references:
        first = "; ".join(f"{place}: {reason}" for place, reason in collected.bad[:1])
        raise UserError(
            f"There is no phantom record of preset '{preset}' under {results} to compare with"
            f"{f' ({first})' if first else ''}."
        )
    runs = runtime.paths.runs / "regress"
    shutil.rmtree(runs, ignore_errors=True)  # nothing of an earlier comparison may be reused
    paths = replace(runtime.paths, runs=runs, results=runs / "results", cache=runtime.paths.cache)
    fresh = replace(runtime, paths=paths)
    return [
        change
        for reference in references
        for change in find_changes(reference, run(RunConfig.of(reference), fresh).record)
    ]
