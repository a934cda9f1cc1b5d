"""Screen: lines, tables and sheets on a terminal, with nothing in them but what is seen."""

import os
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from uadbench.report.sheets import GAP, Line, Sheet
from uadbench.system.text import visible

# Output that goes to a file or a pipe is as wide as it needs to be, or as COLUMNS says.
console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 220)


def print_line(text: str, style: str | None = None) -> None:
    """One line as it is: not wrapped, so that a path can be copied."""
    lines = "\n".join(map(visible, text.split("\n")))
    console.print(lines, style=style, markup=False, highlight=False, soft_wrap=True)


def print_note(text: str, style: str = "dim") -> None:
    """A line of text, folded."""
    console.print(Text(visible(text), style=style))


def print_heading(text: str, style: str = "bold") -> None:
    """A line with an empty one above it."""
    console.print()
    print_note(text, style)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Names in bold, and what is said of them."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in facts:
        table.add_row(Text(name, style="bold"), Text(visible(value), overflow="fold"))
    _print_trimmed(table)


def print_table(headers: Line, lines: Iterable[Line], numbers_from: int | None = None) -> None:
    """A table without a title; from one column on numbers, which are flush right and not folded."""
    _print_grids(Sheet("", headers, tuple(lines), texts=numbers_from))


def print_sheets(sheets: Sequence[Sheet]) -> None:
    """Sheets with their notes; a screen too narrow for its spare columns does without them."""
    left_out: dict[str, None] = {}
    for full in sheets:
        hidden = [header for header, width in full.spare.items() if console.width < width]
        sheet = full.without(hidden)
        print_heading(sheet.title)
        if sheet.lead:
            print_note(sheet.lead)
        if sheet.lines:
            left_out |= dict.fromkeys(header for header in full.headers if header in hidden)
            _print_grids(sheet)
        for note in sheet.remarks:
            print_note(note)
    if left_out:
        names = ", ".join(left_out)
        more = "A wider terminal (or --format markdown) shows them."
        print_heading(f"Left out at {console.width} columns: {names}. {more}", "dim")


def _print_grids(sheet: Sheet) -> None:
    """The lines between two headings as a grid; all grids of a sheet are as wide."""
    widths = sheet.widths(console.width)
    starts = sorted({0, *sheet.headings})
    for start, end in zip(starts, [*starts[1:], len(sheet.lines)], strict=True):
        if heading := sheet.headings.get(start):
            print_heading(heading, "italic")
        _print_trimmed(_grid(sheet, range(start, end), widths, titled=start == 0))


def _print_trimmed(table: Table) -> None:
    """A table; in a file or a pipe no line ends in blanks, which a narrow terminal would fold."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as held:
        console.print(table)
    for line in held.get().splitlines():
        print_line(line.rstrip())


def _grid(sheet: Sheet, lines: range, widths: Sequence[int], titled: bool) -> Table:
    table = Table(
        box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0), show_header=titled
    )  # fmt: skip
    for place, (header, width) in enumerate(zip(sheet.headers, widths, strict=True)):
        justify = "right" if sheet.is_number(place) else "left"
        table.add_column(Text(visible(header)), width=width, overflow="fold", justify=justify)  # type: ignore[arg-type]
    for number in lines:
        style = "bold" if number in sheet.bold else ""
        table.add_row(*[Text(visible(cell), style) for cell in sheet.lines[number]])
    return table
