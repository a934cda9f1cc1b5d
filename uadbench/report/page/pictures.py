"""The gallery as markup: the same subjects for every method, which a slider moves through their slices."""

from collections.abc import Mapping, Sequence
from typing import Any

from uadbench.report import names
from uadbench.report.evidence import operating_point
from uadbench.report.leaderboard import Row, Table
from uadbench.report.numbers import rounded
from uadbench.report.page.board import marks
from uadbench.report.page.markup import Node, el, folded, quiet
from uadbench.report.strata import POINTS

NOTE = (
    "For each kind of lesion the subject of median lesion volume, and one without lesions. Colours: the "
    "score map as the method emits it, from the 1st to the 99.5th percentile of each scan. Outlines: the "
    "reference (cyan), which no method has seen, and what is above the threshold of"
)


def pictures(shown: Table, subjects: Sequence[Mapping[str, Any]], first: bool) -> list[Node]:
    """Each subject folds; the first is open. The navigation leads to those of the first table."""
    if not subjects:
        return []
    point = POINTS[operating_point(shown.rows[0].records[0])]
    checks = [
        el(
            "label",
            {"class": "check"},
            el("input", {"type": "checkbox", "checked": True, "class": name}),
            said,
        )
        for name, said in (("show-lesion", "reference outline"), ("show-found", "threshold outline"))
    ]
    return [
        el("h3", {"id": "pictures" if first else None}, "Pictures"),
        quiet(f"{NOTE} {point} after {shown.headline} (green)."),
        el("div", {"class": "controls"}, checks),
        *[_subject(one, shown, place == 0) for place, one in enumerate(subjects)],
    ]


def _subject(one: Mapping[str, Any], shown: Table, first: bool) -> Node:
    count, start = len(one["slices"]), one["start"]
    at = 100 * start / (count - 1) if count > 1 else 0
    style = f"--n:{count};--at:{at:.3f}%;--ratio:{one['width']}/{one['height']}"
    if one["outline"]:
        style += f";--lesion:url({one['outline']})"
    labels = [
        f"{name} ({place + 1} of {count}){', with lesion' if lesion else ''}"
        for place, (name, lesion) in enumerate(zip(one["slices"], one["lesion"], strict=True))
    ]
    slider = el(
        "label",
        {"class": "slider", "hidden": count < 2},
        "slice, from below to above",
        el("input", {"type": "range", "min": 0, "max": count - 1, "value": start, "step": 1}),
    )
    kind = names.KINDS.get(one["kind"], one["kind"])
    image = _card("image", kind, _frame(one["image"], f"image of {one['id']}", one["sides"]), "")
    cards = [_method(made, shown, one["sides"]) for made in one["methods"]]
    return folded(
        f"{kind}: {one['id']}",
        el(
            "div",
            {"class": "subject", "style": style, "data-slices": "|".join(labels)},
            el("p", {"class": "where"}, slider, el("output", None, labels[start])),
            el("div", {"class": "cards"}, image, cards),
        ),
        open=first,
    )


def _method(made: Mapping[str, Any], shown: Table, sides: bool) -> Node:
    row: Row = shown.rows[made["row"]]
    name = names.row_name(row, shown)
    frames = [_frame(made["score"], f"score map of {name}", sides, made["found"])]
    if made["restored"]:
        frames.insert(0, _frame(made["restored"], f"pseudo-healthy image of {name}", sides))
    low, high = made["ends"]
    bar = el(
        "p",
        {"class": "bar"},
        el("span", None, f"{low:.3g}"),
        el("i", {"aria-hidden": "true"}),
        el("span", None, f"{high:.3g}"),
    )
    reached = [f"{what} {rounded(made[key], 0, 1)}" for what, key in (("AP", "ap"), ("Dice", "dice"))
               if made[key] is not None]  # fmt: skip
    card = _card(name, ", ".join(reached) or "no lesion", frames, bar)
    for key, value in marks(row, shown).items():
        card.set(key, "" if value is True else str(value))
    return card


def _card(title: str, caption: str, frames: object, bar: object) -> Node:
    return el(
        "figure",
        {"class": "card"},
        el("figcaption", None, title),
        el("div", {"class": "pair"}, frames),
        bar,
        el("p", {"class": "caption"}, caption),
    )


def _frame(picture: str, label: str, sides: bool, found: str | None = None) -> Node:
    style = f"--picture:url({picture})" + (f";--found:url({found})" if found else "")
    letters = [
        el("span", {"class": side, "aria-hidden": "true"}, side[0].upper()) for side in ("left", "right")
    ]
    return el(
        "div",
        {"class": "frame", "role": "img", "aria-label": label, "style": style},
        el("i", {"class": "layer"}),
        letters if sides else None,
    )
