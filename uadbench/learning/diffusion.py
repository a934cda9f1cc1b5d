"""Diffusion: noise levels, noise, a denoising network and the way back, shared by the diffusion methods.

Images are in [-1, 1]. A level t of 0 ... 999 keeps a share `alpha_bar[t]` of the image's variance: Ho et al.
2020, eq. 4. The closed forms are written out here because MONAI's schedulers (1.6.1) take wrong levels where
a chain leaves some out, cannot start in mid-chain, and may round the levels to half precision for good.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from monai.networks.nets import DiffusionModelUNet
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data import space
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import training
from uadbench.learning.device import INNER_PRECISIONS, inner, send
from uadbench.learning.noise import NOISES, Noise
from uadbench.learning.reconstruction import LossMethod, NetworkReconstruction
from uadbench.methods import Context, State, Stochastic, fit_option, score_option
from uadbench.system.ranges import (
    Count,
    Depth,
    Every,
    Length,
    Level,
    Multiples,
    Rate,
    Share,
    Size,
    Steps,
    Width,
)

LEVELS = 1000
Made = TypeVar("Made", bound=nn.Module)


def linear() -> Tensor:
    """alpha_bar (1000,) of variances that rise linearly from 1e-4 to .02 (Ho et al. 2020, section 4)."""
    beta = torch.linspace(1e-4, 0.02, LEVELS, dtype=torch.float64)
    return (1 - beta).cumprod(0).float()


def cosine() -> Tensor:
    """alpha_bar (1000,) that falls like a squared cosine (Nichol & Dhariwal 2021, eq. 17; s = .008)."""
    angle = (torch.arange(LEVELS + 1, dtype=torch.float64) / LEVELS + 0.008) / 1.008 * torch.pi / 2
    share = angle.cos() ** 2 / angle[0].cos() ** 2
    beta = (1 - share[1:] / share[:-1]).clamp(max=0.999)
    return (1 - beta).cumprod(0).float()


class Denoiser(nn.Module):
    """MONAI's diffusion U-Net for slices of any shape."""

    def __init__(
        self,
        width: int,
        multiples: str,
        res_blocks: int,
        attention: int,
        head_channels: int,
        groups: int,
        fold: int = 1,
        **more: Any,
    ) -> None:
        """`multiples` of the width, one for each level, such as "1-2-2"; attention at the lowest levels.

        MONAI's net also has attention at its very bottom, whatever `attention` says. With `fold` above 1,
        blocks of fold x fold pixels are the channels of one: a quarter of the work at 2. `more` are further
        options of MONAI's net.
        """
        super().__init__()
        channels = [width * int(multiple) for multiple in multiples.split("-")]
        self.fold, self.multiple = fold, fold * 2 ** (len(channels) - 1)
        self.network = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=fold**2,
            out_channels=fold**2,
            num_res_blocks=res_blocks,
            channels=channels,
            attention_levels=[level >= len(channels) - attention for level in range(len(channels))],
            num_head_channels=head_channels,
            norm_num_groups=groups,
            **more,
        )

    def forward(self, noisy: Tensor, level: Tensor) -> Tensor:
        """What the network says of slices (B, 1, R, A) at noise levels (B,): (B, 1, R, A)."""
        rows, columns = noisy.shape[-2:]
        pad = (0, -columns % self.multiple, 0, -rows % self.multiple)
        padded = functional.pad(noisy, pad, mode="replicate")
        answer = self.network(functional.pixel_unshuffle(padded, self.fold), level)
        return functional.pixel_shuffle(answer, self.fold)[..., :rows, :columns].float()


def noised(image: Tensor, noise: Tensor, alpha_bar: Tensor | float) -> Tensor:
    """Images (B, 1, R, A) at noise levels of shares (B, 1, 1, 1) (Ho et al. 2020, eq. 4)."""
    share = torch.as_tensor(alpha_bar, dtype=torch.float32)
    return share.sqrt() * image + (1 - share).sqrt() * noise


def denoised(noisy: Tensor, epsilon: Tensor, alpha_bar: Tensor | float) -> Tensor:
    """The image in `noised`, if `epsilon` is the noise in it."""
    share = torch.as_tensor(alpha_bar, dtype=torch.float32)
    return (noisy - (1 - share).sqrt() * epsilon) / share.sqrt()


