"""Tables: what they say about people, in every form in which downloads have them, and what cannot be true."""

import re
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uadbench.data import sheets, tables
from uadbench.data.tables import Form, Participant, Participants
from uadbench.system.errors import UserError

ROWS = [["participant_id", "age", "sex"], ["P1", "35.5", "F"], ["P2", "61", "male"]]
KNOWN = {"P1": (35.5, "F"), "P2": (61.0, "M")}


def person(cell: str) -> str | None:
    return cell if re.fullmatch(r"P\d+", cell) else None


FORM = Form("participant_id", person)


def read(root: Path, content: bytes | str, name: str = "people.csv", form: Form = FORM) -> Participants:
    (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return tables.read_participants(root, {r"people.*": form})


def said(found: Participants) -> dict[str, tuple[float | None, str | None]]:
    return {name: (one.age, one.sex) for name, one in found.by_id.items()}


def text(separator: str = ",") -> str:
    return "\n".join(separator.join(row) for row in ROWS) + "\n"


# ---- forms -------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
def test_every_encoding_and_separator_says_the_same(encoding: str, separator: str, tmp_path: Path) -> None:
    assert said(read(tmp_path, text(separator).encode(encoding))) == KNOWN


def test_latin_letters_in_a_remark_harm_nobody(tmp_path: Path) -> None:
    found = read(
        tmp_path, f"M\xe4rz 2010, nach Gr\xf6\xdfe\n\n{text()}\nQuelle: M\xfcnchen\n".encode("latin-1")
    )
    assert said(found) == KNOWN
    assert [r.reason for r in found.remarks] == ["lines that name nobody: 1 ('Quelle: M\xfcnchen')"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_one(line_end: str, tmp_path: Path) -> None:
    assert said(read(tmp_path, text().replace("\n", line_end))) == KNOWN


@pytest.mark.parametrize("first", ["notes", "people"])
def test_a_spreadsheet_may_have_its_table_on_any_sheet_below_a_remark(first: str, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    notes, sheet = book.active, book.create_sheet("people", 0 if first == "people" else None)
    assert notes is not None
    notes.append(["made in 2010"])
    for row in (["a remark"], *ROWS[:2], ["P2", 61, "male"]):
        sheet.append(row)
    book.save(tmp_path / "people.xls")  # the name may be wrong: the first bytes count
    assert said(tables.read_participants(tmp_path, {r"people.*": FORM})) == KNOWN


def test_words_for_nothing_in_a_spreadsheet_stay_words(tmp_path: Path) -> None:
    """Else "N/A" would be a blank, which may mean healthy."""
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in (["participant_id", "cdr"], ["P1", "N/A"], ["P2", None], ["P3", 0.5], ["P4", "#DIV/0!"]):
        book.active.append(row)
    book.save(tmp_path / "people.xlsx")
    found = tables.read_participants(tmp_path, {r"people.*": FORM})
    assert [one.rows[0]["cdr"] for one in found.by_id.values()] == ["N/A", "", "0.5", "#DIV/0!"]


def test_a_mark_without_its_partner_swallows_no_rows(tmp_path: Path) -> None:
    found = read(tmp_path, 'participant_id,age,sex\nP1,"35.5,F\nP2,61,male\n')
    assert said(found) == KNOWN


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty: fetch the table again"),
        (b"\x00\x00\x00", "is empty"),
        ("<html><table><tr><td>participant_id</td></tr></table></html>", "is a page .* save it as CSV"),
        ('\n<?xml version="1.0"?><Workbook/>', "is a page"),
        ("id,age\nP1,3\n", "has the columns id, age; expected one named participant_id"),
        ("participant_id,age,participant_id\nP1,3,P2\n", "has twice the column participant_id"),
        (b"PK\x03\x04" + b"x" * 50, r"cannot be read as Excel \(BadZipFile\)"),
        (b"\xd0\xcf\x11\xe0" + b"x" * 50, "cannot be read as Excel"),
        (b"participant_id,age" + bytes(range(256)) * 4, "is not a text table"),
    ],
)
def test_what_is_no_table_is_one_sentence_that_names_the_file(
    content: bytes | str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"people.csv {words}"):
        read(tmp_path, content)


def test_a_table_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "LARGEST_BYTES", 20)
    with pytest.raises(UserError, match="people.csv has 44 bytes: that is not a table of subjects"):
        read(tmp_path, text())
    book = openpyxl.Workbook()
    book.save(tmp_path / "people.csv")
    monkeypatch.setattr(sheets, "LARGEST_BYTES", (tmp_path / "people.csv").stat().st_size)
    with pytest.raises(UserError, match="people.csv unpacks to more than"):
        tables.read_participants(tmp_path, {r"people.*": FORM})


def test_a_column_that_is_needed_is_missed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lacks the column CDR: use the table as it was published"):
        read(tmp_path, text(), form=Form("participant_id", person, needs=("CDR",)))


# ---- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "age"),
    [
        *[
            ("0", 0.0),
            ("35", 35.0),
            ("35.5", 35.5),
            ('"35,5"', 35.5),
            ("3e1", 30.0),
            ("120", 120.0),
            ("035Y", 35.0),
            ("35 years", 35.0),
        ],
        *[(cell, None) for cell in ("", "n/a", "N/A", "-", "unknown")],
    ],
)
def test_an_age_is_a_number_of_years_or_not_said(cell: str, age: float | None, tmp_path: Path) -> None:
    found = read(tmp_path, f"participant_id,age\nP1,{cell}\n")
    assert (found["P1"].age, found.remarks) == (age, ())


