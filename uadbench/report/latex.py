"""The leaderboard as LaTeX for a paper: within the text width of `article` at 10 pt, with keys for BibTeX."""

import re
import statistics
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from uadbench.cards import all_datasets
from uadbench.report import formats, references
from uadbench.report.field import words
from uadbench.report.leaderboard import Column, Row, Table, numbers
from uadbench.report.references import OWN, display_name
from uadbench.report.sheets import Sheet
from uadbench.system.errors import UserError
from uadbench.system.text import latex_text, visible

SPREADS = ("interval", "sd")
# In points, of `article` at 10 pt on the narrower of its two papers.
TEXT_WIDTH, COLUMN_WIDTH = 345.0, 200.0
NAME_WIDTH = 92.0  # what the names of the methods are left at least; they are folded
GAP = 6.0  # between two columns
HEADER = 10  # characters after which the title of a column is folded
_NARROW, _WIDE = set(" .,:;()[]|!'-fijlrtI"), set("mwABCDEGHKMNOPQRUVWXY%@+<>=±←⌈⌉")
_SMALL = r"{\scriptsize "

Cell = Callable[[Table, Row], str]


@dataclass(frozen=True)
class Float:
    """One table of a paper; texts are LaTeX already."""

    label: str
    caption: str
    headers: tuple[str, ...]  # those of the numbers, with line ends
    lines: tuple[tuple[str, ...], ...]  # name of the method, numbers
    notes: str

    @property
    def width(self) -> float:
        """How many points it takes at least: the numbers as they are, and the names folded."""
        columns = zip(*[line[1:] for line in self.lines], strict=True)
        numbers = sum(
            max(map(_points, (*column, *header.split(r"\\")))) + GAP
            for header, column in zip(self.headers, columns, strict=True)
        )
        return NAME_WIDTH + numbers

    def __str__(self) -> str:
        environment = "table" if self.width <= COLUMN_WIDTH else "table*"
        titles = [rf"\shortstack[r]{{{header}}}" for header in self.headers]
        preamble = rf"@{{}}>{{\raggedright\arraybackslash\hangindent=1em}}X{'r' * len(titles)}@{{}}"
        return "\n".join(
            [
                rf"\begin{{{environment}}}",
                rf"\caption{{{self.caption}}}\label{{{self.label}}}\par\smallskip",
                rf"\footnotesize\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}",
                rf"\begin{{tabularx}}{{\linewidth}}{{{preamble}}}",
                *(r"\toprule", " & ".join(["method", *titles]) + r" \\", r"\midrule"),
                *[" & ".join(line) + r" \\" for line in self.lines],
                *(r"\bottomrule", r"\end{tabularx}"),
                rf"\par\smallskip\begin{{minipage}}{{\linewidth}}\scriptsize {self.notes}\end{{minipage}}",
                *(rf"\end{{{environment}}}", ""),
            ]
        )


def _points(cell: str) -> float:
    """About how wide a cell is in points; rather too much than too little."""
    small = cell.partition(_SMALL)
    sizes = ((small[0], 8.0), (small[2], 7.2))
    return sum(_characters(re.sub(r"\\[a-z]+|[{}$\\]", "", text)) * size for text, size in sizes)


def _characters(text: str) -> float:
    """The width of a text in ems."""
    return sum(0.36 if c in _NARROW else 0.8 if c in _WIDE else 0.54 for c in text)


def write_tables(
    found: Sequence[Table], columns: Sequence[Column] = (), spread: str = "interval", wide: bool = False
) -> str:
    """The tables as LaTeX; the comments say what they need, and what did not fit.

    Args:
        found: tables of the leaderboard.
        columns: which, beside the one that is sorted by; empty: as many of each table's own as fit.
        spread: `interval` behind the value that is sorted by, or `sd` over seeds behind every value.
        wide: one table with a column for each of `found`.

    Raises:
        UserError: the columns that were asked for are too wide for a page.
    """
    comments = [
        r"% Needs \usepackage{array,booktabs,tabularx}; the entries: uadbench leaderboard --format bibtex.",
        "% Widths are for article at 10 pt; table* spans both columns of a page with two.",
    ]
    if wide:
        floats = [_wide_float(found, spread)] if found else []
    else:
        floats = [_float(table, columns, spread, comments) for table in found]
    for one in floats:
        if one.width > TEXT_WIDTH:
            raise UserError(
                f"The table {one.label} would be {one.width:.0f} pt wide, but the text of article has "
                f"{TEXT_WIDTH:.0f}: ask for fewer columns (--columns) or data sets (--dataset)."
            )
    counted = Counter(one.label for one in floats)
    labels = [f"{one.label}-{n}" if counted[one.label] > 1 else one.label for n, one in enumerate(floats, 1)]
    texts = [str(one).replace(one.label, label, 1) for one, label in zip(floats, labels, strict=True)]
    return "\n".join([*comments, *texts])


