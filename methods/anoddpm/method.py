"""AnoDDPM: diffusion with simplex noise and a partial chain (Wyatt et al. 2022). See card.toml."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data import space
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import diffusion, scores, training
from uadbench.learning.reconstruction import NetworkReconstruction
from uadbench.methods import Context, Score, State, Stochastic, fit_option, score_option
from uadbench.system.ranges import (
    Count,
    Decay,
    Depth,
    Length,
    Level,
    Multiples,
    Rate,
    Share,
    Size,
    Steps,
    Width,
)

ALPHA_BAR = diffusion.linear()


@dataclass
class AnoDDPM(Stochastic, NetworkReconstruction):
    """Learns to tell simplex noise from healthy slices; anomalies as large as the noise leave with it."""

    grid: str = fit_option("g192", "model grid; Wyatt 2022: 256 x 256 slices at about 1 mm")
    score_kind: str = score_option(
        "l1",
        "residual between volume and reconstruction; squared, for images in [-1, 1], is Wyatt 2022's",
        (*scores.KINDS, "squared"),
    )
    noise: str = fit_option(
        "simplex",
        "kind of noise; Wyatt 2022; gaussian: the paper's comparison; simplex_unit: of variance 1",
        diffusion.NOISES,
    )
    wavelength: Length = fit_option(64.0, "of the first octave in pixels; Wyatt 2022's code")
    bank: Count = fit_option(0, "cut fields from so many, for CPUs; 0: make each afresh, as published")
    width: Width = fit_option(128, "channels of the first level; Wyatt 2022's code")
    multiples: Multiples = fit_option("1-1-2-2-4-4", "channels of each level by width; Wyatt 2022's code")
    res_blocks: Depth = fit_option(2, "residual blocks of a level; Wyatt 2022's code")
    attention: Count = fit_option(
        2, "how many of the lowest levels have attention; Wyatt 2022: at 16 and 8 pixels"
    )
    head_channels: Size = fit_option(256, "channels of an attention head; Wyatt 2022's code: 2 heads of 512")
    groups: Size = fit_option(32, "groups of group normalisation; MONAI's default")
    fold: Depth = fit_option(
        1, "make blocks of so many pixels squared channels, for CPUs; 1: none, as published"
    )
    steps: Steps = fit_option(300_000, "training steps; Wyatt 2022's code: 3,000 epochs of 100")
    batch: Size = fit_option(1, "slices per step; Wyatt 2022's code")
    learning_rate: Rate = fit_option(1e-4, "of AdamW without weight decay; Wyatt 2022's code")
    cosine: bool = fit_option(False, "let the learning rate fall to 0 along half a cosine; not in the paper")
    ema: Decay = fit_option(0.9999, "decay of the averaged weights that score; Wyatt 2022 averages; 0: none")
    validate_every: Steps = fit_option(5_000, "steps between validations; 50 epochs of Wyatt 2022's")
    start: Level = score_option(250, "noise level to start from, of 0 ... 999; Wyatt 2022: 200-250")
    evaluations: Count = score_option(
        0, "of the network, from `start` in equal steps; 0: at every level, Wyatt 2022"
    )
    eta: Share = score_option(1.0, "noise put back in the chain; 1: DDPM, Wyatt 2022; 0: none, DDIM")
    score_batch: Size = score_option(16, "slices that pass the network at once; does not change scores")

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Learn to predict the noise in noised healthy slices."""
        schedule = training.Schedule(
            self.steps,
            self.batch,
            self.learning_rate,
            validate_every=self.validate_every,
            cosine=self.cosine,
            ema=self.ema,
        )
        self.network_, self.device_ = self.build(), context.device
        self.noise_ = self._noise()
        training.train(self.network_, self._loss, train, val, context, schedule, "anoddpm")
        return self

    def _loss(self, network: nn.Module, batch: training.Batch) -> Tensor:
        """Squared error of the predicted noise at a random level, over all pixels (Ho 2020, eq. 14)."""
        image, device = 2 * batch.image - 1, str(batch.image.device)
        level = diffusion.random_levels(len(image), device)
        noise = self.noise_.draw(len(image), device)
        noisy = diffusion.noised(image, noise, ALPHA_BAR.to(device)[level].view(-1, 1, 1, 1))
        return functional.mse_loss(network(noisy, level), noise)

    def score(self, volume: Volume) -> Score:
        """Residual between the volume and its reconstruction."""
        if self.score_kind != "squared":
            return super().score(volume)
        healthy = self.reconstruct(volume)
        return Score(squared(volume, healthy), healthy)

    def reconstruct(self, volume: Volume) -> NDArray[np.float32]:
        """What the chain makes of each noised axial slice, (C, R, A, S) in [0, 1]."""
        return training.reconstruct(self._restore, volume, self.device_, batch=volume.brain.shape[-1])

    def _restore(self, image: Tensor) -> Tensor:
        """Slices (N, 1, R, A) of a whole volume, noised and restored; noise is drawn for all at once."""

        def draw() -> Tensor:
            return self.noise_.draw(len(image), self.device_)

        def clean(noisy: Tensor, level: int) -> Tensor:
            epsilon = diffusion.in_batches(self.network_, noisy, level, self.score_batch)
            return diffusion.denoised(noisy, epsilon, ALPHA_BAR[level])

        noisy = diffusion.noised(2 * image - 1, draw(), ALPHA_BAR[self.start])
        through = diffusion.levels(self.start, self.evaluations)
        return (diffusion.chain(clean, noisy, ALPHA_BAR, through, self.eta, draw) + 1) / 2

    def load_state(self, state: State, context: Context) -> Self:
        """Build the network and give it the weights."""
        super().load_state(state, context)
        self.noise_ = self._noise()
        return self

    def _noise(self) -> diffusion.Noise:
        rows, columns, _ = space.find_grid(self.grid).shape
        return diffusion.Noise(self.noise, rows, columns, self.wavelength, self.bank)

    def build(self) -> diffusion.Denoiser:
        """The network with fresh weights."""
        return diffusion.Denoiser(
            self.width,
            self.multiples,
            self.res_blocks,
            self.attention,
            self.head_channels,
            self.groups,
            self.fold,
        )


def squared(volume: Volume, healthy: NDArray[np.float32]) -> scores.Map:
    """Squared residual (R, A, S) of images scaled to [-1, 1], mean over channels, 0 outside the brain."""
    error: scores.Map = (4 * (volume.image - healthy) ** 2).mean(0, dtype=np.float32) * volume.brain
    return error


ENTRY = AnoDDPM
