"""ATLAS R2.0: chronic stroke on T1, MNI152, full heads; the public test part has no masks."""

from collections.abc import Iterator
from pathlib import Path

from uadbench.data import layout
from uadbench.data.session import LeftOut, Session

SPACE = "space-MNI152NLin2009aSym"
NAME = rf"sub-(r\d+s\d+)_ses-(\d+)_{SPACE}_(T1w)"
OTHERS = {
    "ATLAS 3": (
        r".*space-orig_(desc-brain_T1w|label-lesion_desc-T1lesion_mask)",
        "native space, stripped",
    ),
    "ATLAS R1": (r".*_t1w(_deface)?_stx|.*_LesionSmooth(_\d+)?_stx", "another release, by other experts"),
}


def sessions(root: Path) -> Iterator[Session | LeftOut]:
    """One session for each scan with a lesion mask beside it."""
    sessions, surplus = layout.group_by_session(root, NAME, {"t1w": "T1"})
    yield from [*surplus, *layout.find_foreign(root, OTHERS)]
    masks = layout.find_own_masks(root)
    for (subject, label), images in sessions.items():
        name, folder = f"sub-{subject.lower()}_ses-{label}", images["T1"].parent
        lesion = layout.find_volume(folder, rf"{name}_{SPACE}_label-L_desc-T1lesion_mask")
        if lesion is None:
            yield LeftOut(name, f"{layout.NO_MASK} beside it (the part Testing has none)")
            continue
        yield Session(
            id=name,
            cohort="atlas2",
            subject=f"sub-{subject.lower()}",
            label=label,
            images=images,
            healthy=False,
            contrast_masks=layout.match_own_masks(masks, images),
            lesion_mask=lesion,
            lesion_kind="stroke",
            site=subject.split("S")[0],
            space="MNI152",
        )
