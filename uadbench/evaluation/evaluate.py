"""Evaluate: from score maps to per-subject numbers and pieces.

Passes over the maps. The first brings each map to the evaluation grid, post-processes it, keeps it and adds
its scores to pooled counts; where these do not say enough the maps are looked at again (`pooling.py`). From
the counts the operating points are frozen and the edges of the pieces are chosen. The last passes count each
subject's voxels between these edges, and voxels and lesions at the operating points. What they leave behind
is small, adds over subjects, and is all that a summary, a curve or a bootstrap needs (protocol, rule 12).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from uadbench.data.sizes import sizes
from uadbench.data.space import resample
from uadbench.evaluation.counting import Look
from uadbench.evaluation.details import FROC_RATES, RATES, Details, Sweep, detail_of
from uadbench.evaluation.ground import Ground
from uadbench.evaluation.maps import Case, read_map
from uadbench.evaluation.metrics import Voxels, dice, measure, or_none
from uadbench.evaluation.pieces import Pieces
from uadbench.evaluation.pooling import Group, Pools
from uadbench.evaluation.postprocess import PROFILES, filtered, find_alike
from uadbench.evaluation.regions import regions_of
from uadbench.evaluation.scan_facts import facts_of
from uadbench.evaluation.shelf import Kept, Shelf
from uadbench.evaluation.view import View
from uadbench.protocol import GIVEN, OPERATING_POINTS
from uadbench.system import pool
from uadbench.system.files import scratch_folder
from uadbench.system.progress import Progress

T = TypeVar("T")
TESTED = ("healthy-test", "lesion-test")
MASK_THRESHOLD = 0.5  # between the 0 and the 1 of masks


@dataclass(frozen=True)
class Evaluation:
    """What is left of the maps. Rows of all arrays are the subjects, in order.

    `voxels[profile]` (N, operating points, 3): true positive, false positive, false negative voxels;
    `lesions[profile]` (N, operating points, size bands, 3): lesions, lesions found, false components.
    """

    subjects: list[dict[str, Any]]
    thresholds: dict[str, dict[str, float | None]]  # by profile and operating point
    pieces: dict[str, Pieces]
    voxels: dict[str, NDArray[np.int64]]
    lesions: dict[str, NDArray[np.int64]]
    details: Details | None = None  # of the headline profile; records made by earlier versions have none

    def under(self, names: Mapping[str, str]) -> "Evaluation":
        """The same where each profile of `names` has the figures of the one that it stands for."""
        return replace(
            self,
            subjects=[
                subject | {key: _under(names, subject[key]) for key in ("ap", "auroc", "dsc")}
                for subject in self.subjects
            ],
            thresholds=_under(names, self.thresholds),
            pieces=_under(names, self.pieces),
            voxels=_under(names, self.voxels),
            lesions=_under(names, self.lesions),
        )


def _under(names: Mapping[str, str], found: Mapping[str, T]) -> dict[str, T]:
    return {name: found[one] for name, one in names.items() if one in found}


@dataclass(frozen=True)
class _Scan:
    """What the first pass found of one scan; its `scores` are kept by profile."""

    case: Case
    facts: dict[str, Any]
    labels: Kept  # 1 lesion, 0 none, -1 not counted; of the same voxels as the scores
    scores: Mapping[str, Kept]

    def voxels(self, profile: str) -> Voxels:
        """Scores and labels of the counted voxels."""
        return _counted(self.scores[profile](), self.labels())

    @property
    def group(self) -> Group:
        """With whom the scan's voxels are pooled."""
        if self.case.partition != "lesion-test":
            return Group(self.case.partition)
        return Group(self.case.partition, self.facts["lesion_kind"], bool(self.facts["flags"]))


def _counted(scores: NDArray[np.float32], labels: NDArray[np.int8]) -> Voxels:
    """Scores and labels of the voxels that are not ignored."""
    counted = labels >= 0
    if not counted.all():
        scores, labels = scores[counted], labels[counted]
    return scores, labels > 0


