"""Traps in folders of slices: what such pictures contain to one's surprise. See `uadbench.testing.traps`."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from uadbench.testing.scene import Scene, Trap
from uadbench.testing.slices import write

Change = Callable[[NDArray[Any]], None]
SPOILT = 3  # the slice that a trap of one slice befalls


def folder_of(scene: Scene, number: int = 0) -> Path:
    """The folder of the victim, or of another subject."""
    folders = sorted({path.parent for path in scene.root.rglob("*_1.tif")})
    return folders[(number or scene.victim) - 1]


def _picture(scene: Scene, ending: str = "") -> Path:
    folder = folder_of(scene)
    return folder / f"{folder.name}_{SPOILT}{ending}.tif"


def _changed(change: Change, mask: bool = False, only: int | None = None) -> Callable[[Scene], None]:
    """Change the victim's pictures or masks in place: all, or those of one slice."""

    def spring(scene: Scene) -> None:
        for path in sorted(folder_of(scene).glob("*.tif")):
            number = path.stem.removesuffix("_mask").rpartition("_")[2]
            ours = not path.name.startswith("._")
            if ours and path.stem.endswith("_mask") == mask and only in (None, int(number)):
                picture = np.array(tifffile.imread(path))
                change(picture)
                write(path, picture)

    return spring


def _flair_for_the_last(picture: NDArray[Any]) -> None:
    picture[..., 2] = picture[..., 1]


def _filled(value: int) -> Change:
    return lambda picture: picture.fill(value)


def _no_mask(scene: Scene) -> None:
    _picture(scene, "_mask").unlink()


def _no_image(scene: Scene) -> None:
    _picture(scene).unlink()


def _truncated(scene: Scene) -> None:
    path = _picture(scene)
    path.write_bytes(path.read_bytes()[:900])


def _zero_bytes(scene: Scene) -> None:
    _picture(scene).write_bytes(b"")


def _macos(scene: Scene) -> None:
    for path in sorted(scene.root.rglob("*.*")):
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")


def _duplicate(scene: Scene) -> None:
    first, folder = folder_of(scene, 1), folder_of(scene)
    shutil.rmtree(folder)
    folder.mkdir()
    for path in first.iterdir():
        shutil.copy(path, folder / path.name.replace(first.name, folder.name))


def _row_without_file(scene: Scene) -> None:
    shutil.rmtree(folder_of(scene))


def _trap(spring: Callable[[Scene], None], says: str) -> Trap:
    return Trap(spring, frozenset(), says)


SLICE_TRAPS = {
    "missing_sequence": _trap(_changed(_flair_for_the_last), "a sequence replaced by FLAIR"),
    "missing_slice": _trap(_changed(_flair_for_the_last, only=8), "one slice of it replaced by FLAIR"),
    "macos": _trap(_macos, "._ files"),
    "no_lesion": _trap(_changed(_filled(0), mask=True), "a patient without any lesion"),
    "no_mask": _trap(_no_mask, "a slice without a mask"),
    "no_image": _trap(_no_image, "a mask without a slice"),
    "unknown_label": _trap(
        _changed(_filled(7), mask=True, only=SPOILT), "a label that the card does not know"
    ),
    "constant": _trap(_changed(_filled(5)), "one value everywhere"),
    "truncated": _trap(_truncated, "a picture cut short"),
    "zero_bytes": _trap(_zero_bytes, "a picture of no bytes"),
    "duplicate": _trap(_duplicate, "the pictures of one subject under another's name"),
    "row_without_file": _trap(_row_without_file, "a row of a table without a folder"),
}
