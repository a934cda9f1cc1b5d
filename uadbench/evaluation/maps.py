"""Maps: score map and pseudo-healthy volume of one scan, stored on the model grid."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uadbench.files import replacing
from uadbench.methods import Score


@dataclass(frozen=True)
class StoredMap:
    """A score with the seconds it took."""

    score_map: NDArray[np.float32]  # (R, A, S)
    pseudo_healthy: NDArray[np.float32] | None  # (C, R, A, S)
    seconds: float
    peak_memory_mb: float


def write(path: Path, score: Score, seconds: float, peak_memory_mb: float) -> None:
    """Store a score atomically."""
    from safetensors.numpy import save

    tensors = {"score_map": np.ascontiguousarray(score.score_map)}
    if score.pseudo_healthy is not None:
        tensors["pseudo_healthy"] = np.ascontiguousarray(score.pseudo_healthy)
    cost = {"seconds": repr(seconds), "peak_memory_mb": repr(peak_memory_mb)}
    with replacing(path) as partial:
        partial.write_bytes(save(tensors, metadata=cost))


def read(path: Path) -> StoredMap:
    """Read a stored score."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as stored:
        cost = stored.metadata()
        names = stored.keys()
        return StoredMap(
            score_map=stored.get_tensor("score_map"),
            pseudo_healthy=stored.get_tensor("pseudo_healthy") if "pseudo_healthy" in names else None,
            seconds=float(cost["seconds"]),
            peak_memory_mb=float(cost["peak_memory_mb"]),
        )


def whole(path: Path) -> bool:
    """Whether a stored score is there and can be read."""
    from safetensors import SafetensorError

    if not path.exists():
        return False
    try:
        read(path)
    except SafetensorError:
        return False
    return True
