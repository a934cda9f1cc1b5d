"""The page: the same values as every other format, nothing read as markup, one file without a network."""

import base64
import csv
import io
import re
from collections import Counter
from dataclasses import replace as with_facts
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from uadbench.cards import FAMILIES, method_cards
from uadbench.evaluation.uncertainty import Interval
from uadbench.experiment.facts import Exclusion
from uadbench.experiment.record import Stored
from uadbench.report import (
    cost,
    evidence,
    families,
    formats,
    leaderboard,
    names,
    numbers,
    page,
    strata,
    views,
)
from uadbench.report.columns import Column
from uadbench.report.field import collection
from uadbench.report.leaderboard import Table
from uadbench.report.page import across, board, charts, field, gallery, markup
from uadbench.report.standings import Standing
from uadbench.system.paths import Paths

NASTY = '</script><b onclick="x()">&amp;\u2028<!--/*MAIN*/'
DAY = date(2026, 1, 2)


@pytest.fixture(scope="module")
def records(demo_records: list[Stored]) -> list[Stored]:
    return demo_records


@pytest.fixture(scope="module")
def tables(records: list[Stored]) -> list[Table]:
    return leaderboard.tables(records, resamples=200)


@pytest.fixture(scope="module")
def html(tables: list[Table], tmp_path_factory: pytest.TempPathFactory) -> str:
    return page.write_page(tables, [("place", NASTY)], paths(tmp_path_factory.mktemp("runs")), 200, DAY)


def paths(runs: Path) -> Paths:
    return Paths(runs / "data", runs, runs / "results", runs / "cache")


class Document(HTMLParser):
    """Every element with its attributes, the text of the page, and the lines of its tables by caption."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self._lines: list[list[str]] = []
        self._inside, self._in_cell = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "caption":
            self._lines = []
        elif tag == "tr":
            self._lines.append([])
        elif tag in ("td", "th"):
            self._lines[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""
        self._in_cell &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._inside == "caption":
            self.tables[data] = self._lines
        elif self._in_cell:
            self._lines[-1][-1] += data


@pytest.fixture(scope="module")
def document(html: str) -> Document:
    return Document(html)


# ---- values ------------------------------------------------------------------------------------


def test_every_value_is_that_of_the_csv_in_the_digits_its_interval_allows(
    tables: list[Table], document: Document
) -> None:
    (table,) = tables
    header, *lines = document.tables[names.title(table)]
    flat = list(csv.DictReader(io.StringIO(formats.written(tables, "csv"))))
    assert len(lines) == len(flat) == len(table.rows)
    places = {column.name: header.index(title(column)) for column in table.columns if title(column) in header}
    assert len(places) > 5
    for own, line in zip(flat, lines, strict=True):
        for name, place in (places | {f"ap_{table.headline}": header.index("AP 95 % CI")}).items():
            value, low, high = (float(own[key] or "nan") for key in (name, f"{name}_low", f"{name}_high"))
            expected = numbers.rounded(value, low, high)
            if np.isfinite(low):
                expected += f" {numbers.between(low, high)}"
            assert line[place].rstrip("*") == expected.strip()


def title(column: Column) -> str:
    return column.title.replace(leaderboard.HEADLINE_MARK, "").strip()


@pytest.mark.parametrize(
    ("value", "ends", "text"),
    [
        (0.4267, (0.32, 0.57), ".43"),
        (0.0138, (0.009, 0.023), ".014"),
        (0.0138, (), ".014"),
        (1.0, (0.9, 1.0), "1.00"),
        (0.99987, (), "1.000"),
        (None, (), ""),
        (float("nan"), (), ""),
    ],
)
def test_digits_of_a_share(value: float | None, ends: tuple[float, ...], text: str) -> None:
    assert numbers.rounded(value, *ends) == text


def test_costs_are_columns_of_the_table(tables: list[Table], document: Document) -> None:
    header, *lines = document.tables[names.title(tables[0])]
    for row, line in zip(tables[0].rows, lines, strict=True):
        own = cost.measure_cost(row.records)
        for name, (column, _) in cost.COLUMNS.items():
            assert line[header.index(column)] == cost.show_digits(own[name])


def test_what_all_rows_share_is_said_once_and_is_no_column(tables: list[Table], document: Document) -> None:
    shared = board.constant_facts(tables[0])
    assert shared["seeds"] == "1"
    header = document.tables[names.title(tables[0])][0]
    assert not set(shared) & set(header)
    assert "trained on" in header  # untrained rows differ
    assert "variant ci; " in document.text


def test_the_downloads_are_the_other_formats_byte_for_byte(tables: list[Table], document: Document) -> None:
    links = {facts["download"]: facts["href"] or "" for _, facts in document.elements if "download" in facts}
    assert sorted(map(str, links)) == ["uadbench-leaderboard.csv", "uadbench-leaderboard.json"]
    for kind in ("csv", "json"):
        content = base64.b64decode(links[f"uadbench-leaderboard.{kind}"].partition(",")[2])
        assert content.decode() == formats.written(tables, kind)


def test_the_same_records_and_day_give_the_same_page(tables: list[Table], html: str, tmp_path: Path) -> None:
    assert page.write_page(tables, [("place", NASTY)], paths(tmp_path), 200, DAY) == html
    assert "2 January 2026" in html


# ---- what is said ------------------------------------------------------------------------------


def standing(ap: float, position: int | None, best: bool = False) -> Standing:
    intervals = {"ap": Interval(ap, ap - 0.1, ap + 0.1)}
    return Standing(intervals, position, best, None, None, False)


def stood(table: Table, *standings: Standing, regime: str = "cross", **facts: Any) -> Table:
    """The table's first rows with other standings, as if it were of patients."""
    rows = [
        with_facts(
            row, standing=own, numbers=dict(row.numbers) | {"ap": own.intervals["ap"].value}, unranked=""
        )
        for row, own in zip(table.rows, standings, strict=False)
    ]
    return with_facts(table, rows=tuple(rows), regime=regime, test="lgg", contrast="FLAIR", **facts)


