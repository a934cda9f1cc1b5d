"""Labels: which voxels of a session's mask files are lesion, and which are neither hit nor false."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.cards import DatasetCard
from uadbench.data.prepared import IGNORED, LESION
from uadbench.data.session import Session
from uadbench.data.space import Grid
from uadbench.preprocessing import resampling, scan
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import SubjectError


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

    def of_session(self, session: Session) -> "Labels":
        """The values that the files of one session may have: the card's, or those of its release."""
        if not session.mask_values:
            return self
        kinds = (self.lesion, self.ignore, self.other)
        return Labels(*(tuple(value for value in kind if value in session.mask_values) for kind in kinds))

    @property
    def known(self) -> tuple[int, ...]:
        """All legal values, with 0, sorted."""
        return tuple(sorted({0, *self.lesion, *self.ignore, *self.other}))

    def unknown(self, values: NDArray[Any]) -> list[int]:
        """Those of the values of a label file that the card does not know."""
        return [int(value) for value in values if value not in self.known]

    def binary(self, values: NDArray[Any]) -> int | None:
        """The value that stands for lesion where the card has another for it, and the file but two: 0 and it.

        Only where the card knows one lesion label and nothing else; None else.
        """
        if len(self.lesion) != 1 or self.ignore or self.other or len(values) != 2 or 0 not in values:
            return None
        value = int(values[values != 0][0])
        return None if value in self.known else value


def read_lesion(session: Session, labels: Labels) -> tuple[Scan | None, Scan | None]:
    """The lesion and the ignored voxels on the lattices of their own files, as 0 and 1."""
    labels = labels.of_session(session)
    lesion = ignored = None
    if session.lesion_mask is not None:
        lesion = mark_values(
            read_label_file(session.lesion_mask, labels, session.orientation)[0], labels.lesion
        )
    if session.ignore_mask is not None:
        ignored = mark_values(
            read_label_file(session.ignore_mask, labels, session.orientation)[0], labels.ignore
        )
    return lesion, ignored


def measure_ml(lesion: Scan | None) -> float:
    """Volume of a lesion mask as its file has it, in the patient's own millilitres; 0 where there is none."""
    if lesion is None:
        return 0.0
    voxel_mm3 = abs(np.linalg.det(lesion.affine[:3, :3]))
    return float(np.count_nonzero(lesion.array) * voxel_mm3 / 1000)


def put_on_grid(
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
            flags |= np.uint8(flag) * resampling.sample_nearest(marked.array, to_file, grid.shape)
    return flags


def read_label_file(path: Path, labels: Labels, orientation: str | None = None) -> tuple[Scan, int | None]:
    """A label file that holds no value but those of the card; and the value that was read as the card's.

    A plainly binary mask, such as one of 0 and 255, is taken as what it is: see `Labels.binary`.
    """
    found = scan.read_labels(path, orientation)
    values = np.unique(found.array)
    unknown = labels.unknown(values)
    if not unknown:
        return found, None
    binary = labels.binary(values)
    if binary is None:
        raise SubjectError(
            f"{path} has the labels {unknown}, the data set's card lists {list(labels.known)}: "
            "correct the card, or leave the session out."
        )
    return Scan((found.array == binary).astype(np.int32) * labels.lesion[0], found.affine), binary


def mark_values(labels: Scan, values: Sequence[int]) -> Scan:
    """Where a label volume has one of the values, as 0 and 1."""
    return Scan(np.isin(labels.array, values).astype(np.uint8), labels.affine)
