"""Tables: what the table beside the scans says about subjects, and what in it cannot be true.

No row ever wins over another: where the rows of a subject contradict each other, the fact is unknown and a
remark says so. A value that no human can have is unknown too, with a remark.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uadbench.data import layout, sheets
from uadbench.data.session import LeftOut, Remark
from uadbench.system.errors import UserError

Row = Mapping[str, str]  # column in lower case -> cell; columns beyond the end of a short row are not there

NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
SILENT = {"", "n/a", "na", "unknown", "not available", "missing", "-", "--", ".", "?"}  # says nothing
SEXES = dict.fromkeys(
    ["f", "female", "woman", "women", "girl", "w", "weiblich", "frau", "femme", "feminin", "femenino"], "F"
)
SEXES |= dict.fromkeys(
    ["m", "male", "man", "men", "boy", "männlich", "maennlich", "mann", "homme", "masculin", "masculino"], "M"
)
YEARS = re.compile(r"\s*(y|yr|yrs|year|years)\.?$", re.IGNORECASE)  # after an age; DICOM writes "035Y"
AGES = ("age", "age_years", "age (years)", "age_at_scan")
SEX_COLUMNS = ("sex", "gender", "gender_text", "m/f")
OLDEST_YEARS = 120.0
APART_YEARS = 1.0  # ages of one subject may differ by this much: rounded, or of two scans
LONGEST_CELL = 40  # characters of a cell that are shown


@dataclass(frozen=True)
class Form:
    """What a data set's table looks like.

    `subject` makes an id of the cell in the column `id`, None where the cell names nobody. `codes` say what
    numbers mean in a column of sexes whose title does not say it, as "SEX_ID (1=m, 2=f)" does.
    """

    id: str
    subject: Callable[[str], str | None]
    age: Sequence[str] = AGES
    sex: Sequence[str] = SEX_COLUMNS
    codes: Mapping[str, str] = field(default_factory=dict)
    needs: Sequence[str] = ()  # columns without which the table is of no use


@dataclass(frozen=True)
class Participant:
    """What the rows of one subject say: age in years, sex "F" or "M", None where they do not."""

    age: float | None = None
    sex: str | None = None
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Participants:
    """The subjects that the tables under a root name, and what is the matter with the tables."""

    tables: tuple[Path, ...] = ()
    by_id: Mapping[str, Participant] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()

    def __getitem__(self, subject: str) -> Participant:
        """A subject; one whom no table names has neither age nor sex nor rows."""
        return self.by_id.get(subject, Participant())

    def beside(self, scanned: Iterable[str]) -> Iterator[LeftOut | Remark]:
        """Rows without an image, images without a row, and what is the matter, given who was scanned."""
        scanned = set(scanned)
        if not self.tables or not scanned:
            return
        name = " and ".join(dict.fromkeys(table.name for table in self.tables))
        rest = sorted(self.by_id.keys() - scanned)
        if rest:
            yield LeftOut(name, f"rows without an image: {len(rest)}, {', '.join(rest[:5])} ...")
        unnamed = sorted(scanned - self.by_id.keys())
        if unnamed:
            yield Remark(name, f"has no row of {layout.count_names(unnamed)}: nothing is known of them")
        yield from self.remarks


def read_participants(root: Path, forms: Mapping[str, Form]) -> Participants:
    """Everybody named in the tables under a root whose file names match a key of `forms`; all are read.

    A table without its columns, or a file that is none, is a UserError.
    """
    found = [(path, form) for pattern, form in forms.items() for path, _ in layout.find_files(root, pattern)]
    notes = _Notes()
    rows: dict[str, list[Row]] = defaultdict(list)
    meanings: dict[str, tuple[set[float], set[str]]] = defaultdict(lambda: (set(), set()))
    for path, form in found:
        for subject, row in _rows(path, form, notes):
            rows[subject].append(row)
            ages, sexes = meanings[subject]
            ages |= _ages(row, form, notes, path.name, subject)
            sexes |= _sexes(row, form, notes, path.name, subject)
    name = " and ".join(dict.fromkeys(path.name for path, _ in found))
    by_id = {
        subject: _participant(subject, rows[subject], *meanings[subject], notes, name) for subject in rows
    }
    return Participants(tuple(path for path, _ in found), by_id, tuple(notes.remarks()))


def parse_number(text: str | None) -> float | None:
    """The number that a cell holds, with a decimal point or comma; None of anything else."""
    if text is None or not NUMBER.fullmatch(text.strip()):
        return None
    value = float(text.strip().replace(",", "."))
    return value if math.isfinite(value) else None


def quote_cell(text: str) -> str:
    """A cell as a message quotes it: without control characters, and not long."""
    return ascii(text[:LONGEST_CELL]) if not text.isprintable() else repr(text[:LONGEST_CELL])


class _Notes:
    """What is the matter with tables, gathered so that a fault of every row is one remark."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list[str]] = defaultdict(list)

    def add(self, table: str, kind: str, example: str) -> None:
        self._found[table, kind].append(example)

    def remarks(self) -> Iterator[Remark]:
        for (table, kind), examples in self._found.items():
            yield Remark(table, f"{kind}: {layout.count_names(list(dict.fromkeys(examples)))}")


