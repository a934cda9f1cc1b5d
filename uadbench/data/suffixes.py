"""Suffixes: which files are volumes and which are tables, in any case, and their names without it."""

import re
from pathlib import Path

VOLUME = re.compile(r"\.(nii|hdr|img)(\.gz)?$", re.IGNORECASE)
TABLE = re.compile(r"\.(csv|tsv|txt|xls|xlsx)$", re.IGNORECASE)
PICTURE = re.compile(r"\.tiff?$", re.IGNORECASE)


def volume_stem(path: Path) -> str | None:
    """The name of a volume without its suffix (.nii, .nii.gz, .hdr or .img, in any case); None of others."""
    found = VOLUME.search(path.name)
    return path.name[: found.start()] if found else None


def is_data(path: Path) -> bool:
    """Whether a file's name is one of a volume, a table or a picture."""
    return any(kind.search(path.name) for kind in (VOLUME, TABLE, PICTURE))


def pair_of(path: Path) -> tuple[Path, Path] | None:
    """Header and voxel file of an Analyze or NIfTI pair, of which `path` is either; None of a single file.

    The other file has the same case of letters, or any other where that is the one that is there.
    """
    found = VOLUME.search(path.name)
    if found is None or found[1].lower() == "nii":
        return None
    if found[1].lower() == "hdr":
        return path, _partner(path, found, "img")
    return _partner(path, found, "hdr"), path


def _partner(path: Path, found: re.Match[str], suffix: str) -> Path:
    """The other file of a pair."""
    cased = suffix.upper() if found[1].isupper() else suffix
    partner = path.with_name(f"{path.name[: found.start()]}.{cased}{found[2] or ''}")
    if partner.exists():
        return partner
    lower = partner.name.lower()
    others = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    return next((other for other in others if other.name.lower() == lower), partner)


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that hold a scan: one, or header and image of an Analyze or NIfTI pair."""
    return pair_of(path) or (path,)
