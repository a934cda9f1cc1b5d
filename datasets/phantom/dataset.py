"""Phantom: synthetic brain MRI, generated where it is needed, in a BIDS-like layout."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from uadbench import phantom
from uadbench.data import tables
from uadbench.data.session import LeftOut, Remark, Session
from uadbench.system.progress import Progress


def generate(
    root: Path,
    progress: Progress,
    healthy: int | None = None,
    lesions_per_kind: int = phantom.LESIONS_PER_KIND,
) -> None:
    """Write the whole set under `root`; subjects whose files are all there stay as they are.

    Without a number of `healthy` members it is that of the environment, else the usual one, and so is the
    seed from which everyone is drawn.
    """
    if healthy is None:
        healthy = int(os.environ.get(phantom.HEALTHY_VARIABLE, phantom.HEALTHY))
    seed = int(os.environ.get(phantom.SEED_VARIABLE, phantom.SEED))
    phantom.write_cohort(root, phantom.make_members(healthy, lesions_per_kind, seed), progress)


def sessions(root: Path) -> Iterator[Session | LeftOut | Remark]:
    """Every participant of the table, and every folder that the table does not name."""
    participants = tables.read_participants(root, {r"participants\.tsv": TABLE})
    for name, subject in participants.by_id.items():
        yield _subject(root, name, subject)
    for folder in sorted(root.glob("sub-*")) if participants.tables else []:
        if folder.name not in participants.by_id:
            yield LeftOut(folder.name, "not named in participants.tsv")
    yield from participants.remarks


def _subject(root: Path, name: str, subject: tables.Participant) -> Session | LeftOut:
    """One participant, or what is missing of it."""
    said = {(row.get("group"), row.get("lesion_kind"), row.get("site")) for row in subject.rows}
    group, kind, site = next(iter(said))
    if len(said) > 1 or group not in ("healthy", "lesion"):
        return LeftOut(name, "whether it is healthy participants.tsv does not say, or in two ways")
    healthy = group == "healthy"
    files = phantom.list_files(root, name, lesion=not healthy)
    images = {contrast: files[contrast] for contrast in phantom.CONTRASTS if files[contrast].is_file()}
    masks = [files[mask] for mask in ("brain", "lesion") if mask in files]
    if not images:
        return LeftOut(name, "named in participants.tsv, but has no image")
    absent = [mask.name for mask in masks if not mask.is_file()]
    if absent:
        return LeftOut(name, f"lacks {', '.join(absent)}")
    return Session(
        id=name,
        cohort="phantom",
        subject=name,
        images=images,
        healthy=healthy,
        brain_mask=files["brain"],
        lesion_mask=files.get("lesion"),
        lesion_kind=None if healthy else kind,
        site=site,
        age=subject.age,
        sex=subject.sex,
        space="MNI152",
        skull_stripped=True,
    )


def _participant(cell: str) -> str | None:
    return cell if re.fullmatch(r"sub-\w+", cell, re.ASCII) else None


TABLE = tables.Form("participant_id", _participant, needs=("group", "lesion_kind", "site"))
