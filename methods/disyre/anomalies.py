"""Anomalies: what DISYRE blends into healthy slices, and how severe that is (Naval Marimont 2024)."""

import math

import torch
from torch import Tensor

from uadbench.learning.augment import uniform
from uadbench.learning.device import send

SEVERITIES = 100  # t runs from 0, the severest, to 99 (scheduler.py)
CLASSES = 5  # of intensity in each contrast, by k-means (the anomaly generator)
MOST_SHIFT = 0.6  # of the grey of a class; our choice, the code has 1 (preprocessing/bias.py)


def strengths() -> Tensor:
    """s(t) (100,): what a severity leaves of the anomaly, sqrt(prod(1 - beta)), beta from .001 to .2.

    1.00 at t = 0, .73 at 24, .27 at 49, .05 at 74 and .005 at 99 (Naval Marimont 2024, scheduler.py).
    """
    return (1 - torch.linspace(1e-3, 0.2, SEVERITIES, dtype=torch.float64)).cumprod(0).sqrt().float()


def severity_of(strength: Tensor) -> Tensor:
    """The t (B,) whose s(t) is nearest to the strength (B, 1, 1, 1) of an anomaly in [0, 1]."""
    levels = send(strengths(), strength.device)
    return (levels - strength.view(-1, 1)).abs().argmin(1)


def around_brain_pixels(brain: Tensor) -> tuple[Tensor, Tensor]:
    """Distances in pixels, down and right, of each pixel from a random brain pixel, each (B, 1, R, A)."""
    rows, columns = brain.shape[-2:]
    # A patch may hold no brain: then any pixel will do, as the mask is cut to the brain.
    centre = torch.multinomial(brain.flatten(1).float() + 1e-9, 1)[..., None, None]  # (B, 1, 1, 1)
    down = torch.arange(rows, device=brain.device)[:, None] - centre // columns
    right = torch.arange(columns, device=brain.device) - centre % columns
    return down.expand(brain.shape).float(), right.expand(brain.shape).float()


def boxes(brain: Tensor, size: int) -> Tensor:
    """Rectangles with edges of size / 8 to size pixels around a brain pixel, inside the brain; 0 or 1."""
    down, right = around_brain_pixels(brain)
    height, width = uniform(size / 8, size, brain), uniform(size / 8, size, brain)
    inside = (down.abs() <= height / 2) & (right.abs() <= width / 2)
    return (inside & brain).float()


def blobs(brain: Tensor, size: int) -> Tensor:
    """Rotated ellipses with a wavy, soft edge around a brain pixel, inside the brain; in [0, 1].

    The axes have size / 8 to size pixels; waves and softness only take away from the ellipse.
    """
    down, right = around_brain_pixels(brain)
    turn = uniform(0, math.pi, brain)
    along = (down * turn.cos() + right * turn.sin()) / uniform(size / 16, size / 2, brain)
    across = (right * turn.cos() - down * turn.sin()) / uniform(size / 16, size / 2, brain)
    angle = torch.atan2(across, along)
    edge = torch.ones_like(angle)
    for waves in (2, 3, 5):
        wave = (waves * angle + uniform(0, 2 * math.pi, brain)).cos()
        edge = edge - uniform(0, 0.1, brain) * (1 + wave)
    soft = uniform(0.02, 0.5, brain)
    return ((edge - torch.hypot(along, across)) / soft).clamp(0, 1) * brain


def match_range(source: Tensor, image: Tensor, region: Tensor) -> Tensor:
    """`source` (B, 1, R, A) with the least and largest value in `region` (bool) that `image` has there."""

    def ends(values: Tensor) -> tuple[Tensor, Tensor]:
        low = torch.where(region, values, 1.0).amin((2, 3), keepdim=True)
        return low, torch.where(region, values, 0.0).amax((2, 3), keepdim=True)

    (low, high), (own_low, own_high) = ends(source), ends(image)
    share = (source - low) / (high - low).clamp(min=1e-6)
    return (own_low + share * (own_high - own_low)).clamp(0, 1)


def shift_classes(image: Tensor, centres: Tensor) -> Tensor:
    """How much each pixel's grey changes (B, 1, R, A) where every class of intensity is shifted at random.

    `centres` (B, CLASSES) ascend; a pixel is of the class whose centre is nearest.
    """
    borders = (centres[:, 1:] + centres[:, :-1]) / 2
    which = (image[..., None] > borders[:, None, None, None]).sum(-1)  # (B, 1, R, A)
    shifts = MOST_SHIFT * (2 * torch.rand(len(image), CLASSES, device=image.device) - 1)
    return shifts.gather(1, which.flatten(1)).view_as(image)


def corrupt(
    image: Tensor, brain: Tensor, foreign: Tensor, centres: Tensor, kind: str, size: int
) -> tuple[Tensor, Tensor]:
    """Slices with an anomaly in each, and how severe it is: (B, 1, R, A) and t (B,).

    A share of another subject's slice is blended in, x + a m (x_fp - x), its range matched to the region's;
    `fpi` does it in rectangles (Tan et al. 2020), `dag` in blobs where, by another share, classes of
    intensity are shifted too. Both shares are uniform in [0, 1], and the larger one is the strength. Where
    the mask m is 0 the slice stays as it is.
    """
    mask = boxes(brain, size) if kind == "fpi" else blobs(brain, size)
    strength = uniform(0, 1, image)
    changed = image + strength * mask * (match_range(foreign, image, mask > 0) - image)
    if kind == "dag":
        bias = uniform(0, 1, image)
        changed = (changed + bias * mask * shift_classes(image, centres)).clamp(0, 1)
        strength = torch.maximum(strength, bias)
    return changed, severity_of(strength)
