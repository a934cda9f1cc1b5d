"""Traps of names, folders and tables: what downloads contain to one's surprise, put into a fixture.

See `uadbench.testing.traps`.
"""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

from uadbench.data import suffixes
from uadbench.testing.scene import Scene, Trap, trap, voxel_file

STORE = ".store"  # a hidden folder, which nobody looks into
YEARS = 25  # by which an age contradicts another


# ---- names and folders ----


def _mixed_case(scene: Scene) -> None:
    """The name of the first image in the other case, but for its ending."""
    path = scene.images()[0]
    for part in {path, voxel_file(path)}:
        stem, dot, ending = part.name.partition(".nii") if ".nii" in part.name else part.name.rpartition(".")
        part.rename(part.with_name(stem.swapcase() + dot + ending))


def _capital_suffixes(scene: Scene) -> None:
    """Every volume ends in .NII.GZ, .HDR and so on."""
    for _, path in scene.pictures:
        for part in {path, voxel_file(path)}:
            stem = str(suffixes.volume_stem(part))
            part.rename(part.with_name(stem + part.name[len(stem) :].upper()))


def _folder_with_space(scene: Scene) -> None:
    """Everything one folder deeper."""
    inner = scene.root / "my copy (2)"
    inner.mkdir()
    for path in sorted(scene.root.iterdir()):
        if path != inner:
            shutil.move(path, inner / path.name)


def _doubled_folders(scene: Scene) -> None:
    """Every folder of files holds nothing but a folder of its own name, with the files in it."""
    for folder in {path.parent for _, path in scene.pictures} - {scene.root}:
        inner = folder / folder.name
        inner.mkdir()
        for path in sorted(folder.iterdir()):
            if path != inner:
                path.rename(inner / path.name)


def _linked_folders(scene: Scene) -> None:
    """Every folder right under the root is a link, and there is a link in a circle."""
    store = scene.root / STORE
    store.mkdir()
    for folder in sorted(path for path in scene.root.iterdir() if path.is_dir() and path != store):
        folder.rename(store / folder.name)
        folder.symlink_to(Path(STORE) / folder.name, target_is_directory=True)
        (store / folder.name / "circle").symlink_to(scene.root, target_is_directory=True)


def _absent_content(scene: Scene) -> None:
    """The victim's files are links to content that was not fetched, as DataLad leaves them."""
    for _, path in scene.of(scene.victim):
        for part in {path, voxel_file(path)}:
            part.unlink()
            part.symlink_to(Path(".git/annex/objects") / part.name)


# ---- tables ----


def _changed(change: Callable[[list[list[str]], int], None]) -> Callable[[Scene], None]:
    """Change the rows of every table; the victim's row has the number that is given."""

    def spring(scene: Scene) -> None:
        for table in scene.tables:
            separator = max(",;\t", key=table.read_text(encoding="utf-8").count)
            with open(table, encoding="utf-8", newline="") as opened:
                rows = list(csv.reader(opened, delimiter=separator))
            change(rows, scene.victim)
            with open(table, "w", encoding="utf-8", newline="") as opened:
                csv.writer(opened, delimiter=separator, lineterminator="\n").writerows(rows)

    return spring


def _age(rows: list[list[str]]) -> int:
    """The place of the column of ages."""
    return next(place for place, title in enumerate(rows[0]) if title.lower().startswith("age"))


def _contradict(rows: list[list[str]], victim: int) -> None:
    place = _age(rows)
    again = list(rows[victim])
    again[place] = str(float(again[place]) + YEARS)
    rows.append(again)


def _spoil_age(rows: list[list[str]], victim: int) -> None:
    rows[victim][_age(rows)] = "nan"


def _remark(rows: list[list[str]], victim: int) -> None:
    rows.insert(0, ["Downloaded by hand, ages in years"])
    rows.append(["Source: the pages of the data set"])


def _unicode_text(scene: Scene) -> None:
    """As a spreadsheet program saves "Unicode text"."""
    for table in scene.tables:
        text = table.read_text(encoding="utf-8").replace(",", "\t").replace(";", "\t")
        table.write_text(text, encoding="utf-16")


def _semicolons(scene: Scene) -> None:
    for table in scene.tables:
        text = table.read_text(encoding="utf-8")
        separator = "\t" if "\t" in text else ","
        table.write_text(text.replace(separator, ";"), encoding="utf-8")


def _row_without_file(scene: Scene) -> None:
    for _, path in scene.of(scene.victim):
        for part in {path, voxel_file(path)}:
            part.unlink()


def _file_without_row(scene: Scene) -> None:
    for table in scene.tables:
        lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
        del lines[scene.victim]
        table.write_text("".join(lines), encoding="utf-8")


NAME_TRAPS: dict[str, Trap] = {
    "mixed_case": trap(_mixed_case, "image", "names in another case"),
    "capital_suffixes": trap(_capital_suffixes, "image", "suffixes in capitals"),
    "folder_with_space": trap(_folder_with_space, "image", "one folder deeper, with a space in its name"),
    "doubled_folders": trap(_doubled_folders, "image", "every folder inside one of its own name"),
    "linked_folders": trap(_linked_folders, "image", "linked folders, and a link in a circle"),
    "absent_content": trap(_absent_content, "image", "links whose content was not fetched"),
    "semicolons": trap(_semicolons, "table", "a table separated by semicolons"),
    "unicode_text": trap(_unicode_text, "table", "a table in UTF-16"),
    "remark_lines": trap(_changed(_remark), "table", "a remark above a table and one below it"),
    "contradicting_rows": trap(_changed(_contradict), "table", "two rows of a subject that contradict"),
    "impossible_age": trap(_changed(_spoil_age), "table", "an age that is none"),
    "row_without_file": trap(_row_without_file, "table", "a row of a table without a file"),
    "file_without_row": trap(_file_without_row, "table", "a file without a row in the table"),
}
