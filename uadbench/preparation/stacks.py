"""Stacks: slices that come as picture files, one file each, without any geometry.

A picture's first row is the front and its first column the patient's right, as radiologists look at slices;
nothing in the files says so, and left and right cannot be told from them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from uadbench.errors import SubjectError
from uadbench.preparation.labels import Labels
from uadbench.subject import Slice


def read_picture(path: Path) -> NDArray[Any]:
    """A picture (rows, columns) or (rows, columns, channels) as stored; else a SubjectError."""
    try:
        with tifffile.TiffFile(path) as opened:
            picture = np.asarray(opened.pages[0].asarray())
    except (tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError, TypeError) as error:
        raise SubjectError(f"{path} cannot be read ({error}): fetch the file again.") from error
    if picture.ndim not in (2, 3) or picture.dtype.kind not in "iu" or not picture.size:
        raise SubjectError(
            f"{path} holds {picture.dtype} of shape {picture.shape}; it is no picture of a slice."
        )
    return picture


def read_images(stack: Sequence[Slice]) -> NDArray[Any]:
    """All channels of all slices, (channels, R, A, S)."""
    pictures = _of_one_shape([one.image for one in stack], 3)
    return np.stack([_turned(np.moveaxis(picture, -1, 0)) for picture in pictures], -1)


def read_masks(stack: Sequence[Slice], labels: Labels) -> NDArray[np.bool_]:
    """Lesion (R, A, S); a value that the card does not know is a SubjectError."""
    masks = _of_one_shape([one.mask for one in stack], 2)
    for one, mask in zip(stack, masks, strict=True):
        unknown = sorted(set(np.unique(mask).tolist()) - set(labels.known))
        if unknown:
            raise SubjectError(
                f"{one.mask} has the labels {unknown}, the data set's card knows {list(labels.known)}: "
                "correct the card, or leave the subject out."
            )
    return np.stack([_turned(np.isin(mask, labels.lesion)) for mask in masks], -1)


def repeated(images: NDArray[Any], channel: int, of: int) -> NDArray[np.bool_]:
    """In which slices (S,) a channel is nothing but a copy of another; empty slices are no copies."""
    first, second = images[channel], images[of]
    if channel == of:
        return np.zeros(images.shape[-1], bool)
    shows = second.max((0, 1)) > second.min((0, 1))
    return np.asarray((first == second).all((0, 1)) & shows)


def is_replaced(stack: Sequence[Slice], channel: int, of: int) -> bool:
    """Whether a channel is a copy of another in all slices that can be read."""
    seen = False
    for one in _from_the_middle(stack):
        try:
            picture = _turned(np.moveaxis(read_picture(one.image), -1, 0))[..., None]
        except SubjectError:
            continue  # `verify` and `prepare` name it
        copied = len(picture) > max(channel, of) and bool(repeated(picture, channel, of)[0])
        if not copied and picture[of].any():
            return False
        seen |= copied
    return seen


def holds_lesion(stack: Sequence[Slice]) -> bool:
    """Whether any mask that can be read has a value but 0."""
    for one in _from_the_middle(stack):
        try:
            if read_picture(one.mask).any():
                return True
        except SubjectError:
            continue  # `verify` and `prepare` name it
    return False


def _of_one_shape(paths: Sequence[Path], axes: int) -> list[NDArray[Any]]:
    pictures = [read_picture(path) for path in paths]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.ndim != axes or picture.shape != pictures[0].shape:
            raise SubjectError(
                f"{path} has the shape {picture.shape}; expected are {axes} axes and the shape of the "
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
