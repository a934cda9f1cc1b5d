"""Affine registration of a brain to MNI152: mutual information, one thread, fixed seed.

The template is the skull-stripped ICBM152 2009a T1 average that nilearn ships (Fonov et al., NeuroImage
2011). The metric is Mattes mutual information, which holds for any contrast: a same-contrast metric
against the T1 template would be an error for T2 or FLAIR (protocol, preparation rules).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the name its manual uses
from numpy.typing import NDArray

from uadbench.data import icbm152
from uadbench.data.space import CORNER, Grid
from uadbench.preprocessing import resampling, scan
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import SubjectError

REGISTRATION_VERSION = "2"
WORKING = Grid("registration", (96, 112, 96), 2.0, CORNER)
SEED = 20240229  # of the metric's sampling
PITCHES_DEGREES = range(-40, 41, 10)  # heads differ most in how far the chin is down
TRIED = 3  # of these starts, the most promising ones
LEAST_DICE = 0.8  # of the registered brain mask with the template's; masks with the fluid around reach .86
VOLUME_CHANGE = (0.4, 3.0)  # legal determinants scan -> MNI152, whose brain is a large one
LEAST_AXIS_COSINE = 0.5  # an axis may turn by 60 degrees at most; a flip turns two by 180
INTERIOR_MM = 10  # depth from which the template counts as inside
FOREGROUND = 0.25  # the darkest brain, on a scale where the background is 0 and the brightest is 1


@dataclass(frozen=True)
class Registration:
    """Where a scan lies in the template's space, and how well it fits there."""

    matrix: NDArray[np.float64]  # (4, 4), world mm of the scan (RAS+) -> MNI152 mm
    dice: float  # of the registered brain mask with the template's, at 2 mm
    correlation: float  # with the T1 template inside both masks; negative for an inverse contrast
    determinant: float  # volume in MNI152 over volume in the scan


@lru_cache(maxsize=1)
def load_template() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The template and its brain mask on the 2 mm working grid, the brain in [0.25, 1], else 0."""
    whole = scan.read_image(icbm152.path_of("t1"))
    return _working(whole, whole.array > 0, WORKING)


def register_brain(image: Scan, brain: NDArray[np.bool_], name: str) -> Registration:
    """The affine (12 degrees of freedom) that brings a masked brain to the template.

    A result that is no plausible one is a SubjectError with its figures.
    """
    fixed, fixed_mask = load_template()
    lattice = lattice_around(image, brain)
    moving, moving_mask = _working(image, brain, lattice)

    def figures(to_scan: Any) -> Registration:
        matrix = np.asarray(np.linalg.inv(matrix_of(to_scan)), np.float64)
        return _quality(matrix, fixed, fixed_mask, moving, moving_mask, lattice)

    try:
        with one_thread():
            images = as_itk(fixed, WORKING), as_itk(moving, lattice)
            by_whole = _whole(*images)
            by_inside = _inside(by_whole, *images)
    except RuntimeError as error:
        raise SubjectError(f"{name} could not be registered to MNI152: {error}") from error
    # Where little of the inside is there (cut fields of view) or it is very ill, its fit may run away.
    inside = figures(by_inside)
    return _checked(inside if inside.dice >= LEAST_DICE else figures(by_whole), name)


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


def _working(
    image: Scan, brain: NDArray[np.bool_], lattice: Grid
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A masked brain on a lattice of the image's own world: background 0, brain in [0.25, 1]."""
    box = resampling.bounding_box(brain)
    inside = brain[box]
    values = image.array[box].astype(np.float32)
    low, high = np.percentile(values[inside], [1, 99])
    values = FOREGROUND + (1 - FOREGROUND) * ((values - low) / ((high - low) or 1)).clip(0, 1)
    to_source = np.linalg.inv(resampling.crop_affine(image.affine, box)) @ lattice.affine
    picture = resampling.sample_linear(
        np.where(inside, values, 0).astype(np.float32), to_source, lattice.shape
    )
    return picture, resampling.sample_nearest(inside.astype(np.uint8), to_source, lattice.shape) > 0


def lattice_around(image: Scan, brain: NDArray[np.bool_]) -> Grid:
    """A 2 mm lattice, its axes along the world's, that holds the brain and 30 mm around it."""
    corners = resampling.list_corners([(s.start, s.stop) for s in resampling.bounding_box(brain)])
    world = image.affine[:3, :3] @ corners + image.affine[:3, 3:]
    low, high = world.min(1) - 30, world.max(1) + 30
    right, front, up = (int(n) for n in np.ceil((high - low) / 2))
    return Grid("around", (right, front, up), 2.0, (low[0], low[1], low[2]))


