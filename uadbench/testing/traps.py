"""Traps: what real files contain to one's surprise (reference of the data sets, "Traps"), put into a fixture.

Each is sprung on the files of one subject, after they have been written; those of names and folders on all.
"""

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from uadbench.testing import heads
from uadbench.testing.heads import Picture, Stored
from uadbench.testing.name_traps import NAME_TRAPS
from uadbench.testing.scene import MASKS, Scene, trap, voxel_file

ORIENTATIONS = ("PSR", "LAS", "LPS")
AMOUNT_MM = 12.0  # by which a mask or a qform is off
UNKNOWN_LABEL = 9
ALMOST_ONE = np.nextafter(np.float32(1), np.float32(0))


def held(pictures: Sequence[Picture], table: bool) -> frozenset[str]:
    """What a fixture holds that traps may need."""
    there = {picture.shows if picture.shows in MASKS else "image" for picture in pictures}
    if not any(picture.path.endswith(".hdr") for picture in pictures):
        there.add("nifti")
    if all(picture.space != "MNI152" for picture in pictures):
        there.add("free")
    return frozenset(there | ({"table"} if table else set()))


def _change(path: Path, change: Callable[[Stored], Stored]) -> None:
    """Write a file anew with changed voxels or affine."""
    code = "scanner"
    if path.suffix != ".hdr":
        code = str(nibabel.load(path).header.get_value_label("sform_code"))
    heads.save(path, change(heads.read(path)), code)


# ---- 1: values ----


def _rounded_mask(scene: Scene) -> None:
    _change(scene.mask("brain"), lambda s: Stored((s.array > 0) * ALMOST_ONE, s.affine))


def _float_labels(scene: Scene) -> None:
    _change(scene.mask("lesion"), lambda s: Stored(s.array * ALMOST_ONE, s.affine))


def _cut_view(scene: Scene) -> None:
    """The upper end of the first image's field of view is missing."""

    def cut(stored: Stored) -> Stored:
        orientation = io_orientation(stored.affine)
        axis = int(np.flatnonzero(orientation[:, 0] == 2)[0])
        lost = stored.array.shape[axis] // 5
        window = [slice(None)] * stored.array.ndim
        window[axis] = slice(0, -lost) if orientation[axis, 1] > 0 else slice(lost, None)
        affine = stored.affine.copy()
        affine[:3, 3] += affine[:3, axis] * (window[axis].start or 0)
        return Stored(stored.array[tuple(window)], affine)

    _change(scene.images()[0], cut)


# ---- 3: lattices ----


def _mask_on_another_grid(scene: Scene) -> None:
    """The lesion mask has fewer voxels than the image, in their right places."""

    def crop(stored: Stored) -> Stored:
        affine = stored.affine.copy()
        affine[:3, 3] += affine[:3, :3].sum(1)
        return Stored(stored.array[1:-1, 1:-1, 1:-1], affine)

    _change(scene.mask("lesion"), crop)


def _shifted_mask(scene: Scene) -> None:
    """The lesion mask has the image's shape and another affine: one of the headers is wrong."""

    def shift(stored: Stored) -> Stored:
        affine = stored.affine.copy()
        affine[0, 3] += AMOUNT_MM
        return Stored(stored.array, affine)

    _change(scene.mask("lesion"), shift)


def _oblique(scene: Scene) -> None:
    """The subject's whole world is turned by 15 degrees about the left-right axis."""
    turn = np.eye(4)
    turn[:3, :3] = heads.voxels(heads.Lattice(tilt_degrees=15, spacing_mm=(1, 1, 1)), np.zeros(3))[1][:3, :3]
    for _, path in scene.of(scene.victim):
        _change(path, lambda s: Stored(s.array, turn @ s.affine))


def _disagreeing_forms(scene: Scene) -> None:
    path = scene.images()[0]
    image = nibabel.load(path)
    moved = np.array(image.affine)
    moved[1, 3] += AMOUNT_MM
    image.set_qform(moved, code="scanner")
    content = image.to_bytes()
    path.write_bytes(gzip.compress(content, 1, mtime=0) if path.suffix == ".gz" else content)


def _four_axes(scene: Scene) -> None:
    for _, path in scene.of(scene.victim):
        _change(path, lambda s: Stored(s.array[..., None], s.affine))


# ---- 4: orientation ----


