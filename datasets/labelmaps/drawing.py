"""Drawing: scans of a segmented brain in any contrast, by the phantom's image model.

Labels -> a noise-free signal of each contrast -> random affine and elastic deformation -> point spread (which
makes the partial volume), receive field and Rician noise -> brain mask from the labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadbench.data.space import Grid, resample
from uadbench.phantom import anatomy, contrast, fields
from uadbench.phantom.anatomy import Subject
from uadbench.phantom.contrast import Site
from uadbench.phantom.fields import Map, smooth_field
from uadbench.preprocessing import resampling, scan
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import SubjectError

from .structures import CONTRASTS, HIGHEST, KNOWN, NAMES, STRUCTURES, intensities, numbers

CENTRE_MM = (0.0, -10.0, 15.0)  # where the middle of every brain is put: that of the random fields
ROOM_MM = 10.0  # around the labels of the brain
ROAM_MM = 30.0  # further, the most that a deformation moves them
FINEST_MM = 1.0  # voxels are not drawn smaller
COARSE_MM = 3.0  # voxels of smooth maps
CLOSED_MM = 8.0  # sulci narrower than twice this are inside the brain mask
CUT_MM2 = 500.0  # of brain on a face of the volume: more of it is missing
LEAST_ML = 600.0  # of tissue
STREAM = 200  # first number of the random streams used here; the phantom uses lower ones
OUTSIDE, FLUID, NARROW, CORTEX = map(NAMES.index, ("outside", "fluid", "narrow sulcus", "cortex"))
WHITE, VENTRICLE = NAMES.index("white matter"), NAMES.index("lateral ventricle")

TURN_DEGREES, SCALE, SHEAR = 4.0, 0.03, 0.02  # deviations of the affine
VENTRICLE_PULL_MM = (-2.0, 2.5)  # by which ventricles narrow or widen
STRUCTURE_DEVIATION = 0.03  # of a structure's intensity between subjects, as a share
TISSUE_DEVIATION = {"CSF": 0.12, "GM": 0.04, "deep GM": 0.04, "WM": 0.03}
MARGIN_MM = (-2.0, 1.5)  # from the brain's closed surface to where a scan was stripped
RIM_MM = (0.5, 2.5)  # over which a stripped scan fades, having been interpolated since
NARROWNESS = (0.1, 0.65)  # share of cortex in the voxels of narrow sulci
AGES = (20.0, 85.0)
SITE = {  # ranges: wider than the three sites of the phantom, and sharper at 1 mm
    "gamma": (0.8, 1.15),
    "noise": (0.008, 0.022),
    "bias": (0.02, 0.10),
    "blur_mm": (0.3, 0.75),
}


@dataclass(frozen=True)
class Brain:
    """A segmented brain on a lattice along the world's axes, its middle at CENTRE_MM; maps are (R, A, S)."""

    grid: Grid
    structures: NDArray[np.uint8]  # numbers into STRUCTURES
    coarse: Grid  # with room for all that is moved
    depth_mm: Map  # on the coarse grid: below the closed surface, negative outside
    ventricle_mm: Map  # on the coarse grid: from the lateral ventricles, negative inside


@dataclass(frozen=True)
class Drawn:
    """Scans of one simulated session, each (R, A, S) on `grid`."""

    grid: Grid
    images: Mapping[str, NDArray[np.int16]]  # 0 outside the brain
    brain: NDArray[np.bool_]


def read_segmentation(path: Path) -> Scan:
    """A segmentation as it is stored; unknown label numbers are a SubjectError."""
    labels = scan.read_labels(path)
    there = np.unique(labels.array)
    unknown = sorted(set(there.tolist()) - KNOWN)
    if unknown:
        raise SubjectError(
            f"{path} has the label numbers {unknown[:10]}, which are none of FreeSurfer's for the whole "
            f"brain (0 to 255) nor of what lies outside it (500 to {HIGHEST}): is it a segmentation?"
        )
    return labels


def brain_of(labels: Scan, name: str) -> Brain:
    """The brain in a segmentation; one that is cut or too small is a SubjectError."""
    structures = numbers()[labels.array]
    tissue = (structures != OUTSIDE) & (structures != FLUID)
    _check(tissue, labels, name)
    spacing = max(FINEST_MM, round(float(labels.spacing_mm.min()), 3))
    there = 2 * np.argwhere(tissue[::2, ::2, ::2]).T
    world = labels.affine[:3, :3] @ there + labels.affine[:3, 3:]
    low, high = world.min(1) - ROOM_MM, world.max(1) + ROOM_MM
    right, front, up = (int(n) for n in np.ceil((high - low) / spacing).astype(int) + 1)
    lattice = np.diag([spacing] * 3 + [1.0])
    lattice[:3, 3] = low
    to_labels = np.asarray(np.linalg.inv(labels.affine) @ lattice, np.float64)
    picked = resampling.sample_nearest(structures, to_labels, (right, front, up))
    first = np.array(CENTRE_MM) - (high - low) / 2
    grid = Grid("labelmap", (right, front, up), spacing, (float(first[0]), float(first[1]), float(first[2])))
    step = max(1, round(COARSE_MM / spacing))
    room = int(np.ceil(ROAM_MM / (step * spacing)))
    every = np.pad(picked[::step, ::step, ::step], room)
    coarse, part = _covered(_padded(grid, every.shape, step, room))
    every = every[part]
    picked[_narrow(picked)] = NARROW
    return Brain(grid, picked, coarse, _depth(every, coarse), -_signed(every == VENTRICLE, coarse))


