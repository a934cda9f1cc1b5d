"""What is measured of one scan by itself, whatever the other scans of the run."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.data.prepared import Prepared, decode
from uadbench.data.sizes import sizes, template_scale, voxel_size
from uadbench.data.space import ScanGrid, resample
from uadbench.evaluation.ground import Ground
from uadbench.evaluation.maps import Case, StoredMap
from uadbench.evaluation.metrics import measure
from uadbench.evaluation.ordinals import tally
from uadbench.evaluation.postprocess import LOWEST
from uadbench.learning import scores
from uadbench.protocol import SCAN_FRACTION

PERCENTILES = (5, 25, 50, 75, 95)
BINS = 64  # of the entropy
STATISTICS = (
    "mean",
    "deviation",
    "skewness",
    "kurtosis",
    *[f"percentile {p}" for p in PERCENTILES],
    "entropy",
)


def extent(prepared: Prepared) -> NDArray[np.bool_]:
    """Brain united with lesion on the slices that count, (R, A, S) (protocol, rules 7 and 8)."""
    slices = sizes(prepared.grid).counted_slices(prepared.facts)
    counted: NDArray[np.bool_] = (prepared.brain() | prepared.lesion()) & slices
    return counted


def facts_of(case: Case, stored: StoredMap, ground: Ground, score_map: NDArray[np.float32]) -> dict[str, Any]:
    """The facts of a scan with its map (R, A, S) within the ground's box, before post-processing."""
    prepared, session, grid = case.prepared, case.prepared.session, case.prepared.grid
    unit, marked = sizes(grid).unit, int(ground.marked.sum())
    asked = session.implanted
    lesion, outside = int(ground.wanted.sum()), marked - int(ground.lesion.sum())
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
        "implanted": None if asked is None else {"ml": asked.ml, "contrast": asked.contrast},
        "voxels": int(ground.counted.sum()),
        "template_scale": template_scale(prepared.facts),
        "voxel_ml": voxel_size(grid, prepared.facts) if isinstance(grid, ScanGrid) else None,
        f"lesion_{unit}": lesion_size(prepared, lesion, marked),
        f"lesion_{unit}_outside_counted_slices": lesion_size(prepared, outside, marked),
        "flags": list(prepared.facts.get("quality", {}).get("flags", ())),
        **_scan_scores(score_map, ground, prepared),
        "intensity": _intensity(prepared),
        "draw_spread": _draw_spread(case, stored, ground),
    }
    if stored.pseudo_healthy is not None:
        restored = resample(stored.pseudo_healthy[0], case.map_grid, grid)
        facts |= _restoration(prepared.image(), restored, ground)
        if session.healthy:
            facts["restoration_ssim"] = _similarity(prepared.image(), restored, ground)
    return facts


def lesion_size(prepared: Prepared, voxels: int, whole: int) -> float:
    """Size of some of the `whole` lesion voxels of a scan in the patient's own ml; of a stack, in pixels.

    The voxels are given their share of the volume that the mask's own file has: nearest neighbour alone puts
    a lesion of 1 ml 2 % off.
    """
    if "lesion_own_ml" not in prepared.facts or not whole:
        return voxels * voxel_size(prepared.grid, prepared.facts)
    return float(prepared.facts["lesion_own_ml"] * voxels / whole)


def scan_score(scores_in_brain: NDArray[np.float32]) -> float:
    """Mean of the highest 1 % of a scan's scores (protocol, rule 5), at 9 significant digits, as recorded."""
    count = max(1, round(SCAN_FRACTION * scores_in_brain.size))
    mean = np.partition(scores_in_brain, -count)[-count:].mean(dtype=np.float64)
    return float(f"{mean:.9g}")


def _scan_scores(score_map: NDArray[np.float32], ground: Ground, prepared: Prepared) -> dict[str, Any]:
    """The scan's score; of a stack that of each evaluated slice, and whether it holds lesion (rule 2)."""
    if not ground.grid.flat:
        return {"scan_score": scan_score(score_map[ground.brain])}
    counted = np.flatnonzero(sizes(prepared.grid).counted_slices(prepared.facts))
    return {
        "slice_scores": [scan_score(score_map[..., n][ground.brain[..., n]]) for n in counted],
        "slice_lesion": [bool(ground.marked[..., n].any()) for n in counted],
    }


