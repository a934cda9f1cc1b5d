"""Counts of scores: metrics of any number of voxels in bounded memory, within a bound that is known.

Scores are first counted in coarse bins (`ordinals.py`). Histograms of any subjects and workers add. Where the
order of the voxels within a bin matters more than is allowed, as where many share one value or lie close
together, `open_bins` names the bin, a second look at the voxels counts its single values, and `refined`
puts these in its place. So the figures do not depend on the magnitude and spacing of scores, and a threshold
is one of the scores.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.evaluation.bounds import Bounds, Ranked, bounds, curve_of, ranked
from uadbench.evaluation.counting import AT_ONCE, Cells, Look, coarse
from uadbench.evaluation.metrics import AP_BOUND, AUROC_BOUND, Curve, checked
from uadbench.evaluation.ordinals import LARGEST, SHIFT, WIDTH, bins_of, first_of, ordinals, scores_at

LOOK_CELLS = 1 << 18  # of one second look: its counts take 2 MB
AREAS = 0.75 * AP_BOUND  # what a histogram may leave open of AP


@dataclass(frozen=True)
class ScoreHistogram:
    """Counts of positive and negative voxels by score; sparse, and they add."""

    cells: Cells

    @classmethod
    def of(cls, scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> "ScoreHistogram":
        """Coarse counts of float32 scores of any shape, with bool labels of that shape."""
        scores, labels = checked(scores, labels)
        parts = (slice(start, start + AT_ONCE) for start in range(0, max(scores.size, 1), AT_ONCE))
        return total(cls(coarse(scores[part], labels[part])) for part in parts)

    def __add__(self, other: "ScoreHistogram") -> "ScoreHistogram":
        """Bins that the two divide differently are divided as in the less finely divided one."""
        cells = _together([self.cells, other.cells])
        bins, place = np.unique(bins_of(cells.starts), return_inverse=True)
        widest = np.zeros(bins.size, np.int32)
        np.maximum.at(widest, place, cells.widths)
        widths, first = widest[place], first_of(bins)[place]
        aligned = first + (cells.starts - first) // widths * widths
        starts, place = np.unique(aligned.astype(np.int32), return_inverse=True)
        counts = np.zeros((2, starts.size), np.int64)
        np.add.at(counts[0], place, cells.positives)
        np.add.at(counts[1], place, cells.negatives)
        width = np.zeros(starts.size, np.int32)
        width[place] = widths
        return ScoreHistogram(Cells(starts, width, counts[0], counts[1]))

    @property
    def starts(self) -> NDArray[np.int32]:
        """Lowest ordinals of the cells, ascending."""
        return self.cells.starts

    @property
    def widths(self) -> NDArray[np.int32]:
        """How many float32 numbers lie in each cell."""
        return self.cells.widths

    @property
    def positives(self) -> NDArray[np.int64]:
        """Positive voxels of the cells."""
        return self.cells.positives

    @property
    def negatives(self) -> NDArray[np.int64]:
        """Negative voxels of the cells."""
        return self.cells.negatives

    @property
    def voxels(self) -> int:
        """All that were counted."""
        return int(self.positives.sum() + self.negatives.sum())

    @cached_property
    def _ranked(self) -> Ranked:
        return ranked(self.positives, self.negatives, self.widths == 1)

    @cached_property
    def _bounds(self) -> Bounds:
        return bounds(self._ranked)

    @cached_property
    def _curve(self) -> Curve:
        return curve_of(scores_at(self.starts), self._ranked, self._bounds if self.positives.any() else None)

    def curve(self) -> Curve:
        """The metrics with their bounds; the best threshold is an edge, and its Dice is attained."""
        return self._curve

    def counts_at(self, threshold: float) -> tuple[int, int]:
        """True and false positives of score >= threshold, which must not divide a cell."""
        if np.isposinf(threshold):
            return 0, 0
        value = np.float32(threshold)
        number = ordinals(np.array([value]))[0]
        first = int(np.searchsorted(self.starts, number))
        inside = first and int(self.starts[first - 1]) + int(self.widths[first - 1]) > number
        if float(value) != threshold or inside:
            raise ValueError(f"Expected the edge of a cell as threshold, got {threshold!r}.")
        return int(self.positives[first:].sum()), int(self.negatives[first:].sum())

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
            return bins_of(self.starts[:0])
        highest = self._bounds.highest_dice
        candidate = ~counts.single & (counts.positives > 0) & (highest >= self._curve.best_dice)
        return self._heaviest(np.where(candidate, highest, 0))

    def open_for_areas(self, tolerance: float) -> NDArray[np.int32]:
        """Bins to look at, heaviest first, until AP is certain within the tolerance, AUROC within five."""
        if not self.positives.any():
            return bins_of(self.starts[:0])
        curve, found = self._curve, self._bounds
        opened = [bins_of(self.starts[:0])]
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

    def refined(self, look: Look, counts: NDArray[Any]) -> "ScoreHistogram":
        """The histogram with what a look counted in place of its bins."""
        kept = ~np.isin(bins_of(self.starts), look.bins)
        cells = _together([_of(self.cells, kept), look.found(counts)])
        return ScoreHistogram(_of(cells, np.argsort(cells.starts, kind="stable")))


def _of(cells: Cells, chosen: NDArray[Any]) -> Cells:
    return Cells(cells.starts[chosen], cells.widths[chosen], cells.positives[chosen], cells.negatives[chosen])


def _together(parts: Sequence[Cells]) -> Cells:
    return Cells(
        np.concatenate([part.starts for part in parts]),
        np.concatenate([part.widths for part in parts]),
        np.concatenate([part.positives for part in parts]),
        np.concatenate([part.negatives for part in parts]),
    )


def each_once(parts: Iterable[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Each bin once, where it first comes."""
    bins = np.concatenate(list(parts))
    return bins[np.sort(np.unique(bins, return_index=True)[1])]


