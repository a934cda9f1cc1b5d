"""Patched diffusion of axial slices (Behrendt et al. 2023, MIDL). See card.toml."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from uadbench.learning import diffusion
from uadbench.learning.training import Batch

BOXES = 4  # quarters of the slice, two by two


@dataclass
class PatchedDDPM(diffusion.DiffusionReconstruction):
    """Learns what a noised quarter of a healthy slice looks like, given the other three without noise."""

    alpha_bar = diffusion.cosine()

    def training_loss(self, network: Any, batch: Batch) -> Tensor:
        """L1 within a random box of each slice between the slice and what the network sees there."""
        image, device = 2 * batch.image - 1, str(batch.image.device)
        level = diffusion.random_levels(len(image), device)
        box = boxes(*image.shape[-2:])[torch.randint(BOXES, (len(image),))].to(device)
        noisy, _ = self.add_noise(image, level)
        return box_loss(network(torch.where(box, noisy, image), level), image, box)

    def restore(self, image: Tensor) -> Tensor:
        """Slices (N, 1, R, A): each box noised and restored once, then put together."""
        noisy, _ = self.add_noise(image, self.start)
        stitched = torch.zeros_like(image)
        for box in boxes(*image.shape[-2:]).to(self.device_):
            answer = self.ask(torch.where(box, noisy, image), self.start)
            stitched = torch.where(box, answer.clamp(-1, 1), stitched)
        return stitched


def boxes(rows: int, columns: int) -> Tensor:
    """The four quarters of a slice as masks (4, 1, rows, columns) bool; together they are the slice."""
    low = torch.arange(rows)[:, None] < rows // 2, torch.arange(columns) < columns // 2
    return torch.stack([(low[0] ^ bool(n // 2)) & (low[1] ^ bool(n % 2)) for n in range(BOXES)])[:, None]


def box_loss(answer: Tensor, image: Tensor, box: Tensor) -> Tensor:
    """Mean absolute error over the pixels of the boxes (B, 1, R, A), background included."""
    return ((answer - image).abs() * box).sum() / box.sum()


ENTRY = PatchedDDPM
