"""Patches: what of another subject is blended into a healthy slice, and where (Tan et al. 2020, 2021)."""

import math

import torch
from torch import Tensor

from uadbench.methods.fpi.poisson import interpolate_gradients

FACTORS = (0.05, 0.95)  # of the interpolation (Tan 2020)
SIDES = (0.1, 0.4)  # of a patch, of the slice's shorter edge (Tan 2020)
CENTRES = (0.1, 0.9)  # of a patch, of each edge of the slice (Tan 2020)
Rectangle = tuple[slice, slice]  # rows and columns


def draw_rectangle(rows: int, columns: int) -> Rectangle:
    """A random square of a slice, cut where it would leave the slice or touch its border."""
    side, down, right = torch.rand(3).tolist()
    half = (SIDES[0] + side * (SIDES[1] - SIDES[0])) * min(rows, columns) / 2

    def span(edge: int, place: float) -> slice:
        centre = (CENTRES[0] + place * (CENTRES[1] - CENTRES[0])) * edge
        start = min(max(1, math.floor(centre - half)), edge - 2)
        return slice(start, max(start + 1, min(edge - 1, math.ceil(centre + half))))

    return span(rows, down), span(columns, right)


def interpolate(image: Tensor, foreign: Tensor, where: Rectangle, factor: float) -> Tensor:
    """(1 - a) x + a y in the rectangle of slices x and y (R, A), x elsewhere (Tan 2020)."""
    changed = image.clone()
    changed[where] = (1 - factor) * image[where] + factor * foreign[where]
    return changed


KINDS = {"intensities": interpolate, "gradients": interpolate_gradients}


def corrupt(image: Tensor, brain: Tensor, foreign: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Slices (B, 1, R, A) with a foreign patch in each, and the factor a at its pixels, 0 elsewhere.

    A pixel at which both slices are equal has nothing foreign: its factor is 0. Outside the brain is 0.
    """
    changed, label = image.clone(), torch.zeros_like(image)
    for row in range(len(image)):
        where = draw_rectangle(*image.shape[-2:])
        factor = FACTORS[0] + (FACTORS[1] - FACTORS[0]) * torch.rand(()).item()
        changed[row, 0] = KINDS[kind](image[row, 0], foreign[row, 0], where, factor)
        label[(row, 0, *where)] = factor * (image[row, 0][where] != foreign[row, 0][where])
    return changed.clamp(0, 1) * brain, label * brain
