"""Which edges of a histogram to keep: as few as leave its metrics certain within a tolerance.

A coarse bin may leave so much of AP and of AUROC open and no more; bins are filled from the highest score
down up to that allowance, and the allowance is set so that what all bins leave open meets the tolerance.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from uadbench.evaluation.bins import Ties, curve_of_bins
from uadbench.evaluation.histogram import ScoreHistogram, Sparse, edges_of, key_of_edge, keys_of

ROUNDS = 8  # of adjusting the allowance
AUROC_SHARE = 0.2  # AP is held to the tolerance (protocol, rule 4), AUROC to five times it


def pooled(histograms: Iterable[ScoreHistogram]) -> ScoreHistogram:
    """The sum of histograms."""
    total = ScoreHistogram()
    for histogram in histograms:
        total.merge(histogram)
    return total


def with_bins_of(
    histogram: ScoreHistogram, other: ScoreHistogram, thresholds: Sequence[float]
) -> ScoreHistogram:
    """The histogram with (empty, if need be) the bins of another, and those that begin at thresholds."""
    keys = np.union1d(other.keys, np.array([key_of_edge(t) for t in thresholds], np.int32)).astype(np.int32)
    nothing = np.zeros(keys.size, np.int64)
    return histogram + ScoreHistogram(bins=Sparse(keys, nothing, nothing))


def coarse_keys(
    histogram: ScoreHistogram, thresholds: Sequence[float], tolerance: float
) -> NDArray[np.int32]:
    """First keys of the coarse bins, ascending; the thresholds are among them."""
    forced = np.isin(histogram.keys, np.array([key_of_edge(t) for t in thresholds], np.int32))
    fewest = histogram.keys
    allowance = tolerance / 1000
    for _ in range(ROUNDS):
        keys = histogram.keys[_greedy(histogram, forced, allowance)]
        error = _error(histogram, keys)
        if error <= tolerance and len(keys) < len(fewest):
            fewest = keys
        if 0.97 * tolerance <= error <= tolerance:
            break
        # The number of bins goes with 1 / sqrt(allowance), so the sum of their errors with sqrt(allowance).
        allowance *= (0.985 * tolerance / max(error, tolerance / 1000)) ** 2
    return fewest


def shared_values(histogram: ScoreHistogram, keys: NDArray[np.int32]) -> NDArray[np.float32]:
    """The shared values that coarse bins may keep apart: of those made of one filled bin."""
    filled = histogram.keys[(histogram.positives + histogram.negatives) > 0]
    members = np.bincount(np.searchsorted(keys, filled, "right") - 1, minlength=len(keys))
    values = histogram.shared_values()
    kept: NDArray[np.float32] = values[members[bins_of(values, keys)] == 1]
    return kept


def bins_of(values: NDArray[np.float32], keys: NDArray[np.int32]) -> NDArray[np.intp]:
    """Which coarse bin each value lies in."""
    return np.searchsorted(keys, keys_of(values), "right") - 1


def _error(histogram: ScoreHistogram, keys: NDArray[np.int32]) -> float:
    """The larger error of AP and AUROC with these coarse bins."""
    starts = np.searchsorted(histogram.keys, keys)
    positives, negatives = (
        np.add.reduceat(counts, starts) for counts in (histogram.positives, histogram.negatives)
    )
    values = shared_values(histogram, keys)
    ties = Ties(bins_of(values, keys), *histogram.values.at(values))
    curve = curve_of_bins(edges_of(keys), positives, negatives, ties)
    return float(np.nanmax([curve.ap_error, AUROC_SHARE * curve.auroc_error]))


def _greedy(histogram: ScoreHistogram, forced: NDArray[np.bool_], allowance: float) -> NDArray[np.intp]:
    """Places (ascending) of the bins that begin a coarse one, each as wide as the allowance lets it be."""
    bins = len(histogram.keys)
    true, false = (
        np.concatenate(([0.0], counts[::-1].cumsum()))
        for counts in (histogram.positives, histogram.negatives)
    )
    # Counted from the highest score: a coarse bin that begins behind `low` bins may end behind `high`.
    ends = np.append(np.flatnonzero(forced[::-1]) + 1, bins)
    starts = np.arange(bins)
    low = starts + 1
    high = ends[np.searchsorted(ends, starts, "right")]
    while (low < high).any():
        middle = (low + high + 1) // 2
        fits = (
            _open(true[starts], false[starts], true[middle], false[middle], true[-1], false[-1]) <= allowance
        )
        low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
    chosen, place = [], 0
    while place < bins:
        place = int(low[place])
        chosen.append(bins - place)
    return np.array(chosen[::-1], np.intp)


def _open(
    true: NDArray[np.float64],
    false: NDArray[np.float64],
    true_after: NDArray[np.float64],
    false_after: NDArray[np.float64],
    all_true: float,
    all_false: float,
) -> NDArray[np.float64]:
    """How far AP or AUROC may lie off for one bin, from running counts before and after it.

    As in `uadbench/evaluation/bins.py`, with a logarithm for the difference of digammas.
    """
    positives, negatives = true_after - true, false_after - false
    highest = positives * true_after / np.maximum(true_after + false, 1)
    lowest = positives - false_after * np.log((true_after + false_after + 0.5) / (true + false_after + 0.5))
    ap = (highest - lowest) / max(all_true, 1)
    auroc = positives * negatives / max(all_true * all_false, 1)
    return np.maximum(ap, AUROC_SHARE * auroc) / 2