@pytest.mark.parametrize("cell", ["nan", "inf", "-inf", "-1", "121", "1e400", "1_0", "old", "\u0663", "0x10"])
def test_an_age_that_nobody_can_have_is_unknown_and_remarked(cell: str, tmp_path: Path) -> None:
    found = read(tmp_path, f"participant_id,age\nP1,{cell}\n")
    assert found["P1"] == Participant(None, None, found["P1"].rows)
    (remark,) = found.remarks
    assert remark.id == "people.csv"
    assert remark.reason.startswith("ages that nobody can have, taken as unknown: 1 (P1: '")


@pytest.mark.parametrize(
    ("column", "cell", "sex"),
    [
        *[
            ("sex", cell, "F")
            for cell in ("F", "f", "female", "Female", "FEMALE", " w ", "woman", "f.", "Weiblich")
        ],
        *[("Gender", cell, "M") for cell in ("M", "m", "male", "Man", "M\xe4nnlich", "homme")],
        *[
            ("SEX (1=m, 2=f)", "2", "F"),
            ("SEX (1=m, 2=f)", "1.0", "M"),
            ("sex (0 = female; 1 = male)", "0", "F"),
        ],
        *[("sex", cell, None) for cell in ("", "n/a", "1", "2", "x", "other")],
    ],
)
def test_a_sex_in_any_spelling_and_numbers_as_the_column_says(
    column: str, cell: str, sex: str | None, tmp_path: Path
) -> None:
    found = read(tmp_path, f'participant_id;"{column}"\nP1;{cell}\n')
    assert found["P1"].sex == sex
    silent = sex is not None or cell in ("", "n/a")
    assert [r.reason.split(":")[0] for r in found.remarks] == (
        [] if silent else ["sexes that are not understood, taken as unknown"]
    )


def test_rows_of_one_person_that_contradict_say_nothing_and_no_row_wins(tmp_path: Path) -> None:
    rows = ["participant_id,age,sex", "P1,30,F", "P1,50,M", "P2,30,", "P2,,M", "P3,40.2,F", "P3,40.9,F"]
    for order in (rows, [rows[0], *reversed(rows[1:])]):
        found = read(tmp_path, "\n".join(order))
        assert {name: said(found)[name] for name in ("P1", "P2", "P3")} == {
            "P1": (None, None),
            "P2": (30.0, "M"),
            "P3": (40.2, "F"),  # within a year: rounded, or of two scans
        }
        assert {remark.reason for remark in found.remarks} == {
            "rows of one subject contradict each other, the age is unknown: 1 (P1: 30 and 50)",
            "rows of one subject contradict each other, the sex is unknown: 1 (P1: F and M)",
        }


def test_two_tables_that_contradict_each_other_say_nothing_either(tmp_path: Path) -> None:
    read(tmp_path, text(), "people_a.csv")
    found = read(tmp_path, text().replace("35.5", "75"), "people_b.csv")
    assert said(found) == {"P1": (None, "F"), "P2": (61.0, "M")}
    assert [r.id for r in found.remarks] == ["people_a.csv and people_b.csv"]


def test_a_row_with_more_cells_than_columns_is_not_read(tmp_path: Path) -> None:
    """An age with a decimal comma, unquoted, moves every cell after it."""
    found = read(tmp_path, "participant_id,age,sex\nP1,35,8,F\nP2,61,M\n")
    assert said(found) == {"P1": (None, None), "P2": (61.0, "M")}
    assert found.remarks[0].reason.startswith("rows with more cells than there are columns, not read: 1 (P1)")


def test_a_cell_beyond_the_end_of_a_short_row_is_not_a_blank_one(tmp_path: Path) -> None:
    found = read(tmp_path, "participant_id,age,cdr\nP1,35,\nP2,61\n")
    assert [found[name].rows[0].get("cdr") for name in ("P1", "P2")] == ["", None]


def test_ids_that_match_nobody_are_told_either_way(tmp_path: Path) -> None:
    found = read(tmp_path, text())
    rows, images = found.beside(["P2", "P7"])
    assert (rows.id, rows.reason) == ("people.csv", "rows without an image: 1, P1 ...")
    assert (images.id, images.reason) == ("people.csv", "has no row of 1 (P7): they are treated as unknown")


def test_control_characters_of_a_table_are_not_shown(tmp_path: Path) -> None:
    found = read(tmp_path, "participant_id,age\nP1,\x1b[31mred\n\x07bell,3\n")
    assert all(remark.reason.isprintable() for remark in found.remarks)
    assert len(found.remarks) == 2


@given(st.text(max_size=12))
def test_a_number_is_what_a_person_would_read_as_one(word: str) -> None:
    value = tables.parse_number(word)
    if value is not None:
        assert re.fullmatch(r"[0-9+\-.,eE\s]+", word)
        assert abs(value) < float("inf")


def test_numbers_in_tables() -> None:
    assert [tables.parse_number(t) for t in ("3.5", "3,5", "", None, "n/a", "nan")] == [3.5, 3.5, *[None] * 4]
