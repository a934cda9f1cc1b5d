"""The page in a real headless Chromium: it sorts, filters and slides, and logs no error."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from uadbench.experiment.facts import Exclusion
from uadbench.experiment.record import Stored
from uadbench.report import leaderboard, names, page

pytestmark = pytest.mark.slow
METHODS = 3
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
DESKTOP = {"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": False}
DAY = date(2026, 1, 2)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    helper = pytest.importorskip("benchmarks.browser", reason="only a checkout has the benchmarks")
    with ExitStack() as opened:
        try:
            driver = opened.enter_context(helper.chromium())
        except helper.UnavailableError as reason:
            pytest.skip(str(reason))  # no Chromium, which pip cannot install; the markup is tested without
        yield driver


# A picture of one pixel.
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8A"
    "AAAASUVORK5CYII="
)
ROWS = "[...document.querySelectorAll('#results .board tbody tr:not([hidden])')]"


def subject(kind: str, name: str, rows: int) -> dict[str, Any]:
    made = [
        {"row": row, "ends": (0.0, 1.0), "ap": 0.4, "dice": 0.3}
        | dict.fromkeys(("score", "restored", "found"), PIXEL)
        for row in range(rows)
    ]
    return {
        "id": name, "kind": kind, "width": 70, "height": 90, "slices": ["-10 mm", "+0 mm", "+10 mm"],
        "start": 1, "lesion": [False, True, False], "sides": True, "image": PIXEL, "outline": PIXEL,
        "methods": made,
    }  # fmt: skip


@pytest.fixture(scope="module")
def address(demo_records: list[Stored], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of records, as if of patients and simulated, with a gallery and a failed run of a nasty name."""
    simulated = leaderboard.tables(demo_records, resamples=200)
    patients = [
        Stored(replace(one.record, test="lgg", contrast="FLAIR", regime="within", train="lgg"), one.path)
        for one in demo_records
    ]
    found = [*leaderboard.tables(patients, resamples=200), *simulated]
    failed = [("there", "</script><img src=x onerror=alert(1)>")]
    shown = {0: [subject("glioma", "sub-1", 2), subject("ms", "sub-2", 1)]}
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(page.render_page(found, failed, 200, shown, DAY), encoding="utf-8")
    return file.as_uri()


HOSTILE = """</script><img src=x onerror=alert(1)>'"${1}&lt;"""


