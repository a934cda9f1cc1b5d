"""Evaluate: from score maps to per-subject numbers and pieces.

Passes over the maps. The first brings each map to the evaluation grid, post-processes it, keeps it on the
disk and adds its scores to pooled counts; where these do not say enough the maps are looked at again
(`pooling.py`). From the counts the operating points are frozen and the edges of the pieces are chosen. The
last passes count each subject's voxels between these edges, and voxels and lesions at the operating points.
What they leave behind is small, adds over subjects, and is all that a summary, a curve or a bootstrap needs
(protocol, rule 12).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from uadbench.data.sizes import sizes
from uadbench.data.space import resample
from uadbench.evaluation.counting import Look
from uadbench.evaluation.details import FROC_RATES, RATES, Details, Sweep, detail_of
from uadbench.evaluation.maps import Case, read_map
from uadbench.evaluation.metrics import Voxels, dice, measure, or_none
from uadbench.evaluation.pieces import Pieces
from uadbench.evaluation.pooling import Group, Pools
from uadbench.evaluation.postprocess import PROFILES, filtered
from uadbench.evaluation.regions import regions_of
from uadbench.evaluation.scan_facts import extent, facts_of
from uadbench.evaluation.view import View
from uadbench.protocol import GIVEN, OPERATING_POINTS
from uadbench.system import pool
from uadbench.system.arrays import load_array
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


@dataclass(frozen=True)
class _Scan:
    """What the first pass found of one scan; `scores` are kept on disk, one file per profile."""

    case: Case
    facts: dict[str, Any]
    labels: Path  # 1 lesion, 0 none, -1 not counted; of the same voxels as the scores
    scores: Mapping[str, Path]

    def voxels(self, profile: str) -> Voxels:
        """Scores and labels of the counted voxels."""
        labels = load_array(self.labels)
        counted = labels >= 0
        return load_array(self.scores[profile])[counted], labels[counted] > 0

    def view(self, profile: str) -> View:
        """Its volumes, with the map after a profile."""
        return View.of(self.case.prepared, PROFILES[profile], load_array(self.scores[profile]))

    @property
    def group(self) -> Group:
        """With whom the scan's voxels are pooled."""
        if self.case.partition != "lesion-test":
            return Group(self.case.partition)
        return Group(self.case.partition, self.facts["lesion_kind"], bool(self.facts["flags"]))


def evaluate(
    cases: Sequence[Case],
    profiles: Sequence[str],
    scratch: Path,
    workers: int,
    progress: Progress,
    headline: str | None = None,
    masks: bool = False,
) -> Evaluation:
    """Evaluate the maps of all partitions of one run; `scratch` takes temporary files.

    Details are found of the headline profile, if one is named. Of `masks` (0 and 1) nothing is measured but
    what they call, at the one point `GIVEN`.
    """
    with scratch_folder(scratch) as folder:
        pools = {profile: Pools() for profile in profiles}

        def first(numbered: tuple[int, Case]) -> _Scan:
            scan = _score(numbered[1], profiles, folder / str(numbered[0]), masks)
            for profile in profiles:
                pools[profile].add(scan.group, *scan.voxels(profile))
            return scan

        scans = pool.in_threads(first, list(enumerate(cases)), workers, progress, "curves")
        thresholds, pieces, details = {}, {}, None
        for profile in profiles:

            def each(work: Callable[[_Scan], T], title: str, profile: str = profile) -> list[T]:
                return pool.in_threads(work, scans, workers, progress, f"{title} ({profile})")

            find = _given_point if masks else _operating_points
            thresholds[profile], pieces[profile] = find(scans, profile, pools[profile], each)
            if profile == headline:
                details = _details(scans, profile, thresholds[profile], pools[profile], each)

        def last(scan: _Scan) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
            return {profile: _count_hits(scan, profile, thresholds[profile]) for profile in profiles}

        hits = pool.in_threads(last, scans, workers, progress, "operating points")
    voxels, lesions = (
        {profile: np.stack([hit[profile][part] for hit in hits]) for profile in profiles} for part in (0, 1)
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


def _score(case: Case, profiles: Sequence[str], folder: Path, masks: bool) -> _Scan:
    """First pass over one scan."""
    prepared, grid = case.prepared, case.prepared.grid
    stored = read_map(case.map_file)
    score_map = resample(stored.score_map, case.map_grid, grid)
    facts = facts_of(case, stored, score_map) | {"ap": {}, "auroc": {}}
    inside = extent(prepared)
    brain, lesion, counted = prepared.brain(), prepared.lesion()[inside], ~prepared.ignored()[inside]
    labels, files = lesion[counted], {}
    folder.mkdir()
    np.save(folder / "labels.npy", np.where(counted, lesion, -1).astype(np.int8))
    for profile in profiles:
        vector = filtered(score_map, brain, PROFILES[profile], grid)[inside]
        files[profile] = folder / f"{profile}.npy"
        np.save(files[profile], vector)
        if labels.any() and not masks:
            curve = measure(vector[counted], labels)
            facts["ap"][profile] = float(curve.ap)
            if not labels.all():  # no voxel of the scan is healthy: there is no false-positive rate
                facts["auroc"][profile] = float(curve.auroc)
    return _Scan(case, facts, folder / "labels.npy", files)


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


def _count_hits(
    scan: _Scan, profile: str, thresholds: Mapping[str, float | None]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Last pass over one scan: voxels (points, 3) and lesions (points, size bands, 3)."""
    view = scan.view(profile)
    voxels = np.zeros((len(thresholds), 3), np.int64)
    lesions = np.zeros((len(thresholds), len(sizes(view.grid).bands), 3), np.int64)
    for row, threshold in enumerate(thresholds.values()):
        if threshold is None:
            continue
        predicted = view.called(threshold)
        lesions[row] = view.lesions.against(predicted)
        hit = predicted & ~view.ignored
        true_positives = int((hit & view.wanted).sum())
        missed = int(view.wanted.sum()) - true_positives
        voxels[row] = true_positives, int(hit.sum()) - true_positives, missed
    return voxels, lesions


def _details(
    scans: Sequence[_Scan], profile: str, points: Mapping[str, float | None], pools: Pools, each: Each
) -> Details:
    """The details of all scans that are tested; of the others there are none."""
    rates, counted = ((), ()) if GIVEN in points else (RATES, FROC_RATES)  # a mask has no other threshold
    sweep = Sweep(pools.thresholds_at(rates), len(pools.thresholds_at(counted)))

    def detail(scan: _Scan) -> dict[str, NDArray[Any]]:
        partition, prepared = scan.case.partition, scan.case.prepared
        view = scan.view(profile)
        placed = prepared.grid.placed
        regions = regions_of(prepared.grid, prepared.brain())[view.box] if placed else None
        tested = points if partition in TESTED else dict.fromkeys(points)
        return detail_of(view, regions, tested, sweep if partition == "lesion-test" else None)

    return Details.of(each(detail, "details"), sweep)