def random_levels(count: int, device: str, below: int = LEVELS) -> Tensor:
    """Levels (count,) for a training step, uniformly."""
    return torch.randint(below, (count,), device=device)


def levels(start: int, evaluations: int) -> list[int]:
    """Levels of a chain from `start` in about equal steps, to -1, the clean image; 0: every level."""
    count = min(evaluations, start + 1) or start + 1
    return [start - round(step * (start + 1) / count) for step in range(count)] + [-1]


def step_back(
    noisy: Tensor, clean: Tensor, share: float, share_next: float, eta: float, noise: Tensor | None
) -> Tensor:
    """From alpha_bar `share` to the larger `share_next`, given what the network thinks the image is.

    Song et al. 2021 (DDIM), eq. 12 and 16: `eta` 0 draws nothing; 1 is, for neighbouring levels, the step of
    Ho et al. 2020 (DDPM), eq. 6 and 7. No level may be left out there, here any.
    """
    deviation = eta * math.sqrt((1 - share_next) / (1 - share) * (1 - share / share_next))
    epsilon = (noisy - math.sqrt(share) * clean) / math.sqrt(1 - share)
    kept = math.sqrt(max(1 - share_next - deviation**2, 0.0))
    result = math.sqrt(share_next) * clean + kept * epsilon
    return result if noise is None else result + deviation * noise


def run_chain(
    restore: Callable[[Tensor, int], Tensor],
    noisy: Tensor,
    alpha_bar: Tensor,
    through: Sequence[int],
    eta: float,
    draw: Callable[[], Tensor],
) -> Tensor:
    """Images (N, 1, R, A) in [-1, 1] from noised ones by way of `levels`.

    `restore(noisy, level)` says what the images are; it is held to [-1, 1]. `draw` gives the noise that goes
    back in where `eta` is not 0.
    """
    shares = [float(alpha_bar[level]) if level >= 0 else 1.0 for level in through]
    for (level, following), (share, share_next) in zip(pairwise(through), pairwise(shares), strict=True):
        clean = restore(noisy, level).clamp(-1, 1)
        noise = draw() if eta and following >= 0 else None
        noisy = step_back(noisy, clean, share, share_next, eta, noise)
    return noisy


def in_batches(network: nn.Module, noisy: Tensor, level: int, batch: int) -> Tensor:
    """What the network says of slices (N, 1, R, A) at one level, `batch` of them at a time."""
    return torch.cat(
        [
            network(part, torch.full((len(part),), level, device=part.device))
            for part in torch.split(noisy, batch)
        ]
    )


