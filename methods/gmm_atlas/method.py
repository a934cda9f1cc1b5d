"""Tissue model of each scan with the atlas as prior: nothing is trained. See card.toml."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import scores
from uadbench.learning.reconstruction import Reconstruction
from uadbench.learning.tissues import fit_tissues, in_brain, tissue_prior
from uadbench.methods import Context, Score, fit_option, score_option

UNSIGNED = 0.25  # of the absolute residual in the score `water`


def towards_water(means: NDArray[np.float64]) -> float:
    """Whether a lesion, whose tissue holds more water, is brighter (1) or darker (-1) than tissue.

    `means` of fluid, grey and white matter. Where fluid is suppressed, darker than both while grey matter is
    brighter than white, water in tissue is bright all the same; else it goes the way of fluid.
    """
    fluid, grey, white = means
    suppressed = fluid < min(grey, white) and grey > white
    return 1.0 if suppressed or fluid > white else -1.0


@dataclass
class GmmAtlas(Reconstruction):
    """Finds how bright each tissue is in a scan and paints the atlas with it."""

    grid: str = fit_option("g96", "model grid")
    paint: str = score_option(
        "prior",
        "whose probabilities are painted with the means: `prior` of the atlas, or `posterior` of the scan",
        ("prior", "posterior"),
    )
    score_kind: str = score_option(
        "zres",
        "residual between volume and reconstruction; `water`: what goes towards free water, and a quarter of "
        "the absolute residual",
        (*scores.KINDS, "water"),
    )

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Nothing to learn."""
        return self

    def reconstruct(self, volume: Volume) -> NDArray[np.float32]:
        """The means of the tissues, weighted by their probabilities (C, R, A, S)."""
        return np.stack([self._painted(image, volume.brain)[0] for image in volume.image])

    def score(self, volume: Volume) -> Score:
        """One of the shared residuals, or what goes towards free water."""
        if self.score_kind != "water":
            return super().score(volume)
        painted = [self._painted(image, volume.brain) for image in volume.image]
        healthy = np.stack([image for image, _ in painted])
        signs = np.array([sign for _, sign in painted], np.float32)[:, None, None, None]
        residual = volume.image - healthy
        score = (np.maximum(signs * residual, 0) + UNSIGNED * np.abs(residual)).mean(0, dtype=np.float32)
        return Score(score * volume.brain, healthy)

    def _painted(
        self, image: NDArray[np.float32], brain: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], float]:
        """A pseudo-healthy image (R, A, S) and which way water goes in it."""
        painted = np.zeros_like(image)
        if not brain.any():
            return painted, 1.0
        prior = self._prior(brain)
        model = fit_tissues(image[brain], prior)
        shares = prior if self.paint == "prior" else model.posterior
        painted[brain] = model.means @ shares
        return painted, towards_water(model.means)

    def _prior(self, brain: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The atlas's probabilities of fluid, grey and white matter in a brain (3, voxels)."""
        mask = torch.from_numpy(np.moveaxis(brain, 2, 0)[:, None].astype(np.float32))
        tissues = in_brain(tissue_prior(self.grid), mask)[:, 1:].numpy()  # (S, 3, R, A)
        return np.moveaxis(tissues, 0, -1)[:, brain]


ENTRY = GmmAtlas
