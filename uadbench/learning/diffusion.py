"""Diffusion: noise levels, noise, a denoising network and the way back, shared by the diffusion methods.

Images are in [-1, 1]. A level t of 0 ... 999 keeps a share `alpha_bar[t]` of the image's variance: Ho et al.
2020, eq. 4. The closed forms are written out here because MONAI's schedulers (1.6.1) take wrong levels where
a chain leaves some out, cannot start in mid-chain, and may round the levels to half precision for good.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from monai.networks.nets import DiffusionModelUNet
from torch import Tensor, nn
from torch.nn import functional

from uadbench.learning import simplex

LEVELS = 1000
NOISES = ("gaussian", "simplex", "simplex_unit")
BANK_SEED = 5


def linear() -> Tensor:
    """alpha_bar (1000,) of variances that rise linearly from 1e-4 to .02 (Ho et al. 2020, section 4)."""
    beta = torch.linspace(1e-4, 0.02, LEVELS, dtype=torch.float64)
    return (1 - beta).cumprod(0).float()


def cosine() -> Tensor:
    """alpha_bar (1000,) that falls like a squared cosine (Nichol & Dhariwal 2021, eq. 17; s = .008)."""
    angle = (torch.arange(LEVELS + 1, dtype=torch.float64) / LEVELS + 0.008) / 1.008 * torch.pi / 2
    share = angle.cos() ** 2 / angle[0].cos() ** 2
    beta = (1 - share[1:] / share[:-1]).clamp(max=0.999)
    return (1 - beta).cumprod(0).float()


class Noise:
    """Noise of one kind for slices of one shape: a field of its own for every slice of every draw."""

    def __init__(self, kind: str, rows: int, columns: int, wavelength: float = 64.0, bank: int = 0) -> None:
        """`simplex_unit` is simplex noise of variance 1; with `bank`, cut from so many larger fields."""
        self._kind, self._shape, self._wavelength = kind, (rows, columns), wavelength
        self._bank = None
        if bank and kind != "gaussian":
            with torch.random.fork_rng(devices=[]):  # always the same fields
                torch.manual_seed(BANK_SEED)
                self._bank = simplex.Bank(self._fields(bank, 2 * rows, 2 * columns, "cpu"))

    def _fields(self, count: int, rows: int, columns: int, device: str) -> Tensor:
        unit = self._kind == "simplex_unit"
        return simplex.fields(count, rows, columns, wavelength=self._wavelength, unit=unit, device=device)

    def draw(self, count: int, device: str) -> Tensor:
        """Fields (count, 1, R, A), drawn with torch's global generator on the CPU."""
        if self._kind == "gaussian":
            return torch.randn(count, 1, *self._shape).to(device)
        if self._bank is None:
            return self._fields(count, *self._shape, device)
        return self._bank.draw(count, *self._shape).to(device)


class Denoiser(nn.Module):
    """MONAI's diffusion U-Net for slices of any shape."""

    def __init__(
        self,
        width: int,
        multiples: str,
        res_blocks: int,
        attention: int,
        head_channels: int,
        groups: int,
        fold: int = 1,
    ) -> None:
        """`multiples` of the width, one for each level, such as "1-2-2"; attention at the lowest levels.

        MONAI's net also has attention at its very bottom, whatever `attention` says. With `fold` above 1,
        blocks of fold x fold pixels are the channels of one: a quarter of the work at 2.
        """
        super().__init__()
        channels = [width * int(multiple) for multiple in multiples.split("-")]
        self.fold, self.multiple = fold, fold * 2 ** (len(channels) - 1)
        self.network = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=fold**2,
            out_channels=fold**2,
            num_res_blocks=res_blocks,
            channels=channels,
            attention_levels=[level >= len(channels) - attention for level in range(len(channels))],
            num_head_channels=head_channels,
            norm_num_groups=groups,
        )

    def forward(self, noisy: Tensor, level: Tensor) -> Tensor:
        """What the network says of slices (B, 1, R, A) at noise levels (B,): (B, 1, R, A)."""
        rows, columns = noisy.shape[-2:]
        pad = (0, -columns % self.multiple, 0, -rows % self.multiple)
        padded = functional.pad(noisy, pad, mode="replicate")
        answer = self.network(functional.pixel_unshuffle(padded, self.fold), level)
        return functional.pixel_shuffle(answer, self.fold)[..., :rows, :columns].float()


def noised(image: Tensor, noise: Tensor, alpha_bar: Tensor | float) -> Tensor:
    """Images (B, 1, R, A) at noise levels of shares (B, 1, 1, 1) (Ho et al. 2020, eq. 4)."""
    share = torch.as_tensor(alpha_bar, dtype=torch.float32)
    return share.sqrt() * image + (1 - share).sqrt() * noise


def denoised(noisy: Tensor, epsilon: Tensor, alpha_bar: Tensor | float) -> Tensor:
    """The image in `noised`, if `epsilon` is the noise in it."""
    share = torch.as_tensor(alpha_bar, dtype=torch.float32)
    return (noisy - (1 - share).sqrt() * epsilon) / share.sqrt()


def random_levels(count: int, device: str) -> Tensor:
    """Levels (count,) for a training step, uniformly."""
    return torch.randint(LEVELS, (count,)).to(device)


def levels(start: int, evaluations: int) -> list[int]:
    """Levels of a chain from `start` in about equal steps, to -1, the clean image; 0: every level."""
    count = min(evaluations, start + 1) or start + 1
    return [start - round(step * (start + 1) / count) for step in range(count)] + [-1]


def earlier(
    noisy: Tensor, clean: Tensor, share: float, share_next: float, eta: float, noise: Tensor | None
) -> Tensor:
    """From alpha_bar `share` to the larger `share_next`, given what the network thinks the image is.

    Song et al. 2021 (DDIM), eq. 12 and 16: `eta` 0 draws nothing; 1 is, for neighbouring levels, the step of
    Ho et al. 2020 (DDPM), eq. 6 and 7. No level may be left out there, here any.
    """
    deviation = eta * math.sqrt((1 - share_next) / (1 - share) * (1 - share / share_next))
    epsilon = (noisy - math.sqrt(share) * clean) / math.sqrt(1 - share)
    kept = math.sqrt(max(1 - share_next - deviation**2, 0.0))
    result = math.sqrt(share_next) * clean + kept * epsilon
    return result if noise is None else result + deviation * noise


def chain(
    restore: Callable[[Tensor, int], Tensor],
    noisy: Tensor,
    alpha_bar: Tensor,
    through: Sequence[int],
    eta: float,
    draw: Callable[[], Tensor],
) -> Tensor:
    """Images (N, 1, R, A) in [-1, 1] from noised ones by way of `levels`.

    `restore(noisy, level)` says what the images are; it is held to [-1, 1]. `draw` gives the noise that goes
    back in where `eta` is not 0.
    """
    shares = [float(alpha_bar[level]) if level >= 0 else 1.0 for level in through]
    for (level, following), (share, share_next) in zip(pairwise(through), pairwise(shares), strict=True):
        clean = restore(noisy, level).clamp(-1, 1)
        noise = draw() if eta and following >= 0 else None
        noisy = earlier(noisy, clean, share, share_next, eta, noise)
    return noisy


def in_batches(network: nn.Module, noisy: Tensor, level: int, batch: int) -> Tensor:
    """What the network says of slices (N, 1, R, A) at one level, `batch` of them at a time."""
    return torch.cat(
        [
            network(part, torch.full((len(part),), level, device=part.device))
            for part in torch.split(noisy, batch)
        ]
    )
