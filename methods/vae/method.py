"""Variational auto-encoder of axial slices (Kingma & Welling 2014, Baur et al. 2021), and restoration with
it as the prior (You et al. 2019, Chen et al. 2020). See card.toml."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Self, cast

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data import space
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import training
from uadbench.learning.reconstruction import NetworkReconstruction
from uadbench.methods import Context, fit_option, score_option
from uadbench.system.ranges import Count, Decay, Rate, Size, Steps, Weight, Width

TV_WEIGHTS = tuple(k / 10 for k in range(20))  # among which restoration chooses: 0, 0.1, ..., 1.9 (Baur 2021)
SELECTION_SLICES = 16  # healthy validation slices by which it chooses


def down(channels: int, filters: int) -> nn.Sequential:
    """Half the resolution."""
    convolution = nn.Conv2d(channels, filters, 5, stride=2, padding=2)
    return nn.Sequential(convolution, nn.BatchNorm2d(filters), nn.LeakyReLU(0.2))


def up(channels: int, filters: int) -> nn.Sequential:
    """Twice the resolution."""
    convolution = nn.ConvTranspose2d(channels, filters, 5, stride=2, padding=2, output_padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(filters), nn.LeakyReLU(0.2))


class VariationalAutoencoder(nn.Module):
    """The unified architecture of Baur 2021 with a diagonal Gaussian code."""

    def __init__(self, rows: int, columns: int, width: int, latent_dim: int, dropout: float) -> None:
        """For slices of rows x columns, which are padded to a multiple of 16."""
        super().__init__()
        filters = [width, 2 * width, 4 * width, 4 * width]
        narrow = filters[-1] // 8
        code = (narrow, -(-rows // 16), -(-columns // 16))
        features = code[0] * code[1] * code[2]
        self.encoder = nn.Sequential(
            *(down(a, b) for a, b in pairwise([1, *filters])),  # (B, 4 width, R / 16, A / 16)
            nn.Conv2d(filters[-1], narrow, 1),
            nn.Flatten(),  # (B, features)
            nn.Dropout(dropout),
        )
        self.mean = nn.Linear(features, latent_dim)
        self.log_variance = nn.Linear(features, latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, features),
            nn.Unflatten(1, code),  # (B, width / 2, R / 16, A / 16)
            nn.Conv2d(narrow, filters[-1], 1),
            *(up(a, b) for a, b in pairwise([filters[-1], *filters[::-1]])),
            nn.Conv2d(width, 1, 1),  # linear output
        )
        self.tv_weight: Tensor  # of restoration with this network, chosen after training
        self.register_buffer("tv_weight", torch.zeros(()))

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, Z) of the codes of slices (B, 1, R, A)."""
        rows, columns = image.shape[-2:]
        features = self.encoder(functional.pad(image, (0, -columns % 16, 0, -rows % 16)))
        return self.mean(features).float(), self.log_variance(features).float()

    def decode(self, code: Tensor, rows: int, columns: int) -> Tensor:
        """Slices (B, 1, rows, columns) of codes (B, Z)."""
        return self.decoder(code)[..., :rows, :columns].float()  # type: ignore[no-any-return]

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructions (B, 1, R, A) from the mean of the code: scoring draws nothing."""
        return self.decode(self.encode(image)[0], *image.shape[-2:])


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(mean, exp(log_variance)) from N(0, 1), summed over the code: (B, Z) -> (B,).

    Kingma & Welling 2014, appendix B.
    """
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)


def negative_elbo(
    image: Tensor, reconstruction: Tensor, mean: Tensor, log_variance: Tensor, beta: float
) -> Tensor:
    """(L1 summed over the slice's pixels + beta * KL summed over the code) / pixels, mean over slices.

    Both terms are divided by the same number, so the minimum is that of the summed loss. It is not
    mean L1 + beta * KL: there KL weighs pixels (16,384 at 128 x 128) times as much, and the code
    collapses to the prior. In terms of mean L1, beta = 1 is a KL weight of 1 / pixels.
    """
    error = (reconstruction - image).abs().flatten(1).sum(1)  # (B, 1, R, A) -> (B,)
    return (error + beta * kl_divergence(mean, log_variance)).mean() / image[0].numel()


def total_variation(images: Tensor) -> Tensor:
    """Absolute differences of pixels that share an edge, summed: (B, 1, R, A) -> (B,)."""
    rows = (images[..., 1:, :] - images[..., :-1, :]).abs().flatten(1).sum(1)
    columns = (images[..., 1:] - images[..., :-1]).abs().flatten(1).sum(1)
    return rows + columns


