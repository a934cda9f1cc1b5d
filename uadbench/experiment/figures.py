"""Pictures: what a method saw, restored and scored, one page per lesion kind; and its curve."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uadbench.data.space import Grid, resample
from uadbench.evaluation import maps
from uadbench.evaluation.evaluate import Evaluation
from uadbench.evaluation.maps import Case
from uadbench.evaluation.summary import rows, weights
from uadbench.experiment.record import RunRecord
from uadbench.preprocessing.resampling import bounding_box
from uadbench.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SLICES = 3  # subjects by slices would not fit a page: one subject, three slices through its lesions
OUTLINE = "#ffd54a"
TILE, GAP, HEAD, FOOT = (
    2.3,
    0.06,
    0.62,
    0.42,
)  # inches: a picture, around it, above and below all
Column = tuple[str, NDArray[np.float32], str, bool]  # title, volume (R, A, S), colours, mask is outlined


def draw_pictures(
    record: RunRecord, evaluation: Evaluation, cases: Sequence[Case], folder: Path
) -> list[Path]:
    """One PNG per lesion kind and a precision-recall plot; returns their paths."""
    written = []
    kinds = sorted(
        {s["lesion_kind"] or "lesion" for s in evaluation.subjects if s["partition"] == "lesion-test"}
    )
    for kind in kinds:
        row = _typical(evaluation.subjects, kind)
        written.append(save_figure(_page(record, cases[row], kind), folder / f"{kind}.png"))
    written.append(save_figure(_curves(record, evaluation), folder / "precision_recall.png"))
    return written


def _typical(subjects: Sequence[dict[str, Any]], kind: str) -> int:
    """The row of the subject whose lesion volume is the median of its kind."""
    chosen = sorted(
        (s["lesion_ml"] if "lesion_ml" in s else s["lesion_pixels"], row)
        for row, s in enumerate(subjects)
        if s["partition"] == "lesion-test" and (s["lesion_kind"] or "lesion") == kind
    )
    return chosen[len(chosen) // 2][1]


def _slices_through(mask: NDArray[np.bool_]) -> list[int]:
    """Slices at the largest area of a mask and at the quarter points of its extent."""
    area = mask.sum((0, 1))
    if not area.any():
        return [int(n) for n in np.linspace(0.35, 0.65, SLICES) * len(area)]
    low, high = np.flatnonzero(area)[[0, -1]]
    return sorted({int(area.argmax()), int(low + (high - low) / 4), int(low + 3 * (high - low) / 4)})


def _page(record: RunRecord, case: Case, kind: str) -> "Figure":
    stored, grid = maps.read_map(case.map_file), case.prepared.grid
    brain, image = case.prepared.brain(), case.prepared.image()
    score_map = resample(stored.score_map, case.map_grid, grid) * brain
    columns = [("image", image, "gray", False)]
    if stored.pseudo_healthy is not None:
        restored = resample(stored.pseudo_healthy[0], case.map_grid, grid)
        columns.append(("pseudo-healthy", restored * brain, "gray", False))
    columns += [("score map", score_map, "magma", True), ("lesion outline", image, "gray", True)]
    pair = f"{record.train or 'none'} to {record.test} {record.contrast}"
    title = f"{record.method} ({record.variant}) · {pair} · {kind}"
    return draw_sheet(title, columns, brain, case.prepared.lesion(), grid)


def draw_sheet(
    title: str, columns: Sequence[Column], brain: NDArray[np.bool_], mask: NDArray[np.bool_], grid: Grid
) -> "Figure":
    """Axial slices through a mask: a row for each slice, a column for each volume, outlines of the mask.

    The first column says the slice's number on the grid and the sides; below scores is a colour bar.
    """
    from matplotlib.figure import Figure

    slices = _slices_through(mask)
    window = _window(brain)
    across, up = (part.stop - part.start for part in window)
    wide, high = TILE + GAP, TILE * up / across + GAP
    size = (len(columns) * wide + GAP, len(slices) * high + HEAD + FOOT)
    # Places are worked out here: matplotlib's own layout draws everything twice and takes most of the time.
    figure = Figure(figsize=size, facecolor="white")
    figure.suptitle(title, fontsize=9, y=1 - 0.1 / size[1], va="top")
    places = {"left": GAP / size[0], "right": 1 - GAP / size[0], "wspace": GAP / TILE, "hspace": GAP / high}
    places |= {"bottom": FOOT / size[1], "top": 1 - HEAD / size[1]}
    axes = figure.subplots(len(slices), len(columns), squeeze=False, gridspec_kw=places)
    for column, (name, volume, colours, outlined) in enumerate(columns):
        least, most = (0.0, 1.0) if colours == "gray" else _range(volume[brain])
        shown = np.where(brain, volume, least)
        axes[0][column].set_title(name, fontsize=9)
        for ax, position in zip(axes[:, column], slices, strict=True):
            drawn = ax.imshow(
                shown[..., position][window].T, cmap=colours, vmin=least, vmax=most, origin="lower",
                interpolation="nearest",
            )  # fmt: skip
            ax.set_axis_off()
            if outlined and mask[..., position].any():
                ax.contour(mask[..., position][window].T.astype(float), [0.5], colors=OUTLINE, linewidths=0.8)
        if colours != "gray":
            below = axes[-1][column].get_position()
            place = (below.x0, (FOOT - 0.14) / size[1], below.width, 0.08 / size[1])
            figure.colorbar(drawn, cax=figure.add_axes(place), orientation="horizontal")
            figure.axes[-1].tick_params(labelsize=7)
    for ax, position in zip(axes[:, 0], slices, strict=True):
        _mark(ax, 0.02, 0.03, _name_slice(position, grid))
        if not grid.flat:  # of slices without geometry nobody has written down which side is which
            _mark(ax, 0.02, 0.93, "L")
            _mark(ax, 0.94, 0.93, "R")  # the first axis runs to the patient's right
    return figure


def _name_slice(position: int, grid: Grid) -> str:
    """The number of a slice on its grid, and how far above the template's origin it is."""
    above = "" if grid.flat else f", z {grid.origin_mm[2] + position * grid.spacing_mm:.0f} mm"
    return f"slice {position}{above}"


