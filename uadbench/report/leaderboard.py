"""Leaderboard: tables made from records alone.

Records are ranked together only where a comparison means something: same protocol, regime, test
set, contrast, test split and metric version (protocol, rule 17). Everything else is another table.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uadbench.cards import dataset_card
from uadbench.errors import UserError
from uadbench.evaluation.uncertainty import FEW_PERSONS, RESAMPLES
from uadbench.protocol import PROFILES, protocol
from uadbench.record import RunRecord
from uadbench.report import cost
from uadbench.report.listing import latex_text
from uadbench.report.shortcut import Shortcut, control
from uadbench.report.statistics import Evidence, Standing, standings

HEADLINE = PROFILES[-1]
FORMATS = ("table", "markdown", "csv", "json", "latex", "html")


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


def shown(value: float | None) -> str:
    """A number as every table prints it."""
    return "" if value is None else f"{value:.3f}"


def ranked(table: Table) -> list[str]:
    """The rank of each row as text: equal ranks with "=", then the ranks that resampling gives it."""
    texts = []
    for place, row in enumerate(table.rows, 1):
        if row.standing is None:
            texts.append(str(place))
            continue
        shared = sum(r.standing is not None and r.standing.rank == row.standing.rank for r in table.rows) > 1
        low, high = row.standing.ranks
        texts.append(
            f"{row.standing.rank}{'=' if shared else ''}" + (f" ({low}-{high})" if low < high else "")
        )
    return texts


def spread(row: Row, sort: str) -> str:
    """The interval of the column that a table is sorted by; with "*" where few persons were tested."""
    if row.standing is None or sort not in row.standing.intervals:
        return ""
    found = row.standing.intervals[sort]
    return f"{shown(found.low)}-{shown(found.high)}" + ("*" if row.standing.few else "")


def cells(table: Table, columns: Sequence[Column]) -> list[list[str]]:
    """The rows as text: rank, method, variant, train set, seeds, the interval, then the columns."""
    return [
        [rank, row.method, row.variant, row.train, str(len(row.seeds)), spread(row, table.sort)]
        + [shown(row.numbers[column.name]) for column in columns]
        for rank, row in zip(ranked(table), table.rows, strict=True)
    ]


FACTS = 5  # cells that are text, before the numbers


def headers(table: Table, columns: Sequence[Column]) -> list[str]:
    """The titles that belong to `cells`."""
    sorted_by = next(column.title for column in COLUMNS if column.name == table.sort)
    return [
        *("#", "method", "variant", "trained on", "seeds", f"95 % of {sorted_by}"),
        *[column.title for column in columns],
    ]


def notes(table: Table) -> list[str]:
    """What a reader must know about a table before believing it."""
    counted = ", ".join(f"{count} {name}" for name, count in table.subjects.items() if count)
    prevalence = shown(table.prevalence) or "unknown"
    lines = [
        f"Scored: {counted}. Lesion prevalence {prevalence}, which is the AP of random scores. "
        f"Test split {table.split}."
    ]
    lines += cautions(table)
    if protocol(table.protocol).flat:
        lines.append("Slices without geometry: sizes are in pixels, components and filters two-dimensional.")
    if table.regime == "within":
        lines.append(
            "Learned from lesion-free slices of other patients of the same set, not of healthy people."
        )
    if any(row.standing is not None for row in table.rows):
        lines.append(
            "95 %: studentised bootstrap over persons and seeds. Rows share a rank (=) where the paired "
            "bootstrap does not tell them apart from its first row (5 %, Holm); in brackets the ranks of "
            "95 % of resamples."
        )
    if any(row.standing is not None and row.standing.few for row in table.rows):
        lines.append(f"* from fewer than {FEW_PERSONS} persons: too narrow more often than 5 % of the time.")
    if table.regime == "none":
        lines.append("No healthy cohort of this contrast: thresholds at a false-positive rate are blank.")
    return lines


def cautions(table: Table) -> list[str]:
    """What forbids to read a table's ranks, or its scan AUROC, as evidence about brains."""
    lines = []
    if table.regime == "phantom":
        lines.append(
            "The phantom checks the machinery: ranks on it are no evidence about brains, and methods that "
            "use the atlas share its priors."
        )
    if table.shortcut is not None:
        found = table.shortcut.auroc
        verdict = (
            "so the image-level AUROC says little about lesions"
            if table.shortcut.separates
            else "which is not beyond chance"
        )
        lines.append(
            "Shortcut control: ten intensity statistics outside the lesions tell the healthy from the lesion "
            f"scans with AUROC {shown(found.value)} ({shown(found.low)}-{shown(found.high)}), {verdict}."
        )
    return lines


