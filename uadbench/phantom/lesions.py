"""Lesions: what replaces or displaces healthy tissue, and where.

Every kind is a function that takes a random stream, the healthy anatomy and a way to make the anatomy
again with tissue displaced, and returns a Lesion.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uadbench.data.space import Grid
from uadbench.phantom.anatomy import TISSUES, Anatomy, Subject, make_anatomy
from uadbench.phantom.fields import Map, axes_mm, crop, smooth_field, soft_step

Point = NDArray[np.float64]
Remake = Callable[[Map], Anatomy]


@dataclass(frozen=True)
class Lesion:
    """A brain with a lesion.

    `parts` are fractions (R, A, S) of the substances of contrast.INTENSITY, together at most 1;
    `extent` is the fraction of each voxel that is abnormal. A faint lesion has an extent above its parts.
    """

    anatomy: Anatomy
    parts: Mapping[str, Map]
    extent: Map

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The lesion: more than half of the voxel is abnormal."""
        return (self.extent > 0.5) & self.anatomy.brain


def volume_ml(random: np.random.Generator, median: float, spread: float, low: float, high: float) -> float:
    """A log-normal volume; `spread` is the deviation of its logarithm."""
    return float(np.clip(median * np.exp(random.normal(0, spread)), low, high))


def choose(random: np.random.Generator, weight: Map, anatomy: Anatomy) -> Point:
    """A point (mm) drawn with probability in proportion to a weight (R, A, S)."""
    cumulated = np.cumsum(np.where(anatomy.brain, weight, 0).ravel(), dtype=np.float64)
    flat = int(np.searchsorted(cumulated, random.random() * cumulated[-1], side="right"))
    index = np.array(np.unravel_index(min(flat, cumulated.size - 1), anatomy.grid.shape))
    return np.asarray(np.asarray(anatomy.grid.origin_mm) + anatomy.grid.spacing_mm * index, np.float64)


def offsets(grid: Grid, point: Point) -> list[Map]:
    """Displacement in mm from a point, along each axis, shaped to broadcast."""
    return [line - np.float32(p) for line, p in zip(axes_mm(grid), point, strict=True)]


def stretched_distance(random: np.random.Generator, grid: Grid, point: Point, stretch: float) -> Map:
    """Distance from a point in an ellipsoid's metric of random orientation; unit determinant."""
    axes, _ = np.linalg.qr(random.standard_normal((3, 3)))
    scale = np.exp(random.normal(0, stretch, 3))
    metric = (axes * (scale / scale.prod() ** (1 / 3))).astype(np.float32)
    dx, dy, dz = offsets(grid, point)
    terms = [dx * metric[0, k] + dy * metric[1, k] + dz * metric[2, k] for k in range(3)]
    return np.asarray(np.sqrt(terms[0] ** 2 + terms[1] ** 2 + terms[2] ** 2), np.float32)


def ovoid_distance(grid: Grid, point: Point, towards: Point, length: float) -> Map:
    """Distance from a point where an ovoid `length` times as long in one direction as across is a ball."""
    direction = towards / max(float(np.linalg.norm(towards)), 1e-6)
    steps = offsets(grid, point)
    along = sum(step * np.float32(d) for step, d in zip(steps, direction, strict=True))
    squared = sum(step**2 for step in steps) - along**2
    return np.asarray(np.sqrt(np.maximum(squared, 0) * length ** (2 / 3) + along**2 / length ** (4 / 3)))


def level_of_volume(field: Map, allowed: NDArray[np.bool_], ml: float, voxel_ml: float) -> float:
    """The level below which `field` covers a volume of the allowed voxels."""
    values = field[allowed]
    count = int(np.clip(round(ml / voxel_ml), 1, values.size - 1))
    return float(np.partition(values, count)[count])


def radius_mm(ml: float) -> float:
    """Radius of the ball of that volume."""
    return float((3000 * ml / (4 * np.pi)) ** (1 / 3))


def mass_effect(anatomy: Anatomy, point: Point, radius: float, share: float) -> Map:
    """Displacement (3, R, A, S) in mm to where tissue came from, when a ball has grown at a point.

    Brain is nearly incompressible: what `share` of the ball's volume has pushed aside keeps its own
    volume, so that r_before^3 = r^3 - share * radius^3 outside. The skull holds the surface in place.
    A negative share draws tissue in, as a scar does.
    """
    steps = offsets(anatomy.grid, point)
    distance = np.maximum(np.sqrt(steps[0] ** 2 + steps[1] ** 2 + steps[2] ** 2), 1e-3)
    moved = share * np.minimum(distance, radius) ** 3
    before = np.cbrt(distance**3 - moved)
    held = np.clip(anatomy.depth_mm / 14.0, 0, 1)
    factor = held * (before / distance - 1)
    return np.stack([factor * step for step in steps]).astype(np.float32)


