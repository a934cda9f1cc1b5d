"""Session: one subject at one visit to the scanner, as a data set hands it over (BIDS: subject, session)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Slice:
    """The files of one slice of a data set that comes as pictures: all channels, and the labels."""

    image: Path
    mask: Path


@dataclass(frozen=True)
class Implanted:
    """What was asked of the lesions that were put into a healthy scan (protocol, rule 18)."""

    ml: float  # of each of them
    contrast: float | None  # contrast-to-noise; None: the level of grey matter
    # Rows of the (3, 4) matrix scan mm -> MNI152 mm, one after another, of the healthy scan: what was put in
    # moved no anatomy. None: not known, and the scan is registered like any other.
    transform: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Session:
    """Who was scanned, where the files lie, and what is known about them; nothing is read yet.

    `id` is unique within the cohort; the `subject` is the unit of splits and of the bootstrap.
    Masks are files on any grid; which label values count as lesion or as ignored is a fact of the
    data set's card. A lesion session without a lesion mask file cannot be tested on.
    """

    id: str
    cohort: str
    subject: str
    images: Mapping[str, Path]  # contrast ("T1", "T2", "FLAIR", ...) -> NIfTI or Analyze file
    healthy: bool
    label: str = "1"  # of this session among those of the subject
    part: str | None = None  # of the release, as its publishers divided it: "training", "test"
    brain_mask: Path | None = None  # values above 0.5 are brain
    contrast_masks: Mapping[str, Path] = field(default_factory=dict)  # where a contrast has one of its own
    lesion_mask: Path | None = None
    ignore_mask: Path | None = None  # neither hit nor false there; may be the lesion mask's file
    # Values besides 0 that its masks may hold, where they are fewer than the card knows: in releases that
    # share names a number may mean another thing.
    mask_values: tuple[int, ...] = ()
    # The contrast on whose voxels the lesion was outlined. In native space the others may have moved against
    # it, and must be registered to it rigidly before the mask is used on them; None: the mask holds for all.
    mask_contrast: str | None = None
    lesion_kind: str | None = None  # "glioma", "stroke", "ms", "wmh"
    site: str | None = None
    age: float | None = None  # years
    sex: str | None = None  # "F" or "M"
    space: str = "native"  # one of cards.SPACES; anything but "MNI152" is registered
    skull_stripped: bool = False
    orientation: str | None = None  # of files that do not say it themselves (Analyze), such as "LAS"
    # Where the space is "pixels": the slices in their order, from the neck to the crown, and the channel of
    # each contrast in their files; `images` and `lesion_mask` then name the folder.
    stack: tuple[Slice, ...] = ()
    channels: Mapping[str, int] = field(default_factory=dict)
    implanted: Implanted | None = None  # where its lesions were put into a healthy scan
    slices: str = "all"  # or "lesion-free": preparation drops those that hold lesion (regime `within`)

    @property
    def transform(self) -> tuple[float, ...] | None:
        """Rows of the (3, 4) matrix scan mm -> MNI152 mm, where it is known and nothing is registered."""
        if self.space == "MNI152":
            return (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
        return None if self.implanted is None else self.implanted.transform

    def mask_of(self, contrast: str) -> Path | None:
        """The brain mask file that goes with a contrast."""
        return self.contrast_masks.get(contrast, self.brain_mask)


@dataclass(frozen=True)
class LeftOut:
    """Something a data set holds or names that is not used, with the reason in words.

    `contrast`: what is left out is that contrast of a session alone, so that a run on another one does not
    care.
    """

    id: str
    reason: str
    contrast: str | None = None

    def as_dict(self) -> dict[str, str]:
        """Plain data for JSON."""
        return {"id": self.id, "reason": self.reason}


@dataclass(frozen=True)
class Remark:
    """Something worth knowing about what lies under a root; nobody is left out for it."""

    id: str
    reason: str
