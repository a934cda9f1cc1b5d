"""MAD-AD: finds noised latents and denoises these alone (Beizaee et al. 2025). See card.toml."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from uadbench.learning import diffusion
from uadbench.learning.autoencoder_kl import smoothed
from uadbench.learning.device import send
from uadbench.learning.latent import LatentMethod
from uadbench.methods import Stochastic, fit_option, score_option
from uadbench.system.ranges import Rate, Share, Smoothing

LEVELS = 10  # of noise
APART = diffusion.LEVELS // LEVELS  # these are every hundredth of the usual thousand
SIDES, CHANCES = (1, 2, 4, 8), (0.2, 0.3, 0.3, 0.2)  # of a block of latents, along each axis
LARGEST = 0.25  # difference of images in [-1, 1] beyond which the score does not rise


def shares() -> Tensor:
    """alpha_bar (10,) that falls like a squared cosine (Nichol & Dhariwal 2021, eq. 17)."""
    return diffusion.cosine()[APART - 1 :: APART]


def draw_blocks(brain: Tensor, largest: float) -> Tensor:
    """Blocks of random latents in brains (B, 1, r, a), bool: (B, 1, r, a), bool.

    Of the blocks that tile a slice a share is drawn, uniform in [0, largest] for each slice; height and
    width of a block are the same in all of them.
    """
    count, _, rows, columns = brain.shape
    height, width = np.random.choice(SIDES, 2, p=CHANCES)
    grid = (-(-rows // height), -(-columns // width))
    ranks = torch.rand(count, grid[0] * grid[1], device=brain.device).argsort(1).argsort(1)
    share = largest * torch.rand(count, 1, device=brain.device)
    chosen = (ranks < share * ranks.shape[1]).view(count, 1, *grid)
    blocks = chosen.repeat_interleave(int(height), 2).repeat_interleave(int(width), 3)
    return blocks[..., :rows, :columns] & brain


@dataclass
class MadAD(Stochastic, LatentMethod):
    """Learns to see which latents were noised, and what was there; anomalies are taken for noise."""

    learning_rate: Rate = fit_option(4e-5, "of AdamW in the latents; MAD-AD's code")
    masked: Share = fit_option(0.4, "largest share of the blocks that are noised; MAD-AD's code")
    eta: Share = score_option(0.5, "noise put back in the chain; 0: DDIM, 1: DDPM; MAD-AD's code")
    blur: Smoothing = score_option(5.0, "deviation of the score's Gaussian in pixels; MAD-AD's code")

    def outputs(self) -> int:
        """What the latents were, and how much each of them looks noised."""
        return self.latent_channels + 1

    def latent_loss(self, network: Any, latent: Tensor, brain: Tensor) -> Tensor:
        """Squared errors of the latents and of the mask, of latents noised in the mask alone."""
        level = diffusion.random_levels(len(latent), str(latent.device), below=LEVELS)
        mask = draw_blocks(brain, self.masked)
        share = send(shares(), latent.device)[level].view(-1, 1, 1, 1)
        noisy = diffusion.noised(latent, torch.randn_like(latent), share)
        answer = network(torch.where(mask, noisy, latent), told(level))
        found = functional.mse_loss(answer[:, :-1], latent)
        return found + functional.mse_loss(answer[:, -1:], mask.to(answer.dtype))

    def heal(self, latent: Tensor) -> Tensor:
        """The way back from the last level, begun without noise, of what looks noised at each of them."""
        kept = [float(share) for share in shares()]
        for level in range(LEVELS - 1, -1, -1):
            answer = self.ask(latent, told(level))
            following = kept[level - 1] if level else 1.0
            noise = torch.randn_like(latent) if level else None
            step = diffusion.step_back(latent, answer[:, :-1], kept[level], following, self.eta, noise)
            latent = torch.where(answer[:, -1:] > 0.5, step, latent)
        return latent

    def own_score(self, latent: Tensor, healed: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Residual of the decoded slices, held to [0, .25], by .25, and smoothed."""
        return smoothed((after - before).abs().clamp(max=LARGEST) / LARGEST, self.blur)


def told(level: Any) -> Any:
    """A level of 0 ... 9 as the network is told it, one of 0 ... 999."""
    return APART * (level + 1) - 1


ENTRY = MadAD
