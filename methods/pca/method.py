"""PCA: the linear limit of an auto-encoder. See card.toml."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import IncrementalPCA

from uadbench import scores
from uadbench.methods import Context, Method, Score, State, fit_option, score_option
from uadbench.volumes import Volume, Volumes

CHUNK = 1024  # slices per update: bounds the memory, and a small cohort is decomposed exactly


@dataclass
class PCA(Method):
    """Keeps of each axial slice what the main variations of healthy slices at its height can say."""

    components: int = fit_option(128, "principal components per slab; fewer where there are fewer slices")
    slab_mm: float = fit_option(10.0, "thickness of a slab of slices that share a mean and components, mm")
    score_kind: str = score_option("l1", "how the residual becomes a score", choices=tuple(scores.KINDS))

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Mean and components of each slab, in template space."""
        which = train.slices()
        self.slab_slices_ = max(1, round(self.slab_mm / train.grid.spacing_mm))
        slab_of = which[:, 1] // self.slab_slices_
        slabs = np.unique(slab_of)
        rows, columns, _ = train.grid.shape
        self.slabs_ = slabs
        self.mean_ = np.zeros((len(slabs), rows * columns), np.float32)
        self.components_ = np.zeros((len(slabs), self.components, rows * columns), np.float32)
        with context.progress.stage("principal components", len(slabs)) as stage:
            for row, slab in enumerate(slabs):
                self._fit_slab(row, train, which[slab_of == slab], context.seed)
                stage.advance()
        used = self.components_.any((0, 2))  # a cohort smaller than `components` leaves the last ones 0
        self.components_ = np.ascontiguousarray(self.components_[:, used])
        return self

    def _fit_slab(self, row: int, train: Volumes, which: NDArray[np.int64], seed: int) -> None:
        """Components of one slab, from its slices in random order, chunk after chunk."""
        which = np.random.default_rng(seed).permutation(which)
        model = IncrementalPCA(min(self.components, len(which) - 1))
        # Equal chunks: each has to hold at least as many slices as there are components.
        for chunk in np.array_split(which, max(1, len(which) // CHUNK)):
            model.partial_fit(
                train.read_slices(chunk)[0].reshape(len(chunk), -1)
            )  # (B, 1, R, A) -> (B, R * A)
        self.mean_[row] = model.mean_
        self.components_[row, : model.n_components_] = model.components_

    def score(self, volume: Volume) -> Score:
        """Residual to the projection of each slice on the healthy subspace of its slab."""
        healthy = np.zeros_like(volume.image)
        for position in np.flatnonzero(volume.brain.any((0, 1))):
            # A slice above or below all training slices goes to the nearest slab.
            row = int(np.argmin(np.abs(self.slabs_ - position // self.slab_slices_)))
            pixels = volume.image[..., position].reshape(len(volume.image), -1)  # (C, R, A) -> (C, R * A)
            weights = (pixels - self.mean_[row]) @ self.components_[row].T
            projected = self.mean_[row] + weights @ self.components_[row]
            healthy[..., position] = projected.reshape(volume.image.shape[:3])
        healthy *= volume.brain
        return Score(scores.residual(self.score_kind, volume, healthy), healthy)

    def state(self) -> State:
        """Means (slabs, R * A) and components (slabs, components, R * A), orthonormal rows."""
        return {
            "slab_slices": np.array([self.slab_slices_], np.int64),
            "slabs": self.slabs_,
            "mean": self.mean_,
            "components": self.components_,
        }

    def load_state(self, state: State, context: Context) -> Self:
        """Take up means and components."""
        self.slab_slices_ = int(state["slab_slices"][0])
        self.slabs_, self.mean_, self.components_ = state["slabs"], state["mean"], state["components"]
        return self


ENTRY = PCA
