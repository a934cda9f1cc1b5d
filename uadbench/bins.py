"""Metrics of counts in bins of score, with the bounds that hold whatever the order within a bin.

Counts are (..., bins) in ascending order of score. `tied` (bins,) marks the bins that hold one value only:
their order is no secret, all their voxels reach a threshold together.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import psi

from uadbench.metrics import Curve, dice, undefined

Counts = NDArray[Any]  # integers, or floats in a weighted sum


class Ranked(NamedTuple):
    """Counts (..., bins) in descending order of score, and their running sums."""

    positives: NDArray[np.float64]
    negatives: NDArray[np.float64]
    true: NDArray[np.float64]  # positives in this bin and above it
    false: NDArray[np.float64]  # negatives in this bin and above it


def ranked(positives: Counts, negatives: Counts) -> Ranked:
    """Running sums from the highest score down."""
    down = [counts[..., ::-1].astype(np.float64) for counts in (positives, negatives)]
    return Ranked(*down, *(counts.cumsum(-1) for counts in down))


def _harmonic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """psi(n + 1) of whole numbers n, to 1e-11; several times faster than scipy's psi."""
    middle = counts + 0.5
    inverse = 1 / (middle * middle)
    values = np.log(middle) + inverse * (1 / 24 - inverse * (7 / 960))
    small = counts < 32  # where this expansion in 1 / (n + 1/2) has not converged
    values[small] = psi(counts[small] + 1)
    return values


def _precision_sums(
    counts: Ranked, tied: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision at each positive, summed per bin, with the positives of the bin in front and behind.

    The sum of t / (t + f) over t = T + 1 .. T + p is p - f * (psi(T + p + f + 1) - psi(T + f + 1)).
    """
    positives, negatives, true, false = counts
    called = true + false
    after = _harmonic(called)
    before = np.zeros_like(
        after
    )  # of the bin above; the highest has no negative before it, any value will do
    before[..., 1:] = after[..., :-1]
    front = positives - (false - negatives) * (_harmonic(called - negatives) - before)
    behind = positives - false * (after - _harmonic(called - positives))
    whole = np.flatnonzero(tied[::-1])
    together = positives[..., whole] * true[..., whole] / np.maximum(called[..., whole], 1)
    front[..., whole], behind[..., whole] = together, together
    return front, behind


def average_precision(counts: Ranked, tied: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The middle between the best and the worst order of distinct scores within bins, (...)."""
    front, behind = _precision_sums(counts, tied)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN without a positive
        return np.asarray((front + behind).sum(-1) / 2 / counts.true[..., -1])


def average_precision_width(counts: Ranked, tied: NDArray[np.bool_]) -> tuple[float, float]:
    """How far the average precision can lie below and above the middle, for counts (bins,).

    It is highest with the positives of a bin tied in front of its negatives: all of them then have the
    precision of the last.
    """
    front, behind = _precision_sums(counts, tied)
    positives, negatives, true, false = counts
    highest = np.where(tied[::-1], front, positives * true / np.maximum(true + false - negatives, 1))
    middle = (front + behind) / 2
    total = true[-1]
    return float((middle - behind).sum() / total), float((highest - middle).sum() / total)


def auroc(counts: Ranked) -> NDArray[np.float64]:
    """Share of positive-negative pairs in the right order, half of those within a bin, (...)."""
    positives, negatives, true, false = counts
    below = false[..., -1:] - false
    with np.errstate(invalid="ignore"):
        return np.asarray((positives * (below + negatives / 2)).sum(-1) / true[..., -1] / false[..., -1])


def auroc_width(counts: Ranked, tied: NDArray[np.bool_]) -> float:
    """How far the AUROC can lie from `auroc`, for counts (bins,)."""
    pairs = np.where(tied[::-1], 0, counts.positives * counts.negatives).sum()
    return float(pairs / 2 / counts.true[-1] / counts.false[-1])


def dices(counts: Ranked) -> NDArray[np.float64]:
    """Dice at the lower edge of each bin, (..., bins) in descending order; NaN without a positive."""
    return dice(counts.true, counts.false, counts.true[..., -1:])


def curve_of_bins(
    edges: NDArray[np.float32], positives: Counts, negatives: Counts, tied: NDArray[np.bool_]
) -> Curve:
    """The curve of counts (bins,) with ascending lower edges; the best threshold is an edge."""
    n_positives, n_negatives = int(positives.sum()), int(negatives.sum())
    if not n_positives:
        return undefined(n_negatives)
    counts = ranked(positives, negatives)
    at_edges = dices(counts)
    best = int(np.argmax(at_edges))  # of equals the highest threshold
    # Within a bin no threshold does better than one that has all of its positives and none of its negatives.
    unseen = np.where(tied[::-1], 0, counts.negatives)
    highest = 2 * counts.true / (n_positives + counts.true + counts.false - unseen)
    return Curve(
        ap=float(average_precision(counts, tied)),
        auroc=float(auroc(counts)) if n_negatives else float("nan"),
        best_dice=float(at_edges[best]),
        best_threshold=float(edges[::-1][best]),
        positives=n_positives,
        negatives=n_negatives,
        ap_error=max(average_precision_width(counts, tied)),
        auroc_error=auroc_width(counts, tied) if n_negatives else 0.0,
        dice_error=float(highest.max() - at_edges[best]),
    )
