"""Content: everything the page shows, as data that fits JSON; numbers are there as they are printed."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from uadbench import __version__
from uadbench.cards import all_datasets, method_cards
from uadbench.experiment.record import RunRecord, plain
from uadbench.report import beside, cost, families, formats, views
from uadbench.report.leaderboard import COLUMNS, Row, Table
from uadbench.report.page import gallery
from uadbench.report.strata import MEASURES, PEOPLE, POINTS, Gap, Stratum, gaps, strata
from uadbench.system.paths import Paths

EXCLUDED_SHOWN = 50


def gather_content(
    found: Sequence[Table],
    failed: Sequence[tuple[str, str]],
    paths: Paths,
    resamples: int,
) -> dict[str, Any]:
    """All that the page shows."""
    records = [record for table in found for row in table.rows for record in row.records]
    known = families.family_of_methods()
    return {
        "version": __version__,
        "records": len(records),
        "resamples": resamples,
        "columns": {c.name: {"title": c.title, "meaning": c.meaning} for c in COLUMNS},
        "costs": {name: {"title": title, "meaning": what} for name, (title, what) in cost.COLUMNS.items()},
        "cost_note": views.COST_NOTE,
        "measures": MEASURES,
        "people": PEOPLE,
        "gap_note": views.GAP_NOTE,
        "few_note": views.FEW,
        "methods": _methods({record.method for record in records}),
        "tables": [_table(number, table, resamples) for number, table in enumerate(found)],
        "families": [_families(one, families.compare_families(one, known)) for one in found],
        "published": _published(records),
        "gallery": gallery.build_gallery(found, paths),
        "failed": [[place, reason] for place, reason in failed],
    }


def _methods(names: Iterable[str]) -> dict[str, Any]:
    """What the cards say; a method that is not here has a name and no more."""
    known = method_cards()
    facts = ("family", "title", "summary", "link", "trained", "synthetic")
    return {
        name: {fact: getattr(known[name], fact) for fact in facts}
        | {"paper": f"{known[name].paper} ({known[name].year})", "differences": list(known[name].differences)}
        if name in known
        else {"family": families.UNKNOWN}
        for name in sorted(names)
    }


SHOWN = ("protocol", "regime", "test", "contrast", "split", "headline", "sort")


# ---- tables ------------------------------------------------------------------------------------


def _table(number: int, table: Table, resamples: int) -> dict[str, Any]:
    known, _ = all_datasets()
    rows = [
        _row(row, rank, table, resamples) for row, rank in zip(table.rows, formats.ranked(table), strict=True)
    ]
    return {
        "id": f"t{number}",
        "title": table.title,
        "dataset": known[table.test].title if table.test in known else "",
        **{name: getattr(table, name) for name in SHOWN},
        "spread": formats.spread_header(table),
        "prevalence": _number(table.prevalence),
        "notes": formats.notes(table),
        "columns": [column.name for column in table.columns],
        "rows": rows,
    }


def _row(row: Row, rank: str, table: Table, resamples: int) -> dict[str, Any]:
    standing = row.standing
    evidence = row.evidence(resamples) if resamples else []
    groups = strata(evidence) if evidence else []
    return {
        "rank": rank,
        "method": row.method,
        "variant": row.variant,
        "preset": row.records[0].preset,
        "grid": row.model_grid,
        "train": row.trained_on,
        "scored": row.scored,
        "excluded": row.excluded_count,
        "seeds": list(row.seeds),
        "spread": formats.spread(row, table.sort),
        "few": standing is not None and standing.few,
        "p": None if standing is None else _number(standing.p),
        "cells": [_cell(row, column.name) for column in table.columns],
        "cost": _costs(row.records),
        "curve": evidence[0].curve() if evidence else [],
        "point": POINTS[evidence[0].operating_point] if evidence else "",
        "strata": [_stratum(one) for one in groups],
        "gaps": [_gap(one) for one in gaps(groups)],
        "details": [_provenance(record) for record in row.records],
    }


def _cell(row: Row, name: str) -> list[Any]:
    """The number as text, for sorting, and its interval as text."""
    value = row.numbers[name]
    found = row.standing.intervals.get(name) if row.standing is not None else None
    return [formats.shown(value), _number(value), *map(formats.shown, found[1:] if found else ())]


def _stratum(one: Stratum) -> list[Any]:
    figures = {name: [views.show_stratum(one, name), _number(i.value)] for name, i in one.figures.items()}
    return [one.by, one.name, one.lesion_scans, one.healthy_scans, figures]


def _gap(one: Gap) -> list[Any]:
    groups = [one.by, one.measure, one.lowest, one.highest]
    return [*groups, views.show_gap(one), _number(one.difference.value)]


def _costs(records: Sequence[RunRecord]) -> dict[str, Any]:
    """Each cost as text and for sorting, and on which hardware."""
    both = {name: [cost.show_digits(v), _number(v)] for name, v in cost.measure_cost(records).items()}
    return both | {"hardware": cost.name_hardware(records)}


PROVENANCE = (
    "seed", "parameters", "n_parameters", "precision", "limit", "train_contrasts", "code", "packages",
    "hardware",
)  # fmt: skip
POINT_FACTS = ("threshold", "dsc", "dsc_mean", "fpr_healthy_test", "fpr_lesion_test", "ceiling")


def _provenance(record: RunRecord) -> dict[str, Any]:
    """Protocol and provenance of one run."""
    headline = record.summary.profiles.get(record.headline)
    return {
        **{name: getattr(record, name) for name in PROVENANCE},
        "record": record.place.as_posix(),
        "timing": {stage: cost.show_digits(facts.seconds) for stage, facts in record.timing.items()},
        "splits": {name: plain(part) for name, part in record.splits.items()},
        "split": plain(record.split),
        "preparation": plain(record.preparation),
        "excluded": [f"{e.id} ({e.partition}): {e.reason}" for e in record.excluded[:EXCLUDED_SHOWN]],
        "excluded_count": len(record.excluded),
        "hashes": {
            "data": record.data_fingerprint,
            "fit": record.fit_hash,
            "score": record.score_hash,
            "pieces": record.pieces.sha256,
        },
        "points": {
            name: {key: formats.shown(getattr(facts, key)) for key in POINT_FACTS}
            for name, facts in (headline.points if headline else {}).items()
        },
        "ap_error": _number(headline.ap_error if headline else None),
        "restoration": {k: formats.shown(v) for k, v in plain(record.summary.restoration).items()},
        "scan_rule": record.summary.scan.rule,
    }


def _number(value: float | None) -> float | None:
    """Six digits, None where it is none."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


# ---- families and published figures ------------------------------------------------------------


def _families(table: Table, comparison: families.Comparison) -> dict[str, Any]:
    kinds = [
        [kind, comparison.subjects[kind], formats.shown(comparison.prevalence[kind])]
        for kind in comparison.kinds
    ]
    rows = [
        [family, [_family_cell(comparison.cells.get((family, kind))) for kind in comparison.kinds]]
        for family in comparison.families
    ]
    return {"table": table.title, "kinds": kinds, "rows": rows}


def _family_cell(cell: families.Cell | None) -> list[Any] | None:
    if cell is None:
        return None
    return [formats.shown(cell.best), cell.method, formats.shown(cell.median), cell.count]


def _published(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    return [
        {"title": one.title, "notes": one.notes, "headers": one.headers, "lines": one.lines}
        for one in beside.write_sheets(records)
        if one.lines
    ]
