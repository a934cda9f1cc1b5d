"""Scans: NIfTI and Analyze files, read into canonical RAS axis order, and what can be wrong with them.

The header is nibabel's work; decompression is isal's, five times as fast as zlib on a volume.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip
from isal.igzip_lib import IsalError
from nibabel.analyze import AnalyzeHeader
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
)
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from uadbench.errors import SubjectError
from uadbench.suffixes import pair_of

GZIP_MAGIC = b"\x1f\x8b"
LABEL_TOLERANCE = 1e-3  # label files stored as float differ from integers by rounding only
DISAGREEMENT_VOXELS = 0.5  # qform and sform may place a corner this far apart, in voxels


@dataclass(frozen=True)
class Scan:
    """A volume whose axes run to the right, to the front and to the top, as nearly as its voxels do.

    `array` (R, A, S) in the stored values (scaled by slope and intercept); `affine` (4, 4) takes voxel
    indices to world millimetres (RAS+), and may be oblique.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Distance between neighbouring voxel centres along each axis, shape (3,)."""
        spacing: NDArray[np.float64] = np.linalg.norm(self.affine[:3, :3], axis=0)
        return spacing

    def same_lattice(self, other: "Scan") -> bool:
        """Whether the voxels of both lie in the same places, to a hundredth of a voxel at the corners."""
        if self.array.shape != other.array.shape:
            return False
        apart = _corner_distance(self.affine, other.affine, self.array.shape)
        return bool(apart <= 0.01 * self.spacing_mm.min())


def read(path: Path, orientation: str | None = None) -> Scan:
    """A NIfTI or Analyze file as a `Scan`.

    `orientation` such as "LAS" says where the stored axes point in a file that does not say it itself:
    Analyze, and NIfTI without a coded qform or sform; it is ignored otherwise, except that an Analyze
    header is never believed. A file that cannot be used raises SubjectError.
    """
    header, data = _open(path)
    try:
        array = _voxels(path, header, data)
        affine = _affine(path, header, array.shape, orientation)
    except (HeaderDataError, ValueError, TypeError) as error:
        raise SubjectError(
            f"{path} has a header that cannot be used ({error}): convert it to NIfTI anew."
        ) from error
    return _canonical(path, array, affine)


def read_image(path: Path, orientation: str | None = None) -> Scan:
    """An image: finite everywhere and not constant, else SubjectError."""
    scan = read(path, orientation)
    if np.issubdtype(scan.array.dtype, np.floating):
        bad = scan.array.size - np.count_nonzero(np.isfinite(scan.array))
        if bad:
            raise SubjectError(
                f"{path} has {bad} voxels that are NaN or infinite; "
                "an image needs numbers everywhere: repair or leave out the file."
            )
    first = scan.array[0, 0, 0]
    middle = scan.array[:, :, scan.array.shape[2] // 2]  # shows it soon for most images
    if (middle == first).all() and (scan.array == first).all():
        raise SubjectError(f"{path} has the one value {first} in all voxels: it shows nothing; leave it out.")
    return scan


def read_labels(path: Path, orientation: str | None = None) -> Scan:
    """A label file as integers; values within 0.001 of an integer are rounded, others are an error."""
    scan = read(path, orientation)
    if not np.issubdtype(scan.array.dtype, np.floating):
        return scan
    rounded = np.rint(scan.array)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        whole = (np.abs(scan.array - rounded) <= LABEL_TOLERANCE).all()  # NaN fails this too
    if not whole:
        raise SubjectError(
            f"{path} is a label file, but it has values that are no integers: "
            "supply the labels as they were drawn, without interpolation."
        )
    return Scan(rounded.astype(np.int32), scan.affine)


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that hold a scan: one, or header and image of an Analyze or NIfTI pair."""
    return pair_of(path) or (path,)


