"""Maps: score map and pseudo-healthy volume of each scan on the model grid, and whose they are.

Maps and prepared scans are named by hashes; with the list of scans that lies beside the maps a page finds
the pictures of a subject without the raw data. There is one list for each set of scans: rows that share maps
(an untrained method on several data sets, a run that was limited) do not share their lists.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from uadbench.data.prepared import Prepared
from uadbench.data.session import Session
from uadbench.data.space import Grid, Stack
from uadbench.methods import Score
from uadbench.system import tensors
from uadbench.system.environment import Cost
from uadbench.system.files import as_json, read_json, sha256, update_text


@dataclass(frozen=True)
class Case:
    """One scan to be evaluated: labels on its evaluation grid, score map on its model grid."""

    partition: str
    prepared: Prepared
    map_file: Path
    map_grid: Grid


@dataclass(frozen=True)
class StoredMap:
    """A stored score."""

    score_map: NDArray[np.float32]  # (R, A, S)
    pseudo_healthy: NDArray[np.float32] | None  # (C, R, A, S)
    draws: NDArray[np.float32] | None = None  # (draws, R, A, S), of which the map is the mean


def write_map(
    path: Path,
    score: Score,
    seconds: float,
    peak_memory_mb: float,
    draws: Sequence[NDArray[np.float32]] = (),
    peak_device_mb: float | None = None,
) -> None:
    """Store a score atomically, and the single draws where it is the mean of several."""
    arrays = {"score_map": np.ascontiguousarray(score.score_map)}
    if score.pseudo_healthy is not None:
        arrays["pseudo_healthy"] = np.ascontiguousarray(score.pseudo_healthy)
    if draws:
        arrays["draws"] = np.stack(draws)
    facts = {"seconds": seconds, "peak_memory_mb": peak_memory_mb}
    if peak_device_mb is not None:
        facts["peak_device_mb"] = peak_device_mb
    tensors.write(path, arrays, facts)


def read_map(path: Path) -> StoredMap:
    """Read a stored score."""
    stored = tensors.open_stored(path)
    found = {name: stored.read(name) for name in stored.arrays}
    return StoredMap(found["score_map"], found.get("pseudo_healthy"), found.get("draws"))


def read_cost(path: Path) -> Cost:
    """What a stored score took."""
    said = tensors.open_stored(path).facts
    return Cost(float(said["seconds"]), float(said["peak_memory_mb"]), said.get("peak_device_mb"))


def is_whole(path: Path) -> bool:
    """Whether a stored score is there, to the bit as it was written."""
    try:
        stored = tensors.open_stored(path)
        return "score_map" in stored.arrays and tensors.is_whole(stored)
    except (OSError, tensors.DamagedError):
        return False


# ---- the list of scans -----------------------------------------------------------------------------


class _Grid(msgspec.Struct):
    name: str
    shape: tuple[int, int, int]
    spacing_mm: float
    origin_mm: tuple[float, float, float]
    flat: bool

    @classmethod
    def of(cls, grid: Grid) -> "_Grid":
        return cls(**asdict(grid), flat=grid.flat)

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


def scans_path(folder: Path, fingerprint: str) -> Path:
    """The list of the scans with a fingerprint (`Cohort.fingerprint`) in a folder of maps."""
    return folder / f"scans-{sha256(fingerprint)[:16]}.json"


def write_scans(folder: Path, fingerprint: str, cases: Sequence[Case]) -> None:
    """Write the list beside the maps of a run."""
    listed = {
        case.prepared.session.id: _Entry(
            case.partition,
            case.prepared.contrast,
            case.prepared.session.cohort,
            f"{case.prepared.path.parent.name}/{case.prepared.path.name}",
            _Grid.of(case.prepared.grid),
            case.map_file.name,
            _Grid.of(case.map_grid),
        )
        for case in cases
    }
    update_text(scans_path(folder, fingerprint), as_json(msgspec.to_builtins(listed)))


def read_scans(folder: Path, fingerprint: str, cache: Path) -> dict[str, Case]:
    """The evaluated scans of a run by subject id, as far as maps and prepared scans are there."""
    cases = {}
    for name, entry in (read_json(scans_path(folder, fingerprint), dict[str, _Entry]) or {}).items():
        file, map_file = cache / entry.prepared, folder / entry.map
        if not (file.exists() and map_file.exists()):
            continue
        healthy = entry.partition.startswith("healthy")
        session = Session(id=name, cohort=entry.cohort, subject=name, images={}, healthy=healthy)
        prepared = Prepared(session, entry.contrast, entry.grid.made(), file)
        cases[name] = Case(entry.partition, prepared, map_file, entry.map_grid.made())
    return cases
