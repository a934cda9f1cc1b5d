"""Runs from end to end, on a small data set and a small method from outside the project."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from uadbench import methods
from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.data.volumes import Volume
from uadbench.experiment import record
from uadbench.experiment.check_record import check_record
from uadbench.experiment.config import RunConfig, Runtime, resolve_run
from uadbench.experiment.record import CIRCUMSTANCES, RunRecord, plain
from uadbench.experiment.run import evaluate_again, run, run_recording_failure
from uadbench.experiment.score import check_score
from uadbench.methods import Score
from uadbench.preprocessing import intensities
from uadbench.preprocessing.prepare_scan import Options
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import UserError
from uadbench.system.files import sha256

PLUGINS = Path(__file__).parent / "plugins"
CELL = RunConfig(method="brightness", dataset="balls", preset="ci")


def content(made: RunRecord) -> dict[str, Any]:
    """A record without times, hardware and versions."""
    return {key: value for key, value in plain(made).items() if key not in CIRCUMSTANCES}


@pytest.mark.usefixtures("finished")
def test_a_run_finds_what_is_bright(runtime: Runtime) -> None:
    made = run(CELL, runtime).record

    summary = made.summary.profiles["raw"]
    assert (summary.prevalence or 1) < 0.02
    assert (summary.ap or 0) > 0.5
    assert made.summary.subjects["lesion-test"] == made.splits["lesion-test"].subjects
    assert made.regime == "phantom"
    assert (summary.points["oracle"].dsc or 0) >= (summary.points["val"].dsc or 1)


def test_a_finished_run_is_found_and_not_done_again(runtime: Runtime) -> None:
    first = run(CELL, runtime)
    written = first.path.stat().st_mtime_ns

    second = run(CELL, runtime)

    assert second.reused
    assert not first.reused
    assert first.path.stat().st_mtime_ns == written


def test_two_runs_with_one_seed_give_equal_records(runtime: Runtime, tmp_path: Path) -> None:
    config = replace(CELL, method="random")
    elsewhere = replace(
        runtime, paths=replace(runtime.paths, runs=tmp_path / "other", results=tmp_path / "other-results")
    )

    first, second = run(config, runtime), run(config, elsewhere)

    assert content(first.record) == content(second.record)
    assert first.path.with_suffix(".npz").read_bytes() == second.path.with_suffix(".npz").read_bytes()


@pytest.mark.usefixtures("finished")
def test_force_gives_the_same_record_again(runtime: Runtime) -> None:
    assert content(run(CELL, runtime).record) == content(run(CELL, runtime, force=True).record)


@pytest.mark.usefixtures("finished")
def test_a_record_of_other_data_is_not_overwritten_without_force(runtime: Runtime) -> None:
    run(CELL, runtime)
    scan = runtime.paths.data / "balls" / "scan-20.nii"
    image = nib.load(scan)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[:, ::-1].copy(), image.affine), scan)

    with pytest.raises(UserError, match="--force"):
        run(CELL, runtime)
    assert not run(CELL, runtime, force=True).reused


@pytest.mark.usefixtures("finished")
def test_rows_that_differ_in_score_options_share_one_fit(runtime: Runtime) -> None:
    bright = run(CELL, runtime).record
    dark = run(replace(CELL, settings={"sign": "-1"}), runtime).record

    assert bright.fit_hash == dark.fit_hash
    assert bright.score_hash != dark.score_hash
    assert (bright.variant, dark.variant) == ("ci", "ci,sign=-1.0")
    assert len(list((runtime.paths.runs / "fits").iterdir())) == 1


@pytest.mark.usefixtures("finished")
def test_a_record_of_untrained_networks_says_so_and_can_be_asked_for_again(runtime: Runtime) -> None:
    config = replace(CELL, method="vae", untrained=True)
    made = run(config, runtime)
    assert (made.record.parameters["steps"], made.record.variant) == (0, "ci,steps=0")
    again = RunConfig.of(made.record)
    assert (again.untrained, again.settings) == (True, {})
    assert run(again, runtime).reused
    assert evaluate_again(made.path, runtime).record.summary == made.record.summary
    assert not check_record(made.path).wrong


@pytest.mark.usefixtures("finished")
def test_metrics_are_recomputed_from_stored_maps(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(CELL, runtime)
    monkeypatch.setattr(methods.load("brightness"), "score", None)  # must not be called
    monkeypatch.setattr("uadbench.system.environment.hardware", lambda device: {"device": "another"})

    again = evaluate_again(first.path, runtime).record
    assert content(again) == content(first.record)
    assert again.hardware == first.record.hardware  # what made the maps, not what measured them


@pytest.mark.usefixtures("finished")
def test_recomputing_without_maps_says_so(runtime: Runtime) -> None:
    first = run(CELL, runtime)
    for file in first.maps.iterdir():
        file.unlink()

    with pytest.raises(UserError, match="maps of .* are not under"):
        evaluate_again(first.path, runtime)


@pytest.mark.usefixtures("finished")
def test_a_record_states_how_its_scans_were_prepared(runtime: Runtime) -> None:
    made = run(CELL, runtime).record

    assert made.preparation.options == {"extractor": "atlas", "n4": False}
    assert set(made.preparation.versions) == {"preparation", "registration", "rigid", "n4", "extractor"}
    # What is not trained takes nobody of healthy-train.
    counts = {part: facts.subjects for part, facts in made.splits.items() if part != "healthy-train"}
    assert made.preparation.brains == {part: {"own mask": count} for part, count in counts.items()}
    assert set(made.preparation.flagged) == set(counts)


@pytest.mark.usefixtures("finished")
def test_a_record_names_the_hashes_of_the_lists_of_its_split(runtime: Runtime) -> None:
    made = run(CELL, runtime).record

    listed = runtime.paths.runs / "splits" / "balls.csv"
    assert plain(made.split) == {
        "lists": {"balls": {"rule": "hash", "sha256": sha256(listed.read_bytes())}},
    }
    about = json.loads(listed.with_suffix(".json").read_text())
    for part, facts in made.splits.items():
        of = "all" if part.startswith("healthy") else "T1"
        assert about["partitions"][part]["hashes"][of] == facts.hash


def test_the_split_by_hash_where_parts_are_published_is_another_row(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "mine/datasets/halves"
    home.mkdir(parents=True)
    card, code = ((PLUGINS / "datasets/balls" / name).read_text() for name in ("card.toml", "dataset.py"))
    parts = '[published_split]\nfirst = "lesion-val"\nsecond = "lesion-test"\n'
    (home / "card.toml").write_text(
        card.replace("[expected]", parts + "[expected]").replace("balls", "halves")
    )
    code = code.replace('"balls"', '"halves"').replace("healthy=healthy,", "healthy=healthy, part=PART,")
    (home / "dataset.py").write_text(code.replace("HEALTHY, LESION =", 'PART = "first"\nHEALTHY, LESION ='))
    monkeypatch.setenv(PLUGINS_VARIABLE, os.pathsep.join([str(PLUGINS), str(tmp_path / "mine")]))
    config = replace(CELL, dataset="halves")

    with pytest.raises(
        UserError,
        match="published parts puts none .*--split hash, or test on all .*--split all-test",
    ):
        run(config, runtime)
    with pytest.raises(UserError, match="no split 'random'. Available: published, hash, all-test"):
        run(replace(config, split="random"), runtime)
    made = run(replace(config, split="hash"), runtime).record
    assert made.variant == "ci,split=hash"
    assert RunConfig.of(made).split == "hash"
    assert made.split.lists["halves"].rule == "hash"
    assert (runtime.paths.runs / "splits" / "halves-hash.csv").is_file()


@pytest.mark.thorough
def test_a_row_prepared_otherwise_is_another_row_with_another_fit(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = lambda image, _: Scan(image.array * np.linspace(1, 1.1, 48, dtype=np.float32), image.affine)  # noqa: E731
    monkeypatch.setattr(intensities, "correct_bias", quick)  # N4 takes its seconds
    config = replace(CELL, method="pca")
    plain = run(config, runtime)
    corrected = run(replace(config, preparation=Options(n4=True)), runtime)

    assert (plain.record.variant, corrected.record.variant) == ("ci", "ci,n4")
    assert plain.path != corrected.path
    assert plain.record.fit_hash != corrected.record.fit_hash
    assert plain.record.data_fingerprint != corrected.record.data_fingerprint
    assert RunConfig.of(corrected.record).preparation == Options(n4=True)
    assert content(evaluate_again(corrected.path, runtime).record) == content(corrected.record)


@pytest.mark.usefixtures("finished")
def test_a_record_made_before_preparation_was_stated_asks_for_the_defaults(runtime: Runtime) -> None:
    path = run(CELL, runtime).path
    written = json.loads(path.read_text())
    del written["preparation"], written["split"]
    path.write_text(json.dumps(written))

    config = RunConfig.of(record.read_record(path))
    assert (config.preparation, config.split) == (Options(), "published")


@pytest.mark.usefixtures("finished")
def test_limit_changes_the_split_and_the_row(runtime: Runtime) -> None:
    limited = run(replace(CELL, limit=2), runtime).record

    assert limited.splits["lesion-test"].subjects == 2
    assert limited.variant == "ci,limit=2"
    assert limited.splits["lesion-test"].hash != run(CELL, runtime).record.splits["lesion-test"].hash


@pytest.mark.usefixtures("finished")
def test_a_subject_that_cannot_be_read_is_recorded_and_the_others_go_on(runtime: Runtime) -> None:
    whole = run(CELL, runtime).record
    victim = next(s.id for s in whole.subjects if s.partition == "lesion-test")
    (runtime.paths.data / "balls" / f"scan-{int(victim[-2:])}.nii").write_bytes(b"")

    made = run(CELL, runtime, force=True).record

    assert [item.id for item in made.excluded] == [victim]
    assert made.summary.subjects["lesion-test"] == whole.summary.subjects["lesion-test"] - 1


def test_a_failing_method_is_recorded_as_failed_and_a_later_success_clears_it(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(methods.load("brightness"), "score", lambda *_: 1 / 0)
        reason = run_recording_failure(CELL, runtime)

    assert reason == "ZeroDivisionError: division by zero"
    assert [r for _, r in record.failures(runtime.paths.results)] == [reason]
    run(CELL, runtime)
    assert not list(record.failures(runtime.paths.results))


@pytest.mark.parametrize(
    ("score_map", "complaint"),
    [
        (np.full((4, 4, 4), np.nan, np.float32), "not finite"),
        (np.zeros((4, 4, 4), np.float64), "float64"),
        (np.zeros((4, 4), np.float32), r"\(4, 4\)"),
    ],
)
def test_a_score_map_that_breaks_the_contract_is_refused(score_map: Any, complaint: str) -> None:
    volume = Volume(np.zeros((1, 4, 4, 4), np.float32), np.ones((4, 4, 4), bool), 2.0, ("T1",))

    with pytest.raises(ValueError, match=complaint):
        check_score(Score(score_map), volume, "it")


# ---- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"method": "vea"}, "no method 'vea'; did you mean 'vae'"),
        ({"dataset": "bals"}, "no data set 'bals'; did you mean 'balls'"),
        ({"contrast": "T9"}, "no contrast 'T9' of balls. Available: T1, T2"),
        ({"contrast": "T2"}, "No subject of balls has the contrast 'T2'; available: T1"),
        ({"preset": "huge"}, "no preset 'huge'. Available: ci"),
        ({"preparation": Options("bet")}, "no extractor 'bet'.* Available: atlas, hd-bet, synthstrip"),
        ({"protocol": "uad-9"}, "no protocol 'uad-9'; did you mean 'uad-1"),
        ({"settings": {"sing": "1"}}, "no option 'sing' of brightness; did you mean 'sign'"),
        ({"settings": {"sign": "often"}}, "There is no sign 'often' of brightness. Available: 1.0, -1.0"),
        ({"settings": {"grid": "g7"}}, "no grid 'g7'.* Available: g48"),
        ({"settings": {"grid": "evaluation"}}, "no grid 'evaluation'.* Available: g48"),
        ({"method": "random", "settings": {"draws": "0"}}, "draws of random expects a whole number from 1"),
        ({"split": "all"}, "no split 'all'. Available: published, hash, all-test"),
    ],
)
def test_an_unknown_name_lists_the_known_ones(
    runtime: Runtime, change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        resolve_run(replace(CELL, **change), runtime)


def test_a_missing_data_root_says_where_to_apply_and_what_is_expected(runtime: Runtime) -> None:
    with pytest.raises(UserError, match=r"get the data at .*expected: "):
        resolve_run(replace(CELL, dataset="mslub"), runtime)


@pytest.fixture
def mslub(runtime: Runtime) -> Path:
    """Eight patients of nothing, in the layout of MSLUB."""
    root = runtime.paths.data / "mslub"
    for number in range(1, 9):
        folder = root / f"patient{number:02d}"
        folder.mkdir(parents=True)
        for name in ("FLAIR", "T1W", "T1WKS", "consensus_gt", "brainmask"):
            nib.save(
                nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)),
                folder / f"patient{number:02d}_{name}.nii.gz",
            )
    return root


@pytest.mark.parametrize(
    ("method", "contrast", "complaint"),
    [
        (
            "ae",
            "T1",
            "ae must be trained .*ixi, the first partner of mslub, is not under .*or name another",
        ),
        ("ae", "FLAIR", "labelmaps, the first partner of mslub, is not under"),
        ("ae", "T1c", "no public data set has healthy T1c"),
        ("intensity", "T1", "intensity takes its thresholds .* ixi, the first .* or say --train none"),
    ],
)
def test_a_healthy_partner_that_is_not_here_is_said(
    runtime: Runtime, mslub: Path, method: str, contrast: str, complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        resolve_run(RunConfig(method=method, dataset="mslub", contrast=contrast), runtime)


def test_the_regime_does_not_depend_on_what_lies_on_the_disk(runtime: Runtime, mslub: Path) -> None:
    flair = RunConfig(method="intensity", dataset="mslub", contrast="FLAIR")
    assert resolve_run(flair, runtime).train is None
    for name in ("labelmaps", "camcan"):  # partners of the card that nobody has asked for
        (runtime.paths.data / name).mkdir()
    assert resolve_run(flair, runtime).train is None
    with pytest.raises(UserError, match="ixi, .*name another with --train .oasis1, camcan"):
        resolve_run(RunConfig(method="intensity", dataset="mslub", contrast="T1"), runtime)
    alone = resolve_run(RunConfig(method="intensity", dataset="mslub", contrast="T1", train="none"), runtime)
    assert alone.train is None
    assert alone.place.parts[1] == "none-to-mslub"
    assert resolve_run(RunConfig(method="intensity", dataset="mslub", contrast="T1c"), runtime).train is None
    with pytest.raises(UserError, match="ae must be trained: name a healthy data set"):
        resolve_run(RunConfig(method="ae", dataset="mslub", contrast="T1", train="none"), runtime)


# ---- being killed ------------------------------------------------------------------------------


def _command(runtime: Runtime, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "uadbench", "run", "--method", "pca", "--dataset", "balls", "--preset", "ci",
        "--quiet", "--workers", "1", *more,
    ]  # fmt: skip


@pytest.mark.slow
def test_killed_at_ten_random_moments_a_rerun_gives_the_same_record(runtime: Runtime, tmp_path: Path) -> None:
    """Accept line 5 of the main job: kill -9 anywhere, run again, nothing lost, nothing twice."""
    undisturbed = tmp_path / "undisturbed"
    environment = os.environ | {
        "UADBENCH_RUNS": str(undisturbed / "runs"),
        "UADBENCH_RESULTS": str(undisturbed),
    }
    start = time.monotonic()
    subprocess.run(_command(runtime), env=environment, check=True, capture_output=True)
    duration = time.monotonic() - start
    moments = random.Random(0)

    for attempt in range(10):
        # A little further each time, so that every stage is hit although each rerun goes on.
        process = subprocess.Popen(_command(runtime), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(duration * (0.25 + 0.065 * attempt) * moments.uniform(0.8, 1.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(_command(runtime), check=True, capture_output=True)

    place = Path("uad-1-4mm/balls-to-balls/T1/pca/ci/seed-0.json")
    ours, theirs = (record.read_record(folder / place) for folder in (runtime.paths.results, undisturbed))
    assert content(ours) == content(theirs)
    assert len(record.read_records(runtime.paths.results)) == 1
    assert not list(runtime.paths.results.rglob("*.failed.json"))


@pytest.mark.usefixtures("finished")
def test_a_half_written_map_is_made_again(runtime: Runtime) -> None:
    first = run(CELL, runtime)
    victim = sorted(first.maps.iterdir())[0]
    whole = sha256(victim.read_bytes())
    victim.write_bytes(victim.read_bytes()[:1000])
    first.path.unlink()

    again = run(CELL, runtime)

    assert content(again.record) == content(first.record)
    assert sha256(victim.read_bytes()) == whole or victim.stat().st_size > 1000


@pytest.mark.usefixtures("finished")
def test_a_record_is_readable_json_with_sorted_keys_and_six_decimals(runtime: Runtime) -> None:
    text = run(CELL, runtime).path.read_text()

    assert json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n" == text
    numbers = [n for subject in json.loads(text)["subjects"] for n in subject["ap"].values()]
    assert all(round(n, 6) == n for n in numbers)
