"""Views of the leaderboard: strata, gaps between people, costs and the shortcut control, in every format."""

import csv
import io
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from uadbench.cli import app
from uadbench.evaluation import scan_facts
from uadbench.experiment.facts import Stage
from uadbench.experiment.record import RunRecord, Stored
from uadbench.report import cost, formats, leaderboard, sheets, shortcut, views
from uadbench.report.evidence import Evidence
from uadbench.report.strata import FEWEST_PERSONS, Stratum, age_band, gaps, strata
from uadbench.system.text import latex_text, markdown_cell

PHANTOM = "ranks on it are no evidence about brains"


@pytest.fixture(scope="module")
def tables(demo_records: list[Stored]) -> list[leaderboard.Table]:
    return leaderboard.tables(demo_records)


@pytest.fixture(scope="module")
def made(tables: list[leaderboard.Table]) -> RunRecord:
    return tables[0].rows[0].records[0]


@pytest.fixture(scope="module")
def groups(tables: list[leaderboard.Table]) -> list[Stratum]:
    return strata([Evidence(tables[0].rows[0].stored[0], 200)])


# ---- strata and gaps ---------------------------------------------------------------------------


def test_all_subjects_together_have_the_figures_of_the_record(groups: list[Stratum], made: RunRecord) -> None:
    (whole,) = [one for one in groups if one.by == "all"]
    point = made.summary.profiles["baur5"].points["fpr1"]
    assert whole.figures["recall"].value == pytest.approx(point.recall, abs=1e-6)
    assert whole.figures["dsc"].value == pytest.approx(point.dsc, abs=1e-6)
    assert whole.figures["fpr"].value == pytest.approx(point.fpr_healthy_test, abs=1e-6)
    assert whole.figures["fpr_lesion"].value == pytest.approx(point.fpr_lesion_test, abs=1e-6)


def test_recall_by_size_is_that_of_the_record(groups: list[Stratum], made: RunRecord) -> None:
    by_size = made.summary.profiles["baur5"].points["fpr1"].by_size
    found = {one.name: one.figures["recall"].value for one in groups if one.by == "lesion size"}
    assert found == pytest.approx({n: b.recall for n, b in by_size.items() if b.lesions}, abs=1e-6)


@pytest.mark.parametrize("by", ["lesion kind", "site", "sex", "age"])
def test_groups_share_out_the_lesion_scans(groups: list[Stratum], made: RunRecord, by: str) -> None:
    assert sum(one.lesion_scans for one in groups if one.by == by) == 24


def test_few_persons_are_marked_and_very_few_have_no_interval(groups: list[Stratum]) -> None:
    for one in groups:
        for measure, found in one.figures.items():
            assert one.few(measure) == (one.persons[measure] < 20)
            assert found.low <= found.value <= found.high
            if one.persons[measure] < FEWEST_PERSONS:
                assert found.low == found.high
                assert "(" not in views.show_stratum(one, measure)


def test_a_gap_lies_between_the_extreme_groups(groups: list[Stratum]) -> None:
    found = gaps(groups)
    assert {one.by for one in found} == {"site", "sex", "age"}
    for gap in found:
        own = [one for one in groups if one.by == gap.by and one.persons[gap.measure] >= FEWEST_PERSONS]
        values = [one.figures[gap.measure].value for one in own]
        assert gap.difference.value == pytest.approx(max(values) - min(values))
        assert -1 <= gap.difference.low <= gap.difference.value <= gap.difference.high <= 1


@pytest.mark.parametrize(
    ("age", "band"),
    [(None, "unknown"), (39.9, "under 40"), (40, "40 to 59"), (79, "60 to 79"), (80, "80 and over")],
)
def test_bands_of_age(age: float | None, band: str) -> None:
    assert age_band(age) == band


# ---- cost --------------------------------------------------------------------------------------


def test_costs_are_means_over_seeds_and_per_scan(made: RunRecord) -> None:
    timing = {
        "fit": Stage(seconds=10.0, peak_memory_mb=100.0),
        "score": Stage(seconds=4.0, peak_memory_mb=300.0),
    }
    slower = {**timing, "fit": Stage(seconds=2030.0, peak_memory_mb=100.0)}
    own = cost.measure_cost([replace(made, timing=timing), replace(made, timing=slower)])
    texts = {name: cost.show_digits(value) for name, value in own.items()}
    assert texts["training_s"] == "1,020"
    assert own["scoring_s"] == pytest.approx(4 / len(made.subjects))
    assert texts["memory_mb"] == "300"
    assert texts["parameters"] == f"{made.n_parameters:,}"
    assert cost.measure_cost([replace(made, timing={})])["training_s"] is None


