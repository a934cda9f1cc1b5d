"""Post-processing: the named profiles that every method's score map goes through (protocol, rule 9).

A profile filters the map (median), takes voxels out of it (erosion of the brain mask) and, after the
threshold, drops small components. AP, AUROC and every threshold are made from the filtered map; components
are dropped once, from the mask that a frozen threshold gave.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from uadbench.data.space import Grid
from uadbench.evaluation.components import without_small
from uadbench.evaluation.medians import median

LOWEST = np.finfo(np.float32).min  # the score of voxels that are taken out


@dataclass(frozen=True)
class Profile:
    """One way to post-process, in millimetres, so that it means the same on every evaluation grid.

    At 1 mm these are the voxels of the published code. 0 means not at all. Of slices without geometry a mm is
    a pixel, a mm3 a pixel of area, and the median's window a square.

    What is dropped is measured in the patient's own mm3. Erosion and median are in mm of the grid: they take
    out what registration and resampling leave on it, and a window is whole voxels, so that one of the
    patient's own millimetres would differ between people by a whole voxel and more than they do.
    """

    name: str
    erosion_mm: float = 0.0  # brain mask, in the axial plane
    median_mm: float = 0.0  # edge of the cubic window of the median
    component_mm3: float = 0.0  # components of this volume or less are dropped

    def median_voxels(self, grid: Grid) -> tuple[int, int, int]:
        """Edges of the median's window in voxels; 0 or 1: none along this axis.

        Where an edge is no whole number of voxels, the nearest odd one: an even window moves the map by half
        a voxel. Of slices without geometry each is filtered for itself.
        """
        right, front, top = (_whole_voxels(self.median_mm / side) for side in grid.sides_mm)
        return right, front, 1 if grid.flat else top

    def effect(self, grid: Grid) -> tuple[object, ...]:
        """Equal for two profiles that do the same on a grid: on voxels of 2 mm a median of 3 mm is none."""
        reaches = max(_steps(self.erosion_mm, side).size for side in grid.sides_mm[:2]) > 1
        window = tuple(max(1, edge) for edge in self.median_voxels(grid))
        return self.erosion_mm if reaches else 0.0, window, self.component_mm3


def _whole_voxels(edge: float) -> int:
    return int(edge) if edge == int(edge) else 2 * int(edge / 2) + 1


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            Profile("raw"),
            Profile("median3", median_mm=3.0),
            Profile("baur5", erosion_mm=3.0, median_mm=5.0, component_mm3=7.0),
            Profile("dae20", component_mm3=20.0),
            Profile("median4", median_mm=4.0),
        )
    }
)


def find_alike(profiles: Sequence[str], grids: Collection[Grid]) -> dict[str, str]:
    """For each profile the first of them that does the same on all of the grids."""
    effects = {p: frozenset((grid, PROFILES[p].effect(grid)) for grid in grids) for p in profiles}
    firsts = {effects[profile]: profile for profile in reversed(profiles)}
    return {profile: firsts[effects[profile]] for profile in profiles}


def filtered(
    score_map: NDArray[np.float32], brain: NDArray[np.bool_], profile: Profile, grid: Grid
) -> NDArray[np.float32]:
    """The score map (R, A, S) that is measured: LOWEST outside the brain and where erosion took voxels.

    The median sees the lowest score of the brain outside of it: 0 of a residual, as in published code, and
    whatever the scale of the scores nothing that stands out. The erosion masks its result. At the border of
    the volume the median reflects, as scipy does.
    """
    _check_shape(score_map, grid)
    _check_shape(brain, grid)
    kept = eroded(brain, profile.erosion_mm, grid)
    window = profile.median_voxels(grid)
    if max(window) > 1:
        inside = np.where(brain, score_map, np.min(score_map, where=brain, initial=np.float32(np.inf)))
        score_map = median(inside, window, where=kept)
    return np.where(kept, score_map, LOWEST).astype(np.float32)


def eroded(brain: NDArray[np.bool_], distance_mm: float, grid: Grid) -> NDArray[np.bool_]:
    """The brain mask without what lies within a distance of its outside, slice by axial slice.

    Distances are between voxel centres; what lies beyond the volume is outside the brain.
    """
    right, front = (_steps(distance_mm, side) for side in grid.sides_mm[:2])
    if right.size == front.size == 1:
        return brain
    disc = right[:, None] ** 2 + front**2 <= distance_mm**2
    reach, wide, (rights, fronts) = right.size // 2, front.size // 2, brain.shape[:2]
    around = np.pad(brain, [(reach, reach), (wide, wide), (0, 0)])
    thin = around[:, wide : wide + fronts].copy()  # eroded along the second axis, by 0 voxels so far
    kept = np.ones(brain.shape, bool)
    for width in range(wide + 1):
        for shift in {width, -width} - {0}:
            thin &= around[:, wide + shift : wide + shift + fronts]
        for row in np.flatnonzero(disc.sum(1) // 2 == width):
            kept &= thin[row : row + rights]
    return kept


def _steps(distance_mm: float, side_mm: float) -> NDArray[np.float64]:
    """How far the voxel centres within a distance lie away along one axis, mm; 0 among them."""
    reach = int(distance_mm / side_mm)
    return np.asarray(np.arange(-reach, reach + 1) * side_mm, np.float64)


def drop_components(
    binary: NDArray[np.bool_], profile: Profile, grid: Grid, scale: float = 1.0
) -> NDArray[np.bool_]:
    """The mask (R, A, S) without its components of `component_mm3` or less: 26- or, flat, 8-connected.

    `scale` is how many times larger the scan is on the grid than in the patient's head.
    """
    _check_shape(binary, grid)
    dropped = largest_dropped(profile, grid, scale)
    return without_small(binary, dropped, grid.flat) if dropped else binary


def largest_dropped(profile: Profile, grid: Grid, scale: float) -> int:
    """How many voxels the largest component has that `drop_components` drops."""
    voxel = grid.spacing_mm**2 if grid.flat else grid.voxel_mm3
    return int(profile.component_mm3 * scale / voxel)


def _check_shape(volume: NDArray[np.generic], grid: Grid) -> None:
    if volume.shape != grid.shape:
        raise ValueError(f"Expected a volume {grid.shape} on the grid {grid.name}, got {volume.shape}.")
