"""Brain masks: supplied with a scan, or seen from the background of a skull-stripped one."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the name its manual uses
from numpy.typing import NDArray

from uadbench.errors import SubjectError
from uadbench.preparation import resampling, scan
from uadbench.preparation.scan import Scan

INSIDE = 0.5  # a mask's value above which a voxel is brain: masks were seen with a maximum of 0.99999997
SMALLEST_ML = 100.0  # less brain than this is no brain


def brain_mask(
    image: Scan, path: Path | None, skull_stripped: bool, name: str, orientation: str | None = None
) -> NDArray[np.bool_]:
    """The brain on the voxels of an image, (R, A, S).

    The supplied file may lie on any grid; `orientation` as in `scan.read`. Without one a skull-stripped
    image shows its brain itself; a full head is a SubjectError that says what to supply.
    """
    if path is not None:
        brain = np.asarray(on_voxels_of(image, scan.read(path, orientation)) > INSIDE)
    elif skull_stripped:
        brain = differing_from_background(image)
    else:
        raise SubjectError(
            f"{name} shows a full head and has no brain mask: supply one in the data set's folder "
            "(its card says where), or a skull-stripped image."
        )
    check_volume(brain, image, path or name)
    return brain


def check_volume(brain: NDArray[np.bool_], image: Scan, source: object) -> None:
    """Stop where a brain mask on the voxels of an image is too small to be one."""
    volume_ml = np.count_nonzero(brain) * abs(np.linalg.det(image.affine[:3, :3])) / 1000
    if volume_ml < SMALLEST_ML:
        raise SubjectError(
            f"The brain mask from {source} covers {volume_ml:.0f} ml of the scan; expected is more than "
            f"{SMALLEST_ML:.0f} ml: check that mask and scan belong together."
        )


def on_voxels_of(image: Scan, mask: Scan) -> NDArray[np.float32]:
    """A mask or label volume brought onto the voxels of an image by nearest neighbour, 0 outside."""
    if image.same_lattice(mask):
        return mask.array
    to_mask = np.linalg.inv(mask.affine) @ image.affine
    return resampling.nearest(mask.array, to_mask, image.array.shape)


def differing_from_background(image: Scan) -> NDArray[np.bool_]:
    """The largest component of what differs from the most common value of the volume's border.

    Not "above zero": the background of a z-scored volume is negative, and others dip below zero inside.
    Holes are filled.
    """
    array = image.array
    ends = [array[:, :, end] for end in (0, -1)] + [array[:, end] for end in (0, -1)] + [array[0], array[-1]]
    values, counts = np.unique(np.concatenate([face.ravel() for face in ends]), return_counts=True)
    differs = np.asarray(array != values[counts.argmax()])
    if not differs.any():
        return differs
    box = resampling.bounding_box(differs)
    brain = np.zeros_like(differs)
    brain[box] = without_holes(largest(differs[box]))
    return brain


def _components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.uint32], int]:
    """Face-connected components, numbered from 1, and how many there are; ITK is 3 times as fast as scipy."""
    components = sitk.ConnectedComponentImageFilter()
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.T).view(np.uint8))
    labels = sitk.GetArrayFromImage(components.Execute(image))
    return labels.T, components.GetObjectCount()


def largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest face-connected component."""
    labels, count = _components(mask)
    if count == 1:
        return mask
    return np.asarray(labels == 1 + np.bincount(labels.T.ravel())[1:].argmax())


def without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask with everything filled that cannot be reached from outside."""
    labels, count = _components(np.pad(~mask, 1, constant_values=True))
    if count == 1:
        return mask
    return np.asarray(labels[1:-1, 1:-1, 1:-1] != labels[0, 0, 0])
