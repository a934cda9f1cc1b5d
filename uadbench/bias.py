"""Bias field: the slow brightening of a scan near its coil, removed by N4 where the user asks for it.

N4 (Tustison et al., IEEE Transactions on Medical Imaging 2010) as SimpleITK has it, on a shrunken volume.
"""

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the name its manual uses
from numpy.typing import NDArray

from uadbench import resampling
from uadbench.register import one_thread
from uadbench.scan import Scan

N4_VERSION = "1"
WORKING_MM = 4.0  # the field is smooth over centimetres
ITERATIONS = [50] * 4  # per level, as in N4's own defaults


def corrected(image: Scan, brain: NDArray[np.bool_]) -> Scan:
    """The image (R, A, S) float32 divided by the field that its brain shows; the darkest voxel becomes 1.

    N4 works on logarithms, so that the values are lifted above 0 first: z-scored volumes have no others.
    """
    values = image.array.astype(np.float32)
    values += np.float32(1) - values[brain].min()
    np.maximum(values, 1, out=values)
    shrink = [max(1, int(WORKING_MM // spacing)) for spacing in image.spacing_mm]
    with one_thread():
        picture = _itk(values, image)
        small = sitk.Shrink(picture, shrink)
        mask = sitk.Shrink(_itk(brain.astype(np.uint8), image), shrink)
        method = sitk.N4BiasFieldCorrectionImageFilter()
        method.SetMaximumNumberOfIterations(ITERATIONS)
        method.Execute(small, mask)
        box = resampling.bounding_box(brain)
        field = np.exp(sitk.GetArrayViewFromImage(method.GetLogBiasFieldAsImage(picture)).T)
    values[box] /= field[box].astype(np.float32)
    return Scan(values, image.affine)


def _itk(array: NDArray[np.float32] | NDArray[np.uint8], image: Scan) -> sitk.Image:
    """An ITK image with the spacing of the scan; where it lies makes no difference to the field."""
    picture = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    picture.SetSpacing(image.spacing_mm.tolist())
    return picture
