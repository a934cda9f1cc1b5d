"""Regions of the brain in which false positives lie, from the ICBM152 maps (protocol, rule 10)."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from uadbench.data.space import Grid, resample
from uadbench.evaluation.postprocess import eroded
from uadbench.phantom.template import COARSE, FINE, load_template

REGIONS = ("rim", "ventricles", "sulci", "deep grey", "cerebellum", "white matter", "cortex")
RIM_MM = 3.0  # from the outside of the scan's own brain mask, in the axial plane: what `baur5` erodes


@lru_cache(maxsize=2)
def _atlas(grid: Grid) -> NDArray[np.uint8]:
    """The region (R, A, S) of each voxel of a grid in MNI152 space as a place in `REGIONS`; no rim."""
    template = load_template()

    def on_grid(name: str, source: Grid) -> NDArray[np.float32]:
        return resample(getattr(template, name), source, grid)

    found = np.full(grid.shape, REGIONS.index("cortex"), np.uint8)
    grey = (on_grid("wm_logit", FINE) < 0) & (on_grid("csf_logit", FINE) < 0)
    for name, where in (
        ("white matter", on_grid("wm_logit", FINE) > 0),
        ("sulci", on_grid("csf_logit", FINE) > 0),
        ("deep grey", (on_grid("deep", COARSE) > 0.5) & grey),
        ("cerebellum", np.maximum(on_grid("cerebellum", COARSE), on_grid("brainstem", COARSE)) > 0.5),
        ("ventricles", on_grid("ventricle_mm", COARSE) < 0),
    ):
        found[where] = REGIONS.index(name)
    return found


def regions_of(
    grid: Grid, brain: NDArray[np.bool_], box: tuple[slice, ...] = (slice(None),) * 3
) -> NDArray[np.uint8]:
    """The region (R, A, S) of each voxel of a scan on a grid in MNI152 space, as a place in `REGIONS`.

    Within a box of it, as the brain mask. The rim belongs to no other region; cerebellum and brainstem are
    one. White matter, grey matter and cerebrospinal fluid are where the template says, not where the
    patient's own are.
    """
    inner = eroded(brain, RIM_MM, grid)
    atlas = _atlas(grid)[box]
    if inner is brain:  # a grid too coarse for the rim
        return np.ascontiguousarray(atlas)
    return np.where(inner, atlas, np.uint8(REGIONS.index("rim")))
