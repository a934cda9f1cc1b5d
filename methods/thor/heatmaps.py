"""Heatmaps: how far slices are from their restorations, in grey and to a network that knows photographs.

Slices are (N, 1, R, A) in [-1, 1], and -1 outside the brain. Those of one volume are normalised together.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from uadbench.learning.features import Features

STAGES = (1, 2, 3, 5)  # of lite0: 1/2, 1/4, 1/8 and 1/16 of the slice
PERCENTILE = 0.95  # of the brain, that is 1 after normalisation
LEAST = 1e-6  # of what is divided by


def dissimilarity(features: Features, image: Tensor, restored: Tensor, batch: int) -> Tensor:
    """1 - cosine between the features of slices at each place, mean over `STAGES`: (N, 1, R, A) in [0, 2].

    It stands for LPIPS (Zhang et al. 2018), which is a weighted squared distance of features of length 1:
    without weights, twice this. `batch` slices pass the network at once.
    """
    return torch.cat(
        [
            _dissimilarity(features, one, other)
            for one, other in zip(torch.split(image, batch), torch.split(restored, batch), strict=True)
        ]
    )


def _dissimilarity(features: Features, image: Tensor, restored: Tensor) -> Tensor:
    of_image, of_restored = (features.maps((slices + 1) / 2) for slices in (image, restored))
    apart = [
        1 - functional.cosine_similarity(of_image[stage], of_restored[stage], dim=1)[:, None]
        for stage in STAGES
    ]
    large = [functional.interpolate(one, image.shape[-2:], mode="bilinear") for one in apart]
    return torch.stack(large).mean(0)


def normalised(heat: Tensor, image: Tensor) -> Tensor:
    """A map divided by the 95th percentile of its values in the brain, held to 1."""
    inside = torch.where(image > -1, heat, torch.nan)
    scale = inside.nanquantile(PERCENTILE).nan_to_num(1.0)
    return (heat / scale.clamp(min=LEAST)).clamp(max=1)


def dilated(heat: Tensor, reach: int) -> Tensor:
    """The largest value in a square of 2 reach + 1 pixels around each."""
    return functional.max_pool2d(heat, 2 * reach + 1, stride=1, padding=reach)


def widened(heat: Tensor, reach: int) -> Tensor:
    """A grey closing, which is a dilation and then an erosion, and a dilation."""
    closed = -dilated(-dilated(heat, reach), reach)
    return dilated(closed, reach)


def harmonic_mean(maps: Sequence[Tensor]) -> Tensor:
    """n / (1 / m_1 + ... + 1 / m_n) at each place: it is low where any of the maps is."""
    mean: Tensor = len(maps) / torch.stack([1 / (heat + LEAST) for heat in maps]).sum(0)
    return mean
