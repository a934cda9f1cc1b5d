"""The leaderboard's tables in words: the cells of a screen, Markdown, CSV, JSON and LaTeX."""

import json
from collections.abc import Sequence
from typing import Any

from uadbench.evaluation.uncertainty import FEW_PERSONS
from uadbench.protocol import protocol
from uadbench.report import cost
from uadbench.report.leaderboard import COLUMNS, HEADLINE_MARK, Column, Row, Table
from uadbench.system.text import csv_cell, latex_text, markdown_cell, markdown_line, visible

FORMATS = ("table", "markdown", "csv", "json", "latex", "html")
NO_RANK = "-"
REASONS_SHOWN = 5


def shown(value: float | None) -> str:
    """A number as every table prints it."""
    return "" if value is None else f"{value:.3f}"


def ranked(table: Table) -> list[str]:
    """The rank of each row as text: equal ranks with "=", then the ranks that resampling gives it."""
    ranks = [row.standing.rank for row in table.rows if row.standing is not None]
    texts = []
    for row in table.rows:
        if row.standing is None or row.standing.rank is None:
            texts.append(NO_RANK)
            continue
        low, high = row.standing.ranks or (row.standing.rank, row.standing.rank)
        shared = ranks.count(row.standing.rank) > 1
        texts.append(
            f"{row.standing.rank}{'=' if shared else ''}" + (f" ({low}-{high})" if low < high else "")
        )
    return texts


def spread(row: Row, sort: str) -> str:
    """The interval of the column that a table is sorted by; with "*" where few subjects were tested."""
    if row.standing is None or sort not in row.standing.intervals:
        return ""
    found = row.standing.intervals[sort]
    return f"{shown(found.low)}-{shown(found.high)}" + ("*" if row.standing.few else "")


def cells(table: Table, columns: Sequence[Column]) -> list[list[str]]:
    """The rows as text: rank, what names the row, seeds, who was scored, the interval, then the columns."""
    return [
        [rank, *row.facts, str(len(row.seeds)), f"{row.scored} ({row.excluded_count})"]
        + [spread(row, table.sort)]
        + [shown(row.numbers[column.name]) for column in columns]
        for rank, row in zip(ranked(table), table.rows, strict=True)
    ]


FACTS = 7  # cells that are text or counts, before the numbers
LEFT_FACTS = 5  # of these, text


def headers(table: Table, columns: Sequence[Column]) -> list[str]:
    """The titles that belong to `cells`."""
    facts = ("#", "method", "variant", "grid", "trained on", "seeds", "n (excluded)")
    return [*facts, f"95 % of {table.sorted_by}", *[column.title for column in columns]]


def notes(table: Table) -> list[str]:
    """What a reader must know about a table before believing it."""
    counted = ", ".join(f"{count} {name}" for name, count in table.subjects.items() if count)
    prevalence = shown(table.prevalence) or "unknown"
    lines = [
        f"Scored: {counted}. Lesion prevalence {prevalence}, which is the AP of random scores. "
        f"Test split {table.split}, patients scored {table.scored}, card version {table.card_version}, "
        f"metric version {table.metric_version}. {HEADLINE_MARK} the headline profile of {table.test}."
    ]
    lines += cautions(table)
    lines += _who(table)
    if protocol(table.protocol).flat:
        lines.append("Slices without geometry: sizes are in pixels, components and filters two-dimensional.")
    if table.headline == "raw":
        lines.append(
            "Small lesions: the median of `baur5` is 5 voxels wide and erases lesions below about 0.1 ml, "
            "that of `median3` fewer; ranked is the map as it is."
        )
    if table.regime == "within":
        lines.append(
            "Learned from lesion-free slices of other patients of the same set, not of healthy people."
        )
    if any(not row.trained and row.train != "none" for row in table.rows):
        lines.append("none (X): not trained; healthy scans of X give the thresholds at 1 % and 5 %.")
    lines += _ranks(table)
    if any(row.standing is not None and row.standing.few for row in table.rows):
        lines.append(f"* from fewer than {FEW_PERSONS} subjects: too narrow more often than 5 % of the time.")
    if table.regime == "none":
        lines.append("No healthy cohort of this contrast: thresholds at a false-positive rate are blank.")
    return lines


def _who(table: Table) -> list[str]:
    """Who is not in the table, and why."""
    lines = []
    if table.elsewhere:
        lines.append(
            f"{table.elsewhere} more rows of this test scored other patients: they stand in a table of their "
            "own. `uadbench compare` holds two records against each other on the patients they share."
        )
    reasons: dict[str, int] = {}
    for row in table.rows:
        for reason, count in row.excluded:
            reasons[reason] = max(reasons.get(reason, 0), count)
    if reasons:
        most = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        said = "; ".join(f"{count} {visible(reason)}" for reason, count in most[:REASONS_SHOWN])
        more = f"; and for {len(most) - REASONS_SHOWN} more reasons" if len(most) > REASONS_SHOWN else ""
        lines.append(f"Excluded of {table.test}: {said}{more}.")
    return lines


