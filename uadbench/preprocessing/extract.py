"""Extraction: the brain of a full head, from an atlas and nothing that has to be downloaded; or by a program.

1. The head is brought to the ICBM152 template by an affine of most mutual information. nilearn's template is
   skull-stripped, so fluid, bone, scalp and air are laid around it as shells, each with a grey of its own:
   mutual information asks for no more than that each of them looks alike all around, in any contrast. Without
   the shells a whole head would fit into the template's brain.
2. The template's brain, as a distance to its surface, is carried back and widened to the inner table of the
   skull.
3. On T1 contrasts the surface is then moved most of the way to that of the subject's own tissue: what is
   brighter than half of the brain's median, without what hangs on it by thin bridges (as the Brain Extraction
   Tool's threshold, Smith, Human Brain Mapping 2002), closed over the sulci.

The result is an intracranial mask: it holds the fluid of the sulci, as the masks of HD-BET and SynthStrip do
for the most part.

Those programs are used where they are on the PATH, and never fetched. Their version is part of the cache's
keys and of the record as far as it can be told; their weights are not known here.
"""

import os
import shutil
import subprocess
import tempfile
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk  # noqa: N813  # the name its manual uses
from numpy.typing import NDArray
from scipy import ndimage

from uadbench.data.space import Grid
from uadbench.preprocessing import bodies, optimise, register, resampling, scan
from uadbench.preprocessing.register import WORKING
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import SubjectError, UserError, unknown

PROGRAMS = {"hd-bet": "hd-bet", "synthstrip": "mri_synthstrip"}  # extractor -> program
DEFAULT = "atlas"  # built in, see `extract`
# Arguments of each program, in the order in which they are tried: HD-BET 2, then HD-BET 1.
ARGUMENTS = {
    "hd-bet": (
        ("-i", "{image}", "-o", "{stripped}", "-device", "cpu", "--save_bet_mask"),
        ("-i", "{image}", "-o", "{stripped}", "-device", "cpu", "-mode", "fast", "-tta", "0"),
    ),
    "synthstrip": (("-i", "{image}", "-o", "{stripped}", "-m", "{mask}"),),
}
MASK_NAMES = ("*mask.nii.gz", "*_bet.nii.gz")  # HD-BET 2 ends its mask's name with _bet
EXTRACTION_VERSION = "1"  # of the atlas
SPACING_MM = 2.0  # of the lattice on which the work is done
# Outer surfaces of fluid, bone, scalp, and the air that is looked at, as distances to the template's brain.
SHELLS_MM = (4.0, 10.0, 16.0, 24.0)
SHELL_GREYS = (0.3, 0.0, 1.2, 0.0)  # fluid as in the ventricles, bone as air, scalp as nothing in the brain
SHELLS_ABOVE_MM = 0.0  # MNI152 height; below it are face and neck
BELOW_TOP_MM = (85.0, 72.0)  # centre of the brain below the top of the head
HEAD_MM = 120.0  # below the top of the head there is more neck and face than brain
TRIED = 4  # starts that are followed
T1_LIKE = ("T1", "T1c")  # tissue is brighter than fluid and bone
# The following were set on twelve heads of IXI (HH), and checked on all 96 against their parcellations.
WIDER_MM = 4.0  # from the template's brain, which ends at the cortex, to the inner table
TISSUE_WIDER_MM = 2.0  # the same from the subject's tissue
TISSUE_SHARE = 0.75  # how far the surface is moved to that of the tissue
TISSUE_LEVEL = 0.5  # of the median of the brain
BRIDGE_MM = 2.9  # thinner bridges are cut
CLOSED_MM = 10.0  # sulci narrower than twice this are closed
SURE_MM, REACH_MM = -6.0, 8.0  # depth at which all is brain; distance at which nothing is
VOLUME_ML = (600.0, 2400.0)  # of an adult's intracranial volume, with room for children and wide masks


def extract_brain(image: Scan, contrast: str, name: str) -> NDArray[np.bool_]:
    """The brain (R, A, S) of a full head, on the voxels of its image.

    Single-threaded with a fixed seed: the same image gives the same bits. An implausible result is a
    SubjectError.
    """
    head, lattice = _head(image)
    try:
        with optimise.one_thread():
            to_scan = _register(head, lattice)
    except RuntimeError as error:
        raise SubjectError(
            f"The brain of {name} could not be found ({error}): supply a brain mask."
        ) from error
    to_template = np.linalg.inv(to_scan @ WORKING.affine) @ lattice.affine
    distance = resampling.sample_linear(_template_distance() - FAR_MM, to_template, lattice.shape) + FAR_MM
    surface = distance - np.float32(WIDER_MM)
    if contrast in T1_LIKE:
        tissue = _distance(_tissue(head, distance)) - np.float32(TISSUE_WIDER_MM)
        surface = np.float32(TISSUE_SHARE) * tissue + np.float32(1 - TISSUE_SHARE) * surface
    brain = _on_image(surface, lattice, image)
    volume_ml = np.count_nonzero(brain) * image.voxel_ml
    if not VOLUME_ML[0] < volume_ml < VOLUME_ML[1]:
        raise SubjectError(
            f"The brain found in {name} has {volume_ml:.0f} ml; expected {VOLUME_ML[0]:.0f} to "
            f"{VOLUME_ML[1]:.0f} ml: supply a brain mask, or leave the scan out."
        )
    return brain


