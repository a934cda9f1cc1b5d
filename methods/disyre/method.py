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
from uadbench.learning.augment import augment
from uadbench.learning.device import send
from uadbench.learning.foreign import same_height
from uadbench.learning.reconstruction import NetworkReconstruction
from uadbench.methods import Context, Score, fit_option, score_option
from uadbench.methods.disyre.anomalies import CLASSES, SEVERITIES, corrupt
from uadbench.system.ranges import Count, Decay, Depth, Every, Multiples, Rate, Size, Steps, Weight, Width

CLASS_SLICES, CLASS_PIXELS = 64, 50_000  # of each contrast, that the classes of intensity are found in


def find_classes(train: Volumes, seed: int) -> dict[str, NDArray[np.float32]]:
    """The centres of the classes of intensity (CLASSES,), ascending, of each contrast of healthy scans."""
    from sklearn.cluster import KMeans

    which, random = train.slices(), np.random.default_rng(seed)
    centres = {}
    for contrast in sorted(set(train.contrasts)):
        of_contrast = which[np.array(train.contrasts)[which[:, 0]] == contrast]
        drawn = random.choice(of_contrast, min(CLASS_SLICES, len(of_contrast)), replace=False)
        images, brains = train.read_slices(drawn)
        values = images[brains[:, None]]
        values = random.choice(values, min(CLASS_PIXELS, len(values)), replace=False)
        found = KMeans(CLASSES, n_init=1, random_state=seed).fit(values[:, None]).cluster_centers_
        centres[contrast] = np.sort(found.ravel()).astype(np.float32)
    return centres


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

    def __init__(self, width: int, multiples: str, blocks: int, attention: int) -> None:
        """`multiples` of the width, one for each level; attention at level number `attention`, 0: at none.

        MONAI's net also has attention at its very bottom, here with one head.
        """
        super().__init__()
        filters = [width * int(multiple) for multiple in multiples.split("-")]
        self.multiple = 2 ** (len(filters) - 1)
        self.unet = DiffusionModelUNet(
            2,
            1,
            1,
            blocks,
            filters,
            [level + 1 == attention for level in range(len(filters))],
            norm_num_groups=math.gcd(32, width // 2),  # of 2 filters or more: single ones lose their level
            num_head_channels=filters[-1],
        )

    def forward(self, image: Tensor, t: Tensor) -> Tensor:
        """Estimates of x_0 (B, 1, R, A) from x_t and t (B,); without training it changes nothing."""
        rows, columns = image.shape[-2:]
        pad = (0, -columns % self.multiple, 0, -rows % self.multiple)
        restored: Tensor = image + self.unet(functional.pad(image, pad), t)[..., :rows, :columns].float()
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
        "`fpi`: patches of other subjects (v1); `dag`: shapes and shifted intensities too (v2)",
        ("dag", "fpi"),
    )
    size: Size = fit_option(64, "largest edge of an anomaly in pixels; Naval Marimont 2024's code")
    augmented: bool = fit_option(True, "augment the slices of training; Naval Marimont 2024's trainer")
    width: Width = fit_option(32, "filters of the U-Net at full resolution; Naval Marimont 2024's code")
    multiples: Multiples = fit_option(
        "1-2-3-4-8-8", "filters of each level by width; Naval Marimont 2024's code"
    )
    blocks: Depth = fit_option(2, "residual blocks at each level; Naval Marimont 2024's code")
    attention: Count = fit_option(
        5, "level with attention beside the bottom, 0: none; Naval Marimont 2024's code: at 8 x 8"
    )
    steps: Steps = fit_option(100_000, "training steps; Naval Marimont 2024's code")
    batch: Size = fit_option(96, "patches per step; Naval Marimont 2024's code: 12 slices of 8 volumes")
    learning_rate: Rate = fit_option(1e-4, "of AdamW; Naval Marimont 2024's code")
    weight_decay: Weight = fit_option(1e-6, "of AdamW; Naval Marimont 2024's trainer")
    beta1: Decay = fit_option(0.95, "of AdamW; Naval Marimont 2024's trainer")
    cosine: bool = fit_option(
        True, "let the learning rate fall to 0 along half a cosine; Naval Marimont 2024's trainer"
    )
    warm_up: Count = fit_option(500, "steps in which the learning rate rises; Naval Marimont 2024's trainer")
    ema: Decay = fit_option(
        0.0, "decay of a moving average of the weights; 0: none; Naval Marimont 2024's trainer"
    )
    validate_every: Every = fit_option(2000, "steps between validations; the last weights are kept")
    levels: Size = score_option(4, "severities that are averaged, evenly spaced from the mildest; v2: 4 to 5")
    score_kind: str = score_option(
        "ensemble",
        "`ensemble`: mean over the severities of |x - x0(t)| (Naval Marimont 2024); else a residual to the "
        "mean of the x0(t), shared by all tables",
        ("ensemble", *scores.KINDS),
    )

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Undo anomalies that were blended into healthy slices."""
        centres, slices = find_classes(train, context.seed), training.Slices(train, context.device)

        def loss(network: Restorer, batch: training.Batch) -> Tensor:
            # `which` of a batch counts volumes of the cohort that the batch was drawn from.
            own = train if network.training else val
            foreign = slices.find(same_height(batch.which, own, train)).image
            classes = np.stack([centres[own.contrasts[volume]] for volume, _ in batch.which])
            return self._loss(network, batch, foreign, send(torch.from_numpy(classes), context.device))

        # What is kept are the last weights, not those of the best validation.
        schedule = training.Schedule.of(self, keep_best=False)
        optimiser = partial(torch.optim.AdamW, betas=(self.beta1, 0.999))
        self.network_, self.device_ = self.build(), context.device
        training.train(self.network_, loss, slices, val, context, schedule, "disyre", optimiser)
        return self

    def _loss(self, network: Restorer, batch: training.Batch, foreign: Tensor, centres: Tensor) -> Tensor:
        image, brain = batch.image, batch.brain
        if self.augmented and network.training:
            image, brain = augment(image, brain)
        image, brain, foreign = cut_patches([image, brain, foreign], self.patch)
        changed, t = corrupt(image, brain, foreign, centres, self.anomalies, self.size)
        # The whole patch counts: where nothing was blended in, nothing is to be changed.
        return functional.mse_loss(network(changed, t), image)

    def severities(self) -> list[int]:
        """The t of scoring, from the mildest: 99, 74, 49, 24 for four."""
        return [SEVERITIES - 1 - round(SEVERITIES * k / self.levels) for k in range(self.levels)]

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
        return Restorer(self.width, self.multiples, self.blocks, self.attention)


ENTRY = Disyre
