"""Scans: NIfTI and Analyze files, read into canonical RAS axis order, and what can be wrong with them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from uadbench.preprocessing import resampling
from uadbench.preprocessing.nifti import Header, corner_distance, read_header, read_voxels, round_rows
from uadbench.system.errors import SubjectError
from uadbench.system.files import sha256

LABEL_TOLERANCE = 1e-3  # label files stored as float differ from integers by rounding only
LARGEST_LABEL = 2**31 - 1
# Of an image: sums of squares of larger values, and squares of smaller differences, leave float32.
LARGEST_VALUE, SMALLEST_RANGE = 1e12, 1e-15


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

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000)

    def voxels_apart(self, other: "Scan") -> float:
        """How far apart two scans of one shape place a corner, in sides of the smaller voxel."""
        apart = corner_distance(self.affine, other.affine, self.array.shape)
        return apart / float(min(self.spacing_mm.min(), other.spacing_mm.min()))

    def same_lattice(self, other: "Scan") -> bool:
        """Whether the voxels of both lie in the same places, to a hundredth of a voxel at the corners."""
        return self.array.shape == other.array.shape and self.voxels_apart(other) <= 0.01

    def sample_mask(self, mask: "Scan") -> NDArray[Any]:
        """The voxels of a mask or label volume on those of this scan, by nearest neighbour, 0 outside."""
        if self.same_lattice(mask):
            return mask.array
        to_mask = np.linalg.inv(mask.affine) @ self.affine
        return resampling.sample_nearest(mask.array, to_mask, self.array.shape)


def read_scan(path: Path, orientation: str | None = None) -> Scan:
    """A NIfTI or Analyze file as a `Scan`; `orientation` as in `read_header`.

    A file that cannot be used raises SubjectError.
    """
    header = read_header(path, orientation)
    return _canonical(path, read_voxels(header), header.affine)


def read_stored(header: Header) -> Scan:
    """The voxels of a file as they are stored, without slope and intercept, as a `Scan`."""
    return _canonical(header.path, read_voxels(header, scaled=False), header.affine)


def turn_back(array: NDArray[Any], header: Header) -> NDArray[Any]:
    """A volume (R, A, S) with its axes as a file stores them, (*header.shape)."""
    to_ras = io_orientation(header.affine)
    turned: NDArray[Any] = apply_orientation(
        array, ornt_transform(np.array([[0, 1], [1, 1], [2, 1]]), to_ras)
    )
    return turned


def read_lattice(path: Path, orientation: str | None = None) -> Scan:
    """Where the voxels of a file lie, without reading them: all are 0."""
    header = read_header(path, orientation)
    return _canonical(path, np.broadcast_to(np.uint8(0), header.shape), header.affine)


def read_image(path: Path, orientation: str | None = None) -> Scan:
    """An image: not constant, and a number everywhere that can be reckoned with, else SubjectError."""
    scan = read_scan(path, orientation)
    low, high = float(scan.array.min()), float(scan.array.max())  # NaN where there is one
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = scan.array.size - np.count_nonzero(np.isfinite(scan.array))
        raise SubjectError(
            f"{path} has {bad} voxels that are NaN or infinite; "
            "an image needs numbers everywhere: repair or leave out the file."
        )
    if max(-low, high) > LARGEST_VALUE or 0 < high - low < SMALLEST_RANGE:
        raise SubjectError(
            f"{path} has values from {low:.3g} to {high:.3g}; expected values up to {LARGEST_VALUE:g} "
            f"that differ by more than {SMALLEST_RANGE:g}: correct the slope in its header, or leave it out."
        )
    if low == high:
        raise SubjectError(
            f"{path} has the one value {scan.array[0, 0, 0]} in all voxels: it shows nothing; leave it out."
        )
    return scan


def read_labels(path: Path, orientation: str | None = None) -> Scan:
    """A label file as integers; values within 0.001 of an integer are rounded.

    Two values of which the smaller is 0 are labels too, whatever the larger is: 0 and 1. Others are an error.
    """
    scan = read_scan(path, orientation)
    if not np.issubdtype(scan.array.dtype, np.floating):
        return scan
    labels = np.zeros(scan.array.shape, np.int32, "F")
    marked = scan.array != 0  # little of most label files, and all that has to be looked at
    if not marked.any():
        return Scan(labels, scan.affine)
    box = resampling.bounding_box(marked)
    values = scan.array[box]
    rounded = np.rint(values)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        whole = (np.abs(values - rounded) <= LABEL_TOLERANCE).all()  # NaN fails this too
    if whole and np.abs(rounded).max() <= LARGEST_LABEL:
        labels[box] = rounded
        return Scan(labels, scan.affine)
    top = values.max()
    if np.isfinite(top) and top > 0 and ((values == 0) | (values == top)).all():
        labels[box] = values == top
        return Scan(labels, scan.affine)
    raise SubjectError(
        f"{path} is a label file, but it has values that are no integers: "
        "supply the labels as they were drawn, without interpolation."
    )


def voxel_hash(array: NDArray[Any]) -> str:
    """SHA-256 of canonicalised voxels (R, A, S): the same whatever the compression, dtype or axis order.

    Whole numbers are hashed as int16 where they fit, everything else as float32.
    """
    # First axis fastest, as NIfTI stores it: for most files no transposition is needed.
    digest = hashlib.sha256(repr(array.shape).encode())
    digest.update(np.ascontiguousarray(_plain(array.T)).data)
    return digest.hexdigest()


def fingerprint(array: NDArray[Any]) -> str:
    """What tells a volume (R, A, S) from any other, as `voxel_hash` does, in a fifth of its time.

    SHA-256 of the CRC-32 of every axial slice: scans that differ in n slices share it by a chance of 2^-32n.
    """
    plain = np.ascontiguousarray(_plain(array.T))
    return sha256(repr((plain.shape, plain.dtype.str, [isal_zlib.crc32(one) for one in plain])))


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    if np.can_cast(array.dtype, np.int16):
        return array.astype(np.int16, copy=False)
    if array.min() >= -32768 and array.max() <= 32767:
        middle = array[len(array) // 2]  # most images that are not whole numbers show it here
        if np.array_equal(middle, np.rint(middle)) and np.array_equal(whole := array.astype(np.int16), array):
            return whole
    return array.astype(np.float32) + np.float32(0)  # -0 becomes 0


def _canonical(path: Path, array: NDArray[Any], affine: NDArray[np.float64]) -> Scan:
    """The array with its axes permuted and flipped to RAS; no voxel changes its place in the world."""
    axes = io_orientation(affine)
    turned = apply_orientation(array, axes)
    canonical = affine @ inv_ornt_aff(axes, array.shape)
    if aff2axcodes(canonical) != ("R", "A", "S"):
        raise SubjectError(
            f"{path} has axes so oblique that none of them can be called left-right {round_rows(affine)}: "
            "resample it along the axes of the head."
        )
    return Scan(turned, canonical)
