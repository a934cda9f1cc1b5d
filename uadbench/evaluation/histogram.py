"""Counts of scores: metrics of any number of voxels in bounded memory, within a bound that is known.

Metrics depend on the order of scores alone, so scores are counted by ordinal, whatever their magnitude
(`ordinals.py`). A bin holds 1,024 neighbours, which share sign, exponent and the first 13 bits of the
fraction: it is .006 to .012 % wide. Bins are numbered from 0 in both directions; the number 0 has bin 0 to
itself.

Where the order of the voxels within a bin matters more than is allowed, as where many share one value or lie
close together, they are counted again, in cells of few or single values (`counting.py`). So the figures do
not depend on the magnitude and spacing of scores, and a threshold is one of the scores.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.evaluation.metrics import AP_BOUND, AUROC_BOUND, Bounds, Curve, Ranked, bounds_of, curve_of
from uadbench.evaluation.ordinals import LARGEST, Integers, scores_at

SHIFT = 10  # low bits of a float32 that a bin does not tell apart
WIDTH = 1 << SHIFT  # numbers per bin
SLOTS = 1 << (32 - SHIFT)  # where bins are counted: by the leading bits of the number before, as stored
NEGATIVE = SLOTS // 2  # first slot of the scores below 0; they descend from there


def bins_of(numbers: Integers) -> NDArray[np.int32]:
    """The bin of each ordinal, ascending with it."""
    numbers = np.asarray(numbers, np.int64)
    bins: NDArray[np.int64] = np.sign(numbers) * ((np.abs(numbers) + WIDTH - 1) >> SHIFT)
    return bins.astype(np.int32)


def first_of(bins: Integers) -> NDArray[np.int64]:
    """The lowest ordinal of each bin."""
    bins = np.asarray(bins, np.int64)
    return np.where(bins > 0, (bins - 1) * WIDTH + 1, bins * WIDTH)


def slots_of(bins: Integers) -> NDArray[np.intp]:
    """Where bins other than 0 are counted."""
    return np.where(bins > 0, bins - 1, NEGATIVE - 1 - bins).astype(np.intp)


def bins_at(slots: Integers) -> NDArray[np.int32]:
    """The inverse of `slots_of`."""
    return np.where(slots < NEGATIVE, slots + 1, NEGATIVE - 1 - slots).astype(np.int32)


@dataclass(frozen=True)
class ScoreHistogram:
    """Positive and negative voxels in cells of ordinals, ascending and apart; no cell is empty."""

    starts: NDArray[np.int32]  # lowest ordinal of the cell
    widths: NDArray[np.int32]  # numbers in the cell: 1 where all of its voxels are tied
    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]

    @property
    def cells(self) -> tuple[NDArray[Any], ...]:
        """All that it holds."""
        return self.starts, self.widths, self.positives, self.negatives

    def _chosen(self, chosen: NDArray[Any]) -> "ScoreHistogram":
        return ScoreHistogram(*(part[chosen] for part in self.cells))

    def _beside(self, other: "ScoreHistogram") -> "ScoreHistogram":
        """With the other's cells behind its own."""
        return ScoreHistogram(*map(np.concatenate, zip(self.cells, other.cells, strict=True)))

    @property
    def voxels(self) -> int:
        """All that were counted."""
        return int(self.positives.sum() + self.negatives.sum())

    @cached_property
    def _ranked(self) -> Ranked:
        return Ranked.of(self.positives, self.negatives, self.widths == 1)

    @cached_property
    def _bounds(self) -> Bounds:
        return bounds_of(self._ranked)

    @cached_property
    def _curve(self) -> Curve:
        return curve_of(scores_at(self.starts), self._ranked, self._bounds if self.positives.any() else None)

    def curve(self) -> Curve:
        """The metrics with their bounds; the best threshold is an edge, and its Dice is attained."""
        return self._curve

    def threshold_at_false_positive_rate(self, rate: float) -> float:
        """The smallest edge at which at most this share of the negatives is called positive."""
        cell = self._crossing(rate)
        if cell is None:
            return float(scores_at(self.starts[[0]])[0])
        above = int(self.starts[cell]) + int(self.widths[cell])
        return float(scores_at(np.array([above]))[0]) if above <= LARGEST else float("inf")

    def _crossing(self, rate: float) -> int | None:
        """The highest cell with which more than this share of the negatives is called, if any."""
        n_negatives = int(self.negatives.sum())
        if not n_negatives:
            raise ValueError("Expected negative voxels to hold a false-positive rate against, got none.")
        too_many = np.flatnonzero(self.negatives[::-1].cumsum() > rate * n_negatives)
        return len(self.starts) - 1 - int(too_many[0]) if too_many.size else None

    def open_at_rate(self, rate: float) -> NDArray[np.int32]:
        """The bin (none or one) in which the threshold at a false-positive rate is not yet certain."""
        cell = self._crossing(rate)
        undecided = [] if cell is None or self.widths[cell] == 1 else [cell]
        return bins_of(self.starts[undecided])

    def open_for_dice(self) -> NDArray[np.int32]:
        """Bins that may hold the best threshold, the most promising first; none when it is certain."""
        counts = self._ranked
        if not self.positives.any():
            return NOTHING
        highest = self._bounds.highest_dice
        candidate = ~counts.single & (counts.positives > 0) & (highest >= self._curve.best_dice)
        return self._heaviest(np.where(candidate, highest, 0))

    def open_for_areas(self, tolerance: float) -> NDArray[np.int32]:
        """Bins to look at, heaviest first, until AP is certain within the tolerance, AUROC within five."""
        if not self.positives.any():
            return NOTHING
        curve, found = self._curve, self._bounds
        opened = [NOTHING]
        for error, width, allowed in (
            (curve.ap_error, found.highest_ap - found.lowest_ap, tolerance),
            (curve.auroc_error, found.auroc_width, tolerance * AUROC_BOUND / AP_BOUND),
        ):
            if error > allowed:
                heavy = np.sort(width)
                # Cells of more than this are looked at: the others together leave half of it open.
                most = heavy[np.searchsorted(heavy.cumsum(), allowed / 2, "right")]
                opened.append(self._heaviest(np.where(width >= most, width, 0)))
        return each_once(opened)

    def _heaviest(self, weights: NDArray[np.float64]) -> NDArray[np.int32]:
        """Bins of the cells (in descending order) with a weight, those with the largest first."""
        chosen = np.flatnonzero(weights)
        order = chosen[np.argsort(-weights[chosen], kind="stable")]
        return each_once([bins_of(self.starts[::-1][order])])

    def refined(self, bins: NDArray[np.int32], found: "ScoreHistogram") -> "ScoreHistogram":
        """The histogram with what was found in place of its bins."""
        cells = self._chosen(~np.isin(bins_of(self.starts), bins))._beside(found)
        return cells._chosen(np.argsort(cells.starts, kind="stable"))