FAR_MM = np.float32(60)  # distance from the brain that everything outside the template's grid is given


def _head(image: Scan) -> tuple[NDArray[np.float32], Grid]:
    """The whole scan on a 2 mm lattice along the world's axes, in [0, 1], and the lattice."""
    corners = resampling.list_corners([(0, n - 1) for n in image.array.shape])
    world = image.affine[:3, :3] @ corners + image.affine[:3, 3:]
    low, high = world.min(1), world.max(1)
    right, front, up = (int(n) + 1 for n in np.ceil((high - low) / SPACING_MM))
    lattice = Grid("head", (right, front, up), SPACING_MM, (low[0], low[1], low[2]))
    values = image.array.astype(np.float32)
    dark = np.percentile(values[::2, ::2, ::2], 1)
    bright = np.percentile(values[values > values.mean()][::4], 98)
    values = ((values - dark) / (float(bright - dark) or 1.0)).clip(0, 1).astype(np.float32)
    to_image = np.linalg.inv(image.affine) @ lattice.affine
    return resampling.sample_linear(values, to_image, lattice.shape), lattice


def _register(head: NDArray[np.float32], lattice: Grid) -> NDArray[np.float64]:
    """The matrix (4, 4) template mm -> scan mm of most mutual information."""
    with_shells, near = _template_head()
    fixed, moving = optimise.as_itk(with_shells, WORKING), optimise.as_itk(head, lattice)
    region = optimise.as_itk(near.astype(np.uint8), WORKING)
    coarse = optimise.shrunk(fixed), optimise.shrunk(moving), sitk.Shrink(region, [4] * 3)
    starts = optimise.promising(_starts(head, lattice), *coarse)[:TRIED]
    method = optimise.coarse_to_fine([2], [2.0], [0.5], 60)
    return optimise.matrix_of(optimise.search(starts, fixed, moving, region, method))


def _template_head() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The template with shells around its brain, and the voxels at which the metric looks."""
    brain, mask = register.load_template()
    distance = _template_distance()
    shell = np.searchsorted(SHELLS_MM[:3], distance)  # the brain's own voxels fall into the first, unused
    image = np.where(mask, brain, np.array(SHELL_GREYS, np.float32)[shell]).astype(np.float32)
    height = WORKING.origin_mm[2] + WORKING.spacing_mm * np.arange(WORKING.shape[2])
    above = (height >= SHELLS_ABOVE_MM)[None, None]
    return image, (distance < SHELLS_MM[0]) | (above & (distance < SHELLS_MM[3]))


def _starts(head: NDArray[np.float32], lattice: Grid) -> list[Any]:
    """Affine transforms template -> scan below the top of the head, of several sizes and pitches."""
    foreground = _foreground(head)
    areas = foreground.sum((0, 1)) * SPACING_MM**2
    wide = np.flatnonzero(areas > min(1500.0, float(areas.max()) / 2))
    top = int(wide[-1])
    bottom = max(0, top - round(HEAD_MM / SPACING_MM))
    middle = np.argwhere(foreground[:, :, bottom : top + 1]).mean(0) * SPACING_MM + lattice.origin_mm
    top_mm = lattice.origin_mm[2] + SPACING_MM * top
    centre, _ = optimise.centre_of(optimise.as_itk(register.load_template()[0], WORKING))
    tried = product((0.88, 0.95), BELOW_TOP_MM, (-6.0, 6.0), np.deg2rad(range(-30, 31, 10)))
    return [
        optimise.make_start(centre, np.array([middle[0], middle[1] + front, top_mm - below]), scale, pitch)
        for scale, below, front, pitch in tried
    ]


def _foreground(head: NDArray[np.float32]) -> NDArray[np.bool_]:
    """What is not air: above half of Otsu's threshold, without thin and loose parts."""
    threshold = sitk.OtsuThresholdImageFilter()
    threshold.Execute(sitk.GetImageFromArray(head))
    found = ndimage.binary_opening(head > 0.5 * threshold.GetThreshold(), iterations=2)
    if not found.any():
        raise RuntimeError("nothing stands out from the background")
    return bodies.keep_largest(found)


