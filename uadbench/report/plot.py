"""Plots for a paper, from records alone: forest, precision-recall, critical difference, cost and response."""

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uadbench import __version__
from uadbench.evaluation.uncertainty import FEW_PERSONS, LEVEL, Interval
from uadbench.report import cost, formats
from uadbench.report.cautions import cautions
from uadbench.report.compare import own_ap
from uadbench.report.families import DASHES, STYLES, UNKNOWN, family_of_methods, style_of
from uadbench.report.latex import best_group
from uadbench.report.leaderboard import Row, Table
from uadbench.report.names import row_names
from uadbench.report.names import title as describe
from uadbench.report.response_plot import draw_response
from uadbench.system.errors import UserError, check_choice
from uadbench.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".pdf", ".svg", ".png")
WIDTH = 345 / 72.27  # inches: the text of `article` at 10 pt
DPI = 300
FEWEST_METHODS = 3  # of which Friedman's test says something
MOST_CURVES, BANDS = 8, 3  # that can be told apart
NAME, TITLE, LINE = 32, 84, 100  # characters of a name, and of a line of the title and of the notes
SETTINGS: Mapping[str, Any] = {
    "font.size": 8, "legend.fontsize": 6.5, "legend.frameon": False, "axes.titlesize": 8,
    "axes.spines.top": False, "axes.spines.right": False, "pdf.fonttype": 42, "svg.hashsalt": "uadbench",
}  # fmt: skip
# Without a date, so that the same records give the same file.
DATELESS: Mapping[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": None}


def check_plot(kind: str, path: Path) -> None:
    """An unknown kind of plot, or a file of another format, is a UserError."""
    check_choice("KIND", kind, KINDS)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--output expects a file that ends in {', '.join(SUFFIXES)}, got '{path.name}'.")


def write_plot(kind: str, table: Table, path: Path, resamples: int) -> None:
    """One of `KINDS` of a table, as PDF, SVG or PNG by the suffix of the file, as wide as a page's text.

    Families are told apart by colour and by marker or dashes. Letters in a PDF are embedded as TrueType, in
    an SVG they are outlines.

    Raises:
        UserError: no such plot or format, or the table has too little for it.
    """
    check_plot(kind, path)
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(dict(SETTINGS)):
        figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
        axes = figure.add_subplot()
        said = KINDS[kind](axes, table, resamples)
        count = table.subjects.get("lesion-test", 0)
        title = f"{describe(table)}; n = {count} scans with lesions"
        figure.suptitle(textwrap.fill(title, TITLE), x=0.01, ha="left", fontsize=8)
        source = f"uadbench {__version__}, {table.protocol}, metric version {table.metric_version}."
        note = " ".join([*said, *cautions(table), source]).replace("`", "")
        figure.supxlabel(textwrap.fill(note, LINE), fontsize=6, x=0.01, ha="left", ma="left")
        with replacing(path) as part:
            form = path.suffix[1:].lower()
            figure.savefig(part, format=form, dpi=DPI, metadata=DATELESS[path.suffix.lower()])


def _ap_of(table: Table, row: Row) -> Interval:
    """AP with its interval, which has no width where nothing was resampled."""
    value = row.numbers["ap"]
    if value is None:
        raise UserError(f"{row.method} has no AP: leave it out (--method names those to be shown).")
    return row.interval("ap") or Interval(value, value, value)


def _folded(table: Table) -> list[str]:
    return [textwrap.fill(name, NAME) for name in row_names(table)]


def _chance(axes: "Axes", table: Table, vertical: bool) -> list[str]:
    """A dashed line at the AP of random scores, and what it is."""
    if table.prevalence is None:
        return []
    draw = axes.axvline if vertical else axes.axhline
    draw(table.prevalence, color="#555555", linestyle="--", linewidth=0.8)
    return [f"Dashed: AP of random scores, {formats.shown(table.prevalence)}."]


def _about_ap(table: Table) -> str:
    few = any(row.few for row in table.rows)
    return (
        f"AP over all voxels after {table.headline}; bars: 95 % CI, studentised bootstrap over subjects and "
        f"seeds{f' (fewer than {FEW_PERSONS} subjects: too narrow more often than 5 % of the time)' * few}."
    )


def _families(axes: "Axes", table: Table, **where: Any) -> None:
    """A legend of the families that are there."""
    known = family_of_methods()
    there = {known.get(row.method, UNKNOWN) for row in table.rows}
    for family, (colour, marker) in STYLES.items():
        if family in there:
            axes.plot([], [], color=colour, marker=marker, markersize=4, linestyle="", label=family)
    axes.legend(**where)


# ---- the plots ---------------------------------------------------------------------------------


def _forest(axes: "Axes", table: Table, resamples: int) -> list[str]:
    """Methods down, AP with its interval across; the best group is shaded."""
    axes.figure.set_figheight(1.4 + 0.21 * len(table.rows))  # type: ignore[union-attr]
    best = best_group(table)
    for place, row in enumerate(table.rows):
        (value, low, high), (colour, marker) = _ap_of(table, row), style_of(row.method)
        if row in best:
            axes.axhspan(place - 0.5, place + 0.5, color="#e8e8e8", linewidth=0)
        axes.plot([low, high], [place, place], color=colour, linewidth=1.2)
        axes.plot([value], [place], color=colour, marker=marker, markersize=4.5)
    said = _chance(axes, table, vertical=True)
    axes.set(xlabel="AP", xlim=(0, None), ylim=(len(table.rows) - 0.4, -0.6))
    axes.set_yticks(range(len(table.rows)), _folded(table), fontsize=6.5)
    axes.tick_params(axis="y", length=0)
    _families(axes, table, loc="lower right")
    shaded = ["Shaded: not significantly different from the best (paired bootstrap, Holm)."] if best else []
    return [_about_ap(table), *said, *shaded]


def _precision_recall(axes: "Axes", table: Table, resamples: int) -> list[str]:
    """Precision by recall over all voxels, of the first rows."""
    axes.figure.set_figheight(3.6)  # type: ignore[union-attr]
    chosen = table.rows[:MOST_CURVES]
    for place, (row, name) in enumerate(zip(chosen, _folded(table), strict=False)):
        colour, _ = style_of(row.method)
        curve = row.evidence(resamples)[0].banded_curve()
        recall, precision, least, most = np.array(curve).reshape(-1, 4).T
        value, low, high = map(formats.shown, _ap_of(table, row))
        dashes = DASHES[place % len(DASHES)]
        label = f"{name}\nAP {value} [{low}, {high}]"
        axes.plot(recall, precision, color=colour, linestyle=dashes, linewidth=1.1, label=label)
        if place < BANDS:
            axes.fill_between(recall, least, most, color=colour, alpha=0.12, linewidth=0)
    said = _chance(axes, table, vertical=False)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    if any(len(row.seeds) > 1 for row in chosen):
        said.append("Curves are of the first seed, AP is the mean over seeds.")
    if len(table.rows) > MOST_CURVES:
        said.append(f"The first {MOST_CURVES} of {len(table.rows)} methods by AP.")
    return [
        f"All voxels of the scans with lesions, after {table.headline}; in brackets 95 % CI, bands (of the "
        f"first {BANDS}) between which 95 % of the resamples of subjects are.",
        *said,
    ]


class Ranks(NamedTuple):
    """Mean ranks over subjects."""

    means: NDArray[np.float64]  # of each method; 1 is best
    p: float  # of no difference at all: Friedman
    critical: float  # difference of two mean ranks: Nemenyi, 5 %


def rank_over_subjects(values: NDArray[np.float64]) -> Ranks:
    """Mean ranks of methods (subjects, methods), higher values first (Demšar, JMLR 7:1-30, 2006)."""
    from scipy import stats

    n, k = values.shape
    studentised = float(stats.studentized_range.ppf(LEVEL, k, np.inf)) / np.sqrt(2)
    equal = bool((values == values[:, :1]).all())  # of which the test would divide 0 by 0
    return Ranks(
        stats.rankdata(-values, axis=1).mean(0),
        1.0 if equal else float(stats.friedmanchisquare(*values.T).pvalue),
        float(studentised * np.sqrt(k * (k + 1) / (6 * n))),
    )


def _critical_difference(axes: "Axes", table: Table, resamples: int) -> list[str]:
    """Mean ranks of the subjects' own AP; a bar joins methods that Nemenyi's test does not tell apart."""
    own = [own_ap(row.records) for row in table.rows]
    common = sorted(set.intersection(*map(set, own)))
    if len(own) < FEWEST_METHODS or len(common) < FEW_PERSONS:
        raise UserError(
            f"A critical-difference plot needs at least {FEWEST_METHODS} methods and {FEW_PERSONS} subjects "
            f"with an AP of their own, got {len(own)} and {len(common)} of {table.title}."
        )
    found = rank_over_subjects(np.array([[of_row[person] for of_row in own] for person in common]))
    order, count = np.argsort(found.means, kind="stable"), len(own)
    axes.figure.set_figheight(1.5 + 0.12 * count)  # type: ignore[union-attr]
    bars = _groups(found.means[order], found.critical if found.p <= 1 - LEVEL else np.inf)
    below = 0.5 + 0.35 * len(bars)
    labels = row_names(table)
    for place, number in enumerate(order):
        left = place < (count + 1) // 2
        depth = below + (place if left else count - 0.5 - place)
        edge, mean, (colour, _) = (
            (1 if left else count),
            found.means[number],
            style_of(table.rows[number].method),
        )
        axes.plot([mean, mean, edge], [0, depth, depth], color=colour, linewidth=0.8)
        label = textwrap.fill(f"{labels[number]} ({mean:.1f})", 32)
        axes.annotate(
            label, (edge, depth), xytext=(-3 if left else 3, 0), textcoords="offset points",
            ha="right" if left else "left", va="center", fontsize=6, linespacing=0.9,
        )  # fmt: skip
    for number, (first, last) in enumerate(bars):
        level = 0.4 + 0.35 * number
        axes.plot([first - 0.08, last + 0.08], [level, level], color="black", linewidth=2.5)
    axes.plot([1, 1 + found.critical], [-1.3, -1.3], color="black", linewidth=1, marker="|")
    axes.text(
        1 + found.critical / 2, -1.5, f"CD {found.critical:.2f}", ha="center", va="bottom", fontsize=6.5
    )
    axes.set(
        ylim=(below + (count + 1) // 2, -2),
        xlim=(1 - 0.85 * (count - 1), count + 0.85 * (count - 1)),
        yticks=[],
    )
    _axis_of_ranks(axes, count)
    verdict = "bars join methods that Nemenyi's test (5 %) does not tell apart" if found.p <= 1 - LEVEL else (
        "Friedman's test finds no difference, so that one bar joins all"
    )  # fmt: skip
    seeds = min(len(row.seeds) for row in table.rows)
    return [
        f"Mean rank of each subject's own AP after {table.headline} (mean over its scans and seeds) over "
        f"{len(common)} subjects as blocks; Friedman p = {found.p:.2g}; {verdict}.",
        *(["One seed of each row: what another would change is not in it."] if seeds == 1 else []),
    ]


def _axis_of_ranks(axes: "Axes", count: int) -> None:
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xticks([])
    axes.plot([1, count], [0, 0], color="black", linewidth=0.8)
    for rank in range(1, count + 1):
        axes.plot([rank, rank], [0, -0.2], color="black", linewidth=0.8)
        if rank % max(1, count // 6) == 1 % max(1, count // 6):
            axes.text(rank, -0.3, str(rank), ha="center", va="bottom", fontsize=6.5)


def _groups(means: NDArray[np.float64], critical: float) -> list[tuple[float, float]]:
    """The ends of the largest groups of ascending mean ranks that lie no further apart than is critical."""
    groups: list[tuple[float, float]] = []
    for first in means:
        last = means[means <= first + critical][-1]
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((float(first), float(last)))
    return groups


def _cost(axes: "Axes", table: Table, resamples: int) -> list[str]:
    """AP with its interval by the time that scoring a scan takes."""
    axes.figure.set_figheight(max(3.0, 0.8 + 0.17 * len(table.rows)))  # type: ignore[union-attr]
    hardware = {cost.name_hardware([one]) for row in table.rows for one in row.records}
    for number, (row, name) in enumerate(zip(table.rows, row_names(table), strict=True), 1):
        seconds = cost.measure_cost(row.records)["scoring_s"]
        if not seconds:
            continue
        (value, low, high), (colour, marker) = _ap_of(table, row), style_of(row.method)
        axes.plot([seconds, seconds], [low, high], color=colour, linewidth=0.7, alpha=0.6)
        label = f"{number}  {textwrap.shorten(name, 38, placeholder='…')}"
        axes.plot([seconds], [value], color=colour, marker=marker, markersize=4.5, linestyle="", label=label)
        axes.annotate(str(number), (seconds, value), xytext=(3, 2), textcoords="offset points", fontsize=6.5)
    said = _chance(axes, table, vertical=False)
    axes.set(xscale="log", xlabel="seconds of scoring per scan", ylabel="AP", ylim=(0, None))
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    compared = [cost.NOTE] if len(hardware) > 1 else []
    return [_about_ap(table), *said, f"Times on {'; '.join(sorted(hardware))}.", *compared]


Draw = Callable[["Axes", Table, int], list[str]]
KINDS: Mapping[str, Draw] = {
    "forest": _forest,
    "precision-recall": _precision_recall,
    "critical-difference": _critical_difference,
    "cost": _cost,
    "response": draw_response,
}
