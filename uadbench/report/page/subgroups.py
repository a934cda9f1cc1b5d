"""Results by family, by kind and size of lesion and by subgroup, and which differences are separable."""

from collections.abc import Sequence

from uadbench.evaluation.uncertainty import LEVEL
from uadbench.report import families, names, views
from uadbench.report.leaderboard import Row, Table
from uadbench.report.numbers import between, rounded
from uadbench.report.page.board import colour, marks
from uadbench.report.page.markup import NOTHING, Node, bullets, el, folded, head, quiet, table
from uadbench.report.strata import MEASURES, POINTS, Gap, Stratum, gaps

Strata = Sequence[tuple[Row, Sequence[Stratum]]]
GROUPS = ("lesion kind", "lesion size", "lesion volume of the scan", "site", "sex", "age")


def by_family(shown: Table) -> Node:
    """The best and the median row of each family on each kind of lesion."""
    found = families.compare_families(shown)
    best = {
        kind: max(cell.best for (_, own), cell in found.cells.items() if own == kind) for kind in found.kinds
    }
    headers = [head("family", **{"class": "stick"})]
    for kind in found.kinds:
        random = f"{found.subjects[kind]} scans, random {rounded(found.prevalence[kind])}"
        kind_name = names.KINDS.get(kind, kind)
        headers.append(
            el("th", {"scope": "col", "class": "num"}, kind_name, el("br"), el("small", None, random))
        )
    rows = []
    for family in found.families:
        swatch = el("i", {"class": f"swatch {colour(family)}", "aria-hidden": "true"})
        cells = [_family_cell(found.cells.get((family, kind)), best[kind]) for kind in found.kinds]
        own = {"data-row": True, "data-family": family, "data-text": family.lower()}
        rows.append(el("tr", own, el("th", {"scope": "row"}, swatch, family), cells))
    note = "AP of the best row of each family, and the median of its rows. Bold: the highest of a column."
    return folded("By family and kind of lesion", table("By family", headers, rows), quiet(note))


def _family_cell(cell: families.Cell | None, best: float) -> Node:
    if cell is None:
        return el("td", {"class": "num"}, NOTHING)
    value = el("b" if cell.best == best else "span", None, rounded(cell.best))
    median = f"median {rounded(cell.median)} of {cell.count}" if cell.count > 1 else "one row"
    name = names.method_name(cell.method)
    return el("td", {"class": "num"}, value, f" {name}", el("br"), el("small", None, median))


def by_group(shown: Table, found: Strata, point: str) -> list[Node]:
    """Results by subgroup at an operating point, and the differences between groups that are separable."""
    if not found:
        return []
    tables = [
        made
        for by in GROUPS
        for measure in MEASURES
        if (made := _group_table(shown, found, by, measure)) is not None
    ]
    note = f"At the threshold of {POINTS[point]}; 95 % intervals over subjects and seeds. {views.FEW}"
    groups = folded("Results by lesion and by subgroup", *tables, quiet(note)) if tables else None
    return [one for one in (groups, _differences(shown, found)) if one is not None]


def _group_table(shown: Table, found: Strata, by: str, measure: str) -> Node | None:
    """One measure by one thing; None where there are not two groups."""
    having = [
        (row, {one.name: one for one in own if one.by == by and measure in one.figures}) for row, own in found
    ]
    groups = {name: one for _, own in having for name, one in own.items()}
    if len(groups) < 2:
        return None
    scans = {
        name: one.healthy_scans if measure == "fpr" else one.lesion_scans for name, one in groups.items()
    }
    headers = [head("method", **{"class": "stick", "data-sort": "text"})]
    headers += [head(f"{name} (n {scans[name]})", **{"class": "num", "data-sort": "down"}) for name in groups]
    rows = [
        el(
            "tr",
            marks(row, shown),
            el("th", {"scope": "row"}, names.row_name(row, shown)),
            [_stratum_cell(own.get(name), measure) for name in groups],
        )
        for row, own in having
    ]
    title = f"{MEASURES[measure]} by {by}"
    heading = el("h3", {"class": "minor"}, title[0].upper() + title[1:])
    return el("div", None, heading, table(title, headers, rows))


def _stratum_cell(one: Stratum | None, measure: str) -> Node:
    if one is None:
        return el("td", {"class": "num"}, NOTHING)
    value, low, high = one.figures[measure]
    interval = f" {between(low, high)}" if low < high else ""
    few = "*" if one.few(measure) else ""
    return el("td", {"class": "num", "data-v": value}, f"{rounded(value, low, high)}{interval}{few}")


def _differences(shown: Table, found: Strata) -> Node:
    """Differences between sites, sexes and ages whose interval leaves out 0; else one sentence."""
    tested = [(row, gap) for row, own in found for gap in gaps(own)]
    apart = [(row, gap) for row, gap in tested if gap.difference.low > 0]
    if not tested:
        return quiet("Differences between sites, sexes and ages: there are no two groups of 5 subjects.")
    if len(apart) <= (1 - LEVEL) * len(tested):
        return quiet(
            f"Differences between sites, sexes and ages: none is separable; {len(apart) or 'none'} of "
            f"{len(tested)} intervals {'leaves' if len(apart) == 1 else 'leave'} out 0, as chance would."
        )
    lines = [_difference(row, gap, shown) for row, gap in apart]
    return folded(
        f"Differences between sites, sexes and ages: {len(apart)} of {len(tested)} have an interval that "
        "leaves out 0",
        bullets(lines),
        quiet(views.GAP_NOTE),
    )


def _difference(row: Row, gap: Gap, shown: Table) -> str:
    groups = f"{gap.by}: {gap.highest} above {gap.lowest}"
    return f"{names.row_name(row, shown)}, {MEASURES[gap.measure]}, {groups} by {views.show_gap(gap)}"