@dataclass
class DiffusionReconstruction(Stochastic, LossMethod, NetworkReconstruction):
    """A method that noises slices and has a `Denoiser` take the noise out again; `fit` also sets `noise_`.

    The defaults are those of Behrendt et al. 2023.
    """

    alpha_bar: ClassVar[Tensor]  # of the method's schedule
    deviation: ClassVar[float | None] = None  # of simplex noise; None: that of Behrendt's, .58

    grid: str = fit_option("g96", "model grid; Behrendt 2023: 96 x 96 slices at 2 mm")
    noise: str = fit_option(
        "simplex", "kind of noise; Behrendt 2023: simplex; simplex_unit: of variance 1 as gaussian", NOISES
    )
    wavelength: Length = fit_option(64.0, "of simplex noise's first octave in pixels; AnoDDPM's code")
    bank: Count = fit_option(0, "cut simplex fields from so many, for CPUs; 0: each afresh, as published")
    width: Width = fit_option(128, "channels of the first level; Behrendt 2023's code")
    multiples: Multiples = fit_option("1-2-2", "channels of each level by width; Behrendt 2023's code")
    res_blocks: Depth = fit_option(3, "residual blocks of a level; Behrendt 2023's code")
    attention: Count = fit_option(
        0, "how many of the lowest levels have attention beside the bottom; Behrendt 2023's code: none"
    )
    head_channels: Size = fit_option(64, "channels of an attention head; Behrendt 2023's code")
    groups: Size = fit_option(32, "groups of group normalisation; MONAI's default")
    resample_blocks: bool = fit_option(
        True, "halve and double the resolution in residual blocks; Behrendt 2023's code"
    )
    fold: Depth = fit_option(
        1, "make blocks of so many pixels squared channels, for CPUs; 1: none, as published"
    )
    steps: Steps = fit_option(17_600, "training steps; Behrendt 2023's code: 1,600 epochs of 11 batches")
    batch: Size = fit_option(32, "slices per step; Behrendt 2023's code")
    learning_rate: Rate = fit_option(1e-4, "of Adam; Behrendt 2023's code")
    cosine: bool = fit_option(False, "let the learning rate fall to 0 along half a cosine; not in the paper")
    validate_every: Every = fit_option(220, "steps between validations; 20 epochs of Behrendt 2023's")
    start: Level = score_option(500, "noise level of the test, of 0 ... 999; Behrendt 2023")
    score_batch: Size = score_option(32, "slices that pass the network at once; does not change scores")
    inner_precision: str = score_option(
        "float32",
        "of the network's evaluations in scoring, on CUDA: tf32 or bf16 is faster; residuals stay float32",
        INNER_PRECISIONS,
    )

    def build(self) -> Denoiser:
        """The network with fresh weights."""
        return self.make_denoiser(Denoiser)

    def make_denoiser(self, kind: Callable[..., Made]) -> Made:
        """A `Denoiser`, or a kind of it that takes the same, as the options ask for it."""
        return kind(
            self.width,
            self.multiples,
            self.res_blocks,
            self.attention,
            self.head_channels,
            self.groups,
            self.fold,
            resblock_updown=self.resample_blocks,
        )

    def make_noise(self) -> Noise:
        """The noise that the options ask for."""
        return Noise(self.noise, *self.slice_shape(), self.wavelength, self.bank, self.deviation)

    def slice_shape(self) -> tuple[int, int]:
        """Rows and columns of an axial slice of the model grid."""
        return space.find_grid(self.grid).shape[:2]

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Learn to tell noise from healthy slices."""
        self.noise_ = self.make_noise()
        return super().fit(train, val, context)

    def load_state(self, state: State, context: Context) -> Self:
        """Build the network and give it the weights."""
        self.noise_ = self.make_noise()
        return super().load_state(state, context)

    def add_noise(self, image: Tensor, level: Tensor | int) -> tuple[Tensor, Tensor]:
        """Slices (B, 1, R, A) in [-1, 1] at levels (B,) or all at one, and the noise that was drawn."""
        noise = self.noise_.draw(len(image), str(image.device))
        return noised(image, noise, send(self.alpha_bar, image.device)[level].view(-1, 1, 1, 1)), noise

    def ask(self, noisy: Tensor, level: int) -> Tensor:
        """What the network says of slices at one level, `score_batch` of them at a time."""
        with inner(self.inner_precision, noisy.device):
            return in_batches(self.network_, noisy, level, self.score_batch)

    @abstractmethod
    def restore(self, image: Tensor) -> Tensor:
        """The pseudo-healthy version of slices (N, 1, R, A), both in [-1, 1]."""

    def reconstruct(self, volume: Volume) -> NDArray[np.float32]:
        """The restored axial slices (C, R, A, S) in [0, 1]; noise is drawn for all at once."""
        return training.reconstruct(
            lambda image: (self.restore(2 * image - 1) + 1) / 2, volume, self.device_, volume.brain.shape[-1]
        )


@dataclass
class ChainReconstruction(DiffusionReconstruction):
    """A `DiffusionReconstruction` by way of several levels; a chain of one is one pass of the network."""

    evaluations: Count = score_option(
        0, "of the network, from `start` in equal steps; 0: at every level, Wyatt 2022"
    )
    eta: Share = score_option(1.0, "noise put back in the chain; 1: DDPM, Wyatt 2022; 0: none, DDIM")

    @abstractmethod
    def clean(self, noisy: Tensor, level: int) -> Tensor:
        """The images that the network sees in slices (N, 1, R, A) at one level."""

    def restore(self, image: Tensor) -> Tensor:
        """What the chain makes of noised slices (N, 1, R, A)."""
        noisy, _ = self.add_noise(image, self.start)
        through = levels(self.start, self.evaluations)

        def draw() -> Tensor:
            return self.noise_.draw(len(image), str(image.device))

        return run_chain(self.clean, noisy, self.alpha_bar, through, self.eta, draw)
