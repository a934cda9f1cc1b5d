"""Pieces file: what is left of the maps of one run, as one compressed npz beside its record.

An archive from elsewhere is held against what it must contain before any of it is unpacked: a few hundred
kilobytes can hold gigabytes.
"""

import hashlib
import io
import lzma
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from uadbench.data.sizes import VOLUMES
from uadbench.evaluation import details
from uadbench.evaluation.details import Details
from uadbench.evaluation.pieces import MEMBERS, Pieces
from uadbench.experiment.record import Stored
from uadbench.system.arrays import read_array
from uadbench.system.errors import UserError
from uadbench.system.files import replacing, sha256
from uadbench.system.text import visible

if TYPE_CHECKING:
    from uadbench.evaluation.evaluate import Evaluation

# Bytes unpacked; what is usual is a tenth of a megabyte for each subject.
LARGEST_OF_A_SUBJECT, LARGEST_BESIDE, LARGEST = 1_000_000, 16_000_000, 2_000_000_000

Members = Mapping[str, tuple[str, int | None, str]]
_BANDS = str(len(VOLUMES.bands))
# Beside the pieces of each profile: true positive, false positive and false negative voxels, and lesions,
# found lesions and false components by size, at every operating point.
COUNTS: Members = {
    "voxels": ("u", 4, "no3"),
    "lesions": ("u", 4, f"no{_BANDS}3"),
}
# The scores of whole scans, or of their slices one after the other where there are no whole scans.
IMAGE_SCORES = "image-scores"
DETAILS = "details"  # of the headline profile; absent from files of earlier versions
IMAGES: Members = {
    "ids": ("U", None, "n"),
    "scores": ("f", 8, "m"),
    "lengths": ("u", 4, "n"),  # how many of the scores are of each subject
}
# A profile that changes nothing, as a median of 3 mm on voxels of 2 mm, is not written: it is as this one.
PLAIN = "raw"
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class PiecesRead:
    """The pieces of a record. Rows of all arrays are its subjects, in order."""

    pieces: Mapping[str, Pieces]  # by profile
    voxels: Mapping[str, NDArray[np.int64]]  # (subjects, operating points, 3)
    lesions: Mapping[str, NDArray[np.int64]]  # (subjects, operating points, size bands, 3)
    image_scores: Sequence[NDArray[np.float64]]  # of each subject: its scan's, or those of its slices
    details: Details | None  # of the headline profile
    digest: str  # of all of it but the ids: that of equal pieces under other names too


def write_pieces(path: Path, evaluation: "Evaluation") -> str:
    """Write the pieces of all profiles; equal pieces give equal bytes. Returns their SHA-256."""
    groups = {IMAGE_SCORES: _image_scores(evaluation)}
    for profile in sorted(evaluation.pieces):
        groups[profile] = evaluation.pieces[profile].arrays()
        groups[profile] |= {
            "voxels": evaluation.voxels[profile].astype(np.uint32),
            "lesions": evaluation.lesions[profile].astype(np.uint32),
        }
    if evaluation.details is not None:
        groups[DETAILS] = {"ids": groups[IMAGE_SCORES]["ids"], **evaluation.details.arrays}
    for own in groups.values():  # ids as the record writes them
        own["ids"] = np.array([visible(str(name)) for name in own["ids"]], str)
    content = packed(
        {
            f"{group}/{name}": array
            for group, own in groups.items()
            if group == PLAIN or not _are_equal(own, groups.get(PLAIN, {}))
            for name, array in own.items()
        }
    )
    with replacing(path) as partial:
        partial.write_bytes(content)
    return sha256(content)


def _are_equal(own: Arrays, others: Arrays) -> bool:
    return own.keys() == others.keys() and all(np.array_equal(own[name], others[name]) for name in own)


def packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An npz of the arrays; numpy's own writer offers deflate only, and LZMA saves a sixth."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy")
            info.compress_type = zipfile.ZIP_LZMA
            with archive.open(info, "w") as member:
                member._compressor = _Compressor()  # type: ignore[attr-defined]
                npy.write_array(member, array, allow_pickle=False)
    return buffer.getvalue()


class _Compressor:
    """What compresses a member, in place of zipfile's own, which knows no other preset than 6.

    Preset 3 takes an eighth of the time and leaves a twentieth more. Where it has gone the member is as
    readable, and later.
    """

    def __init__(self) -> None:
        """At the beginning of a member, whose content a header of its settings precedes."""
        preset = {"id": lzma.FILTER_LZMA1, "preset": 3, "lc": 3, "lp": 0, "pb": 2, "dict_size": 1 << 22}
        self._compressor = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=[preset])
        # Version 9.4 of LZMA, 5 bytes: 9 * (5 * pb + lp) + lc, and the size of the dictionary.
        self._header = struct.pack("<BBHBL", 9, 4, 5, 0x5D, 1 << 22)

    def compress(self, data: bytes) -> bytes:
        """What is ready of what was given so far."""
        header, self._header = self._header, b""
        return header + self._compressor.compress(data)

    def flush(self) -> bytes:
        """The rest."""
        return self._header + self._compressor.flush()


def _image_scores(evaluation: "Evaluation") -> Arrays:
    each = [
        np.atleast_1d(np.array(s.get("scan_score", s.get("slice_scores", [])), np.float64))
        for s in evaluation.subjects
    ]
    return {
        "ids": np.array([s["id"] for s in evaluation.subjects]),
        "scores": np.concatenate([np.zeros(0), *each]),
        "lengths": np.array([len(one) for one in each], np.uint32),
    }


