"""Leaderboard: tables made from records alone.

Records are ranked together only where a comparison means something: same protocol, regime, test
set, contrast, test split and metric version (protocol, rule 17). Everything else is another table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uadbench.cards import dataset_card
from uadbench.errors import UserError
from uadbench.evaluation.uncertainty import RESAMPLES
from uadbench.protocol import PROFILES, protocol
from uadbench.record import RunRecord
from uadbench.report.shortcut import Shortcut, control
from uadbench.report.statistics import Evidence, Standing, standings

HEADLINE = PROFILES[-1]


@dataclass(frozen=True)
class Column:
    """One number of a row: where it comes from in a record's summary, and what it means."""

    name: str
    title: str
    meaning: str
    main: bool = True  # shown on a narrow screen too


COLUMNS = (
    Column("ap", "AP", f"average precision over all voxels, after `{HEADLINE}`"),
    Column("ap_raw", "AP raw", "the same of the map as the method emits it"),
    Column("ap_mean", "AP mean", f"mean over subjects of their own AP, after `{HEADLINE}`", main=False),
    Column("auroc", "AUROC", f"over all voxels, after `{HEADLINE}`"),
    Column("dsc_oracle", "⌈DSC⌉", "Dice at the best single threshold on the test set: an oracle"),
    Column("dsc_val", "DSC val", "Dice at the threshold frozen on lesion-val", main=False),
    Column("dsc_fpr1", "DSC 1%", "Dice at 1 % false positives on healthy-val"),
    Column("dsc_fpr5", "DSC 5%", "Dice at 5 % false positives on healthy-val"),
    Column("recall_fpr1", "recall 1%", "share of lesions found at 1 % false positives", main=False),
    Column("auroc_scan", "AUROC scan", "healthy-test against lesion-test scans, mean of their top 1 %"),
    Column("auroc_slice", "AUROC slice", "lesion-free against lesion slices of patients, by their top 1 %"),
)
SORTABLE = tuple(column.name for column in COLUMNS)


@dataclass(frozen=True)
class Row:
    """One method with one setting, its numbers averaged over seeds."""

    method: str
    variant: str
    train: str
    seeds: tuple[int, ...]
    numbers: Mapping[str, float | None]
    standing: Standing | None = None  # how sure they are; None where the pieces were not asked
    records: tuple[RunRecord, ...] = field(default=(), compare=False, repr=False)  # one for each seed

    @property
    def facts(self) -> tuple[str, str, str]:
        """What names the row: method, variant and train set."""
        return self.method, self.variant, self.train

    def evidence(self, results: Path, resamples: int = RESAMPLES) -> list[Evidence]:
        """The pieces of each seed."""
        return [Evidence(record, results, resamples) for record in self.records]


@dataclass(frozen=True)
class Table:
    """Rows that may be ranked together, best first."""

    protocol: str
    regime: str
    test: str
    contrast: str
    metric_version: int
    split: str  # first characters of the hash of lesion-test
    subjects: Mapping[str, int]
    prevalence: float | None
    rows: tuple[Row, ...]
    sort: str = "ap"
    shortcut: Shortcut | None = None  # the control of rule 14, where the records carry its statistics

    @property
    def columns(self) -> tuple[Column, ...]:
        """Scans are told apart where there are healthy ones, else slices (rule 2)."""
        other = "auroc_scan" if protocol(self.protocol).flat else "auroc_slice"
        return tuple(column for column in COLUMNS if column.name != other)

    @property
    def title(self) -> str:
        """The table's name, in words."""
        return f"{self.test} {self.contrast} · {self.regime} · {self.protocol}"


