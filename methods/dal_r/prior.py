"""The prior: where healthy tissue lies, from the ICBM152 tissue maps that nilearn ships. See card.toml."""

from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import affine_transform, gaussian_filter
from torch import Tensor

from uadbench.data import space

SMOOTHING_MM = 1.5  # our choice


@lru_cache(maxsize=2)
def tissue_prior(grid_name: str) -> Tensor:
    """Probabilities of background, CSF, grey and white matter on a model grid, (S, 4, R, A), sum 1."""
    from nilearn import datasets

    grid = space.find_grid(grid_name)
    # Beyond 1 mm the maps are smoothed to what a voxel averages over.
    sigma = float(np.hypot(SMOOTHING_MM, 0.35 * grid.spacing_mm))
    maps = []
    for load in (
        datasets.load_mni152_brain_mask,
        datasets.load_mni152_gm_template,
        datasets.load_mni152_wm_template,
    ):
        image = load(resolution=1)
        volume = gaussian_filter(image.get_fdata(dtype=np.float32), sigma, mode="constant")
        offset = np.asarray(grid.origin_mm) - image.affine[:3, 3]
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
