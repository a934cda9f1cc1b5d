"""Context-encoding variational auto-encoder of axial slices (Zimmerer et al. 2018). See card.toml."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from uadbench.data.volumes import Volume
from uadbench.learning import autoencoder, scores, training
from uadbench.learning.augment import extent
from uadbench.methods import Score, fit_option, score_option
from uadbench.system.ranges import Share, Size, Smoothing, Weight


def hide_squares(images: Tensor, brain: Tensor, most: int, side: int) -> Tensor:
    """Slices (B, 1, R, A) in which 1 to `most` squares of `side` pixels are 0 (Baur 2021's code).

    Their number and their place within the box around the brain (B, 1, R, A) are uniform.
    """
    number = torch.randint(1, most + 1, (len(images), 1, 1, 1), device=images.device)
    (first_row, rows), (first_column, columns) = extent(brain, 3), extent(brain, 2)
    row = torch.arange(images.shape[-2], device=images.device)[:, None]  # (R, 1)
    column = torch.arange(images.shape[-1], device=images.device)  # (A,)
    for square in range(most):
        draw = torch.rand(2, len(images), 1, 1, 1, device=images.device)
        top = first_row + (draw[0] * (rows - side + 1).clamp(min=1)).floor()
        left = first_column + (draw[1] * (columns - side + 1).clamp(min=1)).floor()
        inside = (row >= top) & (row < top + side) & (column >= left) & (column < left + side)
        images = images.masked_fill(inside & (number > square), 0.0)
    return images


def context_loss(
    image: Tensor, decoded: Tensor, completed: Tensor, divergence: Tensor, beta: float, share: float
) -> Tensor:
    """Mean over slices of (1 - w) (L1(x, decoded) + beta KL) + w L1(x, completed), divided by the pixels.

    `decoded` comes from a sample of the code of x, `completed` from the mean of the code of x with squares
    hidden. L1 is summed over pixels and KL over the code before both are divided by the same number; with
    the mean of L1 and the sum of KL, KL would weigh pixels times as much and the code would collapse.
    """
    bound = autoencoder.summed_l1(image, decoded) + beta * divergence
    loss = (1 - share) * bound + share * autoencoder.summed_l1(image, completed)
    return loss.mean() / image[0].numel()


@torch.inference_mode(False)  # gradients are needed although scoring switches them off
def gradient_magnitude(network: autoencoder.VariationalAutoencoder, image: Tensor, beta: float) -> Tensor:
    """|d (L1(x, D(mean of E(x))) + beta KL) / dx| of slices (B, 1, R, A), each for itself."""
    image = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(autoencoder.negative_bound(network, image, beta).sum(), image)
    return gradient.abs()


@dataclass
class CeVAE(autoencoder.Baur):
    """A VAE that also has to fill in hidden squares; where bound and residual both protest is anomalous."""

    beta: Weight = fit_option(1.0, "weight of KL against L1, both summed; Kingma & Welling 2014")
    context_weight: Share = fit_option(
        0.5, "share of the completion of hidden squares in the loss; the VAE has the rest"
    )
    squares: Size = fit_option(3, "most squares hidden in a slice; Baur 2021's code of the method")
    side: Size = fit_option(20, "of a hidden square in pixels; Baur 2021's code of the method, at 128 x 128")
    score_kind: str = score_option(
        "gradient",
        "`gradient`: |x - x'| times the smoothed absolute gradient of the bound with respect to x (Zimmerer "
        "2018); else a residual shared by all tables",
        ("gradient", *scores.KINDS),
    )
    smoothing: Smoothing = score_option(
        1.0, "Gaussian sigma, in pixels of the slice, of the gradient; 1 to 2 are usual"
    )

    def build(self) -> autoencoder.VariationalAutoencoder:
        """The network with fresh weights."""
        return autoencoder.VariationalAutoencoder(
            *self.slice_shape(), self.width, self.latent_dim, self.dropout
        )

    def training_loss(self, network: Any, batch: training.Batch) -> Tensor:
        """The negative evidence lower bound of healthy slices and the error of what was hidden in them."""
        image = batch.image
        mean, log_variance = network.encode(image)
        code = autoencoder.draw_code(mean, log_variance, network.training)
        decoded = network.decode(code, *image.shape[-2:])
        completed = network(hide_squares(image, batch.brain, self.squares, self.side))
        divergence = autoencoder.kl_divergence(mean, log_variance)
        return context_loss(image, decoded, completed, divergence, self.beta, self.context_weight)

    def score(self, volume: Volume) -> Score:
        """Residual times smoothed gradient of the bound, or one of the shared residuals."""
        if self.score_kind != "gradient":
            return super().score(volume)
        healthy = self.reconstruct(volume)
        gradient = training.reconstruct(
            lambda image: gradient_magnitude(self.network_, image, self.beta), volume, self.device_
        )
        smooth = gaussian_filter(gradient, self.smoothing, axes=(1, 2))  # (C, R, A, S), in the slice
        combined = (np.abs(volume.image - healthy) * smooth).mean(0) * volume.brain
        return Score(combined.astype(np.float32), healthy)


ENTRY = CeVAE
