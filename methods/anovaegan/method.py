"""AnoVAEGAN: a variational auto-encoder whose reconstructions a critic judges (Baur 2018). See card.toml."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from uadbench.data.volumes import Volumes
from uadbench.learning import training
from uadbench.learning.adversarial import Critic, Player, critic_loss, play, to_range
from uadbench.learning.autoencoder import (
    Baur,
    VariationalAutoencoder,
    draw_code,
    kl_divergence,
    summed_l1,
)
from uadbench.learning.device import fused
from uadbench.methods import Context, fit_option
from uadbench.system.ranges import Weight

BETAS = (0.0, 0.9)  # of Adam for the critic (Gulrajani 2017)


@dataclass
class AnoVAEGAN(Baur):
    """Learns to restore healthy slices such that a critic takes them for real; the rest is anomalous."""

    beta: Weight = fit_option(1.0, "weight of KL against L1, both summed; Kingma & Welling 2014")
    realism: Weight = fit_option(
        1.0, "weight of the critic's value against L1 summed over the pixels; this suite's choice"
    )
    penalty: Weight = fit_option(10.0, "weight of the critic's gradient penalty; Gulrajani 2017")

    def build(self) -> VariationalAutoencoder:
        """The auto-encoder with fresh weights; the critic is needed in training only."""
        return VariationalAutoencoder(*self.slice_shape(), self.width, self.latent_dim, self.dropout)

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Train critic and auto-encoder in turn; the auto-encoder of the best validated bound is kept."""
        network = self.network_ = self.build()
        self.device_ = context.device
        critic = Critic(*self.slice_shape(), self.width, 1)
        for module in (network, critic):
            module.to(context.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

        def judge(batch: training.Batch, step: int) -> Tensor:
            with torch.no_grad():
                restored, _ = self.restore(network, batch.image)
            return critic_loss(critic, to_range(batch.image), to_range(restored), self.penalty)

        def restore(batch: training.Batch, step: int) -> Tensor:
            restored, bound = self.restore(network, batch.image)
            return self.deceive(bound, critic(to_range(restored)), batch.image[0].numel())

        adam = fused(torch.optim.Adam, context.device)
        players = {
            "critic": Player(critic, adam(critic.parameters(), betas=BETAS), judge),
            "autoencoder": Player(network, adam(network.parameters()), restore),
        }
        schedule = training.Schedule.of(self)
        play(players, network, self.training_loss, train, val, context, schedule, "anovaegan")
        return self

    def restore(self, network: VariationalAutoencoder, image: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstructions (B, 1, R, A) of slices (B, 1, R, A), and their L1 + beta KL, both summed, (B,)."""
        mean, log_variance = network.encode(image)
        restored = network.decode(draw_code(mean, log_variance, network.training), *image.shape[-2:])
        return restored, summed_l1(image, restored) + self.beta * kl_divergence(mean, log_variance)

    def deceive(self, bound: Tensor, values: Tensor, pixels: int) -> Tensor:
        """Negative bounds (B,) minus the critic's values (B, 1) times their weight: mean, for one pixel."""
        return (bound.mean() - self.realism * values.mean()) / pixels

    def training_loss(self, network: VariationalAutoencoder, batch: training.Batch) -> Tensor:
        """What is validated: the negative bound for one pixel; a critic's value would tell nothing later."""
        return self.restore(network, batch.image)[1].mean() / batch.image[0].numel()


ENTRY = AnoVAEGAN
