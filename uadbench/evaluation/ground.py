"""Ground: what is known of one scan without any map, read once, within the box around its brain."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from uadbench.data.prepared import IGNORED, LESION, Prepared
from uadbench.data.sizes import sizes, template_scale, voxel_size
from uadbench.data.space import Grid
from uadbench.evaluation.components import Lesions
from uadbench.evaluation.postprocess import PROFILES

BRAIN = 4  # beside the bits of labels
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Ground:
    """One scan's masks; all volumes are (R, A, S), and vectors are of the evaluated voxels in their order."""

    grid: Grid  # of the box
    scale: float  # how many times larger the scan is on the grid than in the patient's head
    voxel_size: float  # in the patient's own ml, or in pixels
    brain: Mask
    marked: Mask  # lesion, also on slices that are not evaluated
    ignored: Mask
    inside: Mask  # the voxels that are evaluated
    box: tuple[slice, ...]  # within the whole volume

    @classmethod
    def of(cls, prepared: Prepared) -> "Ground":
        """Of a prepared scan."""
        facts, labels = prepared.facts, prepared.labels
        # (S, R, A), as everything that is stored.
        kinds = (prepared.codes > 0).view(np.uint8) * np.uint8(BRAIN)
        if labels is not None:
            kinds |= labels
        box = _box(kinds & np.uint8(BRAIN | LESION) > 0, prepared.grid)
        kinds = np.ascontiguousarray(kinds.transpose(1, 2, 0)[box])
        brain, marked, ignored = (kinds & np.uint8(bit) > 0 for bit in (BRAIN, LESION, IGNORED))
        grid = replace(prepared.grid, shape=kinds.shape)
        return cls(
            grid=grid,
            scale=template_scale(facts),
            voxel_size=voxel_size(grid, facts),
            brain=brain,
            marked=marked,
            ignored=ignored,
            inside=(brain | marked) & sizes(grid).counted_slices(facts)[box[2]],
            box=box,
        )

    @cached_property
    def lesion(self) -> Mask:
        """Lesion among the evaluated voxels."""
        return self.marked & self.inside

    @cached_property
    def lesions(self) -> Lesions:
        """Its lesions, labelled once."""
        return Lesions(self.lesion, self.ignored, self.voxel_size, sizes(self.grid), self.grid.flat)

    @cached_property
    def wanted(self) -> Mask:
        """Lesion voxels that are not ignored."""
        return self.lesion & ~self.ignored

    @cached_property
    def counted(self) -> Mask:
        """Evaluated voxels that are not ignored."""
        return self.inside & ~self.ignored

    @cached_property
    def places(self) -> NDArray[np.intp]:
        """Flat places of the evaluated voxels, ascending."""
        return np.flatnonzero(self.inside)


def _box(there: Mask, grid: Grid) -> tuple[slice, ...]:
    """The box around a mask (S, R, A) as slices along (R, A, S); all of the volume where it is empty.

    So much wider that a median sees nothing of the mask reflected, and that ignored voxels around it are in.
    Of a stack all slices are in it.
    """
    if not there.any():
        return (slice(None),) * 3
    windows = np.array([profile.median_voxels(grid) for profile in PROFILES.values()])
    margins = np.maximum(1, windows.max(0) // 2).tolist()
    plane: Mask = np.logical_or.reduce(there)
    sides = [np.flatnonzero(side) for side in (plane.any(1), plane.any(0), there.any((1, 2)))]
    if grid.flat:
        sides[2] = np.arange(grid.shape[2])
    return tuple(
        slice(max(0, int(side[0]) - margin), min(int(side[-1]) + margin + 1, size))
        for side, margin, size in zip(sides, margins, grid.shape, strict=True)
    )
