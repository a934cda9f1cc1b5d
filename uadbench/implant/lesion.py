"""Lesion: one lesion in one scan, with the contrast-to-noise that was asked for.

Contrast-to-noise is (mean of the lesion's core - mean around it) / standard deviation around it, all over
voxels that are white matter in the source scan and with the values that the file of the implanted scan holds.
The core is where the full offset was added; around it is what lies further from the lesion mask than half
the edge and at most `AROUND_MM`. Before, both are alike to 10 % of what is asked, so that the offset over the
noise is that, too. A constant is added, so that noise, texture and bias field stay; over
the edge, which is `edge_mm` wide and centred on the border of the mask, it falls to 0 linearly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadbench.implant.order import Order
from uadbench.implant.shapes import KINDS, Field, Kind, RealShape, draw_field, grow
from uadbench.implant.tissue import Tissue
from uadbench.phantom.fields import Map
from uadbench.phantom.lesions import radius_mm
from uadbench.preprocessing import resampling
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import SubjectError

AROUND_MM = 15.0
APART_MM = 10.0  # between two lesions of one scan
FEWEST_CORE, FEWEST_AROUND = 3, 100  # voxels that contrast-to-noise is measured on
CORE_SHARE = 0.25  # of the core that must be white matter
TOLERANCE = 0.1  # of what was asked: of the contrast-to-noise, and of the offset over the noise
PLACES = 100  # that are tried


@dataclass(frozen=True)
class Host:
    """A healthy scan that lesions are put into; arrays are (R, A, S)."""

    name: str
    image: Scan  # as stored, without the file's slope and intercept
    brain: NDArray[np.bool_]
    tissue: Tissue
    to_template: NDArray[np.float64]  # (4, 4), scan mm -> MNI152 mm
    sign: int  # of the slope: -1 where larger numbers are stored for darker voxels

    @cached_property
    def limits(self) -> tuple[float, float]:
        """Between which a lesion's values must be: what the type holds, and nothing darker than the scan."""
        array = self.image.array
        kind = np.iinfo(array.dtype) if array.dtype.kind in "iu" else np.finfo(array.dtype)
        low, high = float(kind.min), float(kind.max)
        return (float(array.min()), high) if self.sign > 0 else (low, float(array.max()))


@dataclass(frozen=True)
class Region:
    """Where a lesion is, before anything is added; boolean maps are (R, A, S)."""

    mask: NDArray[np.bool_]
    strength: Map  # share of the offset: 1 in the core, 0 from half the edge outside the mask on
    edge_mm: float
    core: NDArray[np.bool_]  # white matter of full strength
    around: NDArray[np.bool_]  # white matter around it
    shape: str

    def measure(self, values: NDArray[Any]) -> tuple[float, float, float]:
        """Means of core and surroundings, and the standard deviation of the latter."""
        core, around = (values[where].astype(np.float64) for where in (self.core, self.around))
        return float(core.mean()), float(around.mean()), float(around.std(ddof=1))

    def contrast(self, values: NDArray[Any]) -> float:
        """Contrast-to-noise of an image (R, A, S)."""
        core, around, noise = self.measure(values)
        return (core - around) / noise


@dataclass(frozen=True)
class Implant:
    """One scan with its lesions: `values` (R, A, S) as stored, and for each lesion what was measured."""

    contrast: float | None  # asked; None: the level of grey matter
    values: NDArray[Any]
    regions: tuple[Region, ...]
    offsets: tuple[float, ...]  # of stored values
    noises: tuple[float, ...]  # standard deviations around them, of stored values
    measured: tuple[float, ...]


