"""Plain: a folder of scans that is in nobody's format, read by folders and names.

healthy/ lesion/     images, right there or in a folder for each subject (and in that, for each session)
masks/               lesion masks, named like the image or the subject
brains/              brain masks, likewise, of as many images as have one
participants.tsv     ages, sexes, sites, kinds of lesion (.csv and .xlsx too)
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from uadbench.data import layout
from uadbench.data.own import BRAIN, IMAGE, LESION, Volume
from uadbench.data.suffixes import volume_stem

HEALTHY, ILL, MASKS, BRAINS = "healthy", "lesion", "masks", "brains"
FOLDERS = {one: one for one in (HEALTHY, ILL, MASKS, BRAINS)}
FOLDERS |= {"lesions": ILL, "mask": MASKS, "brain": BRAINS}
# A part of a name in lower case -> the contrast that it states.
CONTRASTS = dict.fromkeys(["t1", "t1w", "t1n", "mprage"], "T1") | dict.fromkeys(["t2", "t2w"], "T2")
CONTRASTS |= dict.fromkeys(["t1c", "t1ce", "t1gd", "t1post", "t1wks", "t1wce"], "T1c")
CONTRASTS |= dict.fromkeys(["flair", "t2f", "t2flair"], "FLAIR") | dict.fromkeys(["pd", "pdw"], "PD")
CONTRASTS |= dict.fromkeys(["t2star", "t2starw", "t2s"], "T2star")
CONTRASTS |= {"dwi": "DWI", "adc": "ADC", "swi": "SWI"}
# Parts of names that say what a file shows, and do not belong to a subject's name.
OF_LESIONS = {"seg", "dseg", "segmentation", "lesion", "lesions", "label", "labels", "roi", "gt", "truth"}
OF_LESIONS |= {"tumor", "tumour"}
OF_BRAINS, OF_MASKS = {"brain", "brainmask"}, {"mask", "masks", "brainmask"}
OF_IMAGES = {"image", "img", "scan", "stripped", "bet"}
SILENT_FOLDERS = {"anat"}  # say neither who nor when
BETWEEN = r"[_\-. +]+"  # parts of a name


def is_plain(root: Path) -> bool:
    """Whether a folder has one of healthy/ and lesion/."""
    return any(path.is_dir() and FOLDERS.get(path.name.lower()) in (HEALTHY, ILL) for path in root.iterdir())


def read_volumes(root: Path) -> list[Volume]:
    """Every volume in the four folders, which may be spelled in any case."""
    found = []
    for path, _ in layout.find_volumes(root, ".+"):
        top, *below = path.relative_to(root).parts[:-1] or ("",)
        if top.lower() in FOLDERS:
            found.append(read_name(path, FOLDERS[top.lower()], below))
    return _join_masks(found)


def read_name(path: Path, folder: str, below: Sequence[str] = ()) -> Volume:
    """What a volume is, by one of the FOLDERS, the folders `below` that one, and its own name.

    A folder of a subject says who it is; else the name does, less contrast and words such as `mask`.
    """
    stem = volume_stem(path) or path.name
    parts = [part.lower() for part in re.split(BETWEEN, stem)]
    told = [part for part in (*map(str.lower, below), *parts) if part in CONTRASTS]
    whose = [part for part in below if part.lower() not in SILENT_FOLDERS | CONTRASTS.keys()]
    session = re.search(rf"(?:^|{BETWEEN})ses-([A-Za-z0-9]+)", stem)
    named = _without(
        stem.replace(session[0], "", 1) if session else stem, {*CONTRASTS, *OF_MASKS, *OF_IMAGES}
    )
    later = "_".join(part.removeprefix("ses-") for part in whose[1:])
    return Volume(
        path=path,
        shows=_show(folder, set(parts), bool(told)),
        subject=whose[0] if whose else _without(named, OF_LESIONS | OF_BRAINS) or stem,
        session=later or (session[1] if session else ""),
        contrast=CONTRASTS[told[-1]] if told else None,
        healthy=folder == HEALTHY if folder in (HEALTHY, ILL) else None,
    )


def _show(folder: str, parts: set[str], contrast_told: bool) -> str:
    """What a volume shows. Beside the images, `brain` alone is a mask only where no contrast is named."""
    if folder in (MASKS, BRAINS):
        return LESION if folder == MASKS else BRAIN
    if parts & OF_BRAINS and (parts & OF_MASKS or not contrast_told):
        return BRAIN
    return LESION if parts & (OF_LESIONS | OF_MASKS) else IMAGE


def _without(name: str, words: Iterable[str]) -> str:
    """A name without some of its parts, in either case; what separates the others stays."""
    some = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
    cut = re.sub(rf"(?:^|{BETWEEN})(?:{some})(?={BETWEEN}|$)", "", name, flags=re.IGNORECASE)
    return re.sub(rf"^{BETWEEN}|{BETWEEN}$", "", cut)


def _join_masks(volumes: Sequence[Volume]) -> list[Volume]:
    """The volumes, with masks that are named a little otherwise under the name of their image.

    A mask that has a subject's name keeps it. Another one belongs to the image whose file's or subject's name
    it begins with (`pat1_gt2` to `pat1`), else to the only one whose name begins with its own (`case7` to
    `case7_0000`).
    """
    images = [volume for volume in volumes if volume.shows == IMAGE]
    there = {image.who for image in images}

    def joined(mask: Volume) -> Volume:
        stem = _stem(mask)
        longer = [one for one in images if _begins(stem, _stem(one)) or _begins(stem, one.subject.lower())]
        shorter = {one.who: one for one in images if _begins(_stem(one), mask.subject.lower())}
        fitting = sorted(longer, key=lambda one: len(one.subject)) or [*shorter.values()]
        if (not longer and len(fitting) > 1) or not fitting:
            return mask
        return replace(mask, subject=fitting[-1].subject, session=fitting[-1].session)

    return [one if one.shows == IMAGE or one.who in there else joined(one) for one in volumes]


def _stem(volume: Volume) -> str:
    return (volume_stem(volume.path) or "").lower()


def _begins(name: str, beginning: str) -> bool:
    """Whether a name is another one, or goes on after it with neither letter nor digit."""
    return re.match(rf"{re.escape(beginning)}([^0-9a-z]|$)", name) is not None
