"""The wide table: methods down, data sets across, of the value that the tables are sorted by."""

import re
from collections.abc import Callable, Sequence

from uadbench.report import formats, latex, references
from uadbench.report.field import words
from uadbench.report.leaderboard import Row, Table
from uadbench.report.names import row_names
from uadbench.report.sheets import Sheet
from uadbench.system.text import latex_text

Cell = Callable[[Table, Row], str]


def _across(found: Sequence[Table], cell: Cell) -> dict[str, dict[int, str]]:
    """Methods down, tables across: the cells of each method by the place of the table.

    The name of a method is the same in all of them.
    """
    variants = {row.variant for table in found for row in table.rows}
    lines: dict[str, dict[int, str]] = {}
    for place, table in enumerate(found):
        for row, name in zip(table.rows, row_names(table), strict=True):
            more = len(variants) > 1 and row.variant not in name
            lines.setdefault(f"{name} ({row.variant})" if more else name, {})[place] = cell(table, row)
    return lines


def write_latex(found: Sequence[Table], spread: str = "interval") -> str:
    """The wide table as LaTeX for a paper."""
    return latex.write_floats([_float(found, spread)])


def write_sheet(found: Sequence[Table], spread: str = "interval") -> Sheet:
    """The wide table as text."""

    def cell(table: Table, row: Row) -> str:
        value = re.sub(r"\\scriptsize |[{}$]", "", latex.number(row, table.sort, spread)).replace(r"\pm", "±")
        ends = formats.spread(row, table.sort) if spread == "interval" else ""
        return f"{value} ({ends})" if ends else value

    lines = [
        (name, *[cells.get(place, "") for place in range(len(found))])
        for name, cells in _across(found, cell).items()
    ]
    headers = [f"{title}: {table.sorted_by}" for title, table in zip(_titles(found), found, strict=True)]
    notes = tuple(latex.remarks(found, spread))
    return Sheet("Methods by data set", ("method", *headers), tuple(lines), notes, texts=1)


def _float(found: Sequence[Table], spread: str, below: bool = False) -> latex.Float:
    """Methods down, data sets across; `below`: intervals in lines of their own, which is narrower."""
    best = {id(row) for table in found for row in latex.best_group(table)}
    places = range(len(found))

    def value(table: Table, row: Row) -> str:
        text = latex.number(row, table.sort, spread)
        text = rf"\textbf{{{text}}}" if id(row) in best else text
        return text if below or spread == "sd" else text + latex.interval(table, row)

    values, ends = _across(found, value), _across(found, latex.interval)
    cited = _across(found, lambda _, row: latex.cite(references.of_method(row.method)))
    lines = []
    for name, cells in values.items():
        lines.append(
            (latex_text(name) + next(iter(cited[name].values())), *[cells.get(place, "") for place in places])
        )
        if below:
            lines.append(("", *[ends[name].get(place, "").strip() for place in places]))
    keys = [key for table in found for key in references.of_dataset(table.test)]
    measured = " and ".join(dict.fromkeys(table.sorted_by.split(" ")[0] for table in found))
    intervals = spread == "interval" and any(any(own.values()) for own in ends.values())
    caption = latex_text(f"{measured}{' [95 % CI]' * intervals} on each data set")
    made = latex.Float(
        label="tab:uadbench-wide",
        caption=caption + latex.cite(dict.fromkeys(keys)) + ".",
        headers=tuple(map(latex.folded, _titles(found))),
        lines=tuple(lines),
        notes=latex.prose(latex.remarks(found, spread)) + latex.made_with(found),
    )
    too_wide = intervals and not below and made.width > latex.TEXT_WIDTH
    return _float(found, spread, below=True) if too_wide else made


def _titles(found: Sequence[Table]) -> list[str]:
    """Test set and contrast of each table, n, and the training setting where that tells two apart."""
    sets = [f"{table.test} {table.contrast}" for table in found]
    settings = [f", {words.SETTINGS.get(table.regime, table.regime)}" for table in found]
    return [
        f"{name}{setting if sets.count(name) > 1 else ''} (n = {table.subjects['lesion-test']})"
        for name, setting, table in zip(sets, settings, found, strict=True)
    ]
