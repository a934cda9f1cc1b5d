"""Contact sheets: every prepared scan of a cohort at a glance, those that were flagged with the reason."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from uadbench.data.prepared import Prepared
from uadbench.data.sizes import sizes
from uadbench.preprocessing import resampling
from uadbench.preprocessing.register import WORKING, load_template
from uadbench.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Picture = NDArray[np.float32]
ROWS, COLUMNS = 6, 4  # scans on a page
POINT_MM = (4.0, -18.0, 14.0)  # MNI152, in a thalamus
BRAIN_COLOUR, LESION_COLOUR, FLAG_COLOUR = "#37c4ff", "#ffd54a", "#c62828"


def draw_sheets(prepared: Sequence[Prepared], path: Path) -> list[Path]:
    """Pages of at most 24 scans: axial, coronal and sagittal, the template's brain and the lesion outlined.

    The first page is `path`, the following ones have a number. Flagged scans come first.
    """
    order = sorted(prepared, key=lambda item: (not item.facts["quality"]["flags"], item.session.id))
    pages = [order[start : start + ROWS * COLUMNS] for start in range(0, len(order), ROWS * COLUMNS)]
    written = []
    for number, members in enumerate(pages, 1):
        place = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        with replacing(place) as partial:
            # No software name and no date in the file: equal pictures are equal bytes.
            _page(members, number, len(pages)).savefig(
                partial, format="png", dpi=110, metadata={"Software": None}
            )
        written.append(place)
    return written


def _page(members: Sequence[Prepared], number: int, pages: int) -> "Figure":
    from matplotlib.figure import Figure

    rows = -(-len(members) // COLUMNS)
    figure = Figure(figsize=(3.6 * COLUMNS, 1.75 * rows + 0.5), facecolor="white", layout="constrained")
    first = members[0]
    blue = "brain" if first.grid.flat else "the template's brain"
    figure.suptitle(
        f"{first.session.cohort} · {first.contrast} · {first.grid.name} · page {number} of {pages} · blue: "
        f"{blue}, yellow: lesion",
        fontsize=9,
    )
    axes = figure.subplots(rows, COLUMNS, squeeze=False)
    for ax in axes.ravel():
        ax.set_axis_off()
    for ax, item in zip(axes.ravel(), members, strict=False):
        (_show_stack if item.grid.flat else _show_scan)(ax, item)
    return figure


def _show_scan(ax: "Axes", item: Prepared) -> None:
    """Three planes of one scan side by side."""
    lesion = item.lesion()
    voxel = _cut(item, lesion)
    to_template = np.linalg.inv(WORKING.affine) @ item.grid.affine
    brain = resampling.sample_nearest(load_template()[1].view(np.uint8), to_template, item.grid.shape)
    found = item.facts["quality"]
    figures = f"Dice {found['dice']:.2f}  r {found['correlation']:.2f}"
    _show(ax, item, figures, *(_planes(volume, voxel) for volume in (item.image(), brain, lesion)))


def _show_stack(ax: "Axes", item: Prepared) -> None:
    """Three slices of one stack side by side: at the quarters of those that are evaluated."""
    counted = np.flatnonzero(sizes(item.grid).counted_slices(item.facts))
    chosen = counted[[len(counted) // 4, len(counted) // 2, 3 * len(counted) // 4]] if len(counted) else [0]

    def beside(volume: NDArray[np.generic]) -> NDArray[np.float32]:
        return np.concatenate([volume[..., n].T.astype(np.float32) for n in chosen], 1)

    found = item.facts["quality"]
    figures = f"{found['counted_slices']} slices, largest {found['largest_pixels']} pixels"
    _show(ax, item, figures, beside(item.image()), beside(item.brain()), beside(item.lesion()))


def _show(
    ax: "Axes", item: Prepared, figures: str, picture: Picture, brain: Picture, lesion: Picture
) -> None:
    """A picture with the outlines of brain and lesion, its figures and flags above it."""
    ax.imshow(picture, cmap="gray", vmin=0, vmax=1, origin="lower", interpolation="nearest")
    for mask, colour, width in ((brain, BRAIN_COLOUR, 0.6), (lesion, LESION_COLOUR, 0.8)):
        if mask.any():
            ax.contour(mask, [0.5], colors=colour, linewidths=width)
    title, flags = (
        f"{item.session.id}  {figures}",
        textwrap.fill("; ".join(item.facts["quality"]["flags"]), 62),
    )
    ax.set_title(f"{title}\n{flags}" if flags else title, fontsize=6, color=FLAG_COLOUR if flags else "black")


def _cut(item: Prepared, lesion: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The voxel in which the three planes meet: where most lesion is, else a point that all brains share."""
    if lesion.any():
        areas = [lesion.sum(tuple({0, 1, 2} - {axis})) for axis in range(3)]
        return np.array([int(area.argmax()) for area in areas], np.int64)
    apart = np.array(POINT_MM) - item.grid.origin_mm
    return np.asarray(np.rint(apart / item.grid.spacing_mm), np.int64)


def _planes(volume: NDArray[np.generic], voxel: NDArray[np.int64]) -> NDArray[np.float32]:
    """Axial, coronal and sagittal plane through a voxel beside each other; the patient's left is left."""
    cuts = [volume[:, :, voxel[2]].T, volume[:, voxel[1]].T, volume[voxel[0]].T]
    height = max(len(cut) for cut in cuts)
    padded = [np.pad(cut.astype(np.float32), ((0, height - len(cut)), (0, 0))) for cut in cuts]
    return np.concatenate(padded, 1)
