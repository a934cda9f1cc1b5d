"""Cam-CAN: healthy adults over the whole adult life span, BIDS names, full heads."""

import re
from collections.abc import Iterator
from pathlib import Path

from uadbench.data import layout, tables
from uadbench.data.session import LeftOut, Remark, Session

NAME = r"sub-(CC\d+)_(T1w|T2w)"


def sessions(root: Path) -> Iterator[Session | LeftOut | Remark]:
    """One session for each subject."""
    sessions, surplus = layout.group_by_session(root, NAME, {"t1w": "T1", "t2w": "T2"})
    yield from surplus
    participants = tables.read_participants(
        root, {r"participants\.tsv": tables.Form("participant_id", _subject_of)}
    )
    masks = layout.find_own_masks(root)
    for (subject,), images in sessions.items():
        yield Session(
            id=f"sub-{subject}",
            cohort="camcan",
            subject=subject,
            images=images,
            healthy=True,
            contrast_masks=layout.match_own_masks(masks, images),
            site="Cambridge",
            age=participants[subject].age,
            sex=participants[subject].sex,
        )
    yield from participants.beside(subject for (subject,) in sessions)


def _subject_of(cell: str) -> str | None:
    """The subject of a cell: "sub-CC110033" or "CC110033"."""
    name = re.fullmatch(r"(?:sub-)?(CC\d+)", cell, re.ASCII | re.IGNORECASE)
    return name[1].upper() if name else None
