"""Maps: score map and pseudo-healthy volume of one scan, stored on the model grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uadbench.methods import Score
from uadbench.system import tensors
from uadbench.system.environment import Cost


@dataclass(frozen=True)
class StoredMap:
    """A stored score."""

    score_map: NDArray[np.float32]  # (R, A, S)
    pseudo_healthy: NDArray[np.float32] | None  # (C, R, A, S)
    draws: NDArray[np.float32] | None = None  # (draws, R, A, S), of which the map is the mean


def write(
    path: Path,
    score: Score,
    seconds: float,
    peak_memory_mb: float,
    draws: Sequence[NDArray[np.float32]] = (),
) -> None:
    """Store a score atomically, and the single draws where it is the mean of several."""
    arrays = {"score_map": np.ascontiguousarray(score.score_map)}
    if score.pseudo_healthy is not None:
        arrays["pseudo_healthy"] = np.ascontiguousarray(score.pseudo_healthy)
    if draws:
        arrays["draws"] = np.stack(draws)
    tensors.write(path, arrays, {"seconds": seconds, "peak_memory_mb": peak_memory_mb})


def read(path: Path) -> StoredMap:
    """Read a stored score."""
    stored = tensors.open_stored(path)
    found = {name: stored.read(name) for name in stored.arrays}
    return StoredMap(found["score_map"], found.get("pseudo_healthy"), found.get("draws"))


def cost(path: Path) -> Cost:
    """What a stored score took."""
    said = tensors.open_stored(path).facts
    return Cost(float(said["seconds"]), float(said["peak_memory_mb"]))


def whole(path: Path) -> bool:
    """Whether a stored score is there, to the bit as it was written."""
    try:
        stored = tensors.open_stored(path)
        return "score_map" in stored.arrays and tensors.is_whole(stored)
    except (OSError, tensors.DamagedError):
        return False