def test_the_sentence_says_what_leads_how_surely_and_on_what(tables: list[Table]) -> None:
    (table,) = tables
    first, second, third = (names.method_name(row.method) for row in table.rows[:3])
    where = f"{names.persons(table)} patients with {names.kinds(table)}"
    tied = stood(table, standing(0.5, 1, best=True), standing(0.45, 2, best=True), standing(0.2, 3))
    assert names.sentence(tied) == (
        f"{first} leads on {where}, AP .50 [.40-.60]; not separable from {second}."
    )
    alone = stood(table, standing(0.5, 1, best=True), standing(0.2, 2))
    assert names.sentence(alone).endswith("; significantly ahead of every other method.")
    by_dice = stood(table, standing(0.5, 1, best=True), sort="dsc_fpr1")
    assert names.sentence(by_dice).startswith(f"{first} is first on {where} by ")
    assert third not in names.sentence(tied)


def test_people_with_implanted_lesions_are_not_called_patients(tables: list[Table]) -> None:
    table = stood(tables[0], standing(0.5, 1, best=True), standing(0.2, 2), regime="implanted")
    assert f"on {names.persons(table)} healthy subjects with implanted lesions, AP" in names.sentence(table)
    assert names.title(table) == "Implanted lesions, FLAIR, LGG kaggle_3m, trained on healthy volunteers"
    assert "patients" not in names.sentence(table) + names.title(table)


def test_what_forbids_to_read_a_figure_is_not_folded_away(tables: list[Table], html: str) -> None:
    said = names.warnings(tables[0])
    assert any(text.startswith("Confounder check") for text in said)
    assert not set(said) & set(names.notes(tables[0]))
    for text in said:
        assert f'<p class="quiet">{text[:60]}' in html


def test_no_order_is_claimed_where_none_may_be(tables: list[Table]) -> None:
    free = stood(tables[0], standing(0.5, None), standing(0.35, None), standing(0.1, None))
    free = with_facts(free, rows=tuple(with_facts(row, unranked="fewer than 3 seeds") for row in free.rows))
    said = names.sentence(free)
    assert "leads" not in said
    assert said.endswith(
        "; the interval of 1 other method overlaps it; fewer than 3 seeds: no order is claimed."
    )
    assert [row.method for row in names.leaders(free)] == [row.method for row in tables[0].rows[:2]]


