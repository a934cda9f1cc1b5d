"""Views: the tables of the leaderboard by something other than the method, as sheets (`--by`)."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from uadbench.evaluation.uncertainty import FEW_PERSONS
from uadbench.protocol import protocol
from uadbench.report import cost, families, formats, response
from uadbench.report.columns import OPERATING_POINT
from uadbench.report.further import lesions_of
from uadbench.report.leaderboard import Table
from uadbench.report.sheets import Line, Sheet
from uadbench.report.strata import FEWEST_PERSONS, MEASURES, POINTS, Gap, Stratum, gaps, strata
from uadbench.system.errors import UserError

GAP_NOTE = (
    f"The two groups of at least {FEWEST_PERSONS} subjects furthest apart, with the 95 % interval of their "
    "difference. They were chosen by looking, so that an interval just above 0 is no finding; and groups "
    "differ in more than their name: a site has its own scanner, and its own patients."
)
FEW = (
    f"* from fewer than {FEW_PERSONS} subjects; no interval from fewer than {FEWEST_PERSONS}, or from equals."
)


def sheets_by(by: str, found: Sequence[Table], resamples: int) -> list[Sheet]:
    """One of `BY`, of every table; without resamples there are no intervals, and so no strata."""
    if by in NEED_RESAMPLES and not resamples:
        raise UserError(f"--by {by} needs intervals: leave --resamples 0 out, or ask for 200 or more.")
    if by == "response":
        there = response.check_implanted(found)
        return [sheet(table, resamples) for sheet in (BY[by], response.write_limits) for table in there]
    return [BY[by](table, resamples) for table in found]


def _sheet(table: Table, title: str, headers: Line, lines: Sequence[Line], note: str) -> Sheet:
    return formats.view(table, title, (*response.ROW, *headers), lines, note)


def _by_stratum(table: Table, resamples: int) -> Sheet:
    """Every row by lesion kind and size, site, sex, age and contrast."""
    lines: list[Line] = []
    points: dict[str, None] = {}
    for row in table.rows:
        evidence = row.evidence(resamples)
        points[POINTS[evidence[0].operating_point]] = None
        for one in strata(evidence):
            counts = (str(one.lesion_scans), str(one.healthy_scans))
            cells = [show_stratum(one, measure) for measure in MEASURES]
            lines.append((*row.facts, one.by, one.name, *counts, *cells))
    note = (
        f"At the threshold frozen at {' or '.join(points)}, with 95 % intervals over subjects and seeds. "
        f"FPR healthy: {MEASURES['fpr']}; FPR ill: {MEASURES['fpr_lesion']}. {FEW}"
    )
    counted = ("by", "group", "lesion scans", "healthy scans")
    headers = (*counted, "lesion recall", "Dice", "FPR healthy", "FPR ill")
    return _sheet(table, "results by subgroup", headers, lines, note)


def show_stratum(one: Stratum, measure: str) -> str:
    """A measure with its interval as text, "" where the stratum has none."""
    return formats.with_ends(one.figures[measure], one.few(measure)) if measure in one.figures else ""


def show_gap(one: Gap) -> str:
    """A gap with its interval as text."""
    return formats.with_ends(one.difference, one.few, " to ")


def _by_bias(table: Table, resamples: int) -> Sheet:
    """How far the sites, sexes and ages of every row lie apart."""
    lines = [
        (*row.facts, one.by, MEASURES[one.measure], one.lowest, one.highest, show_gap(one))
        for row in table.rows
        for one in gaps(strata(row.evidence(resamples)))
    ]
    headers = ("by", "measure", "lowest", "highest", "gap")
    return _sheet(table, "differences between sites, sexes and ages", headers, lines, f"{GAP_NOTE} {FEW}")


def _by_lesion(table: Table, resamples: int) -> Sheet:
    """Every lesion of every row with its volume, and whether it is found (protocol, rule 10)."""
    lines: list[Line] = []
    lacking = 0
    for row in table.rows:
        listed = [lesions_of(one) for one in row.evidence(resamples=0)]
        lacking += not all(listed)
        for lesion in zip(*listed, strict=True) if all(listed) else ():
            found = sum(one.found for one in lesion)
            said = (
                "found" if found == len(lesion) else f"{found} of {len(lesion)} seeds" if found else "missed"
            )
            share = float(np.mean([one.covered for one in lesion]))
            own = lesion[0]
            lines.append((*row.facts, own.scan, own.kind, f"{own.size:.3g}", formats.shown(share), said))
    unit = "pixels" if protocol(table.protocol).flat else "ml"
    note = f"A lesion is found where at least 10 % of it is called, at {OPERATING_POINT}." + (
        f" {lacking} rows are of an earlier version and have no list: `uadbench evaluate` adds it."
        if lacking
        else ""
    )
    return _sheet(table, "every lesion", ("scan", "kind", unit, "share called", "found"), lines, note)


def _by_cost(table: Table, resamples: int) -> Sheet:
    """What every row costs, beside its AP."""
    lines = []
    columns = cost.columns(row.records for row in table.rows)
    for row in table.rows:
        own = cost.measure_cost(row.records)
        costs = [cost.show_digits(own.get(name)) for name in columns]
        lines.append((*row.facts, formats.shown(row.numbers["ap"]), *costs, cost.name_hardware(row.records)))
    headers = ("AP", *[title for title, _ in columns.values()], "hardware")
    return _sheet(table, "cost", headers, lines, cost.NOTE)


BY: Mapping[str, Callable[[Table, int], Sheet]] = {
    "family": families.write_sheet,
    "stratum": _by_stratum,
    "bias": _by_bias,
    "cost": _by_cost,
    "lesion": _by_lesion,
    "response": response.write_cells,
}
NEED_RESAMPLES = ("stratum", "bias", "response")