def _padded(grid: Grid, shape: tuple[int, ...], step: int, room: int) -> Grid:
    """The coarse grid of a shape: steps of so many voxels, padded by so many steps."""
    spacing = step * grid.spacing_mm
    x, y, z = (origin - room * spacing for origin in grid.origin_mm)
    return Grid("coarse", (shape[0], shape[1], shape[2]), spacing, (x, y, z))


def _covered(grid: Grid) -> tuple[Grid, tuple[slice, ...]]:
    """The part of a grid that the random fields cover."""
    low, high = (
        [mm + side * grid.spacing_mm for mm in end]
        for end, side in ((fields.LOW_MM, 1), (fields.HIGH_MM, -1))
    )
    return fields.crop(grid, low, high)


def _check(tissue: NDArray[np.bool_], labels: Scan, name: str) -> None:
    volume_ml = np.count_nonzero(tissue) * float(np.prod(labels.spacing_mm)) / 1000
    if volume_ml < LEAST_ML:
        raise SubjectError(
            f"{name} has {volume_ml:.0f} ml of labelled brain; expected more than {LEAST_ML:.0f} ml: is "
            "it a segmentation of a whole brain with FreeSurfer's label numbers?"
        )
    for axis in range(3):
        voxel_mm2 = float(np.prod(labels.spacing_mm) / labels.spacing_mm[axis])
        for end in (0, -1):
            if np.count_nonzero(tissue.take(end, axis)) * voxel_mm2 > CUT_MM2:
                raise SubjectError(
                    f"{name} has brain at the edge of its volume: a part of the brain is missing."
                )


def _signed(inside: NDArray[np.bool_], grid: Grid) -> Map:
    """Signed distance in mm to the border of a region, positive inside; far outside where there is none."""
    if not inside.any():
        return np.full(grid.shape, -100, np.float32)
    half = grid.spacing_mm / 2
    within = ndimage.distance_transform_edt(inside, grid.spacing_mm) - half
    outside = ndimage.distance_transform_edt(~inside, grid.spacing_mm) - half
    return np.where(inside, within, -outside).astype(np.float32)


def _depth(structures: NDArray[np.uint8], grid: Grid) -> Map:
    """Below the surface of the tissue, closed over the sulci."""
    grown = -_signed((structures != OUTSIDE) & (structures != FLUID), grid) < CLOSED_MM
    return _signed(_signed(grown, grid) > CLOSED_MM, grid)


