"""Corruptions of names, folders and tables. See `uadbench.testing.corruptions`."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

from uadbench.data import suffixes
from uadbench.testing.corruptions import Corruption, Scene, find_voxels

STORE = ".store"  # a hidden folder, which nobody looks into
YEARS = 25  # by which an age contradicts another
Rows = list[list[str]]


def _swap_case(scene: Scene) -> None:
    path = scene.images()[0]
    for part in {path, find_voxels(path)}:
        stem, dot, ending = part.name.partition(".nii") if ".nii" in part.name else part.name.rpartition(".")
        part.rename(part.with_name(stem.swapcase() + dot + ending))


def _raise_suffixes(scene: Scene) -> None:
    for part in scene.parts():
        stem = str(suffixes.volume_stem(part))
        part.rename(part.with_name(stem + part.name[len(stem) :].upper()))


def _deepen(folders: Iterable[Path], name: str = "") -> None:
    """Move everything in a folder into a new one in it, of the same name or another."""
    for folder in folders:
        content, inner = sorted(folder.iterdir()), folder / (name or folder.name)
        inner.mkdir()
        for path in content:
            path.rename(inner / path.name)


def _link_folders(scene: Scene) -> None:
    store = scene.root / STORE
    store.mkdir()
    for folder in sorted(path for path in scene.root.iterdir() if path.is_dir() and path != store):
        folder.rename(store / folder.name)
        folder.symlink_to(Path(STORE) / folder.name, target_is_directory=True)
        (store / folder.name / "circle").symlink_to(scene.root, target_is_directory=True)


def _take_content(scene: Scene) -> None:
    for part in scene.parts(scene.target):
        part.unlink()
        part.symlink_to(Path(".git/annex/objects") / part.name)


def _change_rows(change: Callable[[Rows, int], object]) -> Corruption:
    """A change of every table's rows; the target's row has the number that is given."""

    def apply(scene: Scene) -> None:
        for table in scene.tables:
            separator = max(",;\t", key=table.read_text(encoding="utf-8").count)
            with open(table, encoding="utf-8", newline="") as opened:
                rows = list(csv.reader(opened, delimiter=separator))
            change(rows, scene.target)
            with open(table, "w", encoding="utf-8", newline="") as opened:
                csv.writer(opened, delimiter=separator, lineterminator="\n").writerows(rows)

    return Corruption(apply, "table")


def _age_column(rows: Rows) -> int:
    return next(place for place, title in enumerate(rows[0]) if title.lower().startswith("age"))


def _contradict(rows: Rows, target: int) -> None:
    again, age = list(rows[target]), _age_column(rows)
    again[age] = str(float(again[age]) + YEARS)
    rows.append(again)


def _spoil_age(rows: Rows, target: int) -> None:
    rows[target][_age_column(rows)] = "nan"


def _add_remarks(rows: Rows, target: int) -> None:
    rows.insert(0, ["Downloaded by hand, ages in years"])
    rows.append(["Source: the pages of the data set"])


def _separate_anew(separator: str, encoding: str) -> Corruption:
    """Tables with another separator, in another encoding."""

    def apply(scene: Scene) -> None:
        for table in scene.tables:
            text = table.read_text(encoding="utf-8")
            before = "\t" if "\t" in text else ";" if ";" in text else ","
            table.write_text(text.replace(before, separator), encoding=encoding)

    return Corruption(apply, "table")


def _remove_files(scene: Scene) -> None:
    for part in scene.parts(scene.target):
        part.unlink()


NAME_CORRUPTIONS = {
    "mixed_case": Corruption(_swap_case, "image"),  # the first image's name in the other case
    "capital_suffixes": Corruption(_raise_suffixes, "image"),  # .NII.GZ, .HDR and so on
    "folder_with_space": Corruption(lambda scene: _deepen([scene.root], "my copy (2)"), "image"),
    # every folder of files inside one of its own name
    "doubled_folders": Corruption(
        lambda scene: _deepen({path.parent for _, path in scene.pictures} - {scene.root}), "image"
    ),
    "linked_folders": Corruption(_link_folders, "image"),  # and a link in a circle
    "absent_content": Corruption(_take_content, "image"),  # links without content, as DataLad leaves them
    "semicolons": _separate_anew(";", "utf-8"),
    "unicode_text": _separate_anew("\t", "utf-16"),  # as a spreadsheet program saves "Unicode text"
    "remark_lines": _change_rows(_add_remarks),  # above a table and below it
    "contradicting_rows": _change_rows(_contradict),  # two of one subject
    "impossible_age": _change_rows(_spoil_age),
    "row_without_file": Corruption(_remove_files, "table"),
    "file_without_row": _change_rows(lambda rows, target: rows.pop(target)),
}