@torch.inference_mode(False)  # gradients are needed although scoring switches them off
def restore(
    network: VariationalAutoencoder, image: Tensor, beta: float, tv_weight: float, steps: int, rate: float
) -> Tensor:
    """Slices (B, 1, R, A) after gradient descent towards what the network holds for healthy.

    Steps of length `rate` times the gradient, from the image x itself, of
    L1(x_r, D(mean of E(x_r))) + beta KL + tv_weight TV(x - x_r) (You et al. 2019; Baur 2021).
    Every term is a sum over the pixels or the code of a slice, and slices are added up: what becomes of a
    slice depends on itself alone.
    """
    image = image.clone()
    restored = image
    for _ in range(steps):
        restored = restored.detach().requires_grad_()
        mean, log_variance = network.encode(restored)
        error = (restored - network.decode(mean, *image.shape[-2:])).abs().flatten(1).sum(1)  # (B,)
        prior = error + beta * kl_divergence(mean, log_variance)
        objective = prior + tv_weight * total_variation(image - restored)
        (gradient,) = torch.autograd.grad(objective.sum(), restored)
        restored = restored.detach() - rate * gradient
    return restored.detach()


@dataclass
class VAE(NetworkReconstruction):
    """Learns a distribution of healthy slices; what it cannot restore from its code is anomalous."""

    grid: str = fit_option("g128", "model grid; Baur 2021: 128 x 128 slices")
    width: Width = fit_option(32, "filters of the first layer; then 2, 4 and 4 times as many (Baur 2021)")
    latent_dim: Size = fit_option(128, "length of the code; Baur 2021")
    beta: Weight = fit_option(
        1.0, "weight of KL against L1, both summed; Higgins 2017; 1: Kingma & Welling 2014"
    )
    dropout: Decay = fit_option(0.1, "dropout before the code; Baur 2021's code: .1 to .2")
    steps: Steps = fit_option(500_000, "most training steps; Baur 2021: 1,000 epochs, ended by `patience`")
    batch: Size = fit_option(8, "slices per step; Baur 2021's code")
    learning_rate: Rate = fit_option(1e-4, "of Adam; Baur 2021's code")
    cosine: bool = fit_option(False, "let the learning rate fall to 0 along half a cosine; not in the paper")
    validate_every: Steps = fit_option(
        1500, "steps between validations; an epoch of 120 volumes of 100 slices"
    )
    patience: Count = fit_option(
        5, "validations without a new best before training ends; Baur 2021; 0: never"
    )
    restoration_steps: Size = fit_option(150, "steps of the restoration; Baur 2021's code")
    restoration_rate: Rate = fit_option(1e-3, "length of a step per unit of gradient; Baur 2021's code")
    inference: str = score_option(
        "decoding",
        "pseudo-healthy slice: `decoding` of the mean of the code, or `restoration` of the slice by gradient "
        "descent on the negative evidence lower bound (You 2019)",
        ("decoding", "restoration"),
    )
    tv_weight: Annotated[float, Meta(ge=-1, le=1000)] = score_option(
        -1.0,
        "weight of the total variation of what restoration changes; negative: the one of 0, 0.1, ..., 1.9 "
        "that changes healthy validation slices least (Chen 2020; the grid is Baur 2021's)",
    )

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Maximise the evidence lower bound of healthy slices."""
        schedule = training.Schedule(
            self.steps,
            self.batch,
            self.learning_rate,
            patience=self.patience,
            validate_every=self.validate_every,
            cosine=self.cosine,
        )
        self.network_, self.device_ = self.build(), context.device
        training.train(self.network_, self._loss, train, val, context, schedule, "vae")
        # Also where scoring will only decode: with it one fit serves both rows.
        self.network_.tv_weight.fill_(self._choose_tv_weight(val if len(val) else train))
        return self

    def _loss(self, network: VariationalAutoencoder, batch: training.Batch) -> Tensor:
        mean, log_variance = network.encode(batch.image)
        # In evaluation mode (validation) the code is its mean, as in scoring.
        noise = torch.randn_like(mean) if network.training else torch.zeros_like(mean)
        code = mean + (0.5 * log_variance).exp() * noise
        reconstruction = network.decode(code, *batch.image.shape[-2:])
        return negative_elbo(batch.image, reconstruction, mean, log_variance, self.beta)

    def _choose_tv_weight(self, healthy: Volumes) -> float:
        """The weight of the total variation with which restoration changes healthy slices least."""
        slices = training.Slices(healthy, self.device_)
        image = slices.take(slices.spread(SELECTION_SLICES)).image
        changes = {w: float((image - self._restored(image, w)).abs().mean()) for w in TV_WEIGHTS}
        return min(TV_WEIGHTS, key=changes.__getitem__)

    def reconstruct(self, volume: Volume) -> NDArray[np.float32]:
        """Each axial slice decoded from the mean of its code, or restored."""
        if self.inference == "decoding":
            return super().reconstruct(volume)
        network = cast(VariationalAutoencoder, self.network_)
        weight = self.tv_weight if self.tv_weight >= 0 else float(network.tv_weight)
        return training.reconstruct(lambda image: self._restored(image, weight), volume, self.device_)

    def _restored(self, image: Tensor, tv_weight: float) -> Tensor:
        network, steps, rate = self.network_, self.restoration_steps, self.restoration_rate
        with training.repeatable(tf32=False):
            return restore(cast(VariationalAutoencoder, network), image, self.beta, tv_weight, steps, rate)

    def build(self) -> VariationalAutoencoder:
        """The network with fresh weights."""
        rows, columns, _ = space.find_grid(self.grid).shape
        return VariationalAutoencoder(rows, columns, self.width, self.latent_dim, self.dropout)


ENTRY = VAE
