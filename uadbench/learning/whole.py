"""Whole: volumes as networks of three-dimensional convolutions draw them and answer them, in one piece."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import training
from uadbench.learning.reconstruction import LossMethod, NetworkReconstruction
from uadbench.learning.slices import Packed
from uadbench.system.errors import UserError


def padded(image: Tensor, multiple: int) -> Tensor:
    """Volumes (B, C, R, A, S) with background behind the end of each axis, to a multiple of voxels."""
    lacking = [-voxels % multiple for voxels in image.shape[:1:-1]]  # the last axis first
    return functional.pad(image, [side for end in lacking for side in (0, end)])


class WholeVolumes(Packed):
    """Every volume in one piece: batches have `image` and `brain` (B, 1, R, A, S)."""

    dimensions = 3

    def _list(self, volumes: Volumes) -> NDArray[np.int64]:
        if not len(volumes):
            raise UserError("Training needs at least one volume, got none.")
        others = sorted(set(volumes.depths) - {volumes.grid.shape[2]})
        if others:
            raise UserError(
                f"Training on whole volumes needs {volumes.grid.shape[2]} axial slices of each, got "
                f"{others[0]}: slices without geometry are no volumes, choose a method that works on slices."
            )
        return np.arange(len(volumes))[:, None]

    def _read_codes(self, which: NDArray[np.int64]) -> NDArray[np.uint16]:
        return self.volumes.read_whole_codes(which[:, 0])  # (B, R, A, S)


@dataclass
class WholeReconstruction(LossMethod, NetworkReconstruction):
    """A reconstruction by a network that is given whole volumes (B, 1, R, A, S).

    `build` and `training_loss` are enough.
    """

    drawn = WholeVolumes

    def reconstruct(self, volume: Volume) -> NDArray[np.float32]:
        """The network's version of the volume (C, R, A, S), one channel at a time; 0 outside the brain."""
        channels = volume.image[:, None]  # (C, 1, R, A, S)
        return training.predict(self.network_, channels, self.device_, batch=1)[:, 0] * volume.brain