def implant(
    host: Host, order: Order, ml: float, shapes: Sequence[RealShape], seed: Sequence[int]
) -> list[Implant]:
    """The scan with lesions of one of the order's sizes, at the same places at every contrast.

    SubjectError where no place will do: for want of room or of even tissue, because values would leave the
    file's range, or because what was measured strays more than 10 % from what was asked.
    """
    _check_size(host, ml)
    kind, regions = KINDS[order.kind], list[Region]()
    made = [Implant(one, host.image.array, (), (), (), ()) for one in order.contrasts or (None,)]
    for number in range(order.per_scan):
        random, why = np.random.default_rng([*seed, number]), "the brain has no room for it"
        taken = _near(regions, host)
        for start in _starts(host, kind, random, ml, taken):
            region = _region(host, order, ml, shapes, random, start, taken)
            if region is None:
                continue
            tried = [_add(host, one, region, [*seed, number]) for one in made]
            good = [one for one in tried if isinstance(one, Implant)]
            if len(good) == len(tried):
                made = good
                regions.append(region)
                break
            why = next(one for one in tried if isinstance(one, str))
        else:
            raise SubjectError(f"no place for a lesion of {ml:g} ml was found in {PLACES} trials: {why}")
    return made


def _check_size(host: Host, ml: float) -> None:
    """SubjectError where whole voxels cannot make up a size to 10 %, or are too few to be measured."""
    voxel_ml = host.image.voxel_ml
    count = round(ml / voxel_ml)
    if count < FEWEST_CORE or abs(count * voxel_ml - ml) > TOLERANCE * ml:
        raise SubjectError(
            f"voxels of {voxel_ml:.3g} ml cannot make up a lesion of {ml:g} ml to {TOLERANCE:.0%}: "
            f"ask for {5 * voxel_ml:.2g} ml or more"
        )


def _near(regions: Sequence[Region], host: Host) -> NDArray[np.bool_]:
    """Voxels too close to lesions that are there already."""
    if not regions:
        return np.zeros(host.brain.shape, bool)
    there = np.any([one.mask for one in regions], axis=0)
    return np.asarray(ndimage.distance_transform_edt(~there, sampling=host.image.spacing_mm) < APART_MM)


