"""NIfTI and Analyze files: what header and body say, and whether both can be true.

The header is nibabel's work; decompression is isal's, several times as fast as zlib on a volume. Nothing
is believed that no scanner and no program for scans writes, and no more is decompressed than the header
asks for: a small file cannot take the machine's memory. Whatever is wrong is a SubjectError that names it.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from isal.igzip import IGzipFile
from isal.igzip_lib import IsalError
from nibabel.analyze import AnalyzeHeader
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
from nibabel.orientations import axcodes2ornt
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from uadbench.data.suffixes import files_of
from uadbench.preprocessing.resampling import list_corners
from uadbench.system.errors import SubjectError
from uadbench.system.files import open_file

GZIP_MAGIC = b"\x1f\x8b"
HEADERS: dict[tuple[bool, bytes], Any] = {  # by whether the header is NIfTI-2's, and its magic
    (False, b"n+1"): Nifti1Header,
    (False, b"ni1"): Nifti1PairHeader,
    (True, b"n+2"): Nifti2Header,
    (True, b"ni2"): Nifti2PairHeader,
}
HEADER_BYTES = 540  # of NIfTI-2, the longest header
PADDING_BYTES = 512  # zeros that may follow the voxels
MOST_BYTES = 2**31  # of one volume; 0.25 mm voxels of a whole head as 32-bit numbers
DISAGREEMENT_VOXELS = 0.5  # qform and sform may place a corner this far apart, in voxels
SPACING_MM = (0.05, 20.0)  # between voxels: microscopy and worse than the first scanners are no brain MRI
FARTHEST_MM = 5000.0  # of a voxel from the world's origin, which lies in the scanner or in the head
LEAST_UPRIGHT = 0.1  # volume of a voxel over the product of its sides: 1 is a box, 0 a plane
# What goes wrong in a header of impossible numbers, inside nibabel and NumPy.
IMPOSSIBLE = (HeaderDataError, ValueError, TypeError, ArithmeticError, LookupError)

_SILENT = logging.Logger("nibabel's remarks on headers", logging.CRITICAL + 1)


@dataclass(frozen=True)
class Header:
    """What a file says of its voxels: three axes in storage order, and where they lie."""

    path: Path
    body: Path  # the file that holds the voxels: the header's own, or the .img of a pair
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int  # of the first voxel, bytes
    slope: float
    intercept: float
    affine: NDArray[np.float64]  # (4, 4) storage indices -> world mm (RAS+)

    @property
    def end(self) -> int:
        """Bytes up to the last voxel's."""
        return self.offset + int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def read_header(path: Path, orientation: str | None = None) -> Header:
    """The header of a NIfTI or Analyze file, compressed or not whatever its name says.

    `orientation` such as "LAS" says where the stored axes point in a file that does not say it itself:
    Analyze, and NIfTI without a coded qform or sform; it is ignored otherwise, except that an Analyze
    header is never believed.
    """
    parts = files_of(path)
    try:
        with np.errstate(all="ignore"):
            fields = _fields(parts[0], _read_bytes(parts[0], HEADER_BYTES))
            shape, dtype = _shape(path, fields), fields.get_data_dtype()
            if (
                isinstance(fields, Nifti1Header)
                and np.isinf([fields["scl_slope"], fields["scl_inter"]]).any()
            ):
                raise ValueError("values are scaled or shifted by infinity")
            slope, intercept = fields.get_slope_inter()  # None and 0 say that there is none
            affine = _affine(path, fields, shape, orientation)
            offset = float(fields.get_data_offset())
            least = 0 if len(parts) == 2 else len(fields.binaryblock)
            if not (offset.is_integer() and least <= offset <= MOST_BYTES):
                raise ValueError(f"the voxels begin at byte {offset:g}")
    except IMPOSSIBLE as error:
        words = " ".join(str(error).split())
        raise SubjectError(
            f"{path} has a header that cannot be used ({words}): convert it to NIfTI again."
        ) from error
    if dtype.kind not in "iuf" or not dtype.itemsize:
        raise SubjectError(f"{path} holds {dtype} values; a scan has one number per voxel: convert it.")
    header = Header(
        path, parts[-1], shape, dtype, int(offset), float(slope or 1.0), float(intercept or 0.0), affine
    )
    if header.end > MOST_BYTES:
        raise SubjectError(
            f"{path} announces a volume of {' x '.join(map(str, shape))} voxels ({dtype}), "
            f"{header.end / 2**30:.1f} GiB; expected at most {MOST_BYTES // 2**30} GiB: check its "
            "header, or resample the scan."
        )
    _check_place(header)
    return header


def read_voxels(header: Header, scaled: bool = True) -> NDArray[Any]:
    """The stored values with slope and intercept applied, (*header.shape); float32 where not whole.

    Without `scaled` they are as they are stored, in the file's own type.
    """
    data = _read_bytes(header.body, header.end + PADDING_BYTES + 1)
    if len(data) < header.end:
        raise SubjectError(
            f"{header.body} is cut short: shape {header.shape} of {header.dtype} needs {header.end} bytes, "
            f"there are {len(data)}; fetch the file again."
        )
    smallest_face = header.dtype.itemsize * int(np.prod(sorted(header.shape)[:2]))
    rest = data[header.end :]
    if len(rest) > min(PADDING_BYTES, smallest_face - 1) or rest.strip(b"\0"):
        raise SubjectError(
            f"{header.body} holds more than shape {header.shape} of {header.dtype}, which ends after "
            f"{header.end} bytes: its header is wrong, or something was written behind the voxels; "
            "fetch the file again."
        )
    count = int(np.prod(header.shape))
    array = np.frombuffer(data, header.dtype, count, header.offset).reshape(header.shape, order="F")
    if not scaled:
        return array.astype(array.dtype.newbyteorder("="))
    with np.errstate(over="ignore", invalid="ignore"):  # infinite then, which readers of images refuse
        if header.slope != 1 or header.intercept:
            return array.astype(np.float32) * np.float32(header.slope) + np.float32(header.intercept)
        native = np.dtype(np.float32) if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
        return array.astype(native, copy=False)


