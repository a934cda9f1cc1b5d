"""Sizes: volumes and areas in the patient's own millimetres, whatever grid they are counted on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.data.space import Grid

# Rule 10: lesions and false components by size; the upper ends of the bands in millilitres.
SIZE_BANDS = ("under 0.1 ml", "0.1 to 1 ml", "1 to 10 ml", "over 10 ml")
SIZE_LIMITS_ML = (0.1, 1.0, 10.0)

MIN_SLICE_AREA_MM2 = 2000.0  # rule 7: axial slices with less brain are not evaluated

# Slices without geometry count pixels. Those of lgg are about 1 mm wide (a brain's largest slice has 18,000
# to 30,000 of them), so that the same number means about the same.
MIN_SLICE_AREA_PIXELS = 2000.0


def template_scale(facts: Mapping[str, Any]) -> float:
    """How many times larger a prepared scan is on the grid than in the patient's head: |det| of its affine.

    1 where nothing was registered. Every volume in a record is one on the grid divided by it.
    """
    return abs(float(np.linalg.det(_linear(facts))))


def voxel_size(on: Grid, facts: Mapping[str, Any]) -> float:
    """What a voxel of the grid adds to a size in the patient's own millilitres; of a stack, in pixels."""
    return on.voxel_size / template_scale(facts)


def area_scale(facts: Mapping[str, Any]) -> float:
    """How many times larger an area of an axial slice is on the grid than in the patient's head.

    A linear map A takes an area with normal n to one with normal det(A) A^-T n. So the area of the head that
    becomes an axial one of size 1 has the size |A^T e3| / |det A|, where A^T e3 is the third row of A.
    """
    return template_scale(facts) / float(np.linalg.norm(_linear(facts)[2]))


def _linear(facts: Mapping[str, Any]) -> NDArray[np.float64]:
    """The linear part (3, 3) of the affine from the scan's millimetres to the template's."""
    return np.array(facts.get("transform", np.eye(4)), np.float64)[:3, :3]


@dataclass(frozen=True)
class Sizes:
    """In what the sizes of lesions and of slices are counted; the names in records say it."""

    unit: str  # "ml" or "pixels"
    bands: tuple[str, ...]
    limits: tuple[float, ...]  # upper ends of the bands
    slice_area: str  # fact of a prepared scan: brain area of each slice on the grid
    least_slice_area: float

    def counted_slices(self, facts: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Which slices of a prepared scan are evaluated and learned from, (S,) (rule 7)."""
        own = np.asarray(facts[self.slice_area]) / area_scale(facts)
        return np.asarray(own >= (0 if facts.get("all_slices") else self.least_slice_area))


VOLUMES = Sizes("ml", SIZE_BANDS, SIZE_LIMITS_ML, "slice_area_mm2", MIN_SLICE_AREA_MM2)
# Components of slices without geometry are two-dimensional: their sizes are areas.
PIXELS = Sizes(
    "pixels",
    ("under 30 pixels", "30 to 100 pixels", "100 to 1,000 pixels", "over 1,000 pixels"),
    (30.0, 100.0, 1000.0),
    "slice_area_pixels",
    MIN_SLICE_AREA_PIXELS,
)


def sizes(on: Grid) -> Sizes:
    """In what sizes on a grid are counted."""
    return PIXELS if on.flat else VOLUMES