def _starts(
    host: Host, kind: Kind, random: np.random.Generator, ml: float, taken: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Voxels (n, 3) of white matter to begin at, drawn by the kind's weight."""
    tissue = host.tissue
    where = np.argwhere(tissue.white_matter & ~taken)
    weight = kind.weight(tissue, radius_mm(ml))[tuple(where.T)].astype(np.float64).clip(0)
    if not weight.sum():
        return where[:0]
    return np.asarray(where[random.choice(len(where), PLACES, p=weight / weight.sum())])


def _region(
    host: Host,
    order: Order,
    ml: float,
    shapes: Sequence[RealShape],
    random: np.random.Generator,
    start: NDArray[np.int64],
    taken: NDArray[np.bool_],
) -> Region | None:
    """A lesion that begins at a voxel; None where it does not fit."""
    tissue, image, kind = host.tissue, host.image, KINDS[order.kind]
    point = image.affine[:3, :3] @ start + image.affine[:3, 3]
    towards = tissue.away_from_ventricle(point)
    if shapes:
        chosen = shapes[int(random.integers(len(shapes)))]
        field, name = chosen.field(ml), chosen.name
    else:
        field, name = draw_field(kind, random, ml, towards), "drawn"
    where = tissue.white_matter if kind.in_white else tissue.parenchyma
    inside = where & ~taken & (tissue.depth_mm > order.edge_mm / 2 + image.spacing_mm.max() / 2)
    mask = _grown(host, field, inside, start, ml)
    if mask is None:
        return None
    strength, edge_mm = soften(mask, image.spacing_mm, order.edge_mm)
    box = _box_around(mask, AROUND_MM, image.spacing_mm)
    outside = ndimage.distance_transform_edt(~mask[box], sampling=image.spacing_mm)
    around = np.zeros_like(mask)
    around[box] = (tissue.white_matter & (strength == 0) & ~taken)[box] & (outside <= AROUND_MM)
    full = mask & (strength == 1)
    core = full & tissue.white_matter
    if core.sum() < max(FEWEST_CORE, CORE_SHARE * full.sum()) or around.sum() < FEWEST_AROUND:
        return None
    return Region(mask, strength, edge_mm, core, around, name)


def _grown(
    host: Host, field: Field, allowed: NDArray[np.bool_], start: NDArray[np.int64], ml: float
) -> NDArray[np.bool_] | None:
    """A region of a volume, to half a voxel, that a field gives its shape; worked out in a box around it."""
    image = host.image
    count = round(ml / image.voxel_ml)
    reach = np.ceil((4 * radius_mm(ml) + 10) / image.spacing_mm).astype(int)
    low = np.maximum(start - reach, 0)
    box = tuple(slice(a, b) for a, b in zip(low, start + reach + 1, strict=True))
    inside = allowed[box]
    steps = np.argwhere(inside) + low - start
    values = np.full(inside.shape, np.inf, np.float32)
    values[inside] = field((image.affine[:3, :3] @ steps.T).astype(np.float32))
    grown = grow(values, inside, start - low, count)
    if grown is None:
        return None
    mask = np.zeros(allowed.shape, bool)
    mask[box] = grown
    return mask


def soften(mask: NDArray[np.bool_], spacing_mm: NDArray[np.float64], edge_mm: float) -> tuple[Map, float]:
    """The share (R, A, S) of the offset that each voxel gets, and how wide the edge is (mm).

    1 within the mask, 0 outside, linear over the edge, in the middle of which the border of the mask is: half
    way between a voxel of the mask and its neighbour. In a lesion that is thinner than the edge, the edge is
    as narrow as it must be for one voxel to have the full share.
    """
    box = _box_around(mask, edge_mm, spacing_mm)
    cut = np.pad(mask[box], 1)
    inside, outside = (ndimage.distance_transform_edt(one, sampling=spacing_mm) for one in (cut, ~cut))
    half = spacing_mm.min() / 2
    signed = np.where(cut, inside - half, half - outside)[1:-1, 1:-1, 1:-1]
    width = min(edge_mm, 2 * float(signed.max()))
    share = np.zeros(mask.shape, np.float32)
    share[box] = np.clip(0.5 + signed / width, 0, 1)
    return share, width


def _box_around(mask: NDArray[np.bool_], mm: float, spacing_mm: NDArray[np.float64]) -> tuple[slice, ...]:
    """The box of the voxels of a mask (there is one at least), larger by so many mm on every side."""
    margins = np.ceil(mm / spacing_mm).astype(int) + 1
    sides = zip(resampling.bounding_box(mask), margins, strict=True)
    return tuple(slice(max(side.start - margin, 0), side.stop + margin) for side, margin in sides)


def _add(host: Host, one: Implant, region: Region, seed: Sequence[int]) -> Implant | str:
    """The scan with one more lesion, or why it cannot be."""
    core, around, noise = region.measure(host.image.array)
    asked = one.contrast
    if asked is None:
        asked = host.sign * float((host.tissue.grey - host.tissue.white)[region.core].mean()) / noise
    offset = host.sign * asked * noise + around - core
    if abs(around - core) > TOLERANCE * abs(asked * noise):
        return f"the tissue there differs from what is around it by {(core - around) / noise:.3g} as it is"
    changed = region.strength > 0
    added = one.values[changed].astype(np.float64) + offset * region.strength[changed]
    if one.values.dtype.kind in "iu":
        # Rounded up or down at random, so that the mean is right however small the offset.
        added = np.rint(added + np.random.default_rng([*seed, 1]).random(added.shape) - 0.5)
    low, high = host.limits
    if added.min() < low or added.max() > high:
        reach = f"{added.min():.4g} to {added.max():.4g}"
        return f"the file can hold values from {low:g} to {high:g}, and the lesion needs {reach}"
    values = one.values.copy()
    values[changed] = added
    measured = host.sign * region.contrast(values)
    if abs(measured - asked) > TOLERANCE * abs(asked):
        return f"contrast-to-noise came out as {measured:.3g} where {asked:.3g} was asked"
    return Implant(
        contrast=one.contrast,
        values=values,
        regions=(*one.regions, region),
        offsets=(*one.offsets, offset),
        noises=(*one.noises, noise),
        measured=(*one.measured, measured),
    )
