"""Patched diffusion of axial slices (Behrendt et al. 2023, MIDL). See card.toml."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uadbench.data import space
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import diffusion, training
from uadbench.learning.reconstruction import NetworkReconstruction
from uadbench.methods import Context, State, Stochastic, fit_option, score_option
from uadbench.system.ranges import Count, Depth, Length, Level, Multiples, Rate, Size, Steps, Width

ALPHA_BAR = diffusion.cosine()
BOXES = 4  # quarters of the slice, two by two


@dataclass
class PatchedDDPM(Stochastic, NetworkReconstruction):
    """Learns what a noised quarter of a healthy slice looks like, given the other three without noise."""

    grid: str = fit_option("g96", "model grid; Behrendt 2023: 96 x 96 slices at 2 mm, boxes of 48 x 48")
    noise: str = fit_option(
        "simplex",
        "kind of noise; Behrendt 2023: simplex; gaussian and simplex_unit: of variance 1",
        diffusion.NOISES,
    )
    wavelength: Length = fit_option(64.0, "of simplex noise's first octave in pixels; AnoDDPM's code")
    bank: Count = fit_option(0, "cut fields from so many, for CPUs; 0: make each afresh, as published")
    width: Width = fit_option(128, "channels of the first level; Behrendt 2023's code")
    multiples: Multiples = fit_option("1-2-2", "channels of each level by width; Behrendt 2023's code")
    res_blocks: Depth = fit_option(3, "residual blocks of a level; Behrendt 2023's code")
    attention: Count = fit_option(1, "how many of the lowest levels have attention; our choice")
    head_channels: Size = fit_option(64, "channels of an attention head; Behrendt 2023's code")
    groups: Size = fit_option(32, "groups of group normalisation; MONAI's default")
    fold: Depth = fit_option(
        1, "make blocks of so many pixels squared channels, for CPUs; 1: none, as published"
    )
    steps: Steps = fit_option(19_200, "training steps; Behrendt 2023's code: 1,600 epochs of 358 slices")
    batch: Size = fit_option(32, "slices per step; Behrendt 2023's code")
    learning_rate: Rate = fit_option(1e-4, "of Adam; Behrendt 2023's code")
    cosine: bool = fit_option(False, "let the learning rate fall to 0 along half a cosine; not in the paper")
    validate_every: Steps = fit_option(240, "steps between validations; 20 epochs of Behrendt 2023's")
    start: Level = score_option(500, "noise level of the test, of 0 ... 999; Behrendt 2023")
    score_batch: Size = score_option(32, "slices that pass the network at once; does not change scores")

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Learn to predict a noised box of healthy slices."""
        schedule = training.Schedule(
            self.steps,
            self.batch,
            self.learning_rate,
            validate_every=self.validate_every,
            cosine=self.cosine,
        )
        self.network_, self.device_ = self.build(), context.device
        self.noise_ = self._noise()
        training.train(self.network_, self._loss, train, val, context, schedule, "pddpm")
        return self

    def _loss(self, network: nn.Module, batch: training.Batch) -> Tensor:
        """L1 within a random box of each slice between the slice and what the network sees there."""
        image, device = 2 * batch.image - 1, str(batch.image.device)
        level = diffusion.random_levels(len(image), device)
        share = ALPHA_BAR.to(device)[level].view(-1, 1, 1, 1)
        box = boxes(*image.shape[-2:])[torch.randint(BOXES, (len(image),))].to(device)
        noisy = diffusion.noised(image, self.noise_.draw(len(image), device), share)
        return box_loss(network(torch.where(box, noisy, image), level), image, box)

    def reconstruct(self, volume: Volume) -> NDArray[np.float32]:
        """What the network makes of each axial slice, box by box, (C, R, A, S) in [0, 1]."""
        return training.reconstruct(self._restore, volume, self.device_, batch=volume.brain.shape[-1])

    def _restore(self, image: Tensor) -> Tensor:
        """Slices (N, 1, R, A) of a whole volume: each box noised and restored once, then put together."""
        image = 2 * image - 1
        noisy = diffusion.noised(image, self.noise_.draw(len(image), self.device_), ALPHA_BAR[self.start])
        stitched = torch.zeros_like(image)
        for box in boxes(*image.shape[-2:]).to(self.device_):
            patched = torch.where(box, noisy, image)
            answer = diffusion.in_batches(self.network_, patched, self.start, self.score_batch)
            stitched = torch.where(box, answer.clamp(-1, 1), stitched)
        return (stitched + 1) / 2

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


def boxes(rows: int, columns: int) -> Tensor:
    """The four quarters of a slice as masks (4, 1, rows, columns) bool; together they are the slice."""
    low = torch.arange(rows)[:, None] < rows // 2, torch.arange(columns) < columns // 2
    return torch.stack([(low[0] ^ bool(n // 2)) & (low[1] ^ bool(n % 2)) for n in range(BOXES)])[:, None]


def box_loss(answer: Tensor, image: Tensor, box: Tensor) -> Tensor:
    """Mean absolute error over the pixels of the boxes (B, 1, R, A), background included."""
    return ((answer - image).abs() * box).sum() / box.sum()


ENTRY = PatchedDDPM
