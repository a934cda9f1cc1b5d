"""Foreign: slices of other subjects, from which patches are blended into healthy slices in training."""

import numpy as np
from numpy.typing import NDArray

from uadbench.data.volumes import Volumes
from uadbench.system.errors import UserError


def same_height(which: NDArray[np.int64], own: Volumes, train: Volumes) -> NDArray[np.int64]:
    """For each (volume, slice) of `own` (B, 2) that slice of a random other subject of `train`: (B, 2).

    Volumes without geometry may have unequal numbers of slices: there, the slice as far up, as a share.
    """
    groups, contrasts = np.array(train.groups), np.array(train.contrasts)
    drawn = []
    for volume, position in which:
        allowed = contrasts == own.contrasts[volume]
        if own is train:
            allowed &= groups != groups[volume]
        if not allowed.any():
            raise UserError(
                "Other subjects' patches are blended in: each contrast needs two subjects to train."
            )
        other = np.random.choice(np.flatnonzero(allowed))
        drawn.append((other, position * train.depths[other] // own.depths[volume]))
    return np.array(drawn, np.int64)
