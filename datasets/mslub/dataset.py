"""MSLUB: the official folders, and the four kinds of copies of the public re-pack."""

from collections.abc import Iterator
from pathlib import Path

from uadbench import layout
from uadbench.subject import LeftOut, Subject

# One copy of a patient is used, the first of these: fewest interpolations first. MNI copies have been
# resampled more often and stripped more tightly; raw ones are last, because the lesions were outlined on
# the co-registered scans.
COPIES = ("official", "coregistered", "coregistered_resampled", "mni", "raw")
CONTRASTS = {"T1": r"T1W?", "T1post": r"T1WKS|T1POST", "T2": r"T2W?", "FLAIR": r"FLAIR"}
ENDING = r"(_N4_.*_regtoMNI)?\.nii(\.gz)?"


def subjects(root: Path) -> Iterator[Subject | LeftOut]:
    """One subject for each patient, and the copies and patients that are not used."""
    copies: dict[str, dict[str, Path]] = {}
    for folder, name in layout.folders(root, r"patient(\d+)"):
        inside = [part.lower() for part in folder.relative_to(root.absolute().parent).parts[:-1]]
        copy = next((part for part in reversed(inside) if part in COPIES), "official")
        if "longitudinal" in inside:
            yield LeftOut(f"longitudinal {folder.name}", "its gt is the change of lesions, not the lesions")
        else:
            copies.setdefault(f"patient{int(name[1]):02d}", {}).setdefault(copy, folder)
    table = layout.one(root, r"participants\.csv")
    people = layout.table(table, "participant_id") if table else {}
    for patient, found in sorted(copies.items()):
        copy = min(found, key=COPIES.index)
        yield _subject(patient, found[copy], copy, people.get(patient, [{}])[0])


def _subject(patient: str, folder: Path, copy: str, row: layout.Row) -> Subject | LeftOut:
    """One patient from one folder, or what it lacks."""

    def file(names: str) -> Path | None:
        return layout.one(folder, rf"({folder.name}_)?({names}){ENDING}")

    images = {contrast: path for contrast, names in CONTRASTS.items() if (path := file(names))}
    lesion, brain = file("consensus_gt|GOLD_STANDARD"), file("brainmask")
    if not images or lesion is None:
        return LeftOut(patient, f"{folder} has no {'consensus mask' if images else 'image'}")
    return Subject(
        id=patient,
        cohort="mslub",
        person=patient,
        images=images,
        healthy=False,
        brain_mask=brain,
        lesion_mask=lesion,
        lesion_kind="ms",
        site="Ljubljana",
        age=layout.number(row.get("age")),
        sex=row.get("sex") or None,
        space="native" if copy == "raw" else "co-registered",
        skull_stripped=copy == "mni",
    )
