"""IXI: healthy volunteers; the subject is the IXI number, the site is part of the file name."""

import re
from collections.abc import Iterator
from pathlib import Path

from uadbench.data import layout, tables
from uadbench.data.session import LeftOut, Remark, Session

NAME = r"(IXI\d{3})-(HH|Guys|IOP)-(\d{4})-(T1|T2|PD)"
SITES = {"HH": "HH", "GUYS": "Guys", "IOP": "IOP"}


def sessions(root: Path) -> Iterator[Session | LeftOut | Remark]:
    """One session for each IXI number, and what cannot be told apart or has no image."""
    sessions, surplus = layout.group_by_session(root, NAME, {"t1": "T1", "t2": "T2", "pd": "PD"})
    yield from surplus
    participants = tables.read_participants(root, TABLES)
    masks = layout.find_own_masks(root)
    parcellations = list(layout.find_volumes(root, r"(IXI\d{3}-\w+-\d{4})_T1_DLMUSE"))
    brains = {name[1].upper(): path for path, name in parcellations}  # of the T1: above 0 is brain
    for (subject, site, number), images in sessions.items():
        brain = brains.get(f"{subject}-{site}-{number}")
        yield Session(
            id=f"{subject}-{SITES[site]}-{number}",
            cohort="ixi",
            subject=subject,
            images=images,
            healthy=True,
            contrast_masks=({"T1": brain} if brain and "T1" in images else {})
            | layout.match_own_masks(masks, images),
            site=SITES[site],
            age=participants[subject].age,
            sex=participants[subject].sex,
        )
    yield from participants.beside(subject for subject, *_ in sessions)


def _subject_of(cell: str) -> str | None:
    """The IXI number of a cell: "2", "2.0", "IXI002" or "IXI002-Guys-0828"."""
    name = re.fullmatch(r"(?:IXI)?0*(\d{1,3})(?:\.0+)?(?:-\w+-\d+.*)?", cell, re.ASCII | re.IGNORECASE)
    return f"IXI{int(name[1]):03d}" if name else None


PUBLISHED = tables.Form("IXI_ID", _subject_of, sex=("sex_id", *tables.SEX_COLUMNS))
TABLES = {r"IXI\.(csv|xls|xlsx)": PUBLISHED, r"participants\.csv": tables.Form("MRID", _subject_of)}