def _range(scores: NDArray[np.float32]) -> tuple[float, float]:
    """Between which scores the colours change."""
    low, high = np.percentile(scores, [1, 99.5])
    return float(low), float(max(high, low + 1e-6))


def _window(brain: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The brain's bounding box in the axial plane, with a margin of two voxels."""
    right, front, _ = (slice(max(0, side.start - 2), side.stop + 2) for side in bounding_box(brain))
    return right, front


def _mark(ax: "Axes", across: float, up: float, words: str) -> None:
    """Words on a picture, at a place in shares of its sides."""
    ax.text(across, up, words, color="white", fontsize=7, transform=ax.transAxes)


def _curves(record: RunRecord, evaluation: Evaluation) -> "Figure":
    from matplotlib.figure import Figure

    tested = rows(evaluation.subjects, "lesion-test")
    figure = Figure(figsize=(4.6, 3.8), facecolor="white")
    ax = figure.subplots(gridspec_kw={"left": 0.14, "right": 0.97, "bottom": 0.13, "top": 0.91})
    colours = ("#9aa0a6", "#1f5fbf", "#c2571a", "#2e7d4f")
    for profile, colour in zip(evaluation.pieces, colours, strict=False):
        pieces = evaluation.pieces[profile]
        times = weights(len(pieces.ids), tested)
        true, false = ((times @ n)[::-1].cumsum() for n in (pieces.positives, pieces.negatives))
        precision, recall = true / np.maximum(true + false, 1), true / max(true[-1], 1)
        ap = record.summary.profiles[profile].ap or 0.0
        ax.step(recall, precision, where="post", color=colour, label=f"{profile}: AP {ap:.3f}")
    chance = record.summary.profiles[profile].prevalence or 0.0
    ax.axhline(chance, color="#444444", linewidth=0.8, linestyle=":", label=f"prevalence {chance:.3f}")
    ax.set(xlabel="recall (voxels)", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    ax.set_title(f"{record.method} ({record.variant}), {record.test} {record.contrast}", fontsize=9)
    ax.legend(fontsize=8, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def save_figure(figure: "Figure", path: Path) -> Path:
    """Write a figure as PNG, atomically."""
    with replacing(path) as partial:
        # No software name and no date in the file: equal pictures are equal bytes.
        figure.savefig(partial, format="png", dpi=130, metadata={"Software": None})
    return path
