"""Scans: which prepared scan each stored map is of, written beside the maps.

Maps and prepared scans are named by hashes; with this list a page finds the pictures of a subject without
the raw data.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from uadbench.evaluation.evaluate import Case
from uadbench.files import write_json
from uadbench.grids import Grid, Stack
from uadbench.prepared import Prepared
from uadbench.subject import Subject

NAME = "scans.json"


def write(folder: Path, cases: Sequence[Case]) -> None:
    """Write the list beside the maps of a run."""
    listed = {
        case.prepared.subject.id: {
            "partition": case.partition,
            "contrast": case.prepared.contrast,
            "cohort": case.prepared.subject.cohort,
            "prepared": f"{case.prepared.path.parent.name}/{case.prepared.path.name}",
            "grid": _facts(case.prepared.grid),
            "map": case.map_file.name,
            "map_grid": _facts(case.map_grid),
        }
        for case in cases
    }
    write_json(folder / NAME, listed)


def _facts(grid: Grid) -> dict[str, Any]:
    return asdict(grid) | {"flat": grid.flat}


def read(folder: Path, cache: Path) -> dict[str, Case]:
    """The evaluated scans of a run by subject id, as far as maps and prepared scans are there."""
    path = folder / NAME
    if not path.exists():
        return {}
    cases = {}
    for name, facts in json.loads(path.read_text(encoding="utf-8")).items():
        file, map_file = cache / facts["prepared"], folder / facts["map"]
        if not (file.exists() and map_file.exists()):
            continue
        healthy = facts["partition"].startswith("healthy")
        subject = Subject(id=name, cohort=facts["cohort"], person=name, images={}, healthy=healthy)
        prepared = Prepared(subject, facts["contrast"], _grid(facts["grid"]), file)
        cases[name] = Case(facts["partition"], prepared, map_file, _grid(facts["map_grid"]))
    return cases


def _grid(facts: dict[str, Any]) -> Grid:
    kind = Stack if facts.pop("flat") else Grid
    known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()}
    return kind(**known)
