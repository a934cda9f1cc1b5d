"""BraTS 2013, as distributed with DeepMedic: z-scored images, brain mask, expert labels."""

from collections.abc import Iterator
from pathlib import Path

from uadbench.data import layout
from uadbench.data.session import LeftOut, Session

CONTRASTS = {"FLAIR": "Flair", "T1c": "T1c"}  # contrast -> how the file names begin


def sessions(root: Path) -> Iterator[Session | LeftOut]:
    """One session for each folder, the subject being the patient's number."""
    for folder, name in layout.find_folders(root, r"brats_2013_(pat\d{4})_(\d+)"):
        files = {c: layout.find_volume(folder, rf"{n}_subtrMeanDivStd") for c, n in CONTRASTS.items()}
        images = {contrast: path for contrast, path in files.items() if path}
        lesion = layout.find_volume(folder, "OTMultiClass")
        if not images or lesion is None:
            reason = f"{layout.NO_MASK} (label file OTMultiClass)"
            bare = layout.explain_lack(folder, "has no image", ".*_subtrMeanDivStd")
            yield LeftOut(folder.name, reason if images else bare)
            continue
        yield Session(
            id=f"{name[1].lower()}_{name[2]}",
            cohort="brats13",
            subject=name[1].lower(),
            label=name[2],
            images=images,
            healthy=False,
            brain_mask=layout.find_volume(folder, "brainmask"),
            lesion_mask=lesion,
            lesion_kind="glioma",
            space="SRI24",
            skull_stripped=True,
        )
