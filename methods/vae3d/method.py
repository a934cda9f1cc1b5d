"""Variational auto-encoder of whole volumes with erased boxes (Bengs et al. 2021). See card.toml."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from uadbench.data import space
from uadbench.learning import training
from uadbench.learning.autoencoder import (
    MULTIPLE,
    decoder_layers,
    draw_code,
    encoder_layers,
    negative_elbo,
)
from uadbench.learning.whole import WholeReconstruction, padded
from uadbench.methods import fit_option
from uadbench.system.ranges import Count, Every, Rate, Share, Size, Steps, Weight, Width

KERNEL = 3  # edge of the convolutions
NORM = "group"  # a batch of volumes is too small for statistics over it
SIDES = (0.1, 0.5)  # of an erased box along each axis, as a share of the volume's


class VolumeAutoencoder(nn.Module):
    """A variational auto-encoder of volumes with a diagonal Gaussian code of `latent_dim` numbers."""

    def __init__(self, shape: tuple[int, int, int], width: int, latent_dim: int) -> None:
        """For volumes of this shape (R, A, S), which are padded to multiples of 16."""
        super().__init__()
        code = (width // 2, *(-(-voxels // MULTIPLE) for voxels in shape))
        features = math.prod(code)
        self.encoder = nn.Sequential(*encoder_layers(width, KERNEL, NORM, dimensions=3), nn.Flatten())
        self.mean, self.log_variance = nn.Linear(features, latent_dim), nn.Linear(features, latent_dim)
        decoder = decoder_layers(width, KERNEL, NORM, dimensions=3)
        self.decoder = nn.Sequential(nn.Linear(latent_dim, features), nn.Unflatten(1, code), *decoder)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, Z) of the codes of volumes (B, 1, R, A, S)."""
        features = self.encoder(padded(image, MULTIPLE))
        return self.mean(features).float(), self.log_variance(features).float()

    def decode(self, code: Tensor, like: Tensor) -> Tensor:
        """Volumes of codes (B, Z), of the shape (B, 1, R, A, S) of others."""
        right, front, top = like.shape[-3:]
        return self.decoder(code)[..., :right, :front, :top].float()  # type: ignore[no-any-return]

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructions (B, 1, R, A, S) from the mean of the code: scoring draws nothing."""
        return self.decode(self.encode(image)[0], image)


def erase_box(image: Tensor, chance: float) -> Tensor:
    """Volumes (B, 1, R, A, S), each of them by this chance with a box of random sides and place set to 0.

    Erasing of the input in three dimensions is Bengs et al. 2021; the box's distribution is our choice.
    """
    inside = torch.rand(len(image), 1, 1, 1, 1, device=image.device) < chance
    for axis in (2, 3, 4):
        edge = image.shape[axis]
        part, place = torch.rand(2, len(image), 1, 1, 1, 1, device=image.device)
        side = (edge * (SIDES[0] + (SIDES[1] - SIDES[0]) * part)).round()
        first = ((edge - side + 1) * place).floor()
        index = torch.arange(edge, device=image.device).view([-1 if a == axis else 1 for a in range(5)])
        inside = inside & (first <= index) & (index < first + side)
    return torch.where(inside, 0.0, image)


@dataclass
class VolumeVAE(WholeReconstruction):
    """Learns a distribution of healthy volumes; what it cannot restore from its code is anomalous."""

    grid: str = fit_option("g96", "model grid; volumes at 2 mm")
    width: Width = fit_option(
        32, "filters of the first layer, a multiple of 4; then 2, 4 and 4 times as many"
    )
    latent_dim: Size = fit_option(256, "length of the code")
    beta: Weight = fit_option(1.0, "weight of KL against L1, both summed; 1: Kingma & Welling 2014")
    erase: Share = fit_option(0.5, "chance that a box of a training volume is erased; 0: a plain VAE")
    steps: Steps = fit_option(60_000, "most training steps")
    batch: Size = fit_option(4, "volumes per step")
    learning_rate: Rate = fit_option(1e-4, "of Adam")
    cosine: bool = fit_option(False, "let the learning rate fall to 0 along half a cosine")
    validate_every: Every = fit_option(500, "steps between validations")
    patience: Count = fit_option(10, "validations without a new best before training ends; 0: never")

    def build(self) -> VolumeAutoencoder:
        """The network with fresh weights."""
        return VolumeAutoencoder(space.find_grid(self.grid).shape, self.width, self.latent_dim)

    def training_loss(self, network: VolumeAutoencoder, batch: training.Batch) -> Tensor:
        """The negative evidence lower bound of intact volumes, of which the network may see a part only."""
        seen = erase_box(batch.image, self.erase) if network.training else batch.image
        mean, log_variance = network.encode(seen)
        reconstruction = network.decode(draw_code(mean, log_variance, network.training), batch.image)
        return negative_elbo(batch.image, reconstruction, mean, log_variance, self.beta)


ENTRY = VolumeVAE
