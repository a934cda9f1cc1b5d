"""Pieces that add: per-subject counts on fixed score edges (protocol, rule 12).

Curves, pooled metrics, bootstrap and paired tests of a record are made from these, never from voxels
again. The edges are chosen, among those of the histograms, as few as keep the pooled metrics sharp.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uadbench.evaluation.bins import Ties, auroc, average_precision, curve_of_bins, dices, ranked
from uadbench.evaluation.coarsening import bins_of, coarse_keys, pooled, shared_values, with_bins_of
from uadbench.evaluation.histogram import ScoreHistogram, edges_of
from uadbench.evaluation.metrics import Curve, dice

PRODUCT_ROWS = 256  # resamples per matrix product: few large products, for its threads spin in between
CACHED_ROWS = 16  # resamples whose running sums stay in the processor's cache


# What `Pieces.arrays` holds, for whoever reads it from a file: kind of number, bytes each (None: any), shape;
# "n" is the number of subjects, any other letter the same number wherever it stands.
MEMBERS: Mapping[str, tuple[str, int | None, str]] = {
    "ids": ("U", None, "n"),
    "edges": ("f", 4, "b"),
    "positives": ("u", 1, "pbn"),
    "negatives": ("u", 1, "qbn"),
    "tied_bins": ("u", 4, "t"),
    "tied_positives": ("u", 1, "rtn"),
    "tied_negatives": ("u", 1, "stn"),
}


@dataclass(frozen=True)
class Pieces:
    """Positive and negative voxels of each subject in each bin of score.

    Bin b holds the scores from edges[b] on, up to below edges[b + 1]; the last has no upper end.
    """

    ids: tuple[str, ...]
    edges: NDArray[np.float32]  # (bins,) ascending
    positives: NDArray[np.uint32]  # (subjects, bins)
    negatives: NDArray[np.uint32]  # (subjects, bins)
    ties: Ties  # (subjects, ties) of these voxels share one value of their bin

    @classmethod
    def from_histograms(
        cls,
        ids: Sequence[str],
        histograms: Sequence[ScoreHistogram],
        thresholds: Sequence[float] = (),
        tolerance: float = 1e-4,
        rows: Sequence[int] | None = None,
    ) -> "Pieces":
        """Merge bins while AP and AUROC of the chosen rows (default: all) stay certain within the tolerance.

        The thresholds must be edges of the histograms (or infinite) and stay edges: counts there are exact.
        """
        if len(set(ids)) != len(ids) or len(ids) != len(histograms):
            raise ValueError(f"Expected one histogram per distinct id, got {len(histograms)} for {len(ids)}.")
        finite = [threshold for threshold in thresholds if not np.isposinf(threshold)]
        chosen = histograms if rows is None else [histograms[row] for row in rows]
        measured = with_bins_of(pooled(chosen), pooled(histograms), finite)
        keys = coarse_keys(measured, finite, tolerance)
        values = shared_values(measured, keys)
        counts = np.zeros((2, len(ids), len(keys)), np.uint32)
        tied = np.zeros((2, len(ids), len(values)), np.uint32)
        for row, histogram in enumerate(histograms):
            place = np.searchsorted(keys, histogram.keys, "right") - 1
            for kind, fine in enumerate(histogram.bins[1:]):
                counts[kind, row] = np.bincount(place, fine, len(keys))
            tied[:, row] = histogram.values.at(values)
        return cls(tuple(ids), edges_of(keys), counts[0], counts[1], Ties(bins_of(values, keys), *tied))

    def curve(self, weights: NDArray[np.integer] | None = None) -> Curve:
        """Pooled metrics, each subject counted as often as `weights` (subjects,) says; once by default."""
        times = np.ones(len(self.ids), np.int64) if weights is None else np.asarray(weights, np.int64)
        ties = self.ties._replace(
            positives=times @ self.ties.positives, negatives=times @ self.ties.negatives
        )
        return curve_of_bins(self.edges, times @ self.positives, times @ self.negatives, ties)

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
        ties = Ties(self.ties.bins, self.ties.positives[chosen], self.ties.negatives[chosen])
        ids = tuple(self.ids[row] for row in chosen)
        return replace(
            self, ids=ids, positives=self.positives[chosen], negatives=self.negatives[chosen], ties=ties
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `from_arrays` needs, laid out so that it compresses well."""
        return {
            "ids": np.array(self.ids),
            "edges": self.edges,
            "positives": _to_planes(self.positives),
            "negatives": _to_planes(self.negatives),
            "tied_bins": self.ties.bins.astype(np.uint32),
            "tied_positives": _to_planes(self.ties.positives),
            "tied_negatives": _to_planes(self.ties.negatives),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Pieces":
        """The inverse of `arrays`."""
        counts = {name: _from_planes(arrays[name]) for name in arrays if name.endswith("tives")}
        ties = Ties(arrays["tied_bins"].astype(np.intp), counts["tied_positives"], counts["tied_negatives"])
        ids = tuple(str(name) for name in arrays["ids"])
        return cls(ids, arrays["edges"], counts["positives"], counts["negatives"], ties)

    def check(self) -> None:
        """Raise a ValueError where the numbers cannot be pieces: edges in disorder, more ties than voxels."""
        if np.isnan(self.edges).any() or not (np.diff(self.edges) > 0).all():
            raise ValueError("the edges are not in ascending order")
        bins = self.ties.bins
        if len(np.unique(bins)) < len(bins) or (bins >= len(self.edges)).any():
            raise ValueError("the ties are of bins that are not there")
        for all_, tied in (
            (self.positives, self.ties.positives),
            (self.negatives, self.ties.negatives),
        ):
            if (tied > all_[:, bins]).any():
                raise ValueError("a bin has more ties than voxels")

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


class Replicates(NamedTuple):
    """Pooled metrics of resampled subjects, (resamples,) each; NaN where a resample has no positive."""

    ap: NDArray[np.float64]
    auroc: NDArray[np.float64]
    best_dice: NDArray[np.float64]


def resample_weights(persons: Sequence[str], n: int, seed: int) -> NDArray[np.int64]:
    """How often each subject counts in n bootstrap resamples of the persons, (n, subjects).

    Persons are drawn with replacement and bring all of their scans; their order does not matter.
    """
    names, person = np.unique(np.array(persons, str), return_inverse=True)
    drawn = np.random.default_rng(seed).integers(len(names), size=(n, len(names)))
    drawn += np.arange(n)[:, None] * len(names)
    counts = np.bincount(drawn.ravel(), minlength=n * len(names)).reshape(n, len(names))
    return counts[:, person]


def bootstrap(pieces: Pieces, weights: NDArray[np.integer]) -> Replicates:
    """Pooled metrics with each subject counted as often as `weights` (resamples, subjects) says."""
    parts = (pieces.positives, pieces.negatives, pieces.ties.positives, pieces.ties.negatives)
    replicates = []
    for start in range(0, len(weights), PRODUCT_ROWS):
        times = weights[start : start + PRODUCT_ROWS].astype(np.float64)
        sums = [times @ part for part in parts]
        for first in range(0, len(times), CACHED_ROWS):
            positives, negatives, *tied = (part[first : first + CACHED_ROWS] for part in sums)
            counts = ranked(positives, negatives, Ties(pieces.ties.bins, *tied))
            replicates.append((average_precision(counts), auroc(counts), dices(counts).max(-1)))
    return Replicates(*(np.concatenate(columns) for columns in zip(*replicates, strict=True)))


class Interval(NamedTuple):
    """A difference and the bootstrap percentiles around it."""

    difference: float
    low: float
    high: float


def paired_interval(
    a: Pieces, b: Pieces, persons: Sequence[str], n: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Pooled AP of `a` less that of `b`, with the interval over the same resamples of persons for both."""
    if a.ids != b.ids or len(persons) != len(a.ids):
        raise ValueError("Expected pieces of the same subjects in the same order, and a person for each.")
    weights = resample_weights(persons, n, seed)
    differences = bootstrap(a, weights).ap - bootstrap(b, weights).ap
    low, high = np.nanquantile(differences, [(1 - level) / 2, (1 + level) / 2])
    return Interval(a.curve().ap - b.curve().ap, float(low), float(high))


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
