"""Intensity: bright is anomalous, after histogram equalisation (Meissen 2021). See card.toml."""

from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from skimage.exposure import equalize_hist

from uadbench.data.volumes import Volume, Volumes
from uadbench.methods import Context, Method, Score, fit_option, score_option

DIRECTIONS = ("auto", "bright", "dark", "two-sided")


def equalise(image: NDArray[np.float32], brain: NDArray[np.bool_], bins: int) -> NDArray[np.float32]:
    """Share of the brain's voxels that are not brighter, in (0, 1], for a volume (R, A, S).

    The histogram is of the whole volume: equalising slice by slice would give one threshold a
    different meaning in each slice.
    """
    equalised: NDArray[np.float32] = equalize_hist(image, nbins=bins, mask=brain).astype(np.float32)
    return equalised


@dataclass
class Intensity(Method):
    """Equalises the volume's histogram; the score is the equalised intensity. Nothing is learned."""

    grid: str = fit_option(
        "evaluation", "model grid; evaluation: that on which all maps are measured; g128: Meissen 2021"
    )
    bins: Annotated[int, Meta(ge=2, le=65_536)] = score_option(
        256, "histogram bins; Meissen 2021, published code"
    )
    direction: str = score_option(
        "auto",
        "which end is anomalous; auto: two-sided on T1 (lesions are dark, or bright with contrast agent), "
        "bright on all others, as in Meissen 2021 on FLAIR",
        choices=DIRECTIONS,
    )

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Nothing to learn."""
        return self

    def score(self, volume: Volume) -> Score:
        """Equalised intensity in the asked direction, in [0, 1]; mean over channels, 0 outside the brain."""
        if not volume.brain.any():
            return Score(np.zeros(volume.brain.shape, np.float32))
        channels = [
            self._directed(equalise(image, volume.brain, self.bins), volume.brain, contrast)
            for image, contrast in zip(volume.image, volume.contrasts, strict=True)
        ]
        return Score(np.mean(channels, axis=0, dtype=np.float32) * volume.brain)

    def _directed(
        self, equalised: NDArray[np.float32], brain: NDArray[np.bool_], contrast: str
    ) -> NDArray[np.float32]:
        direction = self.direction
        if direction == "auto":
            direction = "two-sided" if contrast.upper().startswith("T1") else "bright"
        if direction == "bright":
            return equalised
        if direction == "dark":
            return 1 - equalised
        distance: NDArray[np.float32] = np.abs(equalised - np.median(equalised[brain]))
        return distance


ENTRY = Intensity
