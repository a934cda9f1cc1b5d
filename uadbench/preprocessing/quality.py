"""Quality: does a prepared scan lie in MNI152 as a brain should? What looks wrong is flagged, never dropped.

All is measured on points 4 mm apart in MNI152, where it costs milliseconds. The template is symmetric, so
that no image measure can tell left from right: that is left to the headers (`scan` refuses a file whose qform
and sform disagree) and to the affine, which may not mirror (`register`).
"""

from collections.abc import Mapping
from functools import lru_cache
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from uadbench.data.space import GRIDS, Grid
from uadbench.preprocessing import resampling
from uadbench.preprocessing.extract import T1_LIKE
from uadbench.preprocessing.register import WORKING, load_template

POINTS = GRIDS["g48"]
BINS = 24  # per image, of the mutual information

# Each threshold lies beyond what the real samples at hand reach (8 heads of IXI, 2 of MSLUB, 3 of BraTS13),
# where nothing was wrong to the eye; few as they are, a flag asks for a look at the sheet, no more.
LEAST_DICE = 0.85  # brain mask with the template's
LEAST_CORRELATION = 0.3  # of a T1 with the template; other contrasts have no correlation to expect
NATIVE_ML = (900.0, 2000.0)  # intracranial volume of adults in the scanner's millimetres
DETERMINANTS = (0.9, 2.3)  # the template's head is a large one: scans grow
DIRECTIONS = ("LR", "PA", "IS")  # of each axis, backwards and forwards
ORIENTATION_MARGIN = 0.0  # mutual information in nats that another orientation may have more


def assess_quality(
    image: NDArray[np.float32],
    brain: NDArray[np.bool_],
    grid: Grid,
    transform: NDArray[np.float64],
    contrast: str,
) -> dict[str, Any]:
    """The quality of an image in [0, 1] and its brain mask (R, A, S) on a grid, as plain data for JSON.

    `dice` of the brain mask with the template's; `correlation` with the T1 template inside both masks,
    negative for an inverse contrast; `native_ml`, the brain's volume before the affine; `determinant` of the
    affine; `orientation`, the axes of the template that the scan's fit best ("RAS" is right), and `margin`,
    the mutual information in nats as it lies, less the best other orientation's; `flags` in words.
    """
    to_grid = np.linalg.inv(grid.affine) @ POINTS.affine
    picture = resampling.sample_nearest(image, to_grid, POINTS.shape)
    mask = resampling.sample_nearest(brain.view(np.uint8), to_grid, POINTS.shape).view(np.bool_)
    fixed, fixed_mask = _template_points()
    both = np.flatnonzero(mask & fixed_mask)
    found, expected = picture.ravel()[both], fixed.ravel()[both]
    determinant = float(np.linalg.det(transform[:3, :3]))
    orientation, margin = _orientation(picture, mask)
    spread = len(both) > 1 and found.std() > 0
    figures = {
        "dice": float(2 * len(both) / max(int(np.count_nonzero(mask) + np.count_nonzero(fixed_mask)), 1)),
        "correlation": float(np.corrcoef(found, expected)[0, 1]) if spread else 0.0,
        "native_ml": float(np.count_nonzero(brain) * grid.voxel_ml / abs(determinant)),
        "determinant": determinant,
        "margin": margin,
    }
    flags = _flags(figures, orientation, not np.array_equal(transform, np.eye(4)), contrast in T1_LIKE)
    # Rounded: the figures are no more precise than that.
    rounded = {name: round(value, 4) for name, value in figures.items()}
    return {**rounded, "orientation": orientation, "flags": flags}


