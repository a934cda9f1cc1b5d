"""Imaging: how a scanner shows tissue, as 16 numbers, and how to read them robustly. See card.toml."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

CODE = 16  # length of theta
CHANNELS = (16, 32, 64, 64)
EXCLUDED = 0.2  # share of the slices that have no say in a volume's code


class ImagingEncoder(nn.Module):
    """E_I: mean and log variance of the imaging code.

    No normalisation: instance norm would delete the intensities that are to be encoded (MONAI trap 10).
    """

    def __init__(self, width: int) -> None:
        """`width` is that of the first layer."""
        super().__init__()
        channels = [1, *(width * c // CHANNELS[0] for c in CHANNELS)]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(channels))
        self.code = nn.Linear(channels[-1], 2 * CODE)

    def forward(self, image: Tensor, brain: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, 16) of slices (B, 1, R, A), pooled over the brain alone."""
        features = image
        for layer in self.layers:
            features = functional.leaky_relu(layer(features), 0.2)
        weight = (
            functional.adaptive_avg_pool2d(brain.float(), (features.shape[-2], features.shape[-1])) + 1e-6
        )
        pooled = (features * weight).sum((2, 3)) / weight.sum((2, 3))
        mean, log_variance = self.code(pooled).float().chunk(2, 1)
        return mean, log_variance.clamp(-10, 4)


def robust_code(codes: Tensor, disagreement: Tensor, counted: Tensor) -> Tensor:
    """The code (16,) of a volume from those of its slices (N, 16): their median.

    Left out are slices that do not count (N,) and the fifth in which the restored anatomy disagrees most
    (N,) with the seen one: a lesion must not set its own imaging code.
    """
    counted = counted if counted.any() else torch.ones_like(counted)
    limit = torch.quantile(disagreement[counted], 1 - EXCLUDED)
    return codes[counted & (disagreement <= limit)].median(0).values
