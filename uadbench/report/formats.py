"""The leaderboard's tables in words: ranks, cells and notes, as sheets, Markdown and rows of a CSV."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from uadbench.evaluation.uncertainty import FEW_PERSONS, Interval
from uadbench.protocol import protocol
from uadbench.report import cost, guests, sheets
from uadbench.report.cautions import cautions
from uadbench.report.evidence import SAME_TEST
from uadbench.report.leaderboard import COLUMNS, HEADLINE_MARK, Row, Table
from uadbench.report.ranking import UNTRAINED
from uadbench.report.sheets import Line, Sheet
from uadbench.system.text import markdown_line, visible

NO_RANK = "-"
UNJUDGED = "?"  # in the place of a rank
AMONG_BEST = "≈"  # behind the ranks of the best group, where it is more than one row
RANK_RANGE = "rank 95 % CI"
REASONS_SHOWN = 5
SCORED = "n (excluded)"
# What sets rows apart beside their methods, by the names that all formats give it; the last two are counts.
FACTS: Mapping[str, Callable[[Row], str]] = {
    "variant": lambda row: row.variant,
    "grid": lambda row: row.model_grid,
    "trained on": lambda row: row.trained_on,
    "seeds": lambda row: str(len(row.seeds)),
    SCORED: lambda row: f"{row.scored} ({row.excluded_count})",
}
COUNTS = ("seeds", SCORED)


def shown(value: float | None) -> str:
    """A number as every table prints it."""
    return "" if value is None else f"{value:.3f}"


def with_ends(found: Interval | None, few: bool = False, between: str = "-") -> str:
    """A value with its interval, where that has a width, and a mark for few subjects; "" for none."""
    if found is None:
        return ""
    value, low, high = map(shown, found)
    return f"{value}{f' ({low}{between}{high})' if found.low < found.high else ''}{'*' * few}"


def ranked(table: Table) -> list[str]:
    """The rank of each row as text, with a mark for all rows that are not separable from the best."""
    group = sum(row.standing is not None and row.standing.best for row in table.rows)
    return [_rank(row, AMONG_BEST if group > 1 else "") for row in table.rows]


def _rank(row: Row, among_best: str) -> str:
    if row.standing is None or row.standing.position is None:
        return UNJUDGED if row.unranked == UNTRAINED else NO_RANK
    return f"{row.standing.position}{among_best if row.standing.best else ''}"


def rank_range(row: Row) -> str:
    """The 95 % interval of a row's rank; "" where it has no rank."""
    ends = row.standing and row.standing.ranks
    return "" if not ends else "-".join(map(str, dict.fromkeys(ends)))


def spread(row: Row, sort: str) -> str:
    """The interval of the column that a table is sorted by; with "*" where few subjects were tested."""
    found = row.interval(sort)
    return "" if found is None else f"{shown(found.low)}-{shown(found.high)}{'*' * row.few}"


def sheet(table: Table) -> Sheet:
    """A table of the leaderboard with all its columns: rank, facts and two intervals go before them."""
    columns, sorted_by = table.columns, table.sorted_by.removesuffix(HEADLINE_MARK).strip()
    headers = ("#", "method", *FACTS, RANK_RANGE, f"{sorted_by} 95 % CI", *[one.title for one in columns])
    lines: list[Line] = []
    for rank, row in zip(ranked(table), table.rows, strict=True):
        facts = [text(row) for text in FACTS.values()]
        numbers = [shown(row.numbers[column.name]) for column in columns]
        lines.append((rank, row.facts[0], *facts, rank_range(row), spread(row, table.sort), *numbers))
    texts = 2 + len(FACTS) - len(COUNTS)
    made = Sheet(table.title, headers, tuple(lines), tuple(notes(table)), texts=texts)
    return made if any(map(rank_range, table.rows)) else made.without([RANK_RANGE])


def view(table: Table, title: str, headers: Line, lines: Iterable[Line], *notes: str, **more: Any) -> Sheet:
    """A sheet of something else that a table of the leaderboard shows, with what its readers must know."""
    return Sheet(f"{table.title}: {title}", headers, tuple(lines), notes, tuple(cautions(table)), **more)


# ---- notes -------------------------------------------------------------------------------------


