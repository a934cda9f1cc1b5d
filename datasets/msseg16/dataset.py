"""MSSEG 2016: multiple sclerosis, four centres, five contrasts, consensus of seven experts."""

from collections.abc import Iterator
from pathlib import Path

from uadbench.data import layout
from uadbench.data.session import LeftOut, Session

OTHERS = {
    "MSSEG-2 (2021)": (r"flair_time0[12]_on_middle_space", "its masks show new lesions, not the lesions"),
}
CONTRASTS = {"FLAIR": "FLAIR", "T1": "T1", "T1c": "GADO", "T2": "T2", "PD": "DP"}


def sessions(root: Path) -> Iterator[Session | LeftOut]:
    """One session for each patient with pre-processed scans and a consensus mask."""
    yield from layout.find_foreign(root, OTHERS)
    for folder, name in layout.find_folders(root, r"Patient_(\w+)"):
        above = [part.capitalize() for part in folder.absolute().parts[-3:-1]]
        part = above[0] if above[0] in ("Training", "Testing") else ""
        centre = above[1] if above[1].startswith("Center_") else ""
        # Whether numbers repeat between the parts and the centres is not known: all of it is the id.
        whole = "_".join(filter(None, [part, centre, f"Patient_{name[1]}"]))
        yield _subject(whole, centre or None, part.lower() or None, folder)


def _subject(name: str, centre: str | None, part: str | None, folder: Path) -> Session | LeftOut:
    """One patient, or what the folder lacks."""
    inside = {path.name.lower(): path for path in folder.iterdir()}
    scans = inside.get("preprocessed_data", folder / "Preprocessed_Data")
    masks = inside.get("masks", folder / "Masks")
    files = {c: layout.find_volume(scans, rf"{n}_preprocessed") for c, n in CONTRASTS.items()}
    images = {contrast: path for contrast, path in files.items() if path}
    lesion = layout.find_volume(masks, "Consensus")
    if not images:
        bare = "has no pre-processed scan, and the masks belong to these"
        return LeftOut(name, layout.explain_lack(folder, bare, ".*_preprocessed"))
    if lesion is None:
        return LeftOut(name, f"{layout.NO_MASK} (Consensus.nii.gz)")
    return Session(
        id=name,
        cohort="msseg16",
        subject=name,
        images=images,
        healthy=False,
        brain_mask=layout.find_volume(masks, "Brain_Mask"),
        lesion_mask=lesion,
        part=part,
        lesion_kind="ms",
        site=centre,
        space="co-registered",
        skull_stripped=True,
    )
