"""Page: the leaderboard as one self-contained HTML file, made from records, pieces and stored maps.

Everything that is shown is data in one JSON block; `page.js` builds the page from it with `textContent`
alone, so that no text of a card or a file name is ever read as markup. Nothing is loaded from a network.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from uadbench import __version__
from uadbench.cards import dataset_card, method_cards
from uadbench.errors import UserError
from uadbench.evaluation.uncertainty import FEW_PERSONS, RESAMPLES, Interval
from uadbench.places import Places
from uadbench.record import RunRecord
from uadbench.report import families, published
from uadbench.report import leaderboard as board
from uadbench.report.page import gallery
from uadbench.report.statistics import Evidence, Stratum, strata

# Resamples of all records together that are made while one waits; beyond it there are fewer of each.
RESAMPLES_IN_ALL = 100_000
FEWEST_RESAMPLES = 200
EXCLUDED_SHOWN = 50
NO_COST = 1e-3  # seconds of an untrained method's fit: what it takes to return

POINT_NAMES = {"fpr1": "1 % false positives on healthy-val", "val": "lesion-val", "oracle": "the oracle"}


def resamples_for(records: int) -> int:
    """How many resamples each of so many records gets: 0 where that would take minutes."""
    each = RESAMPLES_IN_ALL // max(records, 1)
    return 0 if each < FEWEST_RESAMPLES else min(each, RESAMPLES)


def write(
    found: Sequence[board.Table],
    failed: Sequence[tuple[str, str]],
    places: Places,
    resamples: int,
) -> str:
    """The page of the tables."""
    return render(data(found, failed, places, resamples))


def render(content: Mapping[str, Any]) -> str:
    """The page that shows this content: one file, nothing is loaded from elsewhere."""
    here = files(__package__)
    parts = {
        "STYLE": (here / "page.css").read_text(encoding="utf-8"),
        "DATA": embedded(content),
        "SCRIPT": (here / "page.js").read_text(encoding="utf-8"),
    }
    page = (here / "page.html").read_text(encoding="utf-8")
    return re.sub(r"/\*(STYLE|DATA|SCRIPT)\*/", lambda mark: parts[mark[1]], page)


def embedded(content: object) -> str:
    """JSON that no text can end early: `<`, `>` and `&` are written as escapes."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def data(
    found: Sequence[board.Table],
    failed: Sequence[tuple[str, str]],
    places: Places,
    resamples: int,
) -> dict[str, Any]:
    """All that the page shows."""
    records = [record for table in found for row in table.rows for record in row.records]
    return {
        "version": __version__,
        "records": len(records),
        "resamples": resamples,
        "few_persons": FEW_PERSONS,
        "columns": {c.name: {"title": c.title, "meaning": c.meaning} for c in board.COLUMNS},
        "headline": board.HEADLINE,
        "methods": _methods({record.method for record in records}),
        "tables": [_table(number, table, places, resamples) for number, table in enumerate(found)],
        "families": [_families(one) for one in families.comparisons(found)],
        "published": _published(records),
        "gallery": gallery.build(found, places),
        "failed": [[place, reason] for place, reason in failed],
    }


def _methods(names: Iterable[str]) -> dict[str, Any]:
    """What the cards say; a method that is not here has a name and no more."""
    cards: dict[str, Any] = {}
    known = method_cards()
    for name in sorted(names):
        card = known.get(name)
        if card is None:
            cards[name] = {"family": families.UNKNOWN}
            continue
        cards[name] = {
            "family": card.family,
            "title": card.title,
            "summary": card.summary,
            "paper": f"{card.paper} ({card.year})",
            "link": card.link,
            "differences": list(card.differences),
            "trained": card.trained,
            "synthetic": card.synthetic,
        }
    return cards


def _dataset_title(name: str) -> str:
    try:
        return dataset_card(name).title
    except UserError:
        return ""


# ---- tables ------------------------------------------------------------------------------------


def _table(number: int, table: board.Table, places: Places, resamples: int) -> dict[str, Any]:
    rows = [
        _row(row, rank, table, places, resamples)
        for row, rank in zip(table.rows, board.ranked(table), strict=True)
    ]
    return {
        "id": f"t{number}",
        "title": table.title,
        "dataset": _dataset_title(table.test),
        "protocol": table.protocol,
        "regime": table.regime,
        "test": table.test,
        "contrast": table.contrast,
        "split": table.split,
        "sort": table.sort,
        "spread": board.headers(table, ())[board.FACTS],
        "prevalence": _number(table.prevalence),
        "notes": board.notes(table),
        "columns": [column.name for column in table.columns],
        "rows": rows,
    }


def _row(row: board.Row, rank: str, table: board.Table, places: Places, resamples: int) -> dict[str, Any]:
    standing = row.standing
    evidence = [Evidence(record, places.results, resamples) for record in row.records] if resamples else []
    return {
        "rank": rank,
        "method": row.method,
        "variant": row.variant,
        "preset": row.records[0].preset,
        "train": row.train,
        "seeds": list(row.seeds),
        "spread": board.spread(row, table.sort),
        "few": standing is not None and standing.few,
        "p": None if standing is None else _number(standing.p),
        "cells": [_cell(row, column.name) for column in table.columns],
        "cost": _cost(row.records),
        "curve": evidence[0].curve() if evidence else [],
        "point": POINT_NAMES[evidence[0].operating_point] if evidence else "",
        "strata": [_stratum(one) for one in strata(evidence)] if evidence else [],
        "details": [_provenance(record) for record in row.records],
    }


