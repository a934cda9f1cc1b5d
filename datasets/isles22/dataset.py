"""ISLES 2022: acute stroke, DWI, ADC and FLAIR; lesions were outlined on the DWI."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from uadbench.data import layout
from uadbench.data.session import LeftOut, Session

NAME = r"sub-(strokecase\d+)_ses-(\d+)_(dwi|adc|flair)"
MASK = r"sub-(strokecase\d+)_ses-(\d+)_(msk)"
OTHERS = {
    "ISLES 2024": (r"sub-stroke\d+(_ses-\d+_.*)?", "another release, of CT and later MRI"),
    "ISLES 2015 to 2018": (r"VSD\.Brain\..*|SMIR\.Brain\..*", "another release, with other patients"),
}


def sessions(root: Path) -> Iterator[Session | LeftOut]:
    """One session for each session with a lesion mask."""
    contrasts = {"dwi": "DWI", "adc": "ADC", "flair": "FLAIR"}
    sessions, surplus = layout.group_by_session(root, NAME, contrasts)
    lesions, surplus_masks = layout.group_by_session(root, MASK, {"msk": "lesion"})
    twice = [replace(item, contrast=None) for item in surplus_masks]  # whatever contrast is looked at
    masks = layout.find_own_masks(root)
    yield from [*surplus, *twice, *layout.find_foreign(root, OTHERS)]
    for (subject, label), images in sessions.items():
        name = f"sub-{subject.lower()}_ses-{label}"
        lesion = lesions.pop((subject, label), None)
        if lesion is None:
            yield LeftOut(name, f"{layout.NO_MASK} (..._msk.nii.gz in derivatives)")
            continue
        own = layout.match_own_masks(masks, images)
        yield Session(
            id=name,
            cohort="isles22",
            subject=f"sub-{subject.lower()}",
            label=label.lstrip("0") or "0",
            images=images,
            healthy=False,
            contrast_masks=own,
            brain_mask=own.get("DWI"),  # ADC is of the same acquisition
            lesion_mask=lesion["lesion"],
            mask_contrast="DWI",
            lesion_kind="stroke",
        )
    for subject, label in lesions:
        yield LeftOut(f"sub-{subject.lower()}_ses-{label}", "has a lesion mask and no image")
