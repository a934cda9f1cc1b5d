"""Latent diffusion: finds unlikely latents and inpaints them (Pinaya et al. 2022). See card.toml."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor
from torch.nn import functional

from uadbench.data.volumes import Volumes
from uadbench.learning import diffusion, training
from uadbench.learning.autoencoder_kl import LatentNetwork, latent_brain
from uadbench.learning.device import send
from uadbench.learning.latent import LatentMethod, Packed
from uadbench.methods import Context, Stochastic, fit_option, score_option
from uadbench.system.errors import UserError
from uadbench.system.ranges import Level, Percentile, Share, Size

Evaluations = Annotated[int, Meta(ge=1, le=diffusion.LEVELS)]


def divergence(noise: Tensor, found: Tensor, alpha_bar: Tensor, level: int) -> Tensor:
    """KL of the step back that the network takes from the true one, mean over channels: (N, 1, r, a).

    Both are Gaussians of the variance beta (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]); their means differ by
    the noise found (N, C, r, a) and that which was added, times beta / sqrt(alpha (1 - alpha_bar[t]))
    (Ho et al. 2020, eq. 7 to 12).
    """
    now, before = float(alpha_bar[level]), float(alpha_bar[level - 1])
    alpha = now / before
    weight = (1 - alpha) / (2 * alpha * (1 - before))
    return weight * (noise - found).square().mean(1, keepdim=True)


@dataclass
class LDM(Stochastic, LatentMethod):
    """Learns to see noise in healthy latents; latents in which that fails are resampled."""

    alpha_bar = diffusion.linear()

    percentile: Percentile = fit_option(
        97.5, "of the divergences of healthy validation latents: what is above is resampled; Pinaya 2022"
    )
    first: Level = fit_option(750, "largest noise level of the divergence; this suite's choice")
    last: Annotated[int, Meta(ge=1, le=999)] = fit_option(
        250, "smallest noise level of the divergence; this suite's choice"
    )
    levels: Evaluations = fit_option(50, "levels of the divergence, evenly spaced; this suite's choice")
    start: Level = score_option(999, "noise level from which latents are resampled; 999: from noise alone")
    evaluations: Size = score_option(100, "of the network from there, in equal steps; this suite's choice")
    eta: Share = score_option(1.0, "noise put back in the chain; 0: DDIM, 1: DDPM; this suite's choice")

    def build_latent(self) -> LatentNetwork:
        """The network with fresh weights; it keeps the threshold that is found with it."""
        network = super().build_latent()
        network.register_buffer("threshold", torch.zeros(()))
        return network

    def latent_loss(self, network: Any, latent: Tensor, brain: Tensor) -> Tensor:
        """Squared error of the noise that the network sees in latents at a random level (Ho et al. 2020)."""
        level = diffusion.random_levels(len(latent), str(latent.device))
        noise = torch.randn_like(latent)
        share = send(self.alpha_bar, latent.device)[level].view(-1, 1, 1, 1)
        return functional.mse_loss(network(diffusion.noised(latent, noise, share), level), noise)

    def fit_latent(self, slices: training.Slices, healthy: Packed, context: Context) -> None:
        """Train the network, then find the threshold of what is resampled."""
        if isinstance(healthy, Volumes):
            raise UserError("ldm finds its threshold on healthy validation volumes: it needs some.")
        super().fit_latent(slices, healthy, context)
        self.network_.eval()
        self.network_["latent"].threshold.copy_(self.find_threshold(healthy))

    @torch.no_grad()
    def find_threshold(self, healthy: training.Slices) -> Tensor:
        """The percentile of the divergences in the brains of a spread of healthy slices."""
        rows, found = healthy.spread(training.VALIDATION_SLICES), []
        with training.repeatable(tf32=False):
            for start in range(0, len(rows), self.batch):
                batch = healthy.take(rows[start : start + self.batch])
                brain = latent_brain(batch.brain, self.network_["autoencoder"].factor)
                map_ = self.divergence(self.encode(2 * batch.image - 1))
                found.append(torch.where(brain, map_, torch.nan).flatten())
        return torch.cat(found).nanquantile(self.percentile / 100)

    def divergence(self, latent: Tensor) -> Tensor:
        """Mean over the levels of the network's divergence on latents (N, C, r, a): (N, 1, r, a)."""
        total = torch.zeros_like(latent[:, :1])
        for level in torch.linspace(self.first, self.last, self.levels).round().int().tolist():
            noise = torch.randn_like(latent)
            found = self.ask(diffusion.noised(latent, noise, self.alpha_bar[level]), level)
            total += divergence(noise, found, self.alpha_bar, level)
        return total / self.levels

    def heal(self, latent: Tensor) -> Tensor:
        """Latents whose divergence is above the threshold resampled, given the others."""
        mask = self.divergence(latent) > self.network_["latent"].threshold
        return torch.where(mask, self.inpaint(latent, mask), latent)

    def inpaint(self, latent: Tensor, mask: Tensor) -> Tensor:
        """The end of a chain in which latents outside the mask are, at every level, the true ones noised."""
        through = diffusion.levels(self.start, self.evaluations)
        noisy = diffusion.noised(latent, torch.randn_like(latent), self.alpha_bar[self.start])
        for level, following in pairwise(through):
            share, share_next = (float(self.alpha_bar[k]) if k >= 0 else 1.0 for k in (level, following))
            known = diffusion.noised(latent, torch.randn_like(latent), share)
            noisy = torch.where(mask, noisy, known)
            clean = diffusion.denoised(noisy, self.ask(noisy, level), share)
            noise = torch.randn_like(latent) if following >= 0 else None
            noisy = diffusion.step_back(noisy, clean, share, share_next, self.eta, noise)
        return noisy

    def own_score(self, latent: Tensor, healed: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Residual of the decoded slices where latents were resampled, with soft edges; 0 elsewhere."""
        drawn = (healed != latent).any(1, keepdim=True).float()
        factor, (rows, columns) = self.network_["autoencoder"].factor, before.shape[-2:]
        mask = functional.interpolate(drawn, scale_factor=factor, mode="bilinear")[..., :rows, :columns]
        return (after - before).abs() * mask


ENTRY = LDM
