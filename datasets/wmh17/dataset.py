"""WMH 2017: white-matter hyperintensities on FLAIR and T1, five scanners."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from uadbench.data import layout
from uadbench.data.session import LeftOut, Session

# Folder above the patient's, as the letters and digits of its name -> site.
SITES = {
    "utrecht": "Utrecht",
    "singapore": "Singapore",
    "ge3t": "Amsterdam-GE3T",
    "ge1t5": "Amsterdam-GE1T5",
    "philipsvupetmr01": "Amsterdam-Philips_VU_PETMR_01",
}
NAMES = {"pre": {"FLAIR": "FLAIR", "T1": "T1"}, "orig": {"FLAIR": "FLAIR", "T1": "T1|3DT1"}}


def sessions(root: Path) -> Iterator[Session | LeftOut]:
    """One session for each patient with a lesion mask; `pre` is preferred to `orig`."""
    patients: dict[str, dict[str, Path]] = {}
    for folder, kind in layout.find_folders(root, "pre|orig"):
        patient = folder.parent
        if folder == root.absolute():  # its name says nothing
            continue
        site = SITES.get(re.sub("[^a-z0-9]", "", patient.parent.name.lower()))
        where = str(patient.relative_to(root.absolute()))
        if site is None:
            yield LeftOut(where, f"is in no folder of a known site ({', '.join(SITES.values())})")
            continue
        found = patients.setdefault(f"{site}-{patient.name}", {"patient": patient})
        if found["patient"] == patient:
            found[kind[0].lower()] = folder
        else:
            yield LeftOut(where, f"a second patient of this name beside {found['patient']}")
    masks = layout.find_own_masks(root)
    for name, found in patients.items():
        yield _subject(name, found, masks)


def _subject(name: str, found: Mapping[str, Path], masks: Mapping[str, Path]) -> Session | LeftOut:
    """One patient, or what the folder lacks."""
    kind = "pre" if "pre" in found else "orig"
    files = {c: layout.find_volume(found[kind], n) for c, n in NAMES[kind].items()}
    images = {contrast: path for contrast, path in files.items() if path}
    lesion = layout.find_volume(found["patient"], "wmh")
    if not images or lesion is None:
        reason = f"{layout.NO_MASK} (wmh.nii.gz)"
        return LeftOut(
            name, reason if images else layout.explain_lack(found[kind], "has no image", "FLAIR|(3D)?T1")
        )
    own = {c: mask for c in images if (mask := layout.find_own_mask(masks, f"{name}_{c}"))}
    return Session(
        id=name,
        cohort="wmh17",
        subject=name,
        images=images,
        healthy=False,
        brain_mask=next(iter(own.values()), None) if kind == "pre" else None,
        contrast_masks=own,
        part=_part(found["patient"]),
        lesion_mask=lesion,
        ignore_mask=lesion,
        mask_contrast="FLAIR",
        lesion_kind="wmh",
        site=name.rsplit("-", 1)[0],
        space="co-registered" if kind == "pre" else "native",
    )


def _part(patient: Path) -> str | None:
    """The part of the challenge that a patient belongs to; the older archives do not say it."""
    above = [part.lower() for part in patient.absolute().parts[:-2] if part.lower() != "amsterdam"]
    return above[-1] if above[-1] in ("training", "test") else None
