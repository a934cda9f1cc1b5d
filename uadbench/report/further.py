"""Further figures of a record, from its score histograms and what lies beside them (protocol, rules 3 to 16).

Each is a function of a record's evidence and gives the figure in resamples; None: the record has not what it
takes. Figures that are no smooth function of the subjects have no interval.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uadbench.data.space import Grid
from uadbench.evaluation import uncertainty
from uadbench.evaluation.components import FALSE, FOUND, LESIONS, is_found
from uadbench.evaluation.uncertainty import Sampled
from uadbench.protocol import ALL_POINTS, protocol
from uadbench.report.evidence import Evidence

Figure = Callable[[Evidence], Sampled | None]
Array = NDArray[np.float64]
SPECIFICITY = 0.95
STEP = 1e-4  # of a weight, for the derivative by it

# ---- how figures depend on subjects ----------------------------------------------------------------


def fixed(value: float, evidence: Evidence) -> Sampled:
    """A figure without an interval."""
    none = np.zeros(len(evidence.ill))
    shape = len(evidence.ill_weights), len(none)
    return Sampled(value, none, np.full(shape[0], value), np.zeros(shape), evidence.ill_weights)


def of_sums(function: Callable[[Array], Array], parts: Array, weights: NDArray[np.int64]) -> Sampled:
    """A function (B,) of sums over subjects (B, ...) of `parts` (subjects, ...); influences are numerical."""
    times = np.concatenate([np.ones((1, len(parts))), weights])
    sums = np.tensordot(times, parts, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = function(sums)
        moved = [(function(sums + STEP * part) - values) / STEP for part in parts]
    influences = np.stack(moved, axis=1)
    return Sampled(float(values[0]), influences[0], values[1:], influences[1:], weights)


def share_of(parts: Array, wholes: Array, weights: NDArray[np.int64]) -> Sampled | None:
    """Sum over sum of the subjects; None where there is nothing to share."""
    return uncertainty.ratio(parts, wholes, weights) if wholes.any() else None


def mean_of(values: Sequence[float], evidence: Evidence) -> Sampled | None:
    """Mean over the lesion-test scans that have a value: those that have none are NaN."""
    known = [None if np.isnan(value) else float(value) for value in values]
    return None if all(v is None for v in known) else uncertainty.mean(known, evidence.ill_weights)


def at(point: str, figure: Callable[[Evidence, str], Sampled | None]) -> Figure:
    """A figure at an operating point, where the record has that; "": at the one that strata are told at."""

    def found(evidence: Evidence) -> Sampled | None:
        name = point or evidence.operating_point
        known = evidence.record.thresholds.get(evidence.record.headline, {}).get(name)
        return None if known is None else figure(evidence, name)

    return found


def kept_details(evidence: Evidence) -> dict[str, Any] | None:
    """The details of the record; None where it was made by an earlier version."""
    details = evidence.read.details
    return None if details is None else dict(details.arrays)


class ListedLesion(NamedTuple):
    """One lesion of a lesion-test scan, at the operating point at which strata are told."""

    scan: str
    kind: str
    size: float  # the patient's own ml, or pixels
    covered: float  # share of it that is called
    found: bool


def lesions_of(evidence: Evidence) -> list[ListedLesion]:
    """Every lesion of the lesion-test scans, those of one scan together; none of a record without details."""
    kept, details = kept_details(evidence), evidence.read.details
    if kept is None or details is None:
        return []
    point = ALL_POINTS.index(evidence.operating_point)
    target = protocol(evidence.record.protocol).grid
    voxel = target.voxel_size if isinstance(target, Grid) else 1.0
    listed = []
    for row in evidence.ill:
        subject, own = evidence.record.subjects[row], np.flatnonzero(details.owners == row)
        voxels, called = kept["lesion_voxels"][own], kept["covered"][own, point]
        sizes = voxels * (subject.voxel_ml or voxel / subject.template_scale)
        facts = zip(sizes, called / voxels, is_found(called, voxels), strict=True)
        listed += [
            ListedLesion(subject.id, subject.lesion_kind or "", float(size), float(share), bool(found))
            for size, share, found in facts
        ]
    return listed


# ---- at operating points ---------------------------------------------------------------------------


def _voxels(evidence: Evidence, point: str) -> Array:
    """True and false positives and missed voxels of all tested scans, (scans, 3)."""
    counts = evidence.read.voxels[evidence.record.headline][evidence.chosen, ALL_POINTS.index(point)]
    return counts.astype(np.float64)


def _of(evidence: Evidence, partition: str) -> NDArray[np.bool_]:
    return np.array([s.partition == partition for s in evidence.subjects], bool)


def lesion_f1(evidence: Evidence, point: str) -> Sampled | None:
    """Lesion F1 pooled over scans: 2 found / (found + lesions + false components)."""
    counts = evidence.lesion_counts(point)
    wholes = counts[:, FOUND] + counts[:, LESIONS] + counts[:, FALSE]
    return share_of(2 * counts[:, FOUND], wholes, evidence.ill_weights)


def lesion_recall(evidence: Evidence, point: str) -> Sampled | None:
    """Share of lesions found."""
    counts = evidence.lesion_counts(point)
    return share_of(counts[:, FOUND], counts[:, LESIONS], evidence.ill_weights)


def false_components(evidence: Evidence, point: str) -> Sampled | None:
    """False components a lesion-test scan."""
    counts = evidence.lesion_counts(point)[:, FALSE]
    return fixed(float(counts.mean()), evidence) if counts.size else None


def mean_dice(evidence: Evidence, point: str) -> Sampled | None:
    """Mean over subjects of Dice."""
    headline, subjects = evidence.record.headline, evidence.record.subjects
    own = [subjects[row].dsc[headline][point] for row in evidence.ill]
    return mean_of([float("nan") if value is None else value for value in own], evidence)


def realised_rate(evidence: Evidence, point: str, partition: str = "") -> Sampled | None:
    """False positives over voxels without lesion, of healthy-test; without it, of lesion-test."""
    healthy = _of(evidence, "healthy-test")
    among = _of(evidence, partition) if partition else healthy if healthy.any() else ~healthy
    voxels, sizes = _voxels(evidence, point), np.array([s.voxels for s in evidence.subjects], np.float64)
    without = sizes - voxels[:, 0] - voxels[:, 2]
    return share_of(voxels[:, 1] * among, without * among, evidence.weights)


def scan_alarms(evidence: Evidence, point: str) -> Sampled | None:
    """Share of the healthy-test scans in which a voxel is left at the point."""
    healthy = _of(evidence, "healthy-test").astype(np.float64)
    return share_of((_voxels(evidence, point)[:, 1] > 0) * healthy, healthy, evidence.weights)


def slice_alarms(evidence: Evidence, point: str) -> Sampled | None:
    """Share of the lesion-free slices of lesion-test scans on which a voxel is left at the point."""
    kept = kept_details(evidence)
    if kept is None:
        return None
    counts = kept["alarms"][:, ALL_POINTS.index(point)], kept["lesion_free"]
    called, free = (one[evidence.ill].astype(np.float64) for one in counts)
    return share_of(called, free, evidence.ill_weights)


def alarms(evidence: Evidence, point: str) -> Sampled | None:
    """Alarms on lesion-free scans; where no scan is, on lesion-free slices."""
    return scan_alarms(evidence, point) or slice_alarms(evidence, point)


def kept_dice(evidence: Evidence, point: str) -> Sampled | None:
    """What a frozen threshold keeps of the Dice at the best one: how well it transfers."""
    points = evidence.record.summary.profiles[evidence.record.headline].points
    best = points["oracle"].dsc if "oracle" in points else None
    own = points[point].dsc if point in points else None
    return fixed(own / best, evidence) if best and own is not None else None


def surface_dice(evidence: Evidence, point: str) -> Sampled | None:
    """Mean over subjects of normalised surface Dice."""
    kept = kept_details(evidence)
    own = None if kept is None else kept["surface"][evidence.ill, ALL_POINTS.index(point)]
    return None if own is None else mean_of(own, evidence)


def false_positives_in(region: int, evidence: Evidence, point: str) -> Sampled | None:
    """Share of the false positives of all tested scans that lie in a region."""
    kept = kept_details(evidence)
    if kept is None:
        return None
    counts = kept["regions"][evidence.chosen, ALL_POINTS.index(point)].astype(np.float64)
    return share_of(counts[:, region], counts.sum(1), evidence.weights)


AT_POINTS: Mapping[str, Callable[[Evidence, str], Sampled | None]] = {
    "lesion_f1": lesion_f1,
    "recall": lesion_recall,
    "false_components": false_components,
    "dsc_mean": mean_dice,
    "fpr_healthy": partial(realised_rate, partition="healthy-test"),
    "fpr_lesion": partial(realised_rate, partition="lesion-test"),
    "alarms_scan": scan_alarms,
    "alarms_slice": slice_alarms,
    "kept": kept_dice,
    "nsd": surface_dice,
}


# ---- whole scans -----------------------------------------------------------------------------------


def _ranked_scans(evidence: Evidence) -> tuple[NDArray[np.bool_], NDArray[np.intp]] | None:
    """Which tested scans have lesions, and the place of each one's score from the highest down."""
    scores, ill = [s.scan_score for s in evidence.subjects], _of(evidence, "lesion-test")
    if None in scores or ill.all() or not ill.any() or evidence.record.of_masks:
        return None
    return ill, np.unique(-np.array(scores, np.float64), return_inverse=True)[1]


