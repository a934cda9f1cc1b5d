"""Slices: simulated subjects as pictures of slices, without geometry, and corruptions of such pictures."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from uadbench.testing.corruptions import Corruption, Scene
from uadbench.testing.heads import CENTRE_MM, DRAWN, Visit, draw_head, sample

BRIGHTEST = 110  # stored value of the brightest brain tissue
NOISE = 1.0  # deviation, in stored values
HEIGHT_MM = 180.0  # that the slices cover


@dataclass(frozen=True, kw_only=True)
class SliceFolder:
    """The slices of one visit: `{}` in the paths stands for their numbers, from 1 at the neck."""

    visit: Visit
    image: str  # relative to the root
    mask: str
    channels: tuple[str, ...]  # contrasts
    slices: int = 16
    pixels: int = 256
    pixel_mm: float = 1.0
    label: int = 255


def write_slices(root: Path, folder: SliceFolder, kind: str | None, seed: int) -> None:
    """Write the pictures of all slices; the front is at the top and the subject's right at the left."""
    head = draw_head(folder.visit.subject, kind, seed)
    random = np.random.default_rng([seed, folder.visit.number])
    channels = []
    for contrast in folder.channels:
        image = BRIGHTEST * sample(head.images[contrast], *lay_pixels(folder), 1)
        noise = NOISE * random.standard_normal(image.shape, np.float32)
        channels.append(np.rint(np.abs(image + noise)).clip(0, 255).astype(np.uint8))
    lesion = (sample(head.lesion, *lay_pixels(folder), 0) > 0) * np.uint8(folder.label)
    for number in range(folder.slices):
        images = [channel[..., number] for channel in channels]
        write_picture(root / folder.image.format(number + 1), np.stack([_turned(one) for one in images], -1))
        write_picture(root / folder.mask.format(number + 1), _turned(lesion[..., number]))


def lay_pixels(folder: SliceFolder) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Indices of pixels (R, A, slice) to those of a drawn head, (4, 4), and their shape."""
    shape = (folder.pixels, folder.pixels, folder.slices)
    affine = np.diag([folder.pixel_mm, folder.pixel_mm, HEIGHT_MM / folder.slices, 1.0])
    affine[:3, 3] = np.array(CENTRE_MM) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return np.asarray(np.linalg.inv(DRAWN.affine) @ affine, np.float64), shape


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write one picture, (rows, columns) or (rows, columns, 3); the same pixels give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = "rgb" if picture.ndim == 3 else "minisblack"
    tifffile.imwrite(path, picture, photometric=colours, software="", metadata=None)


def _turned(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(R, A) as rows and columns of a picture."""
    return np.ascontiguousarray(plane.T[::-1, ::-1])


# ---- corruptions ----

SPOILT = 3  # the slice that a corruption of one slice befalls


def find_slices(scene: Scene, number: int = 0) -> Path:
    """The folder of the target, or of another subject."""
    folders = sorted({path.parent for path in scene.root.rglob("*_1.tif")})
    return folders[(number or scene.target) - 1]


def _picture(scene: Scene, ending: str = "") -> Path:
    folder = find_slices(scene)
    return folder / f"{folder.name}_{SPOILT}{ending}.tif"


def _change_pictures(
    change: Callable[[NDArray[Any]], None], mask: bool = False, only: int | None = None
) -> Corruption:
    """Change the target's pictures or masks in place: all, or those of one slice."""

    def apply(scene: Scene) -> None:
        for path in sorted(find_slices(scene).glob("[!.]*.tif")):
            number = path.stem.removesuffix("_mask").rpartition("_")[2]
            if path.stem.endswith("_mask") == mask and only in (None, int(number)):
                picture = np.array(tifffile.imread(path))
                change(picture)
                write_picture(path, picture)

    return Corruption(apply)


def _repeat_flair(picture: NDArray[Any]) -> None:
    picture[..., 2] = picture[..., 1]


def _truncate(scene: Scene) -> None:
    path = _picture(scene)
    path.write_bytes(path.read_bytes()[:900])


def _copy_first_subject(scene: Scene) -> None:
    first, folder = find_slices(scene, 1), find_slices(scene)
    shutil.rmtree(folder)
    folder.mkdir()
    for path in first.iterdir():
        shutil.copy(path, folder / path.name.replace(first.name, folder.name))


SLICE_CORRUPTIONS = {
    "missing_sequence": _change_pictures(_repeat_flair),  # replaced by FLAIR, as the set's publishers did
    "missing_slice": _change_pictures(_repeat_flair, only=8),  # one slice of it
    "no_lesion": _change_pictures(lambda picture: picture.fill(0), mask=True),
    "unknown_label": _change_pictures(lambda picture: picture.fill(7), mask=True, only=SPOILT),
    "constant": _change_pictures(lambda picture: picture.fill(5)),
    "no_mask": Corruption(lambda scene: _picture(scene, "_mask").unlink()),  # of one slice
    "no_image": Corruption(lambda scene: _picture(scene).unlink()),
    "truncated": Corruption(_truncate),
    "zero_bytes": Corruption(lambda scene: _picture(scene).write_bytes(b"")),
    "duplicate": Corruption(_copy_first_subject),  # the pictures of one subject under another's name
    "row_without_file": Corruption(lambda scene: shutil.rmtree(find_slices(scene))),
}
