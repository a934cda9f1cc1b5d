"""Sheet: a table of text with what must be said beside it, written as Markdown, LaTeX, CSV or JSON."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from uadbench.system.text import csv_cell, latex_text, markdown_cell, visible

Line = tuple[str, ...]
FORMATS = ("table", "markdown", "csv", "json", "latex")


@dataclass(frozen=True)
class Sheet:
    """Lines of text under headers."""

    title: str
    headers: Line
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()  # notes without which no line may be read: in a CSV every line has them
    headings: Mapping[int, str] = field(default_factory=dict)  # what is written above which line
    texts: int | None = None  # columns of text; those after them are numbers, flush right
    whole: frozenset[str] = frozenset()  # columns that are never folded
    spare: Mapping[str, int] = field(default_factory=dict)  # column: left out of a screen narrower than this
    lead: str = ""  # what a screen says once above the lines
    bold: frozenset[int] = frozenset()  # lines that a screen prints in bold
    sources: Mapping[str, str] = field(default_factory=dict)  # what the keys in its cells stand for

    @property
    def remarks(self) -> tuple[str, ...]:
        """Notes and cautions."""
        return (*self.notes, *self.cautions)

    def is_number(self, place: int) -> bool:
        """Whether the column at this place is flush right."""
        return self.texts is not None and place >= self.texts

    def without(self, headers: Sequence[str]) -> "Sheet":
        """The sheet less some of its columns."""
        kept = [place for place, header in enumerate(self.headers) if header not in headers]

        def less(line: Line) -> Line:
            return tuple(line[place] for place in kept)

        texts = None if self.texts is None else sum(place < self.texts for place in kept)
        return replace(self, headers=less(self.headers), lines=tuple(map(less, self.lines)), texts=texts)

    def rows(self) -> list[dict[str, str]]:
        """One dictionary per line, with the title and the cautions."""
        return [
            {"listing": self.title, **dict(zip(self.headers, line, strict=True))}
            | {"caution": " ".join(self.cautions)}
            for line in self.lines
        ]

    def widths(self, room: int) -> list[int]:
        """Widths of the columns in characters, which fit the room with `GAP` between them.

        Where not all fit, headers are folded first, then the widest column that may be; words are only
        broken where nothing else helps, and numbers never.
        """
        columns = [[line[place] for line in self.lines] for place in range(len(self.headers))]
        content = [max(map(len, cells), default=0) for cells in columns]
        longest = [
            max((len(word) for cell in (header, *cells) for word in cell.split()), default=0)
            for header, cells in zip(self.headers, columns, strict=True)
        ]
        widths = [max(len(header), width) for header, width in zip(self.headers, content, strict=True)]
        places = range(len(widths))
        kept = [n for n in places if self.headers[n] in self.whole or self.is_number(n)]
        for _ in range(sum(widths) + GAP * (len(widths) - 1) - room):
            free = [n for n in places if n not in kept or widths[n] > max(content[n], 1)]
            unbroken = [n for n in free if widths[n] > longest[n]]
            slack = [n for n in unbroken if widths[n] > content[n]]
            widest = max(slack or unbroken or free or places, key=lambda n: widths[n])
            widths[widest] = max(widths[widest] - 1, 1)
        return widths


GAP = 2  # characters between two cells


# ---- Markdown ----------------------------------------------------------------------------------


def markdown(sheets: Sequence[Sheet]) -> str:
    """The sheets in Markdown; a heading within one is a row of its own."""
    parts: list[str] = []
    for sheet in sheets:
        parts += [f"## {visible(sheet.title)}", "", *map(_paragraph_line, sheet.remarks)]
        parts += [""] if sheet.remarks else []
        aligned = ["---:" if sheet.is_number(place) else "---" for place in range(len(sheet.headers))]
        parts += [_markdown_row(sheet.headers), f"| {' | '.join(aligned)} |"]
        for number, line in enumerate(sheet.lines):
            if heading := sheet.headings.get(number):
                cells = [f"**{markdown_cell(heading)}**", *[""] * (len(sheet.headers) - 1)]
                parts.append(f"| {' | '.join(cells)} |")
            parts.append(_markdown_row(line))
        parts.append("")
    return "\n".join(parts)


def _markdown_row(cells: Line) -> str:
    return f"| {' | '.join(map(markdown_cell, cells))} |"


def _paragraph_line(text: str) -> str:
    """A line of a paragraph: what it begins with is no bullet of a list."""
    return re.sub(r"^([*-]) ", r"\\\1 ", visible(text))


# ---- LaTeX -------------------------------------------------------------------------------------

PAGE = 34  # lines of a table that fit on one page; longer ones run over several
MANY = 7  # columns, above which letters are smaller and what is the same in every line is said below
TEXT_PT, BETWEEN_PT = 345, 6  # the text of article at 10 pt, and what is between two columns


def latex(sheets: Sequence[Sheet], comments: Sequence[str] = ()) -> str:
    """The sheets as LaTeX tables as wide as the text; long ones run over several pages."""
    needs = r"% Needs \usepackage{array,booktabs,longtable}."
    slugs = [re.sub(r"[^a-z0-9]+", "-", sheet.title.lower()).strip("-")[:60] for sheet in sheets]
    tables = [_latex_table(sheet, label) for sheet, label in zip(sheets, numbered(slugs), strict=True)]
    return "\n".join([needs, *[f"% {visible(text)}" for text in comments], *tables]) + "\n"


def numbered(labels: Sequence[str]) -> list[str]:
    """Labels, those that are not alone with their place behind them."""
    return [f"{one}-{n}" if labels.count(one) > 1 else one for n, one in enumerate(labels, 1)]


def _without_constants(sheet: Sheet) -> Sheet:
    """The sheet less the columns with one value, which a note says."""
    cells = dict(zip(sheet.headers, zip(*sheet.lines, strict=True), strict=False))
    same = {header: own[0] for header, own in cells.items() if len(set(own)) == 1 < len(own)}
    said = "; ".join(f"{header}: {value or 'none'}" for header, value in same.items())
    notes = (f"All rows: {said}.", *sheet.notes) if same else sheet.notes
    return replace(sheet.without(list(same)), notes=notes)


def _latex_table(full: Sheet, label: str) -> str:
    sheet = _without_constants(full) if len(full.headers) > MANY else full
    columns = len(sheet.headers)
    size, character = (r"\footnotesize", 4.4) if columns <= MANY else (r"\scriptsize", 4.0)
    fitting = int((TEXT_PT - BETWEEN_PT * columns) / character)
    widths = [max(width + 0.7, 7.0) for width in sheet.widths(fitting - columns + GAP * (columns - 1))]
    spare = max(fitting - sum(widths), 0) / columns
    shares = [int(1e4 * (width + spare) / (sum(widths) + spare * columns)) / 1e4 for width in widths]
    room = rf"\dimexpr\linewidth-{2 * columns}\tabcolsep\relax"
    preamble = "".join(
        rf">{{\ragged{'left' if sheet.is_number(place) else 'right'}\arraybackslash"
        rf"\hspace{{0pt}}}}p{{{share:.4f}\uadwidth}}"
        for place, share in enumerate(shares)
    )
    body: list[str] = []
    for place, line in enumerate(sheet.lines):
        if heading := sheet.headings.get(place):
            emphasised = rf"\multicolumn{{{columns}}}{{p{{\uadwidth}}}}{{\emph{{{latex_text(heading)}}}}} \\"
            body += [r"\addlinespace", emphasised]
        body.append(_latex_row(line))
    caption = rf"\caption{{{latex_text(sheet.title)}.}}\label{{tab:{label}}}"
    head = [r"\toprule", _latex_row(sheet.headers), r"\midrule"]
    notes = [*sheet.remarks, *[f"[{key}] {text}." for key, text in sheet.sources.items()]]
    below = latex_text(" ".join(notes)).replace("/", r"/\allowbreak ")
    below = rf"\par\smallskip\noindent{{\sloppy {below}\par}}"
    width = [
        rf"\setlength{{\tabcolsep}}{{{BETWEEN_PT / 2:g}pt}}",
        r"\ifdefined\uadwidth\else\newlength{\uadwidth}\fi",
        rf"\setlength{{\uadwidth}}{{{room}}}",
    ]
    folded = sum(
        max(len(cell) / width for cell, width in zip(line, widths, strict=True)) for line in sheet.lines
    )
    if max(folded, len(body)) > PAGE:
        begin = [rf"\begin{{longtable}}{{{preamble}}}", caption + r" \\", *head, r"\endfirsthead"]
        again = [*head, r"\endhead", r"\bottomrule", r"\endfoot"]
        lines = [*width, *begin, *again, *body, r"\end{longtable}", below]
        return "\n".join(["{" + size, *lines, r"\par}", ""])
    begin = [r"\begin{table*}", size, *width, caption, rf"\begin{{tabular}}{{{preamble}}}"]
    end = [r"\bottomrule", r"\end{tabular}", below, r"\end{table*}", ""]
    return "\n".join([*begin, *head, *body, *end])


def _latex_row(cells: Line) -> str:
    return " & ".join(map(latex_text, cells)) + r" \\"


# ---- CSV and JSON ------------------------------------------------------------------------------

Rows = Sequence[Mapping[str, Any]]


def csv(rows: Rows) -> str:
    """Rows as comma-separated values under the names of all of them, safe to open in a spreadsheet."""
    import pandas

    cells = [{name: csv_cell(value) for name, value in row.items()} for row in rows]
    # Of type object, so that whole numbers stay whole beside rows that have none.
    return str(pandas.DataFrame(cells, dtype=object).to_csv(index=False, lineterminator="\n"))


def as_json(rows: Rows) -> str:
    """Rows as a JSON list."""
    return json.dumps(list(rows), indent=1, ensure_ascii=False) + "\n"


def written(
    sheets: Sequence[Sheet],
    format_: str,
    rows: Rows | None = None,
    text: str = "",
    comments: Sequence[str] = (),
) -> str:
    """The sheets in one of `FORMATS`; a table in a file is Markdown.

    Where they are not as they stand: `rows` for CSV and JSON, `text` for Markdown, `comments` for LaTeX.
    """
    if rows is None:
        rows = [row for sheet in sheets for row in sheet.rows()]
    if format_ in ("csv", "json"):
        return csv(rows) if format_ == "csv" else as_json(rows)
    return latex(sheets, comments) if format_ == "latex" else text or markdown(sheets)
