"""Protocol: what every number in a record means.

The numbered rules are the project's evaluation protocol (README, "What the numbers mean").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.cards import HEADLINES, DatasetCard
from uadbench.errors import unknown
from uadbench.grids import EVALUATION, GRIDS, NATIVE, Frame, Grid, Target, grid, in_plane

METRIC_VERSION = 2  # raised whenever a number would change for the same score maps

# Rule 3: a name for each rule by which a threshold is frozen.
OPERATING_POINTS = ("oracle", "oracle_mean", "val", "fpr1", "fpr5")
FALSE_POSITIVE_RATES = {"fpr1": 0.01, "fpr5": 0.05}

# Rule 10: lesions and false components by size; the upper ends of the bands in millilitres.
SIZE_BANDS = ("under 0.1 ml", "0.1 to 1 ml", "1 to 10 ml", "over 10 ml")
SIZE_LIMITS_ML = (0.1, 1.0, 10.0)
FOUND_FRACTION = 0.1  # of a lesion's voxels, from which it counts as found

SCAN_FRACTION = 0.01  # rule 5: a scan's score is the mean of its top 1 % of in-brain scores
MIN_SLICE_AREA_MM2 = 2000.0  # rule 7: axial slices with less brain are not evaluated

# Slices without geometry count pixels. Those of lgg are about 1 mm wide (a brain's largest slice has 18,000
# to 30,000 of them), so that the same number means about the same.
MIN_SLICE_AREA_PIXELS = 2000.0

PROFILES = HEADLINES  # rule 9: evaluated by default; which of them ranks a test set its card says


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
        return np.asarray(own >= self.least_slice_area)


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


@dataclass(frozen=True)
class Protocol:
    """One set of rules with an id: two numbers of different ids are never ranked together."""

    id: str
    grid: Target  # evaluation grid, rule 8; a frame: that of each subject's own slices

    @property
    def flat(self) -> bool:
        """Whether slices without geometry are evaluated, each for itself."""
        return isinstance(self.grid, Frame)

    def model_target(self, name: str) -> Target:
        """What a method with a model grid of this name is handed: volumes on it, or slices of as many pixels.

        `EVALUATION` is the grid on which all maps are measured.
        """
        if name == EVALUATION:
            return self.grid
        return in_plane(grid(name)) if self.flat else grid(name)


PROTOCOLS = {
    "uad-1": Protocol("uad-1", GRIDS["g192"]),
    "uad-1-2mm": Protocol("uad-1-2mm", GRIDS["g96"]),  # phantom and demonstration
    "uad-1-4mm": Protocol("uad-1-4mm", GRIDS["g48"]),  # the project's own tests; no evidence of anything
    "uad-1-2d": Protocol("uad-1-2d", NATIVE),  # slices without geometry
}


def protocol(name: str) -> Protocol:
    """The protocol of that id; an unknown id lists the known ones."""
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def regime(train: DatasetCard | None, test: DatasetCard) -> str:
    """Rule 2: the regime belongs to the pair of cohorts; regimes are never ranked together.

    `phantom` is any test on synthetic scans: a check of the machinery, no evidence about brains.
    """
    if test.population == "synthetic":
        return "phantom"
    if train is None:
        return "none"
    if train.population == "synthetic":
        return "synthetic"
    return "within" if train.name == test.name else "cross"


def dice(true_positives: float, false_positives: float, false_negatives: float) -> float | None:
    """Dice coefficient from counts; None where there is nothing to find (rule 6)."""
    if true_positives + false_negatives == 0:
        return None
    return 2 * true_positives / (2 * true_positives + false_positives + false_negatives)


def dice_ceiling(prevalence: float, false_positive_rate: float) -> float | None:
    """The best Dice that a prevalence allows at a false-positive rate (rule 3)."""
    reachable = 2 * prevalence
    total = reachable + false_positive_rate * (1 - prevalence)
    return reachable / total if total > 0 else None
