"""Sheets: tables as downloads have them, read into rows of cells: text in any usual encoding, and Excel.

Nothing is made of the cells here; what they say about subjects is read in `uadbench.data.tables`.
"""

import csv
import io
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from uadbench.system.errors import UserError
from uadbench.system.files import open_file

Sheet = list[list[str]]  # rows of cells

LARGEST_BYTES = 8 * 2**20  # a table of people is smaller, packed and unpacked
MOST_ROWS, MOST_COLUMNS = 200_000, 1_000
SEPARATORS = ",;\t|"
OLD_EXCEL = (
    b"\xd0\xcf\x11\xe0",
    b"\x09\x00",
    b"\x09\x02",
    b"\x09\x04",
    b"\x09\x08",
)  # OLE2; BIFF 2 to 8 alone
ZIP = b"PK\x03\x04"
MARKS = {  # byte order marks, the longer ones first
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
PAGE = re.compile(r"\s*<(!|\?|html|head|body|meta|style|script|table|div|p|tr)", re.IGNORECASE)


def read_sheets(path: Path) -> list[Sheet]:
    """The sheets of an Excel file, or a text parted at each of the usual separators in turn.

    What a file is, its first bytes say and not its name. One that is no table is a UserError that says what
    it is.
    """
    try:
        size = path.stat().st_size
        with open_file(path) as opened:
            content = opened.read() if size <= LARGEST_BYTES else b""
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): fetch the table again.") from error
    if size > LARGEST_BYTES:
        raise UserError(f"{path} has {size} bytes: that is not a table of subjects; remove it.")
    if not content.strip(b" \t\r\n\x00"):
        raise UserError(f"{path} is empty: fetch the table again.")
    if content.startswith(ZIP):
        return _excel(path, content, _new_excel)
    if content.startswith(OLD_EXCEL):
        return _excel(path, content, _old_excel)
    text = _text(path, content)
    return [_parted(text, separator) for separator in SEPARATORS]


def _text(path: Path, content: bytes) -> str:
    """The text of a table; in another encoding than Unicode every byte is a letter."""
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), None)
    if encoding is None:  # every other byte of Latin letters in UTF-16 is 0
        zeros = {"utf-16-be": content[:200:2].count(0), "utf-16-le": content[1:200:2].count(0)}
        encoding = next((name for name, count in zeros.items() if count > len(content[:200]) / 5), None)
    try:
        text = content.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1") if encoding is None else content.decode(encoding, "replace")
    if "\x00" in text:
        raise UserError(f"{path} is not a text table: fetch it again, or save it as CSV.")
    if PAGE.match(text):
        raise UserError(
            f"{path} is a page (HTML or XML), not a table: open it in a spreadsheet "
            "program and save it as CSV."
        )
    return text.lstrip("\ufeff")


def _parted(text: str, separator: str) -> Sheet:
    """Rows of a text; where a quotation mark without partner swallows lines, marks are nothing special."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=None), delimiter=separator))
        if not any("\n" in cell for row in rows for cell in row):
            return _clean(rows)
    except csv.Error:  # a cell of more characters than the module allows
        pass
    return _clean([cell.strip('"') for cell in line.split(separator)] for line in text.splitlines())


def _clean(rows: Iterable[Iterable[str]]) -> Sheet:
    return [[cell.strip() for cell in row] for row in rows]


# ---- Excel ----


def _excel(path: Path, content: bytes, sheets: Any) -> list[Sheet]:
    """The sheets of an Excel file; its readers raise whatever a damaged file makes of their code."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and the like
            return [_clean(sheet) for sheet in sheets(content)]
    except UserError as error:
        raise UserError(f"{path} {error}") from None
    except Exception as error:
        raise UserError(
            f"{path} cannot be read as Excel ({type(error).__name__}): fetch it again, or save it as CSV."
        ) from error


def _new_excel(content: bytes) -> Iterator[Iterator[list[str]]]:
    """Sheets of an .xlsx file."""
    import openpyxl

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(member.file_size for member in archive.infolist()) > LARGEST_BYTES:
            raise UserError("unpacks to more than a table of subjects can hold: remove it.")
    book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    for sheet in book.worksheets:
        rows = sheet.iter_rows(max_row=MOST_ROWS, max_col=MOST_COLUMNS, values_only=True)
        yield ([_cell(value) for value in row] for row in rows)


def _old_excel(content: bytes) -> Iterator[Iterator[list[str]]]:
    """Sheets of an .xls file."""
    import xlrd

    silent = io.StringIO()  # what it says about damage nobody can act on
    book = xlrd.open_workbook(file_contents=content, logfile=silent, ragged_rows=True)
    for sheet in book.sheets():
        yield ([_old_cell(cell) for cell in sheet.row(number)] for number in range(sheet.nrows))


def _old_cell(cell: Any) -> str:
    import xlrd

    if cell.ctype == xlrd.XL_CELL_ERROR:  # its value is a number that means nothing
        return str(xlrd.error_text_from_code.get(cell.value, "#error"))
    return _cell(bool(cell.value) if cell.ctype == xlrd.XL_CELL_BOOLEAN else cell.value)


def _cell(value: object) -> str:
    """A cell as the spreadsheet shows it: whole numbers without a point."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
