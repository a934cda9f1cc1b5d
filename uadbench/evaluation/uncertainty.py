"""Uncertainty: bootstrap over subjects of every figure of a record, from its pieces (protocol, rule 12).

A figure is a function of weights on the subjects: 1 for each, or how often each was drawn in a resample.
Besides its value, its influence is computed: its derivative by each weight, whose root sum of squares is
the standard error (infinitesimal jackknife: Efron, Tibshirani, An Introduction to the Bootstrap, 1993,
chapter 21). With it, intervals and tests are studentised (ibid., section 12.5), because percentiles alone
are too narrow where few lesions make up most of the lesion volume.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uadbench.evaluation.pieces import Pieces

Array = NDArray[np.float64]
# A value (B,) and its derivatives by the positives and by the negatives of each bin, (B, bins) each.
Slopes = tuple[Array, tuple[Array, Array]]

RESAMPLES = 1000
LEVEL = 0.95
FEW_PERSONS = 20  # an interval from fewer is printed with a mark
SMALLEST_ERROR = 1e-9
BINS = 512  # of score: enough for the spread of a figure; its value is that of all bins
CHUNK = 64  # resamples whose running sums are in memory at once


@dataclass(frozen=True)
class Sampled:
    """A figure as it is and in resamples.

    `value` and `values` (resamples,); `influence` (subjects,) and `influences` (resamples, subjects), each
    subject's contribution to the standard error; NaN where a resample does not define the figure.
    """

    value: float
    influence: Array
    values: Array
    influences: Array
    weights: NDArray[np.int64]  # (resamples, subjects)
    seed_error: float = 0.0  # standard error by the choice of seeds

    @property
    def error(self) -> float:
        """Standard error."""
        return float(np.sqrt((self.influence**2).sum() + self.seed_error**2))

    @property
    def errors(self) -> Array:
        """Standard error within each resample, (resamples,)."""
        return np.asarray(np.sqrt((self.weights * self.influences**2).sum(1) + self.seed_error**2))

    def logarithm(self) -> "Sampled":
        """The natural logarithm of a positive figure; resamples without a positive value are NaN."""
        values = np.where(self.values > 0, self.values, np.nan)
        own = float(np.log(self.value)), self.influence / self.value
        resampled = np.log(values), self.influences / values[:, None]
        return Sampled(*own, *resampled, self.weights, self.seed_error / self.value)

    def __sub__(self, other: "Sampled") -> "Sampled":
        own = self.value - other.value, self.influence - other.influence
        resampled = self.values - other.values, self.influences - other.influences
        return Sampled(*own, *resampled, self.weights, float(np.hypot(self.seed_error, other.seed_error)))


class Interval(NamedTuple):
    """A value and the interval around it."""

    value: float
    low: float
    high: float


class Pooled(NamedTuple):
    """Figures of pooled voxels."""

    ap: Sampled
    auroc: Sampled
    best_dice: Sampled


def draw_resamples(
    persons: Sequence[str], partitions: Sequence[str], n: int = RESAMPLES, seed: int = 0
) -> NDArray[np.int64]:
    """How often each scan counts in n resamples, (n, scans): subjects are drawn within their partition.

    A person drawn brings all scans, and the order of persons does not matter. Where one is in two partitions
    (regime `within`), persons are drawn from all at once. The draws depend on the subjects alone: records of
    the same scans share them, which makes comparisons paired.
    """
    parts = np.array(partitions, str)
    if len(set(zip(persons, partitions, strict=True))) > len(set(persons)):
        parts[:] = "all"
    weights = np.zeros((n, len(persons)), np.int64)
    for part in np.unique(parts):
        own = np.flatnonzero(parts == part)
        names, person = np.unique(np.array(persons, str)[own], return_inverse=True)
        drawn = np.random.default_rng(seed).integers(len(names), size=(n, len(names)))
        drawn += np.arange(n)[:, None] * len(names)
        counts = np.bincount(drawn.ravel(), minlength=n * len(names)).reshape(n, len(names))
        weights[:, own] = counts[:, person]
    return weights


def _with_itself(weights: NDArray[np.int64]) -> Array:
    """The weights with a first row of ones: the figure as it is."""
    return np.concatenate([np.ones((1, weights.shape[1])), weights])


def _sampled(values: Array, influences: Array, weights: NDArray[np.int64]) -> Sampled:
    return Sampled(float(values[0]), influences[0], values[1:], influences[1:], weights)


def ratio(parts: Array, wholes: Array, weights: NDArray[np.int64]) -> Sampled:
    """Sum of `parts` over sum of `wholes` (subjects,): a pooled Dice, a recall, a mean (wholes of 1)."""
    times = _with_itself(weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = times @ wholes
        values = times @ parts / total
        influences = (parts - values[:, None] * wholes) / total[:, None]
    return _sampled(values, influences, weights)


def mean(values: Sequence[float | None], weights: NDArray[np.int64]) -> Sampled:
    """Mean over the subjects that have a value."""
    there = np.array([value is not None for value in values], np.float64)
    return ratio(np.array([value or 0.0 for value in values], np.float64), there, weights)


def pooled(pieces: Pieces, weights: NDArray[np.int64]) -> Pooled:
    """Average precision, AUROC and best Dice of all voxels, and how far each subject moves them.

    Within a bin positives and negatives count as evenly mixed; `Pieces.curve` knows more about bins.
    """
    times = _with_itself(weights)
    own = _few_bins(*(part[:, ::-1].astype(np.float64) for part in (pieces.positives, pieces.negatives)))
    found: list[list[tuple[Array, Array]]] = [[], [], []]
    for start in range(0, len(times), CHUNK):
        sums = [times[start : start + CHUNK] @ part for part in own]  # (B, bins), from the highest score
        above = [part.cumsum(1) for part in sums]
        with np.errstate(invalid="ignore", divide="ignore"):
            figures = _ap(*sums, *above), _auroc(*sums, *above), _best_dice(*above)
            for chunks, (values, slopes) in zip(found, figures, strict=True):
                chunks.append((values, slopes[0] @ own[0].T + slopes[1] @ own[1].T))
    together = [[np.concatenate(parts) for parts in zip(*chunks, strict=True)] for chunks in found]
    return Pooled(*(_sampled(values, influences, weights) for values, influences in together))


def _few_bins(positives: Array, negatives: Array) -> tuple[Array, Array]:
    """At most `BINS` bins (subjects, bins) in descending order of score, neighbours added up.

    A bin weighs by its share of the positives, and by the share of what is called so far that it adds.
    """
    if positives.shape[1] <= BINS:
        return positives, negatives
    of_bin, called = positives.sum(0), (positives + negatives).sum(0).cumsum()
    added = np.diff(np.log1p(called), prepend=0.0)
    weight = of_bin / max(of_bin.sum(), 1) + added / added.sum()
    group = np.minimum((weight.cumsum() / weight.sum() * BINS).astype(int), BINS - 1)
    first = np.flatnonzero(np.diff(group, prepend=-1))
    return np.add.reduceat(positives, first, axis=1), np.add.reduceat(negatives, first, axis=1)


def _ap(positives: Array, negatives: Array, true: Array, false: Array) -> Slopes:
    """AP = sum of P_b * T_b / (T_b + F_b) / P, with T and F up to the middle of the bin."""
    true, false = true - positives / 2, false - negatives / 2
    called = np.maximum(true + false, 1e-12)
    precision, total = true / called, positives.sum(1, keepdims=True)
    values = (positives * precision).sum(1, keepdims=True) / total
    of_true, of_false = positives * false / called**2, -positives * true / called**2

    def reach(slopes: Array) -> Array:  # a bin counts in all bins below it, and half in itself
        return slopes[:, ::-1].cumsum(1)[:, ::-1] - slopes / 2

    return values[:, 0], ((precision - values + reach(of_true)) / total, reach(of_false) / total)


def _auroc(positives: Array, negatives: Array, true: Array, false: Array) -> Slopes:
    """Share of pairs in the right order; a bin's own pairs count half."""
    n_true, n_false = true[:, -1:], false[:, -1:]
    below = (n_false - false + negatives / 2) / n_false
    above = (true - positives / 2) / n_true
    values = (positives * below).sum(1, keepdims=True) / n_true
    return values[:, 0], ((below - values) / n_true, (above - values) / n_false)


