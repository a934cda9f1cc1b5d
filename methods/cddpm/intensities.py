"""Intensities: what cDDPM changes of healthy slices in training, each kind by chance (Behrendt 2025's code).

How much is changed is what TorchIO, which that code uses, documents as its defaults.
"""

import torch
from torch import Tensor

from uadbench.learning.augment import blurred, chosen, uniform

GAMMA, BIAS, BLUR, GHOSTING = 0.5, 0.25, 0.25, 0.5  # the chance of each
LOG_GAMMA = (-0.3, 0.3)
COEFFICIENTS, ORDER = (-0.5, 0.5), 3  # of the polynomial that is a bias field's logarithm
GHOSTS, STRENGTHS = (4, 11), (0.5, 1.0)  # how many, below 11; how much their lines are weakened
SPARED = 0.02  # of the spectrum, in its middle


def change_intensities(image: Tensor, brain: Tensor) -> Tensor:
    """Slices (B, 1, R, A) in [0, 1], some of them with another contrast, bias, blur or ghosts.

    They stay in [0, 1], and 0 outside the brain.
    """
    image = torch.where(chosen(GAMMA, image), image ** uniform(*LOG_GAMMA, image).exp(), image)
    image = torch.where(chosen(BIAS, image), image * bias_field(image), image)
    image = torch.where(chosen(BLUR, image), blurred(image), image)
    image = torch.where(chosen(GHOSTING, image), with_ghosts(image), image)
    return image.clamp(0, 1) * brain


def bias_field(image: Tensor) -> Tensor:
    """exp of a polynomial of order 3 in the place, from -1 to 1 along both axes: (B, 1, R, A)."""
    row, column = (torch.linspace(-1, 1, edge, device=image.device) for edge in image.shape[-2:])
    powers = [(i, j) for i in range(ORDER + 1) for j in range(ORDER + 1 - i)]
    terms = [uniform(*COEFFICIENTS, image) * row[:, None] ** i * column**j for i, j in powers]
    return torch.stack(terms).sum(0).exp()


def with_ghosts(image: Tensor) -> Tensor:
    """Slices (B, 1, R, A) with 4 to 10 ghosts, along rows or columns.

    They come from weakening every so many lines of the spectrum, but for those in its middle.
    """
    number = torch.randint(*GHOSTS, (len(image), 1, 1, 1), device=image.device)
    kept = 1 - uniform(*STRENGTHS, image)
    rows, columns = (torch.fft.fftfreq(edge, device=image.device) for edge in image.shape[-2:])
    along_rows = chosen(0.5, image)
    frequency = torch.where(along_rows, rows[:, None], columns)  # (B, 1, R, A), cycles per pixel
    edge = torch.where(along_rows, len(rows), len(columns))
    line = (frequency * edge).round()
    weakened = (line % number == 0) & (frequency.abs() > SPARED / 2)
    spectrum = torch.fft.fft2(image) * torch.where(weakened, kept, 1.0)
    ghosted: Tensor = torch.fft.ifft2(spectrum).real
    return ghosted
