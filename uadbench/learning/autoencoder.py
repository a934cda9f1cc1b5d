"""Auto-encoder: the unified architecture of Baur et al. 2021, plain and variational, and its options.

Four halvings, a code, four doublings (MedIA 69:101952). Slices are padded to a multiple of 16.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data import space
from uadbench.learning.reconstruction import LossMethod, NetworkReconstruction
from uadbench.methods import fit_option
from uadbench.system.ranges import Count, Decay, Every, Rate, Size, Steps, Width

MULTIPLE = 16
SLOPE = 0.3  # of LeakyReLU below 0: the default of Keras, in which Baur's code is written
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "instance": nn.InstanceNorm2d,
    "group": partial(nn.GroupNorm, 4),  # in any number of dimensions
}
CONVOLUTIONS: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}  # by the number of dimensions
TRANSPOSED: dict[int, type[nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def code_shape(rows: int, columns: int, width: int) -> tuple[int, int, int]:
    """Channels, rows and columns of the narrowest map, which a vector of numbers may stand for."""
    return width // 2, -(-rows // MULTIPLE), -(-columns // MULTIPLE)


def encoder_layers(width: int, kernel: int = 5, norm: str = "batch", dimensions: int = 2) -> list[nn.Module]:
    """From slices (B, 1, R, A) to the narrowest map (B, width / 2, R / 16, A / 16); volumes alike."""
    convolve = CONVOLUTIONS[dimensions]

    def halve(channels: int, filters: int) -> nn.Module:
        convolution = convolve(channels, filters, kernel, stride=2, padding=kernel // 2)
        return nn.Sequential(convolution, NORMS[norm](filters), nn.LeakyReLU(SLOPE))

    filters = [1, width, 2 * width, 4 * width, 4 * width]
    return [*(halve(a, b) for a, b in pairwise(filters)), convolve(filters[-1], width // 2, 1)]


def decoder_layers(width: int, kernel: int = 5, norm: str = "batch", dimensions: int = 2) -> list[nn.Module]:
    """From the narrowest map to slices, or to volumes; the output is linear."""
    convolve = CONVOLUTIONS[dimensions]

    def double(channels: int, filters: int) -> nn.Module:
        padding = kernel // 2
        convolution = TRANSPOSED[dimensions](
            channels, filters, kernel, stride=2, padding=padding, output_padding=1
        )
        return nn.Sequential(convolution, NORMS[norm](filters), nn.LeakyReLU(SLOPE))

    filters = [4 * width, 4 * width, 2 * width, width, width]
    widen = [convolve(width // 2, filters[0], 1), NORMS[norm](filters[0]), nn.ReLU()]
    return [*widen, *(double(a, b) for a, b in pairwise(filters)), convolve(width, 1, 1)]


def padded(image: Tensor) -> Tensor:
    """Slices (B, 1, R, A) with background below and to the right, to a multiple of 16."""
    rows, columns = image.shape[-2:]
    return functional.pad(image, (0, -columns % MULTIPLE, 0, -rows % MULTIPLE))


class VariationalAutoencoder(nn.Module):
    """With a diagonal Gaussian code of `latent_dim` numbers (Kingma & Welling 2014)."""

    def __init__(self, rows: int, columns: int, width: int, latent_dim: int, dropout: float) -> None:
        """For slices of rows x columns."""
        super().__init__()
        code = code_shape(rows, columns, width)
        features = math.prod(code)
        self.encoder = nn.Sequential(*encoder_layers(width), nn.Flatten())
        self.mean = nn.Sequential(nn.Linear(features, latent_dim), nn.Dropout(dropout))
        self.log_variance = nn.Sequential(nn.Linear(features, latent_dim), nn.Dropout(dropout))
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, features),
            nn.Dropout(dropout),
            nn.Unflatten(1, code),
            *decoder_layers(width),
        )

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, Z) of the codes of slices (B, 1, R, A)."""
        features = self.encoder(padded(image))
        return self.mean(features).float(), self.log_variance(features).float()

    def decode(self, code: Tensor, rows: int, columns: int) -> Tensor:
        """Slices (B, 1, rows, columns) of codes (B, Z)."""
        return self.decoder(code)[..., :rows, :columns].float()  # type: ignore[no-any-return]

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructions (B, 1, R, A) from the mean of the code: scoring draws nothing."""
        return self.decode(self.encode(image)[0], *image.shape[-2:])


def draw_code(mean: Tensor, log_variance: Tensor, training: bool) -> Tensor:
    """A code (B, Z) in training; in validation its mean, as in scoring."""
    noise = torch.randn_like(mean) if training else torch.zeros_like(mean)
    return mean + (0.5 * log_variance).exp() * noise


def summed_l1(image: Tensor, reconstruction: Tensor) -> Tensor:
    """Absolute error summed over the pixels of a slice or volume: (B, 1, R, A[, S]) -> (B,)."""
    return (image - reconstruction).abs().flatten(1).sum(1)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(mean, exp(log_variance)) from N(0, 1), summed over the code: (B, Z) -> (B,).

    Kingma & Welling 2014, appendix B.
    """
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)


def negative_elbo(
    image: Tensor, reconstruction: Tensor, mean: Tensor, log_variance: Tensor, beta: float
) -> Tensor:
    """(L1 summed over the pixels + beta * KL summed over the code) / pixels, mean over slices or volumes.

    Kingma & Welling 2014 with a Laplacian likelihood. Both terms are divided by the same number, so the
    minimum is that of the summed loss. It is not mean L1 + beta * KL: there KL weighs pixels (16,384 at
    128 x 128) times as much, and the code collapses to the prior.
    """
    bound = summed_l1(image, reconstruction) + beta * kl_divergence(mean, log_variance)
    return bound.mean() / image[0].numel()


def negative_bound(network: VariationalAutoencoder, image: Tensor, beta: float) -> Tensor:
    """L1(x, D(mean of E(x))) + beta KL of slices, each for itself: (B, 1, R, A) -> (B,)."""
    mean, log_variance = network.encode(image)
    reconstruction = network.decode(mean, *image.shape[-2:])
    return summed_l1(image, reconstruction) + beta * kl_divergence(mean, log_variance)


@dataclass
class Baur(LossMethod, NetworkReconstruction):
    """A method with a network of this architecture, trained as Baur et al. 2021 did."""

    grid: str = fit_option("g128", "model grid; Baur 2021: 128 x 128 slices")
    width: Width = fit_option(32, "filters of the first layer; then 2, 4 and 4 times as many (Baur 2021)")
    latent_dim: Size = fit_option(128, "length of the code, where that is a vector; Baur 2021")
    dropout: Decay = fit_option(0.1, "dropout on both sides of the code; Baur 2021's code of VAE and ceVAE")
    steps: Steps = fit_option(500_000, "most training steps; Baur 2021: 1,000 epochs, ended by `patience`")
    batch: Size = fit_option(8, "slices per step; Baur 2021's code")
    learning_rate: Rate = fit_option(1e-4, "of Adam; Baur 2021's code")
    cosine: bool = fit_option(False, "let the learning rate fall to 0 along half a cosine; not in the paper")
    validate_every: Every = fit_option(
        1500, "steps between validations; an epoch of 120 volumes of 100 slices"
    )
    patience: Count = fit_option(
        5, "validations without a new best before training ends; Baur 2021; 0: never"
    )

    def slice_shape(self) -> tuple[int, int]:
        """Rows and columns of an axial slice of the model grid."""
        return space.find_grid(self.grid).shape[:2]
