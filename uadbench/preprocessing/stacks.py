"""Stacks: slices that come as picture files, one file each, without any geometry.

A picture's first row is the front and its first column the patient's right, as radiologists look at slices;
nothing in the files says so, and left and right cannot be told from them.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from uadbench.data.session import Slice
from uadbench.preprocessing.labels import Labels
from uadbench.system.errors import SubjectError

MOST_SAMPLES = 2**26  # of one picture, all channels; slices have a thousandth of it


def read_picture(path: Path) -> NDArray[Any]:
    """A picture (rows, columns) or (rows, columns, channels) as stored; else a SubjectError."""
    try:
        with tifffile.TiffFile(path) as opened:
            page = opened.pages.first
            samples = int(np.prod(page.shape, dtype=object))
            if samples > MOST_SAMPLES:
                raise ValueError(f"it announces {samples} values, a slice has at most {MOST_SAMPLES}")
            picture = np.asarray(_decoded(path, page))
    except SubjectError:
        raise
    except Exception as error:  # whatever the numbers of a damaged file make a decoder raise
        words = " ".join(str(error).split()) or type(error).__name__
        raise SubjectError(f"{path} cannot be read ({words}): fetch the file again.") from error
    if picture.ndim not in (2, 3) or picture.dtype.kind not in "iu" or not picture.size:
        raise SubjectError(
            f"{path} holds {picture.dtype} of shape {picture.shape}; it is not a picture of a slice."
        )
    return picture


def _decoded(path: Path, page: Any) -> NDArray[Any]:
    """The values of a page; what tifffile has no codec for itself, such as LZW, is read by Pillow."""
    try:
        return np.asarray(page.asarray())
    except (ImportError, ValueError) as error:
        if not isinstance(error, ImportError) and "imagecodecs" not in str(error):
            raise
    try:
        with Image.open(path) as opened:
            return np.asarray(opened)
    except (OSError, ValueError) as error:
        codec = getattr(page.compression, "name", page.compression)
        raise SubjectError(
            f"{path} is compressed by {codec}, and Pillow does not read it ({error}): install the package "
            "imagecodecs, save the picture without compression, or fetch it again if it is damaged."
        ) from error


def read_images(stack: Sequence[Slice]) -> NDArray[Any]:
    """All channels of all slices, (channels, R, A, S)."""
    pictures = _of_one_shape([one.image for one in stack], 3)
    return np.stack([_turned(np.moveaxis(picture, -1, 0)) for picture in pictures], -1)


def read_masks(stack: Sequence[Slice], labels: Labels) -> tuple[NDArray[np.bool_], int | None]:
    """Lesion (R, A, S), and the value that was read as the card's, see `Labels.binary`.

    A value that the card does not know is a SubjectError.
    """
    masks = _of_one_shape([one.mask for one in stack], 2)
    values = [np.unique(mask) for mask in masks]
    binary = labels.binary(np.unique(np.concatenate(values)))
    for one, there in zip(stack, values, strict=True):
        unknown = labels.unknown(there)
        if unknown and binary is None:
            raise SubjectError(
                f"{one.mask} has the labels {unknown}, the data set's card lists {list(labels.known)}: "
                "correct the card, or leave the session out."
            )
    lesion = labels.lesion if binary is None else (binary,)
    return np.stack([_turned(np.isin(mask, lesion)) for mask in masks], -1), binary


def find_repeated(images: NDArray[Any], channel: int, of: int) -> NDArray[np.bool_]:
    """In which slices (S,) a channel is nothing but a copy of another; empty slices are no copies."""
    first, second = images[channel], images[of]
    if channel == of:
        return np.zeros(images.shape[-1], bool)
    shows = second.max((0, 1)) > second.min((0, 1))
    return np.asarray((first == second).all((0, 1)) & shows)


def is_replaced(stack: Sequence[Slice], channel: int, of: int) -> bool:
    """Whether a channel is a copy of another in all slices that can be read."""
    seen = False
    for stored in _readable(one.image for one in _from_the_middle(stack)):
        picture = _turned(np.moveaxis(stored, -1, 0))[..., None]
        copied = len(picture) > max(channel, of) and bool(find_repeated(picture, channel, of)[0])
        if not copied and picture[of].any():
            return False
        seen |= copied
    return seen


def holds_lesion(stack: Sequence[Slice]) -> bool:
    """Whether any mask that can be read has a value but 0."""
    return any(mask.any() for mask in _readable(one.mask for one in _from_the_middle(stack)))


def _readable(paths: Iterable[Path]) -> Iterator[NDArray[Any]]:
    """The pictures that can be read; `verify` and `prepare` name the others."""
    for path in paths:
        with suppress(SubjectError):
            yield read_picture(path)


def _of_one_shape(paths: Sequence[Path], axes: int) -> list[NDArray[Any]]:
    pictures = [read_picture(path) for path in paths]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.ndim != axes or picture.shape != pictures[0].shape:
            raise SubjectError(
                f"{path} has the shape {picture.shape}; expected {axes} axes and the shape of the "
                f"stack's first slice, {pictures[0].shape}."
            )
    return pictures


def _turned(pictures: NDArray[Any]) -> NDArray[Any]:
    """(..., rows, columns) as (..., R, A)."""
    return np.swapaxes(pictures[..., ::-1, ::-1], -1, -2)


def _from_the_middle(stack: Sequence[Slice]) -> list[Slice]:
    """Slices near the middle first: lesions and differences between contrasts show there soon."""
    middle = (len(stack) - 1) / 2
    return [stack[n] for n in sorted(range(len(stack)), key=lambda n: abs(n - middle))]
