"""The leaderboard as LaTeX for a paper: within the text width of `article` at 10 pt, with keys for BibTeX."""

import re
import statistics
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from uadbench.report import formats, guests, references
from uadbench.report.cautions import cautions
from uadbench.report.leaderboard import HEADLINE_MARK, Column, Row, Table
from uadbench.report.names import row_names
from uadbench.report.names import title as describe
from uadbench.report.references import OWN
from uadbench.report.sheets import numbered
from uadbench.system.errors import UserError
from uadbench.system.text import latex_text

NEEDS = (
    r"% Needs \usepackage{array,booktabs,tabularx}; --format bibtex writes what it cites.",
    "% Widths are for article at 10 pt; table* spans both columns of a page with two.",
)
# Columns that are shown before others where not all fit; Dice never without false alarms (protocol, rule 11).
FIRST = ("alarms", "dsc_fpr1", "dsc_given", "dsc_oracle", "auroc", "auroc_scan", "auroc_slice")
SPREADS = ("interval", "sd")
# In points, of `article` at 10 pt on the narrower of its two papers.
TEXT_WIDTH, COLUMN_WIDTH = 345.0, 200.0
NAME_WIDTH = 92.0  # what the names of the methods are left at least; they are folded
GAP = 6.0  # between two columns
HEADER = 10  # characters after which the title of a column is folded
_NARROW, _WIDE = set(" .,:;()[]|!'-fijlrtI"), set("mwABCDEGHKMNOPQRUVWXY%@+<>=±←⌈⌉")
_SMALL = r"{\scriptsize "


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
        beside = sum(
            max(map(_points, (*column, *header.split(r"\\")))) + GAP
            for header, column in zip(self.headers, columns, strict=True)
        )
        return NAME_WIDTH + beside

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


def write_tables(found: Sequence[Table], spread: str = "interval", asked: bool = False) -> str:
    """The tables as LaTeX.

    Args:
        found: tables of the leaderboard.
        spread: `interval` behind the value that is sorted by, or `sd` over seeds behind every value.
        asked: all columns were asked for by name; else those that fit are shown, and a comment lists others.

    Raises:
        UserError: the columns that were asked for are too wide for a page.
    """
    comments: list[str] = []
    return write_floats([_float(table, spread, asked, comments) for table in found], comments)


def write_floats(floats: Sequence[Float], comments: Sequence[str] = ()) -> str:
    """Tables under labels of their own, below comments; one that is too wide for a page is a UserError."""
    for one in floats:
        if one.width > TEXT_WIDTH:
            raise UserError(
                f"The table {one.label} would be {one.width:.0f} pt wide, but the text of article has "
                f"{TEXT_WIDTH:.0f}: ask for fewer columns (--columns) or data sets (--dataset)."
            )
    labels = numbered([one.label for one in floats])
    texts = [str(one).replace(one.label, label, 1) for one, label in zip(floats, labels, strict=True)]
    return "\n".join([*NEEDS, *comments, *texts])


def _float(table: Table, spread: str, asked: bool, comments: list[str]) -> Float:
    sorted_by = table.sort_column
    others = [c for c in table.columns if c.name != sorted_by.name]
    if asked:
        return _with_columns(table, [sorted_by, *others], spread)
    places = {name: place for place, name in enumerate(FIRST)}
    ranked = sorted(others, key=lambda column: places.get(column.name, len(places)))
    chosen: list[Column] = []
    for column in ranked:
        if not column.name.startswith("ap_"):
            wider = sorted([*chosen, column], key=others.index)
            if _with_columns(table, [sorted_by, *wider], spread).width <= TEXT_WIDTH:
                chosen = wider
    left_out = ", ".join(c.name for c in others if c not in chosen)
    comments += [f"% Left out of {_label(table)}: {left_out}; --columns chooses."] if left_out else []
    return _with_columns(table, [sorted_by, *chosen], spread)


