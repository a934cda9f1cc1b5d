"""f-AnoGAN: a Wasserstein GAN of healthy slices and an encoder into it (Schlegl 2019). See card.toml."""

from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data import space
from uadbench.data.volumes import Volumes
from uadbench.learning import training
from uadbench.learning.adversarial import (
    Critic,
    Generator,
    critic_loss,
    minimise,
    to_range,
    wasserstein_distance,
)
from uadbench.learning.device import fused
from uadbench.learning.reconstruction import NetworkReconstruction
from uadbench.methods import Context, fit_option
from uadbench.system.ranges import Decay, Every, Rate, Size, Steps, Weight, Width


class Reconstructor(nn.Module):
    """G(E(x)): slices in [0, 1] to slices in [0, 1], by way of a code in [-1, 1]."""

    def __init__(self, rows: int, columns: int, width: int, latent_dim: int) -> None:
        """For slices of rows x columns."""
        super().__init__()
        self.generator = Generator(rows, columns, width, latent_dim)
        self.encoder = Critic(rows, columns, width, latent_dim)

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructions (B, 1, R, A) of slices (B, 1, R, A), both in [0, 1]."""
        rows, columns = image.shape[-2:]
        code = torch.tanh(self.encoder(to_range(image)))  # (Schlegl 2019, section 3.2)
        reconstruction: Tensor = (self.generator(code) + 1) / 2
        return reconstruction[..., :rows, :columns]


def izi_f_loss(critic: Critic, image: Tensor, restored: Tensor, kappa: float) -> Tensor:
    """|x - x'|^2 / n + kappa |f(x) - f(x')|^2 / n_d, mean over slices (Schlegl 2019, section 3.2)."""
    features, wanted = critic.features(restored).float(), critic.features(image).float()
    return functional.mse_loss(restored, image) + kappa * functional.mse_loss(features, wanted)


class Game(nn.Module):
    """Generator and critic, and what each of them minimises (Gulrajani 2017, algorithm 1)."""

    def __init__(self, generator: Generator, critic: Critic, latent_dim: int, penalty: float) -> None:
        """`penalty` is the weight of the gradient penalty."""
        super().__init__()
        self.generator, self.critic = generator, critic
        self.latent_dim, self.penalty = latent_dim, penalty

    def make(self, count: int) -> Tensor:
        """Slices from random codes, each number N(0, 1)."""
        device = next(self.parameters()).device
        return self.generator(torch.randn(count, self.latent_dim, device=device))  # type: ignore[no-any-return]

    def distance(self, real: Tensor, fake: Tensor) -> Tensor:
        """The critic's estimate of the Wasserstein distance between real and made slices."""
        return wasserstein_distance(self.critic, real, fake)

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """The critic maximises the distance, with gradients of norm 1."""
        return critic_loss(self.critic, real, fake, self.penalty)

    def generator_loss(self, count: int) -> Tensor:
        """The generator maximises the critic's value of what it makes."""
        return -self.critic(self.make(count)).mean()  # type: ignore[no-any-return]