# ---- reading -----------------------------------------------------------------------------------


def read_pieces(stored: Stored) -> PiecesRead:
    """The pieces of a record; a file that cannot be what it should is a UserError.

    Only what the record speaks of is read, and nothing before its name, kind and size are known.
    """
    try:
        return _read(stored)
    # Damaged bytes can ask zipfile for a password or a compression that it lacks: RuntimeErrors.
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, OverflowError,
            RuntimeError, zipfile.BadZipFile, MemoryError) as error:  # fmt: skip
        raise UserError(
            f"The pieces {stored.pieces} are damaged: {visible(str(error))[:300] or type(error).__name__}."
        ) from error
    except Exception as error:
        if type(error).__module__ not in ("lzma", "_lzma", "zlib"):
            raise
        raise UserError(f"The pieces {stored.pieces} are damaged: {error}.") from error


def _read(stored: Stored) -> PiecesRead:
    subjects = stored.record.subjects
    lengths = {"n": len(subjects), "o": len(stored.record.points)}
    arrays = _arrays(stored.pieces, list(stored.record.thresholds), lengths)
    ids = [subject.id for subject in subjects]
    for group, own in arrays.items():
        if own["ids"].tolist() != ids:
            raise ValueError(f"{group} is of other subjects than the record, or in another order")
    digest = _digest(arrays)
    images, detailed = arrays.pop(IMAGE_SCORES), arrays.pop(DETAILS, None)
    if detailed is not None and detailed["lesions"].sum() != len(detailed["lesion_voxels"]):
        raise ValueError("the lesions of its details are not those of the scans")
    ends = images["lengths"].astype(np.int64).cumsum()
    if len(images["scores"]) != (ends[-1] if len(ends) else 0) or np.isnan(images["scores"]).any():
        raise ValueError("the scores of the scans are not one for each")
    made = {
        id(own): Pieces.from_arrays({k: v for k, v in own.items() if k in MEMBERS}) for own in arrays.values()
    }
    pieces = {profile: made[id(own)] for profile, own in arrays.items()}
    for own_pieces, subject_voxels in ((p, [s.voxels for s in subjects]) for p in made.values()):
        own_pieces.check()
        total = own_pieces.positives.sum(1, dtype=np.int64) + own_pieces.negatives.sum(1, dtype=np.int64)
        if total.tolist() != subject_voxels:
            raise ValueError("they count other numbers of voxels than the record")
    return PiecesRead(
        pieces,
        {profile: own["voxels"].astype(np.int64) for profile, own in arrays.items()},
        {profile: own["lesions"].astype(np.int64) for profile, own in arrays.items()},
        np.split(images["scores"], ends[:-1]) if len(ends) else [],
        None if detailed is None else Details(detailed),
        digest,
    )


def _digest(arrays: Mapping[str, Arrays]) -> str:
    found = hashlib.sha256()
    for group, own in sorted(arrays.items()):
        for name, array in sorted(own.items()):
            if name != "ids":
                found.update(f"{group}/{name} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _arrays(path: Path, profiles: Sequence[str], known: Mapping[str, int]) -> dict[str, Arrays]:
    """Every array by profile and name, each checked before it is read; of known lengths, by their letters."""
    wanted: dict[str, Members] = {profile: {**MEMBERS, **COUNTS} for profile in profiles}
    wanted[IMAGE_SCORES] = IMAGES
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if f"{DETAILS}/ids.npy" in names:
            wanted[DETAILS] = details.MEMBERS
        found: dict[str, Arrays] = {group: {} for group in wanted}
        there = {name.partition("/")[0] for name in names}
        plain = [profile for profile in profiles if profile != PLAIN and profile not in there]
        for profile in plain:
            del wanted[profile]
        expected = {f"{group}/{name}.npy" for group, members in wanted.items() for name in members}
        if sorted(names) != sorted(expected):
            odd = sorted(set(names) ^ expected)
            raise ValueError(f"its members are not those of the record's profiles ({', '.join(odd[:3])})")
        size = sum(info.file_size for info in archive.infolist())
        largest = min(LARGEST_BESIDE + LARGEST_OF_A_SUBJECT * known["n"], LARGEST)
        if size > largest:
            raise ValueError(f"it unpacks to {size / 1e6:.0f} MB, expected at most {largest / 1e6:.0f} MB")
        for group, members in wanted.items():
            lengths = dict(known)
            for name, member in members.items():
                found[group][name] = _member(archive, f"{group}/{name}.npy", member, lengths)
    return found | dict.fromkeys(plain, found.get(PLAIN, {}))


def _member(
    archive: zipfile.ZipFile, name: str, member: tuple[str, int | None, str], lengths: dict[str, int]
) -> NDArray[Any]:
    """One array of the right kind and shape; the header of one that is not may ask for nothing."""
    kind, itemsize, letters = member
    content = io.BytesIO(archive.read(name))
    array = read_array(content)
    if array.dtype.kind != kind or itemsize not in (None, array.dtype.itemsize):
        raise ValueError(f"{name} holds {array.dtype}")
    if len(array.shape) != len(letters):
        raise ValueError(f"{name} has the shape {array.shape}")
    known = (
        int(letter) if letter.isdigit() else lengths.setdefault(letter, length)
        for letter, length in zip(letters, array.shape, strict=True)
    )
    if array.shape != tuple(known):
        raise ValueError(f"{name} has the shape {array.shape}, which does not go with the others")
    if content.read(1):
        raise ValueError(f"{name} is longer than its header says")
    return np.asarray(array)
