"""Protocol: what every number in a record means.

The numbered rules are the project's evaluation protocol (docs/protocol.md).
"""

from dataclasses import dataclass

from uadbench.cards import HEADLINES, DatasetCard
from uadbench.data.space import (
    EVALUATION,
    GRIDS,
    NATIVE,
    OWN_VOXELS,
    Frame,
    ScanGrid,
    Target,
    find_grid,
    make_frame,
)
from uadbench.system.errors import check_known

METRIC_VERSION = 2  # raised whenever a number would change for the same score maps

# Rule 3: a name for each rule by which a threshold is frozen.
OPERATING_POINTS = ("oracle", "oracle_mean", "val", "fpr1", "fpr5")
FALSE_POSITIVE_RATES = {"fpr1": 0.01, "fpr5": 0.05}
GIVEN = "given"  # the one point of masks made elsewhere: whoever made them chose it
ALL_POINTS = (*OPERATING_POINTS, GIVEN)  # a point's place is the same in either

FOUND_FRACTION = 0.1  # rule 10: of a lesion's voxels, from which it counts as found

SURFACE_TOLERANCE_MM = 2.0  # rule 10: of the normalised surface Dice

SCAN_FRACTION = 0.01  # rule 5: a scan's score is the mean of its top 1 % of in-brain scores

PROFILES = HEADLINES  # rule 9: evaluated by default; which of them ranks a test set its card says


@dataclass(frozen=True)
class Protocol:
    """One set of rules with an id: two numbers of different ids are never ranked together."""

    id: str
    # Evaluation grid, rule 8; a frame: that of each subject's own slices; a ScanGrid of one voxel of 1 mm:
    # each scan has its own, and its record says the volume of a voxel.
    grid: Target

    @property
    def flat(self) -> bool:
        """Whether slices without geometry are evaluated, each for itself."""
        return isinstance(self.grid, Frame)

    @property
    def native(self) -> bool:
        """Whether each scan is evaluated on its own voxels; maps made elsewhere alone are."""
        return isinstance(self.grid, ScanGrid)

    def model_target(self, name: str) -> Target:
        """What a method with a model grid of this name is handed: volumes on it, or slices of as many pixels.

        `EVALUATION` is the grid on which all maps are measured.
        """
        if name == EVALUATION:
            return self.grid
        return make_frame(find_grid(name)) if self.flat else find_grid(name)


PROTOCOLS = {
    "uad-1": Protocol("uad-1", GRIDS["g192"]),
    "uad-1-2mm": Protocol("uad-1-2mm", GRIDS["g96"]),  # phantom and demonstration
    "uad-1-4mm": Protocol("uad-1-4mm", GRIDS["g48"]),  # the project's own tests; no evidence of anything
    "uad-1-2d": Protocol("uad-1-2d", NATIVE),  # slices without geometry
    "uad-1-native": Protocol("uad-1-native", ScanGrid(OWN_VOXELS, (1, 1, 1), 1.0, (0.0, 0.0, 0.0))),
}


def protocol(name: str) -> Protocol:
    """The protocol of that id; an unknown id lists the known ones."""
    check_known("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def regime(train: DatasetCard | None, test: DatasetCard) -> str:
    """Rule 2: the regime belongs to the pair of cohorts; regimes are never ranked together.

    `phantom` is any test on synthetic scans: it tests the software, and is no evidence about brains.
    `implanted` is any test on lesions that were put into real healthy scans (rule 18).
    """
    if test.population == "synthetic":
        return "phantom"
    if test.population == "implanted":
        return "implanted"
    if train is None:
        return "none"
    if train.population == "synthetic":
        return "synthetic"
    return "within" if train.name == test.name else "cross"


def dice_ceiling(prevalence: float, false_positive_rate: float) -> float | None:
    """The best Dice that a prevalence allows at a false-positive rate (rule 3)."""
    reachable = 2 * prevalence
    total = reachable + false_positive_rate * (1 - prevalence)
    return reachable / total if total > 0 else None
