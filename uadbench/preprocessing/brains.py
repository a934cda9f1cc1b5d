"""Brains: which brain mask a scan gets, and by what way; what was found is kept by content.

1. The user's own mask, or that of the release, always wins.
2. A skull-stripped image shows its brain itself.
3. Else the brain is extracted, on T1 where the session has one, and carried to the other contrasts: through
   world coordinates where they share a space, by a rigid registration in the scanner's space
   (protocol, preparation rules).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from isal.igzip_lib import IsalError
from numpy.typing import NDArray

from uadbench.data.session import Session
from uadbench.data.suffixes import files_of
from uadbench.preprocessing import background, extract, plausibility, resampling, rigid, scan
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import SubjectError
from uadbench.system.files import read_sealed, replacing, sha256_json, write_sealed

GIVEN = ("own mask", "skull-stripped image")  # ways that need no extractor
INSIDE = 0.5  # a mask's value above which a voxel is brain: masks were seen with a maximum of 0.99999997
FOUND_ON = {"ADC": ("DWI",)}  # computed from the other, and noise outside the head


@dataclass(frozen=True)
class Kept:
    """Where brain masks and motions are kept, and the SHA-256 of every file they depend on."""

    folder: Path
    extractor: str
    digests: Mapping[str, str]  # path -> SHA-256 of the file

    def digest(self, path: Path) -> str:
        """What a file's content is known by."""
        return "".join(self.digests[str(part)] for part in files_of(path))


def source_of(session: Session, contrast: str) -> str:
    """The contrast on which the brain of a contrast is found."""
    if has_own(session, contrast):
        return contrast
    candidates = (*extract.T1_LIKE, *FOUND_ON.get(contrast, ()))
    return next((c for c in candidates if c in session.images), contrast)


def has_own(session: Session, contrast: str) -> bool:
    """Whether a contrast needs neither another one nor an extraction to know its brain."""
    return session.skull_stripped or session.mask_of(contrast) is not None


def is_extracted(session: Session, contrast: str) -> bool:
    """Whether an extractor has a say in a contrast's brain mask."""
    return not has_own(session, source_of(session, contrast))


def find_brain(
    session: Session, contrast: str, image: Scan, kept: Kept
) -> tuple[NDArray[np.bool_], dict[str, Any]]:
    """The brain (R, A, S) on the voxels of a contrast's image, and how it was found."""
    source = source_of(session, contrast)
    if source == contrast:
        return _find(session, contrast, image, kept)
    other = scan.read_image(session.images[source], session.orientation)
    there, how = _find(session, source, other, kept)
    matrix = find_motion(session, source, other, there, contrast, image, kept)
    to_other = np.linalg.inv(matrix @ other.affine) @ image.affine
    brain = resampling.sample_nearest(there.astype(np.uint8), to_other, image.array.shape) > 0
    plausibility.check_brain(brain, image, f"{session.id} {contrast}")
    box = resampling.bounding_box(there)
    middle = other.affine @ [*[(side.start + side.stop - 1) / 2 for side in box], 1.0]
    moved_mm = [round(float(value), 3) for value in (matrix @ middle - middle)[:3]]
    return brain, how | {"carried": True, "moved_mm": moved_mm}


def read_brain(image: Scan, path: Path | None, session: Session, name: str) -> NDArray[np.bool_]:
    """The brain (R, A, S) that needs no extraction: of a mask file, else of a skull-stripped image.

    The file may lie on any lattice. One that cannot be a brain, and a full head, is a SubjectError.
    """
    seen = background.measure_background(image)
    if path is not None:
        mask = scan.read_scan(path, session.orientation)
        plausibility.check_lattice(mask, image, path, name)
        if not image.same_lattice(mask):  # inverted, it would lose its corners on a larger field of view
            plausibility.check_shape(_inside(mask.array), mask.spacing_mm, path)
        brain = _inside(image.sample_mask(mask))
    elif session.skull_stripped:
        brain = background.find_standing_out(image, name, seen)
    else:
        raise SubjectError(
            f"{name} shows a full head and has no brain mask: supply one in the data set's folder "
            "(its card says where), or a skull-stripped image."
        )
    plausibility.check_brain(brain, image, path or name, seen)
    return brain


