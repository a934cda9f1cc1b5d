"""Plausibility: can these files belong together? One answer for `verify`, `prepare`, `run` and `predict`.

A header that was lost or turned puts a lesion elsewhere without any other sign, and a mask of the wrong
sense makes every figure wrong. What cannot be is a SubjectError with the reason; what is merely remarkable
is flagged by `quality`. Nothing here looks at scores, and limits leave room for every healthy and ill head:
small lesions are judged by where they are, to within some millimetres, and never by how few voxels they have.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from uadbench.data.space import Grid
from uadbench.preprocessing import background, bodies, resampling
from uadbench.preprocessing.background import Background
from uadbench.preprocessing.nifti import round_rows
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import SubjectError

LATTICE_VOXELS = 0.5  # by which headers of one shape may place a corner apart: no voxel becomes another
# Brain in the field of view: a slab of it at least; at most the largest head's, with all that lies inside the
# skull, in the template's space too.
BRAIN_ML = (100.0, 3200.0)
MOST_CORNERS = 3  # of the field of view that a mask of a brain may hold; an inverted one holds eight
HOLLOW_MM = 3.0  # on such a lattice holes are looked for
HOLLOW = 0.4  # volume of the holes over that of the mask; empty ventricles come to a tenth
LEAST_LIT = 0.5  # share of the mask that must stand out from the background
QUIET = 0.1  # noise of the background over the brightness of the image, beyond which that cannot be told
LESION_OF_BRAIN = 0.75
NEAR_MM = 5.0  # from the brain mask a lesion may begin: masks that follow the cortex cut into it
LESION_ASTRAY = 0.25  # of the lesion, further away than that
VOLUME_CHANGE = 0.2  # of the lesion, from its file to a grid, beside what sampling it by points may change
SAMPLING_DEVIATIONS = 6.0


def check_lattice(mask: Scan, image: Scan, path: Path, drawn_on: str) -> None:
    """Stop where the header of a mask cannot be that of the image it was drawn on.

    A mask may lie on any lattice. But one of the image's shape that lies elsewhere, and one whose world
    begins at its first voxel where the image's does not, have lost their header or have another's.
    """
    same_shape = mask.array.shape == image.array.shape
    if same_shape and mask.voxels_apart(image) > LATTICE_VOXELS:
        raise SubjectError(
            f"{path.name} has the shape of {drawn_on}, but another affine, {round_rows(mask.affine)} "
            f"instead of {round_rows(image.affine)}: correct the header that is wrong."
        )
    first, images_first = mask.affine[:3, 3], image.affine[:3, 3]
    if not same_shape and not first.any() and np.abs(images_first).max() > image.spacing_mm.max():
        raise SubjectError(
            f"{path.name} begins at the origin of the world and {drawn_on} at "
            f"{[round(float(mm), 1) for mm in images_first]} mm: it has lost its affine; write it again."
        )


def check_brain(
    brain: NDArray[np.bool_], image: Scan, source: object, found: Background | None = None
) -> None:
    """Stop where a mask (R, A, S) on the voxels of an image cannot be that of a brain.

    `found` is the image's background, where it has been measured already.
    """
    low, high = BRAIN_ML
    volume_ml = np.count_nonzero(brain) * image.voxel_ml
    if not low <= volume_ml <= high:
        raise SubjectError(
            f"The brain mask from {source} covers {volume_ml:.0f} ml of the scan; expected "
            f"{low:.0f} to {high:.0f} ml: check that mask and scan belong together, and that a scan that is "
            "called skull-stripped is."
        )
    check_shape(brain, image.spacing_mm, source)
    _check_brightness(brain, image, source, found or background.measure_background(image))


def check_shape(mask: NDArray[np.bool_], spacing_mm: NDArray[np.float64], source: object) -> None:
    """Stop where a mask (R, A, S) has not a brain's shape: it is everything, the contrary, or a shell."""
    corners = np.count_nonzero(mask[np.ix_(*[(0, -1)] * 3)])
    if corners > MOST_CORNERS:
        raise SubjectError(
            f"The brain mask from {source} holds {corners} corners of the field of view, where no brain is: "
            "it is inverted, or is 1 everywhere; supply a mask that is 1 in the brain and 0 elsewhere."
        )
    coarse = mask[_coarsely(spacing_mm)]
    volume = int(np.count_nonzero(coarse))
    holes = int(np.count_nonzero(bodies.fill_holes(coarse))) - volume
    if holes > HOLLOW * volume:
        raise SubjectError(
            f"The brain mask from {source} is hollow: its holes have {holes / max(volume, 1):.0%} of its "
            f"volume; expected at most {HOLLOW:.0%}: it is inverted, or of something around the brain."
        )


