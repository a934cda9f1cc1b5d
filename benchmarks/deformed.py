"""dal_r with an atlas that is moved to each scan: question q8 of its pre-registration."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from uadbench.data.volumes import Volume
from uadbench.learning.tissues import in_brain, tissue_prior
from uadbench.methods.dal_r.method import DalR
from uadbench.methods.dal_r.model import UNKNOWN, Findings

KNOTS_MM = 16.0  # between the knots of the field; it is linear in between
MOVES = 30  # steps of Adam
STIFFNESS = 0.02  # weight of the squared difference of neighbouring knots, both in voxels


def moved(atlas: Tensor, image: Tensor, brain: Tensor, code: Tensor, spacing_mm: float) -> Tensor:
    """The atlas (S, 4, R, A) after a smooth displacement that makes the scan likelier.

    `image` and `brain` are (S, R, A), `code` (2, 3) the mean and deviation of each tissue. What rises is the
    log likelihood of the mixture whose weights are the moved atlas's, less the roughness of the field.
    """
    maps = atlas.movedim(1, 0)[None]  # (1, 4, S, R, A)
    shape = maps.shape[2:]
    knots = [max(2, round(n * spacing_mm / KNOTS_MM)) for n in shape]
    field = torch.zeros(1, 3, *knots, requires_grad=True)  # in voxels, along A, R and S
    unit = torch.eye(3, 4)[None]
    at_rest = functional.affine_grid(unit, [1, 1, *shape], align_corners=True)
    per_voxel = torch.tensor([2 / (n - 1) for n in reversed(shape)])
    mean, deviation = (row[:, None, None, None] for row in code)
    fits = -0.5 * ((image - mean) / deviation) ** 2 - deviation.log()  # (3, S, R, A)

    def now() -> Tensor:
        fine = functional.interpolate(field, shape, mode="trilinear", align_corners=True)
        places = at_rest + fine.movedim(1, -1) * per_voxel
        return functional.grid_sample(maps, places, padding_mode="border", align_corners=True)[0]

    optimiser = torch.optim.Adam([field], lr=0.2)
    for _ in range(MOVES):
        optimiser.zero_grad()
        weights = (now()[1:] + UNKNOWN).log()
        likelihood = torch.logsumexp(weights + fits, 0)[brain].mean()
        rough = sum(field.diff(dim=axis).square().mean() for axis in (2, 3, 4))
        (STIFFNESS * rough - likelihood).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return now().detach().movedim(0, 1)


@dataclass
class Deformed(DalR):  # type: ignore[misc]  # a plug-in
    """The same fit; in scoring the atlas is moved to the scan first."""

    def findings(self, volume: Volume) -> Findings:
        """All that the model says of a volume of one contrast."""
        image, brain = (torch.from_numpy(np.ascontiguousarray(part.transpose(2, 0, 1))) for part in (
            volume.image[0], volume.brain
        ))  # fmt: skip
        code = torch.from_numpy(self._code(volume.image[0], volume.brain))
        with torch.inference_mode(False), torch.enable_grad():
            self.atlas_ = moved(tissue_prior(self.grid), image, brain, code, self._spacing_mm)
        return super().findings(volume)

    def _prior(self, positions: NDArray[np.integer[Any]], brain: Tensor) -> Tensor:
        atlas = getattr(self, "atlas_", None)
        maps = (tissue_prior(self.grid) if atlas is None else atlas)[torch.from_numpy(positions)]
        known: Tensor = in_brain(maps, brain)[:, 1:]
        return known