def _cerebral(anatomy: Anatomy) -> Map:
    """1 in the cerebrum, 0 in cerebellum and brainstem."""
    return np.asarray(1 - np.maximum(anatomy.zones["cerebellum"], anatomy.zones["brainstem"]), np.float32)


def _bulk(field: Map, anatomy: Anatomy, ml: float, where: NDArray[np.bool_], edge_mm: float) -> Map:
    """Soft region of a volume in which a field (mm) is lowest, counted on the voxels of `where`."""
    return soft_step(level_of_volume(field, where, ml, anatomy.grid.voxel_ml) - field, edge_mm)


def make_glioma(random: np.random.Generator, healthy: Anatomy, remake: Remake) -> Lesion:
    """A glioma: a core with necrosis, oedema that spreads along white matter, displaced surroundings."""
    total = volume_ml(random, 45, 0.7, 4, 130)
    core_ml = total * random.uniform(0.15, 0.5)
    weight = healthy.white * _cerebral(healthy) * soft_step(healthy.depth_mm - 12, 6)
    point = choose(random, weight * (healthy.ventricle_mm > 2), healthy)
    anatomy = remake(mass_effect(healthy, point, radius_mm(core_ml), random.uniform(0.25, 0.6)))
    rough, fine = smooth_field(random, anatomy.grid, 12.0), smooth_field(random, anatomy.grid, 6.0)
    distance = stretched_distance(random, anatomy.grid, point, 0.2)
    fluid, solid = anatomy.tissues[0], anatomy.brain & (anatomy.tissues[0] < 0.5)
    core = _bulk(distance + 2.5 * rough + 1.2 * fine, anatomy, core_ml, solid, 3.0) * (1 - fluid)
    dead_ml = core_ml * random.uniform(0.1, 0.6)
    necrosis = core * _bulk(distance + 3 * rough - 2 * fine, anatomy, dead_ml, solid, 2.5)
    # Oedema runs in white matter, spares most of the grey, and seldom crosses to the other hemisphere.
    across = np.maximum(-axes_mm(anatomy.grid)[0] * np.float32(np.sign(point[0])), 0)
    spread = distance * (1.6 - 0.6 * anatomy.white) + 4 * rough + 1.5 * fine + 2.5 * across
    reach = _bulk(spread, anatomy, total, solid & (anatomy.white > 0.5), 6.0)
    grey = anatomy.tissues[1] + anatomy.tissues[2]
    oedema = reach * (1 - core) * (anatomy.white + 0.35 * grey)
    parts = {"necrosis": necrosis, "tumour": core - necrosis, "oedema": 0.9 * oedema}
    return Lesion(anatomy, parts, core + oedema)


def _place(total: Map, part: Map, where: tuple[slice, ...]) -> None:
    """Unite a small map with a large one: fractions overlap as the larger of the two."""
    total[where] = np.maximum(total[where], part)


def _small_blob(
    random: np.random.Generator, anatomy: Anatomy, point: Point, ml: float, towards: Point, rough: Map
) -> tuple[Map, tuple[slice, ...]]:
    """An ovoid of a volume, 1.0 to 1.8 times as long in one direction as across, on a small box."""
    radius = radius_mm(ml)
    margin = 2.2 * radius + 2 * anatomy.grid.spacing_mm
    local, where = crop(anatomy.grid, tuple(point - margin), tuple(point + margin))
    distance = ovoid_distance(local, point, towards, random.uniform(1.0, 1.8))
    blob = soft_step(radius * (1 + 0.25 * rough[where]) - distance, 2.0)
    return blob, where


def _away_from_ventricle(anatomy: Anatomy, point: Point) -> Point:
    """The direction (3,) in which the distance from the ventricles grows fastest."""
    index = np.round((point - anatomy.grid.origin_mm) / anatomy.grid.spacing_mm).astype(int)
    index = index.clip(1, np.array(anatomy.grid.shape) - 2)
    field = anatomy.ventricle_mm
    unit = np.eye(3, dtype=int)
    return np.array([float(field[tuple(index + u)] - field[tuple(index - u)]) for u in unit])


