"""Published figures: read as printed, and compared only where that means something."""

import pytest
from msgspec.structs import replace

from uadbench import methods
from uadbench.experiment.record import RunRecord, Stored
from uadbench.report import beside, published


@pytest.fixture
def measured(demo_records: list[Stored]) -> RunRecord:
    """A record as if the auto-encoder had been run from IXI to BraTS21 at half resolution."""
    found = demo_records[0].record
    return replace(
        found, method="ae", preset="demo", variant="demo", regime="cross", train="ixi", test="brats21",
        contrast="T2", protocol="uad-1-2mm", model_grid="g96", trained=True,
    )  # fmt: skip


def test_every_table_of_the_collection_is_there_with_a_source() -> None:
    assert {figure.table for figure in published.read_figures()} == set("ABCDEFGHIJKL")
    known = methods.names()
    for figure in published.read_figures():
        assert figure.source
        assert figure.label
        assert figure.status in ("own", "re-run", "second hand")
        assert figure.regime in ("cross", "within", "none", "")
        assert not figure.method or figure.method in known


@pytest.mark.parametrize(
    ("table", "label", "test", "contrast", "metric", "threshold", "value"),
    [
        ("A", "pDDPM", "brats21", "T2", "AP", "", 0.5476),
        ("A", "intensity threshold", "mslub", "T2", "DSC", "val", 0.0621),
        ("C", "FAE", "brats21", "T1", "DSC mean", "val", 0.437),
        ("C", "Disyre", "shifts-ms", "T2", "DSC mean", "oracle_mean", 0.205),
        ("D", "intensity threshold", "mslub", "FLAIR", "DSC", "oracle", 0.374),
        ("E", "FAE", "brats20", "T1", "AP", "", 0.536),
    ],
)
def test_figures_are_those_that_were_printed(
    table: str, label: str, test: str, contrast: str, metric: str, threshold: str, value: float
) -> None:
    wanted = (table, label, test, contrast, metric, threshold)
    found = [
        f.value
        for f in published.read_figures()
        if (f.table, f.label, f.test, f.contrast, f.metric, f.threshold) == wanted
    ]
    assert value in found


def test_a_figure_of_the_same_definition_is_comparable(measured: RunRecord) -> None:
    found = {
        (b.figure.table, b.figure.metric): b for b in beside.find_beside([measured]) if b.figure.table == "A"
    }
    dsc = found["A", "DSC"]
    assert dsc.verdict == "comparable"
    point = measured.summary.profiles["baur5"].points["val"]
    assert dsc.ours == point.dsc_mean, "Table A averages over volumes"
    assert dsc.difference == pytest.approx((point.dsc_mean or 0) - 0.3287)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"regime": "synthetic", "train": "labelmaps"}, "training setting synthetic, published cross"),
        ({"train": "camcan"}, "trained on camcan, published ixi"),
        ({"protocol": "uad-1", "model_grid": "g192"}, "resolution 1 mm, published 2 mm"),
        ({"limit": 3}, "at most 3 subjects"),
        ({"model_grid": "g48"}, "resolution 4 mm, published 2 mm"),
    ],
)
def test_what_differs_is_said(measured: RunRecord, changed: dict[str, object], reason: str) -> None:
    for found in beside.find_beside([replace(measured, **changed)]):
        assert found.verdict.startswith("not comparable: ")
        assert reason in found.verdict


def test_a_map_made_at_2_mm_is_never_called_1_mm(measured: RunRecord) -> None:
    made = replace(measured, protocol="uad-1", model_grid="g96")
    assert beside.resolution(made) == "2 mm"
    assert beside.resolution(replace(made, model_grid="g192")) == "1 mm"
    assert beside.resolution(replace(made, model_grid="g128")) == "128 x 128 slices"
    assert beside.resolution(replace(made, model_grid="g192", protocol="uad-1-2mm")) == "2 mm"


def test_a_record_is_judged_against_its_band(measured: RunRecord) -> None:
    (judgement,) = beside.judge_record(measured)
    inside = "inside" if 0.28 <= (judgement.ours or 0) <= 0.36 else "outside"
    assert judgement.verdict.startswith(f"{inside} band: ")
    (other,) = beside.judge_record(replace(measured, protocol="uad-1", train="camcan"))
    assert other.verdict.startswith("not comparable (trained on camcan, the band is for ixi; protocol uad-1")
    assert beside.judge_record(replace(measured, test="phantom")) == []