def _cell(row: board.Row, name: str) -> list[Any]:
    """The number as text, for sorting, and its interval as text."""
    value = row.numbers[name]
    found = row.standing.intervals.get(name) if row.standing is not None else None
    return [board.shown(value), _number(value), *(_ends(found) if found else ())]


def _ends(found: Interval) -> list[str]:
    return [board.shown(found.low), board.shown(found.high)]


def _stratum(one: Stratum) -> list[Any]:
    figures = {
        name: [board.shown(found.value), *_ends(found), int(name in one.few)]
        for name, found in one.figures.items()
    }
    return [one.by, one.name, one.lesion_scans, one.healthy_scans, figures]


def _cost(records: Sequence[RunRecord]) -> dict[str, Any]:
    """Means over seeds of what a row costs, and on which hardware."""

    def mean(values: Sequence[float | None]) -> float | None:
        there = [value for value in values if value is not None]
        if not there:
            return None
        found = sum(there) / len(there)
        return float(f"{found:.4g}") if found >= NO_COST else 0.0

    def seconds(record: RunRecord, stage: str) -> float | None:
        return record.timing.get(stage, {}).get("seconds")

    scans = max(len(records[0].subjects), 1)
    memory = [
        max((r.timing.get(s, {}).get("peak_memory_mb") or 0 for s in ("fit", "score")), default=0) or None
        for r in records
    ]
    scored = [seconds(r, "score") for r in records]
    return {
        "fit": mean([seconds(r, "fit") for r in records]),
        "score": mean([None if s is None else s / scans for s in scored]),
        "memory": mean(memory),
        "parameters": records[0].n_parameters,
        "hardware": ", ".join(sorted({_hardware(r) for r in records})),
    }


def _hardware(record: RunRecord) -> str:
    facts = record.hardware
    device = facts.get("device", "")
    return f"{facts.get('processor', 'unknown')}, {facts.get('cores', '?')} cores" + (
        f", {device}" if device not in ("", "cpu") else ""
    )


def _provenance(record: RunRecord) -> dict[str, Any]:
    """Protocol and provenance of one run."""
    points = _headline(record)["points"]
    return {
        "seed": record.seed,
        "record": record.place.as_posix(),
        "parameters": record.parameters,
        "n_parameters": record.n_parameters,
        "precision": record.precision,
        "limit": record.limit,
        "train_contrasts": record.train_contrasts,
        "code": record.code,
        "packages": record.packages,
        "hardware": record.hardware,
        "timing": {stage: _number(facts.get("seconds")) for stage, facts in record.timing.items()},
        "splits": record.splits,
        "split": record.split,
        "preparation": record.preparation,
        "excluded": [
            f"{e['id']} ({e['partition']}): {e['reason']}" for e in record.excluded[:EXCLUDED_SHOWN]
        ],
        "excluded_count": len(record.excluded),
        "hashes": {
            "data": record.data_fingerprint,
            "fit": record.fit_hash,
            "score": record.score_hash,
            "pieces": record.pieces.get("sha256", ""),
        },
        "points": {
            name: {
                key: board.shown(facts.get(key))
                for key in ("threshold", "dsc", "dsc_mean", "fpr_healthy_test", "fpr_lesion_test", "ceiling")
            }
            for name, facts in points.items()
        },
        "ap_error": _number(_headline(record).get("ap_error")),
        "restoration": {k: board.shown(v) for k, v in record.summary.get("restoration", {}).items()},
        "scan_rule": record.summary["scan"].get("rule", ""),
    }


def _headline(record: RunRecord) -> Mapping[str, Any]:
    profiles = record.summary["profiles"]
    headline: Mapping[str, Any] = profiles.get(board.HEADLINE) or next(iter(profiles.values()))
    return headline


def _number(value: float | None) -> float | None:
    """Six digits, None where it is none."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


# ---- families and published figures ------------------------------------------------------------


def _families(comparison: families.Comparison) -> dict[str, Any]:
    return {
        "table": comparison.table.title,
        "kinds": [
            [kind, comparison.subjects[kind], board.shown(comparison.prevalence[kind])]
            for kind in comparison.kinds
        ],
        "rows": [
            [
                family,
                [
                    None
                    if (cell := comparison.cells.get((family, kind))) is None
                    else [
                        board.shown(cell.best.ap),
                        cell.best.row.method,
                        board.shown(cell.median),
                        len(cell.members),
                    ]
                    for kind in comparison.kinds
                ],
            ]
            for family in comparison.families
        ],
    }


def _published(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    return [
        {"title": one.title, "notes": one.notes, "headers": one.headers, "lines": one.lines}
        for one in published.listings(records)
        if one.lines
    ]
