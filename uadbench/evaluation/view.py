"""View: one scan's labels and post-processed map, within the box of its evaluated voxels."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from uadbench.data.prepared import Prepared
from uadbench.data.sizes import sizes, template_scale, voxel_size
from uadbench.data.space import Grid
from uadbench.evaluation.components import Lesions
from uadbench.evaluation.postprocess import Profile, drop_components
from uadbench.evaluation.scan_facts import extent


@dataclass(frozen=True)
class View:
    """What is counted of one scan; all volumes are (R, A, S)."""

    grid: Grid  # of the box
    profile: Profile
    scale: float  # how many times larger the scan is on the grid than in the patient's head
    voxel_size: float  # in the patient's own ml, or in pixels
    inside: NDArray[np.bool_]  # the voxels that are evaluated
    lesion: NDArray[np.bool_]  # of these
    ignored: NDArray[np.bool_]
    scores: NDArray[np.float32]  # after the profile's filters; the lowest number outside
    box: tuple[slice, ...]  # within the whole volume

    @classmethod
    def of(cls, prepared: Prepared, profile: Profile, vector: NDArray[np.float32]) -> "View":
        """Of a prepared scan and the scores of its voxels of `extent`, in their order."""
        inside = extent(prepared)
        scores = np.full(inside.shape, np.finfo(np.float32).min, np.float32)
        scores[inside] = vector
        box = _box(inside)
        facts, (right, front, slices) = prepared.facts, scores[box].shape
        grid = replace(prepared.grid, shape=(right, front, slices))
        return cls(
            grid=grid,
            profile=profile,
            scale=template_scale(facts),
            voxel_size=voxel_size(grid, facts),
            inside=np.ascontiguousarray(inside[box]),
            lesion=np.ascontiguousarray((prepared.lesion() & inside)[box]),
            ignored=np.ascontiguousarray(prepared.ignored()[box]),
            scores=np.ascontiguousarray(scores[box]),
            box=box,
        )

    @cached_property
    def lesions(self) -> Lesions:
        """Its lesions, labelled once."""
        return Lesions(self.lesion, self.ignored, self.voxel_size, sizes(self.grid), self.grid.flat)

    @cached_property
    def wanted(self) -> NDArray[np.bool_]:
        """Lesion voxels that are not ignored."""
        return self.lesion & ~self.ignored

    @cached_property
    def counted(self) -> NDArray[np.bool_]:
        """Evaluated voxels that are not ignored."""
        return self.inside & ~self.ignored

    def called(self, threshold: float) -> NDArray[np.bool_]:
        """What the profile leaves of the voxels that reach a threshold, ignored ones among them."""
        above = self.inside & (self.scores >= np.float32(threshold))
        return drop_components(above, self.profile, self.grid, self.scale)


def _box(inside: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The bounding box of a mask, a voxel wider: ignored voxels may lie around it; all where it is empty."""
    if not inside.any():
        return (slice(None),) * 3
    ranges = (np.flatnonzero(inside.any(axis)) for axis in ((1, 2), (0, 2), (0, 1)))
    return tuple(slice(max(0, int(there[0]) - 1), int(there[-1]) + 2) for there in ranges)