def numbers(record: RunRecord) -> dict[str, float | None]:
    """The leaderboard's columns of one record."""
    profiles = record.summary["profiles"]
    headline = profiles.get(HEADLINE) or next(iter(profiles.values()))
    points = headline["points"]
    return {
        "ap": headline["ap"],
        "ap_raw": profiles["raw"]["ap"] if "raw" in profiles else None,
        "ap_mean": headline["ap_mean"],
        "auroc": headline["auroc"],
        **{f"dsc_{name}": points.get(name, {}).get("dsc") for name in ("oracle", "val", "fpr1", "fpr5")},
        "recall_fpr1": points.get("fpr1", {}).get("recall"),
        "auroc_scan": record.summary["scan"]["auroc"],
        "auroc_slice": record.summary.get("slice", {}).get("auroc_slice"),
    }


def _ranking(record: RunRecord) -> tuple[Any, ...]:
    """What two records must share to be ranked together (rule 17)."""
    return (
        record.protocol,
        record.regime,
        record.test,
        record.contrast,
        record.metric_version,
        record.splits["lesion-test"]["hash"],
    )


def tables(
    records: Iterable[RunRecord],
    sort: str = "ap",
    results: Path | None = None,
    resamples: int = RESAMPLES,
) -> list[Table]:
    """All tables of the records, the rows of each sorted by one column, best first.

    With the folder of the records, and so with their pieces, each row gets its `Standing`.
    """
    if sort not in SORTABLE:
        raise UserError(f"--sort expects one of {', '.join(SORTABLE)}, but '{sort}' came.")
    groups: dict[tuple[Any, ...], list[RunRecord]] = {}
    for record in records:
        groups.setdefault(_ranking(record), []).append(record)
    return [_table(group, sort, results, resamples) for _, group in sorted(groups.items())]


def _table(group: Sequence[RunRecord], sort: str, results: Path | None, resamples: int) -> Table:
    first = group[0]
    by_row: dict[tuple[str, str, str], list[RunRecord]] = {}
    for record in group:
        by_row.setdefault((record.method, record.variant, record.train or "none"), []).append(record)
    made = [
        Row(
            *(method, variant, train, tuple(sorted(r.seed for r in seeds))),
            _mean([numbers(r) for r in seeds]),
            records=tuple(sorted(seeds, key=lambda r: r.seed)),
        )
        for (method, variant, train), seeds in by_row.items()
    ]
    made.sort(
        key=lambda row: (row.numbers[sort] is None, -(row.numbers[sort] or 0.0), row.method, row.variant)
    )
    if results is not None:
        evidence = [row.evidence(results, resamples) for row in made]
        sure = standings([row.numbers for row in made], evidence, sort)
        made = [replace(row, standing=standing) for row, standing in zip(made, sure, strict=True)]
    profiles = first.summary["profiles"]
    return Table(
        protocol=first.protocol,
        regime=first.regime,
        test=first.test,
        contrast=first.contrast,
        metric_version=first.metric_version,
        split=first.splits["lesion-test"]["hash"][:8],
        subjects=first.summary["subjects"],
        prevalence=(profiles.get("raw") or next(iter(profiles.values())))["prevalence"],
        rows=tuple(made),
        sort=sort,
        shortcut=next((found for record in group if (found := control(record.subjects))), None),
    )


def _mean(seeds: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Mean over seeds, None where a seed has no such number."""
    means: dict[str, float | None] = {}
    for name in SORTABLE:
        values = [seed[name] for seed in seeds]
        there = [value for value in values if value is not None]
        means[name] = sum(there) / len(there) if len(there) == len(values) else None
    return means


# ---- writing -----------------------------------------------------------------------------------


def public(record: RunRecord) -> bool:
    """Whether a record belongs on a leaderboard: the preset `ci` is for the machinery only."""
    return record.preset != "ci"


def choose(
    records: Iterable[RunRecord], dataset: str | None, contrast: str | None, preset: str | None
) -> list[RunRecord]:
    """Those of a test set, a contrast and a preset, each where one is asked for; else of every public one.

    Raises:
        UserError: there is no such data set.
    """
    test = dataset and dataset_card(dataset).name
    return [
        record
        for record in records
        if test in (None, record.test)
        and contrast in (None, record.contrast)
        and (record.preset == preset if preset else public(record))
    ]
