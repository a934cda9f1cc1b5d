"""Corruptions: what real files contain to one's surprise, put into a fixture.

Each is applied to the files of one subject, the target, after they have been written; those of names and
folders (`uadbench.testing.name_corruptions`) to all.
"""

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from uadbench.testing import heads
from uadbench.testing.heads import Picture, Stored

MASKS = ("brain", "lesion")
ORIENTATIONS = ("PSR", "LAS", "LPS")
AMOUNT_MM = 12.0  # by which a mask or a qform is off
UNKNOWN_LABEL = 9
ALMOST_ONE = np.nextafter(np.float32(1), np.float32(0))


@dataclass(frozen=True)
class Scene:
    """The files of a fixture, and the subject (by the number of the visit) that a corruption befalls."""

    root: Path
    pictures: Sequence[tuple[Picture, Path]]
    tables: Sequence[Path]
    target: int = 0

    def of(self, number: int) -> list[tuple[Picture, Path]]:
        """The files of one subject that are still there."""
        return [(p, path) for p, path in self.pictures if p.visit.number == number and path.exists()]

    def images(self, number: int = 0) -> list[Path]:
        """The images of the target, or of another subject."""
        return [path for picture, path in self.of(number or self.target) if picture.shows not in MASKS]

    def mask(self, shows: str) -> Path:
        """The target's brain or lesion mask, the first of several."""
        return next(path for picture, path in self.of(self.target) if picture.shows == shows)

    def parts(self, number: int = 0) -> list[Path]:
        """The files of one subject or of all, both of a pair."""
        paths = [path for picture, path in self.pictures if number in (0, picture.visit.number)]
        return [part for path in paths for part in dict.fromkeys((path, find_voxels(path))) if part.exists()]


@dataclass(frozen=True)
class Corruption:
    """What is done to a scene, and what the fixture must hold for it."""

    apply: Callable[[Scene], object]
    needs: str = ""  # words of: image nifti free (not in MNI152) brain lesion table


Change = Callable[[Stored], Stored]


def list_contents(pictures: Sequence[Picture], table: bool) -> frozenset[str]:
    """What a fixture holds that corruptions may need."""
    there = {picture.shows if picture.shows in MASKS else "image" for picture in pictures}
    if not any(picture.path.endswith(".hdr") for picture in pictures):
        there.add("nifti")
    if all(picture.space != "MNI152" for picture in pictures):
        there.add("free")
    return frozenset(there | ({"table"} if table else set()))


def find_voxels(path: Path) -> Path:
    """The file that holds the voxels: the .img of an Analyze pair."""
    return path.with_suffix(".img") if path.suffix == ".hdr" else path


def rewrite(path: Path, change: Change) -> None:
    """Write a file again with changed voxels or affine."""
    code = "scanner"
    if path.suffix != ".hdr":
        code = str(nibabel.load(path).header.get_value_label("sform_code"))
    heads.write_scan(path, change(heads.read_scan(path)), code)


def change_first(file: str, change: Change, needs: str = "") -> Corruption:
    """A change of voxels or affine in the target's first `image`, or in its `brain` or `lesion` mask."""
    return Corruption(
        lambda scene: rewrite(scene.images()[0] if file == "image" else scene.mask(file), change),
        f"{file} {needs}",
    )


def change_target(change: Change, needs: str) -> Corruption:
    """A change of voxels or affine in every file of the target."""

    def apply(scene: Scene) -> None:
        for _, path in scene.of(scene.target):
            rewrite(path, change)

    return Corruption(apply, needs)


def _cut_top(stored: Stored) -> Stored:
    orientation = io_orientation(stored.affine)
    axis = int(np.flatnonzero(orientation[:, 0] == 2)[0])
    lost = stored.array.shape[axis] // 5
    window = [slice(None)] * stored.array.ndim
    window[axis] = slice(0, -lost) if orientation[axis, 1] > 0 else slice(lost, None)
    affine = stored.affine.copy()
    affine[:3, 3] += affine[:3, axis] * (window[axis].start or 0)
    return Stored(stored.array[tuple(window)], affine)


def _crop(stored: Stored) -> Stored:
    affine = stored.affine.copy()
    affine[:3, 3] += affine[:3, :3].sum(1)
    return Stored(stored.array[1:-1, 1:-1, 1:-1], affine)


def _shift(stored: Stored) -> Stored:
    affine = stored.affine.copy()
    affine[0, 3] += AMOUNT_MM
    return replace(stored, affine=affine)


