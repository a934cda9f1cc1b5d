"""The model: a scan is taken apart into anatomy and imaging code, the anatomy restored, and painted again.

    x, P  -- tissue model -->  theta, a          (disentangle: imaging code, seen anatomy)
    a, P  -- R            -->  a'                (restore: R alone is trained)
    a, a', x              -->  means             (read the imaging code again where a and a' agree)
    a', means  -- paint   -->  x'                (recouple: the pseudo-healthy image)

What every tensor means, for B slices of R x A pixels:

    image   (B, 1, R, A)  x: intensities in [0, 1], 0 outside the brain
    brain   (B, 1, R, A)  m: 1 in the brain, else 0
    prior   (B, 3, R, A)  P: probabilities of fluid, grey and white matter in the atlas; 0 outside the brain
    anatomy (B, 3, R, A)  a: the same probabilities as the scan shows them; a': as R restores them
    code    (B, 2, 3)     theta: mean and deviation of the intensities of each tissue in the scan
    means   (B, 3, R, A)  how bright each tissue would be at each pixel of the scan, wherever it is

The anatomy does not know the contrast, for theta is found anew in each scan; so R, which sees anatomy alone,
works in contrasts that it never learned.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from monai.networks.nets import BasicUNet
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from uadbench.learning.tissues import fit_tissues

TISSUES = 3  # fluid, grey matter, white matter
VOXELS = 50_000  # of a scan that its imaging code is found from; more do not change it
UNKNOWN = 0.01  # is added to the atlas's probabilities: it does not know everybody
AGREED = 0.02  # weight of the scan's means among those of the neighbourhood, as a share of its voxels


# ---- disentangle: x -> theta, a --------------------------------------------------------------------


def imaging_code(image: NDArray[np.float32], prior: NDArray[np.float32]) -> NDArray[np.float32]:
    """theta (2, 3) of a scan, from its brain's voxels (n,) and the atlas there (3, n).

    By a mixture of three Gaussians whose weights are the atlas's (expectation maximisation): nothing is
    learned.
    """
    every = max(1, len(image) // VOXELS)
    model = fit_tissues(image[::every], prior[:, ::every])
    return np.stack([model.means, model.deviations]).astype(np.float32)


def over_pixels(values: Tensor) -> Tensor:
    """Numbers (B, 3) of the tissues, to be used with maps: (B, 3, 1, 1)."""
    return values[:, :, None, None]


def seen_anatomy(image: Tensor, means: Tensor, code: Tensor, prior: Tensor) -> Tensor:
    """a: what tissue each pixel is, by Bayes' rule from its intensity and the atlas."""
    deviation = over_pixels(code[:, 1])
    log_likelihood = -0.5 * ((image - means) / deviation) ** 2 - deviation.log()
    inside = prior.sum(1, keepdim=True) > 0
    return functional.softmax(log_likelihood + (prior + UNKNOWN).log(), 1) * inside


# ---- restore: a -> a' ------------------------------------------------------------------------------


class Restorer(nn.Module):
    """R: the healthy anatomy, from what it is shown of the seen one, the mask and the atlas."""

    def __init__(self, shown: int, width: int, with_prior: bool) -> None:
        """A U-Net that is shown so many maps of the anatomy; `width` is its first."""
        super().__init__()
        self.with_prior = with_prior
        features = (width, width, 2 * width, 4 * width, 8 * width, width)
        self.network = BasicUNet(2, shown + 1 + TISSUES * with_prior, TISSUES, features)

    def forward(self, shown: Tensor, brain: Tensor, prior: Tensor) -> Tensor:
        """Log probabilities (B, 3, R, A) of the restored tissues; the network corrects those of the atlas."""
        maps = torch.cat([shown, brain, prior] if self.with_prior else [shown, brain], 1)
        rows, columns = brain.shape[-2:]
        padded = functional.pad(maps, (0, -columns % 16, 0, -rows % 16))  # as the U-Net halves four times
        logits: Tensor = self.network(padded)[..., :rows, :columns].float()
        if self.with_prior:
            logits = logits + (prior + UNKNOWN).log()
        return functional.log_softmax(logits, 1)


def restoration_loss(log_restored: Tensor, anatomy: Tensor) -> Tensor:
    """Cross entropy of the restored anatomy and the scan's own, before that was spoilt; over the brain."""
    loss: Tensor = -(log_restored * anatomy).sum() / anatomy.sum().clamp(min=1)
    return loss


# ---- read the imaging code again, where a and a' agree ---------------------------------------------


def smoothed(maps: Tensor, deviation: float) -> Tensor:
    """Maps (N, C, R, A) of neighbouring slices, smoothed in all three dimensions; beyond them is 0.

    `deviation` of the Gaussian is in pixels.
    """
    reach = math.ceil(3 * deviation)
    kernel = torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype)
    kernel = (-0.5 * (kernel / deviation) ** 2).exp()
    kernel = (kernel / kernel.sum())[None, None]
    for axis in (0, 2, 3):
        lines = maps.movedim(axis, -1)
        flat = functional.conv1d(lines.reshape(-1, 1, lines.shape[-1]), kernel, padding=reach)
        maps = flat.view(lines.shape).movedim(-1, axis)
    return maps


def local_means(image: Tensor, seen: Tensor, restored: Tensor, code: Tensor, pixels: float) -> Tensor:
    """How bright each tissue is around each pixel, from where the seen and the restored anatomy agree.

    A lesion, of which R makes something else, has no say. What differs over centimetres is explained with
    it: the receive field, and tissue that is not the same everywhere. `pixels` is how far the neighbourhood
    reaches (deviation of a Gaussian); where it knows little of a tissue, the scan's mean counts more.
    """
    weight = seen * restored
    total = weight.sum((0, 2, 3))
    mean = ((weight * image).sum((0, 2, 3)) + code[0, 0]) / (total + 1)  # (3,) of the scan
    mean = mean[None, :, None, None]
    apart = smoothed(weight * (image - mean), pixels)
    return mean + apart / (smoothed(weight, pixels) + AGREED)


# ---- recouple: a', means -> x' ---------------------------------------------------------------------


def paint(anatomy: Tensor, means: Tensor) -> Tensor:
    """x' (B, 1, R, A): as much of each tissue as there is, as bright as the scan shows it there."""
    return (anatomy * means).sum(1, keepdim=True)


@dataclass(frozen=True)
class Findings:
    """What is found in the N slices of a scan that have brain, with N for B in the shapes above."""

    slices: NDArray[np.intp]
    image: Tensor
    brain: Tensor
    prior: Tensor
    code: Tensor  # (1, 2, 3)
    seen: Tensor
    restored: Tensor
    means: Tensor

    @property
    def disagreement(self) -> Tensor:
        """d (N, 1, R, A): chance that seen and restored tissue are not the same; 0 outside the brain."""
        return (1 - (self.seen * self.restored).sum(1, keepdim=True)) * self.brain