@dataclass
class FAnoGAN(NetworkReconstruction):
    """Learns to make healthy slices, then to find the code of one; what it cannot make is anomalous."""

    grid: str = fit_option("g128", "model grid; Baur 2021: 128 x 128 slices")
    width: Width = fit_option(32, "filters at half the resolution; then 2, 4 and 4 times as many (Baur 2021)")
    latent_dim: Size = fit_option(128, "length of the code; Schlegl 2019")
    steps: Steps = fit_option(100_000, "steps of the generator; this suite's choice")
    critic_steps: Size = fit_option(5, "steps of the critic for each of the generator; Gulrajani 2017")
    penalty: Weight = fit_option(10.0, "weight of the gradient penalty; Gulrajani 2017")
    batch: Size = fit_option(64, "slices of each step of critic, generator and encoder; Gulrajani 2017")
    learning_rate: Rate = fit_option(1e-4, "of Adam for generator and critic; Gulrajani 2017")
    beta1: Decay = fit_option(0.0, "of that Adam, beta2 is .9; Gulrajani 2017; Baur 2021's code: .5")
    encoder_steps: Steps = fit_option(50_000, "training steps of the encoder; Schlegl 2019's code")
    encoder_learning_rate: Rate = fit_option(1e-4, "of Adam for the encoder; this suite's choice")
    kappa: Weight = fit_option(1.0, "weight of the critic's features in the encoder's loss; Schlegl 2019")
    cosine: bool = fit_option(False, "let the rates fall to 0 along half a cosine; not in the paper")
    validate_every: Every = fit_option(1500, "steps between validations; this suite's choice")

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Train generator and critic against each other, then the encoder with both frozen."""
        self.network_, self.device_ = self.build(), context.device
        rows, columns, _ = space.find_grid(self.grid).shape
        critic = Critic(rows, columns, self.width, 1)
        game = Game(self.network_.generator, critic, self.latent_dim, self.penalty)
        for network in (game, self.network_):
            network.to(context.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._fit_game(game, train, val, context)
        game.requires_grad_(False).eval()
        self._fit_encoder(critic, train, val, context)
        return self

    def _fit_game(self, game: Game, train: Volumes, val: Volumes, context: Context) -> None:
        """Stage 1. A step is one of the generator and all of the critic's, on slices of their own."""
        settings = (self.learning_rate, (self.beta1, 0.9))
        adam = fused(torch.optim.Adam, context.device)
        critic_optimiser = adam(game.critic.parameters(), *settings)
        generator_optimiser = adam(game.generator.parameters(), *settings)

        def update(batch: training.Batch, step: int) -> Tensor:
            for optimiser in (critic_optimiser, generator_optimiser):
                optimiser.param_groups[0]["lr"] = schedule.rate(step)
            images = to_range(batch.image)  # (critic_steps * B, 1, R', A')
            # The generator stands still while the critic catches up: all its slices are made at once.
            with torch.no_grad(), training.autocast(context):
                made = game.make(len(images))
            # Each of the critic's steps sees slices of its own: its estimate has to hold for new ones.
            parts = (slices.chunk(self.critic_steps) for slices in (images, made))
            for real, fake in zip(*parts, strict=True):
                with training.autocast(context):
                    critic_loss = game.critic_loss(real, fake)
                minimise(critic_loss, game.critic, critic_optimiser)
            # Then one step of the generator, towards what the critic now holds for real.
            with training.autocast(context):
                loss = game.generator_loss(self.batch)
            minimise(loss, game.generator, generator_optimiser)
            return critic_loss.detach() + 0 * loss.detach()  # not finite where either is not

        def distance(game: Game, batch: training.Batch) -> Tensor:
            return game.distance(to_range(batch.image), game.make(len(batch.image)))

        healthy = training.Slices(val, context.device) if len(val) else None
        # The distance tells how the game stands, not how good the generator is: the last weights are kept.
        schedule = training.Schedule.of(self, batch=self.critic_steps * self.batch, keep_best=False)
        training.loop(
            update,
            {"game": game.train(), "critic": critic_optimiser, "generator": generator_optimiser},
            game,
            partial(training.mean_loss, distance, game, healthy, context, self.batch),
            training.Slices(train, context.device),
            context,
            schedule,
            "gan",
        )

    def _fit_encoder(self, critic: Critic, train: Volumes, val: Volumes, context: Context) -> None:
        """Stage 2: the encoder `izi_f`, from image to code to image with a residual of features."""

        def loss(encoder: Critic, batch: training.Batch) -> Tensor:
            image = to_range(batch.image)
            restored = self.network_.generator(torch.tanh(encoder(image)))
            return izi_f_loss(critic, image, restored, self.kappa)

        changes = {"steps": self.encoder_steps, "learning_rate": self.encoder_learning_rate}
        schedule = training.Schedule.of(self, **changes)
        training.train(self.network_.encoder, loss, train, val, context, schedule, "encoder")

    def build(self) -> Reconstructor:
        """Generator and encoder with fresh weights; the critic is needed in training only."""
        rows, columns, _ = space.find_grid(self.grid).shape
        return Reconstructor(rows, columns, self.width, self.latent_dim)


ENTRY = FAnoGAN
