"""Pairing: which map, lesion mask and brain mask belong to one scan, by the names of their files.

BIDS names pair by subject and session (`sub-`, `ses-`), whatever else they say. Other names pair by what is
left of them without their last words, where these say what a file holds (`_anomaly`, `_mask`, `-seg`). A name
that says nothing else is that of the folder. No file is ever taken for another scan's because it is the last
one left.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uadbench.data import layout
from uadbench.data.suffixes import volume_stem
from uadbench.experiment.elsewhere.asked import Arrays, Entry, MapsConfig, Source
from uadbench.system.errors import UserError

# Last words of a file's name that say what it holds, not whose it is.
WORDS = frozenset(
    """
    anomaly anomalies anomap map maps scoremap score scores heatmap residual error pred preds prediction
    predictions output result probability prob probseg mask masks lesion lesions lesionmask seg segmentation
    dseg label labels gt truth groundtruth reference ref consensus roi tumor tumour wmh brain brainmask bet
    ignore ignored t1 t1w t1c t1n t1ce t2 t2w t2f flair pd dwi adc
    """.split()  # noqa: SIM905  # a list of words is read as words
)
ENTITY = re.compile(r"(?:^|_)(sub|ses)-([A-Za-z0-9+]+)")
PART = re.compile(r"[_\-. ]+")


def key_of(path: Path, root: Path) -> str:
    """Whose file this is: what is equal in the names of all files of one scan."""
    stem = volume_stem(path) or path.name
    entities = dict(ENTITY.findall(stem))
    if "sub" in entities:
        return "_".join(f"{name}-{entities[name]}" for name in ("sub", "ses") if name in entities)
    parts = PART.split(stem)
    while parts and parts[-1].lower() in WORDS:
        stem = stem[: len(stem) - len(parts.pop())].rstrip("_-. ")
        parts = PART.split(stem) if stem else []
    return stem or "_".join(path.relative_to(root).parts[:-1]) or (volume_stem(path) or path.name)


def subject_of(key: str) -> tuple[str, str]:
    """Subject and session that a key names; where it is no BIDS name, the key and "1"."""
    entities = dict(ENTITY.findall(key))
    return (f"sub-{entities['sub']}", entities.get("ses", "1")) if "sub" in entities else (key, "1")


def find_by_key(folder: Path, option: str) -> dict[str, Path]:
    """The volumes below a folder by key; a folder without any, and two files of one scan, are errors."""
    if not folder.is_dir():
        raise UserError(f"{option} {folder} is not a folder with NIfTI files.")
    found: dict[str, Path] = {}
    for path, _ in layout.find_volumes(folder, ".*"):
        key = key_of(path, folder)
        if key in found:
            raise UserError(
                f"{found[key]} and {path} could both be the file of {key}: keep one of them in {folder}, or "
                "name the files in a table (docs/how-to/maps.md)."
            )
        found[key] = path
    if not found:
        raise UserError(f"{option} {folder} holds no file that ends in .nii or .nii.gz.")
    return found


def volumes_by_key(given: Path | Arrays | None, option: str) -> Mapping[str, Source]:
    """What was given for one part of the scans, by key."""
    if given is None:
        return {}
    if isinstance(given, Path):
        return find_by_key(given, option)
    if not given:
        raise UserError(f"{option} holds no array: expected one for each scan, by its id.")
    return {str(name): array for name, array in given.items()}


@dataclass(frozen=True)
class Paired:
    """The scans, and the files that belong to none of them, each with where it was found."""

    entries: tuple[Entry, ...]
    unmatched: tuple[tuple[str, str], ...] = ()


def pair_files(asked: MapsConfig) -> Paired:
    """Every scan of one's own: those that have a lesion mask, and the healthy ones of `healthy` and `val`.

    A lesion mask without a map is an entry without a map; a map without a lesion mask is unmatched.
    """
    if asked.truth is None:
        raise UserError(
            "Maps need something to be held against: --truth names a folder of lesion masks, --dataset a "
            "data set of the benchmark."
        )
    maps, truths = volumes_by_key(asked.maps, "MAPS"), volumes_by_key(asked.truth, "--truth")
    brains, ignored = volumes_by_key(asked.brain, "--brain"), volumes_by_key(asked.ignore, "--ignore")

    def entry(key: str, partition: str, found: Source | None) -> Entry:
        subject, session = subject_of(key)
        return Entry(
            id=key, map=found, partition=partition, truth=truths.get(key), brain=brains.get(key),
            ignore=ignored.get(key), subject=subject, session=session,
        )  # fmt: skip

    entries = [entry(key, "lesion-test", maps.get(key)) for key in truths]
    unmatched = [(key, "a map without a lesion mask") for key in maps if key not in truths]
    for partition, given, option in (
        ("healthy-test", asked.healthy, "--healthy"),
        ("healthy-val", asked.val, "--val"),
    ):
        entries += [entry(key, partition, found) for key, found in volumes_by_key(given, option).items()]
    known = {one.id for one in entries}
    for words, there in (("a brain mask", brains), ("an ignore mask", ignored)):
        unmatched += [(key, f"{words} without a map") for key in there if key not in known]
    check_ids(entries)
    return Paired(tuple(sorted(entries, key=lambda one: one.id)), tuple(unmatched))


def check_ids(entries: list[Entry]) -> None:
    """Stop where one id is that of two scans, or one subject is healthy and a patient."""
    seen: dict[str, Any] = {}
    for one in entries:
        if one.id in seen:
            raise UserError(
                f"{one.id} is in {seen[one.id]} and again in {one.partition}: every scan is in one "
                "partition, under a name of its own."
            )
        seen[one.id] = one.partition
    stages: dict[str, str] = {}
    for one in entries:
        first = stages.setdefault(one.person, one.partition)
        if first != one.partition:
            raise UserError(
                f"The subject {one.person} is in {first} and in {one.partition}: a subject may be in one "
                "partition only."
            )