def evaluate(
    cases: Sequence[Case],
    profiles: Sequence[str],
    scratch: Path,
    workers: int,
    progress: Progress,
    headline: str | None = None,
    masks: bool = False,
) -> Evaluation:
    """Evaluate the maps of all partitions of one run; `scratch` takes temporary files and regions of grids.

    Details are found of the headline profile, if one is named. Of `masks` (0 and 1) nothing is measured but
    what they call, at the one point `GIVEN`.
    """
    alike = find_alike(profiles, {case.prepared.grid for case in cases})
    if len(unlike := list(dict.fromkeys(alike.values()))) < len(alike):
        found = evaluate(cases, unlike, scratch, workers, progress, headline and alike[headline], masks)
        return found.under(alike)
    with scratch_folder(scratch) as folder:
        pools, shelf = {profile: Pools() for profile in profiles}, Shelf(folder)

        def first(case: Case) -> _Scan:
            return _score(case, pools, shelf, masks)

        scans = pool.in_threads(first, cases, workers, progress, "curves")
        thresholds, pieces, sweep = {}, {}, None
        for profile in profiles:

            def each(work: Callable[[_Scan], T], title: str, profile: str = profile) -> list[T]:
                return pool.in_threads(work, scans, workers, progress, f"{title} ({profile})")

            find = _given_point if masks else _operating_points
            thresholds[profile], pieces[profile] = find(scans, profile, pools[profile], each)
            if profile == headline:
                sweep = _sweep(pools[profile], masks)

        def last(scan: _Scan) -> _Hits:
            return _count_hits(scan, thresholds, headline, sweep, scratch)

        hits = pool.in_threads(last, scans, workers, progress, "operating points")
    details = None if sweep is None else Details.of([hit.detail for hit in hits], sweep)
    voxels, lesions = (
        {profile: np.stack([hit.counts[profile][part] for hit in hits]) for profile in profiles}
        for part in (0, 1)
    )
    dices = {name: dice(v[..., 0], v[..., 1], v[..., 0] + v[..., 2]) for name, v in voxels.items()}
    for row, scan in enumerate(scans):
        scan.facts["dsc"] = {
            profile: dict(zip(thresholds[profile], map(or_none, own[row]), strict=True))
            for profile, own in dices.items()
        }
    return Evaluation(
        subjects=[scan.facts for scan in scans],
        thresholds={profile: _finite(points) for profile, points in thresholds.items()},
        pieces=pieces,
        voxels=voxels,
        lesions=lesions,
        details=details,
    )


Each = Callable[[Callable[[_Scan], Any], str], list[Any]]


def _score(case: Case, pools: Mapping[str, Pools], shelf: Shelf, masks: bool) -> _Scan:
    """First pass over one scan: its facts, its scores after each profile, and their part in the pools."""
    ground, stored = Ground.of(case.prepared), read_map(case.map_file)
    score_map = resample(stored.score_map, case.map_grid, case.prepared.grid)[ground.box]
    facts = facts_of(case, stored, ground, score_map) | {"ap": {}, "auroc": {}}
    labels = np.where(ground.ignored, np.int8(-1), ground.lesion.view(np.int8))[ground.inside]
    scores: dict[str, Kept] = {}
    scan = _Scan(case, facts, shelf.keep(labels), scores)
    for profile, pooled in pools.items():
        vector = filtered(score_map, ground.brain, PROFILES[profile], ground.grid)[ground.inside]
        scores[profile] = shelf.keep(vector)
        counted, truth = _counted(vector, labels)
        pooled.add(scan.group, counted, truth)
        if truth.any() and not masks:
            curve = measure(counted, truth)
            facts["ap"][profile] = float(curve.ap)
            if not truth.all():  # no voxel of the scan is healthy: there is no false-positive rate
                facts["auroc"][profile] = float(curve.auroc)
    return scan


def _operating_points(
    scans: Sequence[_Scan],
    profile: str,
    pools: Pools,
    each: Each,
) -> tuple[dict[str, float | None], Pieces]:
    """Frozen thresholds of one profile (protocol, rule 3), and the pieces on edges that contain them.

    Only `oracle` and `oracle_mean` look at the test labels, and are labelled so.
    """
    counting = Lock()

    def look_again(look: Look, counts: Mapping[Group, NDArray[Any]]) -> None:
        def add(scan: _Scan) -> None:
            if scan.group in counts:
                scores, labels = scan.voxels(profile)
                own = look.empty(scores.size)
                look.count(scores, labels, own)
                with counting:
                    counts[scan.group][...] += own

        each(add, "single values")

    pools.sharpen(look_again)
    points = pools.thresholds()
    pieces = _pieces(scans, profile, pools, points, each)
    tested = [row for row, scan in enumerate(scans) if scan.case.partition == "lesion-test"]
    points["oracle_mean"] = pieces.mean_dice_threshold(tested) if points["oracle"] is not None else None
    return {name: points[name] for name in OPERATING_POINTS}, pieces