def test_costs_show_a_gpus_memory_where_a_record_states_it(made: RunRecord) -> None:
    stages = {
        "fit": Stage(seconds=1.0, peak_memory_mb=1.0, peak_device_mb=2000.0),
        "score": Stage(seconds=1.0, peak_memory_mb=2.0, peak_device_mb=500.0),
    }
    on_gpu = [replace(made, timing=stages)]
    assert cost.measure_cost(on_gpu)["device_mb"] == 2000
    assert "device_mb" not in cost.measure_cost([made])
    assert list(cost.columns([[made], on_gpu])) == [*cost.COLUMNS, "device_mb"]
    assert cost.columns([[made]]) == cost.COLUMNS
    assert b"peak_device_mb" not in msgspec.json.encode(made), "records made on a CPU are as they were"


# ---- shortcut control --------------------------------------------------------------------------


def cohort(made: RunRecord, shift: float, persons: int = 15) -> RunRecord:
    """A record whose lesion cohort is brighter by `shift` deviations."""
    random = np.random.default_rng(1)
    subjects = []
    for partition in ("healthy-test", "lesion-test"):
        template = next(s for s in made.subjects if s.partition == partition)
        for number in range(persons):
            statistics = random.normal(size=10) + shift * (partition == "lesion-test")
            name = f"{partition}-{number}"
            subjects.append(replace(template, id=name, person=name, intensity=statistics.tolist()))
    return replace(made, subjects=subjects)


def test_the_control_finds_a_shift_and_only_a_shift(made: RunRecord) -> None:
    shifted, alike = (shortcut.control_shortcut(cohort(made, shift).subjects) for shift in (2.0, 0.0))
    assert shifted is not None
    assert alike is not None
    assert shifted.value > 0.95
    assert shortcut.separates(shifted)
    assert not shortcut.separates(alike)


def test_the_control_needs_statistics_and_persons(made: RunRecord) -> None:
    without = [replace(s, intensity=None) for s in made.subjects]
    assert shortcut.control_shortcut(without) is None
    assert shortcut.control_shortcut(cohort(made, 2.0, persons=9).subjects) is None
    assert shortcut.control_shortcut([]) is None


def test_a_shortcut_is_said_in_every_format(made: RunRecord) -> None:
    tables = leaderboard.tables([Stored(cohort(made, 2.0), Path("nowhere"))])
    sentence = "so the scan-level AUROC says little about lesions"
    for format_ in sheets.FORMATS:
        assert sentence in formats.written(tables, format_)


def test_ten_statistics_of_a_known_distribution() -> None:
    levels, counts = np.array([0.25, 0.75], np.float32), np.array([500, 500])
    found = dict(zip(scan_facts.STATISTICS, scan_facts.intensity_statistics(levels, counts), strict=True))
    assert len(found) == 10
    assert found["mean"] == 0.5
    assert found["deviation"] == 0.25
    assert found["skewness"] == 0
    assert found["kurtosis"] == pytest.approx(1)
    assert found["percentile 95"] == 0.75
    assert found["entropy"] == 1
    assert scan_facts.intensity_statistics(np.zeros(0, np.float32), np.zeros(0, int)) == [0.0] * 10


# ---- every format ------------------------------------------------------------------------------


@pytest.mark.parametrize("by", list(views.BY))
def test_a_view_has_the_same_cells_and_the_caution_in_every_format(
    by: str, tables: list[leaderboard.Table], implanted_records: list[Stored]
) -> None:
    found = views.sheets_by(by, leaderboard.tables(implanted_records) if by == "response" else tables, 200)
    written = {name: sheets.written(found, name) for name in sheets.FORMATS}
    for text in written.values():
        assert PHANTOM in text
    rows = csv.DictReader(io.StringIO(written["csv"]))
    for sheet in found:
        for line in sheet.lines:
            row = next(rows)
            assert tuple(row[name] for name in sheet.headers) == line
    for line in found[0].lines:
        assert "| " + " | ".join(map(markdown_cell, line)) + " |" in written["markdown"]
        for cell in line:  # a column of equal cells is a note
            assert latex_text(cell) in written["latex"]


@pytest.mark.parametrize("format_", ["markdown", "csv", "json", "latex", "table"])
def test_no_format_lacks_what_the_phantom_is_worth(format_: str, made_results: Path) -> None:
    command = ["leaderboard", "--resamples", "0", "--preset", "ci", "--results", str(made_results)]
    result = CliRunner().invoke(app, [*command, "--format", format_])
    assert result.exit_code == 0
    assert PHANTOM in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--by", "colour"], "--by expects one of method, family, stratum, bias, cost"),
        (["--by", "bias", "--resamples", "0"], "--by bias needs intervals"),
        (["--by", "cost", "--format", "html"], "The page holds all views"),
        (["--published", "--format", "html"], "The page holds all views"),
    ],
)
def test_views_that_cannot_be_shown(options: list[str], reason: str, made_results: Path) -> None:
    result = CliRunner().invoke(
        app, ["leaderboard", "--preset", "ci", "--results", str(made_results), *options]
    )
    message = result.output + str(result.exception)
    assert result.exit_code != 0
    assert reason in " ".join(message.split())
