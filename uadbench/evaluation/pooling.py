"""Pooled counts of the scans of one evaluation, until they say all that is asked of them.

Scores of all scans of a group are counted together, first in coarse bins. That does for most figures of most
maps; the maps are looked at again for the bins in which average precision or AUROC is not yet certain, or a
threshold might lie. So figures and thresholds depend on the order of the scores alone.
"""

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uadbench.evaluation.counting import Look, count_scores, sharpened
from uadbench.evaluation.edges import Edges, edges_for
from uadbench.evaluation.histogram import ScoreHistogram, each_once, total
from uadbench.evaluation.pieces import POOLED
from uadbench.protocol import FALSE_POSITIVE_RATES


class Group(NamedTuple):
    """Scans whose voxels are pooled: only of lesion-test is more asked than of the whole partition."""

    partition: str
    kind: str | None = None  # of lesion
    flagged: bool = False  # by preparation


class Pools:
    """Histograms of groups of scans, for one profile of post-processing."""

    def __init__(self) -> None:
        """Without any voxel."""
        self._histograms: Mapping[Group, ScoreHistogram] = {}
        self._adding = Lock()

    def add(self, group: Group, scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> None:
        """Count the voxels of one scan; any number of threads may do so at once."""
        own = count_scores(scores, labels)
        with self._adding:
            before = [self._histograms[group]] if group in self._histograms else []
            self._histograms = {**self._histograms, group: total([*before, own])}

    def sharpen(self, look_again: Callable[[Look, Mapping[Group, NDArray[Any]]], None]) -> None:
        """Look again, through a function that counts the voxels of groups, while anything is undecided."""
        asked = {name: own for name, own in self._histograms.items() if name.partition != "healthy-test"}
        self._histograms = sharpened(asked, _undecided, look_again)

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
