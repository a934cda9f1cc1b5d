"""GANomaly: an auto-encoder whose reconstruction is coded again, against a discriminator (Akcay 2018).

See card.toml.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data import space
from uadbench.data.volumes import Volumes
from uadbench.learning import training
from uadbench.learning.adversarial import Critic, Generator, Player, play, to_range
from uadbench.learning.device import fused
from uadbench.learning.reconstruction import NetworkReconstruction
from uadbench.methods import Context, fit_option
from uadbench.system.ranges import Decay, Every, Rate, Size, Steps, Weight, Width

COLLAPSE = 1e-5  # loss of a discriminator that has won, and teaches the generator nothing (MedIAnomaly)


class Recoder(nn.Module):
    """Encoder, decoder and a second encoder, which codes what the decoder made of the first one's code."""

    def __init__(self, rows: int, columns: int, width: int, latent_dim: int) -> None:
        """For slices of rows x columns."""
        super().__init__()
        self.encoder = Critic(rows, columns, width, latent_dim)
        self.decoder = Generator(rows, columns, width, latent_dim)
        self.again = Critic(rows, columns, width, latent_dim)

    def recode(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Slices (B, 1, R', A'), restored, and both codes (B, Z), of padded slices in [-1, 1]."""
        code = self.encoder(image)
        restored = self.decoder(code)
        return restored, code, self.again(restored)

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructions (B, 1, R, A) of slices (B, 1, R, A), both in [0, 1]."""
        rows, columns = image.shape[-2:]
        restored: Tensor = (self.recode(to_range(image))[0] + 1) / 2
        return restored[..., :rows, :columns]


def adversarial_loss(features: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of the discriminator's features (B, F) of made and real slices (eq. 1)."""
    return functional.mse_loss(features.float(), wanted.float())


def contextual_loss(image: Tensor, restored: Tensor) -> Tensor:
    """Mean absolute difference of pixels (eq. 2)."""
    return functional.l1_loss(restored, image)


def encoder_loss(code: Tensor, again: Tensor) -> Tensor:
    """Mean squared difference of the code of a slice and that of its reconstruction (eq. 3)."""
    return functional.mse_loss(again, code)


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """Cross-entropy of logits (B, 1): real slices are 1, made ones 0; mean of both halves."""
    answers = torch.cat([torch.ones_like(real), torch.zeros_like(made)])
    return functional.binary_cross_entropy_with_logits(torch.cat([real, made]), answers)


def refresh(module: nn.Module) -> None:
    """Draw the weights of a layer again; for `nn.Module.apply`."""
    if isinstance(module, nn.Conv2d | nn.Linear | nn.GroupNorm):
        module.reset_parameters()


def discriminate(discriminator: nn.Module, image: Tensor, restored: Tensor, watched: bool) -> Tensor:
    """The discriminator's loss; one that is watched and has collapsed begins again with fresh weights.

    To see it the device is waited for, so not every step is watched.
    """
    loss = discriminator_loss(discriminator(image), discriminator(restored))
    if not watched or training.look([loss])[0] >= COLLAPSE:
        return loss
    discriminator.apply(refresh)
    return discriminator_loss(discriminator(image), discriminator(restored))


@dataclass
class GANomaly(NetworkReconstruction):
    """Learns to restore and to recode healthy slices; what it cannot restore is anomalous."""

    grid: str = fit_option("g128", "model grid; this suite's choice")
    width: Width = fit_option(32, "filters at half the resolution; then 2, 4 and 4 times as many (Baur 2021)")
    latent_dim: Size = fit_option(100, "length of the code; Akcay 2018")
    adversarial_weight: Weight = fit_option(1.0, "weight of the discriminator's features; Akcay 2018")
    contextual_weight: Weight = fit_option(50.0, "weight of the absolute difference; Akcay 2018")
    encoder_weight: Weight = fit_option(1.0, "weight of the difference of the two codes; Akcay 2018")
    steps: Steps = fit_option(50_000, "training steps; this suite's choice")
    batch: Size = fit_option(64, "slices per step; this suite's choice")
    learning_rate: Rate = fit_option(2e-4, "of Adam for both players; this suite's choice")
    beta1: Decay = fit_option(0.5, "of that Adam, beta2 is .999; Akcay 2018")
    cosine: bool = fit_option(False, "let the rates fall to 0 along half a cosine; not in the paper")
    validate_every: Every = fit_option(1500, "steps between validations; the best weights are kept")

    def build(self) -> Recoder:
        """The generator with fresh weights; the discriminator is needed in training only."""
        rows, columns, _ = space.find_grid(self.grid).shape
        return Recoder(rows, columns, self.width, self.latent_dim)

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Train generator and discriminator in turn."""
        network = self.network_ = self.build()
        self.device_ = context.device
        rows, columns, _ = space.find_grid(self.grid).shape
        discriminator = Critic(rows, columns, self.width, 1)
        for module in (network, discriminator):
            module.to(context.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

        def restore(batch: training.Batch, _: int) -> Tensor:
            return self.generator_loss(network, discriminator, to_range(batch.image))

        def tell_apart(batch: training.Batch, step: int) -> Tensor:
            image = to_range(batch.image)
            with torch.no_grad():
                restored = network.recode(image)[0]
            watched = step % training.LOOK_EVERY == 0
            return discriminate(discriminator, image, restored, watched)

        def adam(module: nn.Module) -> torch.optim.Optimizer:
            make = fused(torch.optim.Adam, context.device)
            return make(module.parameters(), self.learning_rate, betas=(self.beta1, 0.999))

        players = {
            "generator": Player(network, adam(network), restore),
            "discriminator": Player(discriminator, adam(discriminator), tell_apart),
        }
        schedule = training.Schedule.of(self)
        play(players, network, self.validation_loss, train, val, context, schedule, "ganomaly")
        return self

    def generator_loss(self, network: Recoder, discriminator: Critic, image: Tensor) -> Tensor:
        """The three losses of padded slices in [-1, 1], weighted (eq. 4)."""
        restored, code, again = network.recode(image)
        features = (discriminator.features(one) for one in (restored, image))
        adversarial = self.adversarial_weight * adversarial_loss(*features)
        contextual = self.contextual_weight * contextual_loss(image, restored)
        return adversarial + contextual + self.encoder_weight * encoder_loss(code, again)

    def validation_loss(self, network: Recoder, batch: training.Batch) -> Tensor:
        """The contextual loss; the others change their meaning with the networks that they are taken in."""
        image = to_range(batch.image)
        return contextual_loss(image, network.recode(image)[0])


ENTRY = GANomaly
