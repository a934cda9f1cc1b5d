"""All tables at once: methods down, data sets across, with the mean rank where there are several."""

from collections.abc import Mapping, Sequence

import numpy as np

from uadbench.evaluation.uncertainty import LEVEL, Interval
from uadbench.report import names
from uadbench.report.leaderboard import Row, Table
from uadbench.report.page.board import Axis, marks, shown_value, strip_cell, strip_head
from uadbench.report.page.markup import NOTHING, Node, el, head, quiet, table
from uadbench.report.plot import rank_over_subjects

Key = tuple[str, str, str]
FEWEST_RANKED = 3  # methods that are in every table, without which there is no mean rank


def key_of(row: Row) -> Key:
    """What is one method in all tables, whatever it was trained on."""
    return row.method, row.variant, row.model_grid


def mean_ranks(found: Sequence[Table]) -> tuple[dict[Key, float], float, float]:
    """Mean rank by AP of the methods that are in every table, among these; equal values share a rank.

    With how far two of them must be apart (Nemenyi, 5 %), and p of no difference at all (Friedman).
    """
    values = [
        {key_of(row): row.numbers["ap"] for row in reversed(one.rows) if row.numbers["ap"] is not None}
        for one in found
    ]
    shared = [key for key in values[0] if all(key in own for own in values)]
    if len(shared) < FEWEST_RANKED:
        return {}, 0.0, 1.0
    ranks = rank_over_subjects(np.array([[own[key] for key in shared] for own in values], np.float64))
    means = sorted(zip(shared, ranks.means.tolist(), strict=True), key=lambda one: one[1])
    return dict(means), ranks.critical, ranks.p


def wide_table(found: Sequence[Table]) -> list[Node]:
    """AP of every method on every data set, best mean rank first."""
    ranks, critical, p = mean_ranks(found)
    rows: dict[Key, dict[int, Row]] = {key: {} for key in ranks}
    for place, one in enumerate(found):
        for row in one.rows:
            rows.setdefault(key_of(row), {}).setdefault(place, row)
    reach = critical / 2
    axis = Axis.reaching(max((*ranks.values(), 1.0)) + reach)
    headers = [head("method", **{"class": "stick", "data-sort": "text"})]
    if ranks:
        headers.append(head("mean rank", **{"class": "num", "data-sort": "up"}))
        headers.append(strip_head("mean rank drawn", axis))
    headers += [head(names.short(one), **{"class": "num", "data-sort": "down"}) for one in found]
    lines = [_line(key, own, found, ranks, reach, axis) for key, own in rows.items()]
    made = [table("All data sets", headers, lines, "board always"), quiet("AP with its 95 % interval.")]
    return made + ([quiet(_note(len(ranks), len(found), critical, p))] if ranks else [])


def _line(
    key: Key,
    own: Mapping[int, Row],
    found: Sequence[Table],
    ranks: Mapping[Key, float],
    reach: float,
    axis: Axis,
) -> Node:
    place, first = next(iter(own.items()))
    rank = ranks.get(key)
    cells = []
    if ranks:
        ends = None if rank is None else Interval(rank, max(rank - reach, 0.0), rank + reach)
        text = "" if rank is None else f"{rank:.1f}"
        cells = [
            el("td", {"class": "num", "data-v": rank}, text),
            strip_cell(first, axis, rank, ends),
        ]
    for number, _ in enumerate(found):
        row = own.get(number)
        value = NOTHING if row is None else shown_value(row, "ap")
        cells.append(el("td", {"class": "num", "data-v": row and row.numbers["ap"]}, value))
    name = el("th", {"scope": "row"}, names.row_name(first, found[place]))
    return el("tr", marks(first, found[place]), name, cells)


def _note(methods: int, tables: int, critical: float, p: float) -> str:
    apart = "two methods are separable where their bars do not meet (Nemenyi, 5 %)"
    none = "Friedman's test finds no difference between methods, so that none is separable"
    return (
        f"Mean rank of the {methods} methods that are in all {tables} tables. Bars: half the critical "
        f"difference of {critical:.1f} to either side; {apart if p <= 1 - LEVEL else none}."
    )
