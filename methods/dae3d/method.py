"""Denoising auto-encoder of whole volumes, after Kascenas, Pugeault, O'Neil 2022. See card.toml."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from uadbench.learning import training
from uadbench.learning.whole import WholeReconstruction, padded
from uadbench.methods import fit_option
from uadbench.system.ranges import Every, Rate, Size, Steps, Weight, Width

DEPTH = 4  # resolutions of the U-Net (Kascenas 2022)
GROUPS = 8  # of each group normalisation; a choice of this suite


class StandardisedConvolution(nn.Conv3d):
    """A convolution whose filters have mean 0 and deviation 1, however they are trained (Qiao 2019)."""

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, D, R, A, S) of features (B, C, R, A, S)."""
        deviation, mean = torch.std_mean(self.weight, (1, 2, 3, 4), keepdim=True)
        result: Tensor = self._conv_forward(features, (self.weight - mean) / (deviation + 1e-5), self.bias)
        return result


def block(channels: int, filters: int) -> nn.Sequential:
    """Two convolutions at one resolution."""
    layers: list[nn.Module] = []
    for inputs in (channels, filters):
        convolution = StandardisedConvolution(inputs, filters, 3, padding=1)
        layers += [convolution, nn.GroupNorm(GROUPS, filters), nn.SiLU()]
    return nn.Sequential(*layers)


def halved(features: Tensor) -> Tensor:
    """Means of 2 x 2 x 2 voxels: (B, C, R, A, S) with even R, A, S to half of each.

    torch's own pooling in three dimensions has a backward pass that CUDA does not repeat to the bit.
    """
    for axis in (2, 3, 4):
        features = torch.unflatten(features, axis, (-1, 2)).mean(axis + 1)
    return features


class UNet(nn.Module):
    """Kascenas' U-Net in three dimensions: means down, transposed convolutions up, skips; linear output."""

    def __init__(self, width: int) -> None:
        """With `width` filters at full resolution, twice as many at each of three halvings."""
        super().__init__()
        filters = [width * 2**level for level in range(DEPTH)]
        self.down = nn.ModuleList(block(a, b) for a, b in pairwise([1, *filters]))
        self.enlarge = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in pairwise(filters))
        self.up = nn.ModuleList(block(2 * a, a) for a in filters[:-1])  # of the skip and what is enlarged
        self.output = nn.Conv3d(width, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Clean volumes (B, 1, R, A, S) of noisy ones; they are padded to a multiple of 8."""
        right, front, top = image.shape[-3:]
        features = self.down[0](padded(image, 2 ** (DEPTH - 1)))
        skips = []
        for down in list(self.down)[1:]:
            skips.append(features)
            features = down(halved(features))
        for enlarge, up, skip in list(zip(self.enlarge, self.up, skips, strict=True))[::-1]:
            features = up(torch.cat([skip, enlarge(features)], 1))
        clean: Tensor = self.output(features)
        return clean[..., :right, :front, :top].float()


def kept_variance(edge: int, cells: int) -> float:
    """The share of the nodes' variance that is left by enlarging `cells` of them to `edge` voxels, about 2/3.

    A voxel at f of the way between two nodes is their mean with the weights 1 - f and f.
    """
    between = np.linspace(0, cells - 1, edge) % 1
    return float(np.mean((1 - between) ** 2 + between**2))


def coarse_noise(like: Tensor, deviation: float, cells: int) -> Tensor:
    """Noise (B, C, R, A, S) of mean 0 and this deviation: normal on cells^3 nodes, enlarged trilinearly.

    It is rolled at random along each axis, by the same for all volumes of a batch: on average it is as strong
    between the nodes as on them.
    """
    shape = like.shape[-3:]
    kept = math.prod(kept_variance(edge, cells) for edge in shape)
    nodes = deviation / kept**0.5 * torch.randn(*like.shape[:2], cells, cells, cells, device=like.device)
    noise = functional.interpolate(nodes, shape, mode="trilinear", align_corners=True)
    return torch.roll(noise, [int(torch.randint(edge, ())) for edge in shape], (2, 3, 4))


@dataclass
class VolumeDAE(WholeReconstruction):
    """Learns to remove blotches of noise from healthy volumes; what it removes unasked is anomalous."""

    grid: str = fit_option("g96", "model grid; volumes at 2 mm")
    width: Width = fit_option(32, "filters at full resolution, a multiple of 8; Kascenas 2022: 64")
    noise_deviation: Weight = fit_option(
        0.133, "deviation of the noise as it is added; that of Kascenas 2022, 2/3 of .2 at the nodes"
    )
    noise_cells: Size = fit_option(16, "nodes of the noise's grid along each side; Kascenas 2022")
    steps: Steps = fit_option(20_000, "training steps")
    batch: Size = fit_option(2, "volumes per step")
    learning_rate: Rate = fit_option(1e-4, "highest, of Adam; Kascenas 2022")
    cosine: bool = fit_option(True, "let the learning rate fall to 0 along half a cosine")
    validate_every: Every = fit_option(500, "steps between validations; the best weights are kept")

    def build(self) -> UNet:
        """The network with fresh weights."""
        return UNet(self.width)

    def training_loss(self, network: UNet, batch: training.Batch) -> Tensor:
        """Mean squared error in the brain of what the network makes of volumes with noise in the brain."""
        noise = coarse_noise(batch.image, self.noise_deviation, self.noise_cells)
        error = (network(batch.image + noise * batch.brain) - batch.image) ** 2 * batch.brain
        loss: Tensor = error.sum() / batch.brain.sum()
        return loss


ENTRY = VolumeDAE
