"""Denoising auto-encoder with coarse noise (Kascenas, Pugeault, O'Neil 2022). See card.toml."""

import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import training
from uadbench.learning.reconstruction import NetworkReconstruction
from uadbench.methods import Context, Score, fit_option, score_option
from uadbench.system.ranges import Every, Rate, Share, Size, Steps, Weight, Width

DEPTH = 4  # resolutions of the U-Net (Kascenas 2022)
GROUPS = 8  # of each group normalisation; a choice of this suite


class StandardisedConvolution(nn.Conv2d):
    """A convolution whose filters have mean 0 and deviation 1, however they are trained (Qiao 2019)."""

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, D, R, A) of features (B, C, R, A)."""
        deviation, mean = torch.std_mean(self.weight, (1, 2, 3), keepdim=True)
        result: Tensor = self._conv_forward(features, (self.weight - mean) / (deviation + 1e-5), self.bias)
        return result


def block(channels: int, filters: int) -> nn.Sequential:
    """Two convolutions at one resolution."""
    layers: list[nn.Module] = []
    for inputs in (channels, filters):
        convolution = StandardisedConvolution(inputs, filters, 3, padding=1, padding_mode="reflect")
        layers += [convolution, nn.GroupNorm(GROUPS, filters), nn.SiLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Kascenas' U-Net: average pooling down, transposed convolutions up, skips; the output is linear."""

    def __init__(self, width: int) -> None:
        """With `width` filters at full resolution, twice as many at each of three halvings."""
        super().__init__()
        filters = [width * 2**level for level in range(DEPTH)]
        self.down = nn.ModuleList(block(a, b) for a, b in pairwise([1, *filters]))
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(filters))
        self.up = nn.ModuleList(block(2 * a, a) for a in filters[:-1])  # of the skip and what is enlarged
        self.output = nn.Conv2d(width, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Clean slices (B, 1, R, A) of noisy ones; they are padded to a multiple of 8."""
        rows, columns = image.shape[-2:]
        multiple = 2 ** (DEPTH - 1)
        features = self.down[0](functional.pad(image, (0, -columns % multiple, 0, -rows % multiple)))
        skips = []
        for down in list(self.down)[1:]:
            skips.append(features)
            features = down(functional.avg_pool2d(features, 2))
        for enlarge, up, skip in list(zip(self.enlarge, self.up, skips, strict=True))[::-1]:
            features = up(torch.cat([skip, enlarge(features)], 1))
        clean: Tensor = self.output(features)
        return clean[..., :rows, :columns].float()


def coarse_noise(like: Tensor, sigma: float, cells: int) -> Tensor:
    """Noise (B, C, R, A): normal on a grid of cells x cells, enlarged bilinearly, rolled at random.

    In between the nodes the enlarging averages them, so the deviation that arrives is 2/3 of `sigma`.
    The roll, one for all slices of a batch, makes it the same everywhere (Kascenas 2022, published code).
    """
    batch, channels, rows, columns = like.shape
    nodes = sigma * torch.randn(batch, channels, cells, cells, device=like.device)
    noise = functional.interpolate(nodes, (rows, columns), mode="bilinear", align_corners=True)
    shift = int(torch.randint(rows, ())), int(torch.randint(columns, ()))
    return torch.roll(noise, shift, (2, 3))


KNOTS = 6  # of a random curve of grey values


def recoloured(image: Tensor, share: float) -> Tensor:
    """Slices (B, 1, R, A) in [0, 1], about a `share` of them through a random curve: another contrast.

    Each curve is linear between `KNOTS` random values, so it may rise and fall.
    """
    values = torch.rand(len(image), KNOTS, device=image.device)
    place = image.clamp(0, 1).flatten(1) * (KNOTS - 1)
    left = place.floor().clamp(max=KNOTS - 2).long()
    low, high = values.gather(1, left), values.gather(1, left + 1)
    curved = (low + (place - left) * (high - low)).view_as(image)
    return torch.where(torch.rand(len(image), 1, 1, 1, device=image.device) < share, curved, image)


def denoising_loss(
    network: nn.Module, batch: training.Batch, sigma: float, cells: int, curves: float = 0.0
) -> Tensor:
    """Mean squared error in the brain of what the network makes of slices with noise in the brain."""
    image = recoloured(batch.image, curves) * batch.brain if curves else batch.image
    noisy = image + coarse_noise(image, sigma, cells) * batch.brain
    error = (network(noisy) - image) ** 2 * batch.brain
    loss: Tensor = error.sum() / batch.brain.sum()
    return loss


def interior(brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels (R, A, S) in the brain with at least 24 of the 25 around them in their axial slice."""
    share = uniform_filter(brain.astype(np.float32), 5, axes=(0, 1), mode="constant")
    return brain & (share > 0.95)


@dataclass(frozen=True)
class Oscillating(training.Schedule):
    """The learning rate falls to 0 along half a cosine, and rises and falls on along the same cosine."""

    half_period: int = 1  # steps

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * step / self.half_period))


@dataclass
class DAE(NetworkReconstruction):
    """Learns to remove blotches of noise from healthy slices; what it removes unasked is anomalous."""

    grid: str = fit_option("g128", "model grid; Kascenas 2022: 128 x 128 slices")
    width: Width = fit_option(64, "filters at full resolution, a multiple of 8; Kascenas 2022")
    noise_sigma: Weight = fit_option(0.2, "deviation of the noise at the nodes of its grid; Kascenas 2022")
    noise_cells: Size = fit_option(16, "nodes of the noise's grid along each side; Kascenas 2022")
    curves: Share = fit_option(
        0.0, "share of the slices in training whose grey values pass a random curve; not published"
    )
    steps: Steps = fit_option(67_200, "training steps; Kascenas 2022's code: 2,100 epochs of 32")
    batch: Size = fit_option(16, "slices per step; Kascenas 2022's code")
    learning_rate: Rate = fit_option(1e-4, "highest, of Adam with AMSGrad; Kascenas 2022's code")
    weight_decay: Weight = fit_option(1e-5, "L2 penalty, as part of Adam's gradient; Kascenas 2022's code")
    half_period: Every = fit_option(
        3200,
        "steps in which the learning rate falls to 0 along half a cosine before it rises again; Kascenas "
        "2022's code: 100 epochs of 32",
    )
    validate_every: Every = fit_option(1600, "steps between validations; the best weights are kept")
    trim_border: bool = score_option(
        False,
        "no score where more than one of the 5 x 5 pixels around is outside the brain; Kascenas 2022's code; "
        "off, because post-processing is the protocol's, the same for all",
    )

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Minimise the error of denoised healthy slices."""
        self.network_, self.device_ = self.build(), context.device
        loss = partial(denoising_loss, sigma=self.noise_sigma, cells=self.noise_cells, curves=self.curves)
        schedule = Oscillating.of(self, clip=0.5)  # the published code clips gradients to this norm
        adam = partial(torch.optim.Adam, amsgrad=True)
        training.train(self.network_, loss, train, val, context, schedule, "dae", adam)
        return self

    def score(self, volume: Volume) -> Score:
        """Residual between the volume and what the network makes of it; no noise is added."""
        answer = super().score(volume)
        if not self.trim_border:
            return answer
        return replace(answer, score_map=answer.score_map * interior(volume.brain))

    def build(self) -> UNet:
        """The network with fresh weights."""
        return UNet(self.width)


ENTRY = DAE
