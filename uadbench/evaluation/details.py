"""Details: what is counted of a scan's map under the headline profile beyond voxels and lesions at points.

Lesions and false components at many thresholds (FROC), overlap with each lesion (AUPRO), surface Dice, AP by
size of lesion, where false positives lie, slices with a false alarm, and every lesion by itself. All of it is
per scan, so that it adds (protocol, rule 12); records made by earlier versions have none of it.

Costs are bounded: components are counted at the `FROC_RATES`, surfaces at the operating points. Of a scan at
1 mm they take less than a second of one core (`benchmarks/evaluation.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.data.sizes import SIZE_BANDS
from uadbench.evaluation.components import FALSE, FOUND
from uadbench.evaluation.metrics import measure_each
from uadbench.evaluation.ordinals import below_and_at
from uadbench.evaluation.regions import REGIONS
from uadbench.evaluation.surfaces import surface_dice
from uadbench.evaluation.view import View
from uadbench.protocol import GIVEN

# Shares of the non-lesion voxels of lesion-test that are called, of all scans together: maps are looked at
# above these quantiles of their scores. At the first components are counted too.
FROC_RATES = tuple(np.geomspace(1e-7, 1e-2, 26).tolist())
RATES = (*FROC_RATES, *np.geomspace(0.0105, 0.3, 100).tolist())
# Columns of the sweep: non-lesion voxels called; lesions found and false components, NaN where they are not
# counted; and the sum over lesions of the share of each that is called.
CALLED, HITS, FALSES, OVERLAP = range(4)

Arrays = Mapping[str, NDArray[Any]]
Members = Mapping[str, tuple[str, int | None, str]]
# What is kept, for whoever reads it from a file (as `pieces.MEMBERS`): of n scans, t thresholds, m lesions,
# o operating points.
MEMBERS: Members = {
    "ids": ("U", None, "n"),
    "thresholds": ("f", 4, "t"),  # descending
    "sweep": ("f", 8, "nt4"),  # of lesion-test scans; see the columns above
    "surface": ("f", 8, "no"),  # normalised surface Dice; NaN where it is undefined
    "size_ap": ("f", 8, f"n{len(SIZE_BANDS)}"),  # AP of the lesions of each size; NaN where there are none
    "regions": ("u", 4, f"no{len(REGIONS)}"),  # false-positive voxels
    "alarms": ("u", 4, "no"),  # lesion-free slices on which a voxel is called
    "lesion_free": ("u", 4, "n"),  # slices
    "lesions": ("u", 4, "n"),  # how many of the lesions below are of each scan
    "lesion_voxels": ("u", 4, "m"),
    "covered": ("u", 4, "mo"),  # voxels of each lesion that are called
}


@dataclass(frozen=True)
class Sweep:
    """Descending thresholds (t,), and at how many of them, from the first on, components are counted."""

    thresholds: NDArray[np.float32]
    counted: int


def detail_of(
    view: View, regions: NDArray[np.uint8] | None, points: Mapping[str, float | None], sweep: Sweep | None
) -> dict[str, NDArray[Any]]:
    """The details of one scan at the points, in their order, by the names of `MEMBERS`.

    `regions` (as the view) are where the scan lies in MNI152 space; without `sweep` it is no patient's.
    """
    ground, lesions = view.ground, view.ground.lesions
    free: NDArray[np.bool_] = np.asarray(ground.counted.any((0, 1)) & ~ground.lesion.any((0, 1)))
    n_points, n_sizes = len(points), len(SIZE_BANDS)
    found: dict[str, NDArray[Any]] = {
        "surface": np.full(n_points, np.nan),
        "regions": np.zeros((n_points, len(REGIONS)), np.uint32),
        "alarms": np.zeros(n_points, np.uint32),
        "lesion_free": np.array(free.sum(), np.uint32),
        "lesion_voxels": lesions.voxels[lesions.counts].astype(np.uint32),
        "covered": np.zeros((int(lesions.counts.sum()), n_points), np.uint32),
    }
    for row, threshold in enumerate(points.values()):
        if threshold is None:
            continue
        called = view.reached(threshold)
        found["covered"][:, row] = lesions.covered(called)[lesions.counts]
        places = called.places[~ground.ignored.reshape(-1)[called.places]]
        found["alarms"][row] = free[np.unique(places % len(free))].sum()
        if regions is not None:
            false = places[~ground.wanted.reshape(-1)[places]]
            found["regions"][row] = np.bincount(regions.reshape(-1)[false], minlength=len(REGIONS))
        if sweep is not None and not ground.grid.flat:
            own_mm = [side / ground.scale ** (1 / 3) for side in ground.grid.sides_mm]
            mask = called._replace(places=places).mask(ground.grid.shape)
            found["surface"][row] = surface_dice(mask, ground.wanted, own_mm)
    if sweep is None:
        return found | {"sweep": NO_SWEEP, "size_ap": np.full(n_sizes, np.nan)}
    size_ap = np.full(n_sizes, np.nan) if GIVEN in points else _ap_by_size(view)
    return found | {"sweep": swept(view, sweep), "size_ap": size_ap}


def swept(view: View, sweep: Sweep) -> NDArray[np.float64]:
    """The sweep (thresholds, 4) of one scan, see the columns above.

    Overlap and voxels are of the map before components are dropped, as are AP and every threshold (rule 9).
    """
    ground, lesions, thresholds = view.ground, view.ground.lesions, sweep.thresholds
    found = np.full((len(thresholds), 4), np.nan)
    wanted, counted = ground.wanted[ground.inside], ground.counted[ground.inside]
    found[:, CALLED] = _reached(view.vector[counted & ~wanted], thresholds)
    labels = lesions.labels[ground.inside][wanted]
    known = lesions.counts[labels]
    found[:, OVERLAP] = _reached(view.vector[wanted][known], thresholds, 1 / lesions.voxels[labels[known]])
    for place, called in enumerate(view.reaching(thresholds[: sweep.counted].tolist())):
        by_size = lesions.count(called)
        found[place, [HITS, FALSES]] = by_size[:, [FOUND, FALSE]].sum(0)
    return found


def _reached(
    scores: NDArray[np.float32], thresholds: NDArray[np.float32], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """How many scores, or what weight of them, reach each of the descending thresholds."""
    if weights is None:
        below, _ = below_and_at(thresholds[::-1], scores)
        return np.asarray(scores.size - below[::-1], np.float64)
    first = np.searchsorted(-thresholds, -scores, "left")
    counts = np.bincount(first, weights, minlength=len(thresholds) + 1)
    return np.asarray(counts.cumsum()[: len(thresholds)], np.float64)


def _ap_by_size(view: View) -> NDArray[np.float64]:
    """Average precision (bands,) of the lesions of each size; voxels of other lesions do not count."""
    ground, lesions, found = view.ground, view.ground.lesions, np.full(len(SIZE_BANDS), np.nan)
    band_of = np.where(lesions.counts, lesions.bands, -1)[lesions.labels[ground.inside]]
    wanted, bands = ground.wanted[ground.inside], np.unique(lesions.bands[lesions.counts])
    others = view.vector[ground.counted[ground.inside] & ~wanted]
    curves = measure_each([view.vector[wanted & (band_of == band)] for band in bands], others)
    found[bands] = [curve.ap for curve in curves]
    return found


# ---- of all scans ----------------------------------------------------------------------------------


NO_SWEEP = np.zeros((0, 4))


@dataclass(frozen=True)
class Details:
    """The details of all scans, in order, by the names of `MEMBERS` (`ids` stand elsewhere)."""

    arrays: Arrays

    @classmethod
    def of(cls, scans: Sequence[Mapping[str, NDArray[Any]]], sweep: Sweep) -> "Details":
        """From those of each scan."""
        found: dict[str, NDArray[Any]] = {
            name: np.stack([one[name] for one in scans])
            for name in ("surface", "size_ap", "regions", "alarms", "lesion_free")
        }
        found |= {name: np.concatenate([one[name] for one in scans]) for name in ("lesion_voxels", "covered")}
        none = np.zeros((len(sweep.thresholds), 4))
        found["sweep"] = np.stack([one["sweep"] if len(one["sweep"]) else none for one in scans])
        found["lesions"] = np.array([len(one["lesion_voxels"]) for one in scans], np.uint32)
        return cls(found | {"thresholds": sweep.thresholds})

    @property
    def owners(self) -> NDArray[np.intp]:
        """The row of the scan of each lesion, (lesions,)."""
        return np.repeat(np.arange(len(self.arrays["lesions"])), self.arrays["lesions"])
