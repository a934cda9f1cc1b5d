"""Bias field: the slow brightening of a scan near its coil, removed by N4 where the user asks for it.

N4 (Tustison et al., IEEE Transactions on Medical Imaging 2010) as SimpleITK has it, on a shrunken volume.
"""

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the name its manual uses
from numpy.typing import NDArray

from uadbench.preprocessing import resampling
from uadbench.preprocessing.register import one_thread
from uadbench.preprocessing.scan import Scan

N4_VERSION = "2"
WORKING_MM = 4.0  # the field is smooth over centimetres
ITERATIONS = [50] * 4  # per level, as in N4's own defaults
LIFT = 0.1  # of the brain's range, above which a brain with negative values is lifted
STRONGEST = 3.0  # natural logarithm of the strongest field


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
