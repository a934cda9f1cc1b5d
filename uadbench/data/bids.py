"""BIDS: a data set in the Brain Imaging Data Structure, raw or derivatives, known by its names.

The names are read by ancpbids. What it does not see it is given: which files there are, so that it neither
walks in circles through links nor loads the pickle that it would look for in the folder.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import msgspec

from uadbench.data import layout, own, tables
from uadbench.data.own import BRAIN, IMAGE, LESION, Volume
from uadbench.data.plain import CONTRASTS
from uadbench.data.session import LeftOut, Remark
from uadbench.data.suffixes import volume_stem
from uadbench.system.errors import UserError
from uadbench.system.files import open_file

DESCRIPTION = "dataset_description.json"
DERIVATIVES = "derivatives"
PASSED_OVER = {"sourcedata", "code", "stimuli", "phenotype"}  # folders at the top that hold no scans to use
MASKS = {"mask", "msk", "roi", "dseg", "seg"}  # suffixes
OF_LESION = re.compile(
    r"lesion|tumou?r|stroke|infarct|wmh|wml|glioma|metasta|fcd|abnormal|anomal|patholog|^l$|^ms$",
    re.IGNORECASE,
)
OF_BRAIN = re.compile(r"^brain(mask)?$", re.IGNORECASE)
NATIVE = {"orig", "native", "individual", "scanner"}  # spaces that are those of the images
# A cell of one of the columns that says that the subject is healthy; any other cell says that it is not.
GROUP_COLUMNS = ("group", "diagnosis", "dx", "diag", "status", "cohort", "participant_group")
HEALTHY = re.compile(
    r"(healthy|normal|neurotypical)([ _-]*(controls?|volunteers?|subjects?|participants?))?"
    r"|controls?|volunteers?|hc|nc|hv|cn|ctrl|ctl|con|ctr|nor|td",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Name:
    """A volume by its name: `entities` such as sub, ses, ce, space, label, desc; the suffix, such as T1w."""

    path: Path
    entities: Mapping[str, str]
    suffix: str
    derived: bool  # under derivatives/

    @property
    def subject(self) -> str:
        """As its folder is called."""
        return f"sub-{self.entities['sub']}"

    @property
    def space(self) -> str | None:
        """Of a template or a contrast; None where it is that of the scanner."""
        space = self.entities.get("space")
        return None if space is None or space.lower() in NATIVE else space

    @property
    def contrast(self) -> str | None:
        """What its suffix shows."""
        found = CONTRASTS.get(self.suffix.lower())
        return "T1c" if found == "T1" and "ce" in self.entities else found

    @property
    def says(self) -> list[str]:
        """What label and description state."""
        return [self.entities[key] for key in ("label", "desc") if key in self.entities]


def is_bids(root: Path) -> bool:
    """Whether a folder has a description of a BIDS data set, or folders of subjects as BIDS names them."""
    return (root / DESCRIPTION).exists() or any(path.is_dir() for path in root.glob("sub-*"))


def read_volumes(root: Path) -> list[Volume | LeftOut | Remark]:
    """The images of each subject and session, one for each contrast where names allow, and the masks.

    A raw image goes before derived ones, an image where the scanner put it before one in a template's space,
    and then the one with the fewest entities; masks in another space than the image are of no use.
    """
    notes: list[Volume | LeftOut | Remark] = list(_check_description(root))
    found = list(read_names(root))
    names = [item for item in found if isinstance(item, Name)]
    notes += [item for item in found if isinstance(item, LeftOut)]
    images = _choose_images(root, [name for name in names if name.contrast], notes)
    healthy = read_groups(root)
    chosen: list[Volume] = [
        Volume(
            path=image.path,
            shows=IMAGE,
            subject=image.subject,
            session=image.entities.get("ses", ""),
            contrast=image.contrast,
            healthy=healthy.get(own.key_of(image.subject)),
            space="MNI152" if (image.space or "").startswith("MNI152") else None,
        )
        for image in images
    ]
    spaces = {(image.subject, image.space) for image in images}
    masks = [name for name in names if name.suffix.lower() in MASKS]
    for mask in masks:
        read = _read_mask(root, mask, spaces)
        if read is not None:
            notes.append(_join_session(read, chosen) if isinstance(read, Volume) else read)
    return [*chosen, *notes]


def read_names(root: Path) -> Iterator[Name | LeftOut]:
    """Every volume of a subject, by its name; one whose name is none of BIDS is left out."""
    import ancpbids  # late: it takes a while, and what holds no BIDS does without

    volumes = {}
    for path in layout.walk_tree(root).files:
        below = path.relative_to(root)
        if below.parts[0] not in PASSED_OVER and volume_stem(path) and "sub-" in str(below):
            volumes[below.as_posix()] = path
    options = ancpbids.DatasetOptions(ignore_pickle_file=True)
    try:
        found = ancpbids.load_dataset(str(root), options, paths=list(volumes))
        artifacts = {
            one.get_relative_path(): one
            for one in cast(list[Any], found.query())
            if hasattr(one, "get_entities")  # else a file whose name is none of BIDS
        }
    except Exception as error:  # of a library that was written for valid data sets
        raise UserError(
            f"{root} cannot be read as BIDS ({type(error).__name__}: {error}): the BIDS validator "
            "(https://bids-validator.readthedocs.io) says what is wrong with it."
        ) from error
    for place, path in volumes.items():
        yield _name(place, path, artifacts.get(place))


def _name(place: str, path: Path, artifact: Any) -> Name | LeftOut:
    """A volume by what the reader makes of its name, or why it cannot be used."""
    keys = re.findall(r"(?:^|_)([A-Za-z0-9]+)-", path.name)
    entities = {} if artifact is None else {k: str(v) for k, v in artifact.get_entities().items()}
    if not entities.get("sub") or len(keys) > len(set(keys)):
        return LeftOut(place, "is not named as BIDS demands: sub-<label>, further <key>-<label>, the suffix")
    folder = next((part for part in Path(place).parts[:-1] if part.startswith("sub-")), None)
    if folder not in (None, f"sub-{entities['sub']}"):
        return LeftOut(place, f"is named after another subject than its folder, {folder}")
    return Name(path, entities, str(artifact.suffix), place.startswith(f"{DERIVATIVES}/"))


def _choose_images(root: Path, images: Sequence[Name], notes: list[Volume | LeftOut | Remark]) -> list[Name]:
    """One image for each subject, session and contrast; raw ones that are not chosen are noted."""
    alike: dict[tuple[str, ...], list[Name]] = defaultdict(list)
    for name in images:
        alike[name.subject, name.entities.get("ses", ""), name.contrast or ""].append(name)
    chosen = []
    for found in alike.values():
        first, *others = sorted(
            found, key=lambda name: (name.derived, name.space is not None, len(name.entities), name.path)
        )
        chosen.append(first)
        for other in others:
            if not other.derived:
                reason = f"a second {first.contrast} beside {first.path.relative_to(root)}"
                notes.append(LeftOut(str(other.path.relative_to(root)), reason, first.contrast))
    return chosen


def _read_mask(root: Path, mask: Name, spaces: set[tuple[str, str | None]]) -> Volume | LeftOut | None:
    """A mask of lesions or of the brain; None where it is of something else, such as tissue."""
    place = str(mask.path.relative_to(root))
    brain = any(OF_BRAIN.search(said) for said in mask.says)
    lesion = not brain and any(OF_LESION.search(said) for said in mask.says)
    if not brain and not lesion:
        if mask.says:
            return None
        if mask.suffix.lower() in ("dseg", "seg") and not OF_LESION.search(place):
            return LeftOut(place, "does not say that its labels are lesions: name it with label-lesion")
    drawn_on = CONTRASTS.get((mask.space or "").lower())
    if mask.space is not None and drawn_on is None and (mask.subject, mask.space) not in spaces:
        return LeftOut(place, f"a mask in the space {mask.space}, in which no image is used")
    if mask.space is None and (mask.subject, None) not in spaces:
        return LeftOut(place, "a mask in the space of the scanner, in which no image is used")
    return Volume(
        path=mask.path,
        shows=BRAIN if brain else LESION,
        subject=mask.subject,
        session=mask.entities.get("ses", ""),
        contrast=drawn_on,
    )


def _join_session(mask: Volume, images: Sequence[Volume]) -> Volume:
    """A mask that names no session belongs to the only one of its subject."""
    sessions = {image.session for image in images if image.subject == mask.subject}
    return replace(mask, session=sessions.pop()) if not mask.session and len(sessions) == 1 else mask


def read_groups(root: Path) -> dict[str, bool]:
    """Whether a subject is healthy, by `own.key_of`, where the participants table says it in words."""
    said = {key: own.say(known, GROUP_COLUMNS) for key, known in own.read_table(root).by_id.items()}
    return {
        key: bool(HEALTHY.fullmatch(group))
        for key, group in said.items()
        if group and tables.parse_number(group) is None
    }


def _check_description(root: Path) -> Iterator[Remark]:
    """Refuse a description that is none; say that there is none."""
    path = root / DESCRIPTION
    if not path.is_file():
        yield Remark(DESCRIPTION, "is missing: the data set is read by its names all the same")
        return
    try:
        with open_file(path) as opened:
            content = msgspec.json.decode(opened.read(), type=dict[str, Any])
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}): correct it, or remove it.") from error
    if not isinstance(content.get("BIDSVersion", ""), str):
        raise UserError(
            f'{path} expects text as BIDSVersion, such as "1.10.0", got {content["BIDSVersion"]}.'
        )
