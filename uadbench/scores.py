"""Scores: how far an image is from its pseudo-healthy reconstruction, voxel by voxel.

Each function takes two (R, A, S) arrays in the units of the image and gives a (R, A, S) map, higher is
more anomalous. A method names the kind of its paper; `l1` is the default that all tables share.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from uadbench.volumes import Volume

Map = NDArray[np.float32]


def l1(image: Map, reconstruction: Map) -> Map:
    """Absolute residual."""
    difference: Map = np.abs(image - reconstruction)
    return difference


def pos(image: Map, reconstruction: Map) -> Map:
    """What is brighter than expected: the positive part of the residual (Baur 2021, for FLAIR)."""
    brighter: Map = np.maximum(image - reconstruction, 0)
    return brighter


def structural_similarity(image: Map, reconstruction: Map, window: int, sigma: float = 1.5) -> Map:
    """SSIM of axial slices for images in [0, 1], in [-1, 1] (Wang et al. 2004, eq. 13; K1 .01, K2 .03)."""
    radius = window // 2

    def mean(values: Map) -> Map:
        smooth: Map = gaussian_filter(values, sigma, radius=radius, axes=(0, 1), mode="constant")
        return smooth

    mean_x, mean_y = mean(image), mean(reconstruction)
    variances = mean(image**2) + mean(reconstruction**2) - mean_x**2 - mean_y**2
    covariance = mean(image * reconstruction) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (variances + 0.03**2)
    return luminance * structure


def ssim(image: Map, reconstruction: Map) -> Map:
    """1 - SSIM with Wang's 11 x 11 window, in [0, 2]."""
    return 1 - structural_similarity(image, reconstruction, window=11)


def fusion(image: Map, reconstruction: Map) -> Map:
    """0.84 DSSIM (window 5) + 0.16 L1, where DSSIM = (1 - SSIM) / 2 (Pan et al. 2024, arXiv 2408.08228)."""
    dissimilarity = (1 - structural_similarity(image, reconstruction, window=5)) / 2
    return 0.84 * dissimilarity + 0.16 * l1(image, reconstruction)


KINDS: dict[str, Callable[[Map, Map], Map]] = {"l1": l1, "pos": pos, "ssim": ssim, "fusion": fusion}


def residual(kind: str, volume: Volume, reconstruction: NDArray[np.float32]) -> Map:
    """Score map (R, A, S) of a reconstruction (C, R, A, S): mean over channels, 0 outside the brain."""
    maps = [KINDS[kind](x, y) for x, y in zip(volume.image, reconstruction, strict=True)]
    score: Map = np.mean(maps, axis=0, dtype=np.float32) * volume.brain
    return score
