"""Auto-encoder KL: small slices with a slightly regularised code, and networks in its latents.

Rombach et al. 2022 (latent diffusion). Images are in [-1, 1].
"""

import math
from typing import Any

import torch
from monai.networks.nets import AutoencoderKL, DiffusionModelUNet
from torch import Tensor, nn
from torch.nn import functional

from uadbench.learning import training

BACKGROUND = -1.0


def channels_of(width: int, multiples: str) -> list[int]:
    """Channels of each level: multiples of the width such as "1-2-4"."""
    return [width * int(multiple) for multiple in multiples.split("-")]


class Autoencoder(nn.Module):
    """MONAI's `AutoencoderKL` for slices of any shape, its latents scaled to a deviation of 1."""

    scale: Tensor

    def __init__(
        self, width: int, multiples: str, blocks: int, latent_channels: int, groups: int, fold: int = 1
    ) -> None:
        """Each level after the first halves the resolution; `fold` makes blocks of pixels channels before.

        A latent stands for `factor` x `factor` pixels.
        """
        super().__init__()
        channels = channels_of(width, multiples)
        self.fold, self.factor = fold, fold * 2 ** (len(channels) - 1)
        self.network = AutoencoderKL(
            spatial_dims=2,
            in_channels=fold**2,
            out_channels=fold**2,
            num_res_blocks=[blocks] * len(channels),
            channels=channels,
            attention_levels=[False] * len(channels),  # only at the bottom
            latent_channels=latent_channels,
            norm_num_groups=groups,
        )
        self.register_buffer("scale", torch.ones(()))

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation (B, C, r, a) of the unscaled latents of slices (B, 1, R, A)."""
        folded = functional.pixel_unshuffle(padded(image, self.factor, BACKGROUND), self.fold)
        mean, deviation = self.network.encode(folded)
        return mean.float(), deviation.float()

    def encode(self, image: Tensor) -> Tensor:
        """Scaled means of the latents (B, C, r, a): scoring draws nothing."""
        return self.posterior(image)[0] * self.scale

    def decode(self, latent: Tensor, rows: int, columns: int) -> Tensor:
        """Slices (B, 1, rows, columns) of scaled latents."""
        folded = self.network.decode(latent / self.scale)
        return functional.pixel_shuffle(folded, self.fold)[..., :rows, :columns].float()

    def forward(self, image: Tensor) -> Tensor:
        """What is left of slices (B, 1, R, A) by way of the latents."""
        return self.decode(self.encode(image), *image.shape[-2:])

    @torch.no_grad()
    def set_scale(self, slices: training.Slices, batch: int) -> None:
        """1 / deviation of the latents of a spread of slices (Rombach et al. 2022, appendix G)."""
        rows = slices.spread(training.VALIDATION_SLICES)
        parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
        with training.repeatable(tf32=False):
            latents = [self.posterior(2 * slices.take(part).image - 1)[0] for part in parts]
        self.scale.copy_(1 / torch.cat(latents).std())


def padded(image: Tensor, multiple: int, value: float) -> Tensor:
    """Slices (B, 1, R, A) with `value` below and to the right, to a multiple of pixels."""
    rows, columns = image.shape[-2:]
    return functional.pad(image, (0, -columns % multiple, 0, -rows % multiple), value=value)


def autoencoder_loss(autoencoder: Autoencoder, image: Tensor, kl_weight: float) -> Tensor:
    """(L1 summed over pixels + kl_weight KL summed over latents) / pixels, mean over slices (B, 1, R, A).

    Rombach et al. 2022, appendix G, without its perceptual and adversarial terms. In training one latent is
    drawn for each slice, in validation it is the mean.
    """
    mean, deviation = autoencoder.posterior(image)
    noise = torch.randn_like(mean) if autoencoder.training else torch.zeros_like(mean)
    drawn = (mean + deviation * noise) * autoencoder.scale
    error = functional.l1_loss(autoencoder.decode(drawn, *image.shape[-2:]), image)
    divergence = 0.5 * (mean**2 + deviation**2 - 1 - 2 * deviation.log()).flatten(1).sum(1)
    return error + kl_weight * divergence.mean() / image[0].numel()


def latent_brain(brain: Tensor, factor: int) -> Tensor:
    """Latents (B, 1, r, a), bool, at least half of whose pixels are brain (B, 1, R, A)."""
    return functional.avg_pool2d(padded(brain.float(), factor, 0.0), factor) >= 0.5


def smoothed(maps: Tensor, deviation: float) -> Tensor:
    """Maps (N, 1, R, A) after a Gaussian of a deviation in pixels, beyond 4 of which it is cut off; 0: as is.

    Around the maps is 0.
    """
    if deviation == 0:
        return maps
    far = math.ceil(4 * deviation)
    reach = torch.arange(-far, far + 1, device=maps.device, dtype=maps.dtype)
    kernel = (-0.5 * (reach / deviation) ** 2).exp()
    kernel = (kernel / kernel.sum())[None, None, None]
    along = functional.conv2d(maps, kernel, padding=(0, far))
    return functional.conv2d(along, kernel.mT, padding=(far, 0))


class LatentNetwork(nn.Module):
    """MONAI's diffusion U-Net for latents of any shape, told of a time or level."""

    def __init__(self, inputs: int, outputs: int, channels: list[int], **options: Any) -> None:
        """From `inputs` to `outputs` channels; `options` are those of MONAI's net."""
        super().__init__()
        self.multiple = 2 ** (len(channels) - 1)
        self.network = DiffusionModelUNet(
            spatial_dims=2, in_channels=inputs, out_channels=outputs, channels=channels, **options
        )

    def forward(self, latent: Tensor, time: Tensor) -> Tensor:
        """What the network says of latents (B, inputs, r, a) at times (B,) of 0 ... 999."""
        rows, columns = latent.shape[-2:]
        answer = self.network(padded(latent, self.multiple, 0.0), time)
        return answer[..., :rows, :columns].float()  # type: ignore[no-any-return]
