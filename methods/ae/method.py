"""Auto-encoders of axial slices (Baur et al. 2021, Bergmann et al. 2019). See card.toml."""

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from uadbench.learning.autoencoder import NORMS, Baur, code_shape, decoder_layers, encoder_layers, padded
from uadbench.learning.similarity import ssim
from uadbench.learning.training import Batch
from uadbench.methods import fit_option
from uadbench.system.ranges import Decay


class Autoencoder(nn.Module):
    """The unified architecture of Baur 2021.

    The code is a vector of `latent_dim` numbers; with `latent_dim` 0 it is the narrowest map itself.
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
        """For slices of rows x columns."""
        super().__init__()
        code = code_shape(rows, columns, width)
        features = math.prod(code)
        narrow: list[nn.Module] = [nn.Dropout(dropout)]
        widen: list[nn.Module] = []
        if latent_dim:
            narrow = [nn.Flatten(), nn.Linear(features, latent_dim), *narrow]  # (B, latent_dim)
            widen = [nn.Linear(latent_dim, features), nn.Dropout(dropout), nn.Unflatten(1, code)]
        self.encoder = nn.Sequential(*encoder_layers(width, kernel, norm), *narrow)
        self.decoder = nn.Sequential(*widen, *decoder_layers(width, kernel, norm))

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructions (B, 1, R, A) of slices (B, 1, R, A)."""
        rows, columns = image.shape[-2:]
        reconstruction: Tensor = self.decoder(self.encoder(padded(image)))
        return reconstruction[..., :rows, :columns].float()


def l1_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Mean absolute error over the whole slice, background (0 inside and out) included, as published."""
    return functional.l1_loss(network(batch.image), batch.image)


def ssim_loss(network: nn.Module, batch: Batch) -> Tensor:
    """1 - SSIM, mean over the windows of 11 x 11 pixels that lie in the slice (Bergmann 2019, eq. 8)."""
    return 1 - ssim(network(batch.image), batch.image, window=11).mean()


LOSSES = {"l1": l1_loss, "ssim": ssim_loss}


@dataclass
class AE(Baur):
    """Learns to compress and restore healthy slices; what it cannot restore is anomalous."""

    dropout: Decay = fit_option(0.2, "dropout on both sides of the code; Baur 2021's code of both AEs")
    bottleneck: str = fit_option(
        "dense",
        "dense: the code is a vector; spatial: it is a map of width / 2 channels, a 16th of the slice in "
        "height and width; both in Baur 2021",
        choices=("dense", "spatial"),
    )
    kernel: int = fit_option(5, "side of the convolutions' kernels; Baur 2021: 5; AE-SSIM: 3", choices=(3, 5))
    norm: str = fit_option(
        "batch",
        "batch: Baur 2021's code; instance: AE-SSIM in Meissen 2022's code, blind to a slice's contrast",
        choices=tuple(NORMS),
    )
    loss: str = fit_option(
        "l1", "what is minimised; l1: Baur 2021; ssim: Bergmann 2019", choices=tuple(LOSSES)
    )

    def build(self) -> Autoencoder:
        """The network with fresh weights."""
        latent_dim = self.latent_dim if self.bottleneck == "dense" else 0
        return Autoencoder(*self.slice_shape(), self.width, latent_dim, self.dropout, self.kernel, self.norm)

    def training_loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The reconstruction error of healthy slices."""
        return LOSSES[self.loss](network, batch)


ENTRY = AE
