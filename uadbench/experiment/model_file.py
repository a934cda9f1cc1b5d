"""Model file: a trained method in one zip file: facts as JSON, arrays as safetensors, and no code.

A file that comes from elsewhere is believed in nothing. It has the members that are expected and no others,
unpacked: a small file cannot take the machine's memory. Nothing is written anywhere when it is read. Its
comment is the SHA-256 of all bytes before, so that a bit that is altered anywhere is found, and `model.json`
has that of each other member. The bytes depend on the content alone.
"""

import hashlib
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
from msgspec import Meta

from uadbench.experiment.facts import Count, Digest, Facts, Key
from uadbench.experiment.model_facts import ModelFacts, as_text
from uadbench.system.errors import UserError
from uadbench.system.files import open_file, replacing, sha256
from uadbench.system.text import visible

FORMAT = 1
FACTS, STATE, CALIBRATION = "model.json", "state.safetensors", "calibration.safetensors"
LARGEST_BYTES = {FACTS: 64_000_000, STATE: 3_000_000_000, CALIBRATION: 1_000_000_000}
MAGIC = b"PK"
SEAL = 64  # characters at the end: hexadecimal SHA-256 of all bytes before
BLOCK = 2**22  # bytes read at a time
SHOWN = 60  # characters of a name that is repeated in a sentence


class Member(Facts, frozen=True, kw_only=True):
    """A member of the file beside its facts."""

    bytes: Count
    sha256: Digest


class Content(Facts, frozen=True, kw_only=True):
    """What `model.json` says."""

    format: Annotated[int, Meta(ge=FORMAT, le=FORMAT)]
    model: ModelFacts
    members: dict[Key, Member]


class _Version(msgspec.Struct):
    format: int


_DECODER = msgspec.json.Decoder(Content)


def is_model_file(path: Path) -> bool:
    """Whether a path is meant as a model file: by its name, or by how it begins."""
    if path.suffix.lower() == ".zip":
        return True
    try:
        with open_file(path) as opened:
            return opened.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


# ---- writing -----------------------------------------------------------------------------------


def write_model(path: Path, facts: ModelFacts, arrays: Mapping[str, bytes]) -> None:
    """Write a model file atomically: facts, and `STATE` and, where there is one, `CALIBRATION`."""
    members = {name: Member(bytes=len(content), sha256=sha256(content)) for name, content in arrays.items()}
    said = as_text(Content(format=FORMAT, model=facts, members=members))
    contents = {FACTS: said.encode(), **arrays}
    for name, content in contents.items():
        if len(content) > LARGEST_BYTES[name]:
            raise UserError(
                f"{name} would have {len(content) / 1e6:,.0f} MB, and a model file holds at most "
                f"{LARGEST_BYTES[name] / 1e6:,.0f} MB of it: it cannot be exported."
            )
    with replacing(path) as partial:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
            for name, content in contents.items():
                archive.writestr(_member(name), content)
            archive.comment = b"0" * SEAL
        with open(partial, "r+b") as opened:
            seal = _digest(opened, os.path.getsize(partial) - SEAL)
            opened.write(seal)


def _member(name: str) -> zipfile.ZipInfo:
    """A member without a time, with rights to read it on any system."""
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
    return info


def _digest(opened: BinaryIO, count: int) -> bytes:
    """Hexadecimal SHA-256 of the first bytes of a file; leaves it at their end."""
    digest, left = hashlib.sha256(), count
    opened.seek(0)
    while left > 0 and (block := opened.read(min(BLOCK, left))):
        digest.update(block)
        left -= len(block)
    return digest.hexdigest().encode()


# ---- reading -----------------------------------------------------------------------------------


def read_model(path: Path) -> tuple[ModelFacts, dict[str, bytes]]:
    """The facts of a model file and the bytes of its other members, checked; else UserError."""
    try:
        with open_file(path) as opened:
            contents = dict(_read_members(path, opened))
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror or error}; expected a model file that "
            "`uadbench export` wrote."
        ) from error
    content = _decode(path, contents.pop(FACTS))
    there = {name: Member(bytes=len(one), sha256=sha256(one)) for name, one in contents.items()}
    if content.members != there:
        raise refused(path, f"its members are not those that {FACTS} names")
    return content.model, contents


def refused(path: Path, why: str, remedy: str = "export it again, or fetch it again") -> UserError:
    """A model file cannot be used."""
    return UserError(f"{path} cannot be used as a model: {visible(why)}; {remedy}.")


def _read_members(path: Path, opened: BinaryIO) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(opened) as archive:
            size = os.fstat(opened.fileno()).st_size
            for why in _find_faults(archive.infolist(), size):
                raise refused(path, why)
            if _digest(opened, size - SEAL) != opened.read(SEAL):
                raise refused(path, "its content has been altered since it was written")
            for info in archive.infolist():
                yield info.filename, archive.read(info)
    except (UserError, OSError):
        raise
    except Exception as error:  # of many types, by where the damage lies
        raise refused(
            path, "it is no zip file of `uadbench export`, or was cut short or altered on its way"
        ) from error


def _find_faults(members: list[zipfile.ZipInfo], size: int) -> Iterator[str]:
    """What speaks against opening a zip file of so many bytes, from its list of members alone."""
    names = [info.orig_filename for info in members]
    for info, name in zip(members, names, strict=True):
        shown = f"'{visible(name)[:SHOWN]}'"
        parts = name.replace("\\", "/").split("/")
        if parts[0] == "" or ".." in parts or parts[0].endswith(":"):
            yield f"its member {shown} has a path that leaves the folder"
        if stat.S_ISLNK(info.external_attr >> 16):
            yield f"its member {shown} is a link"
        if name not in LARGEST_BYTES:
            yield f"it has a member {shown}, expected {', '.join(LARGEST_BYTES)} and nothing else"
        if names.count(name) > 1:
            yield f"its member {shown} is there twice"
        packed = info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size
        if packed or info.flag_bits & 1:
            yield f"its member {shown} is compressed or encrypted, expected it as it is"
        if info.file_size > min(LARGEST_BYTES.get(name, 0), size):
            yield f"its member {shown} claims {info.file_size:,} bytes, more than the file or a model has"
    for name in (FACTS, STATE):
        if name not in names:
            yield f"it has no member {name}"


def _decode(path: Path, said: bytes) -> Content:
    """What `model.json` says; of another version of the format the version."""
    try:
        version = msgspec.json.decode(said, type=_Version).format
        if version > FORMAT:
            why = f"it has version {version} of the format, and this uadbench reads up to {FORMAT}"
            raise refused(path, why, "update uadbench, or export it again with this version")
        return _DECODER.decode(said)
    except (ValueError, RecursionError) as error:
        raise refused(path, f"its {FACTS} is not what an export writes: {str(error)[:300]}") from error