def _intensity(prepared: Prepared) -> list[float] | None:
    """The statistics of a scan's brain outside lesions; None where maps came without the images."""
    if not prepared.facts.get("image", True):
        return None
    codes, labels = prepared.codes, prepared.labels
    counts = np.zeros(1 << 16, np.int32)
    tally(counts, codes[(codes > 0) if labels is None else (codes > 0) & (labels == 0)].astype(np.int32))
    there = np.flatnonzero(counts)
    return intensity_statistics(decode(there.astype(np.uint16)), counts[there])


def intensity_statistics(levels: NDArray[np.float32], counts: NDArray[np.integer]) -> list[float]:
    """The ten `STATISTICS` of intensities in [0, 1], for the shortcut control (rule 14).

    Of ascending levels (n,) and how many voxels have each.
    """
    if not levels.size:
        return [0.0] * len(STATISTICS)
    exact, share = levels.astype(np.float64), counts / counts.sum()
    mean = float(exact @ share)
    deviation = float(np.sqrt((exact - mean) ** 2 @ share))
    standard = (exact - mean) / max(deviation, 1e-9)
    bins = np.histogram(levels, BINS, (0, 1), weights=counts)[0] / counts.sum()
    there = bins[bins > 0]
    return [
        mean,
        deviation,
        float(standard**3 @ share),
        float(standard**4 @ share),
        *_percentiles(exact, counts),
        float(-(there * np.log2(there)).sum()),
    ]


def _percentiles(levels: NDArray[np.float64], counts: NDArray[np.integer]) -> list[float]:
    """`np.percentile` of the levels, each as often as it is counted."""
    last = counts.cumsum()
    ranks = np.array(PERCENTILES) / 100 * (last[-1] - 1)
    low, high = (levels[np.searchsorted(last, of(ranks), "right")] for of in (np.floor, np.ceil))
    return [float(value) for value in low + (high - low) * (ranks - np.floor(ranks))]


def _draw_spread(case: Case, stored: StoredMap, ground: Ground) -> float | None:
    """Deviation over draws of the scan's own AP before post-processing; of its scan score without lesion.

    None where there is one draw, or neither figure.
    """
    if stored.draws is None:
        return None
    labels, brain = ground.lesion[ground.counted], ground.brain
    figures = []
    for draw in stored.draws:
        score_map = resample(draw, case.map_grid, case.prepared.grid)[ground.box]
        if labels.any():
            outside = np.where(brain, score_map, LOWEST)
            figures.append(float(measure(outside[ground.counted], labels).ap))
        elif brain.any():
            figures.append(scan_score(score_map[brain]))
    return float(np.std(figures, ddof=1)) if len(figures) > 1 else None


def _restoration(
    image: NDArray[np.float32], restored: NDArray[np.float32], ground: Ground
) -> dict[str, float]:
    """Quality of a pseudo-healthy volume, of healthy and of ill scans (protocol, rule 16)."""
    residual, brain = np.abs(image - restored)[ground.box], ground.brain
    healthy = brain & ~ground.marked & ~ground.ignored
    quality = {"restoration_l1": float(residual[brain].mean(dtype=np.float64))}
    ill = ground.marked & ~ground.ignored
    outside = float(residual[healthy].mean(dtype=np.float64)) if healthy.any() else 0.0
    if ill.any() and outside > 0:
        quality["residual_ratio"] = float(residual[ill].mean(dtype=np.float64)) / outside
    return quality


def _similarity(image: NDArray[np.float32], restored: NDArray[np.float32], ground: Ground) -> float:
    """SSIM of a pseudo-healthy volume, which is asked of healthy scans alone (protocol, rule 16)."""
    return 1 - float(scores.ssim(image, restored)[ground.box][ground.brain].mean(dtype=np.float64))
