"""Page: the leaderboard as one self-contained HTML file, made from records, score histograms and stored maps.

All of it is markup that can be read without script, built from elements whose text cannot be read as markup.
The script sorts, filters and moves pictures. Nothing is loaded from a network.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from importlib.resources import files
from typing import Any

from uadbench.report import names
from uadbench.report.columns import COLUMNS
from uadbench.report.leaderboard import Table
from uadbench.report.numbers import rounded
from uadbench.report.page import (
    across,
    board,
    charts,
    field,
    gallery,
    pictures,
    provenance,
    subgroups,
)
from uadbench.report.page.markup import Node, bullets, el, facts, folded, link, prose, quiet, render
from uadbench.report.strata import strata
from uadbench.system.paths import Paths

Named = Sequence[tuple[str, str]]
LEAD = (
    "Unsupervised anomaly detection in brain MRI: models are trained without lesions and must find them as "
    "deviations. Rows are ranked together only where a comparison means something."
)


def write_page(
    found: Sequence[Table], failed: Named, paths: Paths, resamples: int, day: date | None = None
) -> str:
    """The page of the tables; without resamples it has no intervals, subgroups and curves.

    `failed`: runs that failed, and records that do not count, with the reason. `day`: today where not given.
    """
    names.read_cards_anew()
    ordered = sorted(found, key=_importance)
    shown = gallery.build_gallery(ordered, paths)
    return render_page(ordered, failed, resamples, shown, day or datetime.now(UTC).date())


def _importance(one: Table) -> tuple[bool, bool, int]:
    """Real data first, then what is ranked, then what is of most patients."""
    return names.is_simulated(one), not names.is_ranked(one), -names.persons(one)


def render_page(
    found: Sequence[Table],
    failed: Named,
    resamples: int,
    shown: Mapping[int, Sequence[Mapping[str, Any]]],
    day: date,
) -> str:
    """The page of tables in this order, the first on the first screen; `shown`: the gallery of each."""
    here = files(__package__)
    sections = list(_sections(found, failed, resamples, shown, day))
    parts = {
        "STYLE": (here / "page.css").read_text(encoding="utf-8"),
        "TITLE": render([el("title", None, f"uadbench: {names.sentence(found[0])}")]),
        "TOP": render([el("h1", None, names.sentence(found[0])), provenance.colophon(found, day)]),
        "NAVIGATION": render([_navigation(sections, bool(shown.get(0)))]),
        "MAIN": render(section for _, section in sections),
        "SCRIPT": (here / "page.js").read_text(encoding="utf-8"),
    }
    page = (here / "page.html").read_text(encoding="utf-8")
    return re.sub(r"/\*([A-Z]+)\*/", lambda mark: parts[mark[1]], page)


def _navigation(sections: Sequence[tuple[str, Node]], with_pictures: bool) -> Node:
    links = [el("a", {"href": f"#{node.get('id')}"}, title) for title, node in sections]
    if with_pictures:
        links.insert(1, el("a", {"href": "#pictures"}, "Pictures"))
    return el("nav", {"aria-label": "Sections"}, links)


def _sections(
    found: Sequence[Table],
    failed: Named,
    resamples: int,
    shown: Mapping[int, Sequence[Mapping[str, Any]]],
    day: date,
) -> Iterator[tuple[str, Node]]:
    """Each section with its name in the navigation."""
    articles = [
        _article(one, f"t{place}", resamples, shown.get(place, ()), place == 0)
        for place, one in enumerate(found)
    ]
    real = [one for one in found if not names.is_simulated(one)]
    count = len(real) or len(found)
    yield "Results", _section("results", None, articles[:count])
    if len(found[:count]) > 1:
        yield "All data sets", _section("across", "All data sets", across.wide_table(found[:count]))
    published = field.published(provenance.records_of(found))
    yield "Published values", _section("published", "What the field has published", published)
    if articles[count:]:
        title = f"Simulated brains: {len(articles) - count} table{'s' if len(articles) - count > 1 else ''}"
        yield "Simulated", _section("simulated", None, folded(el("h2", None, title), *articles[count:]))
    yield "How to read", _section("reading", "How to read", _reading(found, resamples, failed))
    yield "Cite", provenance.cite(found, day)


def _section(name: str, title: str | None, *content: object) -> Node:
    heading = el("h2", None, title) if title else None
    none = el("p", {"class": "none", "hidden": True}, "No row matches the filters.")
    return el("section", {"id": name}, heading, none, *content)


def _article(one: Table, name: str, resamples: int, shown: Sequence[Mapping[str, Any]], first: bool) -> Node:
    """One table with its pictures, charts, subgroups and provenance."""
    address = {row.facts: f"{name}-{place}" for place, row in enumerate(one.rows)}
    curves, groups, point = [], [], ""
    for row in one.rows if resamples else ():
        seeds = row.evidence(resamples)  # let go of with the next row: pieces take megabytes
        curves.append((row, seeds[0].banded_curve()))
        groups.append((row, strata(seeds)))
        point = point or seeds[0].operating_point
    drawn = [*charts.curves(one, curves), *charts.cost_plots(one)]
    return el(
        "article",
        {
            "data-block": True,
            "data-test": one.test,
            "data-contrast": one.contrast,
            "data-setting": names.SETTINGS.get(one.regime, one.regime),
            "aria-labelledby": name,
        },
        el("p", {"class": "warning"}, names.SIMULATED) if names.is_simulated(one) else None,
        el("h2", {"id": name}, names.title(one)),
        None if first else el("p", None, f"{names.sentence(one)}"),
        _legend(one, first),
        board.main_table(one, lambda row: address[row.facts]),
        _below(one),
        pictures.pictures(one, shown, first),
        folded("Precision and recall, and cost", *drawn, open=first) if drawn else None,
        subgroups.by_family(one),
        subgroups.by_group(one, groups, point),
        provenance.settings(one, lambda row: address[row.facts]),
    )


def _legend(one: Table, first: bool) -> Node:
    """What dots, lines and shades stand for."""
    shade = "not significantly different from the best (paired bootstrap over subjects, 5 %, Holm)"
    if not names.is_ranked(one):
        shade = "the interval overlaps that of the highest AP; no order is claimed"
    chance = "" if one.prevalence is None else f" AP {rounded(one.prevalence)}"
    return el(
        "p",
        {"class": "legend"},
        el("span", None, "● AP with its 95 % interval, colour: family; "),
        el("span", None, f"┆ random scores{chance}"),
        ["; ", el("span", {"class": "shade"}, f"shaded: {shade}")] if len(names.leaders(one)) > 1 else None,
    )


def _below(one: Table) -> list[Node]:
    """What all rows share, and what must be known before a value is believed."""
    shared = board.constant_facts(one)
    said = "; ".join(f"{fact} {text}" for fact, text in shared.items())
    return [
        quiet(f"All rows: {said}." if said else "", *_data(one)),
        *[quiet(text) for text in names.warnings(one)],
        folded("Scored scans, splits and marks", bullets(names.notes(one))),
    ]


def _data(one: Table) -> list[object]:
    """Which data set it is, where it comes from and what must be cited."""
    card = names.dataset_card(one.test)
    if card is None:
        return [f" Data: {one.test}."]
    where = link(card.address)
    place = [" (", where, ")"] if isinstance(where, Node) else []
    return [f" Data: {card.title}", *place, f". {card.citation}"]


def _reading(found: Sequence[Table], resamples: int, failed: Named) -> list[object]:
    used = {column.name for one in found for column in one.columns}
    first, more = (
        [
            (c.title, el("span", None, *prose(c.meaning)))
            for c in COLUMNS
            if c.name in used and c.standard is own
        ]
        for own in (True, False)
    )
    uncertainty = (
        f"95 % intervals: studentised bootstrap over subjects and seeds, {resamples} resamples; two digits "
        "where an interval is wider than .02."
        if resamples
        else "No intervals and no ranks: nothing was resampled."
    )
    settings = "; ".join(f"{names.SETTINGS[key]} (`{key}`)" for key in names.SETTINGS)
    plain = [el("li", None, f"{place}: {reason}") for place, reason in failed]
    return [
        el("p", None, LEAD),
        facts(first),
        folded(f"What the other {len(more)} columns mean", facts(more)) if more else None,
        quiet(uncertainty),
        quiet(
            f"Training settings: {settings}. Values of another protocol, training setting, MR contrast, set "
            "of scored patients, card or metric version are never ranked together."
        ),
        folded(
            f"Failed runs, and records that do not count: {len(failed)}", el("ul", {"id": "failures"}, plain)
        )
        if plain
        else None,
    ]
