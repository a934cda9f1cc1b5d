"""Intensities: a scan clipped between two percentiles of its brain, scaled to [0, 1], on a grid.

The percentiles are those of the scan's own voxels, so that the scale does not depend on the grid. The
brain is cut out before the resampling, so that the rim of a brain looks the same whether the data set was
skull-stripped or came with masks. The bias field, the slow brightening of a scan near its coil, is removed
before by N4 (Tustison et al., IEEE Transactions on Medical Imaging 2010) where the user asks for it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the name its manual uses
from numpy.typing import NDArray

from uadbench.data.space import Grid
from uadbench.preprocessing import ranks, resampling
from uadbench.preprocessing.optimise import one_thread
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import SubjectError

SHARES = (0.01, 0.99)
N4_VERSION = "2"
WORKING_MM = 4.0  # the field is smooth over centimetres
ITERATIONS = [50] * 4  # per level, as in N4's own defaults
LIFT = 0.1  # of the brain's range, above which a brain with negative values is lifted
STRONGEST = 3.0  # natural logarithm of the strongest field
LEAST_ON_GRID = 0.5  # of the brain; less means that the scan does not lie where its card says


@dataclass(frozen=True)
class Brain:
    """The part of a scan that a brain fills: values and mask (R, A, S) in the brain's bounding box."""

    values: NDArray[Any]  # as stored
    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]  # (4, 4) voxel indices of the box -> world mm

    @classmethod
    def of(cls, image: Scan, mask: NDArray[np.bool_]) -> "Brain":
        """Cut the brain out of an image of the same shape."""
        box = resampling.bounding_box(mask)
        affine = resampling.crop_affine(image.affine, box)
        return cls(image.array[box], mask[box], affine)

    @cached_property
    def inside(self) -> NDArray[Any]:
        """The values inside the mask, shape (n,), the first axis of the volume fastest."""
        return self.values.T[self.mask.T]


def correct_bias(image: Scan, brain: NDArray[np.bool_]) -> Scan:
    """The image (R, A, S) float32 divided by the field that its brain shows.

    N4 works on logarithms: values below a hundredth of the brain's bright end become that, and a brain with
    negative values (z-scored) is lifted above 0 first.
    """
    values = image.array.astype(np.float32)
    inside = values[brain]
    low, high = (float(value) for value in np.percentile(inside, [1, 99]))
    if inside.min() < 0:
        values += np.float32(LIFT * (high - low) - low)
        high = LIFT * (high - low) + high - low
    np.maximum(values, np.float32(0.01 * high), out=values)
    shrink = [max(1, int(WORKING_MM // spacing)) for spacing in image.spacing_mm]
    with one_thread():
        picture = _itk(values, image)
        small = sitk.Shrink(picture, shrink)
        mask = sitk.Shrink(_itk(brain.astype(np.uint8), image), shrink)
        method = sitk.N4BiasFieldCorrectionImageFilter()
        method.SetMaximumNumberOfIterations(ITERATIONS)
        method.Execute(small, mask)
        box = resampling.bounding_box(brain)
        # A name for the field: a view does not keep its image alive.
        field = method.GetLogBiasFieldAsImage(picture)
        logarithm = sitk.GetArrayViewFromImage(field).T[box]
        # Away from the brain the splines run off; what lies there is not used.
        values[box] /= np.exp(logarithm.clip(-STRONGEST, STRONGEST)).astype(np.float32)
    return Scan(values, image.affine)


def _itk(array: NDArray[np.float32] | NDArray[np.uint8], image: Scan) -> sitk.Image:
    """An ITK image with the spacing of the scan; where it lies makes no difference to the field."""
    picture = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    picture.SetSpacing(image.spacing_mm.tolist())
    return picture


def percentiles(values: NDArray[Any]) -> tuple[float, float]:
    """The 1st and the 99th percentile by nearest rank."""
    low, high = ranks.find_ranked(values, [round(share * (len(values) - 1)) for share in SHARES])
    return float(low), float(high)


def find_scale(values: NDArray[Any], name: str) -> tuple[float, float]:
    """The percentiles of a brain's values (n,) that become 0 and 1; where they are equal a SubjectError."""
    low, high = percentiles(values) if values.size else (0.0, 0.0)
    if not high > low:
        raise SubjectError(
            f"{name} has the 1st and the 99th percentile {low} inside the brain: it shows nothing there; "
            "check that brain mask and scan belong together."
        )
    return low, high


def above_healthy(brain: Brain, high: float, lesion: Scan | None) -> float:
    """Fraction of the brain that is brighter than the 99th percentile of the brain outside the lesion.

    `high` is the 99th percentile of the whole brain.
    """
    if lesion is not None:
        marked = Scan(brain.values, brain.affine).sample_mask(lesion)
        healthy = brain.inside[marked.T[brain.mask.T] == 0]
        high = percentiles(healthy)[1] if len(healthy) else -np.inf
    bright = int(high) if brain.inside.dtype.kind in "iu" and np.isfinite(high) else high  # both are whole
    return float(np.count_nonzero(brain.inside > bright) / len(brain.inside))


def put_on_grid(
    brain: Brain, low: float, high: float, transform: NDArray[np.float64], grid: Grid, name: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Image in [0, 1], exactly 0 outside the brain, and brain mask, both (R, A, S) on the grid.

    `transform` (4, 4) takes the scan's world to MNI152. A brain that misses the grid is a SubjectError.
    """
    to_scan = np.linalg.inv(transform @ brain.affine) @ grid.affine
    mask = resampling.sample_nearest(brain.mask, to_scan, grid.shape)
    there_ml = np.count_nonzero(mask) * grid.voxel_ml
    expected_ml = len(brain.inside) * abs(np.linalg.det(transform @ brain.affine)) / 1000
    if there_ml < LEAST_ON_GRID * expected_ml:
        raise SubjectError(
            f"Only {there_ml:.0f} of {expected_ml:.0f} ml of the brain of {name} are on grid {grid.name}: "
            "the scan is not in the space that the data set's card states; correct it there."
        )
    picture = resampling.sample_linear(_scaled(brain, low, high), to_scan, grid.shape)
    for there, inside in zip(picture.T, mask.T, strict=True):  # slices stay in the cache
        there *= inside.astype(np.float32)
        np.minimum(there, 1, out=there)  # by rounding; sums of positive numbers are positive
    return picture, mask


def _scaled(brain: Brain, low: float, high: float) -> NDArray[np.float32]:
    """The brain's values with `low` as 0 and `high` as 1, clipped, 0 outside the mask."""
    scaled = np.empty(brain.values.shape, np.float32, order="F")
    factor = np.float32(1 / (high - low))
    for values, mask, out in zip(brain.values.T, brain.mask.T, scaled.T, strict=True):  # stays in the cache
        out[...] = values
        out -= np.float32(low)
        out *= factor
        np.clip(out, 0, 1, out=out)
        out *= mask.astype(np.float32)  # truth values themselves take twice as long
    return scaled
