"""Terminal: a table of the leaderboard as a screen shows it, the most important columns first.

A column whose value is the same in every row is said once above the table, and columns for which there is no
room are left out from the end: rank and method are never among them, and never folded.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

from uadbench.report import formats
from uadbench.report.leaderboard import HEADLINE_MARK, Column, Table
from uadbench.report.sheets import GAP, Sheet

RANK, METHOD, INTERVAL = "#", "method", "95 % CI"
FEW = 2  # rows, of which equal numbers are shown all the same
# Behind the column that a table is sorted by and its interval, names of columns in the order of their
# importance; those that are not among them follow in the order of the table, facts of the row at the end.
ORDER = ("auroc", "dsc_fpr1", "dsc_given", "alarms", "dsc_oracle", "auroc_scan", "auroc_slice", "dsc_val")

Columns = Mapping[str, Sequence[str]]  # one cell for each row, by header


def sheet(table: Table) -> Sheet:
    """The table for a screen: `spare` says from which width each column is shown."""
    numbers = _numbers(table)
    facts = {name: [text(row) for row in table.rows] for name, text in formats.FACTS.items()}
    same = {name: cells[0] for name, cells in facts.items() if len(table.rows) > 1 and len(set(cells)) == 1}
    fixed = [name for name, cells in numbers.items() if len(table.rows) > FEW and len(set(cells)) == 1]
    same |= {name: numbers.pop(name)[0] for name in fixed}
    texts = {name: cells for name, cells in facts.items() if name not in {*same, *formats.COUNTS}}
    counts = {name: facts[name] for name in formats.COUNTS if name not in same}
    first = {RANK: formats.ranked(table), METHOD: [row.facts[0] for row in table.rows]}
    # Where the method alone does not tell the rows apart, what does comes before every number.
    alike = len(set(first[METHOD])) < len(table.rows)
    by_importance = first | (texts | numbers if alike else numbers | texts) | counts
    shown = first | texts | numbers | counts
    best = [number for number, row in enumerate(table.rows) if row.standing and row.standing.best]
    return Sheet(
        table.title,
        tuple(shown),
        tuple(zip(*shown.values(), strict=True)),
        tuple(note for note in formats.notes(table) if not note.startswith(HEADLINE_MARK)),
        texts=len(first | texts),
        lead=_lead(table, same),
        whole=frozenset(first),
        bold=frozenset(best),
        spare=_widths_needed(by_importance),
    )


def _lead(table: Table, same: Mapping[str, str]) -> str:
    """What holds for all rows: what AP is, and the columns of one value."""
    meanings = {column.name: column.meaning for column in table.columns}
    ap = meanings.get(f"ap_{table.headline}")
    shared = ", ".join(f"{name} {value}" for name, value in same.items())
    said = (f"AP: {ap} (headline profile)." if ap else "", f"All rows: {shared}." if shared else "")
    return " ".join(filter(None, said))


def _numbers(table: Table) -> dict[str, Sequence[str]]:
    """The sorted column with its interval and that of the rank, the others by importance."""
    headline, by = f"ap_{table.headline}", table.sort_column.name
    found: dict[str, Sequence[str]] = {}
    for column in sorted(table.columns, key=lambda one: _importance(one, by, headline)):
        cells = [formats.shown(row.numbers.get(column.name)) for row in table.rows]
        if any(cells):
            title = column.title.removesuffix(HEADLINE_MARK).strip()
            found["AP" if column.name == headline else title] = cells
        if column.name == by:
            spread = [formats.spread(row, table.sort) for row in table.rows]
            ranks = [formats.rank_range(row) for row in table.rows]
            between = {INTERVAL: spread, formats.RANK_RANGE: ranks}
            found |= {name: own for name, own in between.items() if any(own)}
    return found


def _importance(column: Column, by: str, headline: str) -> tuple[bool, bool, int, bool]:
    """Sorts columns: that of the order, the headline's AP, those of `ORDER`, the main ones, the others."""
    place = ORDER.index(column.name) if column.name in ORDER else len(ORDER)
    return column.name != by, column.name != headline, place, not column.main


def _widths_needed(columns: Columns) -> dict[str, int]:
    """From which width of the screen each column is shown, when those before it are; headers may fold."""
    widths = [GAP + max(map(len, (*header.split(), *cells))) for header, cells in columns.items()]
    needed = zip(columns, (total - GAP for total in accumulate(widths)), strict=True)
    return {name: width for name, width in needed if name not in (RANK, METHOD)}