def _best_dice(true: Array, false: Array) -> Slopes:
    """Dice at the best edge; the edge's own change does not matter to first order."""
    total = true + false + true[:, -1:]
    dices = 2 * true / total
    best = np.nanargmax(np.nan_to_num(dices), axis=1)
    rows = np.arange(len(best))
    value, whole = dices[rows, best][:, None], total[rows, best][:, None]
    called = np.arange(true.shape[1]) <= best[:, None]
    return value[:, 0], ((2 * called - value * (called + 1)) / whole, -value * called / whole)


def scan_auroc(scores: Sequence[float], ill: Sequence[bool], weights: NDArray[np.int64]) -> Sampled:
    """AUROC of ill against healthy scans; influences as in DeLong et al. 1988."""
    times, score, sick = _with_itself(weights), np.array(scores, np.float64), np.array(ill, bool)
    order = np.sign(score[sick][:, None] - score[~sick][None]) / 2 + 0.5  # (ill, healthy)
    of_ill, of_healthy = times[:, sick], times[:, ~sick]
    n_ill, n_healthy = of_ill.sum(1, keepdims=True), of_healthy.sum(1, keepdims=True)
    influences = np.zeros_like(times)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = of_healthy @ order.T / n_healthy  # of healthy scans below each ill one
        values = (of_ill * share).sum(1, keepdims=True) / n_ill
        influences[:, sick] = (share - values) / n_ill
        influences[:, ~sick] = (of_ill @ order / n_ill - values) / n_healthy
    return _sampled(values[:, 0], influences, weights)