def test_simulated_brains_carry_a_warning_and_come_last_and_folded(tables: list[Table]) -> None:
    real = stood(tables[0], standing(0.5, None), standing(0.3, None))
    text = page.write_page([*tables, real], [], paths(Path("nowhere")), 0, DAY)
    assert names.SIMULATED in text
    assert text.index('data-test="lgg"') < text.index('id="published"') < text.index('data-test="phantom"')
    simulated = text[text.index('<section id="simulated">') :]
    assert re.match(
        r'<section id="simulated"><p class="none" hidden="">[^<]*</p><details><summary>', simulated
    )
    assert f"<h1>{names.sentence(real)}</h1>" in text


@pytest.mark.parametrize(
    ("method", "cited"),
    [
        ("dae", "Kascenas et al. 2022"),
        ("vae", "Kingma and Welling 2014"),
        ("ddpm_onestep", "Behrendt et al. 2023"),
        ("pca", "this benchmark"),
        ("dal_r", "this benchmark"),
        ("no_such_method", ""),
    ],
)
def test_a_method_is_cited_by_its_first_author_and_year(method: str, cited: str) -> None:
    assert names.cite(method) == cited


def test_every_method_here_has_a_short_name_and_a_source() -> None:
    for name, card in method_cards().items():
        assert names.method_name(name) in card.title
        assert re.fullmatch(
            r"this benchmark|[A-Z][\w' éöü-]+?( et al\.| and [A-Z]\w+)? \d{4}", names.cite(name)
        )


def test_gaps_no_more_than_chance_are_one_sentence(document: Document) -> None:
    assert re.search(r"Differences between sites, sexes and ages: none is separable", document.text)


def test_published_values_are_all_there_with_their_sources() -> None:
    document = Document(markup.render(field.published([])))
    frame = collection.collection()
    by_test = {t: lines for t, lines in document.tables.items() if lines[0][:2] == ["method", "family"]}
    assert sum(len([line for line in lines[1:] if len(line) > 1]) for lines in by_test.values()) == len(frame)
    addresses = {facts["href"] for tag, facts in document.elements if tag == "a"}
    targets = Counter(f"#{facts['id']}" for tag, facts in document.elements if tag == "li" and "id" in facts)
    assert {a for a in addresses if a and a.startswith("#")} <= set(targets)
    assert set(targets.values()) == {1}


# ---- across data sets --------------------------------------------------------------------------


def test_mean_ranks_of_the_methods_that_are_everywhere(tables: list[Table]) -> None:
    one = stood(tables[0], standing(0.5, None), standing(0.4, None), standing(0.3, None))
    other = stood(tables[0], standing(0.2, None), standing(0.6, None), standing(0.2, None))
    found, _, _ = across.mean_ranks([one, other])
    assert list(found.values()) == [1.5, 1.75, 2.75]  # the second; then the first, which ties for second
    assert next(iter(found)) == across.key_of(tables[0].rows[1])
    assert across.mean_ranks([one, stood(tables[0], standing(0.2, None))])[0] == {}


# ---- charts ------------------------------------------------------------------------------------


def test_curves_are_short_rise_in_recall_and_lie_in_their_band(tables: list[Table]) -> None:
    for row in tables[0].rows:
        recall, precision, low, high = np.array(row.evidence(200)[0].banded_curve()).T
        assert 20 < len(recall) <= 100
        assert (np.diff(recall) > 0).all()
        assert recall[-1] == 1.0
        assert precision[-1] >= round(tables[0].prevalence or 0, 4)
        assert (low <= high).all()
        assert ((low <= precision) & (precision <= high)).mean() > 0.9


def test_names_in_the_cost_plots_cover_no_other_name(tables: list[Table]) -> None:
    taken: list[charts.Box] = []
    frame = charts.Frame(560, 380, board.Axis.reaching(0.5))
    placed = [charts._beside("some_method", 300.0 + n, 200.0, frame, taken)[-1] for n in range(8)]
    heights = sorted((float(node.get("y") or 0), node.get("text-anchor")) for node in placed)
    assert len(set(heights)) == 8
    for side in ("start", "end"):
        assert all(gap >= 11 for gap in np.diff([height for height, own in heights if own == side]))
    plots = charts.cost_plots(tables[0])
    points = [node.get("data-family") for plot in plots for node in plot.iter("g")]
    assert len(points) == 2 * len(tables[0].rows)


def test_rows_of_one_method_have_names_of_their_own_in_the_cost_plots(tables: list[Table]) -> None:
    row = tables[0].rows[0]
    two = with_facts(tables[0], rows=(row, with_facts(row, variant="wide")))
    points = [point for plot in charts.cost_plots(two) for point in plot.iter("g")]
    said = {node.text for point in points for node in point.iter("text")}
    assert said == {f"{row.method} {row.variant}", f"{row.method} wide"}


