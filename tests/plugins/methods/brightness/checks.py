"""Checks: what a folder may add to its ablations."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from uadbench.data.volumes import Volumes
from uadbench.methods import Method


def checks(
    method: Method,
    healthy: Volumes,
    patients: Volumes,
    lesions: Sequence[NDArray[np.bool_]],
    train_contrasts: Sequence[str],
) -> dict[str, float]:
    """Mean score of healthy brains, and of lesions by contrast."""
    inside = [float(method.score(v).score_map[v.brain].mean()) for v in healthy]
    bright = [float(method.score(v).score_map[m].mean()) for v, m in zip(patients, lesions, strict=True)]
    return {"mean healthy": float(np.mean(inside)), "mean lesion T1": float(np.mean(bright))}
