"""Damaged scans: whatever a file says, it is read as it is or refused in a sentence, and for itself alone.

Seeded: a case has the same damage every time. Each goes through the reader, `verify` and `prepare` of a data
set whose other subjects are in order.
"""

import gzip
import shutil
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from uadbench import datasets, testing
from uadbench.data.space import GRIDS
from uadbench.datasets import Found
from uadbench.preprocessing import nifti, scan
from uadbench.preprocessing.prepare import prepare
from uadbench.preprocessing.verify import verify
from uadbench.system.errors import SubjectError
from uadbench.system.progress import Silent

CASES, FEW = 1000, 40
MOST_SECONDS = 20.0
MOST_BYTES = 200 * 2**20
VICTIM = "sub-r003s002_ses-1"
Random = np.random.Generator

# Offset and format of the fields of a NIfTI-1 header.
FIELDS = {
    "sizeof_hdr": (0, "i"),
    **{f"dim{n}": (40 + 2 * n, "h") for n in range(8)},
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    **{f"pixdim{n}": (76 + 4 * n, "f") for n in range(8)},
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "xyzt_units": (123, "b"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    **{f"quatern{n}": (256 + 4 * n, "f") for n in range(6)},
    **{f"srow{n}": (280 + 4 * n, "f") for n in range(12)},
}
WHOLE = (0, 1, -1, 2, 3, 5, 7, 8, 16, 17, 64, 127, 128, 512, 1024, 2048, 32767, -32768)
BROKEN = (0.0, -1.0, 1e-30, 1e-3, 0.5, 2.0, 100.0, 1e5, 1e30, 3e38, -3e38, np.nan, np.inf, -np.inf)


def _set(content: bytes, field: str, value: float) -> bytes:
    offset, kind = FIELDS[field]
    packed = struct.pack("<" + kind, value if kind == "f" else int(value))
    return content[:offset] + packed + content[offset + len(packed) :]


def _one_field(content: bytes, random: Random) -> bytes:
    field = str(random.choice(list(FIELDS)))
    kind = FIELDS[field][1]
    if kind == "f":
        return _set(content, field, float(random.choice(BROKEN)))
    value = int(random.choice(WHOLE))
    return _set(content, field, max(-128, min(127, value)) if kind == "b" else value)


def _some_fields(content: bytes, random: Random) -> bytes:
    for _ in range(int(random.integers(2, 6))):
        content = _one_field(content, random)
    return content


def _smaller(content: bytes, random: Random) -> bytes:
    """A dimension a little smaller or larger than the body has."""
    field = f"dim{random.integers(1, 4)}"
    there = struct.unpack_from("<h", content, FIELDS[field][0])[0]
    return _set(content, field, there + int(random.choice([-3, -1, 1, 4])))


def _flipped(content: bytes, random: Random) -> bytes:
    """Some bytes of the header changed."""
    damaged = bytearray(content)
    for place in random.integers(0, min(352, len(damaged)), int(random.integers(1, 12))):
        damaged[place] = int(random.integers(0, 256))
    return bytes(damaged)


def _cut(content: bytes, random: Random) -> bytes:
    return content[: int(random.integers(0, len(content)))]


def _longer(content: bytes, random: Random) -> bytes:
    return content + random.bytes(int(random.integers(1, 5000)))


def _extreme(content: bytes, random: Random) -> bytes:
    """Some voxels of enormous or no value, in files of floating-point numbers."""
    damaged = bytearray(_set(content, "datatype", 16))
    for place in random.integers(88, max(89, len(damaged) // 4), 20) * 4:
        damaged[place : place + 4] = struct.pack("<f", float(random.choice(BROKEN)))[: len(damaged) - place]
    return bytes(damaged)


DAMAGES: tuple[Callable[[bytes, Random], bytes], ...] = (
    _one_field, _one_field, _some_fields, _smaller, _flipped, _cut, _longer, _extreme,
)  # fmt: skip


def _packed(content: bytes, random: Random) -> bytes:
    """As gzip: whole, in members, damaged, cut, twice, or with a gigabyte of zeros behind."""
    whole = gzip.compress(content, 1, mtime=0)
    way = int(random.integers(0, 8))
    if way == 0:
        half = len(content) // 2
        return gzip.compress(content[:half], 1) + gzip.compress(content[half:], 1)
    if way == 1:
        damaged = bytearray(whole)
        damaged[int(random.integers(0, len(damaged)))] ^= int(random.integers(1, 256))
        return bytes(damaged)
    if way == 2:
        return whole[: int(random.integers(0, len(whole)))]
    if way == 3:
        return gzip.compress(whole, 1)
    if way == 4:
        return whole + random.bytes(100)
    if way == 5:
        return gzip.compress(content, 1) + BOMB
    return whole


BOMB = gzip.compress(bytes(2**28), 9) * 4  # a gigabyte in a megabyte


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    root = tmp_path_factory.mktemp("scans") / "atlas2"
    testing.write_fixture("atlas2", root, subjects=2)
    return datasets.find_sessions("atlas2", root)


def _drive(found: Found, folder: Path, cases: range) -> None:
    """Damage one file of one subject at a time."""
    victim = next(s for s in found.sessions if s.id == VICTIM)
    files = [victim.images["T1"], victim.lesion_mask, victim.brain_mask]
    prepared = prepare(found.sessions, "T1", GRIDS["g48"], found.card, folder / "cache", 1, Silent())
    assert len(prepared.prepared) == 2
    others = {item.key for item in prepared.prepared if item.session.id != VICTIM}
    for case in cases:
        random = np.random.default_rng([20260101, case])
        path = next(f for f in random.permutation(np.array([f for f in files if f], dtype=object)))
        whole = path.read_bytes()
        content = DAMAGES[int(random.integers(len(DAMAGES)))](gzip.decompress(whole), random)
        try:
            path.write_bytes(_packed(content, random) if random.random() < 0.6 else content)
            _read(path, case)
            began = time.monotonic()
            problems = {p.subject_id for p in verify(found, 1, Silent()).problems}
            cohort = prepare(found.sessions, "T1", GRIDS["g48"], found.card, folder / "cache", 1, Silent())
            assert time.monotonic() - began < MOST_SECONDS, case
        finally:
            path.write_bytes(whole)
        failed = {failure.subject_id for failure in cohort.failures}
        assert problems <= {VICTIM}, case
        assert failed <= {VICTIM}, case
        assert problems <= failed, f"case {case}: verify calls it wrong, and it would be scored"
        assert {item.key for item in cohort.prepared if item.session.id != VICTIM} == others, case


def _read(path: Path, case: int) -> None:
    """Read a damaged file in every way: a plausible scan or a SubjectError, in little memory and time."""
    for reader in (scan.read_scan, scan.read_image, scan.read_labels, scan.read_lattice):
        began = time.monotonic()
        tracemalloc.start()
        try:
            read = reader(path)
        except SubjectError as error:
            _check_sentence(str(error), path)
            continue
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < MOST_BYTES, f"case {case} took {peak / 2**20:.0f} MiB"
            assert time.monotonic() - began < MOST_SECONDS, case
        low, high = nifti.SPACING_MM
        assert min(read.array.shape) >= 1
        assert ((low * 0.99 < read.spacing_mm) & (read.spacing_mm < high * 1.01)).all()
        assert np.abs(read.affine[:3, 3]).max() < 2 * nifti.FARTHEST_MM
        if reader is scan.read_image:
            with np.errstate(over="raise", invalid="raise"):
                assert np.isfinite(np.square(read.array.astype(np.float32)).sum())


def _check_sentence(said: str, path: Path) -> None:
    assert str(path.with_suffix("").with_suffix("")) in said
    assert "\n" not in said
    assert said.endswith(".")


@pytest.mark.thorough
def test_a_damaged_scan_is_refused_for_itself_alone(found: Found, tmp_path: Path) -> None:
    _drive(found, tmp_path, range(FEW))


@pytest.mark.slow
def test_a_thousand_damaged_scans_are_refused_for_themselves_alone(found: Found, tmp_path: Path) -> None:
    _drive(found, tmp_path, range(FEW, FEW + CASES))


def _pairs(folder: Path, cases: range) -> None:
    """Headers and bodies in two files, NIfTI and Analyze, damaged in either."""
    array = np.random.default_rng(0).integers(0, 900, (12, 13, 14)).astype(np.int16)
    affine = np.diag([4.0, 4, 4, 1])
    nibabel.save(nibabel.Nifti1Pair(array, affine), folder / "nifti.img")
    nibabel.save(nibabel.AnalyzeImage(array, affine), folder / "analyze.img")
    for case in cases:
        random = np.random.default_rng([20260102, case])
        name = str(random.choice(["nifti", "analyze"]))
        place = folder / f"case {case}"
        place.mkdir()
        for ending in (".hdr", ".img"):
            shutil.copy(folder / (name + ending), place)
        victim = place / (name + str(random.choice([".hdr", ".hdr", ".img"])))
        damages = DAMAGES if victim.suffix == ".hdr" else (_cut, _longer)
        content = damages[int(random.integers(len(damages)))](victim.read_bytes(), random)
        victim.write_bytes(_packed(content, random) if random.random() < 0.2 else content)
        for ending in (".hdr", ".img"):
            try:
                read = scan.read_image(place / (name + ending), "LAS")
            except SubjectError as error:
                _check_sentence(str(error), place)
                continue
            # The stored order of the axes may differ: a header of another orientation is another scan.
            assert read.array.size == array.size, case
        shutil.rmtree(place)


def test_damaged_pairs_are_refused_in_a_sentence(tmp_path: Path) -> None:
    _pairs(tmp_path, range(FEW))


@pytest.mark.slow
def test_a_thousand_damaged_pairs_are_refused_in_a_sentence(tmp_path: Path) -> None:
    _pairs(tmp_path, range(FEW, FEW + CASES))
