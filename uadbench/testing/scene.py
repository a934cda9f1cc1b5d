"""Scene: the files of a fixture, and a trap that befalls one of its subjects."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from uadbench.testing.heads import Picture

MASKS = ("brain", "lesion")


@dataclass(frozen=True)
class Scene:
    """The files of a fixture, and the subject (by the number of the visit) that a trap befalls."""

    root: Path
    pictures: Sequence[tuple[Picture, Path]]
    tables: Sequence[Path]
    victim: int = 0

    def with_victim(self, number: int) -> "Scene":
        """The scene with a subject to befall."""
        return replace(self, victim=number)

    def of(self, number: int) -> list[tuple[Picture, Path]]:
        """The files of one subject that are still there."""
        return [(p, path) for p, path in self.pictures if p.visit.number == number and path.exists()]

    def images(self, number: int = 0) -> list[Path]:
        """The images of the victim, or of another subject."""
        return [path for picture, path in self.of(number or self.victim) if picture.shows not in MASKS]

    def mask(self, shows: str) -> Path:
        """The victim's brain or lesion mask, the first of several."""
        return next(path for picture, path in self.of(self.victim) if picture.shows == shows)


@dataclass(frozen=True)
class Trap:
    """What is done to a scene, and what the fixture must hold for it."""

    spring: Callable[[Scene], None]
    needs: frozenset[str]  # of "image", "nifti", "free" (not in MNI152), "brain", "lesion", "table"
    says: str


def trap(spring: Callable[[Scene], None], needs: str, says: str) -> Trap:
    """A trap with its needs as words."""
    return Trap(spring, frozenset(needs.split()), says)


def voxel_file(path: Path) -> Path:
    """The file that holds the voxels: the .img of an Analyze pair."""
    return path.with_suffix(".img") if path.suffix == ".hdr" else path
