"""Shapes: what a lesion of each kind looks like, grown to its size voxel by voxel where it may be."""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadbench.data import layout
from uadbench.data.space import Grid
from uadbench.evaluation.components import components
from uadbench.implant import tissue
from uadbench.implant.tissue import LACUNE_MM, Weight
from uadbench.phantom import fields, lesions
from uadbench.phantom.fields import Map
from uadbench.preprocessing import resampling, scan
from uadbench.system.errors import SubjectError, UserError

Point = NDArray[np.float64]
# A field that is low inside a lesion, at positions (3, n) in mm from its place.
Field = Callable[[Map], Map]
HERE = np.zeros(3)
FACES = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))
REACH = 2.5  # radii around its place that a shape is drawn on
LARGEST_REACH_MM = 96.0


@dataclass(frozen=True)
class Kind:
    """How lesions of a kind are drawn and where they may be.

    `draw(random, grid, radius_mm, towards)` gives the field on a grid around the place.
    """

    draw: Callable[[np.random.Generator, Grid, float, Point], Map]
    weight: Weight  # of a place to begin, in white matter
    in_white: bool  # whether it is made of white matter alone


def _rough(random: np.random.Generator, grid: Grid, radius: float, share: float) -> Map:
    """Bumps in proportion to the size: two scales, of which the finer is half."""
    coarse = fields.smooth_field(random, grid, max(0.6 * radius, 2.5))
    fine = fields.smooth_field(random, grid, max(0.3 * radius, 2.5))
    return np.asarray(share * radius * (coarse + 0.5 * fine), np.float32)


def _draw_glioma(random: np.random.Generator, grid: Grid, radius: float, towards: Point) -> Map:
    return lesions.stretched_distance(random, grid, HERE, 0.2) + _rough(random, grid, radius, 0.15)


def _draw_ms(random: np.random.Generator, grid: Grid, radius: float, towards: Point) -> Map:
    length = random.uniform(1.0, 1.8)
    return lesions.ovoid_distance(grid, HERE, towards, length) + _rough(random, grid, radius, 0.1)


def _draw_patch(random: np.random.Generator, grid: Grid, radius: float, towards: Point) -> Map:
    return lesions.stretched_distance(random, grid, HERE, 0.3) + _rough(random, grid, radius, 0.2)


def _draw_stroke(random: np.random.Generator, grid: Grid, radius: float, towards: Point) -> Map:
    if radius < LACUNE_MM:
        return _draw_patch(random, grid, radius, towards)
    inward = -towards / max(float(np.linalg.norm(towards)), 1e-6)
    apex = inward * 2.2 * radius
    return lesions.wedge(grid, HERE, apex) + _rough(random, grid, radius, 0.1)


KINDS: Mapping[str, Kind] = {
    "glioma": Kind(_draw_glioma, tissue.weigh_white, False),
    "stroke": Kind(_draw_stroke, tissue.weigh_cortex, False),
    "ms": Kind(_draw_ms, tissue.weigh_beside_ventricle, True),
    "wmh": Kind(_draw_patch, tissue.weigh_beside_ventricle, True),
    "mimic": Kind(_draw_patch, tissue.weigh_white, True),
}


def draw_field(kind: Kind, random: np.random.Generator, ml: float, towards: Point) -> Field:
    """A shape of a kind, of about a volume."""
    radius = lesions.radius_mm(ml)
    reach = min(REACH * radius + 4.0, LARGEST_REACH_MM)
    spacing = max(1.0, radius / 12)
    side = 2 * int(np.ceil(reach / spacing)) + 1
    start = -spacing * (side // 2)
    grid = Grid("lesion", (side, side, side), spacing, (start, start, start))
    field = kind.draw(random, grid, radius, towards)
    return lambda position: fields.sample(field, grid, position)


# ---- real shapes -------------------------------------------------------------------------------


@dataclass(frozen=True)
class RealShape:
    """The largest component of a lesion mask: mm from its border (negative inside), around its middle."""

    name: str
    distance_mm: Map
    from_place: NDArray[np.float64]  # (4, 4) mm from the middle -> voxels
    ml: float

    def field(self, ml: float) -> Field:
        """The shape, scaled to a volume."""
        scale = (ml / self.ml) ** (1 / 3)

        def found(position: Map) -> Map:
            voxels = self.from_place[:3, :3] @ (position / scale) + self.from_place[:3, 3:]
            inside = ndimage.map_coordinates(self.distance_mm, voxels, np.float32, 1, "nearest")
            # Beyond the mask's own box the border's value goes on, growing with the distance from the middle.
            return np.asarray(scale * inside + 1e-3 * np.sqrt((position**2).sum(0)), np.float32)

        return found


def read_shapes(folder: Path) -> list[RealShape]:
    """The lesion masks under a folder, sorted by path; one that is no mask is a UserError that names it."""
    if not folder.is_dir():
        raise UserError(f"--shapes expects a folder of lesion masks, but there is none at {folder}.")
    found = [path for path, _ in layout.find_volumes(folder, ".+")]
    if not found:
        raise UserError(f"--shapes: {folder} is empty of NIfTI files; expected lesion masks.")
    try:
        return [_read_shape(path) for path in found]
    except SubjectError as error:
        raise UserError(f"--shapes: {error}") from error


def _read_shape(path: Path) -> RealShape:
    labels = scan.read_labels(path)
    values = np.unique(labels.array)
    if not (len(values) == 2 and values[0] == 0):
        raise SubjectError(
            f"{path} is no lesion mask: it has the values {values[:5].tolist()}; expected 0 and one other."
        )
    lesion = labels.array > 0
    parts, counts = components(lesion)
    largest = parts == 1 + counts[1:].argmax()
    box = np.pad(largest[resampling.bounding_box(largest)], 2)
    inside, outside = (
        ndimage.distance_transform_edt(one, sampling=labels.spacing_mm).astype(np.float32)
        for one in (box, ~box)
    )
    from_place = np.eye(4)
    from_place[:3, :3] = np.linalg.inv(labels.affine[:3, :3])
    from_place[:3, 3] = np.unravel_index(int(inside.argmax()), box.shape)
    return RealShape(path.name, outside - inside, from_place, float(largest.sum() * labels.voxel_ml))


# ---- growth ------------------------------------------------------------------------------------


def grow(
    field: Map, allowed: NDArray[np.bool_], start: Sequence[int], count: int
) -> NDArray[np.bool_] | None:
    """A face-connected region (R, A, S) of `count` allowed voxels around `start`, of the lowest field first.

    None where there is not so much room.
    """
    grown = np.zeros(allowed.shape, bool)
    seen = ~np.pad(allowed, 1)
    first = tuple(int(place) + 1 for place in start)
    if seen[first]:
        return None
    waiting: list[tuple[float, tuple[int, ...]]] = [(0.0, first)]
    seen[first] = True
    while waiting and count:
        _, (i, j, k) = heapq.heappop(waiting)
        grown[i - 1, j - 1, k - 1] = True
        count -= 1
        for di, dj, dk in FACES:
            near = (i + di, j + dj, k + dk)
            if not seen[near]:
                seen[near] = True
                heapq.heappush(waiting, (float(field[near[0] - 1, near[1] - 1, near[2] - 1]), near))
    return grown if not count else None
