"""Where the values of the page come from: its facts, downloads, how to cite and to submit, and every run."""

import base64
import json
from collections.abc import Sequence
from datetime import date
from importlib import metadata
from typing import Any

from msgspec import Struct

from uadbench import __version__
from uadbench.experiment.facts import Stage
from uadbench.experiment.record import RunRecord, plain
from uadbench.report import cost, formats, names, references
from uadbench.report.leaderboard import Row, Table
from uadbench.report.page.board import constant_facts, marks
from uadbench.report.page.markup import Node, bullets, el, facts, folded, link, quiet, table

EXCLUDED_SHOWN = 50
POINT_FACTS = {
    "threshold": "threshold",
    "dsc": "Dice",
    "dsc_mean": "mean Dice",
    "fpr_healthy_test": "FPR healthy",
    "fpr_lesion_test": "FPR lesion scans",
    "ceiling": "highest Dice",
}


def records_of(found: Sequence[Table]) -> list[RunRecord]:
    """The records of all rows."""
    return [record for one in found for row in one.rows for record in row.records]


def colophon(found: Sequence[Table], day: date) -> Node:
    """Date, version, code, data and downloads, on the first screen."""
    records = records_of(found)
    parts: list[object] = [
        f"{day:%d %B %Y}".lstrip("0"),
        f"uadbench {__version__}",
        f"metric version {', '.join(map(str, sorted({r.metric_version for r in records})))}",
        f"code {_commits(records)}",
        _repository(),
        f"{len(records)} records",
        *[_download(found, kind) for kind in ("csv", "json")],
        el("a", {"href": "#cite"}, "cite"),
        el("a", {"href": "#submit"}, "submit a result"),
    ]
    items = [el("li", None, part) for part in parts if part is not None]
    return el("ul", {"class": "colophon", "aria-label": "About this page"}, items)


def _commits(records: Sequence[RunRecord]) -> str:
    """The first digits of the commits of the code that made the records."""
    found = sorted({str(r.code.get("commit") or "unknown")[:8] for r in records})
    return found[0] if len(found) == 1 else f"{found[0]} and {len(found) - 1} other commits"


def _repository() -> Node | None:
    """The address of the source, where the package's metadata has one."""
    pairs = [text.partition(", ") for text in metadata.metadata("uadbench").get_all("Project-URL") or ()]
    addresses = [
        address for name, _, address in pairs if name.lower() in ("repository", "source", "homepage")
    ]
    return el("a", {"href": addresses[0], "rel": "noopener noreferrer"}, "repository") if addresses else None


def _download(found: Sequence[Table], kind: str) -> Node:
    """All rows in full precision, within the link."""
    content = base64.b64encode(formats.written(found, kind).encode()).decode()
    mime = "text/csv" if kind == "csv" else "application/json"
    where = {"href": f"data:{mime};base64,{content}", "download": f"uadbench-leaderboard.{kind}"}
    return el("a", where, f"download {kind.upper()}")


def cite(found: Sequence[Table], day: date) -> Node:
    """How to cite, and how a result gets here."""
    records = records_of(found)
    versions = ", ".join(map(str, sorted({r.metric_version for r in records})))
    return el(
        "section",
        {"id": "cite"},
        el("h2", None, "Cite, and submit a result"),
        el(
            "p",
            None,
            f"uadbench, version {__version__}, metric version {versions}, leaderboard of {day}, code "
            f"{_commits(records)}; and the papers of the methods and data sets that are shown.",
        ),
        folded("BibTeX of all of them", el("pre", None, el("code", None, references.of_tables(found)))),
        el("h3", {"id": "submit"}, "Submit a result"),
        el(
            "p",
            None,
            "A result is a record (JSON) with its score histograms beside it (npz), which ",
            el("code", None, "uadbench run"),
            " writes. ",
            el("code", None, "uadbench check-record FILE"),
            " says whether it is consistent. Add both files under results/ and propose the change to the "
            "repository; the tables are made from the records.",
        ),
    )


# ---- every row ---------------------------------------------------------------------------------


def settings(shown: Table, address: Any) -> Node:
    """Settings and provenance of every row; `address` gives the id by which the table links to a row."""
    shared = constant_facts(shown)
    rows = [
        folded(
            names.row_name(row, shown),
            el("div", {"class": "sheet", "id": address(row)}, *_parts(row, shown)),
            **marks(row, shown),
        )
        for row in shown.rows
    ]
    said = "; ".join(f"{fact} {text}" for fact, text in shared.items())
    return folded(
        "Settings and provenance of every row", quiet(f"All rows: {said}.") if said else None, *rows
    )