@lru_cache(maxsize=1)
def _template_distance() -> NDArray[np.float32]:
    """Distance in mm to the surface of the template's brain, negative inside, on the working grid."""
    return _distance(register.load_template()[1])


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance in mm to a mask's surface, negative inside; 2 mm voxels."""
    outside = ndimage.distance_transform_edt(~mask, SPACING_MM)
    inside = ndimage.distance_transform_edt(mask, SPACING_MM)
    half = SPACING_MM / 2  # from the centre of the outermost voxel to the surface
    return np.where(mask, half - inside, outside - half).astype(np.float32)


def _tissue(head: NDArray[np.float32], distance: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The subject's brain as a body without sulci, from the brightness of its tissue on T1."""
    box = resampling.bounding_box(distance < REACH_MM + CLOSED_MM + 2 * SPACING_MM)
    near, values = distance[box], head[box]
    level = TISSUE_LEVEL * float(np.median(values[near < SURE_MM]))
    tissue = ((values > level) & (near < REACH_MM)) | (near < SURE_MM - SPACING_MM)
    core = bodies.keep_largest(ndimage.distance_transform_edt(tissue, SPACING_MM) > BRIDGE_MM)
    tissue &= ndimage.distance_transform_edt(~core, SPACING_MM) <= BRIDGE_MM
    grown = ndimage.distance_transform_edt(~tissue, SPACING_MM) <= CLOSED_MM
    closed = np.zeros(head.shape, bool)
    closed[box] = ndimage.distance_transform_edt(grown, SPACING_MM) > CLOSED_MM
    return closed


def _on_image(surface: NDArray[np.float32], lattice: Grid, image: Scan) -> NDArray[np.bool_]:
    """Where a distance is negative, on the voxels of the image: one body without holes."""
    to_lattice = np.linalg.inv(lattice.affine) @ image.affine
    near = resampling.sample_linear((surface - FAR_MM).astype(np.float32), to_lattice, image.array.shape)
    inside = near + FAR_MM < 0
    if not inside.any():
        return np.asarray(inside)
    box = resampling.bounding_box(inside)
    brain = np.zeros(image.array.shape, bool)
    brain[box] = bodies.fill_holes(bodies.keep_largest(inside[box]))
    return brain


def check_extractor(extractor: str) -> None:
    """Stop where an extractor is unknown or not installed."""
    known = [DEFAULT, *PROGRAMS]
    if extractor not in known:
        raise unknown("extractor", extractor, known)
    if extractor in PROGRAMS and shutil.which(PROGRAMS[extractor]) is None:
        raise UserError(
            f"The extractor {extractor} needs the program `{PROGRAMS[extractor]}`, which is not on the PATH: "
            f"install it, or use the built-in extractor '{DEFAULT}'."
        )


def find_version(extractor: str) -> str:
    """The version of an extractor; "unknown" where the program's surroundings do not tell it."""
    if extractor == DEFAULT:
        return EXTRACTION_VERSION
    program = shutil.which(PROGRAMS[extractor])
    return _version(extractor, Path(program).resolve().parent.parent) if program else "unknown"


@lru_cache
def _version(extractor: str, home: Path) -> str:
    """The version of a program in the folder `bin` of its home."""
    if extractor == "hd-bet":  # a Python package
        found = sorted(p.name for p in home.glob("lib/python*/site-packages/*.dist-info"))
        names = [name.lower().replace("-", "_") for name in found]
        return next((n[7:].removesuffix(".dist_info") for n in names if n.startswith("hd_bet_")), "unknown")
    stamps = [Path(os.environ.get("FREESURFER_HOME", home)) / "build-stamp.txt", home / "build-stamp.txt"]
    return next((stamp.read_text().strip() for stamp in stamps if stamp.is_file()), "unknown")


def run_extractor(image: Scan, extractor: str, name: str) -> NDArray[np.bool_]:
    """The brain (R, A, S) on the voxels of a full head, by an external program."""
    with tempfile.TemporaryDirectory(prefix="uadbench-") as folder:
        paths = {key: str(Path(folder) / f"{key}.nii.gz") for key in ("image", "stripped", "mask")}
        nibabel.save(nibabel.Nifti1Image(image.array, image.affine), paths["image"])
        said = ""
        for arguments in ARGUMENTS[extractor]:
            command = [PROGRAMS[extractor], *(argument.format(**paths) for argument in arguments)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found = [path for pattern in MASK_NAMES for path in sorted(Path(folder).glob(pattern))]
            if done.returncode == 0 and found:
                return np.asarray(image.sample_mask(scan.read_scan(found[0])) > 0.5)
            said = (done.stderr or done.stdout).strip()[-300:]
    raise SubjectError(
        f"{extractor} made no brain mask of {name} ({said}): supply one, or leave the scan out."
    )
