"""Regions of the brain in which false positives lie, from the ICBM152 maps (protocol, rule 10)."""

import sys
from importlib.metadata import version
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from uadbench.data import space
from uadbench.data.space import Grid, resample
from uadbench.evaluation.postprocess import eroded
from uadbench.phantom import template
from uadbench.phantom.template import COARSE, FINE
from uadbench.system.arrays import load_array
from uadbench.system.files import replacing, sha256

REGIONS = ("rim", "ventricles", "sulci", "deep grey", "cerebellum", "white matter", "cortex")
RIM_MM = 3.0  # from the outside of the scan's own brain mask, in the axial plane: what `baur5` erodes


_known: dict[Grid, NDArray[np.uint8]] = {}
_making = Lock()


def _atlas(grid: Grid, folder: Path | None) -> NDArray[np.uint8]:
    """The region (R, A, S) of each voxel of a grid in MNI152 space as a place in `REGIONS`; no rim.

    Made once, which takes seconds, and kept in the folder under a name of all that it depends on.
    """
    with _making:
        if grid not in _known:
            file = None if folder is None else folder / f"regions-{_identity(grid)}.npy"
            found = None if file is None else _read(file, grid)
            _known[grid] = _made(grid) if found is None else found
            if file is not None and found is None:
                with replacing(file) as partial, open(partial, "wb") as opened:
                    np.save(opened, _known[grid])
        return _known[grid]


def _read(file: Path, grid: Grid) -> NDArray[np.uint8] | None:
    """What is kept; None where there is nothing, or it is damaged."""
    try:
        found = load_array(file)
    except (OSError, ValueError):
        return None
    return found if found.shape == grid.shape and found.dtype == np.uint8 else None


def _identity(grid: Grid) -> str:
    """Of the regions on a grid: of what and how they are made."""
    modules = [Path(str(module.__file__)).read_text() for module in (template, space, sys.modules[__name__])]
    return sha256("".join([repr(grid), version("nilearn"), *modules]))[:16]


def _made(grid: Grid) -> NDArray[np.uint8]:
    maps = template.load_template()

    def on_grid(name: str, source: Grid) -> NDArray[np.float32]:
        return resample(getattr(maps, name), source, grid)

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
    grid: Grid,
    brain: NDArray[np.bool_],
    box: tuple[slice, ...] = (slice(None),) * 3,
    folder: Path | None = None,
) -> NDArray[np.uint8]:
    """The region (R, A, S) of each voxel of a scan on a grid in MNI152 space, as a place in `REGIONS`.

    Within a box of it, as the brain mask. The rim belongs to no other region; cerebellum and brainstem are
    one. White matter, grey matter and cerebrospinal fluid are where the template says, not where the
    patient's own are. The folder keeps the regions of the grid from run to run.
    """
    inner = eroded(brain, RIM_MM, grid)
    atlas = _atlas(grid, folder)[box]
    if inner is brain:  # a grid too coarse for the rim
        return np.ascontiguousarray(atlas)
    return np.where(inner, atlas, np.uint8(REGIONS.index("rim")))
