"""LGG kaggle_3m: folders of slices as pictures, one folder for each patient."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from uadbench.data import layout, tables
from uadbench.data.session import LeftOut, Remark, Session
from uadbench.preprocessing import stacks

CHANNELS = {"T1": 0, "FLAIR": 1, "T1c": 2}


def sessions(root: Path) -> Iterator[Session | LeftOut | Remark]:
    """Of each patient the whole stack and the lesion-free slices, and what is not used."""
    participants = tables.read_participants(root, {r"data\.csv": TABLE})
    seen: dict[str, Path] = {}
    for folder, name in layout.find_folders(root, r"(TCGA_\w\w_\w{4})_(\d{8})"):
        stem, subject = name[0].upper(), name[1].upper()
        if stem in seen:
            yield LeftOut(f"{folder.parent.name}/{stem}", f"a second copy beside {seen[stem].parent.name}")
            continue
        seen[stem] = folder
        yield from _patient(stem, subject, name[2], folder, participants[subject])
    yield from participants.beside(stem.rpartition("_")[0] for stem in seen)


def _subject_of(cell: str) -> str | None:
    name = re.fullmatch(r"TCGA_\w\w_\w{4}", cell.replace("-", "_"), re.ASCII | re.IGNORECASE)
    return name[0].upper() if name else None


# The table does not say what its numbers mean; see the card.
TABLE = tables.Form("Patient", _subject_of, age=("age_at_initial_pathologic",), codes={"1": "F", "2": "M"})


def _patient(
    stem: str, subject: str, date: str, folder: Path, known: tables.Participant
) -> Iterator[Session | LeftOut]:
    """Everything in one folder."""
    stack, lone = layout.find_slices(folder, stem)
    yield from lone
    if not stack:
        yield LeftOut(stem, f"{folder} has no slice with a mask")
        return
    channels = dict(CHANNELS)
    for contrast, channel in CHANNELS.items():
        if contrast != "FLAIR" and stacks.is_replaced(stack, channel, CHANNELS["FLAIR"]):
            del channels[contrast]
            yield LeftOut(f"{stem} {contrast}", "the sequence is missing and replaced by FLAIR", contrast)
    ill = stacks.holds_lesion(stack)
    whole = Session(
        id=stem,
        cohort="lgg",
        subject=subject,
        label=date,
        images=dict.fromkeys(channels, folder),
        healthy=not ill,
        lesion_mask=folder if ill else None,
        lesion_kind="glioma" if ill else None,
        site=stem.split("_")[1],
        age=known.age,
        sex=known.sex,
        space="pixels",
        stack=tuple(stack),
        channels=channels,
    )
    yield whole
    if ill:
        name = f"{stem}_lesion-free"
        yield replace(whole, id=name, healthy=True, lesion_mask=None, lesion_kind=None, slices="lesion-free")
