"""Conditioned diffusion of axial slices (Behrendt et al. 2025). See card.toml."""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from monai.networks.nets.resnet import ResNet, ResNetBottleneck
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional

from uadbench.learning import diffusion
from uadbench.learning.training import Batch
from uadbench.methods import fit_option, score_option
from uadbench.methods.cddpm.intensities import change_intensities
from uadbench.system.ranges import Level, Steps, Width

CONDITIONS = ("encoder", "histogram", "zeros")
BINS = 32  # of the histogram

Stages = Annotated[
    str, Meta(pattern=r"\A[1-9]\d?(-[1-9]\d?){3}\Z", description="four numbers joined by -, such as 3-4-6-3")
]


class Histogram(nn.Module):
    """A linear map of a slice's histogram, which knows its intensities and nothing of their places."""

    def __init__(self, length: int) -> None:
        """To a code of so many numbers."""
        super().__init__()
        self.linear = nn.Linear(BINS, length)

    def forward(self, image: Tensor) -> Tensor:
        """Codes (B, length) of slices (B, 1, R, A) in [-1, 1]."""
        code: Tensor = self.linear(histogram(image))
        return code


class Zeros(nn.Module):
    """A code that says nothing: the network without a condition, for comparison."""

    def __init__(self, length: int) -> None:
        """Of so many numbers."""
        super().__init__()
        self.length = length

    def forward(self, image: Tensor) -> Tensor:
        """Codes (B, length)."""
        return image.new_zeros(len(image), self.length)


class ConditionedDenoiser(diffusion.Denoiser):
    """A `Denoiser` that also sees a code of the slice without noise."""

    def __init__(self, encoder: nn.Module, *options: Any, **more: Any) -> None:
        """`encoder` gives codes of 4 x width numbers, as the embedding of time has; the rest is its own."""
        super().__init__(*options, **more)
        self.encoder = encoder

    def forward(self, both: Tensor, level: Tensor) -> Tensor:
        """What the network says of slices at noise levels (B,): (B, 1, R, A).

        `both` (B, 2, R, A) has them with noise and without; the code of the latter is added to the embedding
        of time.
        """
        noisy, code = both[:, :1], self.encoder(both[:, 1:])
        with self.network.time_embed.register_forward_hook(lambda _layers, _given, time: time + code):
            return super().forward(noisy, level)


@dataclass
class CDDPM(diffusion.DiffusionReconstruction):
    """Learns to see healthy slices through noise, told by a short code what the slice is like.

    The code is too short to draw a lesion with, but can say how bright the scan is and where in the brain.
    """

    alpha_bar = diffusion.cosine()

    condition: str = fit_option(
        "encoder",
        "what the network is told: the code of an `encoder` that is trained with it (Behrendt 2025), of the "
        "`histogram` of 32 bins, or `zeros`",
        CONDITIONS,
    )
    encoder_width: Width = fit_option(64, "channels of the encoder's first stage; ResNet-50")
    encoder_blocks: Stages = fit_option("3-4-6-3", "blocks of the encoder's stages; ResNet-50")
    augment: bool = fit_option(True, "train on changed intensities; Behrendt 2025's code")
    steps: Steps = fit_option(13_200, "training steps; Behrendt 2025's code: 1,200 epochs of 11 batches")
    start: Level = score_option(499, "middle noise level of the test; Behrendt 2025: 500 of 1 ... 1000")
    spread: Annotated[int, Meta(ge=0, le=499)] = score_option(
        250,
        "levels from the middle one to the two others that are tested; Behrendt 2025; 0: only the middle one",
    )

    def check(self) -> None:
        """Refuse levels beyond 0 ... 999."""
        super().check()
        if not self.spread <= self.start < diffusion.LEVELS - self.spread:
            raise ValueError("start - spread and start + spread have to be levels of 0 ... 999")

    def build(self) -> ConditionedDenoiser:
        """Encoder and denoiser with fresh weights."""
        return ConditionedDenoiser(
            self._build_encoder(4 * self.width),
            self.width,
            self.multiples,
            self.res_blocks,
            self.attention,
            self.head_channels,
            self.groups,
            self.fold,
            resblock_updown=self.resample_blocks,
        )

    def _build_encoder(self, length: int) -> nn.Module:
        if self.condition == "histogram":
            return Histogram(length)
        if self.condition == "zeros":
            return Zeros(length)
        encoder: nn.Module = ResNet(
            ResNetBottleneck,
            [int(blocks) for blocks in self.encoder_blocks.split("-")],
            [self.encoder_width * 2**stage for stage in range(4)],
            spatial_dims=2,
            n_input_channels=1,
            conv1_t_stride=2,
            num_classes=length,
            bias_downsample=False,
        )
        return encoder

    def training_loss(self, network: Any, batch: Batch) -> Tensor:
        """L1 between the slice and what the network, told of it, sees at a random level, over all pixels."""
        changed = self.augment and network.training
        image = 2 * (change_intensities(batch.image, batch.brain) if changed else batch.image) - 1
        level = diffusion.random_levels(len(image), str(image.device))
        noisy, _ = self.add_noise(image, level)
        return functional.l1_loss(network(torch.cat([noisy, image], 1), level), image)

    def restore(self, image: Tensor) -> Tensor:
        """Mean of what the network sees in slices (N, 1, R, A) at the levels, through a noise for each."""
        levels = sorted({self.start - self.spread, self.start, self.start + self.spread})
        return torch.stack([self.clean(image, level) for level in levels]).mean(0)

    def clean(self, image: Tensor, level: int) -> Tensor:
        """What the network sees in slices (N, 1, R, A) that are noised to a level, held to [-1, 1]."""
        noisy, _ = self.add_noise(image, level)
        return self.ask(torch.cat([noisy, image], 1), level).clamp(-1, 1)


def histogram(image: Tensor) -> Tensor:
    """Shares (B, 32) of the pixels of slices (B, 1, R, A) in [-1, 1] in equal bins.

    Pixels of -1, which are those outside the brain, are not counted.
    """
    inside = image > -1
    number = ((image + 1) / 2 * BINS).long().clamp(max=BINS - 1)
    counts = functional.one_hot(number, BINS).mul(inside[..., None]).flatten(1, -2).sum(1)
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


ENTRY = CDDPM
