"""Affine registration of a brain to MNI152: mutual information, one thread, fixed seed.

The template is the skull-stripped ICBM152 2009a T1 average that nilearn ships (Fonov et al., NeuroImage
2011). The metric is Mattes mutual information, which holds for any contrast: a same-contrast metric
against the T1 template would be an error for T2 or FLAIR (protocol, preparation rules).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the name its manual uses
from numpy.typing import NDArray

from uadbench.data import icbm152
from uadbench.data.space import CORNER, Grid
from uadbench.preprocessing import ranks, resampling, scan
from uadbench.preprocessing.optimise import (
    as_itk,
    best_of,
    by_differences,
    centre_of,
    coarse_to_fine,
    improved,
    make_start,
    matrix_of,
    one_thread,
    promising,
    shrunk,
)
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import SubjectError

REGISTRATION_VERSION = "3"
WORKING = Grid("registration", (96, 112, 96), 2.0, CORNER)
PITCHES_DEGREES = range(-40, 41, 10)  # heads differ most in how far the chin is down
TRIED = 3  # of these starts, the most promising ones
LEAST_DICE = 0.8  # of the registered brain mask with the template's; masks with the fluid around reach .86
VOLUME_CHANGE = (0.4, 3.0)  # legal determinants scan -> MNI152, whose brain is a large one
LEAST_AXIS_COSINE = 0.5  # an axis may turn by 60 degrees at most; a flip turns two by 180
MARGIN_MM = 20.0  # around the brain, of the lattice on which it is looked at; the metric looks 10 mm around
AROUND_MM = 10  # from the template's brain, up to which the fit of whole brains looks
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
    lattice = lattice_around(image, brain, MARGIN_MM)
    moving, moving_mask = _working(image, brain, lattice)

    def overlap(to_scan: Any) -> float:
        return _dice(_carried(moving_mask, np.asarray(np.linalg.inv(matrix_of(to_scan))), lattice))

    try:
        with one_thread():
            levels = _Levels.of(as_itk(moving, lattice))
            whole = _whole(levels)
            # Where little of the inside is there (cut fields of view) or it is very ill, its fit runs away.
            found = _inside(sitk.AffineTransform(whole), levels, overlap) or _refined(whole, levels)
    except RuntimeError as error:
        raise SubjectError(f"{name} could not be registered to MNI152: {error}") from error
    matrix = np.asarray(np.linalg.inv(matrix_of(found)), np.float64)
    return _checked(_quality(matrix, moving, moving_mask, lattice), name)


def _working(
    image: Scan, brain: NDArray[np.bool_], lattice: Grid
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A masked brain on a lattice of the image's own world: background 0, brain in [0.25, 1]."""
    box = resampling.bounding_box(brain)
    inside = brain[box]
    values = image.array[box].astype(np.float32)
    there = values[inside]
    low, high = (ranks.percentile(there, percent) for percent in (1, 99))
    grey = FOREGROUND + (1 - FOREGROUND) * ((values - low) / ((high - low) or 1)).clip(0, 1)
    to_source = np.linalg.inv(resampling.crop_affine(image.affine, box)) @ lattice.affine
    picture = resampling.sample_linear(np.where(inside, grey, 0).astype(np.float32), to_source, lattice.shape)
    return picture, resampling.sample_nearest(inside.astype(np.uint8), to_source, lattice.shape) > 0


def lattice_around(image: Scan, brain: NDArray[np.bool_], margin_mm: float) -> Grid:
    """A 2 mm lattice, its axes along the world's, that holds the brain and a margin around it."""
    corners = resampling.list_corners([(s.start, s.stop) for s in resampling.bounding_box(brain)])
    world = image.affine[:3, :3] @ corners + image.affine[:3, 3:]
    low, high = world.min(1) - margin_mm, world.max(1) + margin_mm
    right, front, up = (int(n) for n in np.ceil((high - low) / 2))
    return Grid("around", (right, front, up), 2.0, (low[0], low[1], low[2]))


def _starts(fixed: Any, moving: Any) -> list[Any]:
    """Affine transforms template -> scan by centroids and volumes, one for each pitch of the head."""
    centre, volume = centre_of(fixed)
    moving_centre, moving_volume = centre_of(moving)
    scale = float(np.clip((moving_volume / volume) ** (1 / 3), 0.75, 1.1))
    return [make_start(centre, moving_centre, scale, pitch) for pitch in np.deg2rad(PITCHES_DEGREES)]


