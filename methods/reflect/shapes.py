"""Shapes: random places of latents, and what stands there instead, for REFLECT's corruption of latents."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uadbench.learning.device import send

WALKS = {1: 200, 2: 120, 3: 100, 4: 80}  # longest walk where a slice has so many, of 32 x 32 latents
CLEAN = 0.1  # share of the slices that stay as they are
STRENGTHS = (0.2, 1.0)  # of the corruption of a shape
TEXTURES = 0.5  # share of the shapes that hold a texture, the others hold noise


def random_walks(count: int, rows: int, columns: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Steps away from a start, row and column (count, 4, V, 2), and which of the four are walked (count, 4).

    Of n = 1 ... 4 walks with probability proportional to 1 / n. A walk of v steps, each to one of the nine
    nearest latents, is likelier the shorter it is: by 10 - 9 v / longest.
    """
    chances = 1 / np.arange(1, 5)
    numbers = np.random.choice([1, 2, 3, 4], count, p=chances / chances.sum())
    area = rows * columns / 32**2
    longest = np.array([max(1, round(WALKS[number] * area)) for number in numbers])[:, None]
    # The inverse of the distribution function of a density 10 - 9 u on [0, 1].
    uniform = np.random.rand(count, 4)
    lengths = (10 - np.sqrt(100 - 99 * uniform)) / 9 * longest
    steps = np.random.randint(-1, 2, (count, 4, int(longest.max()), 2))
    steps[np.arange(steps.shape[2]) >= lengths[..., None]] = 0
    drawn = (np.arange(4) < numbers[:, None]) & (np.random.rand(count, 1) >= CLEAN)
    return steps.cumsum(2).astype(np.float32), drawn


def filled(corners: Tensor, rows: int, columns: int) -> Tensor:
    """Polygons (..., V, 2) of rows and columns as masks (..., rows, columns): inside by the even-odd rule.

    Their corners belong to them.
    """
    row = torch.arange(rows, device=corners.device)[:, None, None]
    column = torch.arange(columns, device=corners.device)[:, None]
    (r, c), (r_next, c_next) = (x[..., None, None, :, :].unbind(-1) for x in (corners, corners.roll(-1, -2)))
    spans = (r <= row) != (r_next <= row)  # the edge crosses this row ...
    along = (row - r) / torch.where(spans, r_next - r, 1)
    right = column < c + along * (c_next - c)  # ... right of this column
    inside = (spans & right).sum(-1) % 2 == 1
    return inside | ((r == row) & (c == column)).any(-1)


def draw_shapes(brain: Tensor) -> Tensor:
    """Up to four shapes in each brain (B, 1, r, a), bool: (B, 4, r, a), bool; walks start in the brain."""
    (count, _, rows, columns), device = brain.shape, brain.device
    walks, drawn = random_walks(count, rows, columns)
    places = torch.rand(count, 4, rows * columns, device=device) * brain.flatten(2)
    start = places.argmax(-1)
    start = torch.stack([start // columns, start % columns], -1)[:, :, None]
    shapes = filled(start + send(torch.from_numpy(walks), device), rows, columns)
    return shapes & brain & send(torch.from_numpy(drawn), device)[..., None, None]


def draw_replacement(latent: Tensor) -> Tensor:
    """What a shape may hold (B, C, r, a), by coin for each slice: a texture, or noise with a common part.

    Textures are the latents of another slice, moved by a random distance.
    """
    count, channels, rows, columns = latent.shape
    moved = latent.roll((1, np.random.randint(rows), np.random.randint(columns)), (0, 2, 3))
    share = torch.rand(count, 1, 1, 1, device=latent.device)
    common = torch.randn(count, channels, 1, 1, device=latent.device)
    noise = share.sqrt() * common + (1 - share).sqrt() * torch.randn_like(latent)
    texture = torch.rand(count, 1, 1, 1, device=latent.device) < TEXTURES
    return torch.where(texture, moved, noise)


def corrupt(latent: Tensor, brain: Tensor) -> Tensor:
    """Latents (B, C, r, a) of which sqrt(1 - m) is left, and sqrt(m) of something else put in.

    m is 0 outside the shapes, and uniform in `STRENGTHS` for each of them; the first shape is on top.
    """
    low, high = STRENGTHS
    corrupted, free = latent, torch.ones_like(brain)
    for shape in torch.split(draw_shapes(brain), 1, 1):
        strength = low + (high - low) * torch.rand(len(latent), 1, 1, 1, device=latent.device)
        mixed = (1 - strength).sqrt() * latent + strength.sqrt() * draw_replacement(latent)
        corrupted = torch.where(shape & free, mixed, corrupted)
        free = free & ~shape
    return corrupted
