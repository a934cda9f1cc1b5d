"""Conditioned diffusion of axial slices (Behrendt et al. 2025). See card.toml."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor
from torch.nn import functional

from uadbench.learning import diffusion
from uadbench.learning.training import Batch
from uadbench.methods import fit_option, score_option
from uadbench.methods.cddpm.intensities import change_intensities
from uadbench.methods.cddpm.network import CONDITIONS, ConditionedDenoiser, make_encoder
from uadbench.system.ranges import Level, Steps, Width

Stages = Annotated[
    str, Meta(pattern=r"\A[1-9]\d?(-[1-9]\d?){3}\Z", description="four numbers joined by -, such as 3-4-6-3")
]


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
        blocks = [int(count) for count in self.encoder_blocks.split("-")]
        encoder = make_encoder(self.condition, 4 * self.width, self.encoder_width, blocks)
        return self.make_denoiser(partial(ConditionedDenoiser, encoder))

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


ENTRY = CDDPM