def notes(table: Table) -> list[str]:
    """What a reader must know about a table before believing it."""
    counted = ", ".join(f"{count} {name}" for name, count in table.subjects.items() if count)
    standings = [row.standing for row in table.rows if row.standing is not None]
    said: list[tuple[bool, str]] = [
        (
            protocol(table.protocol).flat,
            "Slices without geometry: sizes are in pixels, components and filters two-dimensional.",
        ),
        (
            table.headline == "raw",
            "Small lesions: the median of `baur5` is 5 voxels wide and erases lesions below about 0.1 ml, "
            "that of `median3` fewer; ranked is the map as it is.",
        ),
        (
            table.regime == "within" and protocol(table.protocol).flat,
            "Trained on lesion-free slices of other patients of the same data set, not on healthy subjects.",
        ),
        (
            table.regime == "within" and not protocol(table.protocol).flat,
            "Trained on the healthy subjects of the data set that is tested.",
        ),
        (
            any(not row.trained and row.train != "none" and not row.elsewhere for row in table.rows),
            "none (X): not trained; healthy scans of X give the thresholds at 1 % and 5 %.",
        ),
        (
            any(one.intervals for one in standings),
            "95 % CI: studentised bootstrap over subjects and seeds.",
        ),
        (
            any(one.position is not None for one in standings),
            f"{AMONG_BEST} not significantly different from the best ranked row "
            "(paired bootstrap, 5 %, Holm).",
        ),
        (bool(_unranked(table)), _unranked(table)),
        (
            UNJUDGED in ranked(table),
            f"{UNJUDGED} {UNTRAINED}: not shown to beat random scores (paired bootstrap, 95 %).",
        ),
        (
            any(one.few for one in standings),
            f"* from fewer than {FEW_PERSONS} subjects: too narrow more often than 5 % of the time.",
        ),
        (
            any(row.numbers.get("dsc_given") is not None for row in table.rows),
            guests.MASKS_NOTE,
        ),
        (
            table.regime == "none" and not any(row.elsewhere for row in table.rows),
            "No healthy cohort of this contrast: thresholds at a false-positive rate are blank.",
        ),
    ]
    return [
        f"Scored: {counted}. Lesion prevalence {shown(table.prevalence) or 'unknown'}, which is the AP of "
        f"random scores. Test split {table.split}, patients scored {table.scored}, card version "
        f"{table.card_version}, metric version {table.metric_version}.",
        f"{HEADLINE_MARK} the headline profile of {table.test}.",
        *cautions(table),
        *who(table),
        *[text for holds, text in said if holds],
    ]


def _unranked(table: Table) -> str:
    """Why rows have no rank; "" where all have one."""
    if all(row.standing is None for row in table.rows):
        return f"{NO_RANK} no ranks and intervals: --resamples was 0."
    reasons = " or ".join(sorted({row.unranked for row in table.rows} - {"", UNTRAINED}))
    return f"{NO_RANK} not ranked: {reasons}; no order is claimed." if reasons else ""


def who(table: Table) -> list[str]:
    """Who is not in the table, and why."""
    lines = []
    if table.elsewhere:
        lines.append(
            f"{table.elsewhere} more rows of this test scored other patients: they are in a table of their "
            "own. `uadbench compare` compares two records on the patients they share."
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


# ---- all tables --------------------------------------------------------------------------------

Named = Sequence[tuple[str, str]]


def markdown(found: Sequence[Table], failed: Named = (), left_out: Named = ()) -> str:
    """All tables in Markdown, with what each column means, failed runs, and records that do not count."""
    used = {column.name for table in found for column in table.columns}
    parts = ["# Leaderboard", "", sheets.markdown([sheet(table) for table in found]), "Columns:", ""]
    parts += [f"- **{column.title}**: {column.meaning}." for column in COLUMNS if column.name in used]
    for title, named in (("Failed runs:", failed), ("Records left out:", left_out)):
        if named:
            parts += ["", title, ""]
            parts += [f"- {markdown_line(place)}: {markdown_line(reason)}" for place, reason in named]
    return "\n".join(parts) + "\n"


def rows(found: Sequence[Table]) -> list[dict[str, Any]]:
    """One flat dictionary per row, full precision, for CSV and JSON."""
    return [
        {name: getattr(table, name) for name in SAME_TEST[:4]}
        | {"split": table.split, "patients": table.scored}
        | {name: getattr(table, name) for name in ("card_version", "metric_version", "headline")}
        | _standing(row)
        | {name: getattr(row, name) for name in ("method", "variant", "model_grid", "train", "trained_on")}
        | {
            "seeds": len(row.seeds),
            "scored": row.scored,
            "excluded": row.excluded_count,
            "excluded_reasons": "; ".join(f"{count} {reason}" for reason, count in row.excluded),
            "prevalence": table.prevalence,
        }
        | {name: value for name, value in row.numbers.items() if (name, value) != ("dsc_given", None)}
        | ({"made_elsewhere": True} if row.elsewhere else {})  # of ours nothing is said
        | _ends(row)
        | cost.measure_cost(row.records)
        | {"caution": " ".join(cautions(table))}
        for table in found
        for row in table.rows
    ]


def _standing(row: Row) -> dict[str, Any]:
    names = ("rank", "among_best", "rank_low", "rank_high", "p", "few_persons")
    if row.standing is None:
        return dict.fromkeys(names) | {"unranked": "nothing was resampled"}
    low, high = row.standing.ranks or (None, None)
    own = row.standing
    values = (own.position, own.best, low, high, own.p, own.few)
    return dict(zip(names, values, strict=True)) | {"unranked": row.unranked}


def _ends(row: Row) -> dict[str, float]:
    found = {} if row.standing is None else row.standing.intervals
    ends = ("low", "high")
    return {f"{name}_{end}": getattr(one, end) for end in ends for name, one in found.items()}


def written(found: Sequence[Table], format_: str, failed: Named = (), left_out: Named = ()) -> str:
    """All tables in Markdown (`table` too), CSV or JSON; `latex.write_tables` writes LaTeX."""
    if format_ in ("csv", "json"):
        return sheets.written((), format_, rows(found))
    return markdown(found, failed, left_out)


def left_out_lines(left_out: Named) -> list[str]:
    """Records that do not count, one line each, for a terminal."""
    return [f"left out: {visible(place)}: {visible(reason)}" for place, reason in left_out]
