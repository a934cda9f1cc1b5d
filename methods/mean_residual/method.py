"""Mean residual: where healthy brains differ from their mean, the same map for every scan. See card.toml."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from uadbench.data.volumes import Volume, Volumes
from uadbench.methods import Context, Method, Score, State, fit_option


@dataclass
class MeanResidual(Method):
    """Scores every voxel by its place in the template: how far healthy scans lie from their mean there."""

    grid: str = fit_option("evaluation", "model grid; evaluation: that on which all maps are measured")

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Mean absolute deviation of healthy volumes from their mean, over all training contrasts."""
        total, contrasts = np.zeros(train.grid.shape), sorted(set(train.contrasts))
        with context.progress.stage("healthy mean and residual", 2 * len(train)) as stage:
            for contrast in contrasts:
                own = [int(row) for row in np.flatnonzero(np.array(train.contrasts) == contrast)]
                mean = np.zeros(train.grid.shape)
                for row in own:
                    mean += train[row].image[0] / len(own)
                    stage.advance()
                for row in own:
                    total += np.abs(train[row].image[0] - mean) / len(own) / len(contrasts)
                    stage.advance()
        self.residual_ = total.astype(np.float32)
        return self

    def score(self, volume: Volume) -> Score:
        """The mean residual of healthy brains, 0 outside this one."""
        return Score(self.residual_ * volume.brain)

    def state(self) -> State:
        """The map (R, A, S) float32."""
        return {"residual": self.residual_}

    def load_state(self, state: State, context: Context) -> Self:
        """Take up the map."""
        self.residual_ = state["residual"]
        return self


ENTRY = MeanResidual
