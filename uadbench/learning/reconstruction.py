"""Reconstruction: the bases of methods that make a pseudo-healthy volume and score the residual to it."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import scores, training
from uadbench.learning.slices import Packed, Slices
from uadbench.methods import Context, Method, Score, State, score_option


@dataclass
class Reconstruction(Method):
    """A method whose score is one of the residuals that all tables share (`uadbench.learning.scores`)."""

    score_kind: str = score_option("l1", "residual between volume and reconstruction", scores.KINDS)

    @abstractmethod
    def reconstruct(self, volume: Volume) -> NDArray[np.float32]:
        """The pseudo-healthy volume (C, R, A, S), in the units of the image; 0 outside the brain."""

    def calibrate(self, healthy: Volumes, context: Context) -> Self:
        """For `zres`: mean and deviation of the absolute residual of healthy volumes, voxel by voxel.

        The volumes are not those that were learned from, whose residuals are too small. Each contrast is
        standardised by its own; one that is not among them by those of all volumes.
        """
        if self.score_kind == "zres":
            self.healthy_residuals_ = scores.HealthyResiduals.by_contrast(
                healthy, self.reconstruct, context.progress
            )
        return self

    def calibration_state(self) -> State:
        """For `zres`: mean and deviation of the healthy residuals of each contrast, (R, A, S) float32."""
        if self.score_kind != "zres":
            return {}
        moments = {contrast: vars(known) for contrast, known in self.healthy_residuals_.items()}
        return {f"{name}.{part}": value for name, parts in moments.items() for part, value in parts.items()}

    def load_calibration(self, found: State) -> Self:
        """Take up the healthy residuals."""
        if self.score_kind == "zres":
            contrasts = {name.rpartition(".")[0] for name in found} | {scores.ANY}
            wanted = {f"{contrast}.{part}" for contrast in contrasts for part in ("mean", "deviation")}
            forms = {(value.ndim, value.shape, value.dtype.str) for value in found.values()}
            if set(found) != wanted or {form[::2] for form in forms} != {(3, "<f4")} or len(forms) > 1:
                raise ValueError("healthy residuals are a mean and a deviation (R, A, S) of each contrast")
            self.healthy_residuals_ = {
                contrast: scores.HealthyResiduals(found[f"{contrast}.mean"], found[f"{contrast}.deviation"])
                for contrast in sorted(contrasts)
            }
        return self

    @property
    def calibrated(self) -> bool:
        """Whether residuals are standardised by healthy ones."""
        return self.score_kind == "zres"

    def score(self, volume: Volume) -> Score:
        """Residual between the volume and its reconstruction."""
        healthy = self.reconstruct(volume)
        if self.score_kind == "zres":
            known = self.healthy_residuals_
            statistics = known.get("+".join(volume.contrasts), known[scores.ANY])
            return Score(statistics.standardise(volume, healthy), healthy)
        return Score(scores.residual(self.score_kind, volume, healthy), healthy)


@dataclass
class NetworkMethod(Method):
    """A method with one network `network_` on `device_`; several go into one `nn.ModuleDict`.

    `fit` sets both attributes.
    """

    @abstractmethod
    def build(self) -> nn.Module:
        """The network with fresh weights."""

    def check(self) -> None:
        """Build the network without memory and without drawing weights: layers say what does not fit."""
        with torch.device("meta"):
            self.build()

    def state(self) -> State:
        """Weights of the network by name."""
        return training.weights(self.network_)

    def load_state(self, state: State, context: Context) -> Self:
        """Build the network and give it the weights."""
        self.network_: Any = self.build()
        self.device_ = context.device
        training.load_weights(self.network_, state, context.device)
        return self


@dataclass
class LossMethod(NetworkMethod):
    """A `NetworkMethod` that is trained by one loss: `build`, `training_loss` and `score` are enough."""

    drawn: ClassVar[type[Packed]] = Slices  # what a batch is made of

    @abstractmethod
    def training_loss(self, network: Any, batch: training.Batch) -> Tensor:
        """What is minimised over healthy slices and, with the network in evaluation mode, validated."""

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Minimise `training_loss`, for as long and as fast as the options say."""
        self.network_, self.device_ = self.build(), context.device
        schedule = training.Schedule.of(self)
        name = type(self).__module__.removesuffix(".method").rpartition(".")[2]  # the method's folder
        healthy = self.drawn(val, context.device) if len(val) else val
        parts = self.drawn(train, context.device)
        training.train(self.network_, self.training_loss, parts, healthy, context, schedule, name)
        return self


@dataclass
class NetworkReconstruction(NetworkMethod, Reconstruction):
    """A `Reconstruction` by a network.

    What differs from a plain pass of each axial slice through the network belongs into `reconstruct`.
    """

    def reconstruct(self, volume: Volume) -> NDArray[np.float32]:
        """The network's version of each axial slice."""
        return training.reconstruct(self.network_, volume, self.device_)
