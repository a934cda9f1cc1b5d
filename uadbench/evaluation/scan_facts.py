"""What is measured of one scan by itself, whatever the other scans of the run."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.data.prepared import Prepared
from uadbench.data.sizes import sizes, template_scale, voxel_size
from uadbench.data.space import ScanGrid, resample
from uadbench.evaluation.maps import Case, StoredMap
from uadbench.evaluation.metrics import measure
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


def facts_of(case: Case, stored: StoredMap, score_map: NDArray[np.float32]) -> dict[str, Any]:
    """The facts of a scan with its map (R, A, S) on the evaluation grid, before post-processing."""
    prepared, session, grid = case.prepared, case.prepared.session, case.prepared.grid
    unit = sizes(grid).unit
    brain, lesion, ignored = prepared.brain(), prepared.lesion(), prepared.ignored()
    inside = extent(prepared)
    counted = inside & ~ignored
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
        "implanted": None if session.implanted is None else asdict(session.implanted),
        "voxels": int(counted.sum()),
        "template_scale": template_scale(prepared.facts),
        "voxel_ml": voxel_size(grid, prepared.facts) if isinstance(grid, ScanGrid) else None,
        f"lesion_{unit}": lesion_size(prepared, int(lesion[counted].sum())),
        f"lesion_{unit}_outside_counted_slices": lesion_size(prepared, int((lesion & ~inside).sum())),
        "flags": list(prepared.facts.get("quality", {}).get("flags", ())),
        **(slice_scores(score_map, prepared) if grid.flat else {"scan_score": scan_score(score_map[brain])}),
        "intensity": _intensity(prepared, brain & ~lesion & ~ignored),
        "draw_spread": _draw_spread(case, stored, counted),
    }
    if stored.pseudo_healthy is not None:
        restored = resample(stored.pseudo_healthy[0], case.map_grid, grid)
        facts |= _restoration(prepared.image(), restored, brain, lesion, ignored)
    return facts


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


def _intensity(prepared: Prepared, healthy: NDArray[np.bool_]) -> list[float] | None:
    """The statistics of a scan's image; None where maps came without the images."""
    return intensity_statistics(prepared.image()[healthy]) if prepared.facts.get("image", True) else None


def intensity_statistics(values: NDArray[np.float32]) -> list[float]:
    """The ten `STATISTICS` of intensities in [0, 1], for the shortcut control (rule 14)."""
    if not values.size:
        return [0.0] * len(STATISTICS)
    exact = values.astype(np.float64)
    mean, deviation = float(exact.mean()), float(exact.std())
    standard = (exact - mean) / max(deviation, 1e-9)
    share = np.histogram(values, BINS, (0, 1))[0] / values.size
    there = share[share > 0]
    return [
        mean,
        deviation,
        float((standard**3).mean()),
        float((standard**4).mean()),
        *map(float, np.percentile(values, PERCENTILES)),
        float(-(there * np.log2(there)).sum()),
    ]


def _draw_spread(case: Case, stored: StoredMap, counted: NDArray[np.bool_]) -> float | None:
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