def over_seeds(seeds: Sequence[Sampled]) -> Sampled:
    """The mean over seeds; which seeds they are is a second level of chance."""
    if len(seeds) == 1:
        return seeds[0]
    k, n = len(seeds), len(seeds[0].values)
    drawn = np.random.default_rng(0).multinomial(k, np.full(k, 1 / k), n) / k  # (resamples, seeds)
    estimates = np.array([one.value for one in seeds])
    spread = np.sqrt(k / (k - 1)) * (drawn @ estimates - estimates.mean())  # k draws vary too little by this
    influence, values, influences = (
        np.mean([getattr(one, part) for one in seeds], axis=0)
        for part in ("influence", "values", "influences")
    )
    error = float(estimates.std(ddof=1) / np.sqrt(k))
    return Sampled(float(estimates.mean()), influence, values + spread, influences, seeds[0].weights, error)


def _reach(figure: Sampled) -> tuple[float, Array]:
    """Half the width of the studentised symmetric interval, and the pivots it was made of."""
    errors = figure.errors
    usable = np.isfinite(figure.values) & np.isfinite(errors) & (errors > SMALLEST_ERROR)
    if figure.error <= SMALLEST_ERROR or usable.sum() < len(usable) / 2:
        return 0.0, np.zeros(0)
    pivots = np.abs(figure.values[usable] - figure.value) / errors[usable]
    return float(np.quantile(pivots, LEVEL)) * figure.error, pivots


def interval(figure: Sampled) -> Interval | None:
    """The interval of a figure in [0, 1]; None where it is undefined.

    Studentised, symmetric, of the figure's logarithm: of the kinds tried on simulated cohorts with log-normal
    lesion volumes the one whose coverage comes nearest to its level.
    """
    if not np.isfinite(figure.value):
        return None
    if figure.value <= 0:
        return Interval(figure.value, figure.value, figure.value)
    reach, _ = _reach(figure.logarithm())
    high = figure.value * np.exp(reach) if reach < -np.log(figure.value) else 1.0
    return Interval(figure.value, figure.value * np.exp(-reach), high)


def difference(first: Sampled, second: Sampled) -> tuple[Interval, float]:
    """First less second on the same resamples, with its interval, and p of no difference.

    Both are studentised and symmetric. Of two positive figures the logarithm of their ratio varies less from
    resample to resample; the ends are brought back to a difference at the second's value, within -1 to 1.
    """
    apart, as_ratio = first.value - second.value, first.value > 0 and second.value > 0
    tested = first.logarithm() - second.logarithm() if as_ratio else first - second
    reach, pivots = _reach(tested)
    if not pivots.size:
        return Interval(apart, apart, apart), 1.0
    p = float((1 + (pivots >= abs(tested.value) / tested.error).sum()) / (1 + len(pivots)))
    ends = tested.value - reach, tested.value + reach
    if as_ratio:
        ends = second.value * np.expm1(ends[0]), second.value * np.expm1(ends[1])
    return Interval(apart, max(ends[0], -1.0), min(ends[1], 1.0)), p


def difference_in_ap(first: Pieces, second: Pieces, persons: Sequence[str]) -> Interval:
    """Pooled AP of one method less that of another on the same scans, in that order in both."""
    if first.ids != second.ids or len(persons) != len(first.ids):
        raise ValueError("Expected pieces of the same scans in the same order, and a subject for each.")
    weights = draw_resamples(persons, ["all"] * len(persons))
    return difference(pooled(first, weights).ap, pooled(second, weights).ap)[0]


def difference_of_groups(first: Sampled, second: Sampled) -> Interval:
    """First less second of two groups of subjects, shares in [0, 1]; with no width where it is undefined.

    Not by the ratio as in `difference`: a group of few subjects may lie at nearly 0 in a resample.
    """
    apart = first - second
    reach, _ = _reach(apart)
    return Interval(apart.value, max(apart.value - reach, -1.0), min(apart.value + reach, 1.0))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction for several tests (Holm 1979): in the order given."""
    values = np.array(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    scaled = (values.size - np.arange(values.size)) * values[order]
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(np.minimum(scaled, 1.0))
    return [float(value) for value in corrected]
