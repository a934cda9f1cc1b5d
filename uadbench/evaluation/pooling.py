"""Pooled counts of the scans of one evaluation: the thresholds, and the edges of the pieces.

Scores of all scans of a group are counted together, first in coarse bins. That does for most figures of most
maps; the maps are looked at again for the bins in which average precision or AUROC is not yet certain, or a
threshold might lie. So figures and thresholds depend on the order of the scores alone.

The edges are as few as leave the metrics certain within a tolerance. A coarse cell may leave so much of AP
and AUROC open and no more; cells are filled from the highest score down up to that allowance, which is set so
that what all cells leave open meets the tolerance.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uadbench.evaluation.counting import Look, count_scores, sharpened
from uadbench.evaluation.histogram import ScoreHistogram, each_once, total
from uadbench.evaluation.metrics import AP_BOUND, AUROC_BOUND, Ranked, curve_of, dice
from uadbench.evaluation.ordinals import CHUNK, LARGEST, Known, ordinals, scores_at, tally
from uadbench.protocol import FALSE_POSITIVE_RATES

POOLED = 0.75 * AP_BOUND  # what pieces may leave open of pooled AP: some subjects alone may be less certain
ROUNDS = 8  # of adjusting the allowance
AUROC_SHARE = AP_BOUND / AUROC_BOUND  # AP is held to the tolerance, AUROC to five times it
TOGETHER = 8  # scans are added to a sum at once: to sort it in anew for each would take longer
MANY_CELLS = 1 << 16  # more are first joined by weight, for speed


@dataclass(frozen=True)
class Edges:
    """Cell b holds the scores from scores[b] on, up to below scores[b + 1]; the last has no upper end."""

    scores: NDArray[np.float32]  # (cells,) ascending, from the lowest float32 on
    single: NDArray[np.bool_]  # (cells,) no float32 but the edge itself lies in the cell

    def between(self, scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> NDArray[np.uint32]:
        """Positives and negatives (2, cells) among vectors of scores and labels."""
        counts = np.zeros((2, self.scores.size + 1), np.int32)
        for start in range(0, scores.size, CHUNK):
            cell = (self._known.places(scores[start : start + CHUNK]) + 1) >> 1  # 0 below all edges
            tally(counts[0], cell[np.flatnonzero(labels[start : start + CHUNK])])
            tally(counts[1], cell)
        counts[1] -= counts[0]
        return counts[:, 1:].astype(np.uint32)

    @cached_property
    def _known(self) -> Known:
        return Known(self.scores)


class _Division(NamedTuple):
    """Counts of several histograms in the same cells, ascending."""

    starts: NDArray[np.int64]  # (cells,) ordinals
    single: NDArray[np.bool_]  # (cells,)
    forced: NDArray[np.bool_]  # (cells,) begins at a threshold that is to stay an edge
    counts: NDArray[np.int64]  # (histograms, 2, cells) positives and negatives

    def joined(self, places: NDArray[np.intp]) -> "_Division":
        """With the cells from each place up to the next made one."""
        alone = np.diff(places, append=self.starts.size) == 1
        counts = np.add.reduceat(self.counts, places, axis=-1)
        return _Division(self.starts[places], self.single[places] & alone, self.forced[places], counts)

    def error(self) -> float:
        """The largest error of AP and, by its measure, AUROC of any histogram, and of the first Dice."""
        edges = scores_at(self.starts)
        curves = [curve_of(edges, Ranked.of(own[0], own[1], self.single)) for own in self.counts]
        errors = [max(c.ap_error, AUROC_SHARE * c.auroc_error) for c in curves]
        return max(curves[0].dice_error, *errors)


def edges_for(histograms: Sequence[ScoreHistogram], thresholds: Sequence[float], tolerance: float) -> Edges:
    """Edges with which AP and AUROC of each histogram stay certain within the tolerance, if they are now.

    So does the best Dice of the first, which is of all lesion-test subjects: of a kind of lesion alone none
    is shown. Thresholds, infinite ones excepted, are among the edges.
    """
    fine = _division(histograms, thresholds)
    if fine.starts.size > MANY_CELLS:
        fine = fine.joined(_by_weight(fine))
    coarse = _fewest(fine, tolerance)
    closed = coarse.starts[coarse.single] + 1  # whoever has scores just above does not belong to the cell
    starts = np.union1d(coarse.starts, np.append(closed, -LARGEST))
    starts = starts[starts <= LARGEST]
    return Edges(scores_at(starts), np.isin(starts, coarse.starts[coarse.single]))


def _division(histograms: Sequence[ScoreHistogram], thresholds: Sequence[float]) -> _Division:
    cells = total(histograms)
    finite = np.array([t for t in thresholds if not np.isposinf(t)], np.float32)
    forced = ordinals(finite).astype(np.int64)
    best = [h.curve().best_threshold for h in histograms[:1] if h.positives.any()]
    forced = np.append(forced, ordinals(np.array(best, np.float32)))
    # The bin of the lowest number begins below it, where no edge can be: its voxels are at that number.
    starts = np.union1d(np.maximum(cells.starts, -LARGEST), np.append(forced, -LARGEST))
    counts = np.zeros((len(histograms), 2, starts.size), np.int64)
    for own, histogram in zip(counts, histograms, strict=True):
        place = np.searchsorted(starts, np.maximum(histogram.starts, -LARGEST), "right") - 1
        np.add.at(own[0], place, histogram.positives)
        np.add.at(own[1], place, histogram.negatives)
    single = np.isin(starts, cells.starts[cells.widths == 1])
    return _Division(starts, single, np.isin(starts, forced), counts)


def _by_weight(fine: _Division) -> NDArray[np.intp]:
    """Places where to begin cells that weigh about the same, a heavy single value alone.

    The weight is by how much a cell adds to recall, and to the number of voxels called, with its logarithm.
    """
    positives, negatives = fine.counts.sum(0)[:, ::-1].astype(np.float64)
    called = (positives + negatives).cumsum()
    parts = (positives, negatives, np.diff(np.log1p(called), prepend=0.0))
    weight = sum(part / max(part.sum(), 1e-9) for part in parts)[::-1]
    group = (weight.cumsum() / weight.sum() * MANY_CELLS).astype(np.int64)
    heavy = fine.single & (weight > weight.sum() / MANY_CELLS)
    begins = (np.diff(group, prepend=-1) > 0) | fine.forced | heavy
    begins[1:] |= heavy[:-1]
    return np.flatnonzero(begins)


def _fewest(fine: _Division, tolerance: float) -> _Division:
    """The division joined into as few cells as the tolerance allows."""
    fewest, allowance = fine, tolerance / 1000
    for _ in range(ROUNDS):
        coarse = fine.joined(_greedy(fine, allowance, tolerance))
        error = coarse.error()
        if error <= tolerance and coarse.starts.size < fewest.starts.size:
            fewest = coarse
        if 0.97 * tolerance <= error <= tolerance:
            break
        # The number of cells goes with 1 / sqrt(allowance), so the sum of their errors with sqrt(allowance).
        allowance *= (0.985 * tolerance / max(error, tolerance / 1000)) ** 2
    return fewest


def _greedy(fine: _Division, allowance: float, tolerance: float) -> NDArray[np.intp]:
    """Places (ascending) of the cells that begin a coarse one, each as wide as it may be.

    The allowance is for AP and AUROC of one cell, the tolerance for a better Dice of the first histogram.
    """
    cells = fine.starts.size
    running = np.zeros((*fine.counts.shape[:2], cells + 1))
    running[..., 1:] = fine.counts[..., ::-1].cumsum(-1)
    # Counted from the highest score: a coarse cell that begins behind `low` cells may end behind `high`.
    ends = np.append(np.flatnonzero(fine.forced[::-1]) + 1, cells)
    starts = np.arange(cells)
    low = starts + 1
    high = ends[np.searchsorted(ends, starts, "right")]
    while (low < high).any():
        middle = (low + high + 1) // 2
        fits = np.ones(cells, bool)
        for true, false in running:
            fits &= _open(true, false, starts, middle) <= allowance
        true, false = running[0]
        if true[-1]:
            best = dice(true, false, true[-1]).max()
            fits &= dice(true[middle], false[starts], true[-1]) <= best + tolerance
        low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
    chosen, place = [], 0
    while place < cells:
        place = int(low[place])
        chosen.append(cells - place)
    return np.array(chosen[::-1], np.intp)


def _open(
    true: NDArray[np.float64], false: NDArray[np.float64], start: NDArray[Any], end: NDArray[Any]
) -> NDArray[np.float64]:
    """How far AP or AUROC may lie off for one cell, from running counts and where in them it lies.

    As in `metrics.bounds_of`, with a logarithm for the difference of digammas.
    """
    true_before, false_before, true_after, false_after = true[start], false[start], true[end], false[end]
    positives, negatives = true_after - true_before, false_after - false_before
    highest = positives * true_after / np.maximum(true_after + false_before, 1)
    called = true_after + false_after + 0.5
    lowest = positives - false_after * np.log(called / (true_before + false_after + 0.5))
    ap = (highest - lowest) / max(true[-1], 1)
    auroc = positives * negatives / max(true[-1] * false[-1], 1)
    widest: NDArray[np.float64] = np.maximum(ap, AUROC_SHARE * auroc)
    return widest / 2


class Group(NamedTuple):
    """Scans whose voxels are pooled: only of lesion-test is more asked than of the whole partition."""

    partition: str
    kind: str | None = None  # of lesion
    flagged: bool = False  # by preparation


class Pools:
    """Histograms of groups of scans, for one profile of post-processing."""

    def __init__(self) -> None:
        """Without any voxel."""
        self._sums: dict[Group, ScoreHistogram] = {}
        self._apart: dict[Group, list[ScoreHistogram]] = {}  # not yet in the sums
        self._adding = Lock()

    def add(self, group: Group, scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> None:
        """Count the voxels of one scan; any number of threads may do so at once."""
        own = count_scores(scores, labels)
        with self._adding:
            apart = self._apart.setdefault(group, [])
            apart.append(own)
            if len(apart) == TOGETHER:
                self._sum_up(group)

    def _sum_up(self, group: Group) -> None:
        before = [self._sums[group]] if group in self._sums else []
        self._sums[group] = total([*before, *self._apart.pop(group, [])])

    @property
    def _histograms(self) -> Mapping[Group, ScoreHistogram]:
        for group in list(self._apart):
            self._sum_up(group)
        return self._sums

    def sharpen(self, look_again: Callable[[Look, Mapping[Group, NDArray[Any]]], None]) -> None:
        """Look again, through a function that counts the voxels of groups, while anything is undecided."""
        asked = {name: own for name, own in self._histograms.items() if name.partition != "healthy-test"}
        self._sums = dict(sharpened(asked, _undecided, look_again))

    def thresholds(self) -> dict[str, float | None]:
        """Thresholds frozen on pooled voxels (protocol, rule 3); None without the voxels that it takes."""
        found: dict[str, float | None] = {}
        for name, partition in (("oracle", "lesion-test"), ("val", "lesion-val")):
            curve = _pooled(self._histograms, partition).curve()
            found[name] = curve.best_threshold if curve.positives else None
        healthy = _pooled(self._histograms, "healthy-val")
        for name, rate in FALSE_POSITIVE_RATES.items():
            known = healthy.negatives.any()
            found[name] = healthy.threshold_at_false_positive_rate(rate) if known else None
        return found

    def thresholds_at(self, rates: Sequence[float]) -> NDArray[np.float32]:
        """Descending thresholds that at most these shares of lesion-test's non-lesion voxels reach."""
        tested = _pooled(self._histograms, "lesion-test")
        if not tested.negatives.any():
            return np.empty(0, np.float32)
        found = np.unique([np.float32(tested.threshold_at_false_positive_rate(rate)) for rate in rates])
        return np.asarray(found[np.isfinite(found)][::-1], np.float32)

    def edges(self, thresholds: Sequence[float]) -> Edges:
        """Edges for the pieces, the thresholds among them, with which the shown figures stay certain."""
        return edges_for(_shown(self._histograms), thresholds, POOLED)


