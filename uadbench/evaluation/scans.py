"""Scans: which prepared scan each stored map is of, written beside the maps.

Maps and prepared scans are named by hashes; with this list a page finds the pictures of a subject without
the raw data. There is one list for each set of scans: rows that share maps (an untrained method on several
data sets, a run that was limited) do not share their lists.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from uadbench.data.prepared import Prepared
from uadbench.data.session import Session
from uadbench.data.space import Grid, Stack
from uadbench.evaluation.evaluate import Case
from uadbench.system.files import as_json, read_json, sha256, update_text


class _Grid(msgspec.Struct):
    name: str
    shape: tuple[int, int, int]
    spacing_mm: float
    origin_mm: tuple[float, float, float]
    flat: bool

    def made(self) -> Grid:
        return (Stack if self.flat else Grid)(self.name, self.shape, self.spacing_mm, self.origin_mm)


class _Entry(msgspec.Struct):
    partition: str
    contrast: str
    cohort: str
    prepared: str  # below the cache
    grid: _Grid
    map: str  # below the folder of the maps
    map_grid: _Grid


def path(folder: Path, fingerprint: str) -> Path:
    """The list of the scans with a fingerprint (`Cohort.fingerprint`) in a folder of maps."""
    return folder / f"scans-{sha256(fingerprint)[:16]}.json"


def write(folder: Path, fingerprint: str, cases: Sequence[Case]) -> None:
    """Write the list beside the maps of a run."""
    listed = {
        case.prepared.session.id: {
            "partition": case.partition,
            "contrast": case.prepared.contrast,
            "cohort": case.prepared.session.cohort,
            "prepared": f"{case.prepared.path.parent.name}/{case.prepared.path.name}",
            "grid": _facts(case.prepared.grid),
            "map": case.map_file.name,
            "map_grid": _facts(case.map_grid),
        }
        for case in cases
    }
    update_text(path(folder, fingerprint), as_json(listed))


def _facts(grid: Grid) -> dict[str, Any]:
    return asdict(grid) | {"flat": grid.flat}


def read(folder: Path, fingerprint: str, cache: Path) -> dict[str, Case]:
    """The evaluated scans of a run by subject id, as far as maps and prepared scans are there."""
    cases = {}
    for name, entry in (read_json(path(folder, fingerprint), dict[str, _Entry]) or {}).items():
        file, map_file = cache / entry.prepared, folder / entry.map
        if not (file.exists() and map_file.exists()):
            continue
        healthy = entry.partition.startswith("healthy")
        session = Session(id=name, cohort=entry.cohort, subject=name, images={}, healthy=healthy)
        prepared = Prepared(session, entry.contrast, entry.grid.made(), file)
        cases[name] = Case(entry.partition, prepared, map_file, entry.map_grid.made())
    return cases