def _coarsely(spacing_mm: NDArray[np.float64]) -> tuple[slice, slice, slice]:
    """Every so manieth voxel of each axis, so that they lie about HOLLOW_MM apart."""
    steps = [slice(None, None, max(1, int(HOLLOW_MM // side))) for side in spacing_mm]
    return steps[0], steps[1], steps[2]


def _check_brightness(brain: NDArray[np.bool_], image: Scan, source: object, found: Background) -> None:
    """Stop where a mask lies where the image shows nothing, if its background is quiet enough to tell."""
    if found.noise > QUIET * found.brightness:
        return
    some = _coarsely(image.spacing_mm)
    there, values = brain[some], image.array[some].copy("K")
    lit = np.count_nonzero(found.differs(values) & there) / max(int(np.count_nonzero(there)), 1)
    if lit < LEAST_LIT:
        raise SubjectError(
            f"The brain mask from {source} is where the scan is dark: {lit:.0%} of it is brighter than the "
            f"background; expected at least {LEAST_LIT:.0%}: it is inverted, or belongs to another scan."
        )


def check_lesion(lesion: Scan, brain: NDArray[np.bool_], image: Scan, source: object) -> None:
    """Stop where a lesion (1 and 0, in the world of the image) cannot be one of this brain (R, A, S)."""
    there = np.argwhere(lesion.array)
    if not len(there):
        return
    lesion_ml = len(there) * lesion.voxel_ml
    brain_ml = np.count_nonzero(brain) * image.voxel_ml
    if lesion_ml > LESION_OF_BRAIN * brain_ml:
        raise SubjectError(
            f"The lesion in {source} has {lesion_ml:.0f} ml and the brain {brain_ml:.0f} ml; expected at "
            f"most {LESION_OF_BRAIN:.0%} of the brain: it is inverted, or is not a lesion mask."
        )
    to_image = np.linalg.inv(image.affine) @ lesion.affine
    places = np.rint(there @ to_image[:3, :3].T + to_image[:3, 3]).astype(np.int64)
    inside = np.asarray(((places >= 0) & (places < brain.shape)).all(1))
    inside[inside] = brain[tuple(places[inside].T)]
    if np.mean(~inside) <= LESION_ASTRAY:
        return
    astray = _far_from(brain, image, places[~inside]) / len(there)
    if astray > LESION_ASTRAY:
        raise SubjectError(
            f"{astray:.0%} of the lesion in {source} ({lesion_ml:.3g} ml) is more than {NEAR_MM:g} mm "
            f"outside the brain of the scan; expected at most {LESION_ASTRAY:.0%}: mask and scan "
            "are not in the same place, correct the affine of one of them or the brain mask."
        )


def _far_from(brain: NDArray[np.bool_], image: Scan, places: NDArray[np.int64]) -> int:
    """How many places (n, 3), in voxels, lie further from a mask than what is near."""
    box = resampling.bounding_box(brain)
    cut = np.pad(brain[box], 1)
    rim = np.argwhere(cut & ~ndimage.binary_erosion(cut)) - 1 + [side.start for side in box]
    # Millimetres along the voxels' own axes, which lean too little to matter over 5 mm.
    near, _ = KDTree(rim * image.spacing_mm).query(
        places * image.spacing_mm, distance_upper_bound=NEAR_MM + image.spacing_mm.max()
    )
    return int(np.count_nonzero(near > NEAR_MM))


def check_lesion_on_grid(
    lesion: Scan, voxels: int, transform: NDArray[np.float64], grid: Grid, name: str
) -> None:
    """Stop where a lesion has another volume on a grid than in its file, in the patient's own millilitres.

    A grid samples a lesion by points: n expected points scatter by about the root of n, the more the
    smaller its parts are, and that much a small lesion may change.
    """
    voxel_ml = grid.voxel_ml / abs(np.linalg.det(transform[:3, :3]))
    before_ml, after_ml = np.count_nonzero(lesion.array) * lesion.voxel_ml, voxels * voxel_ml
    sampling_ml = SAMPLING_DEVIATIONS * np.sqrt(max(before_ml, voxel_ml) * voxel_ml)
    if abs(after_ml - before_ml) > VOLUME_CHANGE * before_ml + sampling_ml:
        raise SubjectError(
            f"The lesion of {name} has {before_ml:.3g} ml in its file and {after_ml:.3g} ml on grid "
            f"{grid.name} (of the patient's own); expected a change of {VOLUME_CHANGE:.0%} at most: mask "
            "and scan are not in the same place, correct the affine of one of them."
        )
