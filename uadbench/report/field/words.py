"""The words of the field's comparison: families, kinds of lesion, metrics, threshold rules, settings.

The families are those of the reviews of Behrendt et al. (Medical Image Analysis 112:104076) and Mahe et al.
(arXiv:2510.14462). Sources seldom name the family of a method: which method belongs where is our reading.
"""

from collections.abc import Mapping

NOT_STATED = "not stated"

FAMILIES: Mapping[str, str] = {
    "threshold": "the scan's own intensities; nothing is trained",
    "AE": "auto-encoders, also denoising and inpainting ones",
    "VAE": "variational auto-encoders",
    "GAN": "generative adversarial networks",
    "diffusion": "diffusion models and rectified flows",
    "restoration": "networks trained to restore or to find synthetic lesions",
    "translation": "one MR contrast or appearance is translated into another",
    "feature": "distances or reconstructions in the features of another network",
    "transformer": "transformers that predict healthy tokens or features",
    "disentangled": "anatomy apart from appearance",
    "chance": "random scores",
}
KINDS: Mapping[str, str] = {
    "tumour": "tumour",
    "stroke": "stroke",
    "MS": "multiple sclerosis",
    "small vessel disease": "white-matter hyperintensities of presumed vascular origin",
    "several": "several kinds together",
}
LESIONS = tuple(KINDS)[:4]  # the kinds that every family should have been tried on
TEST_SETS: Mapping[str, str] = {
    "brats": "BraTS, edition not stated", "brats17": "BraTS 2017", "brats18": "BraTS 2018",
    "brats20": "BraTS 2020", "brats21": "BraTS 2021", "atlas2": "ATLAS R2.0", "isles15": "ISLES 2015",
    "isles22": "ISLES 2022", "mslub": "MSLUB", "msseg15": "MSSEG 2015", "msseg2": "MSSEG-2",
    "shifts-ms": "Shifts-MS", "wmh17": "WMH 2017", "fastmri+": "fastMRI+",
}  # fmt: skip
SETTINGS: Mapping[str, str] = {
    "cross": "trained on another cohort",
    "within": "trained on lesion-free slices of the same data set",
    "none": "untrained",
    "": "training setting not stated",
}
RULES: Mapping[str, str] = {
    "val": "Dice @ validation threshold",
    "oracle": "best-threshold Dice (oracle)",
    "oracle_mean": "best-threshold Dice (oracle, one threshold for all)",
    "fpr5 on test": "Dice @ 5 % FPR of the test slices",
    "fpr": "Dice @ an FPR fixed on healthy scans",
    "": "Dice, threshold rule not stated",
}
LEVELS: Mapping[str, str] = {
    "AP": "AP",
    "DSC": "Dice",
    "DSC mean": "Dice",
    "AUROC": "AUROC",
    "AUROC slice": "slice-level AUROC",
    "AUROC scan": "scan-level AUROC",
    "detection rate": "detection rate",
}  # what is no level is a gain of one method over another, and stands in no cell
AVERAGED = ("AP", "Dice", "AUROC")  # of voxels: pooled over scans, or the mean over scans


def quantity(metric: str, averaging: str, threshold: str) -> str:
    """A metric in words, such as "mean Dice @ validation threshold"."""
    name = LEVELS.get(metric, metric.replace("DSC", "Dice"))
    words = RULES.get(threshold, f"Dice @ {threshold}") if name == "Dice" else name
    if averaging == "mean":
        return f"mean {words}"
    return f"{words}, averaging {NOT_STATED}" if not averaging and name in AVERAGED else words


def contrast(name: str) -> str:
    """An MR contrast in words."""
    return {"": f"MR contrast {NOT_STATED}", "several": "several MR contrasts"}.get(name, name)


def test_set(name: str) -> str:
    """A test set in words."""
    return TEST_SETS.get(name, name or f"test set {NOT_STATED}")


def shown(value: float, like: float = 0.0) -> str:
    """A value with the digits that were printed: three at least, and as many as the value beside it."""
    return f"{value:.{max(3, _digits(value), _digits(like))}f}"


def _digits(value: float) -> int:
    return len(f"{value:.6f}".rstrip("0").partition(".")[2])


def stated(text: object) -> str:
    """A fact of a source, or that it was not stated."""
    return str(text) or NOT_STATED


def capitalised(text: str) -> str:
    """The text with a capital first letter."""
    return text[0].upper() + text[1:]
