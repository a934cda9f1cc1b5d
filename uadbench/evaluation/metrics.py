"""Average precision, AUROC and best Dice of voxel scores (protocol, rules 3 to 6).

`measure` is exact. Of voxels that are not in memory together, `histogram.py` counts the scores in cells of
neighbouring scores, and `curve_of` says what the counts tell and how far a figure may be off. A voxel is
predicted positive where score >= threshold. Average precision is step-wise, as scikit-learn's
`average_precision_score`: the trapezoid under the precision-recall curve, which other tools call AUPRC, is
larger by .1 and more where many scores are tied.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import psi

from uadbench.evaluation.ordinals import below_and_at
from uadbench.system.errors import UserError

Counts = NDArray[Any]  # integers, or floats in a weighted sum
Floats = NDArray[np.float64]
Voxels = tuple[NDArray[np.float32], NDArray[np.bool_]]  # scores and labels

AP_BOUND = 1e-4  # a figure that may be further off is not used (protocol, rule 4); of Dice too
AUROC_BOUND = 5e-4
ROUNDING = 1e-9  # of the sums of digammas


class UncertainFigureError(UserError):
    """A figure made of counts may lie further from the exact one than is promised."""


@dataclass(frozen=True)
class Curve:
    """The metrics of one set of voxels; NaN where a metric is undefined.

    Without a positive voxel nothing is defined, without a negative one AUROC is not. An `..._error` is the
    largest possible distance to the exact value: 0 from the exact engine, a proven bound from counts in bins.
    """

    ap: float  # step-wise average precision, sum of precision * increase in recall
    auroc: float  # a tie between a positive and a negative counts one half
    best_dice: float  # at the best single threshold: an oracle's number
    best_threshold: float  # attains best_dice
    positives: int
    negatives: int
    ap_error: float = 0.0
    auroc_error: float = 0.0
    dice_error: float = 0.0

    def certain(self, *figures: str) -> "Curve":
        """The curve, if the named figures (default: all) are as near to the exact ones as is promised.

        Names are AP, AUROC and Dice. Raises UncertainFigureError else.
        """
        for name, error, bound in (
            ("AP", self.ap_error, AP_BOUND),
            ("AUROC", self.auroc_error, AUROC_BOUND),
            ("Dice", self.dice_error, AP_BOUND),
        ):
            if error > bound and name in (figures or (name,)):
                raise UncertainFigureError(
                    f"The {name} of these counts is certain within {error:.1e} only, {bound} is promised: it "
                    "is not shown; evaluate the maps again (uadbench evaluate)."
                )
        return self

    @property
    def prevalence(self) -> float:
        """Share of positive voxels: the average precision of chance."""
        voxels = self.positives + self.negatives
        return self.positives / voxels if voxels else float("nan")


def _undefined(negatives: int) -> Curve:
    nan = float("nan")
    return Curve(nan, nan, nan, nan, 0, negatives)


def dice(true_positives: Any, false_positives: Any, positives: Any) -> Floats:
    """Dice from counts, elementwise; NaN where there is no positive voxel (protocol, rule 6)."""
    true_positives, positives = np.asarray(true_positives, np.float64), np.asarray(positives)
    total: Floats = positives + true_positives + false_positives
    defined = np.broadcast_to(positives > 0, total.shape)
    dices = np.full(total.shape, np.nan)
    np.divide(2 * true_positives, total, out=dices, where=defined)
    return dices


def or_none(value: Any) -> float | None:
    """A figure as records hold it: None for NaN."""
    return None if np.isnan(value) else float(value)


# ---- of voxels -----------------------------------------------------------------------------------


def checked(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> Voxels:
    """The two as vectors, refused unless of one size, float32 and bool.

    Half precision merges scores and a wider type would be rounded unseen, so both are the caller's choice.
    """
    if scores.dtype != np.float32 or labels.dtype != np.bool_:
        raise ValueError(
            f"Expected float32 scores and bool labels, got {scores.dtype} and {labels.dtype}: convert before."
        )
    if scores.shape != labels.shape:
        raise ValueError(f"Expected one label per score, got shapes {scores.shape} and {labels.shape}.")
    return scores.reshape(-1), labels.reshape(-1)


def lowest_of(scores: NDArray[np.float32]) -> np.float32:
    """The lowest score, infinity where there is none.

    Refuses NaN and infinite scores: they have no place in the order of voxels.
    """
    lowest, highest = (scores.min(), scores.max()) if scores.size else (np.float32("inf"), np.float32(0))
    # A NaN or an infinity always shows in the minimum or the maximum.
    if scores.size and not (np.isfinite(lowest) and np.isfinite(highest)):
        raise ValueError(
            "Expected finite scores, got NaN or infinity: correct the score map before measuring it."
        )
    return lowest


def measure(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> Curve:
    """Metrics of float32 scores (any shape, any sign, higher = more anomalous) and labels of that shape.

    Exact, from how many negatives lie below each positive; nothing else counts.
    """
    scores, labels = checked(scores, labels)
    lowest_of(scores)
    positives = np.sort(scores[labels])
    values, first = _distinct(positives)
    below, at = below_and_at(values, scores)
    tied = np.diff(first, append=positives.size)  # they are among the scores
    return _exact(values, tied, (below - first, at - tied), scores.size - positives.size)


def measure_each(positives: Sequence[NDArray[np.float32]], negatives: NDArray[np.float32]) -> list[Curve]:
    """`measure` of each of some vectors of positives among the same negatives, which are counted once."""
    values, _ = _distinct(np.sort(np.concatenate(positives))) if positives else (negatives[:0], None)
    beside = below_and_at(values, negatives)
    curves = []
    for one in positives:
        own, first = _distinct(np.sort(one))
        below, at = (counts[np.searchsorted(values, own)] for counts in beside)
        curves.append(_exact(own, np.diff(first, append=one.size), (below, at), negatives.size))
    return curves


def _distinct(ordered: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """The distinct values of a sorted vector, and where each begins."""
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: ordered.size])
    return ordered[first], first


def _exact(
    values: NDArray[np.float32], tied: Counts, negatives: tuple[Counts, Counts], n_negatives: int
) -> Curve:
    """Of the ascending values of positives, how many have each, and the negatives below and at it."""
    n_positives, (below, equal) = int(tied.sum()), negatives
    if not n_positives:
        return _undefined(n_negatives)
    true_positives, false_positives = tied[::-1].cumsum()[::-1], n_negatives - below
    precision = true_positives / (true_positives + false_positives)
    dices = dice(true_positives, false_positives, n_positives)
    best = len(dices) - 1 - int(np.argmax(dices[::-1]))  # of equals the highest threshold
    pairs = float((tied * (below + equal / 2)).sum())
    return Curve(
        ap=float((tied * precision).sum()) / n_positives,
        auroc=pairs / n_positives / n_negatives if n_negatives else float("nan"),
        best_dice=float(dices[best]),
        best_threshold=float(values[best] + np.float32(0)),  # -0.0 becomes 0.0
        positives=n_positives,
        negatives=n_negatives,
    )


# ---- of counts -----------------------------------------------------------------------------------


class Ranked(NamedTuple):
    """Counts (cells,) in descending order of score, and their running sums.

    In a cell of one single value all voxels are tied: what it adds to a metric is known. In any other cell
    they are in unknown order, and there may be ties.
    """

    positives: Floats
    negatives: Floats
    true: Floats  # positives in this cell and above it
    false: Floats  # negatives in this cell and above it
    single: NDArray[np.bool_]  # of one single value

    @classmethod
    def of(cls, positives: Counts, negatives: Counts, single: NDArray[np.bool_]) -> "Ranked":
        """From counts in ascending order of score."""
        positives, negatives = (part[::-1].astype(np.float64) for part in (positives, negatives))
        return cls(positives, negatives, positives.cumsum(), negatives.cumsum(), single[::-1])

    @property
    def loose(self) -> NDArray[np.bool_]:
        """Cells with a positive whose precision depends on the order within the cell."""
        return ~self.single & (self.positives > 0) & (self.positives + self.negatives > 1)


class Bounds(NamedTuple):
    """What each cell (cells,), in descending order, adds to average precision, and what it leaves open."""

    ap: Floats
    lowest_ap: Floats
    highest_ap: Floats
    auroc_width: Floats  # half of the cell's own pairs, which may be in any order
    highest_dice: Floats  # no threshold within the cell does better


def bounds_of(counts: Ranked) -> Bounds:
    """Bounds of counts with a positive among them.

    In between lies the mean of the best and the worst order of distinct scores within the cell. Average
    precision is highest where the positives of a cell are tied and in front of its negatives: all of them
    then have the precision of the last. So is Dice, at a threshold between the two.
    """
    positives, negatives, true, false, single = counts
    middle = positives * true / np.maximum(true + false, 1)  # all voxels of the cell tied
    lowest, highest, pairs = middle.copy(), middle.copy(), np.zeros_like(middle)
    loose = np.flatnonzero(counts.loose)
    own, others, above, called = positives[loose], negatives[loose], true[loose], (true + false)[loose]
    before = false[loose] - others
    # With distinct scores the sum of t / (t + f) over t = T + 1 .. T + p is
    # p - f * (psi(T + p + f + 1) - psi(T + f + 1)): the positives before the negatives, and after them.
    front = own - before * (_harmonic(called - others) - _harmonic(above - own + before))
    lowest[loose] = own - false[loose] * (_harmonic(called) - _harmonic(called - own))
    middle[loose] = (front + lowest[loose]) / 2
    highest[loose] = own * above / np.maximum(above + before, 1)
    pairs[loose] = own * others
    return Bounds(
        middle / true[-1],
        lowest / true[-1],
        highest / true[-1],
        pairs / 2 / true[-1] / max(false[-1], 1),
        dice(true, np.where(single, false, false - negatives), true[-1]),
    )


def _harmonic(counts: Floats) -> Floats:
    """psi(n + 1) of whole numbers n, to 1e-11; several times faster than scipy's psi."""
    middle = counts + 0.5
    inverse = 1 / (middle * middle)
    values = np.log(middle) + inverse * (1 / 24 - inverse * (7 / 960))
    small = counts < 32  # where this expansion in 1 / (n + 1/2) has not converged
    values[small] = psi(counts[small] + 1)
    return values


