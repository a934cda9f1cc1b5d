"""What adapters share: files and tables as downloads have them."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from uadbench.errors import UserError
from uadbench.subject import LeftOut

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


def by_session(
    root: Path, pattern: str, contrasts: Mapping[str, str]
) -> tuple[dict[tuple[str, ...], dict[str, Path]], list[LeftOut]]:
    """Images by who and when, then by contrast, and the second copies of an image.

    The last group of the pattern is looked up in `contrasts` (by lower case), the groups before it say who
    and when (in upper case). Files in a folder `masks` are the user's own masks, and none of these.
    """
    sessions: dict[tuple[str, ...], dict[str, Path]] = {}
    surplus = []
    for path, name in files(root, pattern):
        if path.parent.name.lower() == "masks":
            continue
        *who, contrast = name.groups()
        images = sessions.setdefault(tuple(part.upper() for part in who), {})
        first = images.setdefault(contrasts[contrast.lower()], path)
        if first != path:
            reason = f"a second copy beside {first.relative_to(root)}"
            surplus.append(LeftOut(str(path.relative_to(root)), reason))
    return sessions, surplus


def own_masks(root: Path) -> dict[str, Path]:
    """The brain masks that the user has made: the volumes in folders named `masks`, by name in lower case."""
    found = files(root, r".*\.(nii|nii\.gz|hdr)")
    return {path.name.lower(): path for path, _ in found if path.parent.name.lower() == "masks"}


def own_mask(masks: Mapping[str, Path], stem: str) -> Path | None:
    """The mask whose name is a stem, or begins with it and goes on with neither letter nor digit."""
    named = re.compile(re.escape(stem.lower()) + r"[^0-9a-z].*")
    return next((path for name, path in masks.items() if named.fullmatch(name)), None)


def own_masks_of(masks: Mapping[str, Path], images: Mapping[str, Path]) -> dict[str, Path]:
    """The user's mask of each contrast: `masks/<name of the image file>`, with any ending."""
    found = {contrast: own_mask(masks, path.name.split(".nii")[0]) for contrast, path in images.items()}
    return {contrast: path for contrast, path in found.items() if path is not None}


def age_and_sex(row: Row) -> tuple[float | None, str | None]:
    """Age in years, and sex as "F" or "M", from columns that are named so; None where it is not said."""
    cells = {column.lower(): cell for column, cell in row.items()}
    sexes = (cells.get(column, "").lower() for column in ("sex", "gender", "gender_text", "m/f"))
    sex = next((text[0].upper() for text in sexes if text in ("f", "m", "female", "male")), None)
    return number(cells.get("age")), sex


def without_image(table: Path, ids: Iterable[str]) -> Iterator[LeftOut]:
    """The rows of a table for which there is no image, as one item."""
    rest = sorted(ids)
    if rest:
        yield LeftOut(table.name, f"rows without an image: {len(rest)}, {', '.join(rest[:5])} ...")
