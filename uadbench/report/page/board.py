"""The main table of a leaderboard: a line for each method with its AP as a dot with its interval."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from uadbench.cards import FAMILIES
from uadbench.evaluation.uncertainty import Interval
from uadbench.report import cost, families, formats, names
from uadbench.report.columns import Column
from uadbench.report.leaderboard import HEADLINE_MARK, Row, Table
from uadbench.report.numbers import between, round_number, rounded
from uadbench.report.page.markup import Node, el, head, table

MARGIN = 3.0  # percent of the strip's width that are left free at either end
FACTS: Mapping[str, Callable[[Row], str]] = {
    "scans (excluded)" if name == formats.SCORED else name: text for name, text in formats.FACTS.items()
}


def colour(family: str) -> str:
    """The class that colours a family, the same in every chart."""
    known = (*FAMILIES, families.UNKNOWN)
    return f"family{known.index(family) if family in known else len(FAMILIES)}"


def marks(row: Row, shown: Table) -> dict[str, object]:
    """What the filters and the search of the page look at."""
    card = names.method_card(row.method)
    words = [row.method, row.variant, row.trained_on, names.title(shown)]
    words += [card.title, card.family, card.paper] if card else []
    return {
        "data-row": True,
        "data-family": names.family(row.method),
        "data-preset": row.records[0].preset,
        "data-text": " ".join(words).lower(),
    }


@dataclass(frozen=True)
class Axis:
    """A scale from 0 to a round number, in percent of a strip's width."""

    top: float
    ticks: tuple[float, ...]

    @classmethod
    def reaching(cls, most: float) -> "Axis":
        """With about four steps, and room for the highest value."""
        raw = max(most, 1e-3) / 4
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(n * power for n in (1, 2, 2.5, 5, 10) if n * power >= raw - 1e-12)
        count = math.ceil(most / step - 1e-9) or 1
        return cls(step * count, tuple(step * n for n in range(count + 1)))

    def place(self, value: float) -> str:
        """Where a value stands."""
        return f"{MARGIN + (100 - 2 * MARGIN) * value / self.top:.2f}%"


def axis_of(shown: Table) -> Axis:
    """That of a table's AP."""
    values = [row.numbers["ap"] or 0.0 for row in shown.rows]
    ends = [found.high for row in shown.rows if (found := row.interval("ap"))]
    return Axis.reaching(min(max(*values, *ends, shown.prevalence or 0.0, 0.01), 1.0))


def main_table(shown: Table, settings: Callable[[Row], str]) -> Node:
    """Every row, best first; `settings` gives the address of a row's settings and provenance."""
    axis, leaders = axis_of(shown), {row.facts for row in names.leaders(shown)}
    columns = list(_columns(shown))
    ranks = _ranks(shown)
    headers = [
        head("#", **{"class": "num", "data-sort": "rank"}) if any(ranks) else None,
        head("method", **{"class": "stick", "data-sort": "text"}),
        strip_head("AP drawn", axis),
        head("AP 95 % CI", **{"class": "num", "data-sort": "down", "title": _meaning_of_ap(shown)}),
        *[column.header() for column in columns],
    ]
    rows = []
    for row, rank in zip(shown.rows, ranks, strict=True):
        group = "among-best" if row.facts in leaders and len(leaders) > 1 else None
        rows.append(
            el(
                "tr",
                {**marks(row, shown), "class": group},
                el("td", {"class": "num rank"}, rank) if any(ranks) else None,
                _method(row, shown, settings(row)),
                strip_cell(row, axis, row.numbers["ap"], row.interval("ap"), shown.prevalence),
                el("td", {"class": "num", "data-v": row.numbers["ap"]}, *shown_value(row, "ap", always=True)),
                [column.cell(row) for column in columns],
            )
        )
    return table(names.title(shown), headers, rows, "board")


def _ranks(shown: Table) -> list[str]:
    """The ranks as text; none where no row has one."""
    found = formats.ranked(shown)
    return [""] * len(found) if set(found) == {formats.NO_RANK} else found


def _meaning_of_ap(shown: Table) -> str:
    profile = "as the method emits its map" if shown.headline == "raw" else f"after {shown.headline}"
    return f"average precision over all voxels, {profile}; the headline of {shown.test}"


def _method(row: Row, shown: Table, settings: str) -> Node:
    family = names.family(row.method)
    swatch = el("i", {"class": f"swatch {colour(family)}", "aria-hidden": "true"})
    small = el(
        "small",
        None,
        swatch,
        " · ".join(filter(None, (family, names.cite(row.method)))),
        el("code", None, f" · {row.method}"),
    )
    return el(
        "th", {"scope": "row"}, el("a", {"href": f"#{settings}"}, names.row_name(row, shown)), " ", small
    )


