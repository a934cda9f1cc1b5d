"""Masks: what IterMask2 hides of pixels and of frequencies (Liang et al. 2024)."""

import torch
from torch import Tensor
from torch.nn import functional

from uadbench.learning.augment import extent, uniform

# Smallest and largest number of blocks of 1, 2 and 4 times the smallest side. The first is of a Gaussian as
# large as the brain: of a smaller one there are as many as its share of the brain (Liang 2024).
COUNTS = ((100, 200), (5, 10), (3, 10))
SPREADS = (0.1, 1.0)  # of a Gaussian along each axis, of the brain's; our choice, as is the next
DEVIATIONS = 4  # of a Gaussian as large as the brain, along the brain's edge


def draw_masks(brain: Tensor, side: int) -> Tensor:
    """Masks (B, 1, R, A) bool in the brains (B, 1, R, A): blocks of side, 2 side and 4 side pixels.

    Their centres are drawn from one Gaussian for each slice, around one of the brain's pixels.
    """
    across = brain.shape[-1]
    centre = torch.multinomial(brain.flatten(1).float() + 1e-9, 1)  # (B, 1)
    spreads = [uniform(*SPREADS, brain).flatten(1) for _ in range(2)]  # (B, 1)
    lengths = [extent(brain, axis)[1].flatten(1) for axis in (3, 2)]
    mask = torch.zeros_like(brain)
    for step, (fewest, most) in enumerate(COUNTS):
        count = uniform(fewest, most + 1, brain).flatten(1)
        if step == 0:
            count = count * (spreads[0] * spreads[1]).sqrt()
        wanted = torch.arange(most, device=brain.device) < count.floor()  # (B, most)
        noise = torch.randn(2, len(brain), most, device=brain.device)
        rows, columns = (
            (middle + noise[axis] * spreads[axis] * lengths[axis] / DEVIATIONS).round().long()
            for axis, middle in enumerate((centre // across, centre % across))
        )
        mask = mask | blocks(rows, columns, wanted, brain, side * 2**step)
    return mask & brain


def blocks(rows: Tensor, columns: Tensor, wanted: Tensor, like: Tensor, side: int) -> Tensor:
    """Squares of side x side pixels around the wanted of the centres (B, n): (B, 1, R, A) bool."""
    height, width = like.shape[-2:]
    inside = wanted & (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    place = torch.where(inside, rows * width + columns, height * width)  # the last one is cut off
    points = torch.zeros(len(like), height * width + 1, device=like.device).scatter_(1, place, 1.0)
    centres = points[:, :-1].view(like.shape)
    before, after = (side - 1) // 2, side // 2
    return functional.max_pool2d(functional.pad(centres, (after, before, after, before)), side, 1) > 0


def high_frequencies(image: Tensor, radius: float) -> Tensor:
    """Slices (B, 1, R, A) whose low frequencies have amplitude 1, with their phase as it was.

    Low are those of less than `radius` periods across the slice (Liang 2024: 15).
    """
    spectrum = torch.fft.fft2(image)
    down, across = (torch.fft.fftfreq(edge, 1 / edge, device=image.device) for edge in image.shape[-2:])
    low = torch.hypot(down[:, None], across) < radius
    flat = torch.polar(torch.ones_like(image), spectrum.angle())
    kept: Tensor = torch.fft.ifft2(torch.where(low, flat, spectrum)).real
    return kept


def worst(error: Tensor, brain: Tensor, share: float) -> Tensor:
    """The `share` of each brain (B, 1, R, A) with the largest errors (B, 1, R, A), as a mask (bool)."""
    ranked = torch.where(brain, error, -torch.inf).flatten(1)
    count = (share * brain.flatten(1).sum(1, keepdim=True)).round()
    place = ranked.argsort(dim=1, descending=True, stable=True).argsort(1)  # of each pixel among all
    return (place < count).view_as(brain) & brain
