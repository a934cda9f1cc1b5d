"""Text that came from outside, made harmless for where it is shown: a terminal, Markdown, CSV, LaTeX."""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

# Control characters (C0, DEL, C1), line and paragraph separators, and marks that turn the order of letters.
CONTROL = "\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff"
HIDDEN = re.compile(f"[{CONTROL}\ud800-\udfff]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # by which a spreadsheet knows that a cell is to be carried out
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?( ?%)?")
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~])")


def visible(text: str) -> str:
    """The text with its control characters written out, as `\\x1b`; for a terminal, and for what is kept."""
    return HIDDEN.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def escape(text: str) -> str:
    """The text as rich may print it: no control characters, and nothing read as markup."""
    from rich import markup  # what only reads text loads no rich

    return markup.escape(visible(text))


def all_visible(content: Any) -> Any:
    """Anything JSON can hold, every text in it `visible`."""
    if isinstance(content, str):
        return visible(content)
    if isinstance(content, Mapping):
        return {visible(key): all_visible(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [all_visible(item) for item in content]
    return content


def markdown_cell(text: str) -> str:
    """A text as one cell of a Markdown table: no control characters, no column of its own, no HTML."""
    return visible(text).replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def markdown_line(text: str) -> str:
    """A text as a part of one line of Markdown, whatever signs of Markdown are in it."""
    return _MARKDOWN.sub(r"\\\1", visible(text))


def csv_cell(value: Any) -> Any:
    """A value as a spreadsheet may read it: a text that begins like a formula gets a quote before it."""
    if not isinstance(value, str):
        return value
    shown = visible(value)
    harmless = len(shown) < 2 or _NUMBER.fullmatch(shown)
    return f"'{shown}" if shown.startswith(_FORMULA) and not harmless else shown


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Rows as comma-separated values, each a `csv_cell`; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(csv_cell, row) for row in rows)
    return text.getvalue()


LATEX_SPECIAL: Mapping[str, str] = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "[": "{[}", "*": "{*}",  # either belongs to the end of a line that stands before it
    "⌈": r"$\lceil$", "⌉": r"$\rceil$", "±": r"$\pm$", "←": r"$\leftarrow$", "·": r"$\cdot$",
    "†": r"$\dagger$",
}  # fmt: skip


def latex_text(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(LATEX_SPECIAL.get(character, character) for character in visible(text))
