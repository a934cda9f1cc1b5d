"""Dense auto-encoder of axial slices (Baur et al. 2021). See card.toml."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from torch import Tensor, nn
from torch.nn import functional

from uadbench import grids
from uadbench.learning import training
from uadbench.learning.reconstruction import NetworkReconstruction
from uadbench.methods import Context, fit_option
from uadbench.volumes import Volumes


def down(channels: int, filters: int) -> nn.Sequential:
    """Half the resolution."""
    convolution = nn.Conv2d(channels, filters, 5, stride=2, padding=2)
    return nn.Sequential(convolution, nn.BatchNorm2d(filters), nn.LeakyReLU(0.2))


def up(channels: int, filters: int) -> nn.Sequential:
    """Twice the resolution."""
    convolution = nn.ConvTranspose2d(channels, filters, 5, stride=2, padding=2, output_padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(filters), nn.LeakyReLU(0.2))


class DenseAutoencoder(nn.Module):
    """The unified architecture of Baur 2021: four halvings, a dense code, four doublings."""

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
            nn.Linear(features, latent_dim),
            nn.Dropout(dropout),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, features),
            nn.Unflatten(1, code),  # (B, width / 2, R / 16, A / 16)
            nn.Conv2d(narrow, filters[-1], 1),
            *(up(a, b) for a, b in pairwise([filters[-1], *filters[::-1]])),
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


@dataclass
class AE(NetworkReconstruction):
    """Learns to compress and restore healthy slices; what it cannot restore is anomalous."""

    grid: str = fit_option("g128", "model grid; Baur 2021: 128 x 128 slices")
    width: int = fit_option(32, "filters of the first layer; then 2, 4 and 4 times as many (Baur 2021)")
    latent_dim: int = fit_option(128, "length of the code; Baur 2021")
    dropout: float = fit_option(0.1, "dropout of the code; Baur 2021's code: .1 to .2")
    steps: int = fit_option(500_000, "most training steps; Baur 2021: 1,000 epochs, ended by `patience`")
    batch: int = fit_option(8, "slices per step; Baur 2021's code")
    learning_rate: float = fit_option(1e-4, "of Adam; Baur 2021's code")
    cosine: bool = fit_option(False, "let the learning rate fall to 0 along half a cosine; not in the paper")
    validate_every: int = fit_option(1500, "steps between validations; an epoch of 120 volumes of 100 slices")
    patience: int = fit_option(5, "validations without a new best before training ends; Baur 2021; 0: never")

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Minimise the L1 reconstruction error of healthy slices."""
        schedule = training.Schedule(
            self.steps,
            self.batch,
            self.learning_rate,
            patience=self.patience,
            validate_every=self.validate_every,
            cosine=self.cosine,
        )
        self.network_, self.device_ = self.build(), context.device
        training.train(self.network_, l1_loss, train, val, context, schedule, "ae")
        return self

    def build(self) -> DenseAutoencoder:
        """The network with fresh weights."""
        rows, columns, _ = grids.grid(self.grid).shape
        return DenseAutoencoder(rows, columns, self.width, self.latent_dim, self.dropout)


ENTRY = AE
