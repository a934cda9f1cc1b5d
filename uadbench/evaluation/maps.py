"""Maps: score map and pseudo-healthy volume of one scan, stored on the model grid."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from isal import isal_zlib
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
        cost = stored.metadata()
        names = stored.keys()
        return StoredMap(
            score_map=stored.get_tensor("score_map"),
            pseudo_healthy=stored.get_tensor("pseudo_healthy") if "pseudo_healthy" in names else None,
            seconds=float(cost["seconds"]),
            peak_memory_mb=float(cost["peak_memory_mb"]),
        )


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
