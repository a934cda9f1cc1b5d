"""Protocol: what every number in a record means.

The numbered rules are the project's evaluation protocol (README, "What the numbers mean").
"""

from dataclasses import dataclass

from uadbench.cards import DatasetCard
from uadbench.errors import UserError
from uadbench.grids import GRIDS, Grid

METRIC_VERSION = 1  # raised whenever a number would change for the same score maps

# Rule 3: a name for each rule by which a threshold is frozen.
OPERATING_POINTS = ("oracle", "oracle_mean", "val", "fpr1", "fpr5")
FALSE_POSITIVE_RATES = {"fpr1": 0.01, "fpr5": 0.05}

# Rule 10: lesions and false components by size; the upper ends of the bands in millilitres.
SIZE_BANDS = ("under 0.1 ml", "0.1 to 1 ml", "1 to 10 ml", "over 10 ml")
SIZE_LIMITS_ML = (0.1, 1.0, 10.0)
FOUND_FRACTION = 0.1  # of a lesion's voxels, from which it counts as found

SCAN_FRACTION = 0.01  # rule 5: a scan's score is the mean of its top 1 % of in-brain scores
MIN_SLICE_AREA_MM2 = 2000.0  # rule 7: axial slices with less brain are not evaluated

PROFILES = ("raw", "baur5")  # rule 9: evaluated by default; the last one is the headline


@dataclass(frozen=True)
class Protocol:
    """One set of rules with an id: two numbers of different ids are never ranked together."""

    id: str
    grid: Grid  # evaluation grid, rule 8


PROTOCOLS = {
    "uad-1": Protocol("uad-1", GRIDS["g192"]),
    "uad-1-2mm": Protocol("uad-1-2mm", GRIDS["g96"]),  # phantom and demonstration
    "uad-1-4mm": Protocol("uad-1-4mm", GRIDS["g48"]),  # the project's own tests; no evidence of anything
}


def protocol(name: str) -> Protocol:
    """The protocol of that id; an unknown id lists the known ones."""
    if name not in PROTOCOLS:
        raise UserError(f"There is no protocol '{name}'; known are: {', '.join(PROTOCOLS)}.")
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
