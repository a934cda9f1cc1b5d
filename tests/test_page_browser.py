"""The page in a real headless Chromium: it sorts, filters and slides, and logs no error."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from uadbench.experiment.facts import Exclusion
from uadbench.experiment.record import Stored
from uadbench.report import formats, leaderboard, page
from uadbench.report.page import content
from uadbench.system.paths import Paths

pytestmark = pytest.mark.slow
METHODS = 3
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    helper = pytest.importorskip("benchmarks.browser", reason="only a checkout has the benchmarks")
    with ExitStack() as opened:
        try:
            driver = opened.enter_context(helper.chromium())
        except helper.UnavailableError as reason:
            pytest.skip(str(reason))
        yield driver


# A picture of one pixel.
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8A"
    "AAAASUVORK5CYII="
)
ROWS = "[...document.querySelectorAll('#tables tbody tr:not(.details):not([hidden])')]"


@pytest.fixture(scope="module")
def address(demo_records: list[Stored], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of the committed records, with a small gallery and a failed run of a nasty name."""
    folder = tmp_path_factory.mktemp("page")
    tables = leaderboard.tables(demo_records, resamples=200)
    paths = Paths(folder, folder / "runs", folder, folder / "cache")
    failed = [("there", "</script><img src=x onerror=alert(1)>")]
    shown = content.gather_content(tables, failed, paths, 200)
    maps = [{"method": "vae", "variant": "demo", "train": "phantom", "score": PIXEL, "restored": PIXEL}]
    subject = {
        "id": "sub-1", "kind": "glioma", "width": 70, "height": 90, "slices": ["-10 mm", "+0 mm", "+10 mm"],
        "start": 1, "lesion": [False, True, False], "sides": True, "image": PIXEL, "outline": PIXEL,
        "methods": maps,
    }  # fmt: skip
    shown["gallery"] = [{"table": tables[0].title, "subjects": [subject, subject | {"kind": "ms"}]}]
    file = folder / "page.html"
    file.write_text(page.render_page(shown), encoding="utf-8")
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
    paths = Paths(tmp_path, tmp_path / "runs", tmp_path, tmp_path / "cache")
    shown = content.gather_content(
        leaderboard.tables([Stored(named, tmp_path)]), [(HOSTILE, HOSTILE)], paths, 0
    )
    picture = {"method": HOSTILE, "variant": HOSTILE, "train": HOSTILE, "score": PIXEL, "restored": PIXEL}
    subject = {
        "id": HOSTILE, "kind": HOSTILE, "width": 7, "height": 9, "slices": [HOSTILE], "start": 0,
        "lesion": [True], "sides": True, "image": PIXEL, "outline": PIXEL, "methods": [picture],
    }  # fmt: skip
    shown["gallery"] = [{"table": HOSTILE, "subjects": [subject]}]
    shown["methods"][HOSTILE] = {
        "family": HOSTILE, "title": HOSTILE, "summary": HOSTILE, "paper": HOSTILE, "differences": [HOSTILE],
        "link": "javascript:alert(1)",
    }  # fmt: skip
    file = tmp_path / "page.html"
    file.write_text(page.render_page(shown), encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def shown(browser: Any, address: str) -> Iterator[Any]:
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get(address)
    yield browser
    assert [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")] == []


def column(browser: Any, number: int) -> list[str]:
    script = f"return {ROWS}.map(r => r.children[arguments[0]].innerText.trim())"
    found: list[str] = browser.execute_script(script, number)
    return found


def test_numbers_on_the_page_are_those_of_the_markdown(shown: Any, demo_records: list[Stored]) -> None:
    (table,) = leaderboard.tables(demo_records, resamples=200)
    lines = formats.cells(table, table.columns)
    for place, line in enumerate(lines):
        cells = shown.execute_script(
            f"return [...{ROWS}[arguments[0]].children].map(c => c.innerText.trim())", place
        )
        rank, method, _family, variant, *rest = cells
        assert [rank, method, variant, *rest[: len(line) - 3]] == list(line)


def test_a_column_sorts_by_mouse_and_by_keyboard(shown: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    headers = shown.find_elements("css selector", "#tables thead th")
    names = [header.text for header in headers]
    place = names.index("AUROC")
    button = headers[place].find_element("tag name", "button")
    button.click()
    down = [float(text) for text in column(shown, place)]
    assert down == sorted(down, reverse=True)
    assert headers[place].get_attribute("aria-sort") == "descending"

    button.send_keys(Keys.ENTER)
    assert [float(text) for text in column(shown, place)] == down[::-1]
    assert headers[place].get_attribute("aria-sort") == "ascending"
    assert headers[0].get_attribute("aria-sort") == "none"
    assert "Sorted by AUROC" in shown.find_element("id", "status").text

    for index, header in enumerate(headers[:-4]):  # costs are hidden
        header.find_element("tag name", "button").click()
        assert len(column(shown, index)) == METHODS


def test_filters_and_search_leave_what_was_asked_for(shown: Any) -> None:
    shown.find_element("css selector", "#filter-family option[value=baseline]").click()
    assert sorted(column(shown, 1)) == ["atlas_z", "intensity", "pca", "random"]
    shown.find_element("id", "filter-text").send_keys("pca")
    assert column(shown, 1) == ["pca"]
    assert f"1 of {METHODS} rows" in shown.find_element("id", "status").text
    shown.find_element("id", "reset").click()
    assert len(column(shown, 1)) == METHODS


def test_intervals_costs_and_provenance_come_on_demand(shown: Any) -> None:
    interval = shown.find_element("css selector", "#tables .ci")
    assert not interval.is_displayed()
    shown.find_element("id", "toggle-intervals").click()
    assert interval.is_displayed()
    shown.find_element("id", "toggle-costs").click()
    assert "training s" in [h.text for h in shown.find_elements("css selector", "#tables thead th")]

    opener = shown.find_element("css selector", "#tables .opener")
    opener.click()
    assert opener.get_attribute("aria-expanded") == "true"
    sheet = shown.find_element("id", opener.get_attribute("aria-controls")).text
    for fact in ("seed-0.json", "lesion-test", "code", "fit hash", "Frozen thresholds"):
        assert fact in sheet
    opener.click()
    assert not shown.find_element("css selector", "tr.details").is_displayed()


def test_the_slider_moves_all_pictures_together(shown: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    def positions() -> set[str]:
        script = "return [...document.querySelectorAll('.frame')].map(f => f.style.backgroundPosition)"
        return set(shown.execute_script(script))

    slider = shown.find_element("id", "gallery-slice")
    assert positions() == {"50% 0px"} or positions() == {"50% 0"}
    slider.send_keys(Keys.ARROW_RIGHT)
    assert {p.split("%")[0] for p in positions()} == {"100"}
    assert "+10 mm (3 of 3)" in shown.find_element("id", "gallery-where").text
    frame = shown.find_elements("css selector", ".frame")[-1]
    assert "score map of vae, +10 mm" in frame.get_attribute("aria-label")
    layers = "return document.querySelector('.frame').style.backgroundImage.split('url').length - 1"
    assert shown.execute_script(layers) == 2
    shown.find_element("id", "gallery-outline").click()
    assert shown.execute_script(layers) == 1


def test_charts_are_drawn(shown: Any) -> None:
    assert len(shown.find_elements("css selector", "#cost-body circle")) == METHODS
    assert len(shown.find_elements("css selector", "#curves-body .chart path.curve")) == METHODS
    shown.find_element("css selector", "#curves-body .legend input").click()
    assert len(shown.find_elements("css selector", "#curves-body .chart path.curve")) == 5
    for by in ("sex", "lesion size", "contrast"):
        shown.find_element("css selector", f"#strata-by option[value='{by}']").click()
        assert len(shown.find_elements("css selector", "#strata-body tbody tr")) == METHODS


def test_text_of_a_failure_stays_text(shown: Any) -> None:
    assert "<img src=x onerror=alert(1)>" in shown.find_element("id", "failures").text
    assert shown.find_elements("css selector", "#failures img") == []


def test_hostile_names_are_text_everywhere(browser: Any, hostile: str) -> None:
    browser.get(hostile)
    browser.find_element("css selector", ".opener").click()
    assert browser.execute_script("return document.querySelectorAll('img, main script').length") == 0
    assert browser.execute_script("return document.querySelectorAll('a[href^=javascript]').length") == 0
    for place in ("tables", "families", "closer", "pictures", "failures"):
        assert HOSTILE in browser.find_element("id", place).text, place
    assert [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")] == []


def test_dark_and_print_follow_what_the_reader_asks_for(shown: Any) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    hidden = "return getComputedStyle(document.getElementById('filters')).display"
    light = shown.execute_script(ground)
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    assert shown.execute_script(ground) != light
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", **dark})
    assert shown.execute_script(ground) == light == "rgb(255, 255, 255)"
    assert shown.execute_script(hidden) == "none"
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_paper_has_all_columns_and_the_whole_legend(shown: Any) -> None:
    """A narrow page is no reason to leave anything out, as it is on a narrow screen."""
    style = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    size = {"width": 700, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    shown.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert shown.execute_script(style, "#tables td.fact", "display") == "none"
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert shown.execute_script(style, "#tables td.fact", "display") == "table-cell"
    assert shown.execute_script(style, "#tables thead th > button", "display") == "contents"
    assert shown.execute_script(style, ".legend", "maxHeight") == "none"
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    shown.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_keyboard_alone_reaches_and_opens_a_row(shown: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    shown.find_element("id", "reset").click()
    for _ in range(40):
        shown.switch_to.active_element.send_keys(Keys.TAB)
        if shown.switch_to.active_element.get_attribute("class") == "opener":
            break
    opener = shown.switch_to.active_element
    opener.send_keys(Keys.SPACE)
    assert opener.get_attribute("aria-expanded") == "true"
    assert shown.find_element("css selector", "tr.details").is_displayed()


def test_a_phone_needs_no_sideways_scrolling_of_the_page(shown: Any) -> None:
    shown.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    shown.refresh()
    width, window = shown.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= window


def test_every_control_has_a_name_and_every_region_takes_focus(shown: Any) -> None:
    script = """
    const named = (n) => n.getAttribute('aria-label') || n.innerText.trim() || (n.labels && n.labels.length);
    return [...document.querySelectorAll('button, input, select, [role=region], [role=img]')]
      .filter((n) => !named(n)).map((n) => n.outerHTML.slice(0, 200))"""
    assert json.dumps(shown.execute_script(script)) == "[]"
