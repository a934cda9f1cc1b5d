"""Background: what a scan shows where there is no head, and what stands out from it.

"Brain is above zero" is wrong for z-scored volumes, whose background is negative, and for those whose
background is the noise of an interpolation instead of one value.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the name its manual uses
from numpy.typing import NDArray

from uadbench.preprocessing import resampling
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
            return np.asarray((array < int(np.ceil(low))) | (array > int(np.floor(high))))
        return np.asarray((array < low) | (array > high))


def measure_background(image: Scan) -> Background:
    """The background, seen at the border and in the corners of the field of view.

    Where the border has no common value the corners decide: the middle one of eight, so that a few may hold
    something else (a shoulder, an island of another value).
    """
    array = image.array
    corners = [corner.astype(np.float64) for corner in _corners(array)]
    ends = [array[:, :, end] for end in (0, -1)] + [array[:, end] for end in (0, -1)] + [array[0], array[-1]]
    values, counts = np.unique(np.concatenate([face.ravel() for face in ends]), return_counts=True)
    common = counts.max() >= COMMON * counts.sum()
    level = float(values[counts.argmax()] if common else np.median([np.median(one) for one in corners]))
    noise = float(np.median([np.abs(one - level).max() for one in corners]))
    steps = tuple(slice(None, None, max(1, side // 64)) for side in array.shape)
    brightness = float(np.percentile(np.abs(array[steps].astype(np.float64) - level), 99.5))
    return Background(level, noise, brightness)


def find_standing_out(image: Scan, name: str) -> NDArray[np.bool_]:
    """The largest body of what stands out from the background, without holes: a skull-stripped brain."""
    found = measure_background(image)
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
    brain[box] = fill_holes(keep_largest(differs[box]))
    return brain


def _corners(array: NDArray[Any]) -> list[NDArray[Any]]:
    """The eight corners, each an eighth of the sides."""
    sides = [max(1, side // CORNER) for side in array.shape]
    ends = [(slice(0, side), slice(-side, None)) for side in sides]
    return [array[corner] for corner in product(*ends)]


def _components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.uint32], int]:
    """Face-connected components, numbered from 1, and how many there are; ITK is 3 times as fast as scipy."""
    components = sitk.ConnectedComponentImageFilter()
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.T).view(np.uint8))
    labels = sitk.GetArrayFromImage(components.Execute(image))
    return labels.T, components.GetObjectCount()


def keep_largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest face-connected component."""
    labels, count = _components(mask)
    if count < 2:
        return mask
    return np.asarray(labels == 1 + np.bincount(labels.T.ravel())[1:].argmax())


def fill_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask with everything filled that cannot be reached from outside."""
    labels, count = _components(np.pad(~mask, 1, constant_values=True))
    if count == 1:
        return mask
    return np.asarray(labels[1:-1, 1:-1, 1:-1] != labels[0, 0, 0])
