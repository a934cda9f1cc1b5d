"""Contrast: what a scanner makes of an anatomy."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadbench.data.space import Grid
from uadbench.phantom.anatomy import TISSUES, Anatomy, Subject
from uadbench.phantom.fields import Map, smooth_field

CONTRASTS = ("T1", "T2", "FLAIR", "PD")

# Mean intensity of each substance, as a share of the brightest healthy tissue of the contrast. The tissues
# follow what IXI (T1, T2, PD) and MSLUB (FLAIR) scans show inside their brain masks; the lesions follow
# radiological description: fluid is dark on T1 and FLAIR and bright on T2, oedema and gliosis are
# bright on FLAIR and T2, and every lesion of white matter is between "as white matter" and dark on T1.
INTENSITY: Mapping[str, Mapping[str, float]] = {
    "T1": {
        "CSF": 0.26, "GM": 0.64, "deep GM": 0.76, "WM": 0.98,
        "oedema": 0.66, "tumour": 0.63, "necrosis": 0.40,
        "plaque": 0.70, "hyperintensity": 0.82, "cavity": 0.30, "gliosis": 0.66,
    },
    "T2": {
        "CSF": 0.98, "GM": 0.52, "deep GM": 0.44, "WM": 0.36,
        "oedema": 0.74, "tumour": 0.66, "necrosis": 0.92,
        "plaque": 0.68, "hyperintensity": 0.60, "cavity": 0.94, "gliosis": 0.70,
    },
    "FLAIR": {
        "CSF": 0.17, "GM": 0.63, "deep GM": 0.55, "WM": 0.49,
        "oedema": 0.90, "tumour": 0.78, "necrosis": 0.42,
        "plaque": 0.98, "hyperintensity": 0.90, "cavity": 0.22, "gliosis": 0.82,
    },
    "PD": {
        "CSF": 0.80, "GM": 0.90, "deep GM": 0.82, "WM": 0.70,
        "oedema": 0.99, "tumour": 0.94, "necrosis": 0.88,
        "plaque": 0.99, "hyperintensity": 0.94, "cavity": 0.82, "gliosis": 0.96,
    },
}  # fmt: skip
# How a substance varies inside, as a share of its mean, over some millimetres.
UNEVENNESS = {"WM": 0.012, "GM": 0.025, "tumour": 0.12, "necrosis": 0.10, "oedema": 0.06, "cavity": 0.08}
UNEVENNESS_OTHERWISE = 0.04
# Nuclei and tracts that shine on T1 hold myelin or iron and are dark elsewhere.
DETAIL = {"T1": 0.8, "T2": -0.35, "FLAIR": -0.4, "PD": -0.3}
IRON = {"T1": 0.0, "T2": -0.14, "FLAIR": -0.16, "PD": -0.05}  # of deep grey matter, from young to old
HALO = {"T1": -0.06, "T2": 0.07, "FLAIR": 0.12, "PD": 0.05}  # of periventricular white matter with age


@dataclass(frozen=True)
class Site:
    """One scanner and its protocol."""

    name: str
    scale: float  # scanner units of an intensity of 1
    gamma: float  # above 1 the tissues lie further apart
    noise: float  # deviation at 2 mm, as a share of the brightest tissue
    bias: float  # deviation of the logarithm of the receive field
    blur_mm: tuple[float, float, float]  # deviation of the point spread along (R, A, S)


SITES = (
    Site("north", 900.0, 1.00, 0.018, 0.05, (0.8, 0.8, 0.8)),
    Site("harbour", 420.0, 0.85, 0.026, 0.07, (0.9, 0.9, 1.3)),
    Site("university", 2600.0, 1.18, 0.014, 0.10, (0.7, 0.7, 0.8)),
)

_STREAM = 100  # first number of the random streams used here; anatomy and lesions use lower ones


def substance_means(subject: Subject, site: Site, contrast: str) -> dict[str, float]:
    """Mean intensity of each substance in one scan: the table, bent by site, sequence and subject."""
    random = subject.random(_STREAM, CONTRASTS.index(contrast))
    gamma = site.gamma * float(np.exp(random.normal(0, 0.05)))
    table = INTENSITY[contrast]
    healthy = {name: table[name] * (1 + random.normal(0, 0.015)) for name in TISSUES}
    healthy["deep GM"] *= 1 + IRON[contrast] * subject.ageing
    return {name: float(value) ** gamma for name, value in {**table, **healthy}.items()}


@lru_cache(maxsize=1)  # every contrast of a subject has the same
def _texture(subject: Subject, grid: Grid) -> Map:
    """What makes substances uneven, (R, A, S), read-only."""
    fine = smooth_field(subject.random(_STREAM + 1), grid, 5.0)
    broad = smooth_field(subject.random(_STREAM + 2), grid, 16.0)
    texture: Map = 0.7 * (fine + broad)
    texture.flags.writeable = False
    return texture


def _signal(subject: Subject, site: Site, contrast: str, anatomy: Anatomy, parts: Mapping[str, Map]) -> Map:
    """Noise-free intensities: substances, each with its unevenness, and what ageing does."""
    means = substance_means(subject, site, contrast)
    texture = _texture(subject, anatomy.grid)
    healthy = np.float32(1) - sum(parts.values(), start=np.zeros(1, np.float32))
    signal = np.zeros(anatomy.grid.shape, np.float32)
    for name, fraction in zip(TISSUES, anatomy.tissues, strict=True):
        uneven = UNEVENNESS.get(name, UNEVENNESS_OTHERWISE)
        signal += fraction * healthy * means[name] * (1 + uneven * texture)
    for name, fraction in parts.items():
        uneven = UNEVENNESS.get(name, UNEVENNESS_OTHERWISE)
        signal += fraction * means[name] * (1 + uneven * texture)
    halo = anatomy.white * np.exp(-np.maximum(anatomy.ventricle_mm, 0) / 3.5)
    signal += healthy * halo * HALO[contrast] * (0.2 + subject.ageing)
    signal += healthy * (1 - anatomy.tissues[0]) * anatomy.detail * DETAIL[contrast]
    return signal


def make_scan(
    subject: Subject, site: Site, contrast: str, anatomy: Anatomy, parts: Mapping[str, Map] = {}
) -> Map:
    """One contrast (R, A, S) on the anatomy's grid: point spread, receive field, Rician noise, stripped.

    `parts` are fractions of lesion substances (or of tissues out of place); the sum of them is at most 1.
    """
    signal = _signal(subject, site, contrast, anatomy, parts)
    return expose(subject, site, contrast, signal, anatomy.brain, anatomy.grid)


def expose(
    subject: Subject, site: Site, contrast: str, signal: Map, brain: NDArray[np.bool_], grid: Grid
) -> Map:
    """A noise-free signal (R, A, S) as it is scanned: point spread, receive field, Rician noise, stripped."""
    spacing = grid.spacing_mm
    blurred = ndimage.gaussian_filter(signal, [blur / spacing for blur in site.blur_mm], truncate=3.0)
    number = CONTRASTS.index(contrast)
    field = smooth_field(subject.random(_STREAM + 3, number), grid, 70.0)
    received = blurred * np.exp(np.float32(site.bias) * field)
    random = subject.random(_STREAM + 4, number)
    deviation = np.float32(site.noise * (2.0 / spacing))
    real, imaginary = deviation * random.standard_normal((2, *grid.shape), np.float32)
    return np.where(brain, np.sqrt((received + real) ** 2 + imaginary**2), 0).astype(np.float32)
