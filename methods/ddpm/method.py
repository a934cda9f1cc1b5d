"""Denoising diffusion of axial slices, one step or a partial chain (Behrendt et al. 2023). See card.toml."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional

from uadbench.learning import diffusion
from uadbench.learning.noise import NOISES
from uadbench.learning.training import Batch
from uadbench.methods import fit_option, score_option
from uadbench.system.ranges import Count, Level, Share


@dataclass
class DDPM(diffusion.ChainReconstruction):
    """Learns to see healthy slices through noise; what it makes of a noised slice has no anomaly.

    One evaluation of the network is the one-step reconstruction of Behrendt et al.: x' is the network's
    answer to the slice at level `start`. More are a DDIM chain from there to the clean image.
    """

    alpha_bar = diffusion.cosine()

    noise: str = fit_option(
        "gaussian",
        "kind of noise; Behrendt's code has Gaussian and simplex; simplex_unit: of variance 1 as Gaussian",
        NOISES,
    )
    start: Level = score_option(
        481, "noise level to start from, of 0 ... 999; 481: as noisy as AnoDDPM's 250"
    )
    evaluations: Count = score_option(
        50, "of the network, from `start` in equal steps; 0: at every level, 1: one step; DDIM: 50"
    )
    eta: Share = score_option(0.0, "noise put back in the chain; 0: DDIM, 1: DDPM; Song et al. 2021, eq. 16")

    def training_loss(self, network: Any, batch: Batch) -> Tensor:
        """L1 between the slice and what the network sees in it at a random level, over all pixels."""
        image = 2 * batch.image - 1
        level = diffusion.random_levels(len(image), str(image.device))
        noisy, _ = self.add_noise(image, level)
        return functional.l1_loss(network(noisy, level), image)

    def clean(self, noisy: Tensor, level: int) -> Tensor:
        """The network says what the image is."""
        return self.ask(noisy, level)


ENTRY = DDPM
