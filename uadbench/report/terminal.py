"""Terminal: a table of the leaderboard as a screen shows it, the most important columns first.

A column whose value is the same in every row is said once above the table, and columns for which there is no
room are left out from the end: rank and method are never among them, and never folded.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

from uadbench.report import formats
from uadbench.report.leaderboard import HEADLINE_MARK, Column, Row, Table
from uadbench.report.sheets import GAP, Sheet

RANK, METHOD, INTERVAL = "#", "method", "95 % CI"
# Behind the column that a table is sorted by and its interval, names of columns in the order of their
# importance; those that are not among them follow in the order of the table, facts of the row at the end.
ORDER = ("auroc", "dsc_oracle", "dsc_fpr1")
COUNTS = formats.FACTS[formats.TEXTS :]  # facts that are flush right

Columns = Mapping[str, Sequence[str]]  # one cell for each row, by header


def sheet(table: Table) -> Sheet:
    """The table for a screen: `spare` says from which width each column is shown."""
    facts, numbers = _facts(table.rows), _numbers(table)
    same = {name: cells[0] for name, cells in facts.items() if len(table.rows) > 1 and len(set(cells)) == 1}
    texts = {name: cells for name, cells in facts.items() if name not in {*same, *COUNTS}}
    counts = {name: facts[name] for name in COUNTS if name not in same}
    first = {RANK: formats.ranked(table), METHOD: [row.method for row in table.rows]}
    # Where the method alone does not tell the rows apart, what does comes before every number.
    alike = len(set(first[METHOD])) < len(table.rows)
    by_importance = first | (texts | numbers if alike else numbers | texts) | counts
    shown = first | texts | numbers | counts
    best = [number for number, row in enumerate(table.rows) if row.standing and row.standing.best]
    return Sheet(
        table.title,
        tuple(shown),
        tuple(zip(*shown.values(), strict=True)),
        tuple(formats.notes(table)),
        texts=len(first | texts),
        lead=f"All rows: {', '.join(f'{name} {value}' for name, value in same.items())}." if same else "",
        whole=frozenset(first),
        bold=frozenset(best),
        spare=_widths_needed(by_importance),
    )


def _facts(rows: Sequence[Row]) -> dict[str, list[str]]:
    """What sets rows apart beside their methods, with the names that all formats give it."""
    cells = [
        (
            row.variant,
            row.model_grid,
            row.trained_on,
            str(len(row.seeds)),
            f"{row.scored} ({row.excluded_count})",
        )
        for row in rows
    ]
    return {
        name: list(column) for name, column in zip(formats.FACTS[2:], zip(*cells, strict=True), strict=True)
    }


def _numbers(table: Table) -> dict[str, Sequence[str]]:
    """The sorted column with its interval, the others by importance, and the interval of the rank."""
    by = f"ap_{table.headline}" if table.sort == "ap" else table.sort
    columns = sorted(table.columns, key=lambda column: _importance(column, by))
    found = {
        column.title.removesuffix(HEADLINE_MARK).strip(): [
            formats.shown(r.numbers[column.name]) for r in table.rows
        ]
        for column in columns
        if any(row.numbers[column.name] is not None for row in table.rows)
    }
    first = next(iter(found), None)
    between = {
        INTERVAL: [formats.spread(row, table.sort) for row in table.rows],
        formats.RANK_RANGE: [formats.rank_range(row) for row in table.rows],
    }
    intervals = {name: cells for name, cells in between.items() if any(cells)}
    if first is None:
        return dict(intervals)
    return {first: found.pop(first)} | intervals | found


def _importance(column: Column, by: str) -> tuple[bool, int, bool]:
    """Sorts columns: the one that the table is sorted by, those of `ORDER`, the main ones, the others."""
    place = ORDER.index(column.name) if column.name in ORDER else len(ORDER)
    return column.name != by, place, not column.main


def _widths_needed(columns: Columns) -> dict[str, int]:
    """From which width of the screen each column is shown, when those before it are; headers may fold."""
    widths = [GAP + max(map(len, (*header.split(), *cells))) for header, cells in columns.items()]
    needed = zip(columns, (total - GAP for total in accumulate(widths)), strict=True)
    return {name: width for name, width in needed if name not in (RANK, METHOD)}