@pytest.fixture
def hostile(demo_records: list[Stored], tmp_path: Path) -> str:
    """A page in which every text that people write is an attack."""
    made = demo_records[0].record
    texts = {"site": HOSTILE, "lesion_kind": HOSTILE, "id": HOSTILE}
    subjects = [
        replace(s, **(texts if s.partition == "lesion-test" else {"site": HOSTILE})) for s in made.subjects
    ]
    named = replace(
        made, method=HOSTILE, variant=HOSTILE, train=HOSTILE, test=HOSTILE, contrast=HOSTILE,
        preset=HOSTILE, parameters={HOSTILE: HOSTILE}, packages={HOSTILE: HOSTILE}, precision=HOSTILE,
        hardware={"processor": HOSTILE}, subjects=subjects, score_hash="", code={"commit": HOSTILE},
        excluded=[Exclusion(id=HOSTILE, partition=HOSTILE, reason=HOSTILE)], model_grid=HOSTILE,
    )  # fmt: skip
    found = leaderboard.tables([Stored(named, tmp_path)])
    shown = {0: [subject(HOSTILE, HOSTILE, 1) | {"slices": [HOSTILE], "lesion": [True], "start": 0}]}
    file = tmp_path / "page.html"
    file.write_text(page.render_page(found, [(HOSTILE, HOSTILE)], 0, shown, DAY), encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def shown(browser: Any, address: str) -> Iterator[Any]:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", DESKTOP)
    browser.get(address)
    yield browser
    assert [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")] == []


def column(browser: Any, title: str) -> list[str]:
    script = (
        f"const rows = {ROWS}; const heads = [...rows[0].closest('table').tHead.rows[0].cells];"
        "const place = heads.findIndex((h) => h.innerText.replace(/ [▲▼]/, '').trim() === arguments[0]);"
        "return rows.map((r) => r.children[place].innerText.trim())"
    )
    found: list[str] = browser.execute_script(script, title)
    return found


def test_the_first_screen_has_the_sentence_and_the_first_row(shown: Any) -> None:
    top = f"return {ROWS}[0].getBoundingClientRect().top"
    assert shown.execute_script(top) < 500
    assert shown.find_element("tag name", "h1").is_displayed()
    shown.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    assert shown.execute_script(top) < 844
    ap = f"return {ROWS}[0].querySelector('td.num[data-v]').getBoundingClientRect().right"
    assert shown.execute_script(ap) <= 390


def test_the_main_table_reads_without_script(browser: Any, address: str) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(address)
    lines = browser.find_elements("css selector", "#results .board tbody tr")
    assert [line.is_displayed() for line in lines] == [True] * METHODS
    assert "Random scores" in browser.find_element("id", "results").text
    assert len(browser.find_elements("css selector", "#results .board circle")) == METHODS
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_column_sorts_by_mouse_and_by_keyboard(shown: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    headers = shown.find_elements("css selector", "#results .board thead th")
    (header,) = [one for one in headers if one.text == "Scan-level AUROC"]
    title = header.text
    button = header.find_element("tag name", "button")
    button.click()
    down = [float(text) for text in column(shown, title)]
    assert down == sorted(down, reverse=True)
    assert header.get_attribute("aria-sort") == "descending"
    button.send_keys(Keys.ENTER)
    assert [float(text) for text in column(shown, title)] == down[::-1]
    assert header.get_attribute("aria-sort") == "ascending"
    assert headers[0].get_attribute("aria-sort") == "none"
    assert f"Sorted by {title}" in shown.find_element("id", "status").text


def test_a_new_order_is_a_new_ranking_where_there_is_one(shown: Any) -> None:
    """Ranks are written into the cells here: of one seed the table itself has none."""
    script = """
    const table = document.createElement('table');
    table.innerHTML = '<thead><tr><th>#</th><th data-sort="down">AUROC</th></tr></thead><tbody>'
      + [['1', .2], ['2', .9], ['-', .5], ['3', .9]].map(([rank, v]) =>
        `<tr><td class="rank">${rank}</td><td data-v="${v}">${v}</td></tr>`).join('') + '</tbody>';
    makeSortable(table);
    table.querySelector('button').click();
    return [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);"""
    assert shown.execute_script(script) == ["1", "1", "-", "4"]


def test_filters_reach_every_section_and_are_in_the_address(shown: Any, address: str) -> None:
    shown.find_element("css selector", "#filters summary").click()
    shown.find_element("css selector", "#filter-contrast option[value=T2]").click()
    assert "contrast=T2" in shown.current_url
    assert not shown.find_element("css selector", "#results article").is_displayed()
    assert "No row matches" in shown.find_element("css selector", "#results .none").text
    titles = [one.text for one in shown.find_elements("css selector", "#published > details[data-test]")]
    assert any(titles)
    assert all(", T2" in one for one in titles if one)

    shown.get(f"{address}?text=pca")
    assert shown.find_element("id", "filter-text").get_attribute("value") == "pca"
    assert column(shown, "method")[0].startswith("PCA")
    assert len(column(shown, "method")) == 1
    points = shown.find_elements("css selector", "#results g.point:not([hidden])")
    assert len(points) == 2
    assert f"2 of {2 * METHODS} rows" in shown.find_element("id", "status").text
    shown.find_element("id", "reset").click()
    assert len(column(shown, "method")) == METHODS
    assert "?" not in shown.current_url


def test_a_filter_with_one_value_is_not_offered(shown: Any) -> None:
    assert not shown.find_elements("id", "filter-preset")
    assert shown.find_elements("id", "filter-family")


def test_columns_intervals_and_provenance_come_on_demand(shown: Any) -> None:
    more = shown.find_element("css selector", "#results .board td.more")
    assert not more.is_displayed()
    shown.find_element("id", "all-columns").click()
    assert more.is_displayed()
    interval = shown.find_element("css selector", "#results .board .range:not(.always)")
    assert not interval.is_displayed()
    shown.find_element("id", "all-intervals").click()
    assert interval.is_displayed()

    link = shown.find_element("css selector", "#results .board th a")
    sheet = shown.find_element("css selector", link.get_attribute("href").partition("#")[2].join(("#", "")))
    assert not sheet.is_displayed()
    link.click()
    assert sheet.is_displayed()
    for fact in ("seed-0.json", "lesion-test", "code", "fit hash", "Frozen thresholds"):
        assert fact in sheet.text


def test_heads_and_navigation_stay_while_the_table_scrolls(shown: Any) -> None:
    table = "document.querySelector('#results .board table')"
    shown.execute_script(f"window.scrollTo(0, {table}.getBoundingClientRect().bottom - 150)")
    bar, head = shown.execute_script(
        "return [document.querySelector('.bar-top').getBoundingClientRect().top,"
        f"{table}.tHead.rows[0].cells[0].getBoundingClientRect().top]"
    )
    assert bar == 0
    assert 0 < head < 60


def test_the_slider_moves_all_pictures_of_a_subject_together(shown: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    position = "return getComputedStyle(arguments[0]).backgroundPosition"
    frames = shown.find_elements("css selector", ".subject .frame")[:5]
    assert {shown.execute_script(position, one).split("%")[0] for one in frames} == {"50"}
    slider = shown.find_element("css selector", ".subject input[type=range]")
    slider.send_keys(Keys.ARROW_RIGHT)
    assert {shown.execute_script(position, one).split("%")[0] for one in frames} == {"100"}
    assert "+10 mm (3 of 3)" in shown.find_element("css selector", ".subject output").text
    caption = shown.find_elements("css selector", ".subject .card .caption")[1]
    assert caption.text == "AP .40, Dice .30"
    layer = shown.find_element("css selector", ".subject .layer")
    drawn = "return getComputedStyle(arguments[0]).backgroundImage"
    assert "url" in shown.execute_script(drawn, layer)
    shown.find_element("css selector", "input.show-lesion").click()
    assert shown.execute_script(drawn, layer) == "none"


def test_every_point_of_a_chart_has_a_name(shown: Any) -> None:
    points = shown.find_elements("css selector", "#results g.point")
    assert len(points) == 2 * METHODS
    assert all(one.find_elements("css selector", "title") for one in points)
    assert len(shown.find_elements("css selector", "#results g.line .band")) == METHODS


def test_text_of_a_failure_stays_text(shown: Any) -> None:
    text = shown.execute_script("return document.getElementById('failures').textContent")
    assert "<img src=x onerror=alert(1)>" in text
    assert shown.find_elements("css selector", "img") == []


def test_hostile_names_are_text_everywhere(browser: Any, hostile: str) -> None:
    browser.get(hostile)
    assert browser.execute_script("return document.querySelectorAll('img, main script').length") == 0
    assert browser.execute_script("return document.querySelectorAll('a[href^=javascript]').length") == 0
    for place in ("results", "reading"):
        text = browser.execute_script("return document.getElementById(arguments[0]).textContent", place)
        assert HOSTILE in text, place
    assert HOSTILE in browser.find_element("tag name", "h1").text
    assert [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")] == []


def test_dark_and_print_follow_what_the_reader_asks_for(shown: Any) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    hidden = "return getComputedStyle(document.querySelector('.bar-top')).display"
    light = shown.execute_script(ground)
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    assert shown.execute_script(ground) != light
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", **dark})
    assert shown.execute_script(ground) == light == "rgb(255, 255, 255)"
    assert shown.execute_script(hidden) == "none"
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_the_keyboard_alone_reaches_a_row_and_its_provenance(shown: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    for _ in range(60):
        shown.switch_to.active_element.send_keys(Keys.TAB)
        if "#t0-" in (shown.switch_to.active_element.get_attribute("href") or ""):
            break
    shown.switch_to.active_element.send_keys(Keys.ENTER)
    assert shown.find_element("css selector", ".sheet:target").is_displayed()


@pytest.mark.parametrize("width", [390, 800, 1440])
def test_no_width_needs_sideways_scrolling_of_the_page(shown: Any, width: int) -> None:
    shown.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE | {"width": width})
    shown.refresh()
    whole, window = shown.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert whole <= window


def test_every_control_has_a_name_and_every_region_takes_focus(shown: Any) -> None:
    script = """
    const named = (n) => n.getAttribute('aria-label') || n.textContent.trim() || n.labels?.length;
    return [...document.querySelectorAll('button, input, select, [role=group], [role=img]')]
      .filter((n) => !named(n)).map((n) => n.outerHTML.slice(0, 200))"""
    assert json.dumps(shown.execute_script(script)) == "[]"


def test_simulated_brains_are_folded_behind_the_patients(shown: Any) -> None:
    warning = shown.find_element("css selector", "#simulated .warning")
    assert not warning.is_displayed()
    shown.find_element("css selector", "#simulated summary").click()
    assert warning.text == names.SIMULATED
