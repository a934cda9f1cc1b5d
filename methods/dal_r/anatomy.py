"""Anatomy: what tissue is where, whatever the contrast; as one-hot maps, and their edges. See card.toml.

Building blocks: binarised spatial anatomy with straight-through gradients (SDNet, Chartsias et al.,
arXiv:1903.09467), contrast-free anatomy of several logits (HACA3, Zuo et al., CMIG 109:102285).
"""

import torch
from monai.networks.nets import BasicUNet
from torch import Tensor, nn
from torch.nn import functional

from uadbench.learning.device import send

ONE_HOT = ("straight_through", "soft", "gumbel")
EDGES = ("laplace", "agnostic", "per_class")
# Which of the tissues (background, CSF, GM, WM) a class may stand for; rows sum to 1. The two free classes of
# K = 6 are what lies between grey and white matter (their border, deep grey nuclei) and between CSF and grey.
MEANING = torch.tensor(
    [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0.5, 0.5], [0, 0.5, 0.5, 0]]
)
IMPOSSIBLE = -1e4  # a logit


class UNet(nn.Module):
    """MONAI's `BasicUNet` (instance norm) for slices of any size: padded to the multiple of 16 it needs."""

    def __init__(self, channels: int, outputs: int, width: int) -> None:
        """Features (w, w, 2w, 4w, 8w, w): width 32 is the published default."""
        super().__init__()
        features = (width, width, 2 * width, 4 * width, 8 * width, width)
        self.network = BasicUNet(2, channels, outputs, features)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, outputs, R, A) of (B, channels, R, A)."""
        rows, columns = image.shape[-2:]
        padded = functional.pad(image, (0, -columns % 16, 0, -rows % 16))
        logits: Tensor = self.network(padded)
        return logits[..., :rows, :columns].float()


class AnatomyEncoder(nn.Module):
    """E_A: logits of K anatomical classes from an image and the tissue prior."""

    def __init__(self, classes: int, width: int, with_prior: bool) -> None:
        """With the four prior maps as input, or without."""
        super().__init__()
        self.classes, self.with_prior = classes, with_prior
        self.unet = UNet(1 + (2 + classes) * with_prior, classes, width)

    def forward(self, image: Tensor, brain: Tensor, prior: Tensor) -> Tensor:
        """Logits (B, K, R, A); image and brain (B, 1, R, A), prior (B, 4, R, A).

        What the U-Net says is evidence beyond that of the atlas' own segmentation, which it sees too. In
        training a fifth of the slices come without both, so that they are not merely copied.
        """
        if not self.with_prior:
            return only_in_brain(self.unet(image), brain)
        kept = (torch.rand(len(prior), 1, 1, 1, device=prior.device) >= 0.2) | (not self.training)
        segmented = kept * atlas_log_posterior(image, brain, prior, self.classes)
        evidence = self.unet(torch.cat([image, kept * prior[:, 1:], segmented[:, 1:].exp() * brain], 1))
        return only_in_brain(evidence + segmented, brain)


def only_in_brain(logits: Tensor, brain: Tensor) -> Tensor:
    """Logits (B, K, R, A) with class 0 certain outside the brain (B, 1, R, A) and impossible inside."""
    inside = brain.bool()
    background = torch.where(inside, IMPOSSIBLE, 0.0)
    return torch.cat([background, torch.where(inside, logits[:, 1:], IMPOSSIBLE)], 1)


def hard(logits: Tensor) -> Tensor:
    """One-hot maps (B, K, R, A) of the most likely class."""
    return functional.one_hot(logits.argmax(1), logits.shape[1]).movedim(-1, 1).to(logits.dtype)


def one_hot(logits: Tensor, kind: str, temperature: Tensor | float, training: bool) -> Tensor:
    """The differentiable one-hot operator: (B, K, R, A) -> (B, K, R, A).

    `straight_through`: hard forwards, the gradient of the softmax backwards. `gumbel`: drawn in training
    only (HACA3's code draws at test time too). `soft`: the softmax itself.
    """
    if kind == "gumbel" and training:
        # A tensor divides as a number does, without being read.
        return functional.gumbel_softmax(logits, temperature, hard=True, dim=1)  # type: ignore[arg-type]
    probability = functional.softmax(logits / temperature, 1)
    if kind == "soft":
        return probability
    chosen = hard(logits)
    return chosen + probability - probability.detach() if torch.is_grad_enabled() else chosen


def tissue_log_probability(logits: Tensor) -> Tensor:
    """Log probabilities (B, 4, R, A) of the tissues for which the K classes stand."""
    meaning = send(MEANING[: logits.shape[1]], logits.device)
    probability = torch.einsum("bkra,kt->btra", functional.softmax(logits, 1), meaning)
    return probability.clamp(min=1e-6).log()


def class_log_prior(prior: Tensor, classes: int) -> Tensor:
    """Log probabilities (B, K, R, A) of the classes, given those of the tissues (B, 4, R, A)."""
    shares = torch.einsum("btra,kt->bkra", prior, send(MEANING[:classes], prior.device))
    return (shares + 0.03).log()


ROUNDS = 5  # of expectation and maximisation
LEAST_DEVIATION = 0.03  # of intensities within a class


@torch.no_grad()
def atlas_log_posterior(image: Tensor, brain: Tensor, prior: Tensor, classes: int) -> Tensor:
    """Log probabilities (B, K, R, A) of the classes by a mixture of Gaussians with the atlas as prior.

    Each slice has its own tissue means, found by expectation and maximisation, and one deviation: the
    same answer in any contrast that keeps tissues apart (Ashburner & Friston, NeuroImage 26, 2005, without
    deformation and bias field). The free classes lie half way between the two tissues they stand for.
    """
    meaning = send(MEANING[1:classes, 1:], image.device)  # (K - 1, 3)
    log_share = class_log_prior(prior, classes)[:, 1:]
    weight = log_share.exp() * brain
    for _ in range(ROUNDS):
        pure = weight[:, :3]
        total = pure.sum((2, 3)) + 1  # one pixel of the slice's mean, where a tissue is missing
        average = (image * brain).sum((2, 3)) / brain.sum((2, 3)).clamp(min=1)
        tissues = ((pure * image).sum((2, 3)) + average) / total  # (B, 3)
        means = (tissues @ meaning.T)[:, :, None, None]
        squares = (image - means) ** 2
        variance = (weight * squares).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1)
        spread = 2 * (variance + LEAST_DEVIATION**2)[:, None, None, None]
        log_posterior = functional.log_softmax(log_share - squares / spread, 1)
        weight = log_posterior.exp() * brain
    # Never so certain that the U-Net could not overrule it.
    return torch.cat([torch.zeros_like(image), log_posterior.clamp(min=-6)], 1)


def erode(maps: Tensor) -> Tensor:
    """Lowest value in each 3 x 3 neighbourhood; what lies beyond the border does not count."""
    return -functional.max_pool2d(-maps, 3, stride=1, padding=1)


def edges(anatomy: Tensor, kind: str) -> Tensor:
    """High-frequency part of an anatomy (B, K, R, A): the only thing that the restorer sees of it.

    `laplace` (B, 1, R, A): sum over classes of |4-neighbour Laplacian| / 8. `per_class` (B, K, R, A): inner
    boundary of each class, one pixel wide. `agnostic` (B, 1, R, A): the same without saying whose it is.
    """
    if kind == "laplace":
        return laplace(anatomy).sum(1, keepdim=True)
    boundary = anatomy - erode(anatomy)
    return boundary if kind == "per_class" else boundary.amax(1, keepdim=True)


def laplace(image: Tensor) -> Tensor:
    """|Laplacian| / 8 of each channel, borders repeated."""
    kernel = send(torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]), image.device)[None, None]
    flat = functional.pad(image.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
    return functional.conv2d(flat, kernel).view(image.shape).abs() / 8


def edge_channels(kind: str, classes: int) -> int:
    """How many maps `edges` gives."""
    return classes if kind == "per_class" else 1
