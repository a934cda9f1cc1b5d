"""Own: sessions of somebody's own folder, from volumes that say whose they are and what they show.

How a folder says that is the matter of `plain` and `bids`. Here is what both have in common: a subject with
a lesion mask is a patient, one who is said to be healthy is healthy, and any other is left out.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from uadbench.cards import DatasetCard
from uadbench.data import layout, tables
from uadbench.data.session import LeftOut, Remark, Session

IMAGE, LESION, BRAIN = "image", "lesion", "brain"  # what a volume shows
UNTOLD = "its name does not say the contrast (as _T1 or _FLAIR would)"


@dataclass(frozen=True)
class Volume:
    """A volume, and what its place and its name say of it."""

    path: Path
    shows: str  # IMAGE, LESION or BRAIN; the two masks may be named after a contrast or not
    subject: str
    session: str = ""  # "": nothing says which
    contrast: str | None = None
    healthy: bool | None = None  # whether its subject is said to be; None: nothing says it
    space: str | None = None  # where it is said to be in another one than the card's

    @property
    def who(self) -> tuple[str, str]:
        """Subject and session in lower case: names that differ in case only are of one subject."""
        return self.subject.lower(), self.session.lower()


def make_sessions(
    root: Path, items: Iterable[Volume | LeftOut | Remark], card: DatasetCard
) -> Iterator[Session | LeftOut | Remark]:
    """One session for each subject and visit, and what cannot be used, with the reason.

    Where no name says a contrast, all images show the card's, if it has but one.
    """
    by_kind: dict[str, dict[tuple[str, str], list[Volume]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        if isinstance(item, Volume):
            by_kind[item.shows][item.who].append(item)
        else:
            yield item
    images, lesions, brains = (by_kind[kind] for kind in (IMAGE, LESION, BRAIN))
    told = any(volume.contrast for found in images.values() for volume in found)
    only = None if told or len(card.contrasts) > 1 else card.contrasts[0]
    table = read_table(root)
    for who, found in images.items():
        yield from _make(Files(root, found, lesions[who], brains[who]), card, table, only)
    for kind, masks in (("lesion", lesions), ("brain", brains)):
        if lone := [_below(one.path, root) for who in masks.keys() - images.keys() for one in masks[who]]:
            yield LeftOut(f"{kind} masks without an image", layout.count_names(sorted(lone)))
    yield from table.beside(key_of(found[0].subject) for found in images.values())


@dataclass(frozen=True)
class Files:
    """The volumes of one subject and visit."""

    root: Path
    images: Sequence[Volume]
    lesions: Sequence[Volume]
    brains: Sequence[Volume]

    @property
    def name(self) -> str:
        """Of the session."""
        first = self.images[0]
        return first.subject + (f"_ses-{first.session}" if first.session else "")

    def fault(self, all_healthy: bool) -> str | None:
        """Why the subject cannot be used, if so; `all_healthy` holds for those of whom nothing is said."""
        said = {True if all_healthy and one.healthy is None else one.healthy for one in self.images}
        mask = _below(self.lesions[0].path, self.root) if self.lesions else ""
        if len(said) > 1:
            return "is said to be healthy and to have lesions: rename one where they are two people"
        if self.lesions and True in said:
            return f"is said to be healthy and has a lesion mask ({mask}): one of both is wrong"
        if not self.lesions and False in said:
            return layout.NO_MASK
        if not self.lesions and None in said:
            return f"{layout.NO_MASK}, and nothing says that the subject is healthy"
        return None

    def pick(self, only: str | None) -> tuple[dict[str, Path], list[LeftOut]]:
        """The image of each contrast, and those that are not used."""
        images: dict[str, Path] = {}
        surplus = []
        for volume in self.images:
            contrast, place = volume.contrast or only, _below(volume.path, self.root)
            if contrast is None:
                surplus.append(LeftOut(place, UNTOLD))
            elif (first := images.setdefault(contrast, volume.path)) != volume.path:
                reason = f"a second {contrast} beside {_below(first, self.root)}"
                surplus.append(LeftOut(place, reason, contrast))
        for volume in self.lesions[1:]:
            reason = f"a second lesion mask beside {_below(self.lesions[0].path, self.root)}"
            surplus.append(LeftOut(_below(volume.path, self.root), reason))
        return images, surplus


def _make(
    files: Files, card: DatasetCard, table: tables.Participants, only: str | None
) -> Iterator[Session | LeftOut]:
    """The session that some files make, and those of them that are not used."""
    if fault := files.fault(card.role == "healthy"):
        yield LeftOut(files.name, fault)
        return
    images, surplus = files.pick(only)
    yield from surplus
    if not images:
        return
    first, known = files.images[0], table[key_of(files.images[0].subject)]
    mask = files.lesions[0] if files.lesions else None
    brains = {one.contrast: one.path for one in reversed(files.brains)}
    yield Session(
        id=files.name,
        cohort=card.name,
        subject=first.subject,
        label=first.session or "1",
        images=images,
        healthy=mask is None,
        brain_mask=brains.get(None),
        contrast_masks={shown: path for shown, path in brains.items() if shown in images and shown},
        lesion_mask=mask.path if mask else None,
        mask_contrast=mask.contrast if mask and mask.contrast in images else None,
        lesion_kind=say(known, KIND_COLUMNS) if mask else None,
        site=say(known, SITE_COLUMNS),
        age=known.age,
        sex=known.sex,
        space=first.space or card.space,
        skull_stripped=card.skull_stripped,
    )


def _below(path: Path, root: Path) -> str:
    return str(path.relative_to(root))


# ---- what a table says of the subjects ---------------------------------------------------------

TABLE = r"participants\.(tsv|csv|txt|xlsx?)"
ID_COLUMNS = ("participant_id", "subject", "subject_id", "patient", "patient_id", "id")
SITE_COLUMNS = ("site", "center", "centre", "hospital", "scanner")
KIND_COLUMNS = ("lesion_kind", "diagnosis", "pathology", "disease")


def read_table(root: Path) -> tables.Participants:
    """The subjects of the `participants` table, by `key_of` their ids; the first of ID_COLUMNS has them."""
    return tables.read_participants(root, {TABLE: tables.Form(ID_COLUMNS, key_of)})


def key_of(subject: str) -> str:
    """By what a subject's names agree: `sub-007`, `007` and the 7 that a spreadsheet makes of it."""
    plain = subject.lower().removeprefix("sub-")
    return plain.lstrip("0") or "0" if plain.isdigit() else plain


def say(known: tables.Participant, columns: Sequence[str]) -> str | None:
    """What the rows of a subject say in the first of some columns that is there; None where they differ."""
    for column in columns:
        said = {row[column] for row in known.rows if row.get(column, "").lower() not in tables.SILENT}
        if said:
            return said.pop() if len(said) == 1 else None
    return None
