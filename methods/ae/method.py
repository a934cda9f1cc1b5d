"""Auto-encoders of axial slices (Baur et al. 2021, Bergmann et al. 2019). See card.toml."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data import space
from uadbench.data.volumes import Volumes
from uadbench.learning import training
from uadbench.learning.reconstruction import NetworkReconstruction
from uadbench.methods import Context, fit_option
from uadbench.system.ranges import Count, Decay, Rate, Size, Steps, Width

NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}


def down(channels: int, filters: int, kernel: int, norm: str) -> nn.Sequential:
    """Half the resolution."""
    convolution = nn.Conv2d(channels, filters, kernel, stride=2, padding=kernel // 2)
    return nn.Sequential(convolution, NORMS[norm](filters), nn.LeakyReLU(0.2))


def up(channels: int, filters: int, kernel: int, norm: str) -> nn.Sequential:
    """Twice the resolution."""
    padding = kernel // 2
    convolution = nn.ConvTranspose2d(channels, filters, kernel, stride=2, padding=padding, output_padding=1)
    return nn.Sequential(convolution, NORMS[norm](filters), nn.LeakyReLU(0.2))


class Autoencoder(nn.Module):
    """The unified architecture of Baur 2021: four halvings, a code, four doublings.

    The code is a vector of `latent_dim` numbers; with `latent_dim` 0 it is a map of width / 2 channels,
    a 16th of the slice in height and width.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        width: int,
        latent_dim: int,
        dropout: float,
        kernel: int = 5,
        norm: str = "batch",
    ) -> None:
        """For slices of rows x columns, which are padded to a multiple of 16."""
        super().__init__()
        filters = [width, 2 * width, 4 * width, 4 * width]
        narrow = filters[-1] // 8
        code = (narrow, -(-rows // 16), -(-columns // 16))
        features = code[0] * code[1] * code[2]
        self.encoder = nn.Sequential(
            *(down(a, b, kernel, norm) for a, b in pairwise([1, *filters])),  # (B, 4 width, R / 16, A / 16)
            nn.Conv2d(filters[-1], narrow, 1),
            *([nn.Flatten(), nn.Linear(features, latent_dim)] if latent_dim else []),  # (B, latent_dim)
            nn.Dropout(dropout),
        )
        self.decoder = nn.Sequential(
            *([nn.Linear(latent_dim, features), nn.Unflatten(1, code)] if latent_dim else []),
            nn.Conv2d(narrow, filters[-1], 1),  # of (B, width / 2, R / 16, A / 16)
            *(up(a, b, kernel, norm) for a, b in pairwise([filters[-1], *filters[::-1]])),
            nn.Conv2d(width, 1, 1),  # linear output
        )

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructions (B, 1, R, A) of slices (B, 1, R, A)."""
        rows, columns = image.shape[-2:]
        padded = functional.pad(image, (0, -columns % 16, 0, -rows % 16))
        reconstruction: Tensor = self.decoder(self.encoder(padded))
        return reconstruction[..., :rows, :columns].float()


def l1_loss(network: nn.Module, batch: training.Batch) -> Tensor:
    """Mean absolute error over the whole slice, background (0 inside and out) included, as published."""
    loss: Tensor = functional.l1_loss(network(batch.image), batch.image)
    return loss


def ssim_loss(network: nn.Module, batch: training.Batch) -> Tensor:
    """1 - SSIM, mean over the windows of 11 x 11 pixels that lie in the slice (Bergmann 2019, eq. 8)."""
    from monai.losses import SSIMLoss  # here, because the other losses need not wait seconds for monai

    reconstruction = network(batch.image)
    # A variance is a small difference of large numbers, of which bf16 would leave nothing.
    with torch.autocast(batch.image.device.type, enabled=False):
        loss: Tensor = SSIMLoss(spatial_dims=2, data_range=1.0, win_size=11)(reconstruction, batch.image)
    return loss


LOSSES = {"l1": l1_loss, "ssim": ssim_loss}


@dataclass
class AE(NetworkReconstruction):
    """Learns to compress and restore healthy slices; what it cannot restore is anomalous."""

    grid: str = fit_option("g128", "model grid; Baur 2021: 128 x 128 slices")
    width: Width = fit_option(32, "filters of the first layer; then 2, 4 and 4 times as many (Baur 2021)")
    bottleneck: str = fit_option(
        "dense",
        "dense: the code is a vector; spatial: it is a map of width / 2 channels, a 16th of the slice in "
        "height and width; both in Baur 2021",
        choices=("dense", "spatial"),
    )
    latent_dim: Size = fit_option(128, "length of the dense code; Baur 2021; a spatial one has none")
    kernel: int = fit_option(5, "side of the convolutions' kernels; Baur 2021: 5; AE-SSIM: 3", choices=(3, 5))
    norm: str = fit_option(
        "batch",
        "batch: Baur 2021's code; instance: AE-SSIM in Meissen 2022's code, blind to a slice's contrast",
        choices=tuple(NORMS),
    )
    loss: str = fit_option(
        "l1", "what is minimised; l1: Baur 2021; ssim: Bergmann 2019", choices=tuple(LOSSES)
    )
    dropout: Decay = fit_option(0.1, "dropout of the code; Baur 2021's code: .1 to .2")
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

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Minimise the reconstruction error of healthy slices."""
        schedule = training.Schedule(
            self.steps,
            self.batch,
            self.learning_rate,
            patience=self.patience,
            validate_every=self.validate_every,
            cosine=self.cosine,
        )
        self.network_, self.device_ = self.build(), context.device
        training.train(self.network_, LOSSES[self.loss], train, val, context, schedule, "ae")
        return self

    def build(self) -> Autoencoder:
        """The network with fresh weights."""
        rows, columns, _ = space.find_grid(self.grid).shape
        latent_dim = self.latent_dim if self.bottleneck == "dense" else 0
        return Autoencoder(rows, columns, self.width, latent_dim, self.dropout, self.kernel, self.norm)


ENTRY = AE