def _participant(
    subject: str, rows: Sequence[Row], ages: set[float], sexes: set[str], notes: _Notes, table: str
) -> Participant:
    """What all rows of a subject say together."""
    age, sex = min(ages, default=None), next(iter(sexes), None)
    contradiction = "rows of one subject contradict each other, the"
    if ages and max(ages) - min(ages) > APART_YEARS:
        words = " and ".join(f"{one:g}" for one in sorted(ages))
        notes.add(table, f"{contradiction} age is unknown", f"{subject}: {words}")
        age = None
    if len(sexes) > 1:
        notes.add(table, f"{contradiction} sex is unknown", f"{subject}: F and M")
        sex = None
    return Participant(age, sex, tuple(rows))


def _ages(row: Row, form: Form, notes: _Notes, table: str, subject: str) -> set[float]:
    """The ages that a row states, in years."""
    ages = set()
    for text in (row[column] for column in form.age if column in row):
        age = parse_number(YEARS.sub("", text))
        if age is not None and 0 <= age <= OLDEST_YEARS:
            ages.add(age)
        elif text.lower() not in SILENT:
            notes.add(table, "ages that nobody can have, taken as unknown", f"{subject}: {quote_cell(text)}")
    return ages


def _sexes(row: Row, form: Form, notes: _Notes, table: str, subject: str) -> set[str]:
    """The sexes that a row states, by its words or by the codes of the column."""
    sexes = set()
    for column in row:
        title = column.split("(")[0].strip()
        if column not in form.sex and title not in form.sex:
            continue
        codes = dict(form.codes)
        codes |= {
            code: SEXES[word] for code, word in re.findall(r"(\d)\s*=\s*(\w+)", column) if word in SEXES
        }
        text = row[column].lower().rstrip(".")
        value = parse_number(text)
        sex = SEXES.get(text) or (codes.get(f"{value:g}") if value is not None else None)
        if sex:
            sexes.add(sex)
        elif text not in SILENT:
            notes.add(
                table, "sexes that are not understood, taken as unknown", f"{subject}: {quote_cell(text)}"
            )
    return sexes


# ---- rows ----


def _rows(path: Path, form: Form, notes: _Notes) -> Iterator[tuple[str, Row]]:
    """The rows that name a subject; remarks above and below the table are no rows."""
    sheet, start = _table(path, form)
    columns = [_title(cell) for cell in sheet[start]]
    for cells in sheet[start + 1 :]:
        if not any(cells):
            continue
        row = dict(zip(columns, cells, strict=False))
        text = row.get(form.id.lower(), "")
        subject = form.subject(text) if text else None
        if subject is None:
            notes.add(path.name, "lines that name nobody", quote_cell(" ".join(filter(None, cells))))
        elif any(cells[len(columns) :]):
            notes.add(path.name, "rows with more cells than there are columns, not read", subject)
            yield subject, {}
        else:
            yield subject, row


def _title(cell: str) -> str:
    return re.sub(r"\s+", " ", cell).strip().lower()


def _table(path: Path, form: Form) -> tuple[sheets.Sheet, int]:
    """The sheet that holds the column of the ids, and the number of the row with the titles."""
    best: tuple[int, sheets.Sheet, int] | None = None
    widest: list[str] = []
    for sheet in sheets.read_sheets(path):
        for place, cells in enumerate(sheet):
            filled = [cell for cell in cells if cell]
            if form.id.lower() in map(_title, cells):
                if best is None or len(filled) > best[0]:
                    best = (len(filled), sheet, place)
                break
            widest = max(widest, filled, key=len) if place == 0 else widest
    if best is None:
        titles = ", ".join(quote_cell(title)[1:-1] for title in widest[:12]) or "none"
        raise UserError(
            f"{path} has the columns {titles}; expected is one named {form.id}: "
            "use the table as it was published."
        )
    _, sheet, place = best
    titles_there = [_title(cell) for cell in sheet[place]]
    for wanted in (form.id, *form.needs):
        if titles_there.count(wanted.lower()) != 1:
            there = "lacks the" if wanted.lower() not in titles_there else "has twice the"
            raise UserError(f"{path} {there} column {wanted}: use the table as it was published.")
    return sheet, place
