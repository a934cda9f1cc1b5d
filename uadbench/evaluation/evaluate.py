"""Evaluate: from score maps to per-subject numbers and pieces.

Passes over the maps. The first brings each map to the evaluation grid, post-processes it, keeps it on the
disk and adds its scores to pooled counts; where these do not say enough the maps are looked at again
(`pooling.py`). From the counts the operating points are frozen and the edges of the pieces are chosen. The
last passes count each subject's voxels between these edges, and voxels and lesions at the operating points.
What they leave behind is small, adds over subjects, and is all that a summary, a curve or a bootstrap needs
(protocol, rule 12).
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from uadbench.data.prepared import Prepared
from uadbench.data.sizes import sizes, template_scale, voxel_size
from uadbench.data.space import Grid, resample
from uadbench.evaluation import intensity, maps, postprocess
from uadbench.evaluation.components import Lesions
from uadbench.evaluation.counting import Look, Voxels
from uadbench.evaluation.metrics import measure
from uadbench.evaluation.ordinals import LOWEST
from uadbench.evaluation.pieces import Pieces
from uadbench.evaluation.pooling import Group, Pools
from uadbench.evaluation.postprocess import PROFILES
from uadbench.learning import scores
from uadbench.protocol import OPERATING_POINTS, SCAN_FRACTION, dice
from uadbench.system.files import scratch_folder
from uadbench.system.progress import Progress

T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """One scan to be evaluated: labels on its evaluation grid, score map on its model grid."""

    partition: str
    prepared: Prepared
    map_file: Path
    map_grid: Grid


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


@dataclass(frozen=True)
class _Scan:
    """What the first pass found of one scan; `scores` are kept on disk, one file per profile."""

    case: Case
    facts: dict[str, Any]
    labels: Path  # 1 lesion, 0 none, -1 not counted; of the same voxels as the scores
    scores: Mapping[str, Path]

    def voxels(self, profile: str) -> Voxels:
        """Scores and labels of the counted voxels."""
        labels = np.load(self.labels)
        counted = labels >= 0
        return np.load(self.scores[profile])[counted], labels[counted] > 0

    @property
    def group(self) -> Group:
        """With whom the scan's voxels are pooled."""
        flagged = bool(self.case.prepared.facts.get("quality", {}).get("flags"))
        return Group(self.case.partition, self.case.prepared.session.lesion_kind, flagged)


def extent(prepared: Prepared) -> NDArray[np.bool_]:
    """Brain united with lesion on the slices that count, (R, A, S) (protocol, rules 7 and 8)."""
    slices = sizes(prepared.grid).counted_slices(prepared.facts)
    counted: NDArray[np.bool_] = (prepared.brain() | prepared.lesion()) & slices
    return counted


def evaluate(
    cases: Sequence[Case],
    profiles: Sequence[str],
    scratch: Path,
    workers: int,
    progress: Progress,
) -> Evaluation:
    """Evaluate the maps of all partitions of one run; `scratch` takes temporary files."""
    with scratch_folder(scratch) as folder:
        pools = {profile: Pools() for profile in profiles}

        def first(numbered: tuple[int, Case]) -> _Scan:
            scan = _score(numbered[1], profiles, folder / str(numbered[0]))
            for profile in profiles:
                pools[profile].add(scan.group, *scan.voxels(profile))
            return scan

        scans = _each(first, list(enumerate(cases)), workers, progress, "curves")
        thresholds, pieces = {}, {}
        for profile in profiles:

            def each(work: Callable[[_Scan], T], title: str, profile: str = profile) -> list[T]:
                return _each(work, scans, workers, progress, f"{title} ({profile})")

            thresholds[profile], pieces[profile] = _operating_points(scans, profile, pools[profile], each)

        def last(scan: _Scan) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
            return {profile: _count_hits(scan, profile, thresholds[profile]) for profile in profiles}

        hits = _each(last, scans, workers, progress, "operating points")
    return Evaluation(
        subjects=[_with_dice(scan.facts, hit, thresholds) for scan, hit in zip(scans, hits, strict=True)],
        thresholds={profile: _finite(points) for profile, points in thresholds.items()},
        pieces=pieces,
        voxels={profile: np.stack([hit[profile][0] for hit in hits]) for profile in profiles},
        lesions={profile: np.stack([hit[profile][1] for hit in hits]) for profile in profiles},
    )


def _each(
    work: Callable[[Any], T], items: Sequence[Any], workers: int, progress: Progress, title: str
) -> list[T]:
    """Results in the order of the items; threads, because the work is numpy's."""
    with progress.stage(title, len(items)) as stage, ThreadPoolExecutor(max(1, workers)) as pool:
        results = []
        for result in pool.map(work, items):
            results.append(result)
            stage.advance()
        return results