def _float(table: Table, columns: Sequence[Column], spread: str, comments: list[str]) -> Float:
    sorted_by = next(c for c in table.columns if c.name in (table.sort, f"ap_{table.headline}"))
    if columns:
        return _with_columns(table, [sorted_by, *[c for c in columns if c.name != sorted_by.name]], spread)
    others = [c for c in table.columns if c.name != sorted_by.name and not c.name.startswith("ap_")]
    left_out = []
    made = _with_columns(table, [sorted_by, *others], spread)
    while made.width > TEXT_WIDTH and others:
        left_out.insert(0, others.pop())
        made = _with_columns(table, [sorted_by, *others], spread)
    if left_out:
        titles = ", ".join(visible(f"{c.name} ({c.title})") for c in left_out)
        comments.append(f"% Not wide enough for {titles}; --columns chooses.")
    return made


def _with_columns(table: Table, columns: Sequence[Column], spread: str) -> Float:
    best = best_group(table)
    lines = []
    for row, name in zip(table.rows, names(table.rows), strict=True):
        cited = _cite(references.of_method(row.method))
        cells = [_number(row, column.name, spread) for column in columns]
        cells[0] = rf"\textbf{{{cells[0]}}}" if row in best else cells[0]
        if spread == "interval":
            cells[0] += _interval(table, row)
        lines.append((latex_text(name) + cited, *cells))
    title = columns[0].title.removesuffix(f" {formats.HEADLINE_MARK}")
    headers = [title, *[column.title for column in columns[1:]]]
    if spread == "interval" and any(_interval(table, row) for row in table.rows):
        headers[0] += " [95 % CI]"
    meanings = [f"{header}: {c.meaning}." for header, c in zip([title, *headers[1:]], columns, strict=True)]
    notes = [*_notes([table], spread), *meanings]
    return Float(
        label=_label(table),
        caption=_caption(table),
        headers=tuple(map(_folded, headers)),
        lines=tuple(lines),
        notes=_prose(notes) + _made_with([table]),
    )


def best_group(table: Table) -> list[Row]:
    """The rows that are not significantly different from the best; none where that is all or nobody."""
    first = [row for row in table.rows if row.standing is not None and row.standing.rank == 1]
    return first if len(first) < len(table.rows) else []


def names(rows: Sequence[Row]) -> list[str]:
    """Display names; rows of one method add what tells them apart."""
    facts = ("variant", "model_grid", "trained_on", "train")
    made = []
    for row in rows:
        same = [other for other in rows if other.method == row.method]
        apart = [getattr(row, name) for name in facts if len({getattr(other, name) for other in same}) > 1]
        made.append(display_name(row.method) + (f" ({', '.join(dict.fromkeys(apart))})" if apart else ""))
    return made


def _number(row: Row, column: str, spread: str) -> str:
    """A value, with its standard deviation over seeds where that is asked for and there are several."""
    value = formats.shown(row.numbers[column])
    of_seeds = [numbers(record)[column] for record in row.records] if spread == "sd" else []
    there = [one for one in of_seeds if one is not None]
    return value + rf" {_SMALL}$\pm$ {statistics.stdev(there):.3f}}}" if len(there) > 1 else value


def _interval(table: Table, row: Row) -> str:
    found = row.standing.intervals.get(table.sort) if row.standing is not None else None
    if found is None:
        return ""
    return f" {_SMALL}[{formats.shown(found.low)}, {formats.shown(found.high)}]}}"


def _cite(found: Iterable[str]) -> str:
    return rf"~\cite{{{','.join(found)}}}" if found else ""


def _prose(sentences: Sequence[str]) -> str:
    return latex_text(" ".join(sentences).replace("`", ""))


def _folded(title: str) -> str:
    """A title of a column in several lines."""
    return r"\\".join(map(latex_text, textwrap.wrap(title, HEADER, break_long_words=False)))


def _made_with(found: Sequence[Table]) -> str:
    """By what the numbers were made, as the last sentence of the notes."""
    versions = sorted({f"{table.protocol}, metric version {table.metric_version}" for table in found})
    return rf" uadbench~\cite{{{OWN}}}, protocol {latex_text('; '.join(versions))}."


def _label(table: Table) -> str:
    return "tab:uadbench-" + re.sub(r"[^a-z0-9]+", "-", f"{table.test} {table.contrast}".lower())


def _caption(table: Table) -> str:
    known, _ = all_datasets()
    title = known[table.test].title if table.test in known else table.test
    count = table.subjects.get("lesion-test", 0)
    what = latex_text(f"{title}, {words.contrast(table.contrast)}")
    return f"{what}{_cite(references.of_dataset(table.test))}; $n = {count}$ scans with lesions."