def voxel_hash(array: NDArray[Any]) -> str:
    """SHA-256 of canonicalised voxels (R, A, S): the same whatever the compression, dtype or axis order.

    Whole numbers are hashed as int16 where they fit, everything else as float32.
    """
    # First axis fastest, as NIfTI stores it: for most files no transposition is needed.
    digest = hashlib.sha256(repr(array.shape).encode())
    digest.update(np.ascontiguousarray(_plain(array.T)).data)
    return digest.hexdigest()


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    if np.can_cast(array.dtype, np.int16):
        return array.astype(np.int16, copy=False)
    if array.min() >= -32768 and array.max() <= 32767:
        middle = array[len(array) // 2]  # most images that are not whole numbers show it here
        if array.dtype.kind in "iu" or np.array_equal(middle, np.rint(middle)):
            whole = array.astype(np.int16)
            if array.dtype.kind in "iu" or np.array_equal(whole, array):
                return whole
    return array.astype(np.float32) + np.float32(0)  # -0 becomes 0


def _contents(path: Path) -> bytes:
    """A file's bytes, decompressed where they are gzip, whatever the file's name says."""
    try:
        content = path.read_bytes()
        if content[:2] == GZIP_MAGIC:
            content = igzip.decompress(content)
    except (EOFError, OSError, IsalError) as error:  # type: ignore[misc]  # isal's stub lacks the class
        raise SubjectError(f"{path} cannot be read ({error}): fetch the file again.") from error
    if not content:
        raise SubjectError(f"{path} is empty: fetch the file again.")
    return content


def _open(path: Path) -> tuple[Any, bytes]:
    """Header and the bytes in which its voxels lie (from `vox_offset`)."""
    parts = files_of(path)
    header = _contents(parts[0])
    return _header(parts[0], header), header if len(parts) == 1 else _contents(parts[1])


def _header(path: Path, content: bytes) -> Any:
    sizes = {int.from_bytes(content[:4], order) for order in ("little", "big")}
    kinds: dict[bytes, Any]
    if 540 in sizes:
        magic, length = content[4:7], 540
        kinds = {b"n+2": Nifti2Header, b"ni2": Nifti2PairHeader}
    else:
        magic, length = content[344:347], 348
        kinds = {b"n+1": Nifti1Header, b"ni1": Nifti1PairHeader}
    if magic not in kinds and 348 in sizes and pair_of(path) is not None:
        kinds = {magic: AnalyzeHeader}
    if magic not in kinds or len(content) < length:
        raise SubjectError(f"{path} is no NIfTI or Analyze file, or is cut short: fetch the file again.")
    try:
        return kinds[magic](content[:length])
    except (HeaderDataError, ValueError) as error:
        raise SubjectError(
            f"{path} has a header that cannot be used ({error}): convert it to NIfTI anew."
        ) from error


def _voxels(path: Path, header: Any, data: bytes) -> NDArray[Any]:
    """The stored values with slope and intercept applied, three axes, in storage order."""
    shape, dtype = tuple(header.get_data_shape()), header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise SubjectError(f"{path} holds {dtype} values; a scan has one number per voxel: convert it.")
    if len(shape) < 3 or any(n != 1 for n in shape[3:]) or 0 in shape:
        raise SubjectError(
            f"{path} has shape {shape}; expected are three axes (further ones of length 1 are dropped): "
            "extract one volume."
        )
    offset, count = int(header.get_data_offset()), int(np.prod(shape))
    if offset + count * dtype.itemsize > len(data):
        raise SubjectError(
            f"{path} is cut short: shape {shape} of {dtype} needs {offset + count * dtype.itemsize} bytes, "
            f"there are {len(data)}; fetch the file again."
        )
    array = np.frombuffer(data, dtype, count, offset).reshape(shape[:3], order="F")
    slope, intercept = header.get_slope_inter()
    if (slope or 1) != 1 or intercept:
        return array.astype(np.float32) * np.float32(slope or 1) + np.float32(intercept or 0)
    return array.astype(_native(dtype), copy=False)


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float32) if dtype.kind == "f" else dtype.newbyteorder("=")


def _affine(path: Path, header: Any, shape: tuple[int, ...], orientation: str | None) -> NDArray[np.float64]:
    """Storage indices to RAS+ millimetres."""
    if not isinstance(header, Nifti1Header):
        return _constant_affine(path, header, shape, orientation)
    qform, sform = header.get_qform(coded=True)[0], header.get_sform(coded=True)[0]
    if qform is None and sform is None:
        return _constant_affine(path, header, shape, orientation)
    if qform is not None and sform is not None:
        apart = _corner_distance(qform, sform, shape)
        if not apart <= DISAGREEMENT_VOXELS * np.linalg.norm(sform[:3, :3], axis=0).min():
            raise SubjectError(
                f"{path} has a qform and an sform that place a corner {apart:.1f} mm apart "
                f"(qform {_rows(qform)}, sform {_rows(sform)}): set the right one in both."
            )
    return np.asarray(qform if sform is None else sform, np.float64)


def _rows(affine: NDArray[np.float64]) -> list[list[float]]:
    return [[round(float(value), 2) for value in row] for row in affine[:3]]


def _constant_affine(
    path: Path, header: Any, shape: tuple[int, ...], orientation: str | None
) -> NDArray[np.float64]:
    """The affine that an orientation such as "LAS" and the voxel sizes give, centred at the origin."""
    if orientation is None:
        raise SubjectError(
            f"{path} does not say how it is oriented (Analyze, or qform and sform codes 0): "
            "state the orientation in the data set's card, or convert the file to NIfTI with an sform."
        )
    axes = axcodes2ornt(orientation)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for stored, (world, direction) in enumerate(axes):
        affine[int(world), stored] = direction * header.get_zooms()[stored]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _corner_distance(
    first: NDArray[np.float64], second: NDArray[np.float64], shape: tuple[int, ...]
) -> float:
    """The furthest that two affines place one corner of a volume apart, in mm."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1)
    difference = np.asarray(first) - np.asarray(second)
    return float(np.linalg.norm(difference[:3, :3] @ corners + difference[:3, 3:], axis=0).max())


def _canonical(path: Path, array: NDArray[Any], affine: NDArray[np.float64]) -> Scan:
    """The array with its axes permuted and flipped to RAS; no voxel changes its place in the world."""
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise SubjectError(
            f"{path} has an affine that maps its voxels onto a plane {_rows(affine)}: correct its header."
        )
    axes = io_orientation(affine)
    turned = apply_orientation(array, axes)
    canonical = affine @ inv_ornt_aff(axes, array.shape)
    assert aff2axcodes(canonical) == ("R", "A", "S")
    return Scan(turned, canonical)
