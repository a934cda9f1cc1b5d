"""What adapters share: files and tables as downloads have them."""

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from uadbench.errors import UserError

Row = Mapping[str, str]  # column -> cell


def files(root: Path, pattern: str) -> Iterator[tuple[Path, re.Match[str]]]:
    """Files anywhere under `root` whose name matches a regular expression, in either case, sorted.

    The `._` files that macOS leaves beside the real ones are passed over.
    """
    compiled = re.compile(pattern, re.IGNORECASE)
    for path in sorted(root.rglob("*")):
        match = compiled.fullmatch(path.name)
        if match and not path.name.startswith("._") and path.is_file():
            yield path, match


def folders(root: Path, pattern: str) -> Iterator[tuple[Path, re.Match[str]]]:
    """Folders anywhere under `root` (and `root` itself) whose name matches, in either case, sorted."""
    compiled = re.compile(pattern, re.IGNORECASE)
    for path in sorted([root.absolute(), *root.absolute().rglob("*")]):
        match = compiled.fullmatch(path.name)
        if match and path.is_dir():
            yield path, match


def one(folder: Path, pattern: str) -> Path | None:
    """The file right in a folder whose name matches, in either case; the first of several."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not path.name.startswith("._") and re.fullmatch(pattern, path.name, re.IGNORECASE):
            return path
    return None


def table(path: Path, id_column: str) -> dict[str, list[Row]]:
    """Rows of a table by id; several rows of one id stay several.

    Text separated by comma, semicolon or tab, or an Excel file of the old kind (.xls).
    """
    rows: dict[str, list[Row]] = {}
    for row in _excel(path) if path.suffix.lower() == ".xls" else _text(path):
        if id_column not in row:
            raise UserError(
                f"{path} has the columns {', '.join(row)}; expected is one named {id_column}: "
                "use the table as it was published."
            )
        if row[id_column]:
            rows.setdefault(row[id_column], []).append(row)
    return rows


def _text(path: Path) -> Iterator[Row]:
    text = path.read_text(encoding="utf-8-sig")
    header = text.split("\n", 1)[0]
    separator = max(",;\t", key=header.count)
    for row in csv.DictReader(text.splitlines(), delimiter=separator):
        # Cells beyond the header have the key None; short rows have the value None.
        yield {key.strip(): (cell or "").strip() for key, cell in row.items() if key is not None}


def _excel(path: Path) -> Iterator[Row]:
    import pandas

    for row in pandas.read_excel(path, dtype=str).fillna("").to_dict("records"):
        yield {str(key).strip(): str(cell).strip() for key, cell in row.items()}


def number(text: str | None) -> float | None:
    """A number in a table; None where the cell is empty or says so in words."""
    try:
        return float((text or "").replace(",", "."))
    except ValueError:
        return None
