"""Context-encoding variational auto-encoder of axial slices (Zimmerer et al. 2018). See card.toml."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self, cast

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data import space
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import scores, training
from uadbench.learning.reconstruction import NetworkReconstruction
from uadbench.methods import Context, Score, fit_option, score_option
from uadbench.system.ranges import Count, Decay, Rate, Share, Size, Smoothing, Steps, Weight, Width


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


def l1(image: Tensor, reconstruction: Tensor) -> Tensor:
    """Absolute error summed over the pixels of a slice: (B, 1, R, A) -> (B,)."""
    return (image - reconstruction).abs().flatten(1).sum(1)


def hide_squares(images: Tensor, most: int) -> Tensor:
    """Slices (B, 1, R, A) in which 0 to `most` squares are painted with one grey value each.

    Their number, their side from 1 to half the shorter edge, their place inside the slice and their value
    in [0, 1] are uniform; a later square covers an earlier one.
    """
    rows, columns = images.shape[-2:]
    number = torch.randint(most + 1, (len(images),), device=images.device)
    row = torch.arange(rows, device=images.device)[:, None]  # (R, 1)
    column = torch.arange(columns, device=images.device)  # (A,)
    for square in range(most):
        draw = torch.rand(4, len(images), 1, 1, 1, device=images.device)
        side = 1 + (draw[0] * (min(rows, columns) // 2)).floor()
        top = (draw[1] * (rows - side + 1)).floor()
        left = (draw[2] * (columns - side + 1)).floor()
        inside = (row >= top) & (row < top + side) & (column >= left) & (column < left + side)
        images = torch.where(inside & (number > square)[:, None, None, None], draw[3], images)
    return images


def context_loss(
    image: Tensor,
    decoded: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    completed: Tensor,
    beta: float,
    context_weight: float,
) -> Tensor:
    """Mean over slices of (1 - w) (L1(x, decoded) + beta KL) + w L1(x, completed), divided by the pixels.

    `decoded` comes from a sample of the code of x, `completed` from the mean of the code of x with squares
    hidden. L1 is summed over pixels and KL over the code before both are divided by the same number; with
    the mean of L1 and the sum of KL, KL would weigh pixels times as much and the code would collapse.
    """
    bound = l1(image, decoded) + beta * kl_divergence(mean, log_variance)
    loss = (1 - context_weight) * bound + context_weight * l1(image, completed)
    return loss.mean() / image[0].numel()


@torch.inference_mode(False)  # gradients are needed although scoring switches them off
def gradient_magnitude(network: VariationalAutoencoder, image: Tensor, beta: float) -> Tensor:
    """|d (L1(x, D(mean of E(x))) + beta KL) / dx| of slices (B, 1, R, A), each for itself."""
    image = image.clone().requires_grad_()
    mean, log_variance = network.encode(image)
    error = l1(image, network.decode(mean, *image.shape[-2:]))
    objective = error + beta * kl_divergence(mean, log_variance)
    (gradient,) = torch.autograd.grad(objective.sum(), image)
    return gradient.abs()


@dataclass
class CeVAE(NetworkReconstruction):
    """A VAE that also has to fill in hidden squares; where bound and residual both protest is anomalous."""

    grid: str = fit_option("g128", "model grid; Baur 2021: 128 x 128 slices")
    width: Width = fit_option(32, "filters of the first layer; then 2, 4 and 4 times as many (Baur 2021)")
    latent_dim: Size = fit_option(128, "length of the code; Baur 2021")
    beta: Weight = fit_option(1.0, "weight of KL against L1, both summed; Kingma & Welling 2014")
    context_weight: Share = fit_option(
        0.5, "share of the completion of hidden squares in the loss; the VAE has the rest"
    )
    squares: Count = fit_option(3, "most squares hidden in a slice; Baur 2021's code of the method")
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
    score_kind: str = score_option(
        "gradient",
        "`gradient`: |x - x'| times the smoothed absolute gradient of the bound with respect to x (Zimmerer "
        "2018); else a residual shared by all tables",
        ("gradient", *scores.KINDS),
    )
    smoothing: Smoothing = score_option(
        1.0, "Gaussian sigma, in pixels of the slice, of the gradient; 1 to 2 are usual"
    )

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Maximise the evidence lower bound of healthy slices and complete what is hidden in them."""
        schedule = training.Schedule(
            self.steps,
            self.batch,
            self.learning_rate,
            patience=self.patience,
            validate_every=self.validate_every,
            cosine=self.cosine,
        )
        self.network_, self.device_ = self.build(), context.device
        training.train(self.network_, self._loss, train, val, context, schedule, "cevae")
        return self

    def _loss(self, network: VariationalAutoencoder, batch: training.Batch) -> Tensor:
        image = batch.image
        mean, log_variance = network.encode(image)
        # In evaluation mode (validation) the code is its mean, as in scoring.
        noise = torch.randn_like(mean) if network.training else torch.zeros_like(mean)
        decoded = network.decode(mean + (0.5 * log_variance).exp() * noise, *image.shape[-2:])
        completed = network(hide_squares(image, self.squares))
        return context_loss(image, decoded, mean, log_variance, completed, self.beta, self.context_weight)

    def score(self, volume: Volume) -> Score:
        """Residual times smoothed gradient of the bound, or one of the shared residuals."""
        if self.score_kind != "gradient":
            return super().score(volume)
        healthy = self.reconstruct(volume)
        network = cast(VariationalAutoencoder, self.network_)
        gradient = training.reconstruct(
            lambda image: gradient_magnitude(network, image, self.beta), volume, self.device_
        )
        smooth = gaussian_filter(gradient, self.smoothing, axes=(1, 2))  # (C, R, A, S), in the slice
        combined = (np.abs(volume.image - healthy) * smooth).mean(0) * volume.brain
        return Score(combined.astype(np.float32), healthy)

    def build(self) -> VariationalAutoencoder:
        """The network with fresh weights."""
        rows, columns, _ = space.find_grid(self.grid).shape
        return VariationalAutoencoder(rows, columns, self.width, self.latent_dim, self.dropout)


ENTRY = CeVAE
