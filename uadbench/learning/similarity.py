"""Similarity: SSIM of slices as a loss, several times as fast as by convolutions, with equal values."""

from functools import cache

import torch
from torch import Tensor

from uadbench.learning.device import send

SIGMA = 1.5  # pixels of the Gaussian window (Wang et al. 2004)
C1, C2 = 0.01**2, 0.03**2  # for images in [0, 1]


def ssim(image: Tensor, other: Tensor, window: int, padded: bool = False) -> Tensor:
    """SSIM of slices (B, C, R, A) in [0, 1], in [-1, 1] (Wang et al. 2004, eq. 13).

    One value for each window that lies in the slice, (B, C, R - w + 1, A - w + 1); `padded`, one for each
    pixel, with 0 around the slices. Always in float32: a variance is a small difference of large numbers,
    of which bf16 would leave nothing.
    """
    with torch.autocast(image.device.type, enabled=False):
        image, other = image.float(), other.float()
        rows, columns = (send(_smoother(edge, window, padded), image.device) for edge in image.shape[-2:])
        maps = torch.stack([image, other, image * image, other * other, image * other])
        # A Gaussian window is a product: two matrices smooth all five maps at once.
        mean, mean_other, square, square_other, product = rows @ (maps @ columns.T)
        variances = square - mean**2 + square_other - mean_other**2
        covariance = product - mean * mean_other
        structure = (2 * covariance + C2) / (variances + C2)
        alike: Tensor = structure * (2 * mean * mean_other + C1) / (mean**2 + mean_other**2 + C1)
    return alike


@cache
def _smoother(edge: int, window: int, padded: bool) -> Tensor:
    """The matrix that smooths along an axis: a row for each window, (edge - window + 1 or edge, edge)."""
    reach = torch.arange(window) - (window - 1) / 2
    weights = (-((reach / SIGMA) ** 2) / 2).exp()
    weights = weights / weights.sum()
    margin = window // 2 if padded else 0
    banded = torch.zeros(edge + 2 * margin - window + 1, edge + 2 * margin)
    for row in range(len(banded)):
        banded[row, row : row + window] = weights
    return banded[:, margin : margin + edge].contiguous()
