"""Maps: score map and pseudo-healthy volume of one scan, stored on the model grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from uadbench.environment import Cost
from uadbench.files import replacing
from uadbench.methods import Score


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
    from safetensors.numpy import save

    tensors = {"score_map": np.ascontiguousarray(score.score_map)}
    if score.pseudo_healthy is not None:
        tensors["pseudo_healthy"] = np.ascontiguousarray(score.pseudo_healthy)
    if draws:
        tensors["draws"] = np.stack(draws)
    facts = {"seconds": repr(seconds), "peak_memory_mb": repr(peak_memory_mb), "crc32": _checksum(tensors)}
    with replacing(path) as partial:
        partial.write_bytes(save(tensors, metadata=facts))


def _checksum(tensors: Mapping[str, NDArray[np.float32]]) -> str:
    """CRC-32 of the arrays' bytes, in the order of their names."""
    total = 0
    for name in sorted(tensors):
        total = isal_zlib.crc32(tensors[name].data.cast("B"), total)
    return str(total)


def read(path: Path) -> StoredMap:
    """Read a stored score."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as stored:
        names = stored.keys()
        return StoredMap(
            score_map=stored.get_tensor("score_map"),
            pseudo_healthy=stored.get_tensor("pseudo_healthy") if "pseudo_healthy" in names else None,
            draws=stored.get_tensor("draws") if "draws" in names else None,
        )


def cost(path: Path) -> Cost:
    """What a stored score took."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as stored:
        said = stored.metadata()
    return Cost(float(said["seconds"]), float(said["peak_memory_mb"]))


def whole(path: Path) -> bool:
    """Whether a stored score is there, and its bytes are those that were written."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return False
    try:
        with safe_open(path, framework="np") as stored:
            tensors = {name: stored.get_tensor(name) for name in list(stored.keys())}
            expected = (stored.metadata() or {}).get("crc32")
    except SafetensorError:
        return False
    return expected in (None, _checksum(tensors))  # older files have no checksum
