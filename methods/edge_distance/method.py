"""Edge distance: deep in the brain is anomalous, whatever the scan shows. See card.toml."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.ndimage import distance_transform_edt

from uadbench.data.volumes import Volume, Volumes
from uadbench.methods import Context, Method, Score, fit_option, score_option


@dataclass
class EdgeDistance(Method):
    """Scores every voxel by its place alone: how far it lies from the edge of the brain."""

    grid: str = fit_option("evaluation", "model grid; evaluation: that on which all maps are measured")
    deep: bool = score_option(True, "deep in the brain is anomalous; else its rim is")

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Nothing to learn."""
        return self

    def score(self, volume: Volume) -> Score:
        """Distance from the brain's edge within the axial slice, in mm; not deep: 1 / that distance."""
        slices = np.moveaxis(volume.brain, 2, 0)
        distance = np.stack([distance_transform_edt(one) for one in slices], 2) * volume.spacing_mm
        if self.deep:
            return Score(distance.astype(np.float32))
        return Score(
            np.divide(1, distance, out=np.zeros_like(distance), where=volume.brain).astype(np.float32)
        )


ENTRY = EdgeDistance
