"""Restorer: the anatomy from its edges alone, trained on anatomies that were spoilt. See card.toml."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from uadbench.methods.dal_r.anatomy import UNet, class_log_prior
from uadbench.methods.dal_r.fields import blobs

BLOBS = 3  # most spoilt regions in a slice
UNSPOILT = 0.2  # share of the slices that stay as they are
FLIPPED = 0.05  # share of the edge pixels that are lost


class Restorer(nn.Module):
    """R: logits of the healthy anatomy from edges and brain mask: no intensities, no filled regions."""

    def __init__(self, channels: int, classes: int, width: int, with_prior: bool) -> None:
        """`channels` of edges; with the four prior maps beside them, or without."""
        super().__init__()
        self.classes, self.with_prior = classes, with_prior
        self.unet = UNet(channels + 1 + 4 * with_prior, classes, width)

    def forward(self, seen: Tensor, brain: Tensor, prior: Tensor) -> Tensor:
        """(B, K, R, A) from edges (B, channels, R, A), mask (B, 1, R, A) and prior (B, 4, R, A)."""
        maps = [seen, brain, prior] if self.with_prior else [seen, brain]
        logits: Tensor = self.unet(torch.cat(maps, 1))
        if self.with_prior:
            logits = logits + class_log_prior(prior, self.classes)
        return logits


def spoil_labels(labels: Tensor, brain: Tensor, classes: int, spacing_mm: float) -> Tensor:
    """Label maps (B, R, A) with up to three wrong regions of radius 3 to 25 mm each; a fifth are left alone.

    A region takes a random class, or the anatomy that another slice of the batch has there, or the class
    of its centre throughout (what was in it is gone).
    """
    spoilt, others = labels, labels.roll(1, 0)
    how_many = torch.randint(0, BLOBS + 1, (len(labels), 1, 1), device=labels.device)
    how_many = how_many * (torch.rand(len(labels), 1, 1, device=labels.device) >= UNSPOILT)
    for number in range(BLOBS):
        region, centre = blobs(brain, 3, 25, spacing_mm)
        kind = torch.randint(0, 3, (len(labels), 1, 1), device=labels.device)
        random = torch.randint(1, classes, (len(labels), 1, 1), device=labels.device)
        own = labels.flatten(1).gather(1, centre[:, None])[..., None]
        content = torch.where(kind == 0, random, torch.where(kind == 1, others, own))
        here = region[:, 0] & (number < how_many) & (content > 0)
        spoilt = torch.where(here, content, spoilt)
    return spoilt


def drop_edges(seen: Tensor, brain: Tensor, spacing_mm: float) -> Tensor:
    """Edges (B, C, R, A) without those in one blob of radius 2 to 6 pixels, and without 5 % of the others."""
    region, _ = blobs(brain, 2 * spacing_mm, 6 * spacing_mm, spacing_mm)
    lost = region | (torch.rand_like(seen[:, :1]) < FLIPPED)
    kept: Tensor = seen * ~lost
    return kept


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - mean over classes 1 to K - 1 of the soft Dice, pooled over the batch: (B, K, R, A), (B, R, A)."""
    wanted = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    probability = functional.softmax(logits, 1)
    overlap = (probability * wanted).sum((0, 2, 3))
    total = (probability + wanted).sum((0, 2, 3))
    loss: Tensor = 1 - ((2 * overlap + 1) / (total + 1))[1:].mean()
    return loss
