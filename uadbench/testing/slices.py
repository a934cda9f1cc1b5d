"""Slices: phantom people as pictures of slices, without any geometry. See `uadbench.testing.heads`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from uadbench.testing import heads
from uadbench.testing.heads import CENTRE_MM, DRAWN, Visit

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


def save(root: Path, folder: SliceFolder, kind: str | None, seed: int) -> None:
    """Write the pictures of all slices; the front is at the top and the subject's right at the left."""
    head = heads.draw(folder.visit.subject, kind, seed)
    random = np.random.default_rng([seed, folder.visit.number])
    channels = []
    for contrast in folder.channels:
        image = BRIGHTEST * _sampled(head.images[contrast], folder, 1)
        noise = NOISE * random.standard_normal(image.shape, np.float32)
        channels.append(np.rint(np.abs(image + noise)).clip(0, 255).astype(np.uint8))
    lesion = (_sampled(head.lesion.astype(np.float32), folder, 0) > 0) * np.uint8(folder.label)
    for number in range(folder.slices):
        images = [channel[..., number] for channel in channels]
        write(root / folder.image.format(number + 1), np.stack([_turned(one) for one in images], -1))
        write(root / folder.mask.format(number + 1), _turned(lesion[..., number]))


def write(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write one picture, (rows, columns) or (rows, columns, 3); the same pixels give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = "rgb" if picture.ndim == 3 else "minisblack"
    tifffile.imwrite(path, picture, photometric=colours, software="", metadata=None)


def _turned(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(R, A) as rows and columns of a picture."""
    return np.ascontiguousarray(plane.T[::-1, ::-1])


def _sampled(volume: NDArray[np.float32], folder: SliceFolder, order: Literal[0, 1]) -> NDArray[np.float32]:
    """A drawn volume on the pixels, (R, A, slices)."""
    apart = HEIGHT_MM / folder.slices
    affine = np.diag([folder.pixel_mm, folder.pixel_mm, apart, 1.0])
    shape = (folder.pixels, folder.pixels, folder.slices)
    affine[:3, 3] = np.array(CENTRE_MM) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    to_drawn = np.linalg.inv(DRAWN.affine) @ affine
    sampled: NDArray[np.float32] = ndimage.affine_transform(
        volume, to_drawn[:3, :3], to_drawn[:3, 3], shape, order=order, prefilter=False
    )
    return sampled
