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

Notes = dict[tuple[str, str], list[str]]  # (table, what is the matter) -> examples: one remark each
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
CONTRADICTION = "rows of one subject contradict each other, the"
LONGEST_CELL = 40  # characters of a cell that are shown


@dataclass(frozen=True)
class Form:
    """What a data set's table looks like.

    `subject` makes an id of the cell in the column `id` (of several names the first that is there), None
    where the cell names nobody. `codes` say what numbers mean in a column of sexes whose title does not say
    it, as "SEX_ID (1=m, 2=f)" does.
    """

    id: str | Sequence[str]
    subject: Callable[[str], str | None]
    age: Sequence[str] = AGES
    sex: Sequence[str] = SEX_COLUMNS
    codes: Mapping[str, str] = field(default_factory=dict)
    needs: Sequence[str] = ()  # columns without which the table is of no use

    @property
    def ids(self) -> list[str]:
        """The names that the column of the ids may have."""
        return [self.id] if isinstance(self.id, str) else list(self.id)


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
            yield Remark(name, f"has no row of {layout.count_names(unnamed)}: they are treated as unknown")
        yield from self.remarks


def read_participants(root: Path, forms: Mapping[str, Form]) -> Participants:
    """All subjects named in the tables under a root whose file names match a key of `forms`.

    A table without its columns, or a file that is none, is a UserError.
    """
    found = [(path, form) for pattern, form in forms.items() for path, _ in layout.find_files(root, pattern)]
    notes: Notes = defaultdict(list)
    rows: dict[str, list[Row]] = defaultdict(list)
    meanings: dict[str, tuple[set[float], set[str]]] = defaultdict(lambda: (set(), set()))
    for path, form in found:
        for subject, row in _rows(path, form, notes):
            rows[subject].append(row)
            ages, sexes = meanings[subject]
            for text in (row[column] for column in form.age if column in row):
                if (age := _age(text)) is not None:
                    ages.add(age)
                elif text.lower() not in SILENT:
                    strange = notes[path.name, "ages that nobody can have, taken as unknown"]
                    strange.append(f"{subject}: {quote_cell(text)}")
            for column in row:
                if column in form.sex or column.split("(")[0].strip() in form.sex:
                    text = row[column].lower().rstrip(".")
                    if sex := _sex(text, column, form):
                        sexes.add(sex)
                    elif text not in SILENT:
                        strange = notes[path.name, "sexes that are not understood, taken as unknown"]
                        strange.append(f"{subject}: {quote_cell(text)}")
    name = " and ".join(dict.fromkeys(path.name for path, _ in found))
    by_id = {
        subject: Participant(*_agreed(subject, ages, sexes, notes, name), tuple(rows[subject]))
        for subject, (ages, sexes) in meanings.items()
    }
    remarks = (
        Remark(table, f"{kind}: {layout.count_names(list(dict.fromkeys(examples)))}")
        for (table, kind), examples in notes.items()
    )
    return Participants(tuple(path for path, _ in found), by_id, tuple(remarks))


def _agreed(
    subject: str, ages: set[float], sexes: set[str], notes: Notes, table: str
) -> tuple[float | None, str | None]:
    """The age and the sex of a subject, unknown where its rows contradict each other."""
    age, sex = min(ages, default=None), next(iter(sexes), None)
    if ages and max(ages) - min(ages) > APART_YEARS:
        words = " and ".join(f"{one:g}" for one in sorted(ages))
        notes[table, f"{CONTRADICTION} age is unknown"].append(f"{subject}: {words}")
        age = None
    if len(sexes) > 1:
        notes[table, f"{CONTRADICTION} sex is unknown"].append(f"{subject}: F and M")
        sex = None
    return age, sex


def parse_number(text: str | None) -> float | None:
    """The number that a cell holds, with a decimal point or comma; None of anything else."""
    if text is None or not NUMBER.fullmatch(text.strip()):
        return None
    value = float(text.strip().replace(",", "."))
    return value if math.isfinite(value) else None


def quote_cell(text: str) -> str:
    """A cell as a message quotes it: without control characters, and not long."""
    return ascii(text[:LONGEST_CELL]) if not text.isprintable() else repr(text[:LONGEST_CELL])


def _age(text: str) -> float | None:
    """The age in years that a cell states."""
    age = parse_number(YEARS.sub("", text))
    return age if age is not None and 0 <= age <= OLDEST_YEARS else None


def _sex(text: str, column: str, form: Form) -> str | None:
    """The sex that a cell states, by its words or by the codes of the column."""
    titles = {code: SEXES[word] for code, word in re.findall(r"(\d)\s*=\s*(\w+)", column) if word in SEXES}
    value = parse_number(text)
    return SEXES.get(text) or (None if value is None else {**form.codes, **titles}.get(f"{value:g}"))


def _rows(path: Path, form: Form, notes: Notes) -> Iterator[tuple[str, Row]]:
    """The rows that name a subject; remarks above and below the table are no rows."""
    sheet, start = _table(path, form)
    columns = [_title(cell) for cell in sheet[start]]
    id_column = next(name.lower() for name in form.ids if name.lower() in columns)
    for cells in sheet[start + 1 :]:
        if not any(cells):
            continue
        row = dict(zip(columns, cells, strict=False))
        text = row.get(id_column, "")
        subject = form.subject(text) if text else None
        if subject is None:
            notes[path.name, "lines that name nobody"].append(quote_cell(" ".join(filter(None, cells))))
        elif any(cells[len(columns) :]):
            notes[path.name, "rows with more cells than there are columns, not read"].append(subject)
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
            if not {name.lower() for name in form.ids}.isdisjoint(map(_title, cells)):
                if best is None or len(filled) > best[0]:
                    best = (len(filled), sheet, place)
                break
            widest = max(widest, filled, key=len) if place == 0 else widest
    if best is None:
        titles = ", ".join(quote_cell(title)[1:-1] for title in widest[:12]) or "none"
        mend = "use the table as it was published" if len(form.ids) == 1 else "rename the one of the subjects"
        raise UserError(
            f"{path} has the columns {titles}; expected one named {' or '.join(form.ids)}: {mend}."
        )
    _, sheet, place = best
    titles_there = [_title(cell) for cell in sheet[place]]
    for wanted in (next(name for name in form.ids if name.lower() in titles_there), *form.needs):
        if titles_there.count(wanted.lower()) != 1:
            there = "lacks the" if wanted.lower() not in titles_there else "has twice the"
            raise UserError(f"{path} {there} column {wanted}: use the table as it was published.")
    return sheet, place
