"""DISYRE: restoration of synthetic anomalies of graded severity (Naval Marimont 2024). See card.toml."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from monai.networks.nets import DiffusionModelUNet
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import scores, training
from uadbench.learning.reconstruction import NetworkReconstruction
from uadbench.methods import Context, Score, fit_option, score_option
from uadbench.system.errors import UserError
from uadbench.system.ranges import Decay, Depth, Rate, Size, Steps, Weight, Width

SEVERITIES = 100  # t runs from 1 to it (Naval Marimont 2024)


def corrupt(image: Tensor, source: Tensor, mask: Tensor, t: Tensor) -> Tensor:
    """x_t = (1 - a m) x + a m x_fp with a = t / 100: where the mask is 0 the slice stays as it is.

    `image`, `source`, `mask` (B, 1, R, A) in [0, 1], `t` (B,) (Naval Marimont 2024).
    """
    weight = (t / SEVERITIES)[:, None, None, None] * mask
    return (1 - weight) * image + weight * source


def around_brain_pixels(brain: Tensor) -> tuple[Tensor, Tensor]:
    """Distances in pixels, down and right, of each pixel from a random brain pixel, each (B, 1, R, A)."""
    rows, columns = brain.shape[-2:]
    # A patch may hold no brain: then any pixel will do, as the mask is cut to the brain.
    centre = torch.multinomial(brain.flatten(1).float() + 1e-9, 1)[..., None, None]  # (B, 1, 1, 1)
    down = torch.arange(rows, device=brain.device)[:, None] - centre // columns
    right = torch.arange(columns, device=brain.device) - centre % columns
    return down.expand(brain.shape).float(), right.expand(brain.shape).float()


def uniform(low: float, high: float, like: Tensor) -> Tensor:
    """One number for each slice of a batch, (B, 1, 1, 1)."""
    return low + (high - low) * torch.rand(len(like), 1, 1, 1, device=like.device)


def boxes(brain: Tensor, size: int) -> Tensor:
    """Rectangles with edges of size / 8 to size pixels around a brain pixel, inside the brain; 0 or 1."""
    down, right = around_brain_pixels(brain)
    height, width = uniform(size / 8, size, brain), uniform(size / 8, size, brain)
    inside = (down.abs() <= height / 2) & (right.abs() <= width / 2)
    return (inside & brain).float()


def blobs(brain: Tensor, size: int) -> Tensor:
    """Rotated ellipses with a wavy, soft edge around a brain pixel, inside the brain; in [0, 1].

    The axes have size / 8 to size pixels; waves and softness only take away from the ellipse.
    """
    down, right = around_brain_pixels(brain)
    turn = uniform(0, math.pi, brain)
    along = (down * turn.cos() + right * turn.sin()) / uniform(size / 16, size / 2, brain)
    across = (right * turn.cos() - down * turn.sin()) / uniform(size / 16, size / 2, brain)
    angle = torch.atan2(across, along)
    edge = torch.ones_like(angle)
    for waves in (2, 3, 5):
        wave = (waves * angle + uniform(0, 2 * math.pi, brain)).cos()
        edge = edge - uniform(0, 0.1, brain) * (1 + wave)
    soft = uniform(0.02, 0.5, brain)
    return ((edge - torch.hypot(along, across)) / soft).clamp(0, 1) * brain


def smooth_noise(like: Tensor, pixels: int) -> Tensor:
    """Normal noise on a lattice of so many pixels, interpolated linearly: as `like` (B, 1, R, A)."""
    rows, columns = like.shape[-2:]
    nodes = torch.randn(len(like), 1, rows // pixels + 2, columns // pixels + 2, device=like.device)
    return functional.interpolate(nodes, size=(rows, columns), mode="bilinear", align_corners=True)


def textures(image: Tensor) -> Tensor:
    """A grey level with noise that is fine or coarse, in [0, 1]."""
    coarse = uniform(0, 1, image)
    noise = coarse * smooth_noise(image, 4) + (1 - coarse) * torch.randn_like(image)
    return (uniform(0, 1, image) + uniform(0, 0.2, image) * noise).clamp(0, 1)


def biases(image: Tensor) -> Tensor:
    """The slice made darker or brighter by a smoothly varying factor of about 0.4 to 1.6, in [0, 1]."""
    return (image * (1 + uniform(-0.6, 0.6, image) + 0.1 * smooth_noise(image, 16))).clamp(0, 1)


def anomalous(image: Tensor, brain: Tensor, foreign: Tensor, kind: str, size: int) -> tuple[Tensor, Tensor]:
    """What is blended in and where, each (B, 1, R, A).

    `fpi`: rectangles of another subject's slice (Tan et al. 2020). `dag`: blobs of another subject's slice,
    of a texture or of the slice itself under another bias, one of the three for each slice.
    """
    if kind == "fpi":
        return foreign, boxes(brain, size)
    choice = torch.randint(3, (len(image), 1, 1, 1), device=image.device)
    source = torch.where(choice == 0, foreign, torch.where(choice == 1, textures(image), biases(image)))
    return source, blobs(brain, size)


def same_height(which: NDArray[np.int64], own: Volumes, train: Volumes) -> NDArray[np.float32]:
    """For each (volume, slice) of `own` that slice of a random other subject of `train`: (B, 1, R, A).

    Volumes without geometry may have unequal numbers of slices: there, the slice as far up, as a share.
    """
    groups, contrasts = np.array(train.groups), np.array(train.contrasts)
    drawn = []
    for volume, position in which:
        allowed = contrasts == own.contrasts[volume]
        if own is train:
            allowed &= groups != groups[volume]
        if not allowed.any():
            raise UserError("DISYRE blends slices of two subjects: each contrast needs two of them to train.")
        other = np.random.choice(np.flatnonzero(allowed))
        drawn.append((other, position * train.depths[other] // own.depths[volume]))
    return train.read_slices(np.array(drawn, np.int64))[0]


def cut_patches(tensors: list[Tensor], size: int) -> list[Tensor]:
    """The same random patch of at most size x size pixels of each tensor, another one for each slice."""
    rows, columns = tensors[0].shape[-2:]
    height, width = min(size, rows), min(size, columns)
    top = torch.randint(rows - height + 1, (len(tensors[0]),)).tolist()
    left = torch.randint(columns - width + 1, (len(tensors[0]),)).tolist()
    return [
        torch.stack([x[:, a : a + height, b : b + width] for x, a, b in zip(t, top, left, strict=True)])
        for t in tensors
    ]


class Restorer(nn.Module):
    """Takes the anomaly of a given severity out of a slice: a U-Net with an embedding of t."""

    def __init__(self, width: int, blocks: int) -> None:
        """`width` filters at full resolution, then 2, 4 and 4 times as many, `blocks` at each going down."""
        super().__init__()
        filters = (width, 2 * width, 4 * width, 4 * width)
        groups = min(32, width // 2)  # of 2 filters or more: single ones would lose their level
        # Attention is left to the middle block, where MONAI always has it: here with one head.
        self.unet = DiffusionModelUNet(
            2, 1, 1, blocks, filters, [False] * 4, norm_num_groups=groups, num_head_channels=filters[-1]
        )

    def forward(self, image: Tensor, t: Tensor) -> Tensor:
        """Estimates of x_0 (B, 1, R, A) from x_t and t (B,); without training it changes nothing."""
        rows, columns = image.shape[-2:]
        change = self.unet(functional.pad(image, (0, -columns % 8, 0, -rows % 8)), t)
        restored: Tensor = image + change[..., :rows, :columns].float()
        return restored


@dataclass
class Disyre(NetworkReconstruction):
    """Learns to undo synthetic anomalies of every severity; what it undoes is anomalous."""

    grid: str = fit_option("g192", "model grid; full slices at 1 mm are cut into patches")
    patch: Size = fit_option(
        128, "edge of the patches in pixels, of training and scoring; Naval Marimont 2024's code"
    )
    anomalies: str = fit_option(
        "dag",
        "`fpi`: patches of other subjects (v1); `dag`: shapes, textures and biases too (v2)",
        ("dag", "fpi"),
    )
    size: Size = fit_option(64, "largest edge of an anomaly in pixels; Naval Marimont 2024's code")
    width: Width = fit_option(64, "filters of the U-Net at full resolution; not stated in what was read")
    blocks: Depth = fit_option(
        2, "residual blocks at each resolution of the U-Net; not stated in what was read"
    )
    steps: Steps = fit_option(100_000, "training steps; Naval Marimont 2024's code")
    batch: Size = fit_option(64, "patches per step; Naval Marimont 2024's code")
    learning_rate: Rate = fit_option(1e-4, "of AdamW; Naval Marimont 2024's code")
    weight_decay: Weight = fit_option(0.01, "of AdamW; PyTorch's default, not stated in what was read")
    cosine: bool = fit_option(False, "let the learning rate fall to 0 along half a cosine; not in the paper")
    ema: Decay = fit_option(0.999, "decay of the moving average of the weights; its value is not stated")
    validate_every: Steps = fit_option(2000, "steps between validations; the last weights are kept")
    levels: Size = score_option(5, "severities 100 / levels, ..., 100 that are averaged; v2: 4 to 5")
    score_kind: str = score_option(
        "ensemble",
        "`ensemble`: mean over the severities of |x - x0(t)| (Naval Marimont 2024); else a residual to the "
        "mean of the x0(t), shared by all tables",
        ("ensemble", *scores.KINDS),
    )

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Undo anomalies that were blended into healthy slices."""

        def loss(network: Restorer, batch: training.Batch) -> Tensor:
            # `which` of a batch counts volumes of the cohort that the batch was drawn from.
            foreign = same_height(batch.which, train if network.training else val, train)
            return self._loss(network, batch, torch.from_numpy(foreign).to(batch.image.device))

        # What is kept is the last moving average of the weights, not that of the best validation.
        schedule = training.Schedule.of(self, keep_best=False)
        self.network_, self.device_ = self.build(), context.device
        training.train(self.network_, loss, train, val, context, schedule, "disyre")
        return self

    def _loss(self, network: Restorer, batch: training.Batch, foreign: Tensor) -> Tensor:
        image, brain, foreign = cut_patches([batch.image, batch.brain, foreign], self.patch)
        # Every severity alike: a real lesion's is not known, so scoring asks for several.
        t = torch.randint(1, SEVERITIES + 1, (len(image),), device=image.device)
        source, mask = anomalous(image, brain, foreign, self.anomalies, self.size)
        # The whole patch counts: where nothing was blended in, nothing is to be changed.
        return functional.mse_loss(network(corrupt(image, source, mask, t), t), image)

    def severities(self) -> list[int]:
        """The t of scoring, from mild to all."""
        return [round(SEVERITIES * (k + 1) / self.levels) for k in range(self.levels)]

    def restorations(self, volume: Volume) -> list[NDArray[np.float32]]:
        """One pseudo-healthy volume (C, R, A, S) for each severity."""
        networks = [partial(self._restored, t=t) for t in self.severities()]
        return [training.reconstruct(network, volume, self.device_) for network in networks]

    def _restored(self, image: Tensor, t: int) -> Tensor:
        """x0(t) of slices (B, 1, R, A); larger ones from patches that overlap by half (Gaussian weights)."""

        def network(part: Tensor) -> Tensor:
            restored: Tensor = self.network_(part, torch.full((len(part),), t, device=part.device))
            return restored

        if max(image.shape[-2:]) <= self.patch:
            return network(image)
        window = [min(self.patch, edge) for edge in image.shape[-2:]]
        restored: Any = sliding_window_inference(image, window, 16, network, 0.5, "gaussian")
        return restored  # type: ignore[no-any-return]

    def reconstruct(self, volume: Volume) -> NDArray[np.float32]:
        """Mean of the restorations."""
        mean: NDArray[np.float32] = np.mean(self.restorations(volume), axis=0, dtype=np.float32)
        return mean

    def score(self, volume: Volume) -> Score:
        """Mean residual over the severities, or one of the shared residuals to the mean restoration."""
        if self.score_kind != "ensemble":
            return super().score(volume)
        restored = np.stack(self.restorations(volume))  # (levels, C, R, A, S)
        residuals = np.stack([scores.residual("l1", volume, x) for x in restored])
        return Score(residuals.mean(0), restored.mean(0))

    def build(self) -> Restorer:
        """The network with fresh weights."""
        return Restorer(self.width, self.blocks)


ENTRY = Disyre