class _Levels(NamedTuple):
    """An image of 2 mm, and what the coarser steps of a registration look at: each is made once."""

    fine: Any
    smooth: Any  # the same, smoothed for 4 mm
    middle: Any  # 4 mm
    coarse: Any  # 8 mm

    @classmethod
    def of(cls, image: Any) -> "_Levels":
        smooth = sitk.SmoothingRecursiveGaussian(image, 2.0)
        return cls(image, smooth, sitk.Shrink(smooth, [2] * 3), shrunk(image))


@lru_cache(maxsize=1)
def _template_levels() -> tuple[_Levels, Any, Any]:
    """The template; the region in and around its brain; the region well inside."""
    image = as_itk(load_template()[0], WORKING)
    there = sitk.Cast(image > 0, sitk.sitkUInt8)
    around, inside = (round(mm / WORKING.spacing_mm) for mm in (AROUND_MM, INTERIOR_MM))
    return _Levels.of(image), sitk.BinaryDilate(there, [around] * 3), sitk.BinaryErode(there, [inside] * 3)


def _whole(moving: _Levels) -> Any:
    """The affine template mm -> scan mm of most mutual information of the whole brains, on 4 mm voxels."""
    fixed, around, _ = _template_levels()
    starts = promising(_starts(fixed.fine, moving.fine), fixed.coarse, moving.coarse)[:TRIED]
    start = best_of(
        starts, fixed.coarse, moving.coarse, sitk.Shrink(around, [4] * 3), partial(_method, 1.0, 60)
    )
    return improved(start, fixed.middle, moving.middle, sitk.Shrink(around, [2] * 3), _method(0.5, 60))


def _refined(whole: Any, moving: _Levels) -> Any:
    """The fit of whole brains, improved on 2 mm voxels."""
    fixed, around, _ = _template_levels()
    return improved(whole, fixed.fine, moving.fine, around, _method(0.15, 60))


def _method(share: float, steps: int, first_step: float = 4.0) -> Any:
    """A registration of images as they are."""
    return by_differences(coarse_to_fine([1], [0.0], [share], steps, first_step))


def _inside(whole: Any, moving: _Levels, overlap: Callable[[Any], float]) -> Any | None:
    """The affine of most mutual information well inside the template's brain, from that of whole brains.

    Where a brain mask ends differs between its makers: one that follows the cortex and one that
    includes the fluid around it differ by a tenth of the brain's length, and fitting their edges to the
    template's makes brains of two sizes. None where the brains do not overlap any more.
    """
    fixed, _, inside = _template_levels()
    # By smoothed gradients first: with its own, a fit that runs away does so by less, and is not noticed.
    smoothed = coarse_to_fine([2], [0.0], [1.0], 100, first_step=1.0)
    improved(whole, fixed.smooth, moving.smooth, inside, smoothed)
    if overlap(whole) >= LEAST_DICE:
        improved(whole, fixed.fine, moving.fine, inside, _method(0.4, 100, first_step=1.0))
    return whole if overlap(whole) >= LEAST_DICE else None


def _carried(mask: NDArray[np.bool_], matrix: NDArray[np.float64], lattice: Grid) -> NDArray[np.bool_]:
    """A mask on a lattice, on the template's voxels, through a matrix scan -> MNI152."""
    to_source = np.linalg.inv(lattice.affine) @ np.linalg.inv(matrix) @ WORKING.affine
    return np.asarray(resampling.sample_nearest(mask.astype(np.uint8), to_source, WORKING.shape) > 0)


def _dice(mask: NDArray[np.bool_]) -> float:
    """Of a mask on the template's voxels with the template's brain."""
    template = load_template()[1]
    both = np.count_nonzero(mask & template)
    return float(2 * both / (np.count_nonzero(mask) + np.count_nonzero(template)))


def _quality(
    matrix: NDArray[np.float64], moving: NDArray[np.float32], moving_mask: NDArray[np.bool_], lattice: Grid
) -> Registration:
    """A matrix scan -> MNI152 with the figures of its fit."""
    fixed, fixed_mask = load_template()
    to_source = np.linalg.inv(lattice.affine) @ np.linalg.inv(matrix) @ WORKING.affine
    picture = resampling.sample_linear(moving, to_source, WORKING.shape)
    mask = _carried(moving_mask, matrix, lattice)
    both = mask & fixed_mask
    correlation = np.corrcoef(picture[both], fixed[both])[0, 1] if np.count_nonzero(both) > 1 else 0.0
    determinant = float(np.linalg.det(matrix[:3, :3]))
    return Registration(matrix, _dice(mask), float(correlation), determinant)


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
