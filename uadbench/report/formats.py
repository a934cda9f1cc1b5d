"""The leaderboard's tables in words: the cells of a screen, Markdown, CSV, JSON and LaTeX."""

import json
from collections.abc import Sequence
from typing import Any

from uadbench.evaluation.uncertainty import FEW_PERSONS
from uadbench.protocol import protocol
from uadbench.report import cost
from uadbench.report.leaderboard import COLUMNS, Column, Row, Table
from uadbench.report.listing import latex_text

FORMATS = ("table", "markdown", "csv", "json", "latex", "html")


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
