"""Responses: lesions found and AP by size and contrast-to-noise, and the detection limit."""

import dataclasses
from pathlib import Path

import pytest

from uadbench.cards import DatasetCard, Population, dataset_card
from uadbench.evaluation.uncertainty import Interval
from uadbench.experiment.facts import ImplantedResult
from uadbench.experiment.record import Stored
from uadbench.protocol import regime
from uadbench.report import plot, views
from uadbench.report.evidence import Evidence
from uadbench.report.leaderboard import Table, tables
from uadbench.report.response import Cell, find_limit, measure_response, name_contrast, write_limits
from uadbench.system.errors import UserError

SIZES = (0.5, 5.0)


@pytest.fixture(scope="module")
def implanted(implanted_records: list[Stored]) -> list[Table]:
    return tables(implanted_records)


@pytest.fixture(scope="module")
def cells(implanted: list[Table]) -> list[Cell]:
    return measure_response(implanted[0].rows[0].evidence(200))


def cell(ml: float, found: float) -> Cell:
    value = Interval(found, found, found)
    return Cell(-2.0, ml, 10, 10, {"fpr1": value}, value)


def test_the_limit_is_the_smallest_size_from_which_on_enough_is_found() -> None:
    found = [cell(0.1, 0.6), cell(1, 0.4), cell(5, 0.5), cell(10, 0.9)]

    assert find_limit(found, "fpr1", 0.5) == 5  # 0.1 ml was found by luck: 1 ml was not
    assert find_limit(found, "fpr1", 0.8) == 10
    assert find_limit(found, "fpr1", 0.95) is None
    assert find_limit(found, "fpr5", 0.5) is None  # no such threshold


def test_every_cell_has_its_scans_and_sums_to_the_record(cells: list[Cell], implanted: list[Table]) -> None:
    record = implanted[0].rows[0].records[0]
    ill = [s for s in record.subjects if s.partition == "lesion-test"]

    assert {(one.contrast, one.ml) for one in cells} == {(c, ml) for c in (-2, None) for ml in SIZES}
    assert sum(one.scans for one in cells) == len(ill)
    whole = record.summary.profiles[record.headline].ap_mean
    assert sum(one.ap.value * one.scans for one in cells) / len(ill) == pytest.approx(whole, abs=1e-6)


def test_what_is_found_is_that_of_the_cells_scans(cells: list[Cell], implanted: list[Table]) -> None:
    (evidence,) = implanted[0].rows[0].evidence(200)
    counts = evidence.lesion_counts("fpr1")
    own = [
        n
        for n, row in enumerate(evidence.ill)
        if evidence.record.subjects[row].implanted == ImplantedResult(ml=5.0, contrast=-2.0)
    ]
    (found,) = [one for one in cells if (one.contrast, one.ml) == (-2, 5)]

    assert found.scans == len(own) > 0
    assert found.found["fpr1"].value == pytest.approx(counts[own, 1].sum() / counts[own, 0].sum())
    assert found.found["fpr1"].low <= found.found["fpr1"].value <= found.found["fpr1"].high


def test_few_subjects_have_no_interval(cells: list[Cell]) -> None:
    for one in cells:
        assert one.subjects >= 5 or one.ap.low == one.ap.high
    assert any(one.ap.low < one.ap.high for one in cells) == any(one.subjects >= 5 for one in cells)


def test_the_views_are_of_implanted_lesions_alone(implanted: list[Table], demo_records: list[Stored]) -> None:
    by_cell, limits = views.sheets_by("response", implanted, 200)

    assert "response to size and contrast" in by_cell.title
    assert len(by_cell.lines) == 4 * len(implanted[0].rows)
    assert by_cell.headers[4:8] == ("contrast", "ml", "scans", "subjects")
    assert len(limits.lines) == 2 * len(implanted[0].rows)
    assert {line[4] for line in limits.lines} == {"-2", "as grey matter"}
    assert limits == write_limits(implanted[0], 200)
    with pytest.raises(UserError, match="uadbench inject"):
        views.sheets_by("response", tables(demo_records), 200)
    with pytest.raises(UserError, match="needs intervals"):
        views.sheets_by("response", implanted, 0)


def test_the_plot_has_a_column_for_each_contrast(implanted: list[Table], tmp_path: Path) -> None:
    plot.write_plot("response", implanted[0], tmp_path / "a.svg", 200)
    plot.write_plot("response", implanted[0], tmp_path / "b.svg", 200)
    drawn = (tmp_path / "a.svg").read_text()

    assert drawn == (tmp_path / "b.svg").read_text()
    assert drawn.count('id="axes_') == 6  # three measures at two contrasts


def test_a_plot_needs_implanted_lesions(demo_records: list[Stored], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No record is of lesions of known size"):
        plot.write_plot("response", tables(demo_records)[0], tmp_path / "a.svg", 200)
    assert not (tmp_path / "a.svg").exists()


def test_implanted_lesions_are_a_training_setting_of_their_own() -> None:
    volunteers, made_up = dataset_card("ixi"), dataset_card("phantom")

    def of(population: Population) -> DatasetCard:
        return dataclasses.replace(dataset_card("mslub"), population=population)

    assert regime(volunteers, of("implanted")) == "implanted"
    assert regime(None, of("implanted")) == "implanted"
    assert regime(made_up, of("implanted")) == "implanted"
    assert regime(volunteers, of("synthetic")) == "phantom"
    assert regime(volunteers, of("patients")) == "cross"
    assert name_contrast(2.0) == "+2"


def test_evidence_of_other_records_is_as_it_was(demo_records: list[Stored]) -> None:
    assert all(s.implanted is None for one in demo_records for s in one.record.subjects)
    assert "implanted" not in demo_records[0].path.read_text()
    assert measure_response([Evidence(demo_records[0], 200)]) == []
