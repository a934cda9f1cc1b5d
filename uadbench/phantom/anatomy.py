"""Anatomy: what one subject's brain is made of, before any scanner looks at it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadbench.data.space import Grid, resample
from uadbench.phantom import fields, template
from uadbench.phantom.fields import Map, axes_mm, smooth_field, soft_step

TISSUES = ("CSF", "GM", "deep GM", "WM")
YOUNG = 25.0  # years; atrophy counts from here

# Lattice (mm) and deviation (mm) of each level of the deformation, from the shape of the head to the
# course of single gyri. One level folds only where a coefficient exceeds 0.40 of its lattice (Choi & Lee
# 2000); each is clipped well below, and a test holds that their sum does not fold the brain.
DEFORMATION = ((64.0, 3.5), (32.0, 3.0), (16.0, 2.2), (9.0, 1.1))
FOLDING_LIMIT = 0.15
SHARPNESS = np.float32(1.4)  # of the template's tissue borders, which averaging has blurred
OUTSIDE_MM = 6.0  # what lies further outside never blurs into the brain
LOGIT_FLOOR = np.float32(-6.0)  # as good as no fluid


@dataclass(frozen=True)
class Subject:
    """A simulated subject: everything random about it follows from `key`."""

    key: tuple[int, ...]  # seed and number
    age: float  # years
    sex: str  # "F" or "M"

    def random(self, *purpose: int) -> np.random.Generator:
        """A stream of random numbers for one purpose, independent of all others."""
        return np.random.default_rng([*self.key, *purpose])

    @property
    def ageing(self) -> float:
        """0 at 25 years, 1 at 85; brain volume falls faster the older one is (Hedman et al. 2012)."""
        return float(np.clip((self.age - YOUNG) / 60, 0, 1.1) ** 1.5)


@dataclass(frozen=True)
class Anatomy:
    """Tissue fractions of one brain on a grid that fits closely around it; all maps are (R, A, S).

    `tissues` (4, R, A, S) sums to 1 and is in the order of TISSUES; `brain` is the brain mask.
    The further maps say where in the template's brain a voxel lies.
    """

    grid: Grid
    tissues: Map
    brain: NDArray[np.bool_]
    detail: Map  # nuclei and tracts, as T1 shows them
    depth_mm: Map  # below the brain's border
    ventricle_mm: Map  # from the ventricles, negative inside
    zones: Mapping[str, Map]  # deep, cerebellum, brainstem

    @property
    def white(self) -> Map:
        """Fraction of white matter."""
        return np.asarray(self.tissues[TISSUES.index("WM")])


def crop_box(grid: Grid) -> tuple[Grid, tuple[slice, ...]]:
    """The part of a grid that can hold brain: all work is done there."""
    return fields.crop(grid, template.LOW_MM, template.HIGH_MM)


def _growth(subject: Subject) -> NDArray[np.float64]:
    """How much larger than the template a head is along each axis (men's brains are about 10 % larger).

    Smaller than in native space: scans in MNI152 space have been scaled to the template.
    """
    size = 1.0 + (0.012 if subject.sex == "M" else -0.012)
    return np.asarray(size + subject.random(1).normal(0, [0.012, 0.012, 0.015]))


def _ventricle_pull(subject: Subject, grid: Grid) -> list[Map]:
    """Displacement (mm) that widens the ventricles with age: it points at them and fades with distance."""
    wide = float(np.clip(-1.0 + 5.0 * subject.ageing + subject.random(2).normal(0, 0.9), -2.0, 6.5))
    distance = template.load_template().ventricle_mm
    fade = np.exp(-((np.maximum(distance, 0) / 14.0) ** 2)) * soft_step(distance + 3, 6.0)
    slopes = np.gradient(distance, template.COARSE.spacing_mm)
    return [_on(-wide * fade * ndimage.gaussian_filter(slope, 1.0), grid) for slope in slopes]


def _on(coarse: Map, grid: Grid) -> Map:
    """A COARSE map, trilinear on a grid."""
    return resample(np.asarray(coarse, np.float32), template.COARSE, grid)


@lru_cache(maxsize=1)  # a lesion with a mass effect asks for it a second time
def template_position(subject: Subject, grid: Grid) -> Map:
    """Where in the template each voxel of a subject's brain comes from, (3, R, A, S) in mm, read-only."""
    growth, pull = _growth(subject), _ventricle_pull(subject, grid)
    centre = (0.0, -18.0, 8.0)
    position = np.empty((3, *grid.shape), np.float32)
    random = subject.random(3)
    for axis, line in enumerate(axes_mm(grid)):
        position[axis] = (line - centre[axis]) / growth[axis] + centre[axis] + pull[axis]
        for lattice, deviation in DEFORMATION:
            coefficients = random.standard_normal(fields.lattice_shape(lattice), np.float32)
            deviations = deviation / np.float32(np.sqrt(fields.SPLINE_VARIANCE))
            limit = FOLDING_LIMIT * lattice
            moved = (coefficients * deviations).clip(-limit, limit)
            position[axis] += fields.spline_field(moved, grid, lattice)
    position.flags.writeable = False
    return position


def _sheet_distance(random: np.random.Generator, grid: Grid, lattice_mm: float) -> Map:
    """Distance in mm to a winding sheet: the zero crossings of a smooth random field are like sulci."""
    field = smooth_field(random, grid, lattice_mm)
    slopes = np.gradient(field, grid.spacing_mm)
    slope = np.sqrt(slopes[0] ** 2 + slopes[1] ** 2 + slopes[2] ** 2)
    return np.asarray(np.abs(field) / np.maximum(slope, 0.08), np.float32)


def _look_up(position: Map) -> tuple[dict[str, Map], dict[str, Map]]:
    """The template's maps, and its zones, at positions (3, R, A, S) in mm; 0 well outside the brain."""
    source = template.load_template()
    depth = fields.sample(source.depth_mm, template.COARSE, position)
    near = depth > -OUTSIDE_MM
    inside = position[:, near]

    def spread(name: str, lattice: Grid) -> Map:
        whole = np.zeros(depth.shape, np.float32)
        whole[near] = fields.sample(getattr(source, name), lattice, inside)
        return whole

    maps = {name: spread(name, template.FINE) for name in template.FINE_MAPS}
    zones = {name: spread(name, template.COARSE) for name in template.ZONES}
    return maps | {"depth_mm": depth, "ventricle_mm": spread("ventricle_mm", template.COARSE)}, zones


def _tissues(subject: Subject, grid: Grid, maps: Mapping[str, Map], zones: Mapping[str, Map]) -> Map:
    """Tissue fractions (4, R, A, S): the template's, with individual folds and the wear of age.

    Works on log odds against grey matter, so that a little noise moves borders and leaves cores alone.
    """
    age = np.float32(subject.ageing)
    inner = np.maximum(np.maximum(zones["deep"], zones["brainstem"]), zones["cerebellum"])
    depth = maps["depth_mm"]
    folia = 0.7 * zones["cerebellum"] * (1 - zones["brainstem"])
    cortex = (1 - inner + folia) * soft_step(maps["ventricle_mm"] - 8, 5.0)
    # Smaller sulci than the template's reach 15 mm down.
    shallow = (1 - inner) * cortex * soft_step(15 - depth, 8.0)
    noise = smooth_field(subject.random(4), grid, 5.0)
    sheet = _sheet_distance(subject.random(5), grid, 9.0)
    # Fluid: in the template's sulci, in the subject's own, and over the surface of the cortex.
    fold = 8 * (maps["sulcus"] - 0.45 + 0.15 * age) + 1.2 * noise
    own = 6 * np.exp(-(sheet**2)) - 3.5 + age - LOGIT_FLOOR
    fold = np.maximum(fold, LOGIT_FLOOR + shallow * own)
    fold = np.maximum(fold, 2 * (1.2 + 0.9 * age + 0.8 * noise - depth))
    fluid = np.maximum(maps["csf_logit"], LOGIT_FLOOR + cortex * (fold.clip(LOGIT_FLOOR, 6) - LOGIT_FLOOR))
    # White matter: less of it beside the subject's own sulci, more in cerebellum and brainstem than in the
    # average, whose white matter there is too fine to survive averaging but for what T1 shows (`detail`).
    white = maps["wm_logit"] - 3 * shallow * (np.exp(-((sheet / 3.2) ** 2)) - 0.35)
    white += 0.6 * noise * (1 - inner) + 3 * zones["brainstem"]
    white += zones["cerebellum"] * (1.2 + 30 * maps["detail"])
    sharpness, deep = SHARPNESS * (1 - 0.5 * inner), zones["deep"]
    csf, wm = np.exp(sharpness * fluid), np.exp(sharpness * white)
    gm = 1 / (1 + csf + wm)
    return np.stack([csf * gm, gm * (1 - deep), gm * deep, wm * gm]).astype(np.float32)


def make_anatomy(subject: Subject, grid: Grid, displacement_mm: Map | None = None) -> Anatomy:
    """The brain of a subject on a grid, which should be a `crop_box`.

    `displacement_mm` (3, R, A, S) is added to where tissue is taken from: the mass effect of a lesion.
    """
    position = template_position(subject, grid)
    if displacement_mm is not None:
        position = position + displacement_mm
    maps, zones = _look_up(position)
    depth = maps["depth_mm"]
    brain = depth > 0.6 + 0.8 * smooth_field(subject.random(6), grid, 12.0)
    nuclei = np.maximum(np.maximum(zones["deep"], zones["brainstem"]), soft_step(depth - 22, 10.0))
    return Anatomy(
        grid=grid,
        tissues=_tissues(subject, grid, maps, zones),
        brain=brain,
        detail=maps["detail"] * nuclei * (1 - zones["cerebellum"]),
        depth_mm=depth,
        ventricle_mm=maps["ventricle_mm"],
        zones=zones,
    )
