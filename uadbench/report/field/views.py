"""Views of the field's comparison: by test set and contrast, and by family and kind of lesion."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas

from uadbench.report.field import words
from uadbench.report.field.collection import FIXED, sources
from uadbench.report.field.words import shown

BY = ("family", "test")
TEST_HEADERS = ("method", "family", "trained on", "value", "false alarms", "by", "source")


@dataclass(frozen=True)
class Sheet:
    """A table of text in sections, with the sources that its keys stand for."""

    title: str
    headers: tuple[str, ...]
    sections: Mapping[str, list[tuple[str, ...]]]  # rows under a heading; "" for none
    notes: tuple[str, ...] = ()
    whole: frozenset[str] = frozenset()  # columns that are never folded
    spare: str = ""  # a column to leave out where there is no room
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The rows of all sections."""
        return [row for rows in self.sections.values() for row in rows]

    def without(self, header: str) -> "Sheet":
        """The sheet less one of its columns."""
        place = self.headers.index(header)

        def less(row: tuple[str, ...]) -> tuple[str, ...]:
            return row[:place] + row[place + 1 :]

        sections = {title: [less(row) for row in rows] for title, rows in self.sections.items()}
        return replace(self, headers=less(self.headers), sections=sections)


@dataclass(frozen=True)
class Cell:
    """The values of one family on one kind of lesion under one setting, best first."""

    family: str
    kind: str
    quantity: str
    regime: str
    contrast: str
    threshold: str
    averaged: str
    apart: str  # the source of a setting that is not wholly stated
    values: pandas.DataFrame

    @property
    def best(self) -> "pandas.Series[Any]":
        """The highest value with its facts."""
        return self.values.iloc[0]

    @property
    def median(self) -> float:
        """The median of the values."""
        return round(float(self.values["value"].median()), 4)

    @property
    def methods(self) -> int:
        """How many methods the values are of."""
        return int(self.values["label"].nunique())

    @property
    def keys(self) -> list[str]:
        """The sources of all values."""
        return list(sources(self.values))


# ---- by family and kind of lesion --------------------------------------------------------------


def cells(frame: pandas.DataFrame) -> list[Cell]:
    """Every family on every kind of lesion, never mixing what `FIXED` names; gains are in no cell."""
    found = []
    levels = frame[frame["level"]]
    for key, values in levels.groupby(["family", "kind", *FIXED], sort=False):
        facts = dict(zip(("family", "kind", *FIXED), (str(part) for part in key), strict=True))
        ordered = values.sort_values("value", ascending=False, kind="stable")
        found.append(Cell(**facts, values=ordered))
    return found


def overview(frame: pandas.DataFrame) -> Sheet:
    """How many values there are of each family on each kind of lesion, whatever their setting."""
    counts = pandas.crosstab(frame["family"], frame["kind"])
    kinds = [kind for kind in (*words.KINDS, "") if kind in counts.columns]
    rows = [
        (family or words.NOT_STATED, *(str(counts.at[family, kind] or "-") for kind in kinds))
        for family in (*words.FAMILIES, "")
        if family in counts.index
    ]
    return Sheet(
        "Published values by family and kind of lesion",
        ("family", *(kind or words.NOT_STATED for kind in kinds)),
        {"": rows},
        (
            "Counts over all settings. Values are only compared below, where metric, averaging, threshold "
            "rule, training setting and MR contrast are the same; edition of the test set, resolution and "
            "preparation still differ: see the sources. n counts values, several of a method with "
            "several sources or parts of a test set.",
        ),
    )


def by_family(frame: pandas.DataFrame) -> list[Sheet]:
    """One sheet for every setting under which families can be compared, and one for all other settings."""
    settings: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells(frame):
        settings.setdefault(tuple(str(getattr(cell, name)) for name in FIXED), []).append(cell)
    ordered = sorted(settings.values(), key=lambda group: -len(group))
    compared = [group for group in ordered if len({cell.family for cell in group}) > 1]
    alone = [group for group in ordered if len({cell.family for cell in group}) == 1]
    sheets = [_setting_sheet(group) for group in compared]
    if alone:
        rows: dict[str, list[tuple[str, ...]]] = {
            _setting(group[0]): [
                (cell.family or words.NOT_STATED, cell.kind or words.NOT_STATED, _cell(cell))
                for cell in group
            ]
            for group in alone
        }
        cited = sources(pandas.concat([cell.values for group in alone for cell in group]))
        headers = ("family", "kind of lesion", "best, median")
        sheets.append(Sheet("Settings with one family only", headers, rows, sources=cited))
    return sheets


