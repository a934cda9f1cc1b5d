"""Multiverse: what becomes of a table's order under other choices that could be defended as well.

Each choice gives Dice of every method from the counts at its operating points and its score histograms. How
much of what differs is due to the methods, and how much to the choices? (Analysis of variance with one value
a cell: the share of a factor is its sum of squares over the total; all interactions of three factors and more
are one share. Cf. Steegen et al., Perspectives on Psychological Science 11(5), 2016.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata

from uadbench.evaluation.metrics import dice
from uadbench.protocol import OPERATING_POINTS
from uadbench.report import formats
from uadbench.report.columns import POINTS
from uadbench.report.evidence import Evidence, swept
from uadbench.report.leaderboard import Row, Table
from uadbench.report.sheets import Line, Sheet

AVERAGES = ("pooled", "mean of subjects")
REGIONS = ("patients", "patients and controls")  # whose brains hold the false positives that count
FACTORS = ("method", "threshold", "average", "post-processing", "region")
OWN = "1 % realised FPR"
WORDS = {name: words for name, (words, _) in POINTS.items()} | {"oracle_mean": "best for the mean (oracle)"}
WHOLE = frozenset((*FACTORS[1:], "tau"))
NOTE = (
    "Dice of every method under every choice: threshold rule, average over pooled voxels or over subjects, "
    "post-processing, and whether false positives in controls count (controls have no Dice of their own: the "
    "mean of subjects is of patients alone). Ranks are those of values; no order is claimed by them."
)


@dataclass(frozen=True)
class Multiverse:
    """Dice of every method under every choice, (methods, thresholds, averages, profiles, regions)."""

    names: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]]  # of each factor
    values: NDArray[np.float64]

    @property
    def ranks(self) -> NDArray[np.float64]:
        """Rank of each method under each choice, 1 the best; equals share the mean of their ranks."""
        return np.asarray(rankdata(-self.values, axis=0))

    @property
    def choices(self) -> list[tuple[int, ...]]:
        """Places of the levels of every choice."""
        return list(product(*(range(n) for n in self.values.shape[1:])))


def explore(table: Table) -> Multiverse | None:
    """The choices that all rows of a table have; None where there are fewer than two rows."""
    rows = [row for row in table.rows if row.stored]
    if len(rows) < 2:
        return None
    every = [one for row in rows for one in row.evidence(resamples=0)]
    profiles = [p for p in every[0].record.thresholds if all(p in e.record.thresholds for e in every)]
    points = [
        point
        for point in OPERATING_POINTS
        if all(e.record.thresholds[p].get(point) is not None for e in every for p in profiles)
    ]
    healthy = any(s.partition == "healthy-test" for s in every[0].subjects)
    regions = REGIONS if healthy else REGIONS[:1]
    # From evidence that is let go of with each row: what is read of pieces takes megabytes.
    values = np.stack(
        [np.mean([_dices(e, points, profiles, regions) for e in r.evidence(resamples=0)], 0) for r in rows]
    )
    thresholds = (*[WORDS[point] for point in points], OWN)
    levels = dict(zip(FACTORS, (_names(rows), thresholds, AVERAGES, tuple(profiles), regions), strict=True))
    return Multiverse(_names(rows), levels, values)


def _names(rows: Sequence[Row]) -> tuple[str, ...]:
    """The method of each row, with what else names it where a method has several rows."""
    methods = [row.method for row in rows]
    return tuple(
        row.method if methods.count(row.method) == 1 else " ".join(map(str, row.facts)) for row in rows
    )


def _dices(
    evidence: Evidence, points: Sequence[str], profiles: Sequence[str], regions: Sequence[str]
) -> NDArray[np.float64]:
    """Dice (thresholds, averages, profiles, regions) of one record."""
    found = np.empty((len(points) + 1, len(AVERAGES), len(profiles), len(regions)))
    ill = np.array([s.partition == "lesion-test" for s in evidence.subjects])
    for number, profile in enumerate(profiles):
        counts = [
            evidence.read.voxels[profile][evidence.chosen, OPERATING_POINTS.index(point)] for point in points
        ]
        for place, own in enumerate([*counts, _at_realised(evidence, profile, ill)]):
            true, false, missed = own.T
            there = true + missed
            found[place, 1, number] = np.nanmean(dice(true, false, there)[ill])
            for region, among in enumerate((ill, np.ones_like(ill))[: len(regions)]):
                pooled = true[ill].sum(), false[among].sum(), there[ill].sum()
                found[place, 0, number, region] = dice(*pooled)
    return found


def _at_realised(evidence: Evidence, profile: str, ill: NDArray[np.bool_]) -> NDArray[np.int64]:
    """TP, FP and FN (scans, 3) where 1 % of lesion-test's non-lesion voxels are called."""
    true, false = swept(evidence, evidence.chosen, profile)
    called = false[ill].sum(0)
    place = max(int(np.searchsorted(called, 0.01 * called[-1], "right")) - 1, 0)
    return np.stack([true[:, place], false[:, place], true[:, -1] - true[:, place]], axis=1)


