"""The field's published values on the page: by family and kind of lesion, by test set, and beside ours."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas

from uadbench.experiment.record import RunRecord
from uadbench.report import beside, names
from uadbench.report.field import collection, findings, views, words
from uadbench.report.page.markup import Node, bullets, el, folded, quiet, sheet
from uadbench.report.sheets import Line, Sheet

OURS = {"threshold": "baseline", "chance": "baseline"}  # families of the field -> those of our cards


def published(records: Sequence[RunRecord]) -> list[Node]:
    """The two tables of the field, what it lacks, ours beside it, and the sources."""
    frame = collection.collection()
    sources = collection.sources(frame)
    return [
        el("p", None, findings.summary(frame)),
        bullets(findings.findings(frame)) or quiet("Nothing is missing."),
        el("h3", None, "By family and kind of lesion"),
        _block(views.overview(frame)),
        *_by_family(frame),
        el("h3", None, "By test set and MR contrast"),
        *_by_test(frame),
        *_ours(records),
        folded(
            "Sources of the published values",
            el(
                "ul",
                None,
                [el("li", {"id": f"source-{key}"}, f"[{key}] {own}") for key, own in sources.items()],
            ),
        ),
    ]


def _by_family(frame: pandas.DataFrame) -> list[Node]:
    """For each contrast the settings under which families can be compared, those of most values first."""
    groups = sorted(frame.groupby("contrast"), key=lambda one: (not one[0], -len(one[1])))
    return [
        folded(
            _heading(words.contrast(str(contrast)), group),
            *map(_block, views.by_family(group)),
            **{"data-block": True, "data-contrast": contrast},
        )
        for contrast, group in groups
    ]


def _by_test(frame: pandas.DataFrame) -> list[Node]:
    made = []
    stated_first = sorted(
        frame.groupby(["test", "contrast"]), key=lambda one: (not all(one[0]), -len(one[1]))
    )
    for (test, contrast), group in stated_first:
        marks = {"data-block": True, "data-test": test, "data-contrast": contrast}
        for one in views.by_test(group):
            made.append(folded(_heading(one.title, group), *sheet(one, _marks(one, "family")), **marks))
    return made


def _heading(text: str, group: pandas.DataFrame) -> str:
    return f"{words.capitalised(text)}: {len(group)} value{'s' if len(group) > 1 else ''}"


def _block(shown: Sheet) -> Node:
    title = el("h4", None, shown.title)
    return el("div", {"data-block": True}, title, *sheet(shown, _marks(shown, "family")))


def _marks(shown: Sheet, *facts: str) -> Callable[[Line], Mapping[str, Any]]:
    """What the filters look at in the lines of a sheet, by the names of its columns."""
    places = {fact: shown.headers.index(fact) for fact in facts if fact in shown.headers}

    def marks(line: Line) -> Mapping[str, Any]:
        found = {fact: OURS.get(line[place], line[place]) for fact, place in places.items()}
        if "method" in found:
            found["family"] = names.family(found.pop("method"))
        return {f"data-{fact}": value for fact, value in found.items()} | {
            "data-text": " ".join(line).lower()
        }

    return marks


def _ours(records: Sequence[RunRecord]) -> list[Node]:
    """Published values beside ours, and ours against the bands."""
    return [
        folded(
            f"{one.title}: {len(one.lines)} lines",
            *sheet(one, _marks(one, "method", "test", "contrast")),
            **{"data-block": True},
        )
        for one in beside.write_sheets(records)
        if one.lines
    ]