def _informative(edges: NDArray[np.float32], counts: Ranked) -> tuple[NDArray[np.float32], Ranked]:
    """The cells that decide a curve: those with a positive, and the lowest, where the sums are whole.

    Any other cell adds nothing to average precision or pairs, and no threshold in it has the best Dice. Of a
    single scan's cells on the edges of a cohort they are nine in ten.
    """
    kept = counts.positives > 0
    kept[-1] = True
    positives, negatives, true, false, single = counts
    return edges[kept[::-1]], Ranked(positives[kept], negatives[kept], true[kept], false[kept], single[kept])


def curve_of(edges: NDArray[np.float32], counts: Ranked, bounds: Bounds | None = None) -> Curve:
    """The curve of counts (cells,) with ascending lower edges; the best threshold is an edge."""
    n_positives, n_negatives = (int(part[-1]) if part.size else 0 for part in (counts.true, counts.false))
    if not n_positives:
        return _undefined(n_negatives)
    if bounds is None:
        edges, counts = _informative(edges, counts)
        bounds = bounds_of(counts)
    positives, negatives, true, false, _ = counts
    at_edges = dice(true, false, true[-1])
    best = int(np.argmax(at_edges))  # of equals the highest threshold
    ap = float(bounds.ap.sum())
    ap_error = max(bounds.highest_ap.sum() - ap, ap - bounds.lowest_ap.sum())
    pairs = (positives * (false[-1] - false + negatives / 2)).sum()  # half of those within a cell
    return Curve(
        ap=ap,
        auroc=float(pairs / true[-1] / false[-1]) if n_negatives else float("nan"),
        best_dice=float(at_edges[best]),
        best_threshold=float(edges[::-1][best]),
        positives=n_positives,
        negatives=n_negatives,
        ap_error=float(ap_error + ROUNDING) if counts.loose.any() else 0.0,
        auroc_error=float(bounds.auroc_width.sum()),
        dice_error=float(max(0.0, bounds.highest_dice.max() - at_edges[best])),
    )
