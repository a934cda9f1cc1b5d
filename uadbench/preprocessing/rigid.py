"""Rigid registration of two contrasts of one session in the scanner's space: mutual information.

Subjects move between acquisitions by millimetres, so the search begins at "did not move" and stays close.
"""

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the name its manual uses
from numpy.typing import NDArray

from uadbench.data.space import Grid
from uadbench.preprocessing import optimise, register, resampling
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import SubjectError

RIGID_VERSION = "1"
MARGIN_MM = 30.0  # around the brain, of the lattice on which both scans are looked at
REGION_MM = 6.0  # around the brain: its edge against fluid and bone tells most
START_TURNS_DEGREES = (0.0, -8.0, 8.0)  # about the left-right axis, a nod
FARTHEST_MM, WIDEST_DEGREES = 60.0, 35.0  # more is no motion of a head in its coil


def find_motion(fixed: Scan, brain: NDArray[np.bool_], moving: Scan, name: str) -> NDArray[np.float64]:
    """The matrix (4, 4) world mm of the fixed scan -> world mm of the moving one, of the same head.

    `brain` (R, A, S) lies on the fixed scan's voxels; neither scan needs to be stripped. A motion that no
    head makes in its coil is a SubjectError. One thread, fixed seed: the same scans give the same bits.
    """
    lattice = register.lattice_around(fixed, brain, MARGIN_MM)
    near = _on(lattice, Scan(brain.astype(np.float32), fixed.affine)) > 0.5
    with optimise.one_thread():
        inside = optimise.as_itk(near.astype(np.uint8), lattice)
        region = sitk.BinaryDilate(inside, [round(REGION_MM / 2)] * 3)
        still, moved = (optimise.as_itk(_on(lattice, _scaled(image)), lattice) for image in (fixed, moving))
        try:
            method = optimise.coarse_to_fine([2, 1], [2.0, 0.0], [0.5, 0.25], 60)
            found = optimise.search(_starts(lattice, near), still, moved, region, method)
        except RuntimeError as error:
            raise SubjectError(f"{name} could not be registered rigidly: {error}") from error
    return _checked(optimise.matrix_of(found), lattice, name)


def _scaled(image: Scan) -> Scan:
    """A scan with its 1st to 99.5th percentile as [0, 1]: rare bright voxels would take most bins."""
    low, high = np.percentile(image.array[::2, ::2, ::2], [1, 99.5])
    values = (image.array.astype(np.float32) - np.float32(low)) / np.float32((high - low) or 1)
    return Scan(values.clip(0, 1), image.affine)


def _on(lattice: Grid, image: Scan) -> NDArray[np.float32]:
    return resampling.sample_linear(image.array, np.linalg.inv(image.affine) @ lattice.affine, lattice.shape)


def _starts(lattice: Grid, near: NDArray[np.bool_]) -> list[sitk.Euler3DTransform]:
    """Rigid transforms that leave the head where it was, or nod it."""
    centre = np.argwhere(near).mean(0) * lattice.spacing_mm + lattice.origin_mm
    starts = []
    for degrees in START_TURNS_DEGREES:
        start = sitk.Euler3DTransform()
        start.SetCenter(centre.tolist())
        start.SetRotation(float(np.deg2rad(degrees)), 0.0, 0.0)
        starts.append(start)
    return starts


def _checked(matrix: NDArray[np.float64], lattice: Grid, name: str) -> NDArray[np.float64]:
    middle = lattice.affine @ [*(np.array(lattice.shape) / 2), 1.0]
    apart = float(np.linalg.norm((matrix @ middle - middle)[:3]))
    cosine = (np.trace(matrix[:3, :3]) - 1) / 2
    degrees = float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))
    if apart > FARTHEST_MM or degrees > WIDEST_DEGREES:
        raise SubjectError(
            f"{name} is {apart:.0f} mm and {degrees:.0f} degrees from the session's other contrast; "
            f"expected at most {FARTHEST_MM:.0f} mm and {WIDEST_DEGREES:.0f} degrees: supply a brain "
            "mask for each contrast, or leave it out."
        )
    return matrix
