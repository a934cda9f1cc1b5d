"""PCA: the linear limit of an auto-encoder. See card.toml."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from uadbench.data.volumes import Volume, Volumes
from uadbench.learning.reconstruction import Reconstruction
from uadbench.methods import Context, State, fit_option
from uadbench.system.ranges import Length, Size

Array = NDArray[np.float32]
CHUNK = 2048  # slices per update: bounds the memory; a cohort with fewer per slab is decomposed exactly


class IncrementalPCA:
    """Mean and principal components of rows that come in chunks (Ross et al. 2008, sec. 2.1)."""

    def __init__(self, components: int, length: int) -> None:
        """Of no row yet; rows have `length` numbers."""
        self.components, self.count = components, 0
        self.mean = np.zeros(length, np.float32)
        self._scaled = np.zeros((0, length), np.float32)  # components times their singular values

    def add(self, rows: Array) -> None:
        """Take rows (n, length) into account."""
        mean, total = rows.mean(0), self.count + len(rows)
        shift = np.float32(np.sqrt(self.count * len(rows) / total)) * (self.mean - mean)
        stacked = np.concatenate([self._scaled, rows - mean, shift[None]])
        # Of X = U S V the eigenvectors of X X' are U, and U' X = S V: far cheaper than the
        # decomposition of X, whose rows are much longer than they are many.
        values, vectors = np.linalg.eigh((stacked @ stacked.T).astype(np.float64))
        kept = np.flatnonzero(values > 1e-6 * values[-1])[-self.components :]
        self._scaled = vectors[:, kept].T.astype(np.float32) @ stacked
        self.mean += (mean - self.mean) * np.float32(len(rows) / total)
        self.count = total

    def basis(self) -> Array:
        """Orthonormal components (k, length), the weakest first; k is at most the number of rows less 1."""
        basis: Array = self._scaled / np.linalg.norm(self._scaled, axis=1, keepdims=True)
        return basis


@dataclass
class PCA(Reconstruction):
    """Keeps of each axial slice what the main variations of healthy slices at its height can say."""

    grid: str = fit_option("evaluation", "model grid; evaluation: that on which all maps are measured")
    components: Size = fit_option(128, "principal components per slab; fewer where there are fewer slices")
    slab_mm: Length = fit_option(10.0, "thickness of a slab of slices that share a mean and components, mm")

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Mean and components of each slab, in template space."""
        which = train.slices()
        self.slab_slices_ = max(1, round(self.slab_mm / train.grid.spacing_mm))
        slab_of = which[:, 1] // self.slab_slices_
        self.slabs_ = np.unique(slab_of)
        pixels = train.grid.shape[0] * train.grid.shape[1]
        self.mean_ = np.zeros((len(self.slabs_), pixels), np.float32)
        self.components_ = np.zeros((len(self.slabs_), self.components, pixels), np.float32)
        with context.progress.stage("principal components", len(self.slabs_)) as stage:
            for row, slab in enumerate(self.slabs_):
                model = IncrementalPCA(self.components, pixels)
                own = np.random.default_rng(context.seed).permutation(which[slab_of == slab])
                for chunk in np.array_split(own, -(-len(own) // CHUNK)):
                    images, _ = train.read_slices(chunk)
                    model.add(images.reshape(len(chunk), -1))  # (B, 1, R, A) -> (B, R * A)
                basis = model.basis()
                self.mean_[row], self.components_[row, : len(basis)] = model.mean, basis
                stage.advance()
        used = self.components_.any((0, 2))  # a cohort smaller than `components` leaves the last ones 0
        self.components_ = np.ascontiguousarray(self.components_[:, used])
        return self

    def reconstruct(self, volume: Volume) -> NDArray[np.float32]:
        """The projection of each slice on the healthy subspace of its slab."""
        healthy = np.zeros_like(volume.image)
        positions = np.arange(volume.image.shape[3])
        # A slice above or below all training slices goes to the nearest slab.
        nearest = np.abs(self.slabs_ - positions[:, None] // self.slab_slices_).argmin(1)
        for row in range(len(self.slabs_)):
            own = positions[(nearest == row) & volume.brain.any((0, 1))]
            slices = volume.image[..., own].transpose(0, 3, 1, 2)  # (C, R, A, B) -> (C, B, R, A)
            centred = slices.reshape(-1, self.mean_.shape[1]) - self.mean_[row]  # (C * B, R * A)
            basis = self.components_[row]
            projected = self.mean_[row] + (centred @ basis.T) @ basis
            healthy[..., own] = projected.reshape(slices.shape).transpose(0, 2, 3, 1)
        return healthy * volume.brain

    def state(self) -> State:
        """Means (slabs, R * A) and components (slabs, components, R * A), orthonormal or 0."""
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