def as_itk(array: NDArray[Any], lattice: Grid) -> Any:
    """An ITK image in RAS millimetres: both images and the transform keep to them, so no LPS is needed."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing([lattice.spacing_mm] * 3)
    image.SetOrigin([float(o) for o in lattice.origin_mm])
    return image


def centre_of(image: Any) -> tuple[NDArray[np.float64], float]:
    """Centroid in mm and volume in mm³ of what is not background."""
    array = sitk.GetArrayViewFromImage(image) > FOREGROUND / 2
    count = np.array([array.sum((1, 2)), array.sum((0, 2)), array.sum((0, 1))], dtype=object)
    means = [np.average(np.arange(len(c)), weights=c) for c in count]
    centre = np.array(image.GetOrigin()) + np.array(image.GetSpacing()) * means[::-1]
    return centre, float(array.sum() * np.prod(image.GetSpacing()))


def _starts(fixed: Any, moving: Any) -> list[Any]:
    """Affine transforms template -> scan by centroids and volumes, one for each pitch of the head."""
    centre, volume = centre_of(fixed)
    moving_centre, moving_volume = centre_of(moving)
    scale = float(np.clip((moving_volume / volume) ** (1 / 3), 0.75, 1.1))
    return [make_start(centre, moving_centre, scale, pitch) for pitch in np.deg2rad(PITCHES_DEGREES)]


def make_start(centre: NDArray[np.float64], place: NDArray[np.float64], scale: float, pitch: float) -> Any:
    """An affine transform that scales, nods by a pitch (radians) and takes a centre to a place (3,) in mm."""
    start = sitk.AffineTransform(3)
    start.SetCenter(centre.tolist())
    start.SetTranslation((place - centre).tolist())
    cos, sin = np.cos(pitch), np.sin(pitch)
    start.SetMatrix((scale * np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])).ravel().tolist())
    return start


def promising(
    starts: list[Any], fixed: Any, moving: Any, region: Any | None = None, tried: int = TRIED
) -> list[Any]:
    """The starts that have the most mutual information as they are, on 8 mm voxels (of a region)."""
    method = coarse_to_fine([1], [0.0], [1.0], 1)
    if region is not None:
        method.SetMetricFixedMask(sitk.Shrink(region, [4] * 3))
    small = [sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, 4.0), [4] * 3) for image in (fixed, moving)]
    values = []
    for start in starts:
        method.SetInitialTransform(start, inPlace=False)
        values.append(method.MetricEvaluate(*small))
    order = sorted(range(len(starts)), key=values.__getitem__)
    return [starts[position] for position in order[:tried]]


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


def _whole(fixed: Any, moving: Any) -> Any:
    """The affine template mm -> scan mm of most mutual information of the whole brains."""
    region = sitk.BinaryDilate(sitk.Cast(fixed > 0, sitk.sitkUInt8), [5, 5, 5])  # the brain and 10 mm
    starts = promising(_starts(fixed, moving), fixed, moving)
    return search(starts, fixed, moving, region, coarse_to_fine([2, 1], [2.0, 0.0], [0.5, 0.15], 60))


def _inside(whole: Any, fixed: Any, moving: Any) -> Any:
    """The affine of most mutual information well inside the template's brain, from that of whole brains.

    Where a brain mask ends differs between its makers: one that follows the cortex and one that
    includes the fluid around it differ by a tenth of the brain's length, and fitting their edges to the
    template's makes brains of two sizes.
    """
    steps = round(INTERIOR_MM / WORKING.spacing_mm)
    region = sitk.BinaryErode(sitk.Cast(fixed > 0, sitk.sitkUInt8), [steps] * 3)
    gentle = coarse_to_fine([2, 1], [2.0, 0.0], [1.0, 0.4], 100, first_step=1.0)
    return improved(sitk.AffineTransform(whole), fixed, moving, region, gentle)


def search(starts: list[Any], fixed: Any, moving: Any, region: Any, method: Any) -> Any:
    """The start that leads to most mutual information on 8 mm voxels, improved there and by a method."""
    values = []
    for start in starts:
        coarse = coarse_to_fine([4], [4.0], [1.0], 60)
        improved(start, fixed, moving, region, coarse)
        values.append(float(coarse.GetMetricValue()))
    return improved(starts[int(np.argmin(values))], fixed, moving, region, method)


def improved(start: Any, fixed: Any, moving: Any, region: Any, method: Any) -> Any:
    """The transform itself, after a registration inside a region of the fixed image."""
    method.SetMetricFixedMask(region)
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    return start


def matrix_of(transform: Any) -> NDArray[np.float64]:
    """The matrix (4, 4), fixed mm -> moving mm, of a linear ITK transform."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    return matrix


def _quality(
    matrix: NDArray[np.float64],
    fixed: NDArray[np.float32],
    fixed_mask: NDArray[np.bool_],
    moving: NDArray[np.float32],
    moving_mask: NDArray[np.bool_],
    lattice: Grid,
) -> Registration:
    """A matrix scan -> MNI152 with the figures of its fit."""
    to_source = np.linalg.inv(lattice.affine) @ np.linalg.inv(matrix) @ WORKING.affine
    picture = resampling.sample_linear(moving, to_source, WORKING.shape)
    mask = resampling.sample_nearest(moving_mask.astype(np.uint8), to_source, WORKING.shape) > 0
    both = mask & fixed_mask
    dice = 2 * both.sum() / (mask.sum() + fixed_mask.sum())
    correlation = np.corrcoef(picture[both], fixed[both])[0, 1] if both.sum() > 1 else 0.0
    return Registration(matrix, float(dice), float(correlation), float(np.linalg.det(matrix[:3, :3])))


def _checked(found: Registration, name: str) -> Registration:
    """The registration, if it is a plausible one."""
    linear = found.matrix[:3, :3]
    cosines = np.diag(linear) / np.linalg.norm(linear, axis=0)
    low, high = VOLUME_CHANGE
    if found.dice < LEAST_DICE or not low < found.determinant < high or cosines.min() < LEAST_AXIS_COSINE:
        raise SubjectError(
            f"{name} could not be registered to MNI152: Dice of the brain masks {found.dice:.2f} (expected "
            f"at least {LEAST_DICE}), volume change {found.determinant:.2f} (expected {low} to {high}), "
            f"least cosine of an axis {cosines.min():.2f} (expected at least {LEAST_AXIS_COSINE}); "
            "look at the scan and its brain mask, and leave the subject out or supply a better mask."
        )
    return found
