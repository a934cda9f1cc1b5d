"""The page: the same digits as every other format, nothing read as markup, one file without a network."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from uadbench.experiment.facts import Exclusion
from uadbench.experiment.record import Stored
from uadbench.report import evidence, formats, leaderboard, page
from uadbench.report.page import gallery
from uadbench.system.paths import Paths

NASTY = '</script><b onclick="x()">&amp;\u2028<!--/*DATA*/'


@pytest.fixture(scope="module")
def records(demo_records: list[Stored]) -> list[Stored]:
    return demo_records


@pytest.fixture(scope="module")
def tables(records: list[Stored]) -> list[leaderboard.Table]:
    return leaderboard.tables(records, resamples=200)


@pytest.fixture(scope="module")
def html(tables: list[leaderboard.Table], tmp_path_factory: pytest.TempPathFactory) -> str:
    return page.write_page(tables, [("place", NASTY)], paths(tmp_path_factory.mktemp("runs")), 200)


def paths(runs: Path) -> Paths:
    return Paths(runs / "data", runs, runs / "results", runs / "cache")


def content(html: str) -> dict[str, Any]:
    """The JSON block, as a browser finds it: up to the first end of a script."""
    found = re.search(r'<script id="data" type="application/json">(.*?)</script', html, re.DOTALL)
    assert found
    read: dict[str, Any] = json.loads(found[1])
    return read


def test_page_markdown_csv_and_latex_agree_to_the_last_printed_digit(
    tables: list[leaderboard.Table], html: str
) -> None:
    markdown, latex = formats.markdown(tables), formats.written(tables, "latex")
    flat = list(csv.DictReader(io.StringIO(formats.written(tables, "csv"))))
    for shown, table in zip(content(html)["tables"], tables, strict=True):
        assert shown["notes"] == formats.notes(table)
        for row in shown["rows"]:
            printed = [cell[0] for cell in row["cells"]]
            facts = [row["rank"], row["method"], row["variant"], row["grid"], row["train"]]
            counts = [str(len(row["seeds"])), f"{row['scored']} ({row['excluded']})"]
            line = [*facts, *counts, row["spread"], *printed]
            assert "| " + " | ".join(line) + " |" in markdown
            assert " & ".join(line).replace("_", "\\_") + r" \\" in latex
            own = next(f for f in flat if (f["method"], f["variant"]) == (row["method"], row["variant"]))
            assert [formats.shown(float(own[n]) if own[n] else None) for n in shown["columns"]] == printed
            for name, cell in zip(shown["columns"], row["cells"], strict=True):
                if len(cell) > 2:
                    ends = [formats.shown(float(own[f"{name}_{end}"])) for end in ("low", "high")]
                    assert ends == cell[2:]


def test_no_text_is_read_as_markup(html: str, records: list[Stored], tmp_path: Path) -> None:
    assert content(html)["failed"] == [["place", NASTY]]
    assert "<b onclick" not in html

    named = replace(
        records[0].record,
        method=NASTY,
        variant=NASTY,
        excluded=[Exclusion(id=NASTY, partition="x", reason=NASTY)],
    )
    text = page.write_page(leaderboard.tables([Stored(named, Path("x"))]), [], paths(tmp_path), 0)

    assert content(text)["tables"][0]["rows"][0]["method"] == NASTY
    assert "<b onclick" not in text
    assert "innerHTML" not in text
    assert "insertAdjacentHTML" not in text


def test_the_page_is_one_file_that_loads_nothing(html: str) -> None:
    block = re.compile(r'<script id="data".*?</script>', re.DOTALL)
    code = block.sub("", html)
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:)""", code)
    assert not re.findall(r"@import|url\(\s*[\"']?(?!\$)http|fetch\(|XMLHttpRequest|import\(|https?://", code)
    assert "default-src 'none'" in html
    assert html.count("<script") == html.count("</script>") == 2


def test_without_pieces_the_page_still_has_all_rows(records: list[Stored], tmp_path: Path) -> None:
    shown = content(page.write_page(leaderboard.tables(records), [], paths(tmp_path), 0))
    assert [len(t["rows"]) for t in shown["tables"]] == [len(records)]
    assert shown["tables"][0]["rows"][0]["curve"] == []


def test_curves_are_short_and_rise_in_recall(html: str) -> None:
    for row in content(html)["tables"][0]["rows"]:
        recall = [point[0] for point in row["curve"]]
        assert 20 < len(recall) <= 100
        assert recall == sorted(recall)
        assert recall[-1] == 1.0


def test_many_records_get_fewer_resamples_and_never_none() -> None:
    assert [evidence.resamples_for(n) for n in (1, 100, 200, 501, 3000)] == [1000, 1000, 500, 200, 200]


def test_the_gallery_shows_the_same_subjects_of_every_method(
    tables: list[leaderboard.Table], tmp_path: Path
) -> None:
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
            maps.write_map(stored, Score(image, image[None]), 1.0, 1.0)
            cases.append(Case(subject.partition, scan, stored, grid))
        maps.write_scans(folder, made.data_fingerprint, cases)

    (shown,) = gallery.build_gallery(tables, here)

    kinds = {s.lesion_kind for s in tables[0].rows[0].records[0].subjects if s.lesion_kind}
    assert {s["kind"] for s in shown["subjects"]} == kinds | {"healthy"}
    for subject in shown["subjects"]:
        assert [m["method"] for m in subject["methods"]] == [r.method for r in tables[0].rows[:2]]
        assert subject["image"].startswith("data:image/jpeg;base64,")
        assert (subject["outline"] is None) == (subject["kind"] == "healthy")
        assert subject["kind"] == "healthy" or subject["lesion"][subject["start"]]


def test_a_cohort_without_healthy_scans_has_a_gallery_of_lesions(records: list[Stored]) -> None:
    lesions_only = [s for s in records[0].record.subjects if s.partition == "lesion-test"]
    typical = gallery._typical(replace(records[0].record, subjects=lesions_only))
    assert typical
    assert gallery.HEALTHY not in [kind for _, kind in typical]
