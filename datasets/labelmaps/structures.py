"""Structures: which label numbers of FreeSurfer belong together, and how each looks on every contrast."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

CONTRASTS = ("T1", "T2", "FLAIR", "PD")
HIGHEST = 599  # label number


@dataclass(frozen=True)
class Structure:
    """Parts of the brain that look alike: label numbers (left, right), the tissue of the phantom's contrast
    model that they are made of, and by what share of it they are brighter on T1, T2, FLAIR and PD.
    """

    name: str
    labels: tuple[int, ...]
    tissue: str
    brighter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


# The offsets follow what atlases of the structures say of their content: iron darkens the pallidum on T2 and
# FLAIR, the thalamus and the brain stem hold white fibres, the hippocampus is among the brightest on FLAIR.
# How widely means, fields and sharpness vary was set by eye and by histograms beside prepared scans of
# IXI (T1), MSLUB (T1, T2, FLAIR) and BraTS 2013 (FLAIR).
# Lesions that a healthy subject has (25, 57; 77 to 79 in FreeSurfer's own maps) are drawn as white matter.
STRUCTURES = (
    # Bone, dura and flowing blood, where the brain mask reaches it.
    Structure("outside", (0, *range(500, 600)), "CSF", (-0.40, -0.85, -0.50, -0.75)),
    Structure("white matter", (2, 41, 25, 57, 77, 78, 79, *range(251, 256)), "WM"),
    Structure("cortex", (3, 42), "GM"),
    Structure("lateral ventricle", (4, 43, 5, 44), "CSF"),
    Structure("other ventricle", (14, 15, 72), "CSF"),
    Structure("fluid", (24,), "CSF"),
    Structure("narrow sulcus", (), "CSF"),  # fluid beside cortex or thin: `intensities` mixes cortex in
    Structure("choroid plexus", (31, 63, 136, 163, 137, 164), "CSF", (0.70, -0.15, 1.60, 0.05)),
    Structure("vessel", (30, 62), "deep GM", (-0.20, 0.30, -0.10, 0.05)),
    Structure("thalamus", (10, 49), "deep GM", (0.05, 0.00, 0.00, 0.02)),
    Structure("caudate", (11, 50), "deep GM", (-0.10, 0.07, 0.05, 0.05)),
    Structure("putamen", (12, 51), "deep GM", (-0.06, 0.00, 0.04, 0.02)),
    Structure("pallidum", (13, 52), "deep GM", (0.12, -0.20, -0.16, -0.10)),
    Structure("accumbens", (26, 58), "deep GM", (-0.08, 0.08, 0.05, 0.05)),
    Structure("deep grey", (29, 61, 80), "deep GM"),
    Structure("hippocampus", (17, 53), "GM", (0.02, 0.04, 0.04, 0.01)),
    Structure("amygdala", (18, 54), "GM", (0.02, 0.03, 0.04, 0.01)),
    Structure("ventral diencephalon", (28, 60), "WM", (-0.12, 0.06, 0.04, 0.05)),
    Structure("optic chiasm", (85,), "WM", (-0.10, 0.05, 0.00, 0.03)),
    Structure("brain stem", (16,), "WM", (-0.08, 0.08, 0.05, 0.06)),
    Structure("cerebellar white matter", (7, 46), "WM", (-0.03, 0.04, 0.05, 0.02)),
    Structure("cerebellar cortex", (8, 47), "GM", (0.05, -0.04, -0.07, -0.02)),
)
NAMES = tuple(structure.name for structure in STRUCTURES)
KNOWN = frozenset(label for structure in STRUCTURES for label in structure.labels)


def numbers() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """The number of the structure by label number, shape (HIGHEST + 1,)."""
    table = np.zeros(HIGHEST + 1, np.uint8)
    for number, structure in enumerate(STRUCTURES):
        table[list(structure.labels)] = number
    return table


def intensities(
    tissues: Mapping[str, float],
    contrast: str,
    random: np.random.Generator,
    deviation: float,
    narrowness: float,
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """The mean of every structure in one scan, from those of the tissues, each off by a random share.

    `narrowness` is the share of cortex in the voxels of narrow sulci.
    """
    column = CONTRASTS.index(contrast)
    means = np.array([tissues[s.tissue] * (1 + s.brighter[column]) for s in STRUCTURES])
    means *= 1 + deviation * random.standard_normal(len(STRUCTURES))
    cortex, fluid = means[NAMES.index("cortex")], means[NAMES.index("fluid")]
    means[NAMES.index("narrow sulcus")] = narrowness * cortex + (1 - narrowness) * fluid
    return means.astype(np.float32)