def _score(case: Case, profiles: Sequence[str], folder: Path) -> _Scan:
    """First pass over one scan."""
    prepared, session, grid = case.prepared, case.prepared.session, case.prepared.grid
    unit = sizes(grid).unit
    stored = maps.read(case.map_file)
    brain, lesion, ignored = prepared.brain(), prepared.lesion(), prepared.ignored()
    inside = extent(prepared)
    counted = ~ignored[inside]
    labels = lesion[inside][counted]
    score_map = resample(stored.score_map, case.map_grid, grid)
    facts: dict[str, Any] = {
        "id": session.id,
        "cohort": session.cohort,
        "person": session.subject,
        "session": session.label,
        "partition": case.partition,
        "site": session.site,
        "sex": session.sex,
        "age": session.age,
        "lesion_kind": session.lesion_kind,
        "voxels": int(counted.sum()),
        "template_scale": template_scale(prepared.facts),
        f"lesion_{unit}": lesion_size(prepared, int(labels.sum())),
        f"lesion_{unit}_outside_counted_slices": lesion_size(prepared, int((lesion & ~inside).sum())),
        "flags": list(prepared.facts.get("quality", {}).get("flags", ())),
        **(slice_scores(score_map, prepared) if grid.flat else {"scan_score": scan_score(score_map[brain])}),
        "intensity": intensity.statistics(prepared.image()[brain & ~lesion & ~ignored]),
        "ap": {},
        "auroc": {},
    }
    folder.mkdir()
    files = {}
    np.save(folder / "labels.npy", np.where(counted, lesion[inside], -1).astype(np.int8))
    for profile in profiles:
        vector = postprocess.filtered(score_map, brain, PROFILES[profile], grid)[inside]
        files[profile] = folder / f"{profile}.npy"
        np.save(files[profile], vector)
        if labels.any():
            curve = measure(vector[counted], labels)
            facts["ap"][profile] = float(curve.ap)
            if not labels.all():  # no voxel of the scan is healthy: there is no false-positive rate
                facts["auroc"][profile] = float(curve.auroc)
    facts["draw_spread"] = _draw_spread(case, stored, inside & ~ignored)
    if stored.pseudo_healthy is not None:
        restored = resample(stored.pseudo_healthy[0], case.map_grid, grid)
        facts |= _restoration(prepared.image(), restored, brain, lesion, ignored)
    return _Scan(case, facts, folder / "labels.npy", files)


def _draw_spread(case: Case, stored: maps.StoredMap, counted: NDArray[np.bool_]) -> float | None:
    """Deviation over draws of the scan's own AP before post-processing; of its scan score without lesion.

    None where there is one draw, or neither figure.
    """
    if stored.draws is None:
        return None
    prepared, grid = case.prepared, case.prepared.grid
    labels, brain = prepared.lesion()[counted], prepared.brain()
    figures = []
    for draw in stored.draws:
        score_map = resample(draw, case.map_grid, grid)
        if labels.any():
            outside = np.where(brain, score_map, LOWEST)
            figures.append(float(measure(outside[counted], labels).ap))
        elif brain.any():
            figures.append(scan_score(score_map[brain]))
    return float(np.std(figures, ddof=1)) if len(figures) > 1 else None


def lesion_size(prepared: Prepared, voxels: int) -> float:
    """Size of some lesion voxels of a scan in the patient's own millilitres; of a stack, in pixels.

    The voxels are given their share of the volume that the mask's own file has: nearest neighbour alone puts
    a lesion of 1 ml 2 % off.
    """
    whole = int(prepared.lesion().sum())
    if "lesion_own_ml" not in prepared.facts or not whole:
        return voxels * voxel_size(prepared.grid, prepared.facts)
    return float(prepared.facts["lesion_own_ml"] * voxels / whole)


def scan_score(scores_in_brain: NDArray[np.float32]) -> float:
    """Mean of the highest 1 % of a scan's scores (protocol, rule 5), at 9 significant digits, as recorded."""
    count = max(1, round(SCAN_FRACTION * scores_in_brain.size))
    mean = np.partition(scores_in_brain, -count)[-count:].mean(dtype=np.float64)
    return float(f"{mean:.9g}")


def slice_scores(score_map: NDArray[np.float32], prepared: Prepared) -> dict[str, list[Any]]:
    """Of each evaluated slice the mean of its highest 1 % of scores, and whether it holds lesion (rule 2)."""
    brain, lesion = prepared.brain(), prepared.lesion()
    counted = np.flatnonzero(sizes(prepared.grid).counted_slices(prepared.facts))
    return {
        "slice_scores": [scan_score(score_map[..., n][brain[..., n]]) for n in counted],
        "slice_lesion": [bool(lesion[..., n].any()) for n in counted],
    }


