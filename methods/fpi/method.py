"""Foreign patch interpolation, of intensities and of gradients (Tan et al. 2020, 2021). See card.toml."""

import math
from dataclasses import dataclass
from typing import Any, Self

from monai.networks.nets import SegResNet
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import training
from uadbench.learning.foreign import same_height
from uadbench.learning.reconstruction import NetworkMethod
from uadbench.methods import Context, Score, fit_option
from uadbench.methods.fpi.patches import corrupt
from uadbench.system.ranges import Depth, Every, Rate, Size, Steps, Weight, Width

LEVELS = 4  # resolutions of the network


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """-a log p - (1 - a) log(1 - p), mean over the pixels, where the factor a is the label (Tan 2020)."""
    return functional.binary_cross_entropy_with_logits(logits, label)


class Regressor(nn.Module):
    """A residual encoder and decoder (Myronenko 2018) that says of each pixel how foreign it is."""

    def __init__(self, width: int, blocks: int) -> None:
        """With `width` filters at full resolution and so many blocks at each resolution of the encoder."""
        super().__init__()
        groups = math.gcd(8, width)
        self.network = SegResNet(
            2,
            width,
            1,
            1,
            norm=("GROUP", {"num_groups": groups}),
            blocks_down=(blocks,) * LEVELS,
            blocks_up=(1,) * (LEVELS - 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, 1, R, A) of the factor at each pixel of slices (B, 1, R, A)."""
        rows, columns = image.shape[-2:]
        multiple = 2 ** (LEVELS - 1)
        padded = functional.pad(image, (0, -columns % multiple, 0, -rows % multiple))
        logits: Tensor = self.network(padded)
        return logits[..., :rows, :columns].float()


@dataclass
class FPI(NetworkMethod):
    """Learns to see where, and how strongly, a patch of another subject was blended into a healthy slice."""

    grid: str = fit_option("g192", "model grid; full slices at 1 mm")
    blend: str = fit_option(
        "intensities",
        "what of two patches is interpolated; intensities: FPI, Tan 2020; gradients: PII, Tan 2021",
        choices=("intensities", "gradients"),
    )
    width: Width = fit_option(16, "filters of the network at full resolution; this suite's choice")
    blocks: Depth = fit_option(2, "residual blocks at each resolution of the encoder; this suite's choice")
    steps: Steps = fit_option(50_000, "training steps; this suite's choice")
    batch: Size = fit_option(32, "slices per step; this suite's choice")
    learning_rate: Rate = fit_option(1e-3, "of AdamW; this suite's choice")
    weight_decay: Weight = fit_option(1e-4, "of AdamW; this suite's choice")
    cosine: bool = fit_option(
        True, "let the learning rate fall to 0 along half a cosine; this suite's choice"
    )
    validate_every: Every = fit_option(1000, "steps between validations; the best weights are kept")

    def build(self) -> Regressor:
        """The network with fresh weights."""
        return Regressor(self.width, self.blocks)

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Find patches of other subjects in healthy slices."""
        slices = training.Slices(train, context.device)

        def loss(network: Any, batch: training.Batch) -> Tensor:
            # `which` of a batch counts volumes of the cohort that the batch was drawn from.
            own = train if network.training else val
            foreign = slices.find(same_height(batch.which, own, train)).image
            changed, label = corrupt(batch.image, batch.brain, foreign, self.blend)
            return cross_entropy(network(changed), label)

        self.network_, self.device_ = self.build(), context.device
        schedule = training.Schedule.of(self)
        training.train(self.network_, loss, slices, val, context, schedule, "fpi")
        return self

    def score(self, volume: Volume) -> Score:
        """The factor that the network sees at each voxel, in [0, 1]; 0 outside the brain."""
        factors = training.reconstruct(self._factors, volume, self.device_)
        return Score(factors[0])

    def _factors(self, image: Tensor) -> Tensor:
        factors: Tensor = self.network_(image).sigmoid()
        return factors


ENTRY = FPI
