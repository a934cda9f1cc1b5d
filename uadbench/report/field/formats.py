"""The field's comparison on a terminal and as Markdown, LaTeX, CSV and JSON."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas

from uadbench.report.field.collection import in_order
from uadbench.report.field.views import Cell, Sheet
from uadbench.report.field.words import shown
from uadbench.system.text import latex_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

FORMATS = ("table", "markdown", "csv", "json", "latex")
COLUMNS = (
    "label", "part", "family", "method", "train", "regime", "test", "kind", "contrast", "metric", "quantity",
    "threshold", "averaging", "resolution", "value", "spread", "low", "high", "false_alarms", "status",
    "note", "version", "other_version", "key", "source",
)  # fmt: skip


def terminal(
    sheets: Sequence[Sheet], lead: str, findings: Sequence[str], console: "Console | None" = None
) -> None:
    """Print the sheets, then the sources once, then what is missing."""
    from rich.text import Text

    if console is None:
        from uadbench.report.show import console as shared

        console = shared
    console.print(Text(lead))
    for full in sheets:
        left_out = full.spare if console.width < NARROW else ""
        sheet = full.without(left_out) if left_out else full
        console.print(Text(f"\n{sheet.title}", style="bold"))
        widths = _widths(sheet, console.width)
        for place, (title, rows) in enumerate(sheet.sections.items()):
            if title:
                console.print(Text(f"\n{title}", style="italic"))
            console.print(_grid(sheet.headers if place == 0 else None, rows, widths))
        for note in sheet.notes:
            console.print(Text(note))
    if any(sheet.spare for sheet in sheets) and console.width < NARROW:
        console.print(Text(f"\nLeft out at {console.width} columns: {sheets[0].spare}."))
    console.print(Text("\nSources", style="bold"))
    for key, text in cited(sheets).items():
        console.print(Text(f"[{key}] {text}"))
    if findings:
        console.print(Text("\nWhat is missing", style="bold"))
        for text in findings:
            console.print(Text(f"- {text}"))


GAP = 2  # characters between two cells
NARROW = 100  # characters: a narrower terminal has no room for a spare column


def _widths(sheet: Sheet, room: int) -> list[int]:
    """Widths of the columns in characters.

    Where not all fit, headers are folded first, then the widest column that may be; words are only broken
    where nothing else helps.
    """
    columns = [[row[place] for row in sheet.rows] for place in range(len(sheet.headers))]
    content = [max(map(len, cells)) for cells in columns]
    longest = [
        max(len(word) for cell in (header, *cells) for word in cell.split())
        for header, cells in zip(sheet.headers, columns, strict=True)
    ]
    widths = [max(len(header), width) for header, width in zip(sheet.headers, content, strict=True)]
    free = [place for place, header in enumerate(sheet.headers) if header not in sheet.whole]
    for _ in range(sum(widths) + GAP * (len(widths) - 1) - room):
        unbroken = [place for place in free if widths[place] > longest[place]]
        slack = [place for place in unbroken if widths[place] > content[place]]
        widest = max(slack or unbroken or free, key=lambda place: widths[place])
        widths[widest] = max(widths[widest] - 1, 1)
    return widths


def _grid(headers: tuple[str, ...] | None, rows: Sequence[tuple[str, ...]], widths: Sequence[int]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    table.show_header = headers is not None
    for header, width in zip(headers or [""] * len(widths), widths, strict=True):
        table.add_column(header, width=width, overflow="fold")
    for row in rows:
        table.add_row(*(Text(text) for text in row))
    return table


def cited(sheets: Sequence[Sheet]) -> dict[str, str]:
    """The sources of all sheets, each once."""
    return in_order({key: text for sheet in sheets for key, text in sheet.sources.items()})


def markdown(sheets: Sequence[Sheet], lead: str, findings: Sequence[str]) -> str:
    """The sheets in Markdown; the heading of a section is a row of its own."""
    parts = ["# Published comparison", "", lead, ""]
    for sheet in sheets:
        parts += [f"## {sheet.title}", ""]
        parts += [_row(sheet.headers), _row(["---"] * len(sheet.headers))]
        for title, rows in sheet.sections.items():
            parts += (
                ["| " + " | ".join([f"**{title}**", *[""] * (len(sheet.headers) - 1)]) + " |"]
                if title
                else []
            )
            parts += [_row(row) for row in rows]
        parts += ["", *[text for note in sheet.notes for text in (_escaped(note), "")]]
    parts += ["## Sources", "", *[f"- [{key}] {text}" for key, text in cited(sheets).items()], ""]
    if findings:
        parts += ["## What is missing", "", *[f"- {text}" for text in findings], ""]
    return "\n".join(parts)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*")


PAGE = 40  # rows of a table that fit on one page; longer ones run over several


def latex(sheets: Sequence[Sheet], lead: str, findings: Sequence[str]) -> str:
    """The sheets as LaTeX tables as wide as the text; long ones run over several pages."""
    parts = [
        r"% Needs \usepackage{array,booktabs,longtable}.",
        *[f"% {text}" for text in (lead, *findings)],
    ]
    return "\n".join([*parts, *[_latex_table(sheet, n) for n, sheet in enumerate(sheets, 1)]]) + "\n"


def _latex_table(sheet: Sheet, number: int) -> str:
    columns = len(sheet.headers)
    widths = [max(width, 6) for width in _widths(sheet, 100 + GAP * (columns - 1))]
    room = r"\dimexpr\linewidth-" + f"{2 * columns}" + r"\tabcolsep\relax"
    shares = [width / sum(widths) for width in widths]
    preamble = "".join(rf">{{\raggedright\arraybackslash}}p{{{share:.3f}\uadwidth}}" for share in shares)
    body: list[str] = []
    for title, rows in sheet.sections.items():
        if title:
            heading = rf"\multicolumn{{{columns}}}{{p{{\uadwidth}}}}{{\emph{{{latex_text(title)}}}}} \\"
            body += [r"\addlinespace", heading]
        body += [_latex_row(row) for row in rows]
    caption = rf"\caption{{{latex_text(sheet.title)}.}}\label{{tab:published-{number}}}"
    head = [r"\toprule", _latex_row(sheet.headers), r"\midrule"]
    notes = [*sheet.notes, *[f"[{key}] {text}." for key, text in sheet.sources.items()]]
    below = r"\par\smallskip\noindent " + latex_text(" ".join(notes))
    width = [r"\ifdefined\uadwidth\else\newlength{\uadwidth}\fi", rf"\setlength{{\uadwidth}}{{{room}}}"]
    if len(body) > PAGE:
        begin = [rf"\begin{{longtable}}{{{preamble}}}", caption + r" \\", *head, r"\endfirsthead"]
        again = [*head, r"\endhead", r"\bottomrule", r"\endfoot"]
        lines = [*width, *begin, *again, *body, r"\end{longtable}", below]
        return "\n".join([r"{\footnotesize", *lines, r"\par}", ""])
    return "\n".join(
        [
            *(r"\begin{table*}", r"\footnotesize", *width, caption),
            *(rf"\begin{{tabular}}{{{preamble}}}", *head, *body, r"\bottomrule", r"\end{tabular}"),
            *(below, r"\end{table*}", ""),
        ]
    )


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(latex_text, cells)) + r" \\"


def lines(frame: pandas.DataFrame) -> pandas.DataFrame:
    """One line for each value, with all its facts: for CSV and JSON."""
    return frame.assign(quantity=frame["quantity"].where(frame["level"], ""))[list(COLUMNS)]


def cell_lines(cells: Sequence[Cell]) -> pandas.DataFrame:
    """One line for each cell of family and kind of lesion, with all its values and their sources."""
    return pandas.DataFrame(
        [
            {
                "family": cell.family,
                "kind": cell.kind,
                "quantity": cell.quantity,
                "regime": cell.regime,
                "contrast": cell.contrast,
                "threshold": cell.threshold,
                "setting_of": cell.apart,
                "n": len(cell.values),
                "methods": cell.methods,
                "best": float(cell.best["value"]),
                "best_method": str(cell.best["name"]),
                "median": cell.median,
                "values": [_fact(facts) for facts in cell.values.to_dict("records")],
            }
            for cell in cells
        ]
    )


def _fact(facts: dict[Any, Any]) -> dict[str, Any]:
    names = ("name", "test", "value", "status", "key", "cited")
    return {name: facts[name] for name in names}


def csv(frame: pandas.DataFrame) -> str:
    """Comma-separated values; the values of a cell in one column, apart by semicolons."""
    if "values" in frame:
        frame = frame.assign(
            values=[
                "; ".join(
                    f"{shown(one['value'])} {one['name']} on {one['test']}: {one['cited']}" for one in found
                )
                for found in frame["values"]
            ]
        )
    return str(frame.to_csv(index=False, lineterminator="\n"))


def as_json(frame: pandas.DataFrame) -> str:
    """A JSON list of objects; null where nothing was stated."""
    found = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"