def shares(values: NDArray[np.float64], factors: Sequence[str]) -> dict[str, float]:
    """Share of the sum of squares of each factor and of each pair of them, and of what is left over."""
    centred = values - values.mean()
    total = float((centred**2).sum())
    found: dict[str, float] = {}
    effects: dict[tuple[int, ...], NDArray[np.float64]] = {}
    axes = range(values.ndim)
    for size in (1, 2):
        for own in combinations(axes, size):
            others = tuple(axis for axis in axes if axis not in own)
            effect = centred.mean(others, keepdims=True)
            effect = effect - sum(effects[(axis,)] for axis in own if size == 2)
            effects[own] = effect
            cells = values.size / effect.size
            found[" x ".join(factors[axis] for axis in own)] = float((effect**2).sum() * cells)
    found["higher interactions"] = total - sum(found.values())
    return {name: part / total if total else 0.0 for name, part in found.items()}


# ---- as sheets -------------------------------------------------------------------------------------


def sheets_of(table: Table) -> list[Sheet]:
    """The methods over all choices, the shares of variance, and the order of methods under each choice."""
    found = explore(table)
    if found is None:
        few = "Choices are compared where a table has two rows or more."
        return [formats.view(table, "choices", ("method",), (), few)]
    return [
        formats.view(table, f"{len(found.choices)} choices", *_by_method(found), NOTE, texts=1),
        formats.view(table, "share of variance", *_by_factor(found), texts=1),
        formats.view(table, "order by choice", *_by_choice(found), whole=WHOLE),
    ]


def _by_method(found: Multiverse) -> tuple[Line, tuple[Line, ...]]:
    ranks = found.ranks.reshape(len(found.names), -1)
    lines = []
    for name, own, dices in zip(found.names, ranks, found.values.reshape(ranks.shape), strict=True):
        placed = (f"{value:g}" for value in (own.min(), np.median(own), own.max()))
        ends = (formats.shown(float(value)) for value in (dices.min(), dices.max()))
        lines.append((name, *placed, f"{(own == 1).mean():.0%}", *ends))
    order = np.median(ranks, axis=1).argsort(kind="stable")
    headers = ("method", "best rank", "median rank", "worst rank", "first in", "lowest Dice", "highest Dice")
    return headers, tuple(lines[place] for place in order)


def _by_factor(found: Multiverse) -> tuple[Line, tuple[Line, ...]]:
    of_dice, of_ranks = (shares(values, FACTORS) for values in (found.values, found.ranks))
    shown = sorted(of_dice, key=lambda name: -of_dice[name])
    lines = [(name, f"{of_dice[name]:.1%}", f"{of_ranks[name]:.1%}") for name in shown]
    return ("due to", "of Dice", "of ranks"), tuple(lines)


def _by_choice(found: Multiverse) -> tuple[Line, tuple[Line, ...]]:
    """The methods, best first, with their ranks, and how far the order agrees with the mean one."""
    ranks, names = found.ranks, found.names
    usual = ranks.reshape(len(names), -1).mean(1)
    lines = []
    for number, choice in enumerate(found.choices):
        own = ranks.reshape(len(names), -1)[:, number]
        order = ", ".join(f"{own[place]:g} {names[place]}" for place in own.argsort(kind="stable"))
        said = [found.levels[f][place] for f, place in zip(FACTORS[1:], choice, strict=True)]
        lines.append((*said, f"{kendalltau(own, usual).statistic:.2f}", order))
    return (*FACTORS[1:], "tau", "rank and method"), tuple(lines)