def _flags(figures: Mapping[str, float], orientation: str, registered: bool, t1: bool) -> list[str]:
    """What is remarkable, with the figure and what is expected."""
    dice, correlation, native_ml, determinant, _ = figures.values()
    flags = []
    if dice < LEAST_DICE:
        why = "" if registered else ": is it really in MNI152, as its card says?"
        flags.append(f"overlap with the template's brain {dice:.2f}, expected {LEAST_DICE:.2f}{why}")
    if t1 and correlation < LEAST_CORRELATION:
        flags.append(f"correlation with the template {correlation:.2f}, expected {LEAST_CORRELATION}")
    # A scan that came in MNI152 has no size of its own any more.
    if registered and not NATIVE_ML[0] < native_ml < NATIVE_ML[1]:
        flags.append(f"brain of {native_ml:.0f} ml, expected {NATIVE_ML[0]:.0f} to {NATIVE_ML[1]:.0f}")
    if registered and not DETERMINANTS[0] < determinant < DETERMINANTS[1]:
        low, high = DETERMINANTS
        flags.append(f"registration changes the volume by {determinant:.2f}, expected {low} to {high}")
    if orientation != "RAS":
        flags.append(f"fits the template better with its axes turned to {orientation}")
    return flags


@lru_cache(maxsize=1)
def _template_points() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The template and its brain mask at the points."""
    image, brain = load_template()
    to_template = np.linalg.inv(WORKING.affine) @ POINTS.affine
    picture = resampling.sample_nearest(image, to_template, POINTS.shape)
    return picture, resampling.sample_nearest(brain.view(np.uint8), to_template, POINTS.shape).view(np.bool_)


def _orientation(picture: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[str, float]:
    """The orientation whose mutual information with the template is highest, and how far RAS is ahead.

    Of the 48 ways to permute and flip the axes only those 24 are tried whose left-right axis is not
    flipped: the template is symmetric. The brain is turned about its centre.
    """
    if not mask.any():
        return "RAS", 0.0
    # Points 8 mm apart will do: an axis is turned by 90 degrees or not at all.
    there = np.argwhere(mask[::2, ::2, ::2]) * 2
    levels = (picture[tuple(there.T)] * (BINS - 1)).astype(np.int64)
    middle = (there.min(0) + there.max(0)) / 2
    names, index = _turned(there, middle)
    values = dict(zip(names, _information(levels, index), strict=True))
    own = values.pop("RAS")
    best = max(values, key=values.__getitem__)
    margin = own - values[best]
    return ("RAS" if margin >= -ORIENTATION_MARGIN else best), float(margin)


def _turned(points: NDArray[np.int64], middle: NDArray[np.float64]) -> tuple[list[str], NDArray[np.int64]]:
    """The directions of the turned axes, and where in `_template_levels().ravel()` points (n, 3) come to lie.

    The latter (turns, n). What is outside the template lies in its rim.
    """
    sides = np.array(_template_levels().shape)[:, None, None, None]
    offsets = (points - middle).T[:, None] * np.array([-1, 1])[:, None]  # (source, sign, n)
    strides = np.array([sides[1] * sides[2], sides[2], np.ones_like(sides[2])])
    places = np.clip(np.rint(offsets + middle[:, None, None, None]), -1, sides - 2) + 1
    # By axis of the template, axis that is turned to it, and direction of that.
    along = places.astype(np.int64) * strides
    names, index = [], []
    for order, signs in product(permutations(range(3)), product((1, 0), repeat=3)):
        name = "".join(DIRECTIONS[source][sign] for source, sign in zip(order, signs, strict=True))
        if "L" not in name:
            names.append(name)
            right, front, up = (along[axis, order[axis], signs[axis]] for axis in range(3))
            index.append(right + front + up)
    return names, np.stack(index)


def _information(levels: NDArray[np.int64], index: NDArray[np.int64]) -> list[float]:
    """Mutual information in nats of a scan's levels (n,) with those of the template at indices (turns, n)."""
    there = _template_levels().ravel()[index]
    turns = BINS * BINS * np.arange(len(index))[:, None]
    counts = np.bincount((turns + levels * BINS + there).ravel(), minlength=BINS * BINS * len(index))
    joint = counts.reshape(-1, BINS, BINS) / len(levels)
    independent = joint.sum(2, keepdims=True) * joint.sum(1, keepdims=True)
    return [float(value) for value in rel_entr(joint, independent).sum((1, 2))]


@lru_cache(maxsize=1)
def _template_levels() -> NDArray[np.int64]:
    """The template in BINS levels at the points, with a rim of 0 around it."""
    return np.ascontiguousarray(np.pad((_template_points()[0] * (BINS - 1)).astype(np.int64), 1))