def _above(evidence: Evidence, ill: NDArray[np.bool_], place: NDArray[np.intp]) -> Array:
    """Of each scan (scans, 2, places): one at its place, among those with lesions or among the healthy."""
    found = np.zeros((len(ill), 2, int(place.max()) + 1))
    found[np.arange(len(ill)), np.where(ill, 0, 1), place] = 1
    return found


def scan_ap(evidence: Evidence) -> Sampled | None:
    """Step-wise average precision of scan scores, healthy-test against lesion-test."""
    ranked = _ranked_scans(evidence)
    if ranked is None:
        return None

    def precision(sums: Array) -> Array:
        true, false = sums.cumsum(-1)[:, 0], sums.cumsum(-1)[:, 1]
        steps = sums[:, 0] * true / np.maximum(true + false, 1e-12)
        return np.asarray(steps.sum(1) / true[:, -1])

    return of_sums(precision, _above(evidence, *ranked), evidence.weights)


def scan_sensitivity(evidence: Evidence) -> Sampled | None:
    """Share of lesion-test scans above the lowest score that at most 5 % of healthy-test scans reach."""
    ranked = _ranked_scans(evidence)
    if ranked is None:
        return None
    true, false = _above(evidence, *ranked).sum(0).cumsum(-1)
    allowed = false <= (1 - SPECIFICITY) * false[-1] + 1e-9
    return fixed(float(true[allowed].max(initial=0.0) / true[-1]), evidence)


def draw_spread(evidence: Evidence) -> Sampled | None:
    """Standard deviation of the mean AP from one draw of a method's noise to another."""
    spread = evidence.record.summary.draw_spread
    return None if spread is None else fixed(spread.ap_mean, evidence)
