"""View: the post-processed map of one scan over its ground."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from uadbench.evaluation.components import Called, call
from uadbench.evaluation.ground import Ground
from uadbench.evaluation.postprocess import Profile, largest_dropped


@dataclass(frozen=True)
class View:
    """What is counted of one scan after a profile's filters."""

    ground: Ground
    profile: Profile
    vector: NDArray[np.float32]  # scores of the evaluated voxels, in the order of `ground.places`
    _reached: dict[float, Called] = field(default_factory=dict, repr=False, compare=False)

    def reached(self, threshold: float) -> Called:
        """What the profile leaves of the voxels that reach a threshold, ignored ones among them."""
        if threshold not in self._reached:
            self._reached[threshold] = self.reaching([threshold])[0]
        return self._reached[threshold]

    def reaching(self, thresholds: "list[float]") -> list[Called]:
        """The same at each of some thresholds, which are not kept."""
        lowest = np.float32(min(thresholds, default=np.inf))
        near = np.flatnonzero(self.vector >= lowest)
        places, scores = self.ground.places[near], self.vector[near]
        return [self._left(places[scores >= np.float32(threshold)]) for threshold in thresholds]

    def _left(self, places: NDArray[np.intp]) -> Called:
        grid = self.ground.grid
        called = call(places, grid.shape, grid.flat)
        return called.without_small(largest_dropped(self.profile, grid, self.ground.scale))

    def called(self, threshold: float) -> NDArray[np.bool_]:
        """The mask (R, A, S) of what is left at a threshold."""
        return self.reached(threshold).mask(self.ground.grid.shape)