def markdown(found: Sequence[Table], failed: Sequence[tuple[str, str]] = ()) -> str:
    """All tables in Markdown, with what each column means."""
    parts = ["# Leaderboard", ""]
    used: set[Column] = set()
    for table in found:
        parts += [f"## {table.title}", "", *notes(table), ""]
        columns = table.columns
        used.update(columns)
        lines = [headers(table, columns), ["---"] * FACTS + ["---:"] * (1 + len(columns))]
        lines += cells(table, columns)
        parts += ["| " + " | ".join(line) + " |" for line in lines]
        parts.append("")
    parts += ["Columns:", ""]
    parts += [f"- **{column.title}**: {column.meaning}." for column in COLUMNS if column in used]
    if failed:
        parts += ["", "Failed runs:", "", *[f"- `{place}`: {reason}" for place, reason in failed]]
    return "\n".join(parts) + "\n"


def frame(found: Sequence[Table]) -> list[dict[str, Any]]:
    """One flat dictionary per row, full precision, for CSV and JSON."""
    return [
        {
            "protocol": table.protocol,
            "regime": table.regime,
            "test": table.test,
            "contrast": table.contrast,
            "split": table.split,
            "metric_version": table.metric_version,
            **_standing(row, place),
            "method": row.method,
            "variant": row.variant,
            "train": row.train,
            "seeds": len(row.seeds),
            "prevalence": table.prevalence,
            **row.numbers,
            **_ends(row),
            **{name: cost.of(row.records).number(name) for name in cost.COLUMNS},
            "caution": " ".join(cautions(table)),
        }
        for table in found
        for place, row in enumerate(table.rows, 1)
    ]


def _standing(row: Row, place: int) -> dict[str, Any]:
    if row.standing is None:
        return {"rank": place}
    low, high = row.standing.ranks
    return {
        "rank": row.standing.rank,
        "rank_low": low,
        "rank_high": high,
        "p": row.standing.p,
        "few_persons": row.standing.few,
    }


def _ends(row: Row) -> dict[str, float]:
    if row.standing is None:
        return {}
    found = row.standing.intervals
    return {f"{name}_low": i.low for name, i in found.items()} | {
        f"{name}_high": i.high for name, i in found.items()
    }


def latex(found: Sequence[Table]) -> str:
    """All tables for LaTeX; needs the package booktabs."""
    parts = []
    for table in found:
        columns = table.columns
        lines = [headers(table, columns), *cells(table, columns)]
        head, *body = [" & ".join(map(latex_text, line)) + r" \\" for line in lines]
        parts += [
            r"\begin{table}",
            rf"\caption{{{latex_text(table.title)}. {latex_text(' '.join(notes(table)))}}}",
            rf"\begin{{tabular}}{{{'l' * FACTS}{'r' * (1 + len(columns))}}}",
            *(r"\toprule", head, r"\midrule", *body, r"\bottomrule"),
            *(r"\end{tabular}", r"\end{table}", ""),
        ]
    return "\n".join(parts)


def csv(found: Sequence[Table]) -> str:
    """All rows as comma-separated values."""
    import pandas

    return str(pandas.DataFrame(frame(found)).to_csv(index=False))


def as_json(found: Sequence[Table]) -> str:
    """All rows as a JSON list."""
    return json.dumps(frame(found), indent=1) + "\n"


def public(record: RunRecord) -> bool:
    """Whether a record belongs on a leaderboard: the preset `ci` is for the machinery only."""
    return record.preset != "ci"


def known_dataset(name: str) -> str:
    """The name, if there is such a data set; else an error that lists those there are."""
    return dataset_card(name).name
