"""The columns that reviewers ask for, the list of lesions, and the analysis of choices."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from typer.testing import CliRunner

import uadbench
from uadbench.cli import app
from uadbench.evaluation.details import Details
from uadbench.evaluation.evaluate import Evaluation
from uadbench.experiment import collect, pieces_file, recompute, record
from uadbench.experiment.config import Runtime
from uadbench.experiment.record import Stored
from uadbench.report import further, leaderboard, sweeps, views
from uadbench.report.columns import BESIDE_DICE, BY_NAME, STANDARD, choose_columns
from uadbench.report.evidence import Evidence
from uadbench.report.multiverse import explore, shares, sheets_of
from uadbench.system.errors import UserError
from uadbench.system.files import write_json
from uadbench.system.paths import Paths
from uadbench.system.progress import Silent

FROM_MAPS = ("froc", "aupro", "nsd_fpr1", "ap_lesions_large", "alarms_slice_fpr1", "fp_cortex")


@pytest.fixture(scope="module")
def tables(demo_records: list[Stored]) -> list[leaderboard.Table]:
    return leaderboard.tables(demo_records, resamples=50, columns=choose_columns(["all"]))


def edited(results: Path, edit: Callable[[dict[str, Any]], Any] | None) -> Stored:
    """A record of `pca` whose details have been edited, or taken away: as of an earlier version."""
    path = next(results.rglob("pca/*/seed-0.json"))
    stored = Stored(record.read_record(path), path)
    whole = recompute.evaluation(stored.record, pieces_file.read_pieces(stored))
    details = None
    if edit is not None and whole.details is not None:
        arrays = {name: array.copy() for name, array in whole.details.arrays.items()}
        edit(arrays)
        details = Details(arrays)
    changed = Evaluation(whole.subjects, whole.thresholds, whole.pieces, whole.voxels, whole.lesions, details)
    made = record.plain(stored.record)
    made["pieces"]["sha256"] = pieces_file.write_pieces(stored.pieces, changed)
    write_json(path, made)
    return Stored(record.read_record(path), path)


# ---- which columns -------------------------------------------------------------------------------


def test_dice_never_stands_without_false_alarms_beside_it() -> None:
    for name in BY_NAME:
        if name.startswith(("dsc", "nsd", "kept")):
            assert set(BESIDE_DICE) <= set(choose_columns([name]))
    assert set(BESIDE_DICE) <= set(STANDARD)


def test_columns_are_chosen_by_name_and_in_the_order_of_the_leaderboard() -> None:
    assert choose_columns(["froc,auroc", "ap_raw"]) == ("ap_raw", "auroc", "froc")
    assert choose_columns([]) == STANDARD
    assert choose_columns(["all"]) == tuple(BY_NAME)


def test_an_unknown_column_is_an_error_that_says_which_there_are(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["leaderboard", "--columns", "frok", "--results", str(tmp_path)])
    assert isinstance(done.exception, UserError)
    for words in ("'frok'", "available are all, standard, ap, ap_raw", "froc_0.125"):
        assert words in str(done.exception)


def test_every_column_has_a_value_with_its_interval_around_it(tables: list[leaderboard.Table]) -> None:
    (table,) = tables
    # No lesion of the toy heads is that small, no scan is flagged, nothing is drawn, slices are no scans, and
    # maps are no masks.
    none = ("ap_unflagged", "auroc_slice", "draw_spread", "_tiny", "_small", "_given")
    for row in table.rows:
        for name in BY_NAME:
            assert (row.numbers[name] is None) == name.endswith(none), name
        assert row.standing is not None
        for name, found in row.standing.intervals.items():
            value = row.numbers[name]
            assert value is not None
            assert found.low <= value <= found.high


def test_a_table_can_be_sorted_by_what_is_made_of_the_maps(demo_records: list[Stored]) -> None:
    (table,) = leaderboard.tables(demo_records, sort="aupro", resamples=50)
    values = [row.numbers["aupro"] for row in table.rows]
    assert values == sorted(values, key=lambda value: -(value or 0))
    assert table.rows[0].standing is not None
    assert table.rows[0].standing.position == 1
    with pytest.raises(UserError, match="--sort"):
        leaderboard.tables(demo_records, sort="alarms")  # less is better


# ---- by hand -------------------------------------------------------------------------------------


def counts(**arrays: Any) -> Evidence:
    """Evidence of one patient and one control, as far as a figure looks."""
    subjects = [SimpleNamespace(partition=part, voxels=100) for part in ("healthy-test", "lesion-test")]
    one = SimpleNamespace(
        subjects=subjects,
        ill=[1],
        chosen=[0, 1],
        weights=np.zeros((0, 2), np.int64),
        ill_weights=np.zeros((0, 1), np.int64),
        record=SimpleNamespace(headline="raw", of_masks=False),
        read=SimpleNamespace(**arrays),
    )
    return cast("Evidence", one)


def test_rates_and_alarms_by_hand() -> None:
    voxels = np.zeros((2, 5, 3))
    voxels[0, 3], voxels[1, 3] = (0, 4, 0), (6, 9, 4)  # at fpr1: of 100 voxels in control and patient
    evidence = counts(voxels={"raw": voxels}, details=None)

    assert further.scan_alarms(evidence, "fpr1").value == 1.0  # type: ignore[union-attr]
    assert further.scan_alarms(evidence, "val").value == 0.0  # type: ignore[union-attr]
    assert further.realised_rate(evidence, "fpr1").value == 0.04  # type: ignore[union-attr]
    patients = further.realised_rate(evidence, "fpr1", "lesion-test")
    assert patients is not None
    assert patients.value == pytest.approx(0.1)
    assert further.slice_alarms(evidence, "fpr1") is None


def test_dice_at_thresholds_of_the_histograms_by_hand() -> None:
    positives, negatives = np.array([[0, 0, 0], [1, 1, 2]]), np.array([[0, 0, 9], [97, 2, 1]])
    pieces = SimpleNamespace(positives=positives, negatives=negatives)
    evidence = counts(pieces={"raw": pieces})

    best, realised = sweeps.best_dice_of_subjects(evidence), sweeps.dice_at_realised(0.03, evidence)

    assert best is not None
    assert realised is not None
    assert best.value == pytest.approx(2 * 3 / (3 + 3 + 4))  # the two highest cells: 3 of 4, and 3 false
    assert realised.value == pytest.approx(0.6)  # 3 % are called there as well
    lower = sweeps.dice_at_realised(0.02, evidence)
    assert lower is not None
    assert lower.value == pytest.approx(2 * 2 / (2 + 1 + 4))


def test_shares_of_variance_by_hand() -> None:
    found = shares(np.array([[1.0, 2.0], [3.0, 6.0]]), ("method", "choice"))
    # mean 3; methods 1.5 and 4.5, choices 2 and 4, what is left .5 in each cell: 9 + 4 + 1 of 14
    assert found["method"] == pytest.approx(9 / 14)
    assert found["choice"] == pytest.approx(4 / 14)
    assert found["method x choice"] == pytest.approx(1 / 14)
    assert found["higher interactions"] == pytest.approx(0)


# ---- records of earlier versions, and wrong ones -------------------------------------------------


@pytest.mark.thorough
def test_a_record_of_an_earlier_version_is_read_and_evaluate_adds_what_it_lacks(
    results: Path, made_results: Path
) -> None:
    stored = edited(results, None)
    assert not collect.collect_records(results).bad
    (table,) = leaderboard.tables([stored], columns=choose_columns(["all"]))
    (row,) = table.rows
    assert [row.numbers[name] for name in FROM_MAPS] == [None] * len(FROM_MAPS)
    assert row.numbers["lesion_f1_fpr1"] is not None
    assert "`uadbench evaluate` adds it" in views.sheets_by("lesion", [table], 0)[0].notes[0]

    here = made_results.parent
    paths = Paths(here / "data", here / "runs", results, here / "runs" / "cache")
    again = uadbench.evaluate(stored.path, runtime=Runtime(paths, Silent(), "cpu", workers=1))

    assert again.record.summary == stored.record.summary
    (table,) = leaderboard.tables([Stored(again.record, again.path)], columns=choose_columns(["all"]))
    assert None not in [table.rows[0].numbers[name] for name in FROM_MAPS]


@pytest.mark.parametrize(
    ("name", "edit", "said"),
    [
        ("surface", lambda a: a["surface"].__setitem__((40, 0), 1.5), "surface Dice"),
        ("covered", lambda a: a["covered"].__setitem__(slice(None), 0), "lesions found"),
        ("sweep", lambda a: a["sweep"].__setitem__((slice(None), slice(None), 0), 1), "thresholds of FROC"),
        ("regions", lambda a: a["regions"].__iadd__(np.uint32(1)), "regions of false positives"),
        ("alarms", lambda a: a["alarms"].__iadd__(np.uint32(1000)), "slices with an alarm"),
    ],
)
def test_details_that_do_not_follow_are_refused(
    results: Path, name: str, edit: Callable[[dict[str, Any]], Any], said: str
) -> None:
    assert any(said in wrong for wrong in recompute.wrong_figures(edited(results, edit))), name


# ---- views ---------------------------------------------------------------------------------------


def test_every_lesion_is_listed_with_its_volume_and_whether_it_is_found(
    tables: list[leaderboard.Table],
) -> None:
    (sheet,) = views.sheets_by("lesion", tables, 0)
    place = {header: number for number, header in enumerate(sheet.headers)}
    for row in tables[0].rows:
        own = [line for line in sheet.lines if line[0] == row.method]
        evidence = row.evidence(resamples=0)[0]
        assert len(own) == evidence.lesion_counts("fpr1")[:, 0].sum()
        share = sum(line[place["found"]] == "found" for line in own) / len(own)
        assert share == pytest.approx(row.numbers["recall_fpr1"])
        sizes: dict[str, float] = {}
        for line in own:
            sizes[line[place["scan"]]] = sizes.get(line[place["scan"]], 0.0) + float(line[place["ml"]])
        patients = {s.id: s.lesion_size for s in evidence.subjects if s.partition == "lesion-test"}
        assert sizes == pytest.approx(patients, rel=0.01)


def test_the_multiverse_ranks_every_method_under_every_choice(tables: list[leaderboard.Table]) -> None:
    found = explore(tables[0])

    assert found is not None
    assert found.names == tuple(row.method for row in tables[0].rows)
    assert found.values.shape == (3, 6, 2, 3, 2)
    for row, values in zip(tables[0].rows, found.values, strict=True):
        numbers = row.numbers
        pooled, mean = values[:, :, list(found.levels["post-processing"]).index(tables[0].headline), 0].T
        for place, point in ((0, "oracle"), (2, "val"), (3, "fpr1"), (4, "fpr5")):
            assert pooled[place] == pytest.approx(numbers[f"dsc_{point}"], abs=1e-6)
            assert mean[place] == pytest.approx(numbers[f"dsc_mean_{point}"], abs=1e-6)
        assert pooled[5] == pytest.approx(numbers["dsc_realised1"])
    by_method, by_factor, by_choice = sheets_of(tables[0])
    assert len(by_choice.lines) == 6 * 2 * 3 * 2
    assert len(by_method.lines) == 3
    assert sum(float(line[1][:-1]) for line in by_factor.lines) == pytest.approx(100, abs=0.8)


def test_one_row_alone_has_no_multiverse(demo_records: list[Stored]) -> None:
    (table,) = leaderboard.tables(demo_records[:1])
    assert explore(table) is None
    assert "two rows or more" in sheets_of(table)[0].notes[0]
