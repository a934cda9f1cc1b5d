"""The plot of responses: lesions found and AP by size, a column for each contrast-to-noise."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from uadbench.evaluation.uncertainty import FEW_PERSONS, Interval
from uadbench.report.families import DASHES, style_of
from uadbench.report.leaderboard import Row, Table
from uadbench.report.names import row_names
from uadbench.report.response import (
    POINTS,
    Cell,
    by_contrast,
    check_implanted,
    measure_response,
    name_contrast,
)
from uadbench.system.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CONTRASTS, MOST_ROWS = 8, 8
NAME = 20  # characters of a name in the legend


def draw_response(axes: "Axes", table: Table, resamples: int) -> list[str]:
    """In place of the axes a grid of them: found at 1 % and 5 % false positives and AP, by contrast."""
    check_implanted([table])
    rows = table.rows[:MOST_ROWS]
    measured = [by_contrast(measure_response(row.evidence(resamples))) for row in rows]
    contrasts = list(measured[0])
    if len(contrasts) > MOST_CONTRASTS:
        raise UserError(
            f"A plot of responses shows {MOST_CONTRASTS} contrasts at most, got {len(contrasts)}: "
            "inject fewer into a folder."
        )
    figure: Any = axes.figure
    axes.remove()
    figure.set_figheight(5.4)
    titles = [*[f"found, FPR {rate}" for rate in POINTS.values()], "AP"]
    grid = figure.subplots(len(titles), len(contrasts), sharex=True, sharey="row", squeeze=False)
    for place, (row, name) in enumerate(zip(rows, row_names(table), strict=False)):
        shift = 1.04 ** (place - (len(rows) - 1) / 2)  # so that the bars of rows do not cover each other
        for column, contrast in enumerate(contrasts):
            cells = measured[place].get(contrast, [])
            label = name if column == len(contrasts) - 1 else ""
            _draw_row(grid[:, column], cells, row, (place, shift, label))
    for axis, contrast in zip(grid[0], contrasts, strict=True):
        axis.set_title(name_contrast(contrast))
    sizes = sorted({cell.ml for cells in measured[0].values() for cell in cells})
    for axis in grid[-1]:
        axis.set(xscale="log", xlabel="ml")
        axis.set_xticks(sizes, [f"{ml:g}" for ml in sizes])
        axis.set_xticks([], minor=True)
    for axis, title in zip(grid[:, 0], titles, strict=True):
        axis.set(ylabel=title, ylim=(-0.03, 1.03) if title != "AP" else (0, None))
    # Of the figure: one of the first axes that is longer than these would push the others down.
    grid[0, -1].get_figure().legend(loc="outside right center", handlelength=3.5)
    return _notes(table, [cell for own in measured for cells in own.values() for cell in cells])


def _draw_row(axes: Sequence["Axes"], cells: Sequence[Cell], row: Row, how: tuple[int, float, str]) -> None:
    """One row's lines at one contrast, with intervals as bars; how: number, shift along x, name if any."""
    place, shift, name = how
    colour, marker = style_of(row.method)
    figures: Sequence[Sequence[Interval | None]] = [
        *[[cell.found.get(point) for cell in cells] for point in POINTS],
        [cell.ap for cell in cells],
    ]
    for line, (axis, own) in enumerate(zip(axes, figures, strict=True)):
        there = [(cell.ml * shift, one) for cell, one in zip(cells, own, strict=True) if one is not None]
        for x, (_, low, high) in there:
            axis.plot([x, x], [low, high], color=colour, linewidth=0.6, alpha=0.6)
        axis.plot(
            [x for x, _ in there], [one.value for _, one in there],
            color=colour, marker=marker, markersize=3.5, linewidth=1, linestyle=DASHES[place % len(DASHES)],
            label=textwrap.fill(name, NAME) if name and not line else None,
        )  # fmt: skip


def _notes(table: Table, cells: Sequence[Cell]) -> list[str]:
    fewest = min(cell.subjects for cell in cells)
    few = f" (fewer than {FEW_PERSONS} subjects: too narrow more often than 5 % of the time)"
    more = [f"The first {MOST_ROWS} of {len(table.rows)} rows."] if len(table.rows) > MOST_ROWS else []
    return [
        "Columns: contrast-to-noise in white matter. Found: share of the lesions of which at least 10 % is "
        "called, where 1 % and 5 % of the voxels of healthy-val are false positives. AP: mean over scans of "
        f"their own, after {table.headline}. Each point has at least n = {fewest} subjects; bars: 95 % CI "
        f"over subjects and seeds{few * (fewest < FEW_PERSONS)}.",
        *more,
    ]
