"""Background: what a scan shows where there is no head, and what stands out from it.

"Brain is above zero" is wrong for z-scored volumes, whose background is negative, and for those whose
background is the noise of an interpolation instead of one value.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.preprocessing import bodies, ranks, resampling
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import SubjectError

COMMON = 0.25  # share of the border that one value must have to be the background's
CORNER = 8  # a corner is this part of each side: no brain reaches into it, in a field cut to the brain either
MARGIN = 2.0  # noise of the whole volume reaches further than that of the corners
ROUNDING = 1e-4  # of the brightness: less is rounding, whatever the corners say
NOISY = 0.25  # of the brightness: what stands out from such a background is no brain


@dataclass(frozen=True)
class Background:
    """The value of the background, how far it strays, and how far the bright end of the image is from it."""

    level: float
    noise: float
    brightness: float

    def differs(self, array: NDArray[Any]) -> NDArray[np.bool_]:
        """Which voxels stand out."""
        apart = max(MARGIN * self.noise, ROUNDING * self.brightness)
        low, high = self.level - apart, self.level + apart
        if array.dtype.kind in "iu":  # compared as what they are, several times as fast
            low, high = int(np.ceil(low)), int(np.floor(high))
        above = np.asarray(array > high)
        # Most backgrounds are the darkest there is.
        return np.asarray(above | (array < low)) if array.min() < low else above


def measure_background(image: Scan) -> Background:
    """The background, seen at the border and in the corners of the field of view.

    Where the border has no common value the corners decide: the middle one of eight, so that a few may hold
    something else (a shoulder, an island of another value).
    """
    array = image.array
    corners = [corner.astype(np.float64) for corner in _corners(array)]
    ends = [array[:, :, end] for end in (0, -1)] + [array[:, end] for end in (0, -1)] + [array[0], array[-1]]
    values, counts = np.unique(np.concatenate([face.ravel("K") for face in ends]), return_counts=True)
    common = counts.max() >= COMMON * counts.sum()
    level = np.float64(values[counts.argmax()] if common else np.median([np.median(one) for one in corners]))
    noise = float(np.median([np.abs(one - level).max() for one in corners]))
    steps = tuple(slice(None, None, max(1, side // 64)) for side in array.T.shape)
    some = array.T[steps].ravel() - level  # in float64, as `level` is
    brightness = ranks.percentile(np.abs(some, out=some), 99.5)
    return Background(float(level), noise, brightness)


def find_standing_out(image: Scan, name: str, found: Background | None = None) -> NDArray[np.bool_]:
    """The largest body of what stands out from the background, without holes: a skull-stripped brain.

    `found` is the image's background, where it has been measured already.
    """
    found = found or measure_background(image)
    if found.noise > NOISY * found.brightness:
        raise SubjectError(
            f"{name} is called skull-stripped, but its background strays by up to {found.noise:.3g} from "
            f"{found.level:.3g}, and the image is only {found.brightness:.3g} brighter: no brain stands out "
            "from it; supply a brain mask, or the image with a background of one value."
        )
    differs = found.differs(image.array)
    if not differs.any():
        return differs
    box = resampling.bounding_box(differs)
    brain = np.zeros_like(differs)
    brain[box] = bodies.fill_holes(bodies.keep_largest(differs[box]))
    return brain


def _corners(array: NDArray[Any]) -> list[NDArray[Any]]:
    """The eight corners, each an eighth of the sides."""
    sides = [max(1, side // CORNER) for side in array.shape]
    ends = [(slice(0, side), slice(-side, None)) for side in sides]
    return [array[corner] for corner in product(*ends)]
