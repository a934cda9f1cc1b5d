"""Text from outside is harmless where it is shown."""

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from uadbench.report import formats, screen, sheets, show
from uadbench.report.sheets import Sheet
from uadbench.system.text import (
    CONTROL,
    all_visible,
    csv_cell,
    latex_text,
    markdown_cell,
    markdown_line,
    visible,
)

HIDDEN = re.compile(f"[{CONTROL}]")
NASTY = "a|b\nc\r\x1b[31m\u202ered`<img>"


@given(st.text())
def test_nothing_hidden_is_left_and_what_is_visible_stays(text: str) -> None:
    shown = visible(text)
    assert not HIDDEN.search(shown)
    assert visible(shown) == shown
    shown.encode("utf-8")
    if text.isascii() and text.isprintable():
        assert shown == text


INNER = st.text() | st.integers() | st.none()


@given(st.recursive(INNER, lambda of: st.lists(of) | st.dictionaries(st.text(), of), max_leaves=8))
def test_every_text_in_a_structure_is_made_visible(content: object) -> None:
    assert not HIDDEN.search(str(all_visible(content)).replace("\\\\", ""))


@given(st.text())
def test_a_cell_stays_one_cell_of_a_markdown_row(text: str) -> None:
    cell = markdown_cell(text)
    assert "\n" not in cell
    assert not re.search(r"(?<!\\)\|", cell)
    assert "\n" not in markdown_line(text)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"), ("+cmd", "'+cmd"), ("-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"),
        ("@sum", "'@sum"), ("-0.25", "-0.25"), ("+0.031", "+0.031"), ("-", "-"), ("plain", "plain"),
        (-0.25, -0.25), (None, None),
    ],
)  # fmt: skip
def test_a_cell_that_a_spreadsheet_would_carry_out_is_text(value: object, cell: object) -> None:
    assert csv_cell(value) == cell


@given(st.text())
def test_no_cell_begins_like_a_formula(text: str) -> None:
    cell = csv_cell(text)
    assert len(cell) < 2 or not cell.startswith(("=", "@", "\t", "\r"))
    assert not cell.startswith(("+", "-")) or re.fullmatch(r"[+-][\d.eE+ %-]*", cell)


def test_sheets_are_safe_in_every_format() -> None:
    found = [Sheet(NASTY, ("name", "value"), ((NASTY, "=HYPERLINK(1)"),), (NASTY,), (NASTY,))]
    text = sheets.written(found, "markdown")
    assert [line.count("|") - line.count("\\|") for line in text.splitlines() if line.startswith("|")] == [
        3,
        3,
        3,
    ]
    assert not HIDDEN.search(text.replace("\n", ""))
    (row,) = csv.DictReader(io.StringIO(sheets.written(found, "csv")))
    assert row["value"] == "'=HYPERLINK(1)"
    assert not HIDDEN.search(sheets.written(found, "csv").replace("\n", ""))
    assert not HIDDEN.search(sheets.written(found, "latex").replace("\n", ""))


def test_the_terminal_shows_control_characters_and_does_not_obey_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(screen, "console", Console(file=stream, width=200))
    screen.print_sheets([Sheet(NASTY, (NASTY, "b"), ((NASTY, "[bold]x[/bold]"),), (NASTY,))])
    show.show_leaderboard([], [(NASTY, NASTY)], [(NASTY, NASTY)])
    told = stream.getvalue()
    assert "\x1b" not in told
    assert "\u202e" not in told
    assert "\\x1b[31m" in told
    assert "[bold]x[/bold]" in told


def test_failed_runs_do_not_break_markdown() -> None:
    text = formats.markdown([], [("a/b", NASTY)], [("c", NASTY)])
    assert len([line for line in text.splitlines() if line.startswith("- ")]) == 2
    assert "<img" not in text.replace("\\<", "")
    assert latex_text("a_b&\x1b") == r"a\_b\&\textbackslash{}x1b"
