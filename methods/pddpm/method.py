"""Patched diffusion of axial slices (Behrendt 2023), and two that build on it. See card.toml."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from uadbench.learning import diffusion
from uadbench.learning.augment import extent, uniform
from uadbench.learning.device import send
from uadbench.learning.similarity import ssim
from uadbench.learning.training import Batch
from uadbench.methods import fit_option

BOXES = 4  # quarters of the slice, two by two
RECTANGLES = 5  # most that are masked in a slice (Iqbal 2023)
LONGEST = 0.18  # edge of a rectangle, of the brain's rows (Iqbal 2023)
CUTS = (2, 11)  # half-width of the square of the spectrum that is kept or removed (Iqbal 2023)


@dataclass
class PatchedDDPM(diffusion.DiffusionReconstruction):
    """Learns what a noised quarter of a healthy slice looks like, given the other three without noise."""

    alpha_bar = diffusion.cosine()

    loss: str = fit_option(
        "l1", "l1: Behrendt 2023; fusion: .84 DSSIM + .16 L1, Pan 2024", choices=("l1", "fusion")
    )
    masking: str = fit_option(
        "none",
        "frequency: the network also undoes rectangles whose frequencies are cut, Iqbal 2023",
        choices=("none", "frequency"),
    )

    def training_loss(self, network: Any, batch: Batch) -> Tensor:
        """Error, within a random box of each slice, between the slice and what the network sees there."""
        image, device = 2 * batch.image - 1, str(batch.image.device)
        level = diffusion.random_levels(len(image), device)
        box = send(boxes(*image.shape[-2:])[torch.randint(BOXES, (len(image),))], device)
        shown = image
        if self.masking == "frequency":
            shown = 2 * mask_frequencies(batch.image, batch.brain) - 1
        noisy, _ = self.add_noise(shown, level)
        answer = network(torch.where(box, noisy, shown), level)
        return {"l1": box_loss, "fusion": fusion_loss}[self.loss](answer, image, box)

    def restore(self, image: Tensor) -> Tensor:
        """Slices (N, 1, R, A): each box noised and restored once, then put together."""
        noisy, _ = self.add_noise(image, self.start)
        stitched = torch.zeros_like(image)
        for box in send(boxes(*image.shape[-2:]), self.device_):
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


def fusion_loss(answer: Tensor, image: Tensor, box: Tensor) -> Tensor:
    """.84 DSSIM + .16 L1 of the slice with the answer in its box, images in [-1, 1] (Pan 2024).

    DSSIM is (1 - SSIM) / 2 with a Gaussian window of 5 pixels, held to [0, 1].
    """
    stitched = torch.where(box, answer, image)
    alike = ssim((stitched + 1) / 2, (image + 1) / 2, window=5, padded=True)
    dissimilar = ((1 - alike) / 2).clamp(0, 1).mean()
    loss: Tensor = 0.84 * dissimilar + 0.16 * (stitched - image).abs().mean()
    return loss


def mask_frequencies(image: Tensor, brain: Tensor) -> Tensor:
    """Slices (B, 1, R, A) with up to 5 rectangles of their brains without some frequencies (Iqbal 2023).

    In the rectangles is the same slice after a low-pass or a high-pass, one of both for each slice: the
    square in the middle of the spectrum is kept or removed. Rectangles have edges from half of to the whole
    `LONGEST`; their number, edges and places in the box around the brain are uniform.
    """
    (first_row, rows), (first_column, columns) = extent(brain, 3), extent(brain, 2)
    longest = (LONGEST * rows).floor().clamp(min=2)
    row = torch.arange(image.shape[-2], device=image.device)[:, None]
    column = torch.arange(image.shape[-1], device=image.device)
    number = torch.randint(RECTANGLES + 1, (len(image), 1, 1, 1), device=image.device)
    masked = torch.zeros_like(brain)
    for rectangle in range(RECTANGLES):
        height, width = (longest * uniform(0.5, 1, image) for _ in range(2))
        top = first_row + uniform(0, 1, image) * (rows - height).clamp(min=0)
        left = first_column + uniform(0, 1, image) * (columns - width).clamp(min=0)
        inside = (row >= top) & (row < top + height) & (column >= left) & (column < left + width)
        masked = masked | (inside & (number > rectangle))
    return torch.where(masked & brain, cut_spectrum(image), image)


def cut_spectrum(image: Tensor) -> Tensor:
    """Slices (B, 1, R, A) after a low-pass or a high-pass of random width, held to [0, 1]."""
    spectrum = torch.fft.fftshift(torch.fft.fft2(image), dim=(-2, -1))
    half = torch.randint(*CUTS, (len(image), 1, 1, 1), device=image.device)
    apart = [(torch.arange(edge, device=image.device) - edge // 2).abs() for edge in image.shape[-2:]]
    middle = (apart[0][:, None] < half) & (apart[1] < half)
    low = torch.rand(len(image), 1, 1, 1, device=image.device) < 0.5
    kept = torch.fft.ifftshift(spectrum * (middle == low), dim=(-2, -1))
    cut: Tensor = torch.fft.ifft2(kept).real.clamp(0, 1)
    return cut


ENTRY = PatchedDDPM
