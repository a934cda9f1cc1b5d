"""Fields: smooth random maps, random blobs, and slices spoilt by them, all from torch's global generator."""

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


SPOILT = ("regions", "noise", "both", "nothing")
REGIONS, CHANCE = 3, 0.4  # most regions in a slice, and the chance of each
RADII_MM = (3.0, 25.0)
KEPT = 0.3  # share of its own texture that a region keeps


def spoil(image: Tensor, brain: Tensor, kind: str, spacing_mm: float) -> Tensor:
    """Slices (B, 1, R, A) with something in their brains that does not belong there: one of `SPOILT`."""
    if kind in ("regions", "both"):
        image = wrong_intensities(image, brain, spacing_mm)
    return image + coarse_noise(image, spacing_mm) * brain if kind in ("noise", "both") else image


def wrong_intensities(image: Tensor, brain: Tensor, spacing_mm: float) -> Tensor:
    """Up to three regions of 3 to 25 mm radius have any other intensity, and a little of their texture."""
    for _ in range(REGIONS):
        region, _ = blobs(brain, *RADII_MM, spacing_mm)
        there = region & (uniform(0, 1, len(image), image.device) < CHANCE)
        wrong = uniform(0, 1, len(image), image.device) + KEPT * (image - 0.5)
        image = torch.where(there, wrong, image)
    return image


NOISE, NODES_MM = 0.2, 14.0  # deviation at the nodes, and their distance: about those of `dae`


def coarse_noise(like: Tensor, spacing_mm: float) -> Tensor:
    """Noise (B, 1, R, A): normal at the nodes of a coarse grid, linear between them.

    Rolled at random, one way for the batch, which makes it the same everywhere (Kascenas 2022, as in `dae`).
    """
    rows, columns = like.shape[-2:]
    lattice = [max(2, round(length * spacing_mm / NODES_MM) + 1) for length in (rows, columns)]
    nodes = NOISE * torch.randn(len(like), 1, *lattice, device=like.device)
    noise = functional.interpolate(nodes, (rows, columns), mode="bilinear", align_corners=True)
    return torch.roll(noise, (int(torch.randint(rows, ())), int(torch.randint(columns, ()))), (2, 3))
