"""Introspective: a variational auto-encoder whose encoder is its own critic (Soft-IntroVAE).

The encoder tells healthy slices from made ones by their evidence lower bound, the decoder learns to make what
the encoder takes for healthy: Daniel & Tamar, CVPR 2021 (arXiv:2012.13253).
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import torch
from monai.networks.blocks import ResidualUnit
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data import space
from uadbench.data.volumes import Volumes
from uadbench.learning import training
from uadbench.learning.adversarial import Player, play
from uadbench.learning.autoencoder import draw_code, kl_divergence
from uadbench.learning.device import fused
from uadbench.learning.reconstruction import NetworkReconstruction
from uadbench.methods import Context, fit_option
from uadbench.system.ranges import Every, Rate, Size, Steps, Weight, Width

LEVELS = 5  # halvings
ACTIVATION = ("leakyrelu", {"negative_slope": 0.2})


def residual(channels: int, filters: int) -> nn.Module:
    """Two 3 x 3 convolutions, normalised over the batch, added to their input."""
    unit: nn.Module = ResidualUnit(2, channels, filters, act=ACTIVATION, norm="batch")
    return unit


def filters_of(width: int) -> list[int]:
    """Channels of the five levels, from half the resolution of a slice to a 32nd."""
    return [width, 2 * width, 4 * width, 8 * width, 8 * width]


def code_shape(rows: int, columns: int, width: int) -> tuple[int, int, int]:
    """Channels, rows and columns at the lowest resolution."""
    return filters_of(width)[-1], -(-rows // 2**LEVELS), -(-columns // 2**LEVELS)


class Encoder(nn.Module):
    """Mean and log variance of the code of a slice."""

    def __init__(self, rows: int, columns: int, width: int, latent_dim: int) -> None:
        """For slices of rows x columns."""
        super().__init__()
        filters = filters_of(width)
        first = [nn.Conv2d(1, width, 5, padding=2), nn.BatchNorm2d(width), nn.LeakyReLU(0.2)]
        levels = [nn.Sequential(*first), *(residual(a, b) for a, b in pairwise(filters))]
        self.levels = nn.ModuleList(nn.Sequential(level, nn.AvgPool2d(2)) for level in levels)
        features = math.prod(code_shape(rows, columns, width))
        end = residual(filters[-1], filters[-1])
        self.end = nn.Sequential(end, nn.Flatten(), nn.Linear(features, 2 * latent_dim))

    def features(self, image: Tensor) -> list[Tensor]:
        """Features (B, C, r, a) of slices (B, 1, R, A) at 1/2, 1/4 ... 1/32 of their resolution."""
        rows, columns = image.shape[-2:]
        maps = [functional.pad(image, (0, -columns % 2**LEVELS, 0, -rows % 2**LEVELS))]
        for level in self.levels:
            maps.append(level(maps[-1]))
        return maps[1:]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, Z) of the codes of slices (B, 1, R, A)."""
        mean, log_variance = self.end(self.features(image)[-1]).float().chunk(2, dim=1)
        return mean, log_variance


class Decoder(nn.Module):
    """Slices in [0, 1] of codes, by way of a sigmoid: the encoder's layers the other way round."""

    def __init__(self, rows: int, columns: int, width: int, latent_dim: int) -> None:
        """For slices of rows x columns."""
        super().__init__()
        self.shape = (rows, columns)
        filters, code = filters_of(width)[::-1], code_shape(rows, columns, width)
        widen = [nn.Linear(latent_dim, math.prod(code)), nn.ReLU(), nn.Unflatten(1, code)]
        levels = (nn.Sequential(residual(a, b), nn.Upsample(scale_factor=2)) for a, b in pairwise(filters))
        first = nn.Sequential(residual(filters[0], filters[0]), nn.Upsample(scale_factor=2))
        end = [nn.Conv2d(width, 1, 5, padding=2), nn.Sigmoid()]
        self.layers = nn.Sequential(*widen, first, *levels, *end)

    def forward(self, code: Tensor) -> Tensor:
        """Slices (B, 1, R, A) of codes (B, Z)."""
        rows, columns = self.shape
        return self.layers(code)[..., :rows, :columns].float()  # type: ignore[no-any-return]


