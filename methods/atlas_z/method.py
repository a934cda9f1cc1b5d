"""Atlas z-score: how many standard deviations from the healthy mean at this place. See card.toml."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from uadbench.data.volumes import Volume, Volumes
from uadbench.methods import Context, Method, Score, State, fit_option, score_option
from uadbench.system.errors import UserError
from uadbench.system.ranges import Percentile, Smoothing

Array = NDArray[np.float32]


def smooth(image: Array, spacing_mm: float, sigma_mm: float) -> Array:
    """Gaussian smoothing of a volume (R, A, S); beyond the border is background."""
    smoothed: Array = gaussian_filter(image, sigma_mm / spacing_mm, mode="constant")
    return smoothed


class Moments:
    """Voxelwise mean and standard deviation, one volume at a time (Welford 1962), in float64."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Of no volume yet."""
        self.count = 0
        self.mean = np.zeros(shape)
        self._squares = np.zeros(shape)  # sum of squared deviations from the mean

    def add(self, image: Array) -> None:
        """Take one more volume into account."""
        self.count += 1
        deviation = image - self.mean
        self.mean += deviation / self.count
        self._squares += deviation * (image - self.mean)

    def deviation(self) -> NDArray[np.float64]:
        """Standard deviation over volumes (n - 1)."""
        return np.sqrt(self._squares / (self.count - 1))


def match_mean(mean: Array, image: Array, brain: NDArray[np.bool_]) -> Array:
    """The mean image a * mean + b in the intensities of `image`, 0 outside the brain.

    Least squares in the brain, three times, each time without the tenth of the voxels that fitted
    worst before: a lesion must not bend the fit.
    """
    x, y = mean[brain].astype(np.float64), image[brain].astype(np.float64)
    kept = np.ones(x.shape, bool)
    for _ in range(3):
        centred = x[kept] - x[kept].mean()
        slope = (centred * y[kept]).sum() / max(float((centred**2).sum()), 1e-12)
        offset = y[kept].mean() - slope * x[kept].mean()
        error = np.abs(slope * x + offset - y)
        kept = error <= np.quantile(error, 0.9)
    matched: Array = ((slope * mean + offset) * brain).astype(np.float32)
    return matched


@dataclass
class AtlasZ(Method):
    """Compares each voxel with the same place in healthy brains, one contrast at a time."""

    grid: str = fit_option("evaluation", "model grid; evaluation: that on which all maps are measured")
    sigma_mm: Smoothing = fit_option(
        2.0, "smoothing before the statistics, mm; hides misregistration of the cortex"
    )
    floor_percentile: Percentile = fit_option(
        5.0, "percentile of the deviation inside the brain that is added to it, so that no voxel has none"
    )
    sided: str = score_option("both", "which deviations count", choices=("both", "bright", "dark"))

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Mean, deviation and the deviation's floor, for each training contrast."""
        self.atlas_: State = {}
        with context.progress.stage("healthy mean and deviation", len(train)) as stage:
            for contrast in sorted(set(train.contrasts)):
                moments, brains = Moments(train.grid.shape), Moments(train.grid.shape)
                for index in np.flatnonzero(np.array(train.contrasts) == contrast):
                    volume = train[int(index)]
                    moments.add(smooth(volume.image[0], volume.spacing_mm, self.sigma_mm))
                    brains.add(volume.brain.astype(np.float32))
                    stage.advance()
                if moments.count < 2:
                    raise UserError(
                        f"A deviation needs at least 2 healthy volumes of {contrast}, not {moments.count}."
                    )
                deviation = moments.deviation()
                floor = np.percentile(deviation[brains.mean > 0.5], self.floor_percentile)
                self.atlas_[f"{contrast}.mean"] = moments.mean.astype(np.float32)
                self.atlas_[f"{contrast}.deviation"] = np.hypot(deviation, floor).astype(np.float32)
        return self

    def score(self, volume: Volume) -> Score:
        """|z| or one side of z, where z = (smoothed image - mean) / sqrt(deviation^2 + floor^2)."""
        maps, matched = [], []
        for image, contrast in zip(volume.image, volume.contrasts, strict=True):
            mean, deviation = self._of(contrast)
            z = (smooth(image, volume.spacing_mm, self.sigma_mm) - mean) / deviation
            maps.append({"both": np.abs(z), "bright": z, "dark": -z}[self.sided])
            matched.append(
                match_mean(mean, image, volume.brain) if volume.brain.any() else np.zeros_like(image)
            )
        return Score(np.mean(maps, axis=0, dtype=np.float32) * volume.brain, np.stack(matched))

    def _of(self, contrast: str) -> tuple[Array, Array]:
        if f"{contrast}.mean" not in self.atlas_:
            known = ", ".join(sorted({key.rsplit(".", 1)[0] for key in self.atlas_}))
            raise UserError(f"atlas_z learned {known}, got a volume of {contrast}: train on {contrast} too.")
        return self.atlas_[f"{contrast}.mean"], self.atlas_[f"{contrast}.deviation"]

    def state(self) -> State:
        """Mean and floored deviation of each contrast, (R, A, S) float32."""
        return dict(self.atlas_)

    def load_state(self, state: State, context: Context) -> Self:
        """Take up the atlas."""
        self.atlas_ = dict(state)
        return self


ENTRY = AtlasZ
