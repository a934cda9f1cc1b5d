"""Table: a CSV that names the files of every scan, and what is known of whoever was scanned."""

from collections.abc import Mapping
from pathlib import Path

from uadbench.data import sheets
from uadbench.data.splits import PARTITIONS
from uadbench.data.tables import OLDEST_YEARS, SEXES, parse_number, quote_cell
from uadbench.experiment.elsewhere.asked import Entry
from uadbench.experiment.elsewhere.pairing import Paired, check_ids, key_of, subject_of
from uadbench.system.errors import UserError, check_known, unknown

FILES = ("map", "truth", "brain", "ignore")
COLUMNS = (*FILES, "subject", "session", "partition", "site", "age", "sex", "lesion_kind")
MEASURED = PARTITIONS[1:]  # nobody is scored of healthy-train


def read_table(path: Path) -> Paired:
    """The scans of a table with a row for each of them; paths are relative to the table's folder.

    Columns: `COLUMNS`, of which `map` and `truth` must be there. A row without truth is a healthy test scan,
    unless its partition says otherwise.
    """
    rows = _rows(path)
    entries = [_entry(row, path, number) for number, row in enumerate(rows, 2)]
    if not entries:
        raise UserError(f"{path} has no row below its titles: expected one for each scan.")
    check_ids(entries)
    return Paired(tuple(sorted(entries, key=lambda one: one.id)))


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows by column, blank ones left out."""
    for sheet in sheets.read_sheets(path):
        titles = [cell.strip().lower() for cell in sheet[0]] if sheet else []
        if "map" not in titles:
            continue
        for title in titles:
            if title not in COLUMNS or titles.count(title) > 1:
                raise unknown("column", title, COLUMNS, of=str(path))
        return [dict(zip(titles, row, strict=False)) for row in sheet[1:] if any(row)]
    raise UserError(
        f"{path} is no table of maps: expected a row of titles with map and truth, and any others of "
        f"{', '.join(COLUMNS)}."
    )


def _entry(row: Mapping[str, str], path: Path, number: int) -> Entry:
    """The scan of one row."""
    where = f"{path}, row {number}"
    files = {name: _file(row.get(name, ""), path, where) for name in FILES}
    there = files["map"] or files["truth"]
    if there is None:
        raise UserError(f"{where} names neither a map nor a truth.")
    key = key_of(there, there.parent)
    subject, session = subject_of(key)
    stated = row.get("subject", "").strip(), row.get("session", "").strip()
    partition = row.get("partition", "").strip() or ("lesion-test" if files["truth"] else "healthy-test")
    check_known("partition", partition, MEASURED, of=where)
    if partition.startswith("lesion") and files["truth"] is None:
        raise UserError(f"{where} is of {partition} but names no truth: give the lesion mask.")
    return Entry(
        id="_".join(filter(None, stated)) or key,
        partition=partition,
        **files,
        subject=stated[0] or subject,
        session=stated[1] or session,
        site=row.get("site", "").strip() or None,
        age=_age(row.get("age", ""), where),
        sex=_sex(row.get("sex", ""), where),
        lesion_kind=row.get("lesion_kind", "").strip() or None,
    )


def _file(cell: str, path: Path, where: str) -> Path | None:
    """The file that a cell names; "" is none."""
    if not cell.strip():
        return None
    found = path.parent / Path(cell.strip()).expanduser()
    if not found.is_file():
        raise UserError(f"{where} names {quote_cell(cell)}, and {found} is not a file.")
    return found


def _age(cell: str, where: str) -> float | None:
    age = parse_number(cell)
    if cell.strip() and (age is None or not 0 <= age <= OLDEST_YEARS):
        raise UserError(f"{where} has the age {quote_cell(cell)}; expected years from 0 to {OLDEST_YEARS:g}.")
    return age


def _sex(cell: str, where: str) -> str | None:
    word = cell.strip().lower()
    if word and word not in SEXES:
        raise UserError(f"{where} has the sex {quote_cell(cell)}; expected F or M, or nothing.")
    return SEXES.get(word)
