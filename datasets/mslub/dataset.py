"""MSLUB: the official folders, and the four kinds of copies of the public re-pack."""

import re
from collections.abc import Iterator
from pathlib import Path

from uadbench.data import layout, tables
from uadbench.data.session import LeftOut, Remark, Session

# One copy of a patient is used, the first of these: fewest interpolations first. MNI copies have been
# resampled more often and stripped more tightly; raw ones are last, because the lesions were outlined on
# the co-registered scans.
COPIES = ("official", "coregistered", "coregistered_resampled", "mni", "raw")
CONTRASTS = {"T1": r"T1W?", "T1c": r"T1WKS|T1POST", "T2": r"T2W?", "FLAIR": r"FLAIR"}
ENDING = r"(_N4_.*_regtoMNI)?"


def sessions(root: Path) -> Iterator[Session | LeftOut | Remark]:
    """One session for each patient, and the copies and patients that are not used."""
    copies: dict[str, dict[str, Path]] = {}
    for folder, name in layout.find_folders(root, r"patient(\d+)"):
        inside = [part.lower() for part in folder.relative_to(root.absolute().parent).parts[:-1]]
        copy = next((part for part in reversed(inside) if part in COPIES), "official")
        if "longitudinal" in inside:
            yield LeftOut(f"longitudinal {folder.name}", "its gt is the change of lesions, not the lesions")
            continue
        patient = f"patient{int(name[1]):02d}"
        first = copies.setdefault(patient, {}).setdefault(copy, folder)
        if first != folder:
            yield LeftOut(str(folder.relative_to(root.absolute())), f"a second copy of {patient}")
    participants = tables.read_participants(
        root, {r"participants\.(csv|tsv)": tables.Form("participant_id", _patient)}
    )
    for patient, found in sorted(copies.items()):
        copy = min(found, key=COPIES.index)
        yield _subject(patient, found[copy], copy, participants[patient])
    yield from participants.beside(copies)


def _patient(cell: str) -> str | None:
    name = re.fullmatch(r"(?:patient)?(\d{1,4})(?:\.0+)?", cell, re.ASCII | re.IGNORECASE)
    return f"patient{int(name[1]):02d}" if name else None


def _subject(patient: str, folder: Path, copy: str, subject: tables.Participant) -> Session | LeftOut:
    """One patient from one folder, or what it lacks."""

    def pattern(names: str) -> str:
        return rf"({re.escape(folder.name)}_)?({names}){ENDING}"

    files = {contrast: layout.find_volume(folder, pattern(names)) for contrast, names in CONTRASTS.items()}
    images = {contrast: path for contrast, path in files.items() if path}
    if not images:
        every = pattern("|".join(CONTRASTS.values()))
        return LeftOut(patient, layout.explain_lack(folder, "has no image", every))
    lesion = layout.find_volume(folder, pattern("consensus_gt|GOLD_STANDARD"))
    if lesion is None:
        return LeftOut(patient, f"{layout.NO_MASK} (consensus_gt or GOLD_STANDARD)")
    return Session(
        id=patient,
        cohort="mslub",
        subject=patient,
        images=images,
        healthy=False,
        brain_mask=layout.find_volume(folder, pattern("brainmask")),
        lesion_mask=lesion,
        lesion_kind="ms",
        site="Ljubljana",
        age=subject.age,
        sex=subject.sex,
        space="native" if copy == "raw" else "co-registered",
        skull_stripped=copy == "mni",
    )