def _inside(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the values of a mask file say that there is brain."""
    return np.asarray(mask > (0 if mask.dtype.kind in "iu" else INSIDE))  # whole numbers: many times as fast


def find_motion(
    session: Session,
    contrast: str,
    image: Scan,
    brain: NDArray[np.bool_],
    other: str,
    other_image: Scan,
    kept: Kept,
) -> NDArray[np.float64]:
    """World mm of a contrast -> world mm of another of the same session, (4, 4); a rigid motion.

    The identity where the contrasts share a space, and where they lie on the same voxels: scans are on one
    lattice because they come of one acquisition (T2 and PD, DWI and ADC) or were brought there.
    """
    if session.space != "native" or image.same_lattice(other_image):
        return np.eye(4)

    def find() -> dict[str, Any]:
        name = f"{session.id} {other} against {contrast}"
        return {"matrix": rigid.find_motion(image, brain, other_image, name).tolist()}

    moving = kept.digest(session.images[other])
    key = sha256_json([rigid.RIGID_VERSION, _key(session, contrast, kept), moving, *_orientation(session)])
    return np.array(remember_json(kept.folder / "motions" / f"{key}.json", find)["matrix"])


def remember_json(path: Path, find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a JSON file says; found out and written where it is missing or damaged."""
    known = read_sealed(path)
    if known is None:
        known = find()
        write_sealed(path, known)
    return known


def remember_mask(
    path: Path, shape: tuple[int, ...], find: Callable[[], NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    """The mask that a file holds; found and written where it is missing or damaged."""
    known = _read_mask(path, shape)
    if known is None:
        known = find()
        _write_mask(path, known)
    return known


def _find(
    session: Session, contrast: str, image: Scan, kept: Kept
) -> tuple[NDArray[np.bool_], dict[str, Any]]:
    """The brain on the contrast on which it is found."""
    name, own = f"{session.id} {contrast}", session.mask_of(contrast)
    if has_own(session, contrast):
        how = GIVEN[0] if own is not None else GIVEN[1]
        return read_brain(image, own, session, name), {"by": how, "on": contrast}

    def find() -> NDArray[np.bool_]:
        if kept.extractor == extract.DEFAULT:
            return extract.extract_brain(image, contrast, name)
        return extract.run_extractor(image, kept.extractor, name)

    path = kept.folder / "brains" / f"{_key(session, contrast, kept)}.mask"
    brain = remember_mask(path, image.array.shape, find)
    plausibility.check_brain(brain, image, f"{kept.extractor} on {name}")
    # The built-in extractor's version is part of the preparation's keys, and stands in the record.
    builtin = kept.extractor == extract.DEFAULT
    version = {} if builtin else {"version": extract.find_version(kept.extractor)}
    return brain, {"by": kept.extractor, "on": contrast} | version


def _key(session: Session, contrast: str, kept: Kept) -> str:
    """What decides the brain mask on the contrast where it is found."""
    own = session.mask_of(contrast)
    if own is not None:
        decides: list[Any] = [kept.digest(own)]
    elif session.skull_stripped:
        decides = ["skull-stripped"]
    else:
        decides = [kept.extractor, extract.find_version(kept.extractor), contrast in extract.T1_LIKE]
    return sha256_json([kept.digest(session.images[contrast]), *decides, *_orientation(session)])


def _orientation(session: Session) -> list[str]:
    return [] if session.orientation is None else [session.orientation]


def _write_mask(path: Path, brain: NDArray[np.bool_]) -> None:
    """One bit per voxel, compressed; the zlib stream ends with a checksum."""
    with replacing(path) as partial:
        partial.write_bytes(isal_zlib.compress(np.packbits(brain).tobytes(), 1))


def _read_mask(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """A kept mask, or None where it is missing or damaged."""
    count = int(np.prod(shape))
    try:
        bits = np.frombuffer(isal_zlib.decompress(path.read_bytes()), np.uint8)
    except (FileNotFoundError, IsalError, EOFError):  # type: ignore[misc]  # isal's stub lacks the class
        return None
    if len(bits) != -(-count // 8):
        return None
    return np.unpackbits(bits, count=count).reshape(shape).view(np.bool_)