def test_an_axis_has_round_steps_and_holds_everything() -> None:
    assert board.Axis.reaching(0.57).ticks == pytest.approx((0, 0.2, 0.4, 0.6))
    assert board.Axis.reaching(0.03).top >= 0.03
    assert board.Axis(0.5, ()).place(0.25) == "50.00%"


def test_a_family_has_one_colour_everywhere(document: Document) -> None:
    assert len({board.colour(name) for name in FAMILIES}) == len(FAMILIES)
    assert board.colour("no such family") not in {board.colour(name) for name in FAMILIES}


# ---- one file ----------------------------------------------------------------------------------


def test_no_text_is_read_as_markup(document: Document, records: list[Stored], tmp_path: Path) -> None:
    assert f"place: {NASTY}" in document.text
    named = replace(
        records[0].record,
        method=NASTY,
        variant=NASTY,
        contrast=NASTY,
        excluded=[Exclusion(id=NASTY, partition="x", reason=NASTY)],
    )
    text = page.write_page(leaderboard.tables([Stored(named, Path("x"))]), [], paths(tmp_path), 0, DAY)
    read = Document(text)
    assert NASTY in read.text.replace("\\u2028", "\u2028")
    for one in (document, read):
        assert not [facts for _, facts in one.elements if any(name.startswith("on") for name in facts)]
        assert len([tag for tag, _ in one.elements if tag == "script"]) == 1
    assert "innerHTML" not in text
    assert "insertAdjacentHTML" not in text


def test_the_page_is_one_file_that_loads_nothing(html: str, document: Document) -> None:
    for tag, facts in document.elements:
        assert "src" not in facts, tag
        assert re.match(r"#|data:|https://", facts.get("href") or "#"), facts
        if tag == "link":
            assert facts["href"] == "data:,"
    assert not re.findall(r"@import|url\(\s*[\"']?http|fetch\(|XMLHttpRequest|import\(", html)
    assert "default-src 'none'" in html


def test_without_pieces_the_page_still_has_all_rows(records: list[Stored], tmp_path: Path) -> None:
    found = leaderboard.tables(records)
    document = Document(page.write_page(found, [], paths(tmp_path), 0, DAY))
    assert len(document.tables[names.title(found[0])]) == 1 + len(records)
    assert "nothing was resampled" in document.text


def test_many_records_get_fewer_resamples_and_never_none() -> None:
    assert [evidence.resamples_for(n) for n in (1, 100, 200, 501, 3000)] == [1000, 1000, 500, 200, 200]


# ---- pictures ----------------------------------------------------------------------------------


@pytest.mark.thorough
def test_the_gallery_shows_the_same_subjects_of_every_method(tables: list[Table], tmp_path: Path) -> None:
    from uadbench.data import prepared
    from uadbench.data.prepared import Prepared
    from uadbench.data.session import Session
    from uadbench.data.space import GRIDS
    from uadbench.evaluation import maps
    from uadbench.evaluation.maps import Case
    from uadbench.methods import Score

    here, grid = paths(tmp_path), GRIDS["g48"]
    random = np.random.default_rng(0)
    brain = np.zeros(grid.shape, bool)
    brain[10:38, 10:46, 8:40] = True
    lesion = np.zeros(grid.shape, bool)
    lesion[20:26, 20:26, 20:26] = True
    image = random.random(grid.shape).astype(np.float32) * brain
    for row in tables[0].rows[:2]:
        (made,) = row.records
        folder = here.runs / "maps" / made.score_hash
        cases = []
        for subject in made.subjects:
            if subject.partition not in ("lesion-test", "healthy-test"):
                continue
            file = here.cache / "g48" / f"{subject.id}.safetensors"
            ill = subject.partition == "lesion-test"
            prepared.write_codes(
                file, prepared.encode(image, brain), lesion.astype(np.uint8) if ill else None, {}
            )
            who = Session(id=subject.id, cohort="phantom", subject="p", images={}, healthy=not ill)
            scan = Prepared(who, "T1", grid, file)
            stored = folder / f"{subject.id}.safetensors"
            score = np.where(lesion, np.float32(1e6), image).astype(np.float32)  # above every threshold
            maps.write_map(stored, Score(score, image[None]), 1.0, 1.0)
            cases.append(Case(subject.partition, scan, stored, grid))
        maps.write_scans(folder, made.data_fingerprint, cases)

    ((place, subjects),) = gallery.build_gallery(tables, here).items()

    assert place == 0
    first = tables[0].rows[0].records[0]
    assert {s["kind"] for s in subjects} == {s.lesion_kind for s in first.subjects if s.lesion_kind} | {
        "healthy"
    }
    known = {s.id: s for s in first.subjects}
    for one in subjects:
        assert [m["row"] for m in one["methods"]] == [0, 1]
        assert one["image"].startswith("data:image/jpeg;base64,")
        assert (one["outline"] is None) == (one["kind"] == "healthy")
        assert one["kind"] == "healthy" or one["lesion"][one["start"]]
        own = one["methods"][0]
        assert own["found"].startswith("data:image/png;base64,")
        assert own["ap"] == known[one["id"]].ap.get(first.headline)
        low, high = own["ends"]
        assert low < high <= 1e6

    text = page.write_page(tables, [], here, 0, DAY)
    frames = [facts for _, facts in Document(text).elements if facts.get("class") == "frame"]
    assert len(frames) == len(subjects) * 5  # the image, and two methods with a map and an image each
    assert {facts["role"] for facts in frames} == {"img"}