def _setting(cell: Cell) -> str:
    parts = [cell.quantity, words.contrast(cell.contrast), words.SETTINGS.get(cell.regime, cell.regime)]
    title = _capital("; ".join(parts))
    return f"{title} ({cell.apart})" if cell.apart else title


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _setting_sheet(group: list[Cell]) -> Sheet:
    by_place = {(cell.family, cell.kind): cell for cell in group}
    kinds = [kind for kind in (*words.KINDS, "") if any(cell.kind == kind for cell in group)]
    families = [family for family in (*words.FAMILIES, "") if any(cell.family == family for cell in group)]
    rows = [
        (
            family or words.NOT_STATED,
            *(_cell(by_place[family, kind]) if (family, kind) in by_place else "-" for kind in kinds),
        )
        for family in families
    ]
    values = pandas.concat([cell.values for cell in group])
    headers = ("family", *(kind or words.NOT_STATED for kind in kinds))
    return Sheet(_setting(group[0]), headers, {"": rows}, sources=sources(values.sort_index()))


def _cell(cell: Cell) -> str:
    best = f"{shown(cell.best['value'])} {cell.best['name']}"
    several = f" of {cell.methods} methods" if 1 < cell.methods < len(cell.values) else ""
    rest = f"; median {shown(cell.median)}, n {len(cell.values)}{several}" if len(cell.values) > 1 else ""
    return f"{best}{rest} [{', '.join(cell.keys)}]"


# ---- by test set and contrast ------------------------------------------------------------------


def by_test(frame: pandas.DataFrame) -> list[Sheet]:
    """One sheet for every test set and contrast: all values, by setting, best first.

    What is not stated comes last.
    """
    sheets = []
    places = sorted(frame.groupby(["test", "contrast"]), key=lambda one: [(not key, key) for key in one[0]])
    for (test, contrast), group in places:
        kinds = "/".join(dict.fromkeys(kind or f"lesion {words.NOT_STATED}" for kind in group["kind"]))
        sections: dict[str, list[tuple[str, ...]]] = {}
        ordered = group.assign(stated=group["apart"] == "").sort_values(
            ["level", "stated", "quantity", "regime"], ascending=[False, False, True, True]
        )
        for (quantity, regime, apart), values in ordered.groupby(["quantity", "regime", "apart"], sort=False):
            title = f"{quantity}; {words.SETTINGS.get(str(regime), regime)}"
            best = values.sort_values("value", ascending=False, kind="stable")
            sections[_capital(f"{title} ({apart})" if apart else title)] = [
                test_row(facts) for facts in best.to_dict("records")
            ]
        title = f"{words.test_set(str(test))} ({kinds}), {words.contrast(str(contrast))}"
        whole = frozenset({"value", "source"})
        sheet = Sheet(title, TEST_HEADERS, sections, moves(group), whole, "family", sources(group))
        alarms = group["false_alarms"].notna().any()
        sheets.append(sheet if alarms else sheet.without("false alarms"))
    return sheets


def test_row(facts: Mapping[Any, Any]) -> tuple[str, ...]:
    """A value as a line under `TEST_HEADERS`."""
    return (
        str(facts["name"]),
        str(facts["family"]) or words.NOT_STATED,
        str(facts["train"]) or words.NOT_STATED,
        printed(facts),
        f"{100 * facts['false_alarms']:.1f} %" if pandas.notna(facts["false_alarms"]) else "",
        str(facts["status"]),
        f"[{facts['key']}]",
    )


def printed(facts: Mapping[Any, Any]) -> str:
    """A value with its interval or spread, and a mark where another version of the source differs."""
    value, spread, mark = facts["value"], facts["spread"], "*" if facts["moved"] else ""
    if pandas.notna(facts["low"]):
        return f"{shown(value)}{mark} [{shown(facts['low'])}-{shown(facts['high'])}]"
    if pandas.notna(spread) and "read off" not in facts["note"]:  # there it is how well a figure can be read
        return f"{shown(value, spread)}{mark} ± {shown(spread, value)}"
    return f"{shown(value)}{mark}"


def moves(frame: pandas.DataFrame) -> tuple[str, ...]:
    """Which values the versions of a source print differently, each pair once."""
    found: dict[tuple[str, frozenset[float]], str] = {}
    for facts in frame[frame["moved"]].to_dict("records"):
        pair = str(facts["test"]), frozenset((facts["value"], facts["other_version"]))
        found.setdefault(
            pair,
            f"* {facts['name']}, {words.test_set(str(facts['test']))}: {shown(facts['value'])} in the "
            f"{facts['version']} version, {shown(facts['other_version'])} in the other [{facts['key']}].",
        )
    return tuple(found.values())
