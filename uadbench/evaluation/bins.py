"""Metrics of counts in bins of score, with the bounds that hold whatever the order within a bin.

Counts are (..., bins) in ascending order of score. Of some bins it is known that most of their voxels share
one value: these reach a threshold together, and only the rest of the bin is in unknown order.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import psi

from uadbench.evaluation.metrics import Curve, dice, undefined

Counts = NDArray[Any]  # integers, or floats in a weighted sum


class Ties(NamedTuple):
    """Voxels that share one value of their bin; at most one value per bin."""

    bins: NDArray[np.intp]  # (ties,)
    positives: Counts  # (..., ties), counted among those of the bin
    negatives: Counts


class Ranked(NamedTuple):
    """Counts (..., bins) in descending order of score, and their running sums."""

    positives: NDArray[np.float64]
    negatives: NDArray[np.float64]
    true: NDArray[np.float64]  # positives in this bin and above it
    false: NDArray[np.float64]  # negatives in this bin and above it
    ties: Ties  # places of bins in this order


def ranked(positives: Counts, negatives: Counts, ties: Ties) -> Ranked:
    """Running sums from the highest score down."""
    positives = positives[..., ::-1].astype(np.float64)
    negatives = negatives[..., ::-1].astype(np.float64)
    ties = ties._replace(bins=positives.shape[-1] - 1 - ties.bins)
    return Ranked(positives, negatives, positives.cumsum(-1), negatives.cumsum(-1), ties)


class _Precision(NamedTuple):
    """Precision at each positive, summed per bin (..., bins), for orders within the bins."""

    front: NDArray[np.float64]  # the positives of a bin come one by one before its negatives
    behind: NDArray[np.float64]  # ... after them
    highest: NDArray[np.float64]  # no order and no ties give more than this
    lowest: NDArray[np.float64]  # ... or less than this


def _harmonic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """psi(n + 1) of whole numbers n, to 1e-11; several times faster than scipy's psi."""
    middle = counts + 0.5
    inverse = 1 / (middle * middle)
    values = np.log(middle) + inverse * (1 / 24 - inverse * (7 / 960))
    small = counts < 32  # where this expansion in 1 / (n + 1/2) has not converged
    values[small] = psi(counts[small] + 1)
    return values


def _loose(counts: Ranked) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Front and behind, as if no value were shared.

    The sum of t / (t + f) over t = T + 1 .. T + p is p - f * (psi(T + p + f + 1) - psi(T + f + 1)).
    """
    positives, negatives, true, false, _ = counts
    called = true + false
    after = _harmonic(called)
    # Of the bin above. The highest has no negative before it, so that any value will do.
    before = np.zeros_like(after)
    before[..., 1:] = after[..., :-1]
    front = positives - (false - negatives) * (_harmonic(called - negatives) - before)
    return front, positives - false * (after - _harmonic(called - positives))


def _at_ties(counts: Ranked) -> _Precision:
    """The sums of the bins that have a shared value, (..., ties).

    In front: the rest's positives, the shared value, the rest's negatives; behind: the reverse.
    """
    places, tied_true, tied_false = counts.ties
    positives, negatives, true, false = (part[..., places] for part in counts[:4])
    rest = positives - tied_true
    true_before, false_before = true - positives, false - negatives
    together = tied_true * true / np.maximum(true + false_before + tied_false, 1)
    alone = tied_true * (true_before + tied_true) / np.maximum(true_before + tied_true + false, 1)
    first = rest - false_before * (
        _harmonic(true_before + rest + false_before) - _harmonic(true_before + false_before)
    )
    last = rest - false * (_harmonic(true + false) - _harmonic(true - rest + false))
    worst = rest - false * (_harmonic(true_before + rest + false) - _harmonic(true_before + false))
    best = rest * true / np.maximum(true + false_before, 1)
    return _Precision(together + first, alone + last, together + best, alone + worst)


def average_precision(counts: Ranked) -> NDArray[np.float64]:
    """The middle between the best and the worst order of distinct scores within bins, (...)."""
    front, behind = _loose(counts)
    if counts.ties.bins.size:
        known = _at_ties(counts)
        front[..., counts.ties.bins], behind[..., counts.ties.bins] = known.front, known.behind
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN without a positive
        return np.asarray((front + behind).sum(-1) / 2 / counts.true[..., -1])


def average_precision_bounds(counts: Ranked) -> tuple[float, float]:
    """The lowest and the highest average precision that counts (bins,) allow.

    It is highest where the positives of a bin are tied and in front of its negatives: all of them then have
    the precision of the last.
    """
    positives, negatives, true, false, ties = counts
    highest = positives * true / np.maximum(true + false - negatives, 1)
    lowest = _loose(counts)[1]
    known = _at_ties(counts)
    highest[ties.bins], lowest[ties.bins] = known.highest, known.lowest
    return float(lowest.sum() / true[-1]), float(highest.sum() / true[-1])


def auroc(counts: Ranked) -> NDArray[np.float64]:
    """Share of positive-negative pairs in the right order, half of those within a bin, (...)."""
    positives, negatives, true, false, _ = counts
    below = false[..., -1:] - false
    with np.errstate(invalid="ignore"):
        return np.asarray((positives * (below + negatives / 2)).sum(-1) / true[..., -1] / false[..., -1])


def _auroc_error(counts: Ranked) -> float:
    """How far the AUROC can lie from `auroc`, for counts (bins,)."""
    pairs = (counts.positives * counts.negatives).sum()
    pairs -= (counts.ties.positives * counts.ties.negatives).sum()
    return float(pairs / 2 / counts.true[-1] / counts.false[-1])


def dices(counts: Ranked) -> NDArray[np.float64]:
    """Dice at the lower edge of each bin, (..., bins) in descending order; NaN without a positive."""
    return dice(counts.true, counts.false, counts.true[..., -1:])


def _highest_dice(counts: Ranked) -> float:
    """No threshold within a bin does better than one with all of its positives and no loose negative."""
    _, negatives, true, false, ties = counts
    with_shared = np.zeros_like(negatives)
    with_shared[ties.bins] = ties.negatives
    reached = float(dice(true, false - negatives + with_shared, true[-1]).max())
    # A threshold above the shared value has none of its voxels.
    without = dice(true[ties.bins] - ties.positives, (false - negatives)[ties.bins], true[-1])
    return max(reached, float(without.max(initial=0)))


def curve_of_bins(edges: NDArray[np.float32], positives: Counts, negatives: Counts, ties: Ties) -> Curve:
    """The curve of counts (bins,) with ascending lower edges; the best threshold is an edge."""
    n_positives, n_negatives = int(positives.sum()), int(negatives.sum())
    if not n_positives:
        return undefined(n_negatives)
    counts = ranked(positives, negatives, ties)
    at_edges = dices(counts)
    best = int(np.argmax(at_edges))  # of equals the highest threshold
    ap = float(average_precision(counts))
    lowest, highest = average_precision_bounds(counts)
    return Curve(
        ap=ap,
        auroc=float(auroc(counts)) if n_negatives else float("nan"),
        best_dice=float(at_edges[best]),
        best_threshold=float(edges[::-1][best]),
        positives=n_positives,
        negatives=n_negatives,
        ap_error=max(highest - ap, ap - lowest, 0.0),
        auroc_error=_auroc_error(counts) if n_negatives else 0.0,
        dice_error=max(0.0, _highest_dice(counts) - float(at_edges[best])),
    )