def test_what_is_outlined_is_what_was_counted(tables: list[Table], tmp_path: Path) -> None:
    """The outline of a frozen threshold is drawn after the headline profile, at the threshold itself too."""
    from uadbench.data import prepared
    from uadbench.data.prepared import Prepared
    from uadbench.data.session import Session
    from uadbench.data.space import GRIDS
    from uadbench.evaluation.maps import Case

    record = tables[0].rows[0].records[0]
    grid, brain = GRIDS["g48"], np.zeros(GRIDS["g48"].shape, bool)
    brain[8:40, 8:46, 8:40] = True
    file = tmp_path / "one.safetensors"
    prepared.write_codes(file, prepared.encode(brain.astype(np.float32), brain), None, {})
    who = Session(id="a", cohort="phantom", subject="a", images={}, healthy=True)
    case = Case("healthy-test", Prepared(who, "T1", grid, file), file, grid)
    threshold = record.thresholds[record.headline][evidence.operating_point(record)]
    assert threshold is not None
    score = np.zeros(grid.shape, np.float32)
    score[15:30, 15:30, 15:30] = threshold
    found = gallery._found(case, score, record)
    assert found is not None
    assert found[20:25, 20:25, 20:25].all()
    assert not found[:12].any()


def test_a_cohort_without_healthy_scans_has_a_gallery_of_lesions(records: list[Stored]) -> None:
    lesions_only = [s for s in records[0].record.subjects if s.partition == "lesion-test"]
    typical = gallery._typical(replace(records[0].record, subjects=lesions_only))
    assert typical
    assert gallery.HEALTHY not in [kind for _, kind in typical]


# ---- subgroups ---------------------------------------------------------------------------------


def test_subgroups_have_the_values_of_the_views(tables: list[Table], document: Document) -> None:
    row = tables[0].rows[0]
    name = names.row_name(row, tables[0])
    for one in strata.strata(row.evidence(200)):
        if one.by != "lesion kind" or "recall" not in one.figures:
            continue
        caption = f"{strata.MEASURES['recall']} by lesion kind"
        header, *lines = document.tables[caption]
        (place,) = [n for n, head in enumerate(header) if head.startswith(f"{one.name} (n ")]
        value, low, high = one.figures["recall"]
        (line,) = [line for line in lines if line[0] == name]
        assert line[place].startswith(numbers.rounded(value, low, high))
        assert views.show_stratum(one, "recall").endswith("*") == line[place].endswith("*")


def test_every_family_has_a_colour_and_a_marker_of_its_own() -> None:
    css = (Path(page.__file__).parent / "page.css").read_text()
    for family in (*FAMILIES, families.UNKNOWN):
        assert f".{board.colour(family)} {{" in css
        assert css.count(f"--{board.colour(family).replace('family', 'f')}:") == 2  # light and dark
    assert len(set(families.STYLES.values())) == len(FAMILIES) + 1
    assert {*families.STYLES} == {*FAMILIES, families.UNKNOWN}
