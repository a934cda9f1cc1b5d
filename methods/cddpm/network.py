"""Network: a denoiser that is told a code of the slice without noise, and what makes the code."""

from collections.abc import Sequence
from typing import Any

from monai.networks.nets.resnet import ResNet, ResNetBottleneck
from torch import Tensor, nn
from torch.nn import functional

from uadbench.learning import diffusion

CONDITIONS = ("encoder", "histogram", "zeros")
BINS = 32  # of the histogram


class Histogram(nn.Module):
    """A linear map of a slice's histogram, which knows its intensities and nothing of their places."""

    def __init__(self, length: int) -> None:
        """To a code of so many numbers."""
        super().__init__()
        self.linear = nn.Linear(BINS, length)

    def forward(self, image: Tensor) -> Tensor:
        """Codes (B, length) of slices (B, 1, R, A) in [-1, 1]."""
        code: Tensor = self.linear(histogram(image))
        return code


class Zeros(nn.Module):
    """A code that says nothing: the network without a condition, for comparison."""

    def __init__(self, length: int) -> None:
        """Of so many numbers."""
        super().__init__()
        self.length = length

    def forward(self, image: Tensor) -> Tensor:
        """Codes (B, length)."""
        return image.new_zeros(len(image), self.length)


class ConditionedDenoiser(diffusion.Denoiser):
    """A `Denoiser` that also sees a code of the slice without noise."""

    def __init__(self, encoder: nn.Module, *options: Any, **more: Any) -> None:
        """`encoder` gives codes of 4 x width numbers, as the embedding of time has; the rest is its own."""
        super().__init__(*options, **more)
        self.encoder = encoder

    def forward(self, both: Tensor, level: Tensor) -> Tensor:
        """What the network says of slices at noise levels (B,): (B, 1, R, A).

        `both` (B, 2, R, A) has them with noise and without; the code of the latter is added to the embedding
        of time.
        """
        noisy, code = both[:, :1], self.encoder(both[:, 1:])
        with self.network.time_embed.register_forward_hook(lambda _layers, _given, time: time + code):
            return super().forward(noisy, level)


def make_encoder(condition: str, length: int, width: int, blocks: Sequence[int]) -> nn.Module:
    """What gives codes (B, length) of slices: one of `CONDITIONS`.

    `encoder` is a ResNet of bottlenecks (He et al. 2016) with `width` channels and `blocks` of each stage.
    """
    if condition == "histogram":
        return Histogram(length)
    if condition == "zeros":
        return Zeros(length)
    encoder: nn.Module = ResNet(
        ResNetBottleneck,
        list(blocks),
        [width * 2**stage for stage in range(4)],
        spatial_dims=2,
        n_input_channels=1,
        conv1_t_stride=2,
        num_classes=length,
        bias_downsample=False,
    )
    return encoder


def histogram(image: Tensor) -> Tensor:
    """Shares (B, 32) of the pixels of slices (B, 1, R, A) in [-1, 1] in equal bins.

    Pixels of -1, which are those outside the brain, are not counted.
    """
    inside = image > -1
    number = ((image + 1) / 2 * BINS).long().clamp(max=BINS - 1)
    counts = functional.one_hot(number, BINS).mul(inside[..., None]).flatten(1, -2).sum(1)
    return counts / counts.sum(1, keepdim=True).clamp(min=1)