def _pooled(histograms: Mapping[Group, ScoreHistogram], partition: str) -> ScoreHistogram:
    return total(histogram for group, histogram in histograms.items() if group.partition == partition)


def _undecided(histograms: Mapping[Group, ScoreHistogram]) -> NDArray[np.int32]:
    """Bins to look at, the most pressing first."""
    shown = _shown(histograms)
    opened = [histogram.open_for_dice() for histogram in (shown[0], _pooled(histograms, "lesion-val"))]
    healthy = _pooled(histograms, "healthy-val")
    if healthy.negatives.any():
        opened += [healthy.open_at_rate(rate) for rate in FALSE_POSITIVE_RATES.values()]
    opened += [histogram.open_for_areas(POOLED / 2) for histogram in shown]
    return each_once(opened)


def _shown(histograms: Mapping[Group, ScoreHistogram]) -> list[ScoreHistogram]:
    """All that average precision is shown of: lesion-test, each of its kinds, and its scans without flags."""
    tested = sorted((group for group in histograms if group.partition == "lesion-test"), key=str)
    choices = [tested, [group for group in tested if not group.flagged]]
    for kind in dict.fromkeys(group.kind for group in tested):
        choices.append([group for group in tested if group.kind == kind])
    distinct = dict.fromkeys(tuple(chosen) for chosen in choices if chosen)
    shown = [total(histograms[group] for group in chosen) for chosen in distinct]
    return shown or [total(histograms.values())]
