"""Standings: intervals, ties, ranks and their stability of the rows of a table (protocol, rule 12)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from uadbench.evaluation import uncertainty
from uadbench.evaluation.uncertainty import FEW_PERSONS, LEVEL, Interval, Sampled
from uadbench.report.evidence import Evidence, figures_of_row

SIGNIFICANT = 1 - LEVEL
FEWEST_SEEDS = 3  # without which no order is claimed of a row that depends on its seed


@dataclass(frozen=True)
class Standing:
    """How sure a row's place in its table is."""

    intervals: Mapping[str, Interval]  # by column, around the leaderboard's own value
    rank: int | None  # rows that do not differ from the best of their group share it; None: not ranked
    ranks: tuple[int, int] | None  # 95 % of resamples rank the row between these
    p: float | None  # against the first row of the rank above, Holm-corrected; None for the first
    few: bool  # intervals from fewer than 20 subjects


@dataclass(frozen=True)
class Kept:
    """What is kept of a row's evidence: the intervals, and the resamples of one column."""

    intervals: Mapping[str, Interval]
    column: Sampled | None
    ids: tuple[str, ...]  # of whom the column is made, in the order of its influences
    few: bool


def keep_resamples(seeds: Sequence[Evidence], numbers: Mapping[str, float | None], sort: str) -> Kept:
    """What a row's standing needs of the evidence of its seeds; `numbers` are the leaderboard's own."""
    figures = figures_of_row(seeds)
    intervals = {
        name: moved for name, figure in figures.items() if (moved := _around(figure, numbers.get(name)))
    }
    first = seeds[0]
    ids = first.ids
    # Healthy and lesion scans are drawn each for themselves, but where a subject has both (regime `within`).
    if sort != "auroc_scan" and first.record.regime != "within":
        ids = tuple(s.id for s in first.subjects if s.partition == "lesion-test")
    return Kept(intervals, figures.get(sort), ids, min(one.persons for one in seeds) < FEW_PERSONS)


def standings(rows: Sequence[Kept], may_be_ranked: Sequence[bool]) -> list[Standing]:
    """Intervals and ranks of the rows of a table, which come best first.

    Rows share a rank unless the paired bootstrap tells them apart from the first row of their rank (5 %,
    Holm over the tests of the table). Ranks are given among the rows that may be ranked.
    """
    there = [place for place, row in enumerate(rows) if may_be_ranked[place] and row.column is not None]
    p_values = dict(zip(there, _against_leaders([rows[place] for place in there]), strict=True))
    ranges = dict(zip(there, _rank_ranges([rows[place].column for place in there]), strict=True))
    made, rank = [], 1
    for place, own in enumerate(rows):
        p = p_values.get(place)
        if p is not None and p <= SIGNIFICANT:
            rank = there.index(place) + 1
        ranked = place in ranges
        made.append(Standing(own.intervals, rank if ranked else None, ranges.get(place), p, own.few))
    return made


def _around(figure: Sampled, value: float | None) -> Interval | None:
    """The interval, moved to the leaderboard's own value, from which binning may part it by 1e-4."""
    found = uncertainty.interval(figure)
    if found is None or value is None or found.low == found.high:  # no width: there is nothing to resample
        return None
    shift = value - found.value
    return Interval(value, max(found.low + shift, 0.0), min(found.high + shift, 1.0))


def _against_leaders(rows: Sequence[Kept]) -> list[float | None]:
    """p of each row against the first row of the group it would join, Holm-corrected over the table.

    Rows that were made of other subjects are not tested against each other.
    """
    leader, raw = 0, {}
    for place in range(1, len(rows)):
        first, own = rows[leader], rows[place]
        if first.column is None or own.column is None or first.ids != own.ids:
            continue
        raw[place] = uncertainty.difference(first.column, own.column)[1]
        # Groups are formed with the strictest of Holm's levels, so that none is parted without a reason.
        if raw[place] * (len(rows) - 1) <= SIGNIFICANT:
            leader = place
    by_place = dict(zip(raw, uncertainty.holm(list(raw.values())), strict=True))
    return [by_place.get(place) for place in range(len(rows))]


def _rank_ranges(rows: Sequence[Sampled | None]) -> list[tuple[int, int]]:
    """Between which ranks each row lies in 95 % of the resamples."""
    if not rows:
        return []
    values = np.stack([np.nan_to_num(row.values, nan=-np.inf) for row in rows if row is not None])
    ranks = (-values).argsort(0, kind="stable").argsort(0, kind="stable") + 1
    low, high = np.quantile(ranks, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1, method="nearest").astype(int)
    return list(zip(low.tolist(), high.tolist(), strict=True))
