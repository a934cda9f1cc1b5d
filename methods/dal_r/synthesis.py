"""Synthesis: label maps drawn from the prior and painted with random contrasts, and contrast changes.

Training on images of random contrast is what makes the anatomy contrast-free (SynthSeg, Billot et al.,
MedIA 86:102789, had the idea first). Nothing here changes what was learned; all draws come from torch's
global generator.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from uadbench.learning.device import send
from uadbench.methods.dal_r.fields import smooth_field, uniform

SHARPENING = 3.0  # power of the prior at 1 mm; larger voxels mix tissues: 3 / sqrt(spacing)
FLOOR = 0.03  # least probability of a tissue: the average brain hides the sulci that every brain has
PURE = 0.72  # share of a tissue above which a voxel counts as that tissue, with the free classes


@dataclass(frozen=True)
class Synthetic:
    """Slices that nobody scanned: `labels` (B, R, A) of K classes, `image` and `brain` (B, 1, R, A)."""

    labels: Tensor
    image: Tensor
    brain: Tensor


def warped(maps: Tensor, spacing_mm: float) -> Tensor:
    """Maps (B, C, R, A) under random affine maps (deviation 5 %, 5 degrees, 3 mm) and elastic ones (4 mm)."""
    count, _, rows, columns = maps.shape
    device = maps.device
    angle = torch.randn(count, device=device) * math.radians(5)
    scale = (torch.randn(2, count, device=device) * 0.05).exp()
    half = send(torch.tensor([columns, rows]), device) * spacing_mm / 2  # grid units are half the extent
    shift = torch.randn(count, 2, device=device) * 3 / half
    cosine, sine = angle.cos(), angle.sin()
    ratio = rows / columns
    linear = torch.stack([cosine * scale[0], -sine * ratio, sine / ratio, cosine * scale[1]], 1).view(
        -1, 2, 2
    )
    grid = functional.affine_grid(
        torch.cat([linear, shift[..., None]], 2), list(maps.shape), align_corners=False
    )
    elastic = [smooth_field(count, (rows, columns), 24 / spacing_mm, device) * 4 / length for length in half]
    grid = grid + torch.cat(elastic, 1).movedim(1, -1)
    return functional.grid_sample(maps, grid, padding_mode="border", align_corners=False)


def draw_slices(prior: Tensor, classes: int, spacing_mm: float) -> Synthetic:
    """A synthetic slice for each slice of the prior (B, 4, R, A), which may come from its neighbourhood."""
    maps = warped(prior, spacing_mm)
    brain = (maps[:, :1] < 0.5).float()
    tissues = draw_tissues(maps[:, 1:], spacing_mm)
    return Synthetic(draw_labels(tissues, brain, classes), paint_tissues(tissues, brain, spacing_mm), brain)


def draw_tissues(maps: Tensor, spacing_mm: float) -> Tensor:
    """Shares of CSF, GM and WM (B, 3, R, A): the prior's, pushed by smooth random odds and sharpened."""
    count, tissues, rows, columns = maps.shape
    cell = max(1.5, 7 / spacing_mm)
    push = [smooth_field(count, (rows, columns), cell, maps.device) for _ in range(tissues)]
    odds = (maps + FLOOR).log() + uniform(0.3, 1.5, count, maps.device) * torch.cat(push, 1)
    return functional.softmax(SHARPENING / spacing_mm**0.5 * odds, 1)


def draw_labels(tissues: Tensor, brain: Tensor, classes: int) -> Tensor:
    """Classes (B, R, A) of tissue shares (B, 3, R, A): the largest, or with K = 6 a mixture's own class."""
    largest, labels = tissues.max(1)
    labels = labels + 1
    if classes > 4:
        fluid, _, white = tissues.unbind(1)
        labels = torch.where(largest < PURE, torch.where(white > fluid, 4, 5), labels)
    return labels * brain[:, 0].long()


def paint_tissues(tissues: Tensor, brain: Tensor, spacing_mm: float) -> Tensor:
    """Images (B, 1, R, A) in [0, 1] of tissue shares (B, 3, R, A) in a random contrast."""
    count, _, rows, columns = tissues.shape
    device = tissues.device
    means = torch.rand(count, 3, 1, 1, device=device)
    low, high = means.amin(1, keepdim=True), means.amax(1, keepdim=True)
    darkest, brightest = uniform(0.0, 0.3, count, device), uniform(0.65, 1.0, count, device)
    means = darkest + (means - low) / (high - low).clamp(min=0.05) * (brightest - darkest)
    uneven = torch.cat([smooth_field(count, (rows, columns), 14 / spacing_mm, device) for _ in range(3)], 1)
    image = (tissues * means * (1 + 0.05 * uneven)).sum(1, keepdim=True)
    return degraded(image * brain, brain, spacing_mm)


def degraded(image: Tensor, brain: Tensor, spacing_mm: float) -> Tensor:
    """Images (B, 1, R, A) after random blur, bias field and noise (deviation up to .03), in [0, 1]."""
    count, _, rows, columns = image.shape
    among = functional.avg_pool2d(brain, 3, 1, 1).clamp(min=1e-3)
    blurred = functional.avg_pool2d(image, 3, 1, 1) / among
    image = image + uniform(-0.3, 0.5, count, image.device).clamp(min=0) * (blurred - image)
    field = smooth_field(count, (rows, columns), 70 / spacing_mm, image.device)
    image = image * (uniform(0, 0.15, count, image.device) * field).exp()
    noise = torch.randn_like(image) * uniform(0, 0.03, count, image.device)
    noisy: Tensor = (image + noise).clamp(0, 1) * brain
    return noisy


def other_contrast(image: Tensor, brain: Tensor, spacing_mm: float) -> Tensor:
    """g(x): images (B, 1, R, A) with another, monotone, contrast; the geometry stays.

    Gamma e^U(-.5, .5), then a monotone curve through three random knots, blur, bias field and noise.
    """
    count = len(image)
    gamma = uniform(-0.5, 0.5, count, image.device).exp()
    return degraded(
        monotone(image.clamp(min=1e-4) ** gamma, knots(count, image.device)) * brain, brain, spacing_mm
    )


def knots(count: int, device: torch.device) -> Tensor:
    """Values (count, 5) at 0, 1/4, 1/2, 3/4 and 1 of random curves that rise from 0 to 1."""
    steps = torch.rand(count, 4, device=device) + 0.3
    rising = (steps / steps.sum(1, keepdim=True)).cumsum(1)
    return torch.cat([torch.zeros(count, 1, device=device), rising], 1)


def monotone(image: Tensor, values: Tensor) -> Tensor:
    """Images (B, 1, R, A) in [0, 1] through piecewise linear curves with values (B, 5) at quarters."""
    position = image * 4
    left = position.floor().clamp(0, 3)
    flat = left.long().flatten(1)
    low, high = values.gather(1, flat).view(image.shape), values.gather(1, flat + 1).view(image.shape)
    return low + (position - left) * (high - low)