def _restoration(
    image: NDArray[np.float32],
    restored: NDArray[np.float32],
    brain: NDArray[np.bool_],
    lesion: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
) -> dict[str, float]:
    """Quality of a pseudo-healthy volume (protocol, rule 16)."""
    residual = np.abs(image - restored)
    healthy = brain & ~lesion & ~ignored
    quality = {"restoration_l1": float(residual[brain].mean(dtype=np.float64))}
    quality["restoration_ssim"] = float(1 - scores.ssim(image, restored)[brain].mean(dtype=np.float64))
    ill = lesion & ~ignored
    outside = float(residual[healthy].mean(dtype=np.float64)) if healthy.any() else 0.0
    if ill.any() and outside > 0:
        quality["residual_ratio"] = float(residual[ill].mean(dtype=np.float64)) / outside
    return quality


def _operating_points(
    scans: Sequence[_Scan],
    profile: str,
    pools: Pools,
    each: Callable[[Callable[[_Scan], Any], str], list[Any]],
) -> tuple[dict[str, float | None], Pieces]:
    """Frozen thresholds of one profile (protocol, rule 3), and the pieces on edges that contain them.

    Only `oracle` and `oracle_mean` look at the test labels, and are labelled so.
    """
    counting = Lock()

    def look_again(look: Look, counts: Mapping[Group, NDArray[Any]]) -> None:
        def add(scan: _Scan) -> None:
            group = pools.member(scan.group)
            if group in counts:
                scores, labels = scan.voxels(profile)
                own = look.empty(scores.size)
                look.count(scores, labels, own)
                with counting:
                    counts[group][...] += own

        each(add, "single values")

    pools.sharpen(look_again)
    points = pools.thresholds()
    edges = pools.edges([threshold for threshold in points.values() if threshold is not None])
    counts = each(lambda scan: edges.between(*scan.voxels(profile)), "pieces")
    pieces = Pieces.of_counts([scan.facts["id"] for scan in scans], edges, counts)
    tested = [row for row, scan in enumerate(scans) if scan.case.partition == "lesion-test"]
    points["oracle_mean"] = pieces.mean_dice_threshold(tested) if points["oracle"] is not None else None
    return {name: points[name] for name in OPERATING_POINTS}, pieces


def _finite(points: Mapping[str, float | None]) -> dict[str, float | None]:
    """Thresholds that JSON can hold: the largest number instead of one that nothing reaches."""
    largest = float(np.finfo(np.float32).max)
    return {name: None if value is None else min(value, largest) for name, value in points.items()}


def _count_hits(
    scan: _Scan, profile: str, thresholds: Mapping[str, float | None]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Second pass over one scan: voxels (points, 3) and lesions (points, size bands, 3)."""
    prepared, grid = scan.case.prepared, scan.case.prepared.grid
    inside, lesion, ignored = extent(prepared), prepared.lesion(), prepared.ignored()
    facts = prepared.facts
    labelled = Lesions(lesion & inside, ignored, voxel_size(grid, facts), sizes(grid), grid.flat)
    vector = np.load(scan.scores[profile])
    voxels = np.zeros((len(OPERATING_POINTS), 3), np.int64)
    lesions = np.zeros((len(OPERATING_POINTS), len(sizes(grid).bands), 3), np.int64)
    for row, point in enumerate(OPERATING_POINTS):
        threshold = thresholds[point]
        if threshold is None:
            continue
        predicted = np.zeros(grid.shape, bool)
        predicted[inside] = vector >= np.float32(threshold)
        predicted = postprocess.drop_components(predicted, PROFILES[profile], grid, template_scale(facts))
        lesions[row] = labelled.against(predicted)
        hit, wanted = predicted & ~ignored, lesion & inside & ~ignored
        true_positives = int((hit & wanted).sum())
        voxels[row] = true_positives, int(hit.sum()) - true_positives, int(wanted.sum()) - true_positives
    return voxels, lesions


def _with_dice(
    facts: dict[str, Any],
    hits: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]],
    thresholds: Mapping[str, Mapping[str, float | None]],
) -> dict[str, Any]:
    """Facts of a subject with its Dice by profile and operating point."""
    facts["dsc"] = {
        profile: {
            point: dice(*map(int, voxels[row])) if thresholds[profile][point] is not None else None
            for row, point in enumerate(OPERATING_POINTS)
        }
        for profile, (voxels, _) in hits.items()
    }
    return facts