def _narrow(structures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Fluid in which cortex has a share: beside it, or in sheets of less than three voxels."""
    fluid = structures == FLUID
    beside = ndimage.binary_dilation(structures == CORTEX)
    return np.asarray(fluid & (beside | ~ndimage.binary_opening(fluid)))


def draw_scans(brain: Brain, key: tuple[int, ...]) -> Drawn:
    """Scans in every contrast; the brain and the key decide every voxel."""
    random = np.random.default_rng([*key, STREAM])
    subject = Subject(key, float(random.uniform(*AGES)), "F")
    site = _site(random)
    wide, position = brain.coarse, _position(brain, subject)
    margin = random.uniform(*MARGIN_MM) + 0.6 * smooth_field(subject.random(STREAM + 1), wide, 12.0)
    depth = fields.sample(brain.depth_mm, brain.coarse, position) + margin.astype(np.float32)
    grid = _around(depth > -wide.spacing_mm, wide, brain.grid.spacing_mm)
    depth = resample(depth, wide, grid)
    inside = depth > 0
    near = depth > -3 * grid.spacing_mm  # from where the point spread reaches the brain
    rim = np.minimum(0.5 + depth[near] / np.float32(random.uniform(*RIM_MM)), 1).clip(0)
    points = fields.find_voxels(
        brain.grid, np.stack([resample(component, wide, grid)[near] for component in position])
    )
    narrowness = float(random.uniform(*NARROWNESS))
    images = {}
    for name in CONTRASTS:
        signal = np.zeros(grid.shape, np.float32)
        source = _signal(brain, subject, site, name, narrowness)
        signal[near] = rim * ndimage.map_coordinates(source, points, np.float32, 1, "nearest")
        image = contrast.expose(subject, site, name, signal, inside, grid)
        images[name] = np.rint(site.scale * image).clip(0, 32767).astype(np.int16)
    return Drawn(grid, images, inside)


def _around(there: NDArray[np.bool_], wide: Grid, spacing: float) -> Grid:
    """The fine grid around a region of the coarse one."""
    box = resampling.bounding_box(there)
    step = round(wide.spacing_mm / spacing)
    right, front, up = ((side.stop - side.start + 1) * step + 1 for side in box)
    x, y, z = (o + (s.start - 1) * wide.spacing_mm for o, s in zip(wide.origin_mm, box, strict=True))
    return Grid("drawn", (right, front, up), spacing, (x, y, z))


def _site(random: np.random.Generator) -> Site:
    """A scanner of its own."""
    blur = random.uniform(*SITE["blur_mm"])
    return Site(
        name="drawn",
        scale=1000.0,
        gamma=float(random.uniform(*SITE["gamma"])),
        noise=float(random.uniform(*SITE["noise"])),
        bias=float(random.uniform(*SITE["bias"])),
        blur_mm=(blur, blur, float(blur * random.uniform(1.0, 1.5))),
    )


def _position(brain: Brain, subject: Subject) -> Map:
    """Where in the brain each coarse voxel of a scan comes from, (3, R, A, S) in mm."""
    random = subject.random(STREAM + 2)
    turn = _turn(np.deg2rad(TURN_DEGREES * random.standard_normal(3)))
    stretch = np.diag(1 + SCALE * random.standard_normal(3)) + SHEAR * np.triu(
        random.standard_normal((3, 3)), 1
    )
    matrix = np.linalg.inv(turn @ stretch)
    moved = [_elastic(brain.coarse, random) + pull for pull in _ventricle_pull(brain, random)]
    x, y, z = (line - centre for line, centre in zip(fields.axes_mm(brain.coarse), CENTRE_MM, strict=True))
    rows = zip(matrix, moved, CENTRE_MM, strict=True)
    return np.stack([row[0] * x + row[1] * y + row[2] * z + m + c for row, m, c in rows]).astype(np.float32)


def _turn(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation (3, 3) about the three axes in turn, angles in radians."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        one = np.eye(3)
        one[first, first] = one[second, second] = np.cos(angle)
        one[first, second], one[second, first] = -np.sin(angle), np.sin(angle)
        turn = turn @ one
    return turn


def _elastic(grid: Grid, random: np.random.Generator) -> Map:
    """One component of the phantom's deformation in mm: from the shape of the head to the course of gyri."""
    total = np.zeros(grid.shape, np.float32)
    for lattice, deviation in anatomy.DEFORMATION:
        coefficients = random.standard_normal(fields.lattice_shape(lattice), np.float32)
        limit = np.float32(anatomy.FOLDING_LIMIT * lattice)
        moved = (coefficients * np.float32(deviation / np.sqrt(fields.SPLINE_VARIANCE))).clip(-limit, limit)
        total += fields.spline_field(moved, grid, lattice)
    return total


def _ventricle_pull(brain: Brain, random: np.random.Generator) -> list[Map]:
    """Displacement (mm) that widens or narrows the ventricles and fades with the distance from them."""
    widening = random.uniform(*VENTRICLE_PULL_MM)
    distance = ndimage.gaussian_filter(brain.ventricle_mm, 1.0)
    fade = np.exp(-((np.maximum(distance, 0) / 14.0) ** 2)) * fields.soft_step(distance + 3, 6.0)
    return [-widening * fade * slope for slope in np.gradient(distance, brain.coarse.spacing_mm)]


def _signal(brain: Brain, subject: Subject, site: Site, name: str, narrowness: float) -> Map:
    """Noise-free intensities where the labels lie: each structure uneven, and what ageing does."""
    random = subject.random(STREAM + 3, CONTRASTS.index(name))
    tissues = {
        tissue: value * (1 + TISSUE_DEVIATION.get(tissue, 0.0) * random.standard_normal())
        for tissue, value in contrast.substance_means(subject, site, name).items()
    }
    means = intensities(tissues, name, random, STRUCTURE_DEVIATION, narrowness)
    uneven = [contrast.UNEVENNESS.get(s.tissue, contrast.UNEVENNESS_OTHERWISE) for s in STRUCTURES]
    texture = 0.7 * (
        _smooth(subject.random(STREAM + 4), brain, 5.0) + _smooth(subject.random(STREAM + 5), brain, 16.0)
    )
    signal = means[brain.structures]
    signal += (means * np.array(uneven, np.float32))[brain.structures] * texture
    halo = np.exp(-np.maximum(brain.ventricle_mm, 0) / 3.5) * contrast.HALO[name] * (0.2 + subject.ageing)
    signal += (brain.structures == WHITE) * resample(halo.astype(np.float32), brain.coarse, brain.grid)
    return signal


def _smooth(random: np.random.Generator, brain: Brain, lattice_mm: float) -> Map:
    """A smooth random field on the brain's lattice, made on the coarse one where that is fine enough."""
    if lattice_mm < 2 * brain.coarse.spacing_mm:
        return smooth_field(random, brain.grid, lattice_mm)
    return resample(smooth_field(random, brain.coarse, lattice_mm), brain.coarse, brain.grid)
