"""Tissues: where they lie in healthy brains (ICBM152, from nilearn), and how bright a scan shows them."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter
from torch import Tensor

from uadbench.data import icbm152, space
from uadbench.learning.device import send

SMOOTHING_MM = 1.5  # our choice


@lru_cache(maxsize=4)
def tissue_prior(grid_name: str, device: str = "cpu") -> Tensor:
    """Probabilities of background, CSF, grey and white matter on a model grid, (S, 4, R, A), sum 1."""
    if device != "cpu":
        return send(tissue_prior(grid_name), device)
    grid = space.find_grid(grid_name)
    # Beyond 1 mm the maps are smoothed to what a voxel averages over.
    sigma = float(np.hypot(SMOOTHING_MM, 0.35 * grid.spacing_mm))
    t1, first_mm = icbm152.read_map("t1")
    maps = []
    for source in ((t1 > icbm152.BRAIN).astype(np.float32), *(icbm152.read_map(n)[0] for n in ("gm", "wm"))):
        volume = gaussian_filter(source, sigma, mode="constant")
        offset = np.asarray(grid.origin_mm) - first_mm
        maps.append(affine_transform(volume, [grid.spacing_mm] * 3, offset, grid.shape, order=1))
    brain, grey, white = (np.clip(volume, 0, 1) for volume in maps)
    grey, white = np.minimum(grey, brain), np.minimum(white, brain)
    fluid = np.clip(brain - grey - white, 0, 1)
    prior = np.stack([1 - brain, fluid, grey, white]).transpose(3, 0, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(prior / prior.sum(1, keepdims=True), np.float32))


def in_brain(prior: Tensor, brain: Tensor) -> Tensor:
    """The prior (B, 4, R, A) knowing the mask (B, 1, R, A): background outside and only there.

    Where the atlas has no brain the three tissues are equally likely.
    """
    tissues = (prior[:, 1:] + 0.01) * brain
    tissues = tissues / tissues.sum(1, keepdim=True).clamp(min=1e-6)
    return torch.cat([1 - brain, tissues], 1)


TISSUES = ("fluid", "grey matter", "white matter")
ROUNDS = 30  # of expectation and maximisation
LEAST_DEVIATION = 0.02  # of a class, of the range of intensities: none becomes a single value


@dataclass(frozen=True)
class TissueModel:
    """How bright each of `TISSUES` is in one scan, and what each voxel of its brain is, (3, voxels)."""

    means: NDArray[np.float64]
    deviations: NDArray[np.float64]
    posterior: NDArray[np.float64]


def fit_tissues(intensities: NDArray[np.floating], prior: NDArray[np.floating]) -> TissueModel:
    """A Gaussian for each tissue by expectation maximisation, the weights given voxel by voxel.

    `intensities` (voxels,) of a brain, `prior` (3, voxels) of sum 1: Van Leemput et al., IEEE TMI 18:897-908
    (1999), without bias field and neighbours.
    """
    posterior = np.asarray(prior, np.float64)
    x = np.asarray(intensities, np.float64)
    for _ in range(ROUNDS):
        weights = posterior.sum(1) + 1e-6
        means = (posterior @ x + 1e-6 * x.mean()) / weights
        spread = (posterior * (x - means[:, None]) ** 2).sum(1) / weights
        deviations = np.sqrt(np.maximum(spread, LEAST_DEVIATION**2))
        log_likelihood = -0.5 * ((x - means[:, None]) / deviations[:, None]) ** 2
        log_likelihood -= np.log(deviations)[:, None] + log_likelihood.max(0)
        likely = prior * np.exp(log_likelihood) + 1e-300
        posterior = likely / likely.sum(0)
    return TissueModel(means, deviations, posterior)
