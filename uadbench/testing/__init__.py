"""Testing: fixtures of every data set, and the contracts of methods and of data sets.

A fixture is a few simulated subjects in the layout of a data set, with its names, tables, labels and voxels;
it lets every data set run end to end without a download. `datasets/<name>/fixture.py` says how it looks:

    KIND         kind of lesion, None for healthy people
    LAYOUTS      names of the known variants of the layout; the first is the usual one
    REPEATS      those of them in which a subject may be scanned twice
    files(visits, layout) -> Iterator[Picture | SliceFolder | Table]
    CORRUPTIONS  corruptions of its own, by name (optional), see `uadbench.testing.corruptions`

The contracts lie in `uadbench.testing.method_contract` and `uadbench.testing.dataset_contract`.
"""

import csv
import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from uadbench import catalog, datasets
from uadbench.system.errors import UserError, check_known
from uadbench.testing import heads
from uadbench.testing.corruptions import CORRUPTIONS, Corruption, Scene, list_contents
from uadbench.testing.heads import Lattice, Picture, Visit
from uadbench.testing.name_corruptions import NAME_CORRUPTIONS
from uadbench.testing.slices import SliceFolder, write_slices

__all__ = [
    "Corruption",
    "Lattice",
    "Picture",
    "Scene",
    "SliceFolder",
    "Table",
    "Visit",
    "corruption_names",
    "fixture_layouts",
    "fixture_names",
    "write_fixture",
]

NOTE_TEXT = """\
Made by `uadbench fixture {name}`: simulated subjects in the layout of {name} ({layout}).
Seed: {seed}. Corruptions: {corruptions}.
Nobody was scanned. The numbers that come of these files say nothing about patients or methods.
"""
REPEAT = "repeat_scan"


@dataclass(frozen=True)
class Table:
    """A table of a fixture: one row for each visit, in their order."""

    path: str  # relative to the root
    rows: Sequence[Mapping[str, str]]
    separator: str = ","


def fixture_names() -> list[str]:
    """The data sets that have a fixture, sorted."""
    return [n for n in datasets.names() if (catalog.locate("datasets", n) / "fixture.py").is_file()]


def fixture_layouts(name: str) -> tuple[str, ...]:
    """The variants of a data set's layout, the usual one first."""
    return tuple(_load(name).LAYOUTS)


def corruption_names(name: str, layout: str | None = None) -> list[str]:
    """The corruptions that a data set's fixture can hold, sorted."""
    module, layout = _load(name), _known_layout(name, layout)
    return sorted([*_corruptions(module, layout), *([REPEAT] if layout in module.REPEATS else [])])


def write_fixture(
    name: str,
    out: Path,
    subjects: int = 6,
    corruptions: Sequence[str] = (),
    seed: int = 0,
    layout: str | None = None,
) -> None:
    """Write a fixture of a data set into a new or empty folder.

    Each corruption befalls one of the subjects, the second and so on, or where it is in its nature all of
    them. Same arguments, same bytes. An unknown data set, layout or corruption is a UserError that lists the
    known ones.
    """
    module, layout = _load(name), _known_layout(name, layout)
    there = corruption_names(name, layout)
    for corruption in corruptions:
        check_known("corruption", corruption, there, of=f"the fixture of {name} ({layout})")
    if subjects < 1:
        raise UserError(f"A fixture needs at least one subject; asked for were {subjects}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already and not an empty folder: name a new one for the fixture.")
    visits = _visits(subjects, REPEAT in corruptions, module.KIND, seed)
    scene = _write_files(out, module.files(visits, layout), module.KIND, seed)
    known = _corruptions(module, layout)
    for order, corruption in enumerate(dict.fromkeys(c for c in corruptions if c != REPEAT)):
        target = 2 + order % (subjects - 1) if subjects > 1 else 1
        known[corruption].apply(replace(scene, target=target))
    said = {"name": name, "layout": layout, "seed": seed, "corruptions": ", ".join(corruptions) or "none"}
    (out / datasets.FIXTURE_NOTE).write_text(NOTE_TEXT.format(**said), encoding="utf-8")


def _load(name: str) -> ModuleType:
    """The module `datasets/<name>/fixture.py`; a data set without one lists those that have one."""
    check_known("fixture of data set", name, fixture_names())
    datasets.load(name)  # takes care of folders outside the project
    return importlib.import_module(f"uadbench.datasets.{name}.fixture")


def _known_layout(name: str, layout: str | None) -> str:
    known = fixture_layouts(name)
    layout = known[0] if layout is None else layout
    check_known("layout", layout, known, of=f"the fixture of {name}")
    return layout


def _corruptions(module: ModuleType, layout: str) -> dict[str, Corruption]:
    """The corruptions that fit what a data set's fixture holds."""
    files = list(module.files(_visits(1, False, module.KIND, 0), layout))
    pictures = [file for file in files if isinstance(file, Picture)]
    there = list_contents(pictures, any(isinstance(file, Table) for file in files))
    known: dict[str, Corruption] = CORRUPTIONS | NAME_CORRUPTIONS | getattr(module, "CORRUPTIONS", {})
    return {name: one for name, one in known.items() if there.issuperset(one.needs.split())}


def _visits(subjects: int, repeat: bool, kind: str | None, seed: int) -> list[Visit]:
    """A visit of each subject, and perhaps a second one of the first subject."""
    whole = [(number, number, 1) for number in range(1, subjects + 1)]
    if repeat:
        whole.append((subjects + 1, 1, 2))
    return [heads.make_visit(*numbers, kind, seed) for numbers in whole]


def _write_files(
    out: Path, files: Iterable[Picture | SliceFolder | Table], kind: str | None, seed: int
) -> Scene:
    """Write every file of a fixture."""
    pictures, tables = [], []
    for file in files:
        if isinstance(file, SliceFolder):
            write_slices(out, file, kind, seed)
        elif isinstance(file, Table):
            tables.append(_write_table(out, file))
        else:
            path, code = out / file.path, "mni" if file.space == "MNI152" else "scanner"
            heads.write_scan(path, heads.show_picture(file, kind, seed), code)
            pictures.append((file, path))
    return Scene(out, pictures, tables)


def _write_table(out: Path, table: Table) -> Path:
    path = out / table.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, list(table.rows[0]), delimiter=table.separator, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table.rows)
    return path