def corner_distance(first: NDArray[np.float64], second: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """The furthest that two affines place one corner of a volume apart, in mm."""
    corners = list_corners([(0, n - 1) for n in shape])
    difference = np.asarray(first) - np.asarray(second)
    return float(np.linalg.norm(difference[:3, :3] @ corners + difference[:3, 3:], axis=0).max())


def round_rows(affine: NDArray[np.float64]) -> list[list[float]]:
    """The upper three rows of an affine, rounded for a sentence."""
    return [[float(f"{value:.4g}") for value in row] for row in affine[:3]]


def _read_bytes(path: Path, most: int) -> bytes:
    """Up to `most` bytes of a file, decompressed where they are gzip, whatever the file's name says."""
    try:
        with open_file(path) as opened:
            packed = opened.peek(2)[:2] == GZIP_MAGIC
            content = (IGzipFile(fileobj=opened, mode="rb") if packed else opened).read(most)
    except (OSError, EOFError, IsalError) as error:  # type: ignore[misc]  # isal's stub lacks the class
        words = getattr(error, "strerror", None) or error
        raise SubjectError(f"{path} cannot be read ({words}): fetch the file again.") from error
    if not content:
        raise SubjectError(f"{path} is empty: fetch the file again.")
    return content


def _fields(path: Path, content: bytes) -> Any:
    """nibabel's header object of the first bytes of a file."""
    sizes = {int.from_bytes(content[:4], order) for order in ("little", "big")}
    second = HEADER_BYTES in sizes
    magic = content[4:7] if second else content[344:347]
    pair = len(files_of(path)) == 2
    kind = HEADERS.get((second, magic), AnalyzeHeader if 348 in sizes and pair else None)
    if kind is None or len(content) < kind.sizeof_hdr or (magic[1:2] == b"+" and pair):
        raise SubjectError(
            f"{path} cannot be read as NIfTI or Analyze, or is truncated: fetch the file again."
        )
    if magic[1:2] == b"i" and not pair:
        raise SubjectError(
            f"{path} is the header of a pair, whose name ends in .hdr: fetch both files, or convert it."
        )
    fields = kind(content[: kind.sizeof_hdr], check=False)
    fields.check_fix(logger=_SILENT)  # what nibabel can put right is no news
    return fields


def _shape(path: Path, fields: Any) -> tuple[int, int, int]:
    shape = tuple(int(n) for n in fields.get_data_shape())
    if len(shape) < 3 or any(n != 1 for n in shape[3:]) or min(shape) < 1:
        raise SubjectError(
            f"{path} has shape {shape}; expected three axes (further ones of length 1 are dropped): "
            "extract one volume."
        )
    return shape[0], shape[1], shape[2]


def _affine(path: Path, fields: Any, shape: tuple[int, ...], orientation: str | None) -> NDArray[np.float64]:
    """Storage indices to RAS+ millimetres."""
    qform = sform = None
    if isinstance(fields, Nifti1Header):
        qform, sform = fields.get_qform(coded=True)[0], fields.get_sform(coded=True)[0]
    if qform is not None and sform is not None:
        apart = corner_distance(qform, sform, shape)
        if not apart <= DISAGREEMENT_VOXELS * np.linalg.norm(sform[:3, :3], axis=0).min():
            raise SubjectError(
                f"{path} has a qform and an sform that place a corner {apart:.1f} mm apart "
                f"(qform {round_rows(qform)}, sform {round_rows(sform)}): set the right one in both."
            )
    if sform is not None or qform is not None:
        return np.asarray(qform if sform is None else sform, np.float64)
    if orientation is None:
        raise SubjectError(
            f"{path} does not say how it is oriented (Analyze, or qform and sform codes 0): "
            "state the orientation in the data set's card, or convert the file to NIfTI with an sform."
        )
    affine = np.diag([0.0, 0.0, 0.0, 1.0])  # centred at the origin
    for stored, (world, direction) in enumerate(axcodes2ornt(orientation)):
        affine[int(world), stored] = direction * abs(float(fields.get_zooms()[stored]))
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _check_place(header: Header) -> None:
    """Stop where voxels have an impossible size, or lie where no scanner is."""
    affine, path = header.affine, header.path
    with np.errstate(all="ignore"):
        sides = np.linalg.norm(affine[:3, :3], axis=0)
        directions = affine[:3, :3] / sides
        upright = abs(np.linalg.det(directions)) if np.isfinite(directions).all() else 0.0
    if not (np.isfinite(affine).all() and upright >= LEAST_UPRIGHT):
        raise SubjectError(
            f"{path} has an affine that maps its voxels onto a plane or nowhere {round_rows(affine)}: "
            "correct its header."
        )
    low, high = SPACING_MM
    if not (low <= sides.min() and sides.max() <= high):
        words = " x ".join(f"{side:.4g}" for side in sides)
        raise SubjectError(
            f"{path} has voxels of {words} mm; expected sides of {low:g} to {high:g} mm: correct its header."
        )
    away = corner_distance(affine, np.zeros((4, 4)), header.shape)
    if away > FARTHEST_MM:
        raise SubjectError(
            f"{path} has a corner {away:.4g} mm from the origin of the world; expected at most "
            f"{FARTHEST_MM:g} mm: correct its header."
        )