def _given_point(
    scans: Sequence[_Scan], profile: str, pools: Pools, each: Each
) -> tuple[dict[str, float | None], Pieces]:
    """As `_operating_points`, of masks: none but the one that they came with."""
    points = {**dict.fromkeys(OPERATING_POINTS), GIVEN: MASK_THRESHOLD}
    return points, _pieces(scans, profile, pools, points, each)


def _pieces(
    scans: Sequence[_Scan], profile: str, pools: Pools, points: Mapping[str, float | None], each: Each
) -> Pieces:
    """The pieces on edges that contain the thresholds."""
    edges = pools.edges([threshold for threshold in points.values() if threshold is not None])
    counts = each(lambda scan: edges.between(*scan.voxels(profile)), "pieces")
    return Pieces.of_counts([scan.facts["id"] for scan in scans], edges, counts)


def _finite(points: Mapping[str, float | None]) -> dict[str, float | None]:
    """Thresholds that JSON can hold: the largest number instead of one that nothing reaches."""
    largest = float(np.finfo(np.float32).max)
    return {name: None if value is None else min(value, largest) for name, value in points.items()}


class _Hits(NamedTuple):
    """What the last pass found of one scan."""

    counts: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]  # by profile, see `_hits`
    detail: dict[str, NDArray[Any]]  # of the headline profile, if there is one


def _count_hits(
    scan: _Scan,
    thresholds: Mapping[str, Mapping[str, float | None]],
    headline: str | None,
    sweep: Sweep | None,
    scratch: Path,
) -> _Hits:
    """Last pass over one scan."""
    ground, found = Ground.of(scan.case.prepared), _Hits({}, {})
    for profile, points in thresholds.items():
        view = View(ground, PROFILES[profile], scan.scores[profile]())
        found.counts[profile] = _hits(view, points.values())
        if profile == headline and sweep is not None:
            found.detail.update(_detail(scan, view, points, sweep, scratch))
    return found


def _hits(view: View, thresholds: Collection[float | None]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Voxels (points, 3) and lesions (points, size bands, 3) of one scan."""
    ground, lesions = view.ground, view.ground.lesions
    wanted, ignored = ground.wanted.reshape(-1), ground.ignored.reshape(-1)
    positives = int(np.count_nonzero(wanted))
    voxels = np.zeros((len(thresholds), 3), np.int64)
    counts = np.zeros((len(thresholds), len(sizes(ground.grid).bands), 3), np.int64)
    for row, threshold in enumerate(thresholds):
        if threshold is None:
            continue
        called = view.reached(threshold)
        counts[row] = lesions.count(called)
        true = int(np.count_nonzero(wanted[called.places]))
        hits = called.places.size - int(np.count_nonzero(ignored[called.places]))
        voxels[row] = true, hits - true, positives - true
    return voxels, counts


def _sweep(pools: Pools, masks: bool) -> Sweep:
    """The thresholds at which details are counted; a mask has no other threshold than its own."""
    rates, counted = ((), ()) if masks else (RATES, FROC_RATES)
    return Sweep(pools.thresholds_at(rates), len(pools.thresholds_at(counted)))


def _detail(
    scan: _Scan, view: View, points: Mapping[str, float | None], sweep: Sweep, scratch: Path
) -> dict[str, NDArray[Any]]:
    """The details of a scan; of those that are not tested there are none."""
    partition, grid, ground = scan.case.partition, scan.case.prepared.grid, view.ground
    regions = regions_of(grid, ground.brain, ground.box, scratch) if grid.placed else None
    tested = points if partition in TESTED else dict.fromkeys(points)
    return detail_of(view, regions, tested, sweep if partition == "lesion-test" else None)
