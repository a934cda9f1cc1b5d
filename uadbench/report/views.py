"""Views: the tables of the leaderboard by something other than the method, as listings (`--by`)."""

from collections.abc import Callable, Mapping, Sequence

from uadbench.evaluation.uncertainty import FEW_PERSONS, Interval
from uadbench.report import cost, families, formats
from uadbench.report import leaderboard as board
from uadbench.report.listing import Listing
from uadbench.report.strata import FEWEST_PERSONS, MEASURES, POINTS, Gap, Stratum, gaps, strata
from uadbench.system.errors import UserError

ROW = ("method", "variant", "grid", "trained on")
COST_NOTE = "Times compare only where the hardware is the same."
GAP_NOTE = (
    f"The two groups of at least {FEWEST_PERSONS} subjects furthest apart, with the 95 % interval of their "
    "difference. They were chosen by looking, so that an interval just above 0 is no finding; and groups "
    "differ in more than their name: a site has its own scanner, and its own patients."
)
FEW = (
    f"* from fewer than {FEW_PERSONS} subjects; no interval from fewer than {FEWEST_PERSONS}, or from equals."
)


def listings(by: str, found: Sequence[board.Table], resamples: int) -> list[Listing]:
    """One of `BY`, of every table; without resamples there are no intervals, and so no strata."""
    if by in NEED_RESAMPLES and not resamples:
        raise UserError(f"--by {by} needs intervals: leave --resamples 0 out, or ask for 200 or more.")
    return [BY[by](table, resamples) for table in found]


def by_family(table: board.Table, resamples: int) -> Listing:
    """The best and the median row of each family on each kind of lesion."""
    return families.listing(families.comparison(table, families.by_method()))


def by_stratum(table: board.Table, resamples: int) -> Listing:
    """Every row by lesion kind and size, site, sex, age and contrast."""
    lines: list[tuple[str, ...]] = []
    points: dict[str, None] = {}
    for row in table.rows:
        evidence = row.evidence(resamples)
        points[POINTS[evidence[0].operating_point]] = None
        for one in strata(evidence):
            counts = (str(one.lesion_scans), str(one.healthy_scans))
            cells = [shown_stratum(one, measure) for measure in MEASURES]
            lines.append((*row.facts, one.by, one.name, *counts, *cells))
    note = (
        f"At the threshold frozen at {' or '.join(points)}, with 95 % intervals over subjects and seeds. "
        f"FPR healthy: {MEASURES['fpr']}. {FEW}"
    )
    headers = (*ROW, "by", "group", "lesion scans", "healthy scans", "recall", "DSC", "FPR healthy")
    return Listing(f"{table.title}: by stratum", headers, tuple(lines), (note,), formats.cautions(table))


def shown_stratum(one: Stratum, measure: str) -> str:
    """A measure with its interval as text, "" where the stratum has none."""
    found = one.figures.get(measure)
    return "" if found is None else _shown(found, "-", one.few(measure))


def _shown(found: Interval, between: str, few: bool) -> str:
    """A value with its interval, where that is defined, and a mark for few subjects."""
    ends = (
        f" ({formats.shown(found.low)}{between}{formats.shown(found.high)})" if found.low < found.high else ""
    )
    return f"{formats.shown(found.value)}{ends}{'*' if few else ''}"


def by_bias(table: board.Table, resamples: int) -> Listing:
    """How far the sites, sexes and ages of every row lie apart."""
    lines = tuple(
        (*row.facts, one.by, MEASURES[one.measure], one.lowest, one.highest, shown_gap(one))
        for row in table.rows
        for one in gaps(strata(row.evidence(resamples)))
    )
    headers = (*ROW, "by", "measure", "lowest", "highest", "gap")
    title = f"{table.title}: gaps between groups of people"
    return Listing(title, headers, lines, (f"{GAP_NOTE} {FEW}",), formats.cautions(table))


def shown_gap(one: Gap) -> str:
    """A gap with its interval as text."""
    return _shown(one.difference, " to ", one.few)


def by_cost(table: board.Table, resamples: int) -> Listing:
    """What every row costs, beside its AP."""
    lines = []
    for row in table.rows:
        own = cost.of(row.records)
        ap = formats.shown(row.numbers["ap"])
        lines.append((*row.facts, ap, *[own.shown(name) for name in cost.COLUMNS], own.hardware))
    headers = (*ROW, "AP", *[title for title, _ in cost.COLUMNS.values()], "hardware")
    return Listing(f"{table.title}: cost", headers, tuple(lines), (COST_NOTE,), formats.cautions(table))


BY: Mapping[str, Callable[[board.Table, int], Listing]] = {
    "family": by_family,
    "stratum": by_stratum,
    "bias": by_bias,
    "cost": by_cost,
}
NEED_RESAMPLES = ("stratum", "bias")
