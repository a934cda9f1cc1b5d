"""Metrics of counts in cells of score, with the bounds that hold whatever the order within a cell.

Counts are (..., cells) in ascending order of score. In a cell of one single value all voxels are tied: what
it adds to a metric is known. In any other cell they are in unknown order, and there may be ties.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import psi

from uadbench.evaluation.metrics import Curve, dice, undefined

Counts = NDArray[Any]  # integers, or floats in a weighted sum
Floats = NDArray[np.float64]
ROUNDING = 1e-9  # of the sums of digammas


class Ranked(NamedTuple):
    """Counts (..., cells) in descending order of score, and their running sums."""

    positives: Floats
    negatives: Floats
    true: Floats  # positives in this cell and above it
    false: Floats  # negatives in this cell and above it
    single: NDArray[np.bool_]  # (cells,) of one single value


def ranked(positives: Counts, negatives: Counts, single: NDArray[np.bool_]) -> Ranked:
    """Running sums from the highest score down."""
    positives = positives[..., ::-1].astype(np.float64)
    negatives = negatives[..., ::-1].astype(np.float64)
    return Ranked(positives, negatives, positives.cumsum(-1), negatives.cumsum(-1), single[::-1])


def _harmonic(counts: Floats) -> Floats:
    """psi(n + 1) of whole numbers n, to 1e-11; several times faster than scipy's psi."""
    middle = counts + 0.5
    inverse = 1 / (middle * middle)
    values = np.log(middle) + inverse * (1 / 24 - inverse * (7 / 960))
    small = counts < 32  # where this expansion in 1 / (n + 1/2) has not converged
    values[small] = psi(counts[small] + 1)
    return values


def _tied(counts: Ranked) -> Floats:
    """Precision summed over the positives of each cell, all voxels of the cell tied."""
    return counts.positives * counts.true / np.maximum(counts.true + counts.false, 1)


def _distinct(counts: Ranked, above: Floats) -> tuple[Floats, Floats]:
    """The same with distinct scores: the positives of a cell come before its negatives, and after them.

    The sum of t / (t + f) over t = T + 1 .. T + p is p - f * (psi(T + p + f + 1) - psi(T + f + 1)).
    `above` is psi + 1 of what is called above each cell.
    """
    positives, negatives, true, false, _ = counts
    called = true + false
    front = positives - (false - negatives) * (_harmonic(called - negatives) - above)
    return front, positives - false * (_harmonic(called) - _harmonic(called - positives))


def average_precision(counts: Ranked) -> Floats:
    """The middle between the best and the worst order of distinct scores within cells, (...)."""
    above = np.zeros_like(counts.true)  # the highest cell has no negative before it: any value will do
    above[..., 1:] = _harmonic((counts.true + counts.false)[..., :-1])
    front, behind = _distinct(counts, above)
    sums = np.where(counts.single, _tied(counts), (front + behind) / 2)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN without a positive
        return np.asarray(sums.sum(-1) / counts.true[..., -1])


def auroc(counts: Ranked) -> Floats:
    """Share of positive-negative pairs in the right order, half of those within a cell, (...)."""
    positives, negatives, true, false, _ = counts
    below = false[..., -1:] - false
    with np.errstate(invalid="ignore"):
        return np.asarray((positives * (below + negatives / 2)).sum(-1) / true[..., -1] / false[..., -1])


def dices(counts: Ranked) -> Floats:
    """Dice at the lower edge of each cell, (..., cells) in descending order; NaN without a positive."""
    return dice(counts.true, counts.false, counts.true[..., -1:])


class Bounds(NamedTuple):
    """What each cell (cells,), in descending order, adds to average precision, and what it leaves open."""

    ap: Floats
    lowest_ap: Floats
    highest_ap: Floats
    auroc_width: Floats  # half of the cell's own pairs, which may be in any order
    highest_dice: Floats  # no threshold within the cell does better


def loose(counts: Ranked) -> NDArray[np.bool_]:
    """Cells (cells,) with a positive whose precision depends on the order within the cell."""
    several = counts.positives + counts.negatives > 1
    return ~counts.single & (counts.positives > 0) & several


def bounds(counts: Ranked) -> Bounds:
    """Of counts (cells,) with a positive among them.

    Average precision is highest where the positives of a cell are tied and in front of its negatives: all of
    them then have the precision of the last. So is Dice, at a threshold between the two.
    """
    middle = _tied(counts)
    lowest, highest = middle.copy(), middle.copy()
    _, negatives, true, false, single = counts
    opened = np.flatnonzero(loose(counts))
    part = Ranked(counts.positives[opened], negatives[opened], true[opened], false[opened], single[opened])
    before = part.false - part.negatives
    front, behind = _distinct(part, _harmonic(part.true - part.positives + before))
    middle[opened], lowest[opened] = (front + behind) / 2, behind
    highest[opened] = part.positives * part.true / np.maximum(part.true + before, 1)
    pairs = np.zeros_like(middle)
    pairs[opened] = part.positives * part.negatives
    return Bounds(
        middle / true[-1],
        lowest / true[-1],
        highest / true[-1],
        pairs / 2 / true[-1] / max(false[-1], 1),
        dice(true, np.where(single, false, false - negatives), true[-1]),
    )


def curve_of(edges: NDArray[np.float32], counts: Ranked, found: Bounds | None = None) -> Curve:
    """The curve of counts (cells,) with ascending lower edges; the best threshold is an edge."""
    n_positives, n_negatives = (int(part[-1]) if part.size else 0 for part in (counts.true, counts.false))
    if not n_positives:
        return undefined(n_negatives)
    found = found or bounds(counts)
    at_edges = dices(counts)
    best = int(np.argmax(at_edges))  # of equals the highest threshold
    ap = float(found.ap.sum())
    ap_error = max(found.highest_ap.sum() - ap, ap - found.lowest_ap.sum())
    return Curve(
        ap=ap,
        auroc=float(auroc(counts)) if n_negatives else float("nan"),
        best_dice=float(at_edges[best]),
        best_threshold=float(edges[::-1][best]),
        positives=n_positives,
        negatives=n_negatives,
        ap_error=float(ap_error + ROUNDING) if loose(counts).any() else 0.0,
        auroc_error=float(found.auroc_width.sum()),
        dice_error=float(max(0.0, found.highest_dice.max() - at_edges[best])),
    )
