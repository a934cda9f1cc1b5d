"""Cam-CAN: healthy adults over the whole adult life span, BIDS names, full heads."""

import re
from collections.abc import Iterator
from pathlib import Path

from uadbench.data import layout, tables
from uadbench.data.session import LeftOut, Remark, Session

NAME = r"sub-(CC\d+)_(T1w|T2w)"


def sessions(root: Path) -> Iterator[Session | LeftOut | Remark]:
    """One session for each subject."""
    sessions, surplus = layout.by_session(root, NAME, {"t1w": "T1", "t2w": "T2"})
    yield from surplus
    people = tables.people(root, {r"participants\.tsv": tables.Form("participant_id", _person)})
    masks = layout.own_masks(root)
    for (subject,), images in sessions.items():
        yield Session(
            id=f"sub-{subject}",
            cohort="camcan",
            subject=subject,
            images=images,
            healthy=True,
            contrast_masks=layout.own_masks_of(masks, images),
            site="Cambridge",
            age=people[subject].age,
            sex=people[subject].sex,
        )
    yield from people.beside(subject for (subject,) in sessions)


def _person(cell: str) -> str | None:
    """The subject of a cell: "sub-CC110033" or "CC110033"."""
    name = re.fullmatch(r"(?:sub-)?(CC\d+)", cell, re.ASCII | re.IGNORECASE)
    return name[1].upper() if name else None
