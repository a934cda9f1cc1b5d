"""Denoising diffusion of axial slices, one step or a partial chain (Behrendt et al. 2023). See card.toml."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data import space
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import diffusion, training
from uadbench.learning.reconstruction import NetworkReconstruction
from uadbench.methods import Context, State, Stochastic, fit_option, score_option
from uadbench.system.ranges import Count, Depth, Length, Level, Multiples, Rate, Share, Size, Steps, Width

ALPHA_BAR = diffusion.cosine()


@dataclass
class DDPM(Stochastic, NetworkReconstruction):
    """Learns to see healthy slices through noise; what it makes of a noised slice has no anomaly.

    One evaluation of the network is the one-step reconstruction of Behrendt et al.: x' is the network's
    answer to the slice at level `start`. More are a DDIM chain from there to the clean image.
    """

    grid: str = fit_option("g96", "model grid; Behrendt 2023: 96 x 96 slices at 2 mm")
    noise: str = fit_option(
        "gaussian",
        "kind of noise; Behrendt's code has Gaussian and simplex; simplex_unit: of variance 1 as Gaussian",
        diffusion.NOISES,
    )
    wavelength: Length = fit_option(64.0, "simplex: of its first octave in pixels; AnoDDPM's code")
    bank: Count = fit_option(
        0, "simplex: cut fields from so many, for CPUs; 0: make each afresh, as published"
    )
    width: Width = fit_option(128, "channels of the first level; Behrendt's code")
    multiples: Multiples = fit_option("1-2-2", "channels of each level by width; Behrendt's code")
    res_blocks: Depth = fit_option(3, "residual blocks of a level; Behrendt's code")
    attention: Count = fit_option(1, "how many of the lowest levels have attention; our choice")
    head_channels: Size = fit_option(64, "channels of an attention head; Behrendt's code")
    groups: Size = fit_option(32, "groups of group normalisation; MONAI's default")
    fold: Depth = fit_option(
        1, "make blocks of so many pixels squared channels, for CPUs; 1: none, as published"
    )
    steps: Steps = fit_option(19_200, "training steps; Behrendt's code: 1,600 epochs of 358 slices")
    batch: Size = fit_option(32, "slices per step; Behrendt's code")
    learning_rate: Rate = fit_option(1e-4, "of Adam; Behrendt's code")
    cosine: bool = fit_option(False, "let the learning rate fall to 0 along half a cosine; not in the paper")
    validate_every: Steps = fit_option(240, "steps between validations; 20 epochs of Behrendt's")
    start: Level = score_option(
        481, "noise level to start from, of 0 ... 999; 481: as noisy as AnoDDPM's 250"
    )
    evaluations: Count = score_option(
        50, "of the network, from `start` in equal steps; 0: at every level, 1: one step; DDIM: 50"
    )
    eta: Share = score_option(0.0, "noise put back in the chain; 0: DDIM, 1: DDPM; Song et al. 2021, eq. 16")
    score_batch: Size = score_option(32, "slices that pass the network at once; does not change scores")

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Learn to predict healthy slices from noised ones."""
        schedule = training.Schedule(
            self.steps,
            self.batch,
            self.learning_rate,
            validate_every=self.validate_every,
            cosine=self.cosine,
        )
        self.network_, self.device_ = self.build(), context.device
        self.noise_ = self._noise()
        training.train(self.network_, self._loss, train, val, context, schedule, "ddpm")
        return self

    def _loss(self, network: nn.Module, batch: training.Batch) -> Tensor:
        """L1 between the slice and what the network sees in it at a random level, over all pixels."""
        image, device = 2 * batch.image - 1, str(batch.image.device)
        level = diffusion.random_levels(len(image), device)
        share = ALPHA_BAR.to(device)[level].view(-1, 1, 1, 1)
        noisy = diffusion.noised(image, self.noise_.draw(len(image), device), share)
        return functional.l1_loss(network(noisy, level), image)

    def reconstruct(self, volume: Volume) -> NDArray[np.float32]:
        """What the network makes of each noised axial slice, (C, R, A, S) in [0, 1]."""
        return training.reconstruct(self._restore, volume, self.device_, batch=volume.brain.shape[-1])

    def _restore(self, image: Tensor) -> Tensor:
        """Slices (N, 1, R, A) of a whole volume, noised and restored; noise is drawn for all at once."""

        def draw() -> Tensor:
            return self.noise_.draw(len(image), self.device_)

        def clean(noisy: Tensor, level: int) -> Tensor:
            return diffusion.in_batches(self.network_, noisy, level, self.score_batch)

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


ENTRY = DDPM
