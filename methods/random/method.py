"""Random scores: what every other method has to beat. See card.toml."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from uadbench.files import sha256
from uadbench.methods import Context, Method, Score, State
from uadbench.volumes import Volume, Volumes


@dataclass
class Random(Method):
    """Draws each voxel's score uniformly from [0, 1), whatever the image shows."""

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Remember the seed; there is nothing to learn."""
        self.seed_ = context.seed
        return self

    def score(self, volume: Volume) -> Score:
        """Uniform noise inside the brain, made from the seed and the volume's content alone."""
        content = int(sha256(volume.image.tobytes())[:16], 16)  # 64 bits name a volume among others
        noise = np.random.default_rng([self.seed_, content]).random(volume.brain.shape, np.float32)
        return Score(noise * volume.brain)

    def state(self) -> State:
        """The seed."""
        return {"seed": np.array([self.seed_], np.int64)}

    def load_state(self, state: State, context: Context) -> Self:
        """Take up the seed of the fit, not that of the context."""
        self.seed_ = int(state["seed"][0])
        return self

    def parameter_count(self) -> int:
        """The seed is given, not learned."""
        return 0


ENTRY = Random
