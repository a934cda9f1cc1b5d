"""Scores: how far an image is from its pseudo-healthy reconstruction, voxel by voxel.

Each function takes two (R, A, S) arrays in the units of the image and gives a (R, A, S) map, higher is
more anomalous. A method names the kind of its paper; `l1` is the default that all tables share.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from uadbench.data.volumes import Volume, Volumes
from uadbench.system.errors import UserError
from uadbench.system.progress import Progress

SMOOTHING_VOXELS = 1.0  # Gaussian sigma of the statistics of healthy residuals
ANY = "any contrast"  # statistics for a contrast that was not trained on

Map = NDArray[np.float32]


def l1(image: Map, reconstruction: Map) -> Map:
    """Absolute residual."""
    difference: Map = np.abs(image - reconstruction)
    return difference


def pos(image: Map, reconstruction: Map) -> Map:
    """What is brighter than expected: the positive part of the residual (Baur 2021, for FLAIR)."""
    brighter: Map = np.maximum(image - reconstruction, 0)
    return brighter


def structural_similarity(image: Map, reconstruction: Map, window: int) -> Map:
    """SSIM of axial slices (R, A, S) in [0, 1], in [-1, 1]; beyond a slice is 0 (`similarity.ssim`)."""
    import torch  # here, because what else is in this module is numpy's

    from uadbench.learning import similarity

    one, other = (torch.from_numpy(np.moveaxis(x, 2, 0)[:, None].copy()) for x in (image, reconstruction))
    alike: Map = similarity.ssim(one, other, window, padded=True)[:, 0].numpy()
    return np.moveaxis(alike, 0, 2)


def ssim(image: Map, reconstruction: Map) -> Map:
    """1 - SSIM with Wang's 11 x 11 window, in [0, 2]."""
    return 1 - structural_similarity(image, reconstruction, window=11)


def fusion(image: Map, reconstruction: Map) -> Map:
    """0.84 DSSIM (window 5) + 0.16 L1, where DSSIM = (1 - SSIM) / 2 (Pan et al. 2024, arXiv 2408.08228)."""
    dissimilarity = (1 - structural_similarity(image, reconstruction, window=5)) / 2
    return 0.84 * dissimilarity + 0.16 * l1(image, reconstruction)


RESIDUALS: dict[str, Callable[[Map, Map], Map]] = {"l1": l1, "pos": pos, "ssim": ssim, "fusion": fusion}
KINDS = (*RESIDUALS, "zres")


def residual(kind: str, volume: Volume, reconstruction: NDArray[np.float32]) -> Map:
    """Score map (R, A, S) of a reconstruction (C, R, A, S): mean over channels, 0 outside the brain."""
    maps = [RESIDUALS[kind](x, y) for x, y in zip(volume.image, reconstruction, strict=True)]
    score: Map = np.mean(maps, axis=0, dtype=np.float32) * volume.brain
    return score


@dataclass(frozen=True)
class HealthyResiduals:
    """Mean and deviation over healthy volumes of the absolute residual, voxel by voxel, each (R, A, S)."""

    mean: Map
    deviation: Map

    @classmethod
    def by_contrast(
        cls, healthy: Volumes, reconstruct: Callable[[Volume], NDArray[np.float32]], progress: Progress
    ) -> dict[str, Self]:
        """Statistics over the volumes of each contrast of which there are two, and over `ANY` of them.

        First and second moment are smoothed by a Gaussian of `SMOOTHING_VOXELS` among brain voxels, so that
        few volumes are enough; voxels that are brain in no volume have mean 0.
        """
        if len(healthy) < 2 or len({volume.brain.shape for volume in healthy}) > 1:
            raise UserError(
                "score_kind=zres standardises each voxel by the residuals of healthy-val volumes: it needs "
                "at least two of them, in template space; choose another score_kind."
            )
        sums: dict[str, list[NDArray[np.float64]]] = {}
        volumes: dict[str, int] = {}
        with progress.stage("healthy residuals", len(healthy)) as stage:
            for volume in healthy:
                error = residual("l1", volume, reconstruct(volume)).astype(np.float64)
                for contrast in (ANY, "+".join(volume.contrasts)):
                    there = sums.setdefault(contrast, [np.zeros(error.shape) for _ in range(3)])
                    for total, term in zip(there, (volume.brain, error, error**2), strict=True):
                        np.add(total, term, out=total)
                    volumes[contrast] = volumes.get(contrast, 0) + 1
                stage.advance()
        return {contrast: cls._of_sums(*sums[contrast]) for contrast in sums if volumes[contrast] > 1}

    @classmethod
    def _of_sums(
        cls, count: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]
    ) -> Self:
        """Statistics from how often each voxel was brain, its summed residuals and their summed squares."""
        weight, first, second = (gaussian_filter(m, SMOOTHING_VOXELS) for m in (count, first, second))
        weight = np.maximum(weight, 1e-6)
        mean = first / weight
        variance = np.maximum(second / weight - mean**2, 0)
        return cls(mean.astype(np.float32), np.sqrt(variance).astype(np.float32))

    def standardise(self, volume: Volume, reconstruction: NDArray[np.float32]) -> Map:
        """(|x - x'| - mean) / deviation, 0 outside the brain; may be negative inside.

        The squared deviation is raised by the squared 5th percentile of the deviations in the brain, so that
        voxels without healthy spread do not dominate.
        """
        floor = np.percentile(self.deviation[volume.brain], 5) if volume.brain.any() else 1.0
        error = residual("l1", volume, reconstruction)
        spread = np.sqrt(self.deviation**2 + max(float(floor), 1e-6) ** 2)
        standardised: Map = ((error - self.mean) / spread * volume.brain).astype(np.float32)
        return standardised
