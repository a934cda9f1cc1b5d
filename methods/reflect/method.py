"""REFLECT: a rectified flow from corrupted to healthy latents (Beizaee et al. 2025). See card.toml."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from uadbench.learning import training
from uadbench.learning.autoencoder_kl import smoothed
from uadbench.learning.latent import LatentMethod, Packed
from uadbench.methods import Context, fit_option, score_option
from uadbench.methods.reflect.shapes import corrupt
from uadbench.system.ranges import MoreSteps, Rate, Size, Smoothing

LARGEST = 0.4  # difference, of images in [-1, 1] and of latents, beyond which the score does not rise
TIMES = 999.0  # what the network is told for time 1
TEACHER_STEPS = 5  # of the flow whose ends the second flow learns


def point(start: Tensor, end: Tensor, time: Tensor) -> Tensor:
    """Where the straight path from start to end, (B, ...), is at times (B,) of [0, 1] (Liu et al. 2023)."""
    share = time.view(-1, *[1] * (start.ndim - 1))
    return (1 - share) * start + share * end


def flow_loss(network: Any, start: Tensor, end: Tensor) -> Tensor:
    """Squared error of the velocity end - start, at a random time of each path (Liu et al. 2023, eq. 1)."""
    time = torch.rand(len(start), device=start.device)
    return functional.mse_loss(network(point(start, end, time), TIMES * time), end - start)


def euler(velocity: Any, start: Tensor, steps: int) -> Tensor:
    """The end of a path along `velocity(latent, time)`, time from 0 to 1 in equal steps."""
    latent = start
    for step in range(steps):
        latent = latent + velocity(latent, step / steps) / steps
    return latent


@dataclass
class Reflect(LatentMethod):
    """Learns the way from latents that were spoilt here and there to healthy ones, as straight as can be."""

    reflow_steps: MoreSteps = fit_option(
        10_000,
        "training steps of a second flow, which takes the first one's ways in one step; this suite's choice",
    )
    reflow_learning_rate: Rate = fit_option(1e-5, "of AdamW in these steps; Beizaee 2025")
    evaluations: Size = score_option(1, "steps along the flow; Beizaee 2025: one")
    inference: str = score_option(
        "flow",
        "`decoding`: the latents stay as they are, for what the auto-encoder alone cannot show",
        ("flow", "decoding"),
    )
    blur: Smoothing = score_option(3.0, "deviation of the residual's Gaussian in pixels; REFLECT's code")
    latent_blur: Smoothing = score_option(1.0, "deviation of the latents' in latents; REFLECT's code")

    def latent_loss(self, network: Any, latent: Tensor, brain: Tensor) -> Tensor:
        """That of the flow from corrupted latents to these."""
        return flow_loss(network, corrupt(latent, brain), latent)

    def fit_latent(self, slices: training.Slices, healthy: Packed, context: Context) -> None:
        """Train the flow, then straighten it: the ends are now those of its own way (reflow)."""
        self.train_latent(self.latent_loss, slices, healthy, context, "flow")
        teacher = deepcopy(self.network_["latent"]).eval()

        def loss(network: Any, latent: Tensor, brain: Tensor) -> Tensor:
            start = corrupt(latent, brain)
            with torch.no_grad():
                end = euler(lambda at, time: teacher(at, told(at, time)), start, TEACHER_STEPS)
            return flow_loss(network, start, end)

        changes = {"steps": self.reflow_steps, "learning_rate": self.reflow_learning_rate}
        self.train_latent(loss, slices, healthy, context, "reflow", **changes)

    def heal(self, latent: Tensor) -> Tensor:
        """Where the flow ends that starts at the latents."""
        if self.inference == "decoding":
            return latent
        return euler(lambda at, time: self.ask(at, TIMES * time), latent, self.evaluations)

    def own_score(self, latent: Tensor, healed: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Mean of the residual of slices and of latents, each held to [0, .4], by .4, and smoothed."""
        image = (after - before).abs().clamp(max=LARGEST) / LARGEST
        coarse = (healed - latent).abs().mean(1, keepdim=True).clamp(max=LARGEST) / LARGEST
        factor = self.network_["autoencoder"].factor
        fine = functional.interpolate(
            smoothed(coarse, self.latent_blur), scale_factor=factor, mode="bilinear"
        )
        rows, columns = image.shape[-2:]
        return 0.5 * smoothed(image, self.blur) + 0.5 * fine[..., :rows, :columns]


def told(latent: Tensor, time: float) -> Tensor:
    """A time of [0, 1] as the network is told it, one for each of the latents (B, ...)."""
    return latent.new_full((len(latent),), TIMES * time)


ENTRY = Reflect