def _notes(found: Sequence[Table], spread: str) -> list[str]:
    """What a reader must know of the tables before believing them, each said once."""
    rows = [row for table in found for row in table.rows]
    seeds = sorted({len(row.seeds) for row in rows})
    counted = "One seed" if seeds == [1] else f"Means over {'-'.join(map(str, dict.fromkeys(seeds)))} seeds"
    standings = [row.standing for row in rows if row.standing is not None]
    intervals = spread == "interval" and any(one.intervals for one in standings)
    unranked = sorted({row.unranked for row in rows if row.unranked})
    said = [
        (True, f"{counted} of each row."),
        (spread == "sd", "±: standard deviation over seeds, where there are several."),
        (intervals, "CI: studentised bootstrap over subjects and seeds."),
        (
            any(map(best_group, found)),
            "Bold: not significantly different from the best (paired bootstrap, Holm, 5 %).",
        ),
        (bool(unranked), f"No order is claimed ({' or '.join(unranked)})."),
        *[
            (table.prevalence is not None, f"Chance: AP {formats.shown(table.prevalence)} ({table.title}).")
            for table in found
        ],
        *[(True, text) for table in found for text in (*formats.cautions(table), *formats.who(table))],
    ]
    return list(dict.fromkeys(text for holds, text in said if holds))


# ---- wide --------------------------------------------------------------------------------------


def _named(found: Sequence[Table]) -> Iterator[tuple[str, Row]]:
    """Every row of the tables with its name, which is the same for a method in all of them."""
    variants = {row.variant for table in found for row in table.rows}
    for table in found:
        for row, name in zip(table.rows, names(table.rows), strict=True):
            more = len(variants) > 1 and row.variant not in name
            yield f"{name} ({row.variant})" if more else name, row


def _across(found: Sequence[Table], cell: Cell) -> dict[str, dict[int, str]]:
    """Methods down, tables across: the cells of each method by the place of the table."""
    of_row = {id(row): (place, table) for place, table in enumerate(found) for row in table.rows}
    lines: dict[str, dict[int, str]] = {}
    for name, row in _named(found):
        place, table = of_row[id(row)]
        lines.setdefault(name, {})[place] = cell(table, row)
    return lines


def wide_sheet(found: Sequence[Table], spread: str = "interval") -> Sheet:
    """Methods down, data sets across, of the value that the tables are sorted by."""

    def cell(table: Table, row: Row) -> str:
        ends = formats.spread(row, table.sort) if spread == "interval" else ""
        value = re.sub(r"[{}$]|\\scriptsize ", "", _number(row, table.sort, spread)).replace(r"\pm", "±")
        return f"{value} ({ends})" if ends else value

    lines = [
        (name, *[cells.get(place, "") for place in range(len(found))])
        for name, cells in _across(found, cell).items()
    ]
    headers = [f"{title}: {table.sorted_by}" for title, table in zip(_titles(found), found, strict=True)]
    return Sheet(
        "Methods by data set", ("method", *headers), tuple(lines), tuple(_notes(found, spread)), texts=1
    )


def _wide_float(found: Sequence[Table], spread: str, below: bool = False) -> Float:
    """Methods down, data sets across; `below`: intervals in lines of their own, which is narrower."""
    best = {id(row) for table in found for row in best_group(table)}
    places = range(len(found))

    def value(table: Table, row: Row) -> str:
        text = _number(row, table.sort, spread)
        text = rf"\textbf{{{text}}}" if id(row) in best else text
        return text if below or spread == "sd" else text + _interval(table, row)

    values, ends = _across(found, value), _across(found, _interval)
    cited = {name: _cite(references.of_method(row.method)) for name, row in _named(found)}
    lines = []
    for name, cells in values.items():
        lines.append((latex_text(name) + cited[name], *[cells.get(place, "") for place in places]))
        if below:
            lines.append(("", *[ends[name].get(place, "").strip() for place in places]))
    keys = [key for table in found for key in references.of_dataset(table.test)]
    measured = " and ".join(dict.fromkeys(table.sorted_by.split(" ")[0] for table in found))
    in_brackets = (
        " [95 % CI]" if spread == "interval" and any(any(own.values()) for own in ends.values()) else ""
    )
    made = Float(
        label="tab:uadbench-wide",
        caption=latex_text(f"{measured}{in_brackets} on each data set") + _cite(dict.fromkeys(keys)) + ".",
        headers=tuple(map(_folded, _titles(found))),
        lines=tuple(lines),
        notes=_prose(_notes(found, spread)) + _made_with(found),
    )
    narrower = spread == "interval" and not below and made.width > TEXT_WIDTH
    return _wide_float(found, spread, below=True) if narrower else made


def _titles(found: Sequence[Table]) -> list[str]:
    """Test set and contrast of each table, n, and the training setting where that tells two apart."""
    sets = [f"{table.test} {table.contrast}" for table in found]
    return [
        f"{name}{f', {table.regime}' if sets.count(name) > 1 else ''} (n = {table.subjects['lesion-test']})"
        for name, table in zip(sets, found, strict=True)
    ]