def strip_cell(
    row: Row, axis: Axis, value: float | None, found: Interval | None, chance: float | None = None
) -> Node:
    """A dot with its interval; random scores are a dashed line through all strips of a table."""
    parts = [el("line", {"class": "grid", **_upright(axis.place(tick))}) for tick in axis.ticks]
    if chance is not None:
        parts.append(el("line", {"class": "chance", **_upright(axis.place(chance))}))
    if found is not None:
        places = {"x1": axis.place(found.low), "x2": axis.place(found.high)}
        parts.append(el("line", {"class": "whisker", "y1": "50%", "y2": "50%", **places}))
    if value is not None:
        parts.append(el("circle", {"cx": axis.place(value), "cy": "50%", "r": 4.5}))
    drawn = el("svg", {"aria-hidden": "true"}, parts)
    return el("td", {"class": f"strip {colour(names.family(row.method))}"}, drawn)


def _upright(place: str) -> dict[str, object]:
    return {"x1": place, "x2": place, "y1": "0", "y2": "100%"}


def strip_head(title: str, axis: Axis) -> Node:
    """The head of a column of strips: the numbers of its axis."""
    where = {"y": "100%", "dy": "-4", "text-anchor": "middle"}
    ticks = [el("text", {"x": axis.place(tick), **where}, round_number(tick)) for tick in axis.ticks]
    unseen = el("span", {"class": "unseen"}, title)
    return el("th", {"scope": "col", "class": "strip"}, unseen, el("svg", {"aria-hidden": "true"}, ticks))


def shown_value(row: Row, column: str, always: bool = False) -> list[object]:
    """A value, and its interval in small letters."""
    found = row.interval(column)
    if found is None:
        return [rounded(row.numbers[column])]
    text = between(found.low, found.high) + "*" * row.few
    kind = "range always" if always else "range"
    return [rounded(row.numbers[column], found.low, found.high), " ", el("span", {"class": kind}, text)]


@dataclass(frozen=True, kw_only=True)
class _Column:
    """A column behind AP: its text of a row, and by which value it is sorted."""

    title: str
    text: Callable[[Row], object]
    value: Callable[[Row], float | None] = lambda row: None
    meaning: str | None = None
    kind: str | None = "num more"
    sort: str = "up"

    def header(self) -> Node:
        return head(self.title, **{"class": self.kind, "data-sort": self.sort, "title": self.meaning})

    def cell(self, row: Row) -> Node:
        return el("td", {"class": self.kind, "data-v": self.value(row)}, self.text(row))


def _columns(shown: Table) -> Iterator[_Column]:
    """The columns behind AP: other figures, then what differs between rows, then costs.

    One in which all rows say the same is left out.
    """
    if any(map(formats.rank_range, shown.rows)):
        meaning = "95 % interval of the rank"
        yield _Column(
            title=formats.RANK_RANGE, text=formats.rank_range, meaning=meaning, kind=None, sort="text"
        )
    for column in shown.columns:
        blank = all(row.numbers[column.name] is None for row in shown.rows)
        if column.name != f"ap_{shown.headline}" and not blank:
            yield _figure(column)
    for fact, text in FACTS.items():
        if fact not in constant_facts(shown):
            yield _Column(title=fact, text=text, kind="more text", sort="text")
    for name, (title, meaning) in cost.columns(row.records for row in shown.rows).items():
        yield _cost(name, title, meaning)


def _figure(column: Column) -> _Column:
    """One of the figures; those beyond the standard ones are shown when all columns are asked for."""
    first = column.main and column.standard and not column.name.startswith("ap_")  # the table's AP is there
    return _Column(
        title=column.title.replace(HEADLINE_MARK, "").strip(),
        text=lambda row: shown_value(row, column.name),
        value=lambda row: row.numbers[column.name],
        meaning=column.meaning,
        kind="num" if first else "num more",
        sort="down" if column.sortable else "up",
    )


def _cost(name: str, title: str, meaning: str) -> _Column:
    def value(row: Row) -> float | None:
        return cost.measure_cost(row.records).get(name)

    return _Column(title=title, text=lambda row: cost.show_digits(value(row)), value=value, meaning=meaning)


def constant_facts(shown: Table) -> dict[str, str]:
    """What all rows share, which is said once instead of in a column."""
    said = {fact: {text(row) for row in shown.rows} for fact, text in FACTS.items()}
    return {fact: texts.pop() for fact, texts in said.items() if len(texts) == 1}