NOTHING = np.empty(0, np.int32)


def total(histograms: Iterable[ScoreHistogram]) -> ScoreHistogram:
    """The sum of histograms; bins that they divide differently are divided as in the least finely divided."""
    none = np.empty(0, np.int64)
    parts = [ScoreHistogram(NOTHING, NOTHING, none, none), *histograms]
    every = ScoreHistogram(*map(np.concatenate, zip(*[part.cells for part in parts], strict=True)))
    every = every._chosen(np.argsort(every.starts, kind="stable"))  # ascending runs: merged, not sorted
    if len(parts) <= 2 or not every.starts.size:
        return every
    bins = bins_of(every.starts)
    begins = np.append(True, bins[1:] != bins[:-1])
    widths = np.maximum.reduceat(every.widths, np.flatnonzero(begins))[begins.cumsum() - 1]
    first = first_of(bins)
    aligned = first + (every.starts - first) // widths * widths
    places = np.flatnonzero(np.append(True, aligned[1:] != aligned[:-1]))
    counts = (np.add.reduceat(part, places) for part in (every.positives, every.negatives))
    return ScoreHistogram(aligned[places].astype(np.int32), widths[places], *counts)


def each_once(parts: Iterable[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Each bin once, where it first comes."""
    bins = np.concatenate(list(parts))
    return bins[np.sort(np.unique(bins, return_index=True)[1])]