def make_ms(random: np.random.Generator, healthy: Anatomy, remake: Remake) -> Lesion:
    """Multiple sclerosis: ovoid plaques beside the ventricles ("Dawson's fingers") and below the cortex."""
    rough = smooth_field(random, healthy.grid, 4.0)
    white = healthy.white * (1 - healthy.zones["deep"])
    beside = white * (healthy.ventricle_mm > 1) * np.exp(-((healthy.ventricle_mm / 7.0) ** 2))
    below = white * (1 - white) * soft_step(14 - healthy.depth_mm, 6) * _cerebral(healthy)
    rest = white * soft_step(healthy.depth_mm - 8, 4)
    extent, plaque = np.zeros(healthy.grid.shape, np.float32), np.zeros(healthy.grid.shape, np.float32)
    for _ in range(int(np.clip(np.exp(random.normal(2.7, 0.6)), 4, 45))):
        weight = (beside, below, rest)[random.choice(3, p=[0.6, 0.2, 0.2])]
        point = choose(random, weight, healthy)
        ml = volume_ml(random, 0.25, 1.0, 0.03, 6)
        blob, where = _small_blob(random, healthy, point, ml, _away_from_ventricle(healthy, point), rough)
        blob = blob * (1 - healthy.tissues[0][where])
        _place(extent, blob, where)
        _place(plaque, blob * np.float32(random.uniform(0.6, 1.0)), where)
    return Lesion(healthy, {"plaque": plaque}, extent)


def make_wmh(random: np.random.Generator, healthy: Anatomy, remake: Remake) -> Lesion:
    """White-matter hyperintensities of age: symmetric caps and bands, and small deep spots."""
    grid = healthy.grid
    total = volume_ml(random, 10, 0.8, 1, 60)
    own, fine = smooth_field(random, grid, 10.0), smooth_field(random, grid, 5.0)
    rough = (own + own[::-1]) / np.float32(np.sqrt(2)) + 0.5 * fine
    _, anterior, _ = axes_mm(grid)
    horns = np.exp(-(((anterior - 30) / 14) ** 2)) + np.exp(-(((anterior + 48) / 16) ** 2))
    white = healthy.white * (1 - healthy.zones["deep"]) * _cerebral(healthy)
    field = (np.maximum(healthy.ventricle_mm, -2) - 2.2 * rough - 3.5 * horns).astype(np.float32)
    allowed = healthy.brain & (white > 0.5)
    level = level_of_volume(field, allowed, total * random.uniform(0.5, 0.85), grid.voxel_ml)
    extent = soft_step(level - field, 2.5) * white
    weight = white * soft_step(healthy.depth_mm - 9, 4) * (healthy.ventricle_mm > 6)
    for _ in range(int(np.clip(total * random.uniform(0.6, 1.8), 3, 40))):
        point = choose(random, weight, healthy)
        ml = volume_ml(random, 0.1, 0.7, 0.03, 1.5)
        for side in (1.0, -1.0) if random.random() < 0.4 else (1.0,):
            mirrored = point * [side, 1, 1] + random.normal(0, 3, 3) * (side < 0)
            blob, where = _small_blob(random, healthy, mirrored, ml, random.standard_normal(3), fine)
            _place(extent, blob * white[where], where)
    return Lesion(healthy, {"hyperintensity": np.float32(random.uniform(0.7, 1.0)) * extent}, extent)


def wedge(grid: Grid, base: Point, apex: Point) -> Map:
    """A field (mm) that is low in a wedge with its base at the cortex and its tip at the apex."""
    axis = apex - base
    length = float(np.linalg.norm(axis))
    steps = offsets(grid, base)
    along = sum(step * np.float32(a / length) for step, a in zip(steps, axis, strict=True))
    across = np.sqrt(np.maximum(sum(step**2 for step in steps) - along**2, 0))
    depth = along / length
    return np.asarray(
        across / np.clip(1.15 - depth, 0.3, 1.3) + 2 * np.maximum(along - 0.8 * length, 0), np.float32
    )