def _tilt(stored: Stored) -> Stored:
    turn = np.eye(4)
    turn[:3, :3] = heads.turn_by(15, 0, 0)
    return replace(stored, affine=turn @ stored.affine)


def _move_qform(scene: Scene) -> None:
    path = scene.images()[0]
    image = nibabel.load(path)
    moved = np.array(image.affine)
    moved[1, 3] += AMOUNT_MM
    image.set_qform(moved, code="scanner")
    heads.write_image(path, image)


def _turn_axes(scene: Scene) -> None:
    for picture, path in scene.pictures:
        axes = ORIENTATIONS[picture.visit.number % len(ORIENTATIONS)]

        def turn(stored: Stored, axes: str = axes) -> Stored:
            change = ornt_transform(io_orientation(stored.affine), axcodes2ornt(axes))
            affine = stored.affine @ inv_ornt_aff(change, stored.array.shape[:3])
            return Stored(apply_orientation(stored.array, change), affine)

        rewrite(path, turn)


def _add_nan(stored: Stored) -> Stored:
    array = stored.array.astype(np.float32)
    array.flat[::1001] = np.nan
    array.flat[::4003] = np.inf
    return replace(stored, array=array)


def _add_label(stored: Stored) -> Stored:
    array = stored.array.copy()
    array[2:4, 2:4, 2:4] = UNKNOWN_LABEL
    return replace(stored, array=array)


def _truncate(scene: Scene) -> None:
    path = find_voxels(scene.images()[0])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _disguise_gzip(scene: Scene) -> None:
    path = scene.images()[0]
    content = path.read_bytes()
    path.unlink()
    compressed = content if path.suffix == ".gz" else gzip.compress(content, 1, mtime=0)
    path.with_name(path.name.removesuffix(".gz")).write_bytes(compressed)


def _add_macos_files(scene: Scene) -> None:
    for path in sorted(path for path in scene.root.rglob("*") if path.is_file()):
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")


def _copy_first_subject(scene: Scene) -> None:
    source, copy = scene.images(1)[0], scene.images()[0]
    if copy.suffix == ".hdr":
        heads.write_scan(copy, heads.read_scan(source))
    else:
        content = source.read_bytes()
        if source.suffix == ".gz":
            content = gzip.compress(gzip.decompress(content), 9, mtime=1)
        copy.write_bytes(content)


CORRUPTIONS = {
    # a brain mask whose maximum is not quite 1
    "rounded_mask": change_first("brain", lambda s: replace(s, array=(s.array > 0) * ALMOST_ONE), "nifti"),
    # labels stored as float32, not quite whole
    "float_labels": change_first("lesion", lambda s: replace(s, array=s.array * ALMOST_ONE), "nifti"),
    "cut_view": change_first("image", _cut_top, "nifti"),  # the top of the field of view is missing
    "mask_on_another_grid": change_first("lesion", _crop, "nifti"),  # fewer voxels, in their right places
    "shifted_mask": change_first("lesion", _shift, "nifti"),  # the image's shape and another affine
    "oblique": change_target(_tilt, "nifti image free"),  # slices 15 degrees off the axes
    "disagreeing_forms": Corruption(_move_qform, "nifti image"),  # a qform and an sform that contradict
    "four_axes": change_target(lambda s: replace(s, array=s.array[..., None]), "nifti image"),
    "orientations": Corruption(_turn_axes, "nifti image"),  # PSR, LAS and LPS by turns
    "nan": change_first("image", _add_nan),  # and infinities
    "constant": change_first("image", lambda s: replace(s, array=np.full_like(s.array, 5))),
    "empty_mask": change_first("lesion", lambda s: replace(s, array=np.zeros_like(s.array))),
    "unknown_label": change_first("lesion", _add_label),  # one that the card does not know
    "truncated": Corruption(_truncate, "image"),  # a file cut short
    "zero_bytes": Corruption(lambda scene: find_voxels(scene.images()[0]).write_bytes(b""), "image"),
    "disguised_gzip": Corruption(_disguise_gzip, "nifti image"),  # a .nii that is really gzip
    "macos": Corruption(_add_macos_files),  # a `._` file beside every file, as macOS leaves them in archives
    "no_lesion_mask": Corruption(lambda scene: scene.mask("lesion").unlink(), "lesion"),
    "duplicate": Corruption(_copy_first_subject, "image"),  # the same voxels in a file of other bytes
}
