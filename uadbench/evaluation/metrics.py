"""Average precision, AUROC and best Dice of voxel scores (protocol, rules 3 to 6).

`measure` is exact. Of voxels that are not in memory together, `histogram.py` counts the scores and says how
far a figure may be off. A voxel is predicted positive where score >= threshold. Average precision is
step-wise, as scikit-learn's `average_precision_score`: the trapezoid under the precision-recall curve, which
other tools call AUPRC, is larger by .1 and more where many scores are tied.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.evaluation.buckets import below_and_equal
from uadbench.system.errors import UserError

MANY = 1 << 21  # voxels from which counting them in buckets costs less than sorting them, on any processor
AP_BOUND = 1e-4  # a figure that may be further off is not used (protocol, rule 4); of Dice too
AUROC_BOUND = 5e-4


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


def undefined(negatives: int) -> Curve:
    """The curve without a positive voxel."""
    nan = float("nan")
    return Curve(nan, nan, nan, nan, 0, negatives)


def dice(true_positives: Any, false_positives: Any, positives: Any) -> NDArray[np.float64]:
    """Dice from counts, elementwise; NaN where there is no positive voxel (protocol, rule 6)."""
    true_positives, positives = np.asarray(true_positives, np.float64), np.asarray(positives)
    total: NDArray[np.float64] = positives + true_positives + false_positives
    defined = np.broadcast_to(positives > 0, total.shape)
    dices = np.full(total.shape, np.nan)
    np.divide(2 * true_positives, total, out=dices, where=defined)
    return dices


def checked(
    scores: NDArray[np.float32], labels: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
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


def require_finite(scores: NDArray[np.float32]) -> None:
    """Refuse NaN and infinite scores: they have no place in the order of voxels."""
    # A NaN or an infinity always shows in the minimum or the maximum.
    if scores.size and not (np.isfinite(scores.min()) and np.isfinite(scores.max())):
        raise ValueError(
            "Expected finite scores, got NaN or infinity: mend the score map before measuring it."
        )


def measure(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> Curve:
    """Metrics of float32 scores (any shape, any sign, higher = more anomalous) and labels of that shape.

    Exact, from how many negatives lie below each positive; nothing else counts.
    """
    scores, labels = checked(scores, labels)
    require_finite(scores)
    positive_scores = scores[labels] + np.float32(0)  # -0.0 becomes 0.0
    n_negatives = scores.size - positive_scores.size
    if not positive_scores.size:
        return undefined(n_negatives)
    positive_scores.sort()
    values, first = np.unique(positive_scores, return_index=True)
    ranks = below_and_equal if scores.size > MANY else _below_and_equal_by_sorting
    below, equal = ranks(scores, labels, values)
    at_least = positive_scores.size - first  # true positives at each distinct positive score
    tied = np.diff(first, append=positive_scores.size)
    return _from_counts(values, at_least, tied, below, equal, n_negatives)


def _below_and_equal_by_sorting(
    scores: NDArray[np.float32], skipped: NDArray[np.bool_], values: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As `uadbench.evaluation.buckets.below_and_equal`, faster for few scores."""
    negative_scores = scores[~skipped]
    negative_scores.sort()
    below = np.searchsorted(negative_scores, values, "left")
    return below, np.searchsorted(negative_scores, values, "right") - below


def _from_counts(
    values: NDArray[np.float32],
    true_positives: NDArray[np.int64],
    tied: NDArray[np.int64],
    below: NDArray[np.int64],
    equal: NDArray[np.int64],
    n_negatives: int,
) -> Curve:
    """The curve from counts at each distinct positive score, all (values,), ascending."""
    n_positives = int(true_positives[0])
    false_positives = n_negatives - below
    precision = true_positives / (true_positives + false_positives)
    dices = 2 * true_positives / (n_positives + true_positives + false_positives)
    nan = float("nan")
    best = len(dices) - 1 - int(np.argmax(dices[::-1]))  # of equals the highest threshold
    return Curve(
        ap=float((tied * precision).sum()) / n_positives,
        auroc=float((tied * (below + equal / 2)).sum()) / n_positives / n_negatives if n_negatives else nan,
        best_dice=float(dices[best]),
        best_threshold=float(values[best]),
        positives=n_positives,
        negatives=n_negatives,
    )
