"""Labels: which voxels of a subject's mask files are lesion, and which are neither hit nor false."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uadbench.cards import DatasetCard
from uadbench.errors import SubjectError
from uadbench.grids import Grid
from uadbench.preparation import resampling, scan
from uadbench.preparation.scan import Scan
from uadbench.prepared import IGNORED, LESION
from uadbench.subject import Subject


@dataclass(frozen=True)
class Labels:
    """The values that a data set's label files may have beside 0."""

    lesion: tuple[int, ...]
    ignore: tuple[int, ...]
    other: tuple[int, ...]  # legal, and background

    @classmethod
    def of(cls, card: DatasetCard) -> "Labels":
        """The values that a card states."""
        return cls(card.lesion_labels, card.ignore_labels, card.other_labels)

    def of_subject(self, subject: Subject) -> "Labels":
        """The values that the files of one subject may have: the card's, or those of its release."""
        if not subject.mask_values:
            return self
        kinds = (self.lesion, self.ignore, self.other)
        return Labels(*(tuple(value for value in kind if value in subject.mask_values) for kind in kinds))

    @property
    def known(self) -> tuple[int, ...]:
        """All legal values, with 0, sorted."""
        return tuple(sorted({0, *self.lesion, *self.ignore, *self.other}))

    def unknown(self, labels: Scan) -> list[int]:
        """Values of a label volume that the card does not know."""
        return [int(value) for value in np.unique(labels.array) if value not in self.known]


def of_subject(subject: Subject, labels: Labels) -> tuple[Scan | None, Scan | None]:
    """The lesion and the ignored voxels on the lattices of their own files, as 0 and 1."""
    labels = labels.of_subject(subject)
    lesion = ignored = None
    if subject.lesion_mask is not None:
        lesion = _marked(_read(subject.lesion_mask, labels, subject.orientation), labels.lesion)
    if subject.ignore_mask is not None:
        ignored = _marked(_read(subject.ignore_mask, labels, subject.orientation), labels.ignore)
    return lesion, ignored


def own_ml(lesion: Scan | None) -> float:
    """Volume of a lesion mask as its file has it, in the patient's own millilitres; 0 where there is none."""
    if lesion is None:
        return 0.0
    voxel_mm3 = abs(np.linalg.det(lesion.affine[:3, :3]))
    return float(np.count_nonzero(lesion.array) * voxel_mm3 / 1000)


def on_grid(
    lesion: Scan | None, ignored: Scan | None, transform: NDArray[np.float64], grid: Grid
) -> NDArray[np.uint8] | None:
    """Flags (R, A, S) of prepared.LESION and prepared.IGNORED, by nearest neighbour from each file's lattice.

    `transform` (4, 4) takes the world of the files to MNI152. None where there is neither file.
    """
    if lesion is None and ignored is None:
        return None
    flags = np.zeros(grid.shape, np.uint8)
    for marked, flag in ((lesion, LESION), (ignored, IGNORED)):
        if marked is not None:
            to_file = np.linalg.inv(transform @ marked.affine) @ grid.affine
            flags |= np.uint8(flag) * resampling.nearest(marked.array, to_file, grid.shape)
    return flags


def _read(path: Path, labels: Labels, orientation: str | None) -> Scan:
    """A label file that holds no value but those of the card."""
    found = scan.read_labels(path, orientation)
    unknown = labels.unknown(found)
    if unknown:
        raise SubjectError(
            f"{path} has the labels {unknown}, the data set's card knows {list(labels.known)}: "
            "correct the card, or leave the subject out."
        )
    return found


def _marked(labels: Scan, values: Sequence[int]) -> Scan:
    return Scan(np.isin(labels.array, values).astype(np.uint8), labels.affine)
