"""Phantom: synthetic brain MRI that the program makes itself, in a BIDS-like layout."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from uadbench import phantom
from uadbench.progress import Progress
from uadbench.subject import LeftOut, Subject


def generate(
    root: Path,
    progress: Progress,
    healthy: int | None = None,
    lesions_per_kind: int = phantom.LESIONS_PER_KIND,
) -> None:
    """Write the whole set under `root`; subjects whose files are all there stay as they are.

    Without a number of `healthy` members it is that of the environment, else that of the card.
    """
    if healthy is None:
        healthy = int(os.environ.get(phantom.HEALTHY_VARIABLE, phantom.HEALTHY))
    phantom.write_cohort(root, phantom.members(healthy, lesions_per_kind), progress)


def subjects(root: Path) -> Iterator[Subject | LeftOut]:
    """Every participant of the table, and every folder that the table does not name."""
    table = root / "participants.tsv"
    if not table.is_file():
        return
    with open(table, encoding="utf-8", newline="") as opened:
        rows = {row["participant_id"]: row for row in csv.DictReader(opened, delimiter="\t")}
    for name, row in rows.items():
        yield _subject(root, name, row)
    for folder in sorted(root.glob("sub-*")):
        if folder.name not in rows:
            yield LeftOut(folder.name, "not named in participants.tsv")


def _subject(root: Path, name: str, row: dict[str, str]) -> Subject | LeftOut:
    """One participant, or what is missing of it."""
    healthy = row["group"] == "healthy"
    files = phantom.paths(root, name, lesion=not healthy)
    images = {contrast: files[contrast] for contrast in phantom.CONTRASTS if files[contrast].is_file()}
    masks = [files[mask] for mask in ("brain", "lesion") if mask in files]
    if not images:
        return LeftOut(name, "named in participants.tsv, but has no image")
    absent = [mask.name for mask in masks if not mask.is_file()]
    if absent:
        return LeftOut(name, f"lacks {', '.join(absent)}")
    return Subject(
        id=name,
        cohort="phantom",
        person=name,
        images=images,
        healthy=healthy,
        brain_mask=files["brain"],
        lesion_mask=files.get("lesion"),
        lesion_kind=None if healthy else row["lesion_kind"],
        site=row["site"],
        age=float(row["age"]),
        sex=row["sex"],
        space="MNI152",
        skull_stripped=True,
    )
