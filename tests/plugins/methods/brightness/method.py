"""Brightness: the smallest method there can be."""

from dataclasses import dataclass
from typing import Self

from uadbench.data.volumes import Volume, Volumes
from uadbench.methods import Context, Method, Score, score_option


@dataclass
class Brightness(Method):
    """The score of a voxel is its intensity, up to a sign."""

    sign: float = score_option(1.0, "1: bright is anomalous, -1: dark", choices=(1.0, -1.0))

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """There is nothing to learn."""
        return self

    def score(self, volume: Volume) -> Score:
        """The first channel."""
        return Score(self.sign * volume.image[0])


ENTRY = Brightness