def _territory(random: np.random.Generator, healthy: Anatomy, ml: float) -> tuple[Map, Point]:
    """Where an artery failed: a field (mm) that grows outwards from there, and the middle of it.

    Small ones are lacunes of the nuclei; large ones lie in the cortex and the white matter below it.
    """
    if ml < 2:
        point = choose(random, np.maximum(healthy.tissues[2], healthy.white * healthy.zones["deep"]), healthy)
        return stretched_distance(random, healthy.grid, point, 0.25), point
    side, _, up = axes_mm(healthy.grid)
    weight = healthy.tissues[1] * _cerebral(healthy) * soft_step(7 - healthy.depth_mm, 3)
    base = choose(random, weight * (np.abs(side) > 14) * soft_step(up + 20, 20), healthy)
    inward = np.array([np.sign(base[0]) * 20, -12, 16])  # the middle of that hemisphere, mm
    apex = base + (inward - base) * random.uniform(0.6, 1.0)
    return wedge(healthy.grid, base, apex), (2 * base + apex) / 3


def make_stroke(random: np.random.Generator, healthy: Anatomy, remake: Remake) -> Lesion:
    """An old stroke: a fluid-filled defect in an artery's territory, or a lacune, with a gliotic rim."""
    ml = volume_ml(random, 14, 1.1, 0.4, 110)
    shape, point = _territory(random, healthy, ml)
    anatomy = remake(mass_effect(healthy, point, radius_mm(ml), -random.uniform(0.1, 0.35)))
    grid = anatomy.grid
    same_side = (axes_mm(grid)[0] * np.sign(point[0])) > -1
    place = _cerebral(anatomy) * soft_step(anatomy.ventricle_mm, 2) * same_side
    size = min(4.0, 0.3 * radius_mm(ml))
    field = shape + size * smooth_field(random, grid, 10.0) + 0.6 * size * smooth_field(random, grid, 5.0)
    level = level_of_volume(field, anatomy.brain & (place > 0.5), ml, grid.voxel_ml)
    inner = level - min(4.0, 0.22 * radius_mm(ml))
    cavity = soft_step(inner - field, 3.0) * place
    rim = (soft_step(level - field, 2.5) * place - cavity).clip(0) * (1 - anatomy.tissues[0])
    strands = np.clip(0.25 * np.abs(smooth_field(random, grid, 5.0)), 0, 0.5) * cavity
    return Lesion(anatomy, {"cavity": cavity - strands, "gliosis": rim + strands}, cavity + rim)


# A region of the first tissue that looks like the second, and how often that is drawn: a heterotopia, a
# cyst, and a cortex that looks like white matter.
DISGUISES = (("WM", "GM", 0.5), ("WM", "CSF", 0.25), ("GM", "WM", 0.25))


def make_mimic(random: np.random.Generator, healthy: Anatomy, remake: Remake) -> Lesion:
    """A region with the intensity of another tissue: only its place tells that it is wrong."""
    host, guest, _ = DISGUISES[random.choice(3, p=[share for _, _, share in DISGUISES])]
    host_map, guest_map = (healthy.tissues[TISSUES.index(name)] for name in (host, guest))
    grid, ml = healthy.grid, volume_ml(random, 3, 0.8, 0.4, 20)
    deep_enough = soft_step(healthy.depth_mm - (8 + radius_mm(ml) if host == "WM" else 4), 4)
    weight = host_map**2 * _cerebral(healthy) * deep_enough * soft_step(healthy.ventricle_mm - 6, 4)
    point = choose(random, weight, healthy)
    rough = 0.25 * radius_mm(ml) * smooth_field(random, grid, 7.0)
    field: Map = stretched_distance(random, healthy.grid, point, 0.25) + rough
    allowed = healthy.brain & (host_map > 0.5)
    island = soft_step(level_of_volume(field, allowed, ml, grid.voxel_ml) - field, 1.5)
    island = island * (host_map + guest_map)
    return Lesion(healthy, {guest: island}, island * (1 - guest_map))


KINDS: Mapping[str, Callable[[np.random.Generator, Anatomy, Remake], Lesion]] = {
    "glioma": make_glioma,
    "ms": make_ms,
    "wmh": make_wmh,
    "stroke": make_stroke,
    "mimic": make_mimic,
}
_STREAM = 50  # of the random numbers of lesions; the anatomy's are lower


def make_lesion(subject: Subject, kind: str, healthy: Anatomy) -> Lesion:
    """A subject's brain with a lesion of a kind."""
    random = subject.random(_STREAM, list(KINDS).index(kind))
    return KINDS[kind](random, healthy, lambda moved: make_anatomy(subject, healthy.grid, moved))