class IntroVAE(nn.Module):
    """Encoder and decoder."""

    def __init__(self, rows: int, columns: int, width: int, latent_dim: int) -> None:
        """For slices of rows x columns."""
        super().__init__()
        self.encoder = Encoder(rows, columns, width, latent_dim)
        self.decoder = Decoder(rows, columns, width, latent_dim)

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructions (B, 1, R, A) from the mean of the code: scoring draws nothing."""
        return self.decoder(self.encoder(image)[0])  # type: ignore[no-any-return]


def squared_error(image: Tensor, other: Tensor) -> Tensor:
    """Mean over the pixels of a slice: (B, 1, R, A) -> (B,). It is the published sum times s = 1 / pixels."""
    return ((image - other) ** 2).flatten(1).mean(1)


def denial(bound: Tensor) -> Tensor:
    """What the encoder pays for taking made slices for healthy: 1/2 exp(-2 bound), mean over slices.

    `bound` (B,) is the negative evidence lower bound of each; the loss is 1/2 where it is 0, and falls to 0
    with the bound's rise (Daniel & Tamar 2021, eq. 4 with alpha = 2).
    """
    return 0.5 * (-2 * bound).exp().mean()


@dataclass
class Introspective(NetworkReconstruction):
    """A method with this network, trained against itself."""

    grid: str = fit_option("g128", "model grid; GenAI_UAD: 128 x 128 slices")
    width: Width = fit_option(64, "filters of the first level; then 2, 4, 8 and 8 times as many; GenAI_UAD")
    latent_dim: Size = fit_option(128, "length of the code; GenAI_UAD")
    beta_rec: Weight = fit_option(0.5, "weight of the squared error in a bound; GenAI_UAD")
    beta_kl: Weight = fit_option(1.0, "weight of KL in the bound of healthy slices; GenAI_UAD")
    beta_neg: Weight = fit_option(128.0, "weight of KL in the encoder's bound of made slices; GenAI_UAD")
    gamma_r: Weight = fit_option(1e-8, "weight of the decoder's error on made slices; GenAI_UAD")
    steps: Steps = fit_option(100_000, "training steps; this suite's choice; GenAI_UAD: 1,500 epochs")
    batch: Size = fit_option(8, "slices per step; GenAI_UAD")
    learning_rate: Rate = fit_option(5e-5, "of Adam for encoder and decoder; GenAI_UAD")
    cosine: bool = fit_option(False, "let the rates fall to 0 along half a cosine; not in the paper")
    validate_every: Every = fit_option(1500, "steps between validations; the best weights are kept")

    def build(self) -> IntroVAE:
        """The network with fresh weights."""
        rows, columns, _ = space.find_grid(self.grid).shape
        return IntroVAE(rows, columns, self.width, self.latent_dim)

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Train encoder and decoder in turn; the weights with the best bound of healthy slices are kept."""
        network = self.network_ = self.build()
        self.device_ = context.device
        network.to(context.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

        def player(module: nn.Module, loss: str) -> Player:
            optimiser = fused(torch.optim.Adam, context.device)(module.parameters(), self.learning_rate)
            return Player(module, optimiser, lambda batch, _: getattr(self, loss)(network, batch.image))

        players = {
            "encoder": player(network.encoder, "encoder_loss"),
            "decoder": player(network.decoder, "decoder_loss"),
        }
        schedule = training.Schedule.of(self)
        play(players, network, self.validation_loss, train, val, context, schedule, "introspective")
        return self

    def bound(self, error: Tensor, mean: Tensor, log_variance: Tensor, beta: float) -> Tensor:
        """Negative evidence lower bound divided by the pixels: beta_rec error + beta KL / pixels, (B,)."""
        rows, columns, _ = space.find_grid(self.grid).shape
        return self.beta_rec * error + beta * kl_divergence(mean, log_variance) / (rows * columns)

    def encoder_loss(self, network: IntroVAE, image: Tensor) -> Tensor:
        """The bound of healthy slices, and the denial of made ones: reconstructions and samples alike."""
        mean, log_variance = network.encoder(image)
        decoded = network.decoder(draw_code(mean, log_variance, training=True))
        healthy = self.bound(squared_error(image, decoded), mean, log_variance, self.beta_kl).mean()
        with torch.no_grad():
            made = torch.cat([decoded, network.decoder(torch.randn_like(mean))])
        mean, log_variance = network.encoder(made)
        again = network.decoder(draw_code(mean, log_variance, training=True))
        fake = self.bound(squared_error(made, again), mean, log_variance, self.beta_neg)
        return healthy + denial(fake) + self.likeness(network, image, decoded)

    def decoder_loss(self, network: IntroVAE, image: Tensor) -> Tensor:
        """The error on healthy slices, and what makes the encoder deny reconstructions and samples.

        The terms of both kinds of made slices are added: twice the mean over all of them.
        """
        with torch.no_grad():
            mean, log_variance = network.encoder(image)
            code = draw_code(mean, log_variance, training=True)
        made = network.decoder(torch.cat([code, torch.randn_like(code)]))
        decoded = made[: len(image)]
        mean, log_variance = network.encoder(made)
        again = network.decoder(draw_code(mean, log_variance, training=True).detach())
        seen = self.bound(
            self.gamma_r * squared_error(made.detach(), again), mean, log_variance, self.beta_kl
        )
        error = self.beta_rec * squared_error(image, decoded).mean()
        return error + 2 * seen.mean()

    def likeness(self, network: IntroVAE, image: Tensor, decoded: Tensor) -> Tensor:
        """What else the encoder minimises for slices and their reconstructions: nothing here."""
        return image.new_zeros(())

    def validation_loss(self, network: IntroVAE, batch: training.Batch) -> Tensor:
        """The negative bound of healthy slices, from the mean of the code."""
        mean, log_variance = network.encoder(batch.image)
        error = squared_error(batch.image, network.decoder(mean))
        return self.bound(error, mean, log_variance, self.beta_kl).mean()
