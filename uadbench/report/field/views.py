"""Views of the field's comparison: by test set and contrast, and by family and kind of lesion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas

from uadbench.report.field import words
from uadbench.report.field.collection import FIXED, sources
from uadbench.report.field.words import capitalised, shown
from uadbench.report.sheets import Line, Sheet

BY = ("family", "test")
TEST_HEADERS = ("method", "family", "trained on", "value", "false alarms", "by", "source")
ROOM = 100  # characters: a narrower screen has no room for a spare column


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

    @property
    def text(self) -> str:
        """The best value, the median of so many, and the sources."""
        several = f" of {self.methods} methods" if 1 < self.methods < len(self.values) else ""
        rest = f"; median {shown(self.median)}, n {len(self.values)}{several}" if len(self.values) > 1 else ""
        return f"{shown(self.best['value'])} {self.best['name']}{rest} [{', '.join(self.keys)}]"

    @property
    def setting(self) -> str:
        """What is held fixed within it, in words."""
        regime = words.SETTINGS.get(self.regime, self.regime)
        title = f"{self.quantity}; {words.contrast(self.contrast)}; {regime}"
        return capitalised(f"{title} ({self.apart})" if self.apart else title)

    def row(self, flat: bool) -> dict[str, Any]:
        """The cell with all its values and their sources; flat: these as one text, apart by semicolons."""
        values = self.values[["name", "test", "value", "status", "key", "cited"]].to_dict("records")
        texts = [f"{shown(v['value'])} {v['name']} on {v['test']}: {v['cited']}" for v in values]
        return {name: getattr(self, name) for name in ("family", "kind", *FIXED[:4])} | {
            "setting_of": self.apart,
            "n": len(self.values),
            "methods": self.methods,
            "best": float(self.best["value"]),
            "best_method": str(self.best["name"]),
            "median": self.median,
            "values": "; ".join(texts) if flat else values,
        }


# ---- by family and kind of lesion --------------------------------------------------------------


def find_cells(frame: pandas.DataFrame) -> list[Cell]:
    """Every family on every kind of lesion, never mixing what `FIXED` names; gains are in no cell."""
    found = []
    levels = frame[frame["level"]]
    for key, values in levels.groupby(["family", "kind", *FIXED], sort=False):
        facts = dict(zip(("family", "kind", *FIXED), (str(part) for part in key), strict=True))
        found.append(Cell(**facts, values=values.sort_values("value", ascending=False, kind="stable")))
    return found


def overview(frame: pandas.DataFrame) -> Sheet:
    """How many values there are of each family on each kind of lesion, whatever their setting."""
    counts = pandas.crosstab(frame["family"], frame["kind"])
    kinds = [kind for kind in (*words.KINDS, "") if kind in counts.columns]
    lines = [
        (words.stated(family), *(str(counts.at[family, kind] or "-") for kind in kinds))
        for family in (*words.FAMILIES, "")
        if family in counts.index
    ]
    note = (
        "Counts over all settings. Values are only compared below, where metric, averaging, threshold "
        "rule, training setting and MR contrast are the same; edition of the test set, resolution and "
        "preparation still differ: see the sources. n counts values, several of a method with "
        "several sources or parts of a test set."
    )
    headers = ("family", *map(words.stated, kinds))
    return Sheet("Published values by family and kind of lesion", headers, tuple(lines), (note,))


def by_family(frame: pandas.DataFrame) -> list[Sheet]:
    """One sheet for every setting under which families can be compared, and one for all other settings."""
    settings: dict[tuple[str, ...], list[Cell]] = {}
    for cell in find_cells(frame):
        settings.setdefault(tuple(str(getattr(cell, name)) for name in FIXED), []).append(cell)
    ordered = sorted(settings.values(), key=lambda group: -len(group))
    compared = [group for group in ordered if len({cell.family for cell in group}) > 1]
    alone = [group for group in ordered if len({cell.family for cell in group}) == 1]
    sheets = [_setting_sheet(group) for group in compared]
    if alone:
        sections = {
            group[0].setting: [(*map(words.stated, (c.family, c.kind)), c.text) for c in group]
            for group in alone
        }
        cited = sources(pandas.concat([cell.values for group in alone for cell in group]))
        headers = ("family", "kind of lesion", "best, median")
        sheets.append(_sectioned("Settings with one family only", headers, sections, sources=cited))
    return sheets


def _sectioned(title: str, headers: Line, sections: Mapping[str, Sequence[Line]], **more: Any) -> Sheet:
    """A sheet whose lines stand under headings."""
    lines: list[Line] = []
    headings = {}
    for heading, own in sections.items():
        headings[len(lines)] = heading
        lines += own
    return Sheet(title, headers, tuple(lines), headings=headings, **more)


def _setting_sheet(group: list[Cell]) -> Sheet:
    texts = {(cell.family, cell.kind): cell.text for cell in group}
    kinds = [kind for kind in (*words.KINDS, "") if any(cell.kind == kind for cell in group)]
    families = [family for family in (*words.FAMILIES, "") if any(cell.family == family for cell in group)]
    lines = tuple(
        (words.stated(family), *(texts.get((family, kind), "-") for kind in kinds)) for family in families
    )
    cited = sources(pandas.concat([cell.values for cell in group]).sort_index())
    return Sheet(group[0].setting, ("family", *map(words.stated, kinds)), lines, sources=cited)


# ---- by test set and contrast ------------------------------------------------------------------


def by_test(frame: pandas.DataFrame) -> list[Sheet]:
    """One sheet for every test set and contrast: all values, by setting, best first.

    What is not stated comes last.
    """
    sheets = []
    places = sorted(frame.groupby(["test", "contrast"]), key=lambda one: [(not key, key) for key in one[0]])
    for (test, contrast), group in places:
        kinds = "/".join(dict.fromkeys(kind or f"lesion {words.NOT_STATED}" for kind in group["kind"]))
        sections: dict[str, list[Line]] = {}
        ordered = group.assign(stated=group["apart"] == "").sort_values(
            ["level", "stated", "quantity", "regime"], ascending=[False, False, True, True]
        )
        for (quantity, regime, apart), values in ordered.groupby(["quantity", "regime", "apart"], sort=False):
            title = f"{quantity}; {words.SETTINGS.get(str(regime), regime)}"
            best = values.sort_values("value", ascending=False, kind="stable")
            sections[words.capitalised(f"{title} ({apart})" if apart else title)] = [
                _test_line(facts) for facts in best.to_dict("records")
            ]
        sheet = _sectioned(
            f"{words.test_set(str(test))} ({kinds}), {words.contrast(str(contrast))}", TEST_HEADERS, sections,
            notes=_moves(group), whole=frozenset({"value", "source"}), spare={"family": ROOM},
            sources=sources(group),
        )  # fmt: skip
        sheets.append(sheet if group["false_alarms"].notna().any() else sheet.without(["false alarms"]))
    return sheets


def _test_line(facts: Mapping[Any, Any]) -> Line:
    """A value as a line under `TEST_HEADERS`."""
    alarms = f"{100 * facts['false_alarms']:.1f} %" if pandas.notna(facts["false_alarms"]) else ""
    named = (str(facts["name"]), words.stated(facts["family"]), words.stated(facts["train"]))
    return (*named, _printed(facts), alarms, str(facts["status"]), f"[{facts['key']}]")


def _printed(facts: Mapping[Any, Any]) -> str:
    """A value with its interval or spread, and a mark where another version of the source differs."""
    value, spread, mark = facts["value"], facts["spread"], "*" if facts["moved"] else ""
    if pandas.notna(facts["low"]):
        return f"{shown(value)}{mark} [{shown(facts['low'])}-{shown(facts['high'])}]"
    if pandas.notna(spread) and "read off" not in facts["note"]:  # there it is how well a figure can be read
        return f"{shown(value, spread)}{mark} ± {shown(spread, value)}"
    return f"{shown(value)}{mark}"


def _moves(frame: pandas.DataFrame) -> tuple[str, ...]:
    """Which values the versions of a source print differently, each pair once."""
    found: dict[tuple[str, frozenset[float]], str] = {}
    for facts in frame[frame["moved"]].to_dict("records"):
        pair = str(facts["test"]), frozenset((facts["value"], facts["other_version"]))
        text = (
            f"* {facts['name']}, {words.test_set(str(facts['test']))}: {shown(facts['value'])} in the "
            f"{facts['version']} version, {shown(facts['other_version'])} in the other [{facts['key']}]."
        )
        found.setdefault(pair, text)
    return tuple(found.values())
