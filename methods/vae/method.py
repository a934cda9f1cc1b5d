"""Variational auto-encoder of axial slices (Kingma & Welling 2014, Baur et al. 2021), and restoration with
it as the prior (You et al. 2019, Chen et al. 2020). See card.toml."""

from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor

from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import training
from uadbench.learning.autoencoder import (
    Baur,
    VariationalAutoencoder,
    draw_code,
    negative_bound,
    negative_elbo,
)
from uadbench.methods import Context, fit_option, score_option
from uadbench.system.ranges import Rate, Size, Weight

TV_WEIGHTS = tuple(k / 10 for k in range(20))  # among which restoration chooses: 0, 0.1, ..., 1.9 (Baur 2021)
SELECTION_SLICES = 16  # healthy validation slices by which it chooses


def total_variation(images: Tensor) -> Tensor:
    """Absolute differences of pixels that share an edge, summed: (B, 1, R, A) -> (B,)."""
    rows = (images[..., 1:, :] - images[..., :-1, :]).abs().flatten(1).sum(1)
    columns = (images[..., 1:] - images[..., :-1]).abs().flatten(1).sum(1)
    return rows + columns


@torch.inference_mode(False)  # gradients are needed although scoring switches them off
def restore_slices(
    network: VariationalAutoencoder, image: Tensor, beta: float, tv_weight: float, steps: int, rate: float
) -> Tensor:
    """Slices (B, 1, R, A) after gradient descent towards what the network holds for healthy.

    Steps of length `rate` times the gradient, from the image x itself, of
    L1(x_r, D(mean of E(x_r))) + beta KL + tv_weight TV(x - x_r) (You et al. 2019; Baur 2021).
    Every term is a sum over the pixels or the code of a slice, and slices are added up: what becomes of a
    slice depends on itself alone.
    """
    image = image.clone()
    restored = image
    for _ in range(steps):
        restored = restored.detach().requires_grad_()
        prior = negative_bound(network, restored, beta)
        objective = prior + tv_weight * total_variation(image - restored)
        (gradient,) = torch.autograd.grad(objective.sum(), restored)
        restored = restored.detach() - rate * gradient
    return restored.detach()


@dataclass
class VAE(Baur):
    """Learns a distribution of healthy slices; what it cannot restore from its code is anomalous."""

    beta: Weight = fit_option(
        1.0, "weight of KL against L1, both summed; Higgins 2017; 1: Kingma & Welling 2014"
    )
    restoration_steps: Size = fit_option(150, "steps of the restoration; Baur 2021's code")
    restoration_rate: Rate = fit_option(1e-3, "length of a step per unit of gradient; Baur 2021's code")
    inference: str = score_option(
        "decoding",
        "pseudo-healthy slice: `decoding` of the mean of the code, or `restoration` of the slice by gradient "
        "descent on the negative evidence lower bound (You 2019)",
        ("decoding", "restoration"),
    )
    tv_weight: Annotated[float, Meta(ge=-1, le=1000)] = score_option(
        -1.0,
        "weight of the total variation of what restoration changes; negative: the one of 0, 0.1, ..., 1.9 "
        "that changes healthy validation slices least (Chen 2020; the grid is Baur 2021's)",
    )

    def build(self) -> VariationalAutoencoder:
        """The network with fresh weights; it keeps the weight of the total variation chosen with it."""
        network = VariationalAutoencoder(*self.slice_shape(), self.width, self.latent_dim, self.dropout)
        network.register_buffer("tv_weight", torch.zeros(()))
        return network

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Maximise the evidence lower bound of healthy slices."""
        super().fit(train, val, context)
        # Also where scoring will only decode: with it one fit serves both rows.
        self.network_.tv_weight.fill_(self._choose_tv_weight(val if len(val) else train))
        return self

    def training_loss(self, network: VariationalAutoencoder, batch: training.Batch) -> Tensor:
        """The negative evidence lower bound, with one draw of the code for each slice."""
        mean, log_variance = network.encode(batch.image)
        reconstruction = network.decode(
            draw_code(mean, log_variance, network.training), *batch.image.shape[-2:]
        )
        return negative_elbo(batch.image, reconstruction, mean, log_variance, self.beta)

    def _choose_tv_weight(self, healthy: Volumes) -> float:
        """The weight of the total variation with which restoration changes healthy slices least."""
        slices = training.Slices(healthy, self.device_)
        image = slices.take(slices.spread(SELECTION_SLICES)).image
        changes = {w: float((image - self._restored(image, w)).abs().mean()) for w in TV_WEIGHTS}
        return min(TV_WEIGHTS, key=changes.__getitem__)

    def reconstruct(self, volume: Volume) -> NDArray[np.float32]:
        """Each axial slice decoded from the mean of its code, or restored."""
        if self.inference == "decoding":
            return super().reconstruct(volume)
        weight = self.tv_weight if self.tv_weight >= 0 else float(self.network_.tv_weight)
        return training.reconstruct(lambda image: self._restored(image, weight), volume, self.device_)

    def _restored(self, image: Tensor, tv_weight: float) -> Tensor:
        steps, rate = self.restoration_steps, self.restoration_rate
        with training.repeatable(tf32=False):
            return restore_slices(self.network_, image, self.beta, tv_weight, steps, rate)


ENTRY = VAE
