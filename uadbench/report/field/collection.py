"""The collection as a table: every published value with what must be equal before two are compared."""

from collections.abc import Mapping
from dataclasses import asdict
from string import ascii_lowercase
from typing import Any

import pandas

from uadbench.report import published
from uadbench.report.field import words
from uadbench.system.errors import UserError

# What is held fixed within a cell of the comparison; `apart` keeps unknown settings of two sources apart.
FIXED = ("quantity", "regime", "contrast", "threshold", "averaged", "apart")
COLUMNS = (
    "label", "part", "family", "method", "train", "regime", "test", "kind", "contrast", "metric", "quantity",
    "threshold", "averaging", "resolution", "value", "spread", "low", "high", "false_alarms", "status",
    "note", "version", "other_version", "key", "source",
)  # fmt: skip
_DETAILS = ("version", "resolution", "averaging", "note")


def collection() -> pandas.DataFrame:
    """Every published value: the columns of `published.csv`, and

    `name` (method and part of the test set), `averaged` (mean, pooled or unknown), `quantity` (the metric in
    words), `level` (False for gains of one method over another), `apart`, `key` (of its source: "3" or "3b",
    the letter for what differs within a source), `cited` (what the key stands for) and `moved`.
    """
    frame = pandas.DataFrame([asdict(figure) for figure in published.read_figures()])
    frame["name"] = frame["label"] + frame["part"].map(lambda part: f", {part}" if part else "")
    frame["averaged"] = [
        _averaged(metric, how) for metric, how in zip(frame["metric"], frame["averaging"], strict=True)
    ]
    settings = zip(frame["metric"], frame["averaged"], frame["threshold"], strict=True)
    frame["quantity"] = [words.quantity(*setting) for setting in settings]
    frame["level"] = frame["metric"].isin(list(words.LEVELS))
    frame["moved"] = frame["other_version"].notna() & (frame["other_version"] != frame["value"])
    frame["key"], frame["cited"] = _keys(frame)
    unknown = (frame["regime"] == "") | (frame["contrast"] == "")
    unknown |= frame["quantity"].str.contains(words.NOT_STATED)
    version = frame["version"].map(lambda name: f", {name} version" if name else "")
    frame["apart"] = (frame["source"] + version).where(unknown, "")
    return frame


def _averaged(metric: str, averaging: str) -> str:
    if metric == "DSC mean" or averaging.startswith("mean over"):
        return "mean"
    return "pooled" if averaging == "pooled" and words.LEVELS.get(metric) in words.AVERAGED else ""


def _keys(frame: pandas.DataFrame) -> tuple[list[str], list[str]]:
    """Numbers of the sources in the order of the collection, a letter for each detail within one."""
    details: dict[str, dict[str, str]] = {}
    texts = []
    for facts in frame[["source", *_DETAILS]].to_dict("records"):
        version = f"{facts['version']} version" if facts["version"] else ""
        text = "; ".join(filter(None, (version, *(str(facts[name]) for name in _DETAILS[1:]))))
        details.setdefault(str(facts["source"]), {}).setdefault(text, "")
        texts.append((str(facts["source"]), text))
    for number, found in enumerate(details.values(), 1):
        for text, letter in zip(found, ascii_lowercase, strict=False):
            found[text] = f"{number}{letter}" if len(found) > 1 else str(number)
    keys = [details[source][text] for source, text in texts]
    return keys, [f"{source}; {text}" if text else source for source, text in texts]


def sources(frame: pandas.DataFrame) -> dict[str, str]:
    """What the keys of some values stand for, in the order of the keys."""
    return in_order(dict(zip(frame["key"], frame["cited"], strict=True)))


def in_order(cited: Mapping[str, str]) -> dict[str, str]:
    """Sources in the order of their keys: "2" comes before "10", "3a" before "3b"."""
    return dict(sorted(cited.items(), key=lambda item: (int(item[0].rstrip(ascii_lowercase)), item[0])))


def rows(frame: pandas.DataFrame) -> list[dict[Any, Any]]:
    """One row for each value, with all its facts: for CSV and JSON; None where nothing was stated."""
    lines = frame.assign(quantity=frame["quantity"].where(frame["level"], ""))[list(COLUMNS)]
    return lines.astype(object).where(lines.notna(), None).to_dict("records")


def narrowed(frame: pandas.DataFrame, **filters: str | None) -> pandas.DataFrame:
    """Only the values that fit every filter (test, family, metric, method, contrast); UserError if none do.

    A test set is taken by its name or, without the year, in all editions; a method by a part of its printed
    name or by the name of our row; a metric by its column or as it is shown ("Dice").
    """
    for name, wanted in filters.items():
        if wanted is None:
            continue
        kept = frame[_fits(frame, name, wanted.strip().lower())]
        if kept.empty:
            there = sorted({value or words.NOT_STATED for value in frame[_COLUMN.get(name, name)]})
            raise UserError(
                f"--{name} {wanted} fits none of the {len(frame)} published values; expected one of "
                f"{', '.join(there)}."
            )
        frame = kept
    return frame


_COLUMN = {"method": "label"}


def _fits(frame: pandas.DataFrame, name: str, wanted: str) -> pandas.Series:
    column = frame[_COLUMN.get(name, name)].str.lower()
    if wanted == words.NOT_STATED:
        return column == ""
    fits = column == wanted
    if name == "test":
        fits |= column.map(published.edition) == wanted
    elif name == "method":
        # A word of its own: "vae" is VAE and "FDP + VAE", not ceVAE or VAEGAN.
        fits |= (frame["method"] == wanted) | column.str.split(r"[ ,+()]+").map(lambda parts: wanted in parts)
    elif name == "metric":
        fits |= frame["metric"].map(words.LEVELS).str.lower() == wanted
    return fits
