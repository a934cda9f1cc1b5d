"""BraTS 2021, and the names of 2020 and 2023: glioma, four contrasts, skull-stripped, SRI24."""

import re
from collections.abc import Iterator
from pathlib import Path

from uadbench.data import layout
from uadbench.data.session import LeftOut, Session

# Releases share patients under different ids, so one is used: the first of these that is there.
RELEASES = {
    "2021": r"(BraTS2021_\d{5})",
    "2023": r"(BraTS-GLI-\d{5})-(0\d{2})",
    "2020": r"(BraTS20_(?:Training|Validation)_\d{3})",
}
CAVITY = "scanned after treatment: their label 4 is the cavity of a resection, not tumour"
OTHERS = {
    "BraTS 2024 or later": (r"BraTS-GLI-\d{5}-[1-9]\d{2}", CAVITY),
    "BraTS of other tumours": (r"BraTS-(?!GLI)[A-Z]+(-RT)?-\d+(-\d+)?", "no gliomas of adults as in these"),
    "BraTS 2017 to 2019": (r"BraTS1[789]_\w+?_\w+?_\d+", "an earlier release, whose patients are in these"),
}
LABELS = {"2023": (1, 2, 3)}  # 4 is the cavity in releases that share these names
CONTRASTS = {"T1": "t1n?", "T1c": "t1ce?", "T2": "t2w?", "FLAIR": "flair|t2f"}


def sessions(root: Path) -> Iterator[Session | LeftOut]:
    """One session for each patient folder of one release."""
    folders = {release: list(layout.find_folders(root, pattern)) for release, pattern in RELEASES.items()}
    used = next((release for release, found in folders.items() if found), None)
    for release, found in folders.items():
        if release != used and found:
            yield LeftOut(
                f"BraTS {release}",
                f"{len(found)} patients; BraTS {used} is used, and may hold the same under other ids",
            )
    yield from layout.find_foreign(root, OTHERS)
    for folder, name in folders.get(used or "", []):
        yield _subject(folder, name, LABELS.get(used or "", ()))


def _subject(folder: Path, name: re.Match[str], values: tuple[int, ...]) -> Session | LeftOut:
    """One patient, or what the folder lacks."""

    def file(names: str) -> Path | None:
        return layout.find_volume(folder, rf"{re.escape(folder.name)}[-_]({names})")

    images = {contrast: path for contrast, names in CONTRASTS.items() if (path := file(names))}
    if not images:
        return LeftOut(folder.name, layout.explain_lack(folder, "has no image", r".*[-_](t1\w*|t2\w*|flair)"))
    # The segmentation of one patient in a mirror of 2020 is named otherwise.
    lesion = file("seg") or layout.find_volume(folder, r".*segm?(entation)?")
    if lesion is None:
        return LeftOut(folder.name, f"{layout.NO_MASK} (segmentation; validation patients have none)")
    return Session(
        id=folder.name,
        cohort="brats21",
        subject=name[1],
        label=str(int(name[2])) if name.re.groups > 1 else "1",
        images=images,
        healthy=False,
        lesion_mask=lesion,
        mask_values=values,
        lesion_kind="glioma",
        space="SRI24",
        skull_stripped=True,
    )
