"""Pieces that add: per-subject counts on fixed score edges (protocol, rule 12).

Curves, pooled metrics, bootstrap and paired tests of a record are made from these, never from voxels
again. The edges are as few as keep the pooled metrics sharp (`pooling.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.evaluation.counting import sharpened_in_memory
from uadbench.evaluation.metrics import Curve, Ranked, Voxels, checked, curve_of, dice
from uadbench.evaluation.pooling import POOLED, Edges, edges_for

# What `Pieces.arrays` holds, for whoever reads it from a file: kind of number, bytes each (None: any), shape;
# "n" is the number of subjects, any other letter the same number wherever it stands.
MEMBERS: Mapping[str, tuple[str, int | None, str]] = {
    "ids": ("U", None, "n"),
    "edges": ("f", 4, "b"),
    "positives": ("u", 1, "pbn"),
    "negatives": ("u", 1, "qbn"),
    "single": ("b", 1, "b"),
}


@dataclass(frozen=True)
class Pieces:
    """Positive and negative voxels of each subject in each cell of score.

    Cell b holds the scores from edges[b] on, up to below edges[b + 1]; the last has no upper end. In a cell
    that is `single` only the edge itself lies: its voxels are tied.
    """

    ids: tuple[str, ...]
    edges: NDArray[np.float32]  # (cells,) ascending
    single: NDArray[np.bool_]  # (cells,)
    positives: NDArray[np.uint32]  # (subjects, cells)
    negatives: NDArray[np.uint32]  # (subjects, cells)

    @classmethod
    def of_counts(cls, ids: Sequence[str], edges: Edges, counts: Sequence[NDArray[np.uint32]]) -> "Pieces":
        """From what `Edges.between` found of each subject."""
        if len(set(ids)) != len(ids) or len(ids) != len(counts):
            raise ValueError(f"Expected counts of distinct ids, got {len(counts)} for {len(ids)}.")
        together = np.array(counts, np.uint32).reshape(len(ids), 2, len(edges.scores))
        counts = [np.ascontiguousarray(together[:, kind]) for kind in (0, 1)]
        return cls(tuple(ids), edges.scores, edges.single, *counts)

    @classmethod
    def of_voxels(
        cls,
        ids: Sequence[str],
        voxels: Sequence[Voxels],
        thresholds: Sequence[float] = (),
        tolerance: float = POOLED,
        rows: Sequence[int] | None = None,
    ) -> "Pieces":
        """From voxels in memory; pooled AP of the chosen rows (default: all) is certain within the tolerance.

        The thresholds (finite or infinite) are edges: counts there are exact.
        """
        subjects = [checked(*own) for own in voxels]
        chosen = subjects if rows is None else [subjects[row] for row in rows]
        edges = edges_for([sharpened_in_memory(chosen, tolerance / 2)], thresholds, tolerance)
        return cls.of_counts(ids, edges, [edges.between(*own) for own in subjects])

    def curve(self, weights: NDArray[np.integer] | None = None) -> Curve:
        """Pooled metrics, each subject counted as often as `weights` (subjects,) says; once by default.

        Of some subjects alone they may be less certain than is promised: see `Curve.certain`.
        """
        times = np.ones(len(self.ids)) if weights is None else np.asarray(weights, np.float64)
        rows = np.flatnonzero(times)
        # Whole numbers below 2 ** 53, which BLAS adds up exactly; numpy has no fast product of integers.
        true, false = (
            times[rows] @ part[rows].astype(np.float64) for part in (self.positives, self.negatives)
        )
        return curve_of(self.edges, Ranked.of(true, false, self.single))

    def dice_at(self, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """True positives, false positives and false negatives, (subjects,) each, at an edge."""
        first = self._bin(threshold)
        true = self.positives[:, first:].sum(1, dtype=np.int64)
        false = self.negatives[:, first:].sum(1, dtype=np.int64)
        return true, false, self.positives.sum(1, dtype=np.int64) - true

    def mean_dice_threshold(self, rows: Any = slice(None)) -> float:
        """The edge with the highest mean Dice over those of the selected subjects that have positives."""
        true, false = (_from_above(counts[rows]) for counts in (self.positives, self.negatives))
        diseased = true[:, 0] > 0
        if not diseased.any():
            return float("nan")
        means = dice(true[diseased], false[diseased], true[diseased, :1]).mean(0)
        return float(self.edges[len(means) - 1 - int(np.argmax(means[::-1]))])  # of equals the highest

    def only(self, rows: Sequence[int]) -> "Pieces":
        """The pieces of some of the subjects."""
        chosen = list(rows)
        ids = tuple(self.ids[row] for row in chosen)
        return replace(self, ids=ids, positives=self.positives[chosen], negatives=self.negatives[chosen])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `from_arrays` needs, laid out so that it compresses well."""
        return {
            "ids": np.array(self.ids),
            "edges": self.edges,
            "single": self.single,
            "positives": _to_planes(self.positives),
            "negatives": _to_planes(self.negatives),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Pieces":
        """The inverse of `arrays`."""
        ids = tuple(str(name) for name in arrays["ids"])
        counts = (_from_planes(arrays[name]) for name in ("positives", "negatives"))
        return cls(ids, arrays["edges"], arrays["single"].astype(bool), *counts)

    def check(self) -> None:
        """Raise a ValueError where the numbers cannot be pieces: edges in disorder, or no numbers."""
        if np.isnan(self.edges).any() or not (self.edges[1:] > self.edges[:-1]).all():
            raise ValueError("the edges are not in ascending order")

    def _bin(self, threshold: float) -> int:
        if np.isposinf(threshold):
            return len(self.edges)
        place = int(np.searchsorted(self.edges, np.float32(threshold)))
        if place == len(self.edges) or float(self.edges[place]) != threshold:
            raise ValueError(
                f"Expected an edge of these pieces as threshold, got {threshold!r}: "
                "name it in `thresholds` when making the pieces."
            )
        return place


def _from_above(counts: NDArray[np.uint32]) -> NDArray[np.int64]:
    """How many lie in each bin or above it, (subjects, bins)."""
    return counts[:, ::-1].cumsum(1, dtype=np.int64)[:, ::-1]


def _to_planes(counts: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Low bytes of all counts, then the next (bytes, bins, subjects), without the bytes that are always 0."""
    planes = np.moveaxis(np.ascontiguousarray(counts.T, "<u4")[..., None].view(np.uint8), -1, 0)
    used = max(1, -(-int(counts.max(initial=0)).bit_length() // 8))
    return np.ascontiguousarray(planes[:used])


def _from_planes(planes: NDArray[np.uint8]) -> NDArray[np.uint32]:
    if len(planes) > 4:
        raise ValueError(f"counts have at most 4 bytes, not {len(planes)}")
    counts = np.zeros(planes.shape[1:], np.uint32)
    for place, plane in enumerate(planes):
        counts |= plane.astype(np.uint32) << np.uint32(8 * place)
    return np.ascontiguousarray(counts.T)