def _parts(row: Row, shown: Table) -> list[Node]:
    first = row.records[0]
    return [
        _part("Method", *_method(row)),
        _part("Protocol", _protocol(row, shown, first), el("h4", None, "Frozen thresholds"), _points(first)),
        _part("Options", facts((name, _said(value)) for name, value in first.parameters.items())),
        _part("Splits", *_splits(first)),
        _part("Runs", *[_run(record) for record in row.records], _hashes(first)),
    ]


def _part(title: str, *content: object) -> Node:
    return el("div", None, el("h3", {"class": "minor"}, title), *content)


def _said(value: object) -> str:
    return json.dumps(plain(value)) if isinstance(value, Struct) else str(value)


def _method(row: Row) -> list[object]:
    card = names.method_card(row.method)
    if card is None:
        return [el("p", None, row.method)]
    return [
        el("p", None, card.title),
        quiet(card.summary),
        facts([("paper", card.paper), ("link", link(card.link)), ("family", card.family)]),
        *([quiet("Differences from the paper:"), bullets(card.differences)] if card.differences else []),
    ]


def _protocol(row: Row, shown: Table, first: RunRecord) -> Node:
    headline = first.summary.profiles.get(first.headline)
    p = None if row.standing is None else row.standing.p
    return facts(
        [
            ("protocol", shown.protocol),
            ("training setting", names.SETTINGS.get(shown.regime, shown.regime)),
            ("trained on", f"{row.trained_on} {', '.join(first.train_contrasts)}"),
            ("tested on", f"{shown.test} {shown.contrast}"),
            ("scan score", first.summary.scan.rule),
            ("precision", first.precision),
            ("limit", "" if first.limit is None else f"{first.limit} subjects per partition"),
            ("p against the best", "" if p is None else f"{p:.3g}"),
            ("AP left open by bins", f"{headline.ap_error:.2g}" if headline and headline.ap_error else ""),
            ("preparation", _said(first.preparation)),
            *((f"restoration: {k}", formats.shown(v)) for k, v in plain(first.summary.restoration).items()),
        ]
    )


def _points(first: RunRecord) -> Node:
    headline = first.summary.profiles.get(first.headline)
    heads = [
        el("th", {"scope": "col", "class": "num" if place else None}, title)
        for place, title in enumerate(("rule", *POINT_FACTS.values()))
    ]
    rows = [
        el(
            "tr",
            None,
            el("th", {"scope": "row"}, point),
            [el("td", {"class": "num"}, formats.shown(getattr(found, key))) for key in POINT_FACTS],
        )
        for point, found in (headline.points if headline else {}).items()
    ]
    return table("Frozen thresholds", heads, rows)


def _splits(first: RunRecord) -> list[object]:
    excluded = [f"{e.id} ({e.partition}): {e.reason}" for e in first.excluded[:EXCLUDED_SHOWN]]
    more = len(first.excluded) - len(excluded)
    splits = [
        (n, f"{s.subjects} scans of {s.persons} subjects, {s.hash[:12]}") for n, s in first.splits.items()
    ]
    return [
        facts([*splits, ("rule", _said(first.split)), ("excluded", len(first.excluded))]),
        bullets([*excluded, *([f"and {more} more, in the record"] if more else [])]),
    ]


def _time(stage: str, took: Stage) -> str:
    """What a stage took, and in brackets each of its trainings."""
    parts = [f"{name} {cost.show_digits(seconds)}" for name, seconds in (took.trainings or {}).items()]
    return f"{stage} {cost.show_digits(took.seconds)} s" + (f" ({', '.join(parts)})" if parts else "")


def _run(record: RunRecord) -> Node:
    changed = " (with changes)" if record.code.get("changed") else ""
    times = ", ".join(_time(stage, own) for stage, own in record.timing.items())
    return facts(
        [
            ("seed", str(record.seed)),
            ("record", el("code", None, record.place.as_posix())),
            ("code", f"{record.code.get('commit') or 'unknown'}{changed}"),
            ("time", times),
            ("weights", f"{record.n_parameters:,}"),
            ("hardware", ", ".join(str(value) for value in record.hardware.values())),
        ]
    )


def _hashes(first: RunRecord) -> Node:
    return facts(
        [
            ("packages", ", ".join(" ".join(pair) for pair in first.packages.items())),
            ("data hash", first.data_fingerprint),
            ("fit hash", first.fit_hash),
            ("score hash", first.score_hash),
            ("score histograms hash", first.pieces.sha256),
        ]
    )