def _with_columns(table: Table, columns: Sequence[Column], spread: str) -> Float:
    best = best_group(table)
    lines = []
    for row, name in zip(table.rows, row_names(table), strict=True):
        cited = cite(references.of_method(row.method))
        cells = [number(row, column.name, spread) for column in columns]
        cells[0] = rf"\textbf{{{cells[0]}}}" if row in best else cells[0]
        if spread == "interval":
            cells[0] += interval(table, row)
        lines.append((latex_text(name) + cited, *cells))
    title = columns[0].title.removesuffix(f" {HEADLINE_MARK}")
    headers = [title, *[column.title for column in columns[1:]]]
    if spread == "interval" and any(interval(table, row) for row in table.rows):
        headers[0] += " [95 % CI]"
    meanings = [f"{header}: {c.meaning}." for header, c in zip([title, *headers[1:]], columns, strict=True)]
    notes = [*remarks([table], spread), *meanings]
    return Float(
        label=_label(table),
        caption=_caption(table),
        headers=tuple(map(folded, headers)),
        lines=tuple(lines),
        notes=prose(notes) + made_with([table]),
    )


def best_group(table: Table) -> list[Row]:
    """The rows that are not significantly different from the best; none where that is all or nobody."""
    first = [row for row in table.rows if row.standing is not None and row.standing.best]
    return first if len(first) < len(table.rows) else []


def number(row: Row, column: str, spread: str) -> str:
    """A value, with its standard deviation over seeds where that is asked for and there are several."""
    value = formats.shown(row.numbers[column])
    of_seeds = [one[column] for one in row.of_seeds] if spread == "sd" else []
    there = [one for one in of_seeds if one is not None]
    return value + rf" {_SMALL}$\pm$ {statistics.stdev(there):.3f}}}" if len(there) > 1 else value


def interval(table: Table, row: Row) -> str:
    """The interval of the value that is sorted by, with a blank before it; "" where there is none."""
    found = row.interval(table.sort)
    return f" {_SMALL}[{formats.shown(found.low)}, {formats.shown(found.high)}]}}" if found else ""


def cite(found: Collection[str]) -> str:
    """A reference to these keys, tied to the word before it; "" for none."""
    return rf"~\cite{{{','.join(found)}}}" if found else ""


def prose(sentences: Sequence[str]) -> str:
    """Sentences of plain text as a paragraph."""
    return latex_text(" ".join(sentences).replace("`", ""))


def folded(title: str) -> str:
    """A title of a column in several lines."""
    return r"\\".join(map(latex_text, textwrap.wrap(title, HEADER, break_long_words=False)))


def made_with(found: Sequence[Table]) -> str:
    """By what the numbers were made, as the last sentence of the notes."""
    versions = sorted({f"{table.protocol}, metric version {table.metric_version}" for table in found})
    return rf" uadbench~\cite{{{OWN}}}, protocol {latex_text('; '.join(versions))}."


def _label(table: Table) -> str:
    return "tab:uadbench-" + re.sub(r"[^a-z0-9]+", "-", f"{table.test} {table.contrast}".lower())


def _caption(table: Table) -> str:
    count = table.subjects.get("lesion-test", 0)
    cited = cite(references.of_dataset(table.test))
    return f"{latex_text(describe(table))}{cited}; $n = {count}$ scans with lesions."


def remarks(found: Sequence[Table], spread: str) -> list[str]:
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
        (any(row.numbers.get("dsc_given") is not None for row in rows), guests.MASKS_NOTE),
        (bool(unranked), f"No order is claimed ({' or '.join(unranked)})."),
        *[
            (
                table.prevalence is not None,
                f"Chance: AP {formats.shown(table.prevalence)} ({table.test} {table.contrast}).",
            )
            for table in found
        ],
        *[(True, text) for table in found for text in (*cautions(table), *formats.who(table))],
    ]
    return list(dict.fromkeys(text for holds, text in said if holds))