def _ranks(table: Table) -> list[str]:
    """What ranks mean, and why rows have none."""
    lines = []
    if any(row.standing is not None and row.standing.intervals for row in table.rows):
        lines.append("95 %: studentised bootstrap over subjects and seeds.")
    if any(row.standing is not None and row.standing.rank is not None for row in table.rows):
        lines.append(
            "Rows share a rank (=) where the paired bootstrap does not tell them apart from its first row "
            "(5 %, Holm); in brackets the ranks of 95 % of resamples."
        )
    if all(row.standing is None for row in table.rows):
        lines.append(f"{NO_RANK} no ranks and intervals: nothing was resampled.")
    elif reasons := sorted({row.unranked for row in table.rows if row.unranked}):
        lines.append(
            f"{NO_RANK} not ranked: {' or '.join(reasons)}; values may be read, no order is claimed."
        )
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


Named = Sequence[tuple[str, str]]


def markdown(found: Sequence[Table], failed: Named = (), left_out: Named = ()) -> str:
    """All tables in Markdown, with what each column means, failed runs, and records that do not count."""
    parts = ["# Leaderboard", ""]
    used: set[str] = set()
    for table in found:
        parts += [f"## {visible(table.title)}", "", *map(visible, notes(table)), ""]
        columns = table.columns
        used.update(column.name for column in columns)
        right = FACTS + 1 - LEFT_FACTS + len(columns)
        lines = [headers(table, columns), ["---"] * LEFT_FACTS + ["---:"] * right]
        lines += [[markdown_cell(cell) for cell in line] for line in cells(table, columns)]
        parts += ["| " + " | ".join(line) + " |" for line in lines]
        parts.append("")
    parts += ["Columns:", ""]
    parts += [f"- **{column.title}**: {column.meaning}." for column in COLUMNS if column.name in used]
    for title, named in (("Failed runs:", failed), ("Records that do not count:", left_out)):
        if named:
            parts += ["", title, ""]
            parts += [f"- {markdown_line(place)}: {markdown_line(reason)}" for place, reason in named]
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
            "patients": table.scored,
            "card_version": table.card_version,
            "metric_version": table.metric_version,
            "headline": table.headline,
            **_standing(row),
            "method": row.method,
            "variant": row.variant,
            "model_grid": row.model_grid,
            "train": row.train,
            "trained_on": row.trained_on,
            "seeds": len(row.seeds),
            "scored": row.scored,
            "excluded": row.excluded_count,
            "excluded_reasons": "; ".join(f"{count} {reason}" for reason, count in row.excluded),
            "prevalence": table.prevalence,
            **row.numbers,
            **_ends(row),
            **{name: cost.of(row.records).number(name) for name in cost.COLUMNS},
            "caution": " ".join(cautions(table)),
        }
        for table in found
        for row in table.rows
    ]


def _standing(row: Row) -> dict[str, Any]:
    standing = row.standing
    low, high = (None, None) if standing is None or standing.ranks is None else standing.ranks
    return {
        "rank": None if standing is None else standing.rank,
        "rank_low": low,
        "rank_high": high,
        "p": None if standing is None else standing.p,
        "few_persons": None if standing is None else standing.few,
        "unranked": "nothing was resampled" if standing is None else row.unranked,
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
            rf"\begin{{tabular}}{{{'l' * LEFT_FACTS}{'r' * (FACTS + 1 - LEFT_FACTS + len(columns))}}}",
            *(r"\toprule", head, r"\midrule", *body, r"\bottomrule"),
            *(r"\end{tabular}", r"\end{table}", ""),
        ]
    return "\n".join(parts)


def csv(found: Sequence[Table]) -> str:
    """All rows as comma-separated values, safe to open in a spreadsheet."""
    import pandas

    # Ranks stay whole numbers beside rows that have none.
    whole = dict.fromkeys(("rank", "rank_low", "rank_high"), "Int64")
    rows = [{key: csv_cell(value) for key, value in row.items()} for row in frame(found)]
    return str(pandas.DataFrame(rows).astype(whole if rows else {}).to_csv(index=False))


def as_json(found: Sequence[Table]) -> str:
    """All rows as a JSON list."""
    return json.dumps(frame(found), indent=1) + "\n"


def left_out_lines(left_out: Named) -> list[str]:
    """Records that do not count, one line each, for a terminal."""
    return [f"not counted: {visible(place)}: {visible(reason)}" for place, reason in left_out]