def streamed(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> Curve:
    """Metrics of float32 scores of any shape within the promised bounds, best Dice exactly."""
    scores, labels = checked(scores, labels)

    def undecided(histograms: Sequence[ScoreHistogram]) -> NDArray[np.int32]:
        (histogram,) = histograms
        return each_once([histogram.open_for_dice(), histogram.open_for_areas(AREAS)])

    def count(look: Look, counts: Sequence[NDArray[Any]]) -> None:
        look.count(scores, labels, counts[0])

    (histogram,) = sharpened([ScoreHistogram.of(scores, labels)], undecided, count)
    return histogram.curve()


def sharpened(
    histograms: Sequence[ScoreHistogram],
    undecided: Callable[[Sequence[ScoreHistogram]], NDArray[np.int32]],
    count: Callable[[Look, Sequence[NDArray[Any]]], None],
) -> list[ScoreHistogram]:
    """Histograms of one division, looked at until no bin is undecided.

    `count` counts all of their voxels again, of each histogram into its own counters.
    """
    histograms = list(histograms)
    while (bins := undecided(histograms)).size:
        look = next_look(bins, histograms)
        counts = [look.empty(histogram.voxels) for histogram in histograms]
        count(look, counts)
        histograms = [h.refined(look, own) for h, own in zip(histograms, counts, strict=True)]
    return histograms


def total(histograms: Iterable[ScoreHistogram]) -> ScoreHistogram:
    """The sum of histograms."""
    nothing = np.empty(0, np.int64)
    summed = ScoreHistogram(Cells(nothing.astype(np.int32), nothing.astype(np.int32), nothing, nothing))
    for histogram in histograms:
        summed = summed + histogram
    return summed


def next_look(bins: NDArray[np.int32], histograms: Iterable[ScoreHistogram]) -> Look:
    """A look at as many of these bins as there is room for, the first before others.

    Many bins are divided into cells of several numbers, so that one look serves for all; bins that are so
    already into single numbers.
    """
    shift = max(0, int(np.ceil(np.log2(bins.size / LOOK_CELLS))) + SHIFT)
    if shift:
        finer = [bins_of(h.starts)[h.widths <= 1 << shift] for h in histograms]
        left = bins[~np.isin(bins, np.concatenate(finer))]
        if left.size:
            return Look(left, shift)
    return Look(bins[: LOOK_CELLS // WIDTH])
