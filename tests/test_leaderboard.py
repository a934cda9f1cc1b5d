"""Tables from records; records are made by hand where the rule is about what may be compared."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from uadbench.evaluation.uncertainty import Interval
from uadbench.experiment import collect, record
from uadbench.experiment.facts import Exclusion, Group, PiecesFile, Profile
from uadbench.experiment.record import RunRecord, Stored
from uadbench.protocol import PROFILES
from uadbench.report import evidence, formats, latex, leaderboard, ranking
from uadbench.report.columns import AP_TITLES, SORTABLE
from uadbench.report.compare import compare_records
from uadbench.system.errors import UserError
from uadbench.system.files import write_json

HASH = "a" * 64


def patient(number: int, **change: Any) -> dict[str, Any]:
    """A scored lesion-test scan, as far as the leaderboard looks."""
    return {
        "id": f"sub-{number:02d}", "cohort": "phantom", "person": f"sub-{number:02d}", "session": "1",
        "partition": "lesion-test", "site": None, "sex": None, "age": None, "lesion_kind": None,
        "voxels": 10, "lesion_ml": 1.0, "ap": {}, "auroc": {}, "dsc": {},
    } | change  # fmt: skip


def made(**change: Any) -> RunRecord:
    """A record of `vae` on the phantom, as far as the leaderboard looks."""
    ap = change.pop("ap", 0.3)
    patients = change.pop("patients", 3)
    point = {
        "threshold": 0.5, "dsc": 0.4, "dsc_mean": 0.4, "fpr_lesion_test": 0.01, "fpr_healthy_test": 0.01,
        "recall": 0.5, "false_components": 1.0, "by_size": {},
    }  # fmt: skip
    profile = {
        "ap": ap, "ap_error": 0.0, "ap_mean": None if ap is None else ap / 2,
        "auroc": 0.9, "auroc_error": 0.0, "prevalence": 0.01,
        "kinds": {}, "points": dict.fromkeys(("oracle", "val", "fpr1", "fpr5"), point),
    }  # fmt: skip
    facts: dict[str, Any] = {
        "protocol": "uad-1-2mm", "metric_version": 2, "card_version": 1, "regime": "phantom",
        "train": "phantom", "trained": True, "test": "phantom", "contrast": "T1", "train_contrasts": ["T1"],
        "method": "vae", "variant": "demo", "preset": "demo", "model_grid": "g96", "headline": "baur5",
        "seed": 0, "limit": None, "precision": "float32", "parameters": {}, "n_parameters": 1,
        "splits": {"lesion-test": {"subjects": 3, "persons": 3, "hash": HASH}}, "split": {}, "excluded": [],
        "preparation": {}, "data_fingerprint": HASH, "fit_hash": HASH, "score_hash": HASH, "code": {},
        "packages": {}, "hardware": {}, "timing": {}, "subjects": [patient(n) for n in range(patients)],
        "thresholds": {name: {} for name in PROFILES}, "pieces": {"file": "seed-0.npz", "sha256": HASH},
        "summary": {
            "profiles": dict.fromkeys(PROFILES, profile), "scan": {"auroc": 0.7, "rule": ""},
            "subjects": {"lesion-test": patients}, "empty_masks": 0, "restoration": {},
        },
    }  # fmt: skip
    return record.make_record(facts | change)


def tables(*records: RunRecord, **options: Any) -> list[leaderboard.Table]:
    return leaderboard.tables([Stored(one, Path("nowhere")) for one in records], **options)


@pytest.mark.parametrize(
    "difference",
    [
        {"protocol": "uad-1"},
        {"regime": "cross"},
        {"contrast": "T2"},
        {"metric_version": 3},
        {"card_version": 2},
        {"headline": "raw"},
        {"test": "mslub"},
        {"patients": 2},
        {"subjects": [patient(n) for n in (0, 1, 7)]},  # as many, but others
    ],
)
def test_two_numbers_that_may_not_be_compared_are_never_in_one_ranking(difference: dict[str, Any]) -> None:
    assert len(tables(made(), made(method="ae", **difference))) == 2


def test_the_order_of_the_patients_and_the_healthy_do_not_matter_for_who_was_scored() -> None:
    others = [patient(n) for n in (2, 0, 1)] + [patient(9, partition="healthy-test")]
    assert len(tables(made(), made(method="ae", subjects=others))) == 1


def test_rows_that_scored_other_patients_say_so_and_name_the_excluded() -> None:
    lost = made(
        method="ae",
        patients=2,
        excluded=[{"partition": "lesion-test", "id": "sub-02", "reason": "cut short"}],
    )
    found = tables(made(), lost)

    for table in found:
        assert any("1 more rows of this test scored other patients" in note for note in formats.notes(table))
    assert found[0].title != found[1].title
    text = formats.markdown(found)
    assert "2 (1)" in text
    assert "3 (0)" in text
    paper = latex.write_tables(found)
    assert "$n = 2$ scans with lesions" in paper
    assert "$n = 3$ scans with lesions" in paper
    assert "1 cut short" in text
    assert "1 cut short" in paper
    for rows in (
        json.loads(formats.written(found, "json")),
        list(csv.DictReader(io.StringIO(formats.written(found, "csv")))),
    ):
        by_method = {row["method"]: row for row in rows}
        assert [str(by_method["ae"][k]) for k in ("scored", "excluded", "excluded_reasons")] == [
            "2", "1", "1 cut short",
        ]  # fmt: skip
        assert str(by_method["vae"]["scored"]) == "3"


def test_only_what_was_left_out_of_the_test_set_counts_as_excluded() -> None:
    excluded = [
        {"partition": "healthy-train", "id": "a", "reason": "x"},
        {"partition": "none of phantom", "id": "b", "reason": "x"},
        {"partition": "none of ixi", "id": "c", "reason": "x"},
    ]
    assert leaderboard.exclusions(made(excluded=excluded)) == {"x": 1}


def test_the_best_row_comes_first_and_a_blank_last() -> None:
    (table,) = tables(made(method="low", ap=0.1), made(method="blank", ap=None), made(method="high", ap=0.5))

    assert [row.method for row in table.rows] == ["high", "low", "blank"]


def test_seeds_of_one_row_are_averaged() -> None:
    (table,) = tables(made(seed=0, ap=0.2), made(seed=1, ap=0.4))

    (row,) = table.rows
    assert row.seeds == (0, 1)
    assert row.numbers["ap"] == pytest.approx(0.3)


def test_another_model_grid_is_another_row_and_is_shown() -> None:
    (table,) = tables(made(), made(model_grid="g192", ap=0.2))
    assert [row.model_grid for row in table.rows] == ["g96", "g192"]
    assert "| vae | demo | g192 | phantom |" in formats.markdown([table])


def test_an_untrained_row_does_not_say_that_it_was_trained() -> None:
    (table,) = tables(made(method="random", train="ixi", trained=False))
    text = formats.markdown([table])
    assert "| random | demo | g96 | none (ixi) |" in text
    assert "none (X): not trained" in text
    assert json.loads(formats.written([table], "json"))[0]["trained_on"] == "none (ixi)"


def test_the_three_profiles_stand_side_by_side_and_the_headline_is_marked() -> None:
    for headline in PROFILES:
        (table,) = tables(made(headline=headline))
        titles = [column.title for column in table.columns if column.title.startswith("AP ")]
        wanted = [f"{AP_TITLES[name]}{' ←' if name == headline else ''}" for name in PROFILES]
        assert titles[: len(PROFILES)] == wanted
        assert table.sorted_by == f"{AP_TITLES[headline]} ←"
    assert "Small lesions" in " ".join(formats.notes(tables(made(headline="raw"))[0]))


def test_every_column_can_be_sorted_by() -> None:
    one = made(method="one")
    raw = replace(one.summary.profiles["raw"], ap=0.9)
    two = replace(one, method="two", summary=with_profile(one, "raw", raw))
    assert tables(one, two, sort="ap_raw")[0].rows[0].method == "two"
    for name in set(SORTABLE) & set(leaderboard.IN_SUMMARY):
        assert tables(one, two, sort=name)


def with_profile(one: RunRecord, name: str, profile: Profile) -> Any:
    return replace(one.summary, profiles=one.summary.profiles | {name: profile})


def test_a_record_without_its_headline_profile_has_no_headline_figure() -> None:
    one = made()
    without = replace(one.summary, profiles={"raw": one.summary.profiles["raw"]})
    found = leaderboard.numbers(replace(one, summary=without))
    assert (found["ap"], found["auroc"], found["dsc_fpr1"]) == (None, None, None)
    assert found["ap_raw"] == 0.3


def test_the_figure_without_flagged_scans_stands_beside_the_full_one() -> None:
    assert "AP unflagged" not in formats.markdown(tables(made()))
    one = made()
    headline = one.summary.profiles["baur5"]
    facts: dict[str, Any] = {
        "ap": 0.4,
        "ap_error": 0.0,
        "auroc": 0.9,
        "auroc_error": 0.0,
        "prevalence": 0.01,
        "subjects": 2,
    }
    flagged = replace(headline, unflagged=Group(**facts))
    text = formats.markdown(tables(replace(one, summary=with_profile(one, "baur5", flagged))))
    assert "| AP unflagged |" in text
    assert "| 0.400 |" in text


def test_an_unknown_column_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="--sort expects one of ap, "):
        tables(made(), sort="beauty")


def test_markdown_csv_and_json_say_the_same() -> None:
    found = tables(made(ap=0.12345), made(method="ae", ap=0.5))

    rows = list(csv.DictReader(io.StringIO(formats.written(found, "csv"))))
    parsed = json.loads(formats.written(found, "json"))
    text = formats.markdown(found)

    assert [float(row["ap"]) for row in rows] == [row["ap"] for row in parsed] == [0.5, 0.12345]
    assert "| - | vae | demo | g96 | phantom | 1 | 3 (0) |  | 0.123 |" in text
    (line,) = [line for line in latex.write_tables(found).splitlines() if "0.123" in line]
    assert line.startswith("Variational auto-encoder")


def test_the_phantom_is_said_to_be_no_evidence_about_brains() -> None:
    assert "no evidence about brains" in formats.markdown(tables(made()))


def calling(share: float | None, **change: Any) -> RunRecord:
    """A record that calls this share of the tissue outside lesions at the threshold of 1 %."""
    one = made(**change)
    headline = one.summary.profiles["baur5"]
    point = replace(headline.points["fpr1"], fpr_lesion_test=share)
    changed = replace(headline, points=headline.points | {"fpr1": point})
    return replace(one, summary=with_profile(one, "baur5", changed))


def test_a_threshold_that_another_scanner_did_not_keep_is_said() -> None:
    kept = tables(calling(0.05), calling(None, method="ae"))
    assert "tissue outside lesions" not in formats.markdown(kept)
    seeds = [calling(rate, method="dae", seed=seed) for seed, rate in enumerate((0.20, 0.28))]
    lost = [
        calling(0.17, method="pca"),
        calling(0.09, variant="demo,dropout=0.5"),
        calling(0.05, method="ae"),
    ]
    found = tables(*seeds, *lost, calling(0.06))
    sentence = "calls 24 % for `dae`, 17 % for `pca`, 9 % for `vae demo,dropout=0.5`, 6 % for `vae demo`:"
    for text in (formats.markdown(found), formats.written(found, "csv")):
        assert sentence in text
    others = [calling(0.2, method=name) for name in ("dae", "fae", "ra", "random")]
    assert "20 % for `random`, over 5 % for 2 more:" in formats.markdown(tables(*lost, *others))


def test_records_of_the_preset_ci_are_not_public() -> None:
    assert collect.is_public(made())
    assert not collect.is_public(made(preset="ci"))


# ---- ranks -------------------------------------------------------------------------------------


def test_no_order_is_claimed_of_few_patients_or_few_seeds() -> None:
    few = tables(made(patients=19), made(patients=19, seed=1), made(patients=19, seed=2))[0].rows[0]
    assert few.unranked == ranking.FEW
    seeds = [made(patients=20, seed=n) for n in range(3)]
    assert tables(*seeds[:2])[0].rows[0].unranked == ranking.FEW_SEEDS
    assert tables(*seeds)[0].rows[0].unranked == ""
    untrained = made(patients=20, trained=False)
    assert tables(untrained)[0].rows[0].unranked == ""  # nothing in it depends on a seed
    assert tables(replace(untrained, stochastic=True))[0].rows[0].unranked == ranking.FEW_SEEDS


def test_without_resamples_no_row_is_ranked_and_it_is_said() -> None:
    (table,) = tables(made())
    assert formats.ranked(table) == ["-"]
    assert any("--resamples was 0" in note for note in formats.notes(table))
    assert json.loads(formats.written([table], "json"))[0]["rank"] is None


def test_rows_that_may_not_be_ranked_take_no_rank_from_those_that_may(demo_records: list[Stored]) -> None:
    (table,) = leaderboard.tables(demo_records, resamples=200)
    by_method = dict(zip([row.method for row in table.rows], formats.ranked(table), strict=True))
    assert by_method == {"intensity": "1", "pca": "-", "random": "-"}
    assert any("fewer than 3 seeds" in note for note in formats.notes(table))
    for row in table.rows:
        assert row.standing is not None
        assert row.standing.intervals["ap"].low < (row.numbers["ap"] or 0)


def test_below_a_row_without_a_rank_no_place_is_known() -> None:
    few = ranking.FEW_SEEDS
    assert ranking.after_those_without_rank(["", few, ""], ["a", "b", "c"]) == ["", few, ranking.BELOW]
    assert ranking.after_those_without_rank(["", ""], ["a", "b"]) == ["", ""]


def test_a_further_row_of_a_ranked_method_takes_no_rank_from_others() -> None:
    few, below = ranking.FEW_SEEDS, ranking.BELOW
    assert ranking.after_those_without_rank([few, "", ""], ["a", "a", "b"]) == [few, "", ""]
    assert ranking.after_those_without_rank(["", "", few, ""], ["a", "b", "a", "c"]) == ["", "", few, ""]
    # c has no rank, so that a has none below it, and the first row of a stands alone
    found = ranking.after_those_without_rank([few, "", few, ""], ["a", "b", "c", "a"])
    assert found == [few, below, few, below]


def test_a_trained_row_that_does_not_beat_random_scores_is_not_judged(demo_records: list[Stored]) -> None:
    chance = next(one for one in demo_records if one.record.method == "random")
    weak = Stored(replace(chance.record, method="vae", trained=True), chance.path)  # scores as random ones do
    fitted = Stored(replace(chance.record, method="mean_residual", trained=True), chance.path)
    (table,) = leaderboard.tables([*demo_records, weak, fitted], resamples=200)
    by_method = dict(zip([row.method for row in table.rows], formats.ranked(table), strict=True))
    assert by_method["vae"] == "?"
    assert by_method["mean_residual"] == "-"  # a baseline has nothing more to learn
    assert by_method["intensity"] == "1"
    assert any(note.startswith("? not trained enough to judge") for note in formats.notes(table))


def test_a_trained_row_that_beats_random_scores_is_judged(demo_records: list[Stored]) -> None:
    (table,) = leaderboard.tables(demo_records, resamples=200)
    assert "?" not in formats.ranked(table)
    assert not any("not trained enough" in note for note in formats.notes(table))


def test_a_rank_means_the_same_at_any_number_of_records(demo_records: list[Stored]) -> None:
    """3,000 records get fewer resamples each, and the same order, ties and intervals to their width."""
    many, few = (leaderboard.tables(demo_records, resamples=evidence.resamples_for(n))[0] for n in (3000, 3))
    assert formats.ranked(many) == formats.ranked(few)
    for one, other in zip(many.rows, few.rows, strict=True):
        assert one.standing is not None
        assert other.standing is not None
        ends = [(s.intervals["ap"].low, s.intervals["ap"].high) for s in (one.standing, other.standing)]
        assert ends[0] == pytest.approx(ends[1], abs=0.05)


def test_equal_rows_are_not_separable_whatever_the_number_of_resamples(demo_records: list[Stored]) -> None:
    one = next(s for s in demo_records if s.record.method == "intensity")
    twin = Stored(replace(one.record, method="twin"), one.path)
    for resamples in (200, 1000):
        (table,) = leaderboard.tables([one, twin], resamples=resamples)
        assert formats.ranked(table) == ["1≈", "2≈"]
        assert [formats.rank_range(row) for row in table.rows] == ["1", "2"]  # of equals the order is kept


def test_people_are_paired_by_id_and_not_by_position(results: Path, tmp_path: Path) -> None:
    """The same record with its subjects in another order differs from itself by nothing."""
    path = results / "uad-1-4mm/phantom-to-phantom/T1/intensity/ci/seed-0.json"
    one = Stored(record.read_record(path), path)
    order = list(reversed(range(len(one.record.subjects))))
    turned = reordered(one, order, tmp_path / "turned")
    figures = [evidence.Evidence(stored, 200).figures() for stored in (one, turned)]
    for name, figure in figures[0].items():
        other = figures[1][name]
        assert other.value == pytest.approx(figure.value)
        assert other.values == pytest.approx(figure.values, nan_ok=True)


def reordered(stored: Stored, order: list[int], folder: Path) -> Stored:
    """A record with its subjects in another order, and its pieces likewise."""
    from uadbench.evaluation.evaluate import Evaluation
    from uadbench.experiment import pieces_file

    read = pieces_file.read_pieces(stored)
    subjects = [stored.record.subjects[row] for row in order]
    evaluation = Evaluation(
        [record.plain(subject) for subject in subjects],
        stored.record.thresholds,
        {name: pieces.only(order) for name, pieces in read.pieces.items()},
        {name: counts[order] for name, counts in read.voxels.items()},
        {name: counts[order] for name, counts in read.lesions.items()},
    )
    path = folder / stored.path.name
    digest = pieces_file.write_pieces(path.with_suffix(".npz"), evaluation)
    pieces = PiecesFile(file=path.with_suffix(".npz").name, sha256=digest)
    return Stored(replace(stored.record, subjects=subjects, pieces=pieces), path)


def test_compare_takes_the_patients_that_both_have(results: Path, tmp_path: Path) -> None:
    folder = results / "uad-1-4mm/phantom-to-phantom/T1"
    whole = folder / "intensity/ci/seed-0.json"
    other = folder / "pca/ci/seed-0.json"
    plain = compare_records(whole, other)
    assert plain.left_out == ()
    assert plain.subjects == 24
    # Values are those of the records, whatever binning the resamples use.
    assert plain.differences["ap_raw"][0] == pytest.approx(
        record.read_record(whole).summary.profiles["raw"].ap, abs=1e-5
    )

    stored = Stored(record.read_record(other), other)
    victim = stored.record.rows("lesion-test")[0]
    rows = [row for row in reversed(range(len(stored.record.subjects))) if row != victim]
    fewer = without(stored, rows, tmp_path / "fewer")
    found = compare_records(whole, fewer)
    assert found.subjects == 23
    assert found.left_out == (stored.record.subjects[victim].id,)
    mirrored = compare_records(fewer, whole)
    assert mirrored.differences["ap_raw"][0] == found.differences["ap_raw"][1]


def without(stored: Stored, rows: list[int], folder: Path) -> Path:
    """A consistent record of some of the subjects, in that order."""
    from uadbench.data.sizes import VOLUMES
    from uadbench.evaluation.summary import summarise
    from uadbench.experiment import pieces_file, recompute
    from uadbench.protocol import protocol

    fewer = reordered(stored, rows, folder)
    evaluation = recompute.evaluation(fewer.record, pieces_file.read_pieces(fewer))
    grid = protocol(stored.record.protocol).grid
    again = summarise(evaluation, grid.voxel_size, VOLUMES)  # type: ignore[union-attr]
    changed = replace(fewer.record, summary=record.typed_summary(again))
    path = folder / stored.path.name
    write_json(path, record.plain(changed))
    return path


def test_intervals_are_let_go_but_for_the_sorted_column(demo_records: list[Stored]) -> None:
    (table,) = leaderboard.tables(demo_records, resamples=200)
    standing = table.rows[0].standing
    assert standing is not None
    assert all(isinstance(found, Interval) for found in standing.intervals.values())


def test_excluded_scans_of_a_record_are_typed() -> None:
    one = made(excluded=[{"partition": "lesion-test", "id": "a", "reason": "b"}])
    assert one.excluded == [Exclusion(partition="lesion-test", id="a", reason="b")]
