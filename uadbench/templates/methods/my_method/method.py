"""my_method: how far a voxel is from the healthy mean at its place. See card.toml.

A network that restores slices needs less than this: see `uadbench.learning.reconstruction` and `methods/ae`.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.ndimage import gaussian_filter

from uadbench.data.volumes import Volume, Volumes
from uadbench.methods import Context, Method, Score, State, fit_option, score_option
from uadbench.system.ranges import Share, Smoothing


@dataclass
class Deviation(Method):
    """Compares each voxel with the same place in healthy brains."""

    # The fields are the options (`--set sigma_mm=3`); what is learned ends in `_`.
    # A fit option changes what is learned; rows that differ in score options alone share one fit.
    floor: Share = fit_option(0.02, "added to the deviation in quadrature, so that no voxel has none")
    sigma_mm: Smoothing = score_option(2.0, "smoothing of the score map, mm")

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Mean and deviation over the healthy volumes; each is read from disk when its turn comes."""
        total = np.zeros(train.grid.shape)
        squares = np.zeros(train.grid.shape)
        with context.progress.stage("healthy mean", len(train)) as stage:
            for volume in train:
                total += volume.image[0]  # the one channel of (1, R, A, S)
                squares += volume.image[0] ** 2
                stage.advance()
        mean = total / len(train)
        variance = np.maximum(squares / len(train) - mean**2, 0)
        self.mean_ = mean.astype(np.float32)
        self.deviation_ = np.sqrt(variance + self.floor**2).astype(np.float32)
        return self

    def score(self, volume: Volume) -> Score:
        """|z| of each voxel, smoothed; the pseudo-healthy image is the healthy mean."""
        z = np.abs(volume.image[0] - self.mean_) / self.deviation_
        smoothed = gaussian_filter(z * volume.brain, self.sigma_mm / volume.spacing_mm)
        return Score(smoothed * volume.brain, self.mean_[None] * volume.brain)

    def state(self) -> State:
        """What was learned: mean and deviation (R, A, S)."""
        return {"mean": self.mean_, "deviation": self.deviation_}

    def load_state(self, state: State, context: Context) -> Self:
        """Take up what an earlier fit learned."""
        self.mean_, self.deviation_ = state["mean"], state["deviation"]
        return self


ENTRY = Deviation