def _orientations(scene: Scene) -> None:
    """Subjects take turns in PSR, LAS and LPS."""
    for picture, path in scene.pictures:
        axes = ORIENTATIONS[picture.visit.number % len(ORIENTATIONS)]

        def turn(stored: Stored, axes: str = axes) -> Stored:
            change = ornt_transform(io_orientation(stored.affine), axcodes2ornt(axes))
            turned = nibabel.orientations.apply_orientation(stored.array, change)
            return Stored(turned, stored.affine @ inv_ornt_aff(change, stored.array.shape[:3]))

        _change(path, turn)


# ---- 5: damage ----


def _nan(scene: Scene) -> None:
    def spoil(stored: Stored) -> Stored:
        array = stored.array.astype(np.float32)
        array.flat[::1001] = np.nan
        array.flat[::4003] = np.inf
        return Stored(array, stored.affine)

    _change(scene.images()[0], spoil)


def _constant(scene: Scene) -> None:
    _change(scene.images()[0], lambda s: Stored(np.full_like(s.array, 5), s.affine))


def _empty_mask(scene: Scene) -> None:
    _change(scene.mask("lesion"), lambda s: Stored(np.zeros_like(s.array), s.affine))


def _unknown_label(scene: Scene) -> None:
    def mark(stored: Stored) -> Stored:
        array = stored.array.copy()
        array[2:4, 2:4, 2:4] = UNKNOWN_LABEL
        return Stored(array, stored.affine)

    _change(scene.mask("lesion"), mark)


def _truncated(scene: Scene) -> None:
    path = voxel_file(scene.images()[0])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _zero_bytes(scene: Scene) -> None:
    voxel_file(scene.images()[0]).write_bytes(b"")


def _disguised_gzip(scene: Scene) -> None:
    """A file .nii that is really gzip."""
    path = scene.images()[0]
    content = path.read_bytes()
    path.unlink()
    compressed = content if path.suffix == ".gz" else gzip.compress(content, 1, mtime=0)
    path.with_name(path.name.removesuffix(".gz")).write_bytes(compressed)


def _macos(scene: Scene) -> None:
    """A `._` file beside every file, as macOS leaves them in archives."""
    for path in [*(path for _, path in scene.pictures), *scene.tables]:
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")


def _no_lesion_mask(scene: Scene) -> None:
    scene.mask("lesion").unlink()


# ---- 7: copies ----


def _duplicate(scene: Scene) -> None:
    """The victim's first image is the first subject's: the same voxels in a file of other bytes."""
    source, copy = scene.images(1)[0], scene.images()[0]
    if copy.suffix == ".hdr":
        heads.save(copy, heads.read(source))
    else:
        content = source.read_bytes()
        if source.suffix == ".gz":
            content = gzip.compress(gzip.decompress(content), 9, mtime=1)
        copy.write_bytes(content)


TRAPS = {
    "rounded_mask": trap(_rounded_mask, "nifti brain", "a brain mask whose maximum is not quite 1"),
    "float_labels": trap(_float_labels, "nifti lesion", "labels stored as float32, not quite whole"),
    "cut_view": trap(_cut_view, "nifti image", "the top of the field of view is missing"),
    "mask_on_another_grid": trap(_mask_on_another_grid, "nifti lesion", "a mask of another shape"),
    "shifted_mask": trap(_shifted_mask, "nifti lesion", "a mask of the same shape and another affine"),
    "oblique": trap(_oblique, "nifti image free", "slices 15 degrees off the axes"),
    "disagreeing_forms": trap(_disagreeing_forms, "nifti image", "a qform and an sform that contradict"),
    "four_axes": trap(_four_axes, "nifti image", "a fourth axis of length 1"),
    "orientations": trap(_orientations, "nifti image", "PSR, LAS and LPS by turns"),
    "nan": trap(_nan, "image", "NaN and infinities"),
    "constant": trap(_constant, "image", "one value everywhere"),
    "empty_mask": trap(_empty_mask, "lesion", "a lesion mask of zeros"),
    "unknown_label": trap(_unknown_label, "lesion", "a label that the card does not know"),
    "truncated": trap(_truncated, "image", "a file cut short"),
    "zero_bytes": trap(_zero_bytes, "image", "a file of no bytes"),
    "disguised_gzip": trap(_disguised_gzip, "nifti image", "a .nii that is really gzip"),
    "macos": trap(_macos, "image", "._ files"),
    "no_lesion_mask": trap(_no_lesion_mask, "lesion", "a patient without a lesion mask"),
    "duplicate": trap(_duplicate, "image", "the image of one subject under another's name"),
}
TRAPS |= NAME_TRAPS
