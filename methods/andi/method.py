"""ANDi: how far diffusion's way back leads away from the slice, over many noise levels (Frotscher 2023)."""

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from uadbench.data.volumes import Volume
from uadbench.learning import diffusion, scores, training
from uadbench.learning.device import send
from uadbench.learning.noise import Noise
from uadbench.learning.training import Batch
from uadbench.methods import Score, fit_option, score_option
from uadbench.system.ranges import Count, Decay, Depth, Every, Level, Multiples, Rate, Size, Steps, Width

LOG_SNR = 15.0  # of the first level, less it of the last, before the shift
SHIFT = 2 * math.log(56 / 224)  # of all levels, for the size of the slices
PYRAMID = 10  # most resolutions of noise, each of .9 times the weight of the one before
DISCOUNT = 0.9
LEAST = 1e-12  # added to a squared difference before its logarithm


def shifted_cosine() -> Tensor:
    """alpha_bar (1000,) of logSNR = -2 log tan(a + t (b - a)) + 2 log(56 / 224), t from 0 to 1."""
    t = torch.linspace(0, 1, diffusion.LEVELS, dtype=torch.float64)
    first, last = (math.atan(math.exp(-0.5 * end)) for end in (LOG_SNR, -LOG_SNR))
    log_snr = -2 * (first + t * (last - first)).tan().log() + SHIFT
    return log_snr.sigmoid().float()


def pyramid_noise(count: int, rows: int, columns: int, device: str = "cpu") -> Tensor:
    """Normal noise of many resolutions, of deviation 1 in each slice: (count, 1, R, A).

    N(0, 1) + sum over i < 10 of .9^i times such noise of size / r^i enlarged, r uniform in [2, 4] for each i.
    """
    total = torch.randn(count, 1, rows, columns, device=device)
    for step in range(PYRAMID):
        ratio = (2 + 2 * float(torch.rand(()))) ** step
        size = max(1, int(rows / ratio)), max(1, int(columns / ratio))
        coarse = torch.randn(count, 1, *size, device=device)
        total = total + DISCOUNT**step * functional.interpolate(coarse, (rows, columns), mode="bilinear")
    return total / total.std((1, 2, 3), keepdim=True)


@dataclass
class ANDi(diffusion.DiffusionReconstruction):
    """Learns to take coarse and fine noise out of slices; where little noise moves it far is anomalous."""

    alpha_bar = shifted_cosine()

    grid: str = fit_option("g192", "model grid; UAD-IMAG's code: 224 x 224 slices")
    noise: str = fit_option(
        "pyramid",
        "of training; the test's is Gaussian; Frotscher 2023",
        ("pyramid", "gaussian"),
    )
    width: Width = fit_option(32, "channels of the first level; UAD-IMAG's code")
    multiples: Multiples = fit_option("1-1-1-2-3-4", "channels of each level by width; UAD-IMAG's code")
    res_blocks: Depth = fit_option(2, "residual blocks of a level; UAD-IMAG's code: 1 to 4 by level")
    attention: Count = fit_option(
        2, "how many of the lowest levels have attention; UAD-IMAG's code: at 14 and 7 pixels"
    )
    head_channels: Size = fit_option(32, "channels of an attention head; this suite's choice")
    resample_blocks: bool = fit_option(
        False, "halve and double the resolution in residual blocks; this suite's choice"
    )
    steps: Steps = fit_option(50_000, "training steps; UAD-IMAG's code")
    batch: Size = fit_option(128, "slices per step; UAD-IMAG's code")
    learning_rate: Rate = fit_option(1e-4, "of Adam; UAD-IMAG's code")
    ema: Decay = fit_option(0.9999, "decay of the averaged weights; UAD-IMAG's code; 0: none")
    validate_every: Every = fit_option(1000, "steps between validations; this suite's choice")
    start: Level = score_option(75, "noise level of the pseudo-healthy slice; this suite's choice")
    first: Level = score_option(125, "largest noise level of the score; UAD-IMAG's code")
    last: Level = score_option(26, "smallest noise level of the score; UAD-IMAG's code")
    evaluations: Annotated[int, Meta(ge=1, le=diffusion.LEVELS)] = score_option(
        100, "noise levels of the score, evenly spaced; UAD-IMAG's code: each of 125 to 26"
    )
    score_kind: str = score_option(
        "geometric",
        "`geometric`: mean over the levels of the logarithm of the squared residual, and its exponential "
        "(Frotscher 2023); else a residual to the pseudo-healthy slice, shared by all tables",
        ("geometric", *scores.KINDS),
    )

    def make_noise(self) -> Noise:
        """That of the test, Gaussian."""
        return Noise("gaussian", *self.slice_shape())

    def training_loss(self, network: Any, batch: Batch) -> Tensor:
        """Squared error of the noise that the network's velocity stands for, at a random level."""
        image = 2 * batch.image - 1
        level = diffusion.random_levels(len(image), str(image.device))
        if self.noise == "pyramid":
            noise = pyramid_noise(len(image), image.shape[-2], image.shape[-1], str(image.device))
        else:
            noise = torch.randn_like(image)
        share = send(self.alpha_bar, image.device)[level].view(-1, 1, 1, 1)
        noisy = diffusion.noised(image, noise, share)
        found = share.sqrt() * network(noisy, level) + (1 - share).sqrt() * noisy
        return functional.mse_loss(found, noise)

    def clean(self, noisy: Tensor, level: int) -> Tensor:
        """The image (N, 1, R, A) that the network's velocity stands for, held to [-1, 1]."""
        share = self.alpha_bar[level]
        velocity = self.ask(noisy, level)
        return (share.sqrt() * noisy - (1 - share).sqrt() * velocity).clamp(-1, 1)

    def restore(self, image: Tensor) -> Tensor:
        """What the network sees in slices (N, 1, R, A) at the level `start`."""
        return self.clean(self.add_noise(image, self.start)[0], self.start)

    def levels(self) -> list[int]:
        """Noise levels of the score, from the largest."""
        return [round(level) for level in np.linspace(self.first, self.last, self.evaluations)]

    def geometric_mean(self, image: Tensor) -> Tensor:
        """exp(mean over the levels of log (x - x0_t)^2) of slices (N, 1, R, A) in [-1, 1].

        The paper has the posterior means of x0_t and of x for x0_t and x: their difference is that of these
        times a number that is the same for all voxels of a level, and so is the factor of the whole.
        """
        total = torch.zeros_like(image)
        for level in self.levels():
            noisy, _ = self.add_noise(image, level)
            total += ((image - self.clean(noisy, level)) ** 2 + LEAST).log()
        return (total / self.evaluations).exp()

    def score(self, volume: Volume) -> Score:
        """The geometric mean, or one of the shared residuals to the pseudo-healthy slices."""
        if self.score_kind != "geometric":
            return super().score(volume)
        healthy = self.reconstruct(volume)
        found: NDArray[np.float32] = training.reconstruct(
            lambda image: self.geometric_mean(2 * image - 1), volume, self.device_, volume.brain.shape[-1]
        )
        return Score(found.mean(0, dtype=np.float32) * volume.brain, healthy)


ENTRY = ANDi
