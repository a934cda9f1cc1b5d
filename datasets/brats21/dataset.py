"""BraTS 2021, and the names of 2020 and 2023: glioma, four contrasts, skull-stripped, SRI24."""

import re
from collections.abc import Iterator
from pathlib import Path

from uadbench import layout
from uadbench.subject import LeftOut, Subject

# Releases share patients under different ids, so one is used: the first of these that is there.
RELEASES = {
    "2021": r"(BraTS2021_\d{5})",
    "2023": r"(BraTS-GLI-\d{5})-(\d{3})",
    "2020": r"(BraTS20_(?:Training|Validation)_\d{3})",
}
CONTRASTS = {"T1": "t1n?", "T1ce": "t1ce?", "T2": "t2w?", "FLAIR": "flair|t2f"}


def subjects(root: Path) -> Iterator[Subject | LeftOut]:
    """One subject for each patient folder of one release."""
    folders = {release: list(layout.folders(root, pattern)) for release, pattern in RELEASES.items()}
    used = next((release for release, found in folders.items() if found), None)
    for release, found in folders.items():
        if release != used and found:
            yield LeftOut(
                f"BraTS {release}",
                f"{len(found)} patients; BraTS {used} is used, and may hold the same under other ids",
            )
    for folder, name in folders.get(used or "", []):
        yield _subject(folder, name)


def _subject(folder: Path, name: re.Match[str]) -> Subject | LeftOut:
    """One patient, or what the folder lacks."""

    def file(names: str) -> Path | None:
        return layout.one(folder, rf"{re.escape(folder.name)}[-_]({names})\.nii(\.gz)?")

    images = {contrast: path for contrast, names in CONTRASTS.items() if (path := file(names))}
    # The segmentation of one patient in a mirror of 2020 is named otherwise.
    lesion = file("seg") or layout.one(folder, r".*segm?(entation)?\.nii(\.gz)?")
    if not images or lesion is None:
        reason = "segmentation (validation patients have none)" if images else "image"
        return LeftOut(folder.name, f"has no {reason}")
    return Subject(
        id=folder.name,
        cohort="brats21",
        person=name[1],
        session=str(int(name[2])) if name.re.groups > 1 else "1",
        images=images,
        healthy=False,
        lesion_mask=lesion,
        lesion_kind="glioma",
        space="SRI24",
        skull_stripped=True,
    )
