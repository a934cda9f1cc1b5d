"""Random scores: what every other method has to beat. See card.toml."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from uadbench.data.volumes import Volume, Volumes
from uadbench.methods import Context, Score, Stochastic, fit_option


@dataclass
class Random(Stochastic):
    """Draws each voxel's score uniformly from [0, 1), whatever the image shows."""

    grid: str = fit_option("evaluation", "model grid; evaluation: that on which all maps are measured")

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """There is nothing to learn."""
        return self

    def score(self, volume: Volume) -> Score:
        """Uniform noise inside the brain."""
        seed = np.random.randint(2**32, size=4, dtype=np.uint32)
        noise = np.random.default_rng(seed).random(volume.brain.shape, np.float32)
        return Score(noise * volume.brain)


ENTRY = Random
