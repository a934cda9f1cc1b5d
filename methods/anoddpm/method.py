"""AnoDDPM: diffusion with simplex noise and a partial chain (Wyatt et al. 2022). See card.toml."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from uadbench.data.volumes import Volume
from uadbench.learning import diffusion, scores
from uadbench.learning.noise import NOISES
from uadbench.learning.training import Batch
from uadbench.methods import Score, fit_option, score_option
from uadbench.system.ranges import Count, Decay, Depth, Every, Level, Multiples, Rate, Size, Steps, Width


@dataclass
class AnoDDPM(diffusion.ChainReconstruction):
    """Learns to tell simplex noise from healthy slices; anomalies as large as the noise leave with it."""

    alpha_bar = diffusion.linear()
    deviation = 0.503  # of 80 fields of the published code, 256 x 256, with the noise level as depth

    grid: str = fit_option("g192", "model grid; Wyatt 2022: 256 x 256 slices at about 1 mm")
    score_kind: str = score_option(
        "l1",
        "residual between volume and reconstruction; squared, for images in [-1, 1], is Wyatt 2022's",
        (*scores.KINDS, "squared"),
    )
    noise: str = fit_option(
        "simplex",
        "kind of noise; Wyatt 2022; gaussian: the paper's comparison; simplex_unit: of variance 1",
        NOISES,
    )
    width: Width = fit_option(128, "channels of the first level; Wyatt 2022's code")
    multiples: Multiples = fit_option("1-1-2-2-4-4", "channels of each level by width; Wyatt 2022's code")
    res_blocks: Depth = fit_option(2, "residual blocks of a level; Wyatt 2022's code")
    attention: Count = fit_option(
        3, "how many of the lowest levels have attention; Wyatt 2022's code: at 32, 16 and 8 pixels"
    )
    head_channels: Size = fit_option(256, "channels of an attention head; Wyatt 2022's code: 2 heads of 512")
    resample_blocks: bool = fit_option(
        False, "halve and double the resolution in residual blocks; this suite's choice"
    )
    train_levels: Annotated[int, Meta(ge=1, le=diffusion.LEVELS)] = fit_option(
        800, "noise levels of training, from 0 on; Wyatt 2022's code: `train_start`"
    )
    steps: Steps = fit_option(300_000, "training steps; Wyatt 2022's code: 3,000 epochs of 100")
    batch: Size = fit_option(1, "slices per step; Wyatt 2022's code")
    learning_rate: Rate = fit_option(1e-4, "of AdamW without weight decay; Wyatt 2022's code")
    ema: Decay = fit_option(0.9999, "decay of the averaged weights that score; Wyatt 2022 averages; 0: none")
    validate_every: Every = fit_option(5_000, "steps between validations; 50 epochs of Wyatt 2022's")
    start: Level = score_option(
        200, "noise level to start from, of 0 ... 999; Wyatt 2022's code (detection.py), for its metrics"
    )
    score_batch: Size = score_option(16, "slices that pass the network at once; does not change scores")

    def training_loss(self, network: Any, batch: Batch) -> Tensor:
        """Squared error of the predicted noise at a random level, over all pixels (Ho 2020, eq. 14)."""
        image = 2 * batch.image - 1
        level = diffusion.random_levels(len(image), str(image.device), self.train_levels)
        noisy, noise = self.add_noise(image, level)
        return functional.mse_loss(network(noisy, level), noise)

    def clean(self, noisy: Tensor, level: int) -> Tensor:
        """The network says what the noise is; without it the image is left."""
        return diffusion.denoised(noisy, self.ask(noisy, level), self.alpha_bar[level])

    def score(self, volume: Volume) -> Score:
        """Residual between the volume and its reconstruction."""
        if self.score_kind != "squared":
            return super().score(volume)
        healthy = self.reconstruct(volume)
        return Score(squared(volume, healthy), healthy)


def squared(volume: Volume, healthy: NDArray[np.float32]) -> scores.Map:
    """Squared residual (R, A, S) of images scaled to [-1, 1], mean over channels, 0 outside the brain."""
    error: scores.Map = (4 * (volume.image - healthy) ** 2).mean(0, dtype=np.float32) * volume.brain
    return error


ENTRY = AnoDDPM
