"""Optimisation: what registrations share. ITK climbs mutual information, on one thread with a fixed seed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the name its manual uses
from numpy.typing import NDArray

from uadbench.data.space import Grid

SEED = 20240229  # of the metric's sampling
DARK = 0.125  # of an image in which the darkest brain is 0.25 and the background 0


@contextmanager
def one_thread() -> Iterator[None]:
    """ITK on one thread: several add up the metric in changing order, and the result with it.

    The number of threads of a registration method itself does not reach its metric.
    """
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def as_itk(array: NDArray[Any], lattice: Grid) -> Any:
    """An ITK image in RAS millimetres: both images and the transform keep to them, so no LPS is needed."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing([lattice.spacing_mm] * 3)
    image.SetOrigin([float(o) for o in lattice.origin_mm])
    return image


def matrix_of(transform: Any) -> NDArray[np.float64]:
    """The matrix (4, 4), fixed mm -> moving mm, of a linear ITK transform."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    return matrix


def centre_of(image: Any) -> tuple[NDArray[np.float64], float]:
    """Centroid in mm and volume in mm³ of what is not background."""
    array = sitk.GetArrayViewFromImage(image) > DARK
    count = np.array([array.sum((1, 2)), array.sum((0, 2)), array.sum((0, 1))], dtype=object)
    means = [np.average(np.arange(len(c)), weights=c) for c in count]
    centre = np.array(image.GetOrigin()) + np.array(image.GetSpacing()) * means[::-1]
    return centre, float(array.sum() * np.prod(image.GetSpacing()))


def make_start(centre: NDArray[np.float64], place: NDArray[np.float64], scale: float, pitch: float) -> Any:
    """An affine transform that scales, nods by a pitch (radians) and takes a centre to a place (3,) in mm."""
    start = sitk.AffineTransform(3)
    start.SetCenter(centre.tolist())
    start.SetTranslation((place - centre).tolist())
    cos, sin = np.cos(pitch), np.sin(pitch)
    start.SetMatrix((scale * np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])).ravel().tolist())
    return start


def shrunk(image: Any) -> Any:
    """An image of 2 mm on 8 mm voxels."""
    return sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, 4.0), [4] * 3)


def promising(starts: list[Any], fixed: Any, moving: Any, region: Any | None = None) -> list[Any]:
    """The starts by the mutual information of two images (in a region) as they are, the most first."""
    method = coarse_to_fine([1], [0.0], [1.0], 1)
    if region is not None:
        method.SetMetricFixedMask(region)
    values = []
    for start in starts:
        method.SetInitialTransform(start, inPlace=False)
        values.append(method.MetricEvaluate(fixed, moving))
    return [starts[position] for position in sorted(range(len(starts)), key=values.__getitem__)]


def coarse_to_fine(
    shrink: list[int], smooth_mm: list[float], share: list[float], steps: int, first_step: float = 4.0
) -> Any:
    """A registration from coarse to fine that uses a share of the voxels at each level."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel(share, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel(smooth_mm)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=first_step, minStep=0.02, numberOfIterations=steps, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    return method


def by_differences(method: Any) -> Any:
    """The method with gradients from differences of neighbouring voxels instead of a smoothed gradient image.

    That is the gradient of what is climbed, so that steps go on for longer, and no image of it is made.
    """
    method.SetMetricUseMovingImageGradientFilter(False)
    return method


def best_of(starts: list[Any], fixed: Any, moving: Any, region: Any, make: Callable[[], Any]) -> Any:
    """The start that leads to most mutual information, improved by a method as `make` makes it."""
    values = []
    for start in starts:
        method = make()
        improved(start, fixed, moving, region, method)
        values.append(float(method.GetMetricValue()))
    return starts[int(np.argmin(values))]


def search(starts: list[Any], fixed: Any, moving: Any, region: Any, method: Any) -> Any:
    """The start that leads to most mutual information on 8 mm voxels, improved there and by a method."""
    coarse = partial(coarse_to_fine, [4], [4.0], [1.0], 60)
    return improved(best_of(starts, fixed, moving, region, coarse), fixed, moving, region, method)


def improved(start: Any, fixed: Any, moving: Any, region: Any, method: Any) -> Any:
    """The transform itself, after a registration inside a region of the fixed image."""
    method.SetMetricFixedMask(region)
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    return start
