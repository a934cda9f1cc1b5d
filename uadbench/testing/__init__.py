"""Fixtures: a few phantom people in the layout of a data set, with its file names, tables, labels and voxels.

A fixture lets every data set run end to end without a download. What a data set's files look like is said
by `datasets/<name>/fixture.py`:

    KIND      kind of lesion, None for healthy people
    LAYOUTS   names of the known variants of the layout; the first is the usual one
    REPEATS   those of them in which a subject may be scanned twice
    files(visits, layout) -> Iterator[Picture | SliceFolder | Table]
    TRAPS     traps of its own, by name (optional)

Traps are what real files contain to one's surprise, see `uadbench.testing.traps`.
"""

import csv
import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from uadbench import catalog, datasets
from uadbench.system.errors import UserError, unknown
from uadbench.testing import heads, slices
from uadbench.testing.heads import Lattice, Picture, Visit
from uadbench.testing.scene import Scene, Trap
from uadbench.testing.slices import SliceFolder
from uadbench.testing.traps import TRAPS, held

__all__ = [
    "Lattice",
    "Picture",
    "Scene",
    "SliceFolder",
    "Table",
    "Trap",
    "Visit",
    "layouts",
    "names",
    "trap_names",
    "write_fixture",
]

NOTE_TEXT = """\
Made by `uadbench fixture {name}`: phantom people in the layout of {name} ({layout}).
Seed: {seed}. Traps: {traps}.
Nobody was scanned. The numbers that come of these files say nothing about patients or methods.
"""
REPEAT = "repeat_scan"


@dataclass(frozen=True)
class Table:
    """A table of a fixture: one row for each visit, in their order."""

    path: str  # relative to the root
    rows: Sequence[Mapping[str, str]]
    separator: str = ","


def names() -> list[str]:
    """The data sets that have a fixture, sorted."""
    return [n for n in datasets.names() if (catalog.locate("datasets", n) / "fixture.py").is_file()]


def layouts(name: str) -> tuple[str, ...]:
    """The variants of a data set's layout, the usual one first."""
    return tuple(_module(name).LAYOUTS)


def trap_names(name: str, layout: str | None = None) -> list[str]:
    """The traps that a data set's fixture can hold, sorted."""
    module = _module(name)
    layout = _layout(name, layout)
    repeat = [REPEAT] if layout in module.REPEATS else []
    return sorted([*_traps(module, layout), *repeat])


def write_fixture(
    name: str,
    out: Path,
    subjects: int = 6,
    traps: Sequence[str] = (),
    seed: int = 0,
    layout: str | None = None,
) -> None:
    """Write a fixture of a data set into a new or empty folder.

    Each trap befalls one of the subjects, the second and so on, or where it is in its nature all of them.
    Same arguments, same bytes. An unknown data set, layout or trap is a UserError that lists the known ones.
    """
    module, layout = _module(name), _layout(name, layout)
    there = trap_names(name, layout)
    for trap in traps:
        if trap not in there:
            raise unknown("trap", trap, there, of=f"the fixture of {name} ({layout})")
    if subjects < 1:
        raise UserError(f"A fixture needs at least one subject; asked for were {subjects}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already and not an empty folder: name a new one for the fixture.")
    visits = _visits(subjects, REPEAT in traps, module.KIND, seed)
    scene = _write(out, module.files(visits, layout), module.KIND, seed)
    acts = _traps(module, layout)
    for order, trap in enumerate(dict.fromkeys(t for t in traps if t != REPEAT)):
        victim = 2 + order % (subjects - 1) if subjects > 1 else 1
        acts[trap].spring(scene.with_victim(victim))
    said = {"name": name, "layout": layout, "seed": seed, "traps": ", ".join(traps) or "none"}
    (out / datasets.FIXTURE_NOTE).write_text(NOTE_TEXT.format(**said), encoding="utf-8")


def _module(name: str) -> ModuleType:
    """The module `datasets/<name>/fixture.py`; a data set without one lists those that have one."""
    if name not in names():
        raise unknown("fixture of data set", name, names())
    datasets.load(name)  # takes care of folders outside the project
    return importlib.import_module(f"uadbench.datasets.{name}.fixture")


def _layout(name: str, layout: str | None) -> str:
    known = layouts(name)
    if layout is not None and layout not in known:
        raise unknown("layout", layout, known, of=f"the fixture of {name}")
    return layout or known[0]


def _traps(module: ModuleType, layout: str) -> dict[str, Trap]:
    """The traps that fit what a data set's fixture holds."""
    files = list(module.files(_visits(1, False, module.KIND, 0), layout))
    pictures = [file for file in files if isinstance(file, Picture)]
    there = held(pictures, any(isinstance(file, Table) for file in files))
    own: dict[str, Trap] = getattr(module, "TRAPS", {})
    return {name: trap for name, trap in (TRAPS | own).items() if trap.needs <= there}


def _visits(subjects: int, repeat: bool, kind: str | None, seed: int) -> list[Visit]:
    """A visit of each subject, and perhaps a second one of the first subject."""
    whole = [(number, number, 1) for number in range(1, subjects + 1)]
    if repeat:
        whole.append((subjects + 1, 1, 2))
    return [heads.make_visit(*numbers, kind, seed) for numbers in whole]


def _write(out: Path, files: Iterable[Picture | SliceFolder | Table], kind: str | None, seed: int) -> Scene:
    """Write every file of a fixture."""
    pictures, tables = [], []
    for file in files:
        if isinstance(file, SliceFolder):
            slices.save(out, file, kind, seed)
            continue
        path = out / file.path
        if isinstance(file, Table):
            _write_table(path, file)
            tables.append(path)
        else:
            heads.save(path, heads.see(file, kind, seed), "mni" if file.space == "MNI152" else "scanner")
            pictures.append((file, path))
    return Scene(out, pictures, tables)


def _write_table(path: Path, table: Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, list(table.rows[0]), delimiter=table.separator, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table.rows)
