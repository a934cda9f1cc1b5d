"""Fields: smooth random maps and random blobs on slices, drawn from torch's global generator."""

import torch
from torch import Tensor
from torch.nn import functional


def smooth_field(count: int, shape: tuple[int, int], cell: float, device: torch.device) -> Tensor:
    """Random maps (count, 1, R, A) of deviation about 0.7 whose bumps are about `cell` pixels wide."""
    lattice = [max(2, round(length / cell) + 1) for length in shape]
    coarse = torch.randn(count, 1, *lattice, device=device)
    return functional.interpolate(coarse, shape, mode="bicubic", align_corners=True)


def uniform(low: float, high: float, count: int, device: torch.device) -> Tensor:
    """Numbers (count, 1, 1, 1), evenly distributed."""
    return low + (high - low) * torch.rand(count, 1, 1, 1, device=device)


def blobs(brain: Tensor, low_mm: float, high_mm: float, spacing_mm: float) -> tuple[Tensor, Tensor]:
    """One irregular blob (B, 1, R, A) bool in each brain (B, 1, R, A), and its centre's flat index (B,)."""
    count, _, rows, columns = brain.shape
    centre = torch.multinomial(brain.flatten(1).float() + 1e-6, 1)
    row, column = centre // columns, centre % columns
    rows_from = (torch.arange(rows, device=brain.device)[None] - row).view(count, 1, rows, 1)
    columns_from = (torch.arange(columns, device=brain.device)[None] - column).view(count, 1, 1, columns)
    radius = uniform(low_mm, high_mm, count, brain.device) / spacing_mm
    stretch = uniform(-0.35, 0.35, count, brain.device).exp()
    distance = ((rows_from * stretch) ** 2 + (columns_from / stretch) ** 2).sqrt()
    rough = smooth_field(count, (rows, columns), max(2.0, 10 / spacing_mm), brain.device)
    return (distance < radius * (1 + 0.35 * rough)) & brain.bool(), centre[:, 0]
