"""Standings: intervals, ties, ranks and their stability of the rows of a table (protocol, rule 12)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from uadbench.evaluation import uncertainty
from uadbench.evaluation.uncertainty import FEW_PERSONS, LEVEL, Interval, Sampled
from uadbench.report.columns import BY_NAME, figure_of
from uadbench.report.evidence import Evidence, figures_of_row

SIGNIFICANT = 1 - LEVEL
FEWEST_SEEDS = 3  # without which no order is claimed of a row that depends on its seed


@dataclass(frozen=True)
class Standing:
    """How sure a row's place in its table is."""

    intervals: Mapping[str, Interval]  # by column, around the leaderboard's own value
    position: int | None  # among the rows that may be ranked, best first; None: not ranked
    best: bool  # the best ranked row, or not significantly different from it
    ranks: tuple[int, int] | None  # 95 % interval of the position, which is within it
    p: float | None  # of the difference from the best ranked row, Holm-corrected; None for that row
    few: bool  # intervals from fewer than 20 subjects


@dataclass(frozen=True)
class Kept:
    """What is kept of a row's evidence: the intervals, and the resamples of one column."""

    intervals: Mapping[str, Interval]
    column: Sampled | None
    ids: tuple[str, ...]  # of whom the column is made, in the order of its influences
    few: bool


def keep_resamples(
    seeds: Sequence[Evidence],
    numbers: Mapping[str, float | None],
    sort: str,
    further: Sequence[str] = (),
) -> Kept:
    """What a row's standing needs of the evidence of its seeds; `numbers` are the leaderboard's own.

    `further`: columns beside those that every record has.
    """
    figures = {**figures_of_row(seeds), **_further_of_row(seeds, further)}
    intervals = {
        name: moved for name, figure in figures.items() if (moved := _around(figure, numbers.get(name)))
    }
    first, column = seeds[0], figures.get(sort)
    ids = tuple(s.id for s in first.subjects if s.partition == "lesion-test")
    # Healthy and lesion scans are drawn each for themselves, but where a subject has both (regime `within`).
    if first.record.regime == "within" or (column is not None and column.influence.size != len(ids)):
        ids = first.ids
    return Kept(intervals, column, ids, min(one.persons for one in seeds) < FEW_PERSONS)


def _further_of_row(seeds: Sequence[Evidence], names: Sequence[str]) -> dict[str, Sampled]:
    """Means over seeds, of the columns that every seed has of the same scans."""
    found: dict[str, Sampled] = {}
    for name in names if len({one.ids for one in seeds}) == 1 else ():
        asked = seeds if BY_NAME[name].share else ()
        each = [sampled for one in asked if (sampled := figure_of(name, one)) is not None]
        if len(each) == len(seeds):
            found[name] = uncertainty.over_seeds(each)
    return found


def standings(rows: Sequence[Kept], may_be_ranked: Sequence[bool]) -> list[Standing]:
    """Intervals and positions of the rows of a table, which come best first.

    A row belongs to the best unless the paired bootstrap tells it from the first of those that may be ranked
    (5 %, Holm over the tests of the table); rows that were made of other subjects are not tested.
    """
    columns = {
        place: row.column for place, row in enumerate(rows) if may_be_ranked[place] and row.column is not None
    }
    there = list(columns)
    ranges = dict(zip(there, _rank_ranges(list(columns.values())), strict=True))
    raw = {
        place: uncertainty.difference(columns[there[0]], columns[place])[1]
        for place in there[1:]
        if rows[place].ids == rows[there[0]].ids
    }
    p_values = dict(zip(raw, uncertainty.holm(list(raw.values())), strict=True))
    best = {*there[:1], *(place for place, p in p_values.items() if p > SIGNIFICANT)}
    position = {place: number for number, place in enumerate(there, 1)}
    return [
        Standing(
            own.intervals, position.get(place), place in best, ranges.get(place), p_values.get(place), own.few
        )
        for place, own in enumerate(rows)
    ]


def _around(figure: Sampled, value: float | None) -> Interval | None:
    """The interval, moved to the leaderboard's own value, from which binning may part it by 1e-4."""
    found = uncertainty.interval(figure)
    if found is None or value is None or found.low == found.high:  # no width: there is nothing to resample
        return None
    shift = value - found.value
    return Interval(value, max(found.low + shift, 0.0), min(found.high + shift, 1.0))


def _rank_ranges(rows: Sequence[Sampled]) -> list[tuple[int, int]]:
    """95 % interval of the rank of each row, best first, over the resamples; it holds the row's own rank."""
    if not rows:
        return []
    values = np.stack([np.nan_to_num(row.values, nan=-np.inf) for row in rows])
    ranks = (-values).argsort(0, kind="stable").argsort(0, kind="stable") + 1
    low, high = np.quantile(ranks, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1, method="nearest").astype(int)
    own = np.arange(1, len(rows) + 1)
    return list(zip(np.minimum(low, own).tolist(), np.maximum(high, own).tolist(), strict=True))
