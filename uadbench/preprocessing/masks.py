"""Brain masks: supplied with a scan, or seen from the background of a skull-stripped one."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uadbench.preprocessing import background, plausibility, resampling, scan
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import SubjectError

INSIDE = 0.5  # a mask's value above which a voxel is brain: masks were seen with a maximum of 0.99999997


def brain_mask(
    image: Scan, path: Path | None, skull_stripped: bool, name: str, orientation: str | None = None
) -> NDArray[np.bool_]:
    """The brain on the voxels of an image, (R, A, S), if it can be one.

    The supplied file may lie on any grid; `orientation` as in `scan.read`. Without one a skull-stripped
    image shows its brain itself; a full head is a SubjectError that says what to supply.
    """
    if path is not None:
        mask = scan.read(path, orientation)
        plausibility.check_lattice(mask, image, path, name)
        if not image.same_lattice(mask):  # inverted, it would lose its corners on a larger field of view
            plausibility.check_shape(mask.array > INSIDE, mask.spacing_mm, path)
        brain = np.asarray(on_voxels_of(image, mask) > INSIDE)
    elif skull_stripped:
        brain = background.standing_out(image, name)
    else:
        raise SubjectError(
            f"{name} shows a full head and has no brain mask: supply one in the data set's folder "
            "(its card says where), or a skull-stripped image."
        )
    plausibility.check_brain(brain, image, path or name)
    return brain


def on_voxels_of(image: Scan, mask: Scan) -> NDArray[np.float32]:
    """A mask or label volume brought onto the voxels of an image by nearest neighbour, 0 outside."""
    if image.same_lattice(mask):
        return mask.array
    to_mask = np.linalg.inv(mask.affine) @ image.affine
    return resampling.nearest(mask.array, to_mask, image.array.shape)
