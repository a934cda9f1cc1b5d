"""A model travels: exported, it gives elsewhere the very maps of its run, a scan or a folder of them."""

import csv
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

import uadbench
from uadbench import source
from uadbench.cards import dataset_card
from uadbench.cli import app
from uadbench.data.space import resample
from uadbench.evaluation import maps
from uadbench.experiment.config import Runtime
from uadbench.experiment.model import load_model
from uadbench.experiment.record import parse_record
from uadbench.experiment.run import Outcome
from uadbench.experiment.work import Work
from uadbench.system.errors import UserError

KNOWN = {"stripped": True, "space": "MNI152"}  # of the toys

pytestmark = pytest.mark.usefixtures("plugins")


def predict(model: Path, scan: Path, out: Path, runtime: Runtime, **asked: Any) -> Any:
    """A prediction, or those of a folder."""
    return uadbench.predict(model, scan, out, runtime=runtime, **asked)


def members_of(path: Path) -> dict[str, bytes]:
    """The members of a model file."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


# ---- the same answer ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["intensity", "random", "pca", "vae", "dal_r"])
def test_a_model_gives_the_maps_of_its_run_to_the_bit_where_nothing_else_is(
    method: str, made: dict[str, Outcome], exported: Path, home: Runtime, away: Runtime, patients: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    uadbench.export_maps(made[method].path, tmp_path / "maps", partitions=["lesion-test"], runtime=home)
    first = min((patients / "scans").iterdir()).name
    asked = {"brain_mask": patients / "masks", "match": first, **KNOWN}
    seen = predict(exported / f"{method}.zip", patients / "scans", tmp_path / "out", away, **asked)
    assert (len(seen.done), seen.failures) == (1, {})
    assert not away.paths.data.exists()
    assert not away.paths.results.exists()
    for name in seen.done:
        there = tmp_path / "out" / name
        of_run = tmp_path / f"maps/lesion-test/{name}.nii.gz"
        assert (there / "score_map.nii.gz").read_bytes() == of_run.read_bytes()
        restored = tmp_path / f"maps/pseudo_healthy/lesion-test/{name}.nii.gz"
        assert restored.exists() == (there / "pseudo_healthy.nii.gz").exists()
        if restored.exists():
            assert (there / "pseudo_healthy.nii.gz").read_bytes() == restored.read_bytes()
        scores = nibabel.load(of_run).get_fdata()
        outside = nibabel.load(patients / f"masks/{name}.nii").get_fdata() == 0
        assert not scores[outside].any()
        assert scores.std() > 0


@pytest.mark.parametrize("method", ["pca", "dal_r"])
def test_the_map_on_the_model_grid_is_the_stored_one(
    method: str, made: dict[str, Outcome], exported: Path, home: Runtime, away: Runtime
) -> None:
    work = Work.of(_resolved(made[method], home), home)
    (patient, *_) = work.cohort.model["lesion-test"]
    stored = maps.read_map(work.map_file(patient))
    answer = load_model(exported / f"{method}.zip", away).score(patient)
    np.testing.assert_array_equal(answer.score_map, stored.score_map)
    np.testing.assert_array_equal(answer.pseudo_healthy, stored.pseudo_healthy)


def _resolved(outcome: Outcome, home: Runtime):  # type: ignore[no-untyped-def]
    from uadbench.experiment.config import RunConfig, resolve_run

    return resolve_run(RunConfig.of(outcome.record), home)


def test_a_record_and_its_model_say_the_same(
    made: dict[str, Outcome], exported: Path, home: Runtime, patients: Path, tmp_path: Path
) -> None:
    scan = sorted((patients / "scans").iterdir())[0]
    mask = patients / "masks" / scan.name
    of_record, of_model = (
        predict(one, scan, tmp_path / str(n), home, brain_mask=mask, **KNOWN)
        for n, one in enumerate((made["pca"].path, exported / "pca.zip"))
    )
    assert of_record == of_model
    record = parse_record(made["pca"].path)
    threshold = record.thresholds[record.headline]["fpr1"]
    assert (of_model.operating_point, of_model.threshold) == ("fpr1", threshold)
    healthy = [s.scan_score for s in record.subjects if s.partition == "healthy-test"]
    assert of_model.healthy_percentile == 100 * sum(s < of_model.scan_score for s in healthy) / len(healthy)
    sick = next(s for s in record.subjects if s.id == scan.stem)
    assert of_model.scan_score == sick.scan_score


# ---- the file ----------------------------------------------------------------------------------


def test_a_model_file_has_the_same_bytes_each_time_and_names_no_subject(
    made: dict[str, Outcome], exported: Path, home: Runtime, tmp_path: Path
) -> None:
    uadbench.export(made["pca"].path, tmp_path / "again.zip", runtime=home)
    assert (tmp_path / "again.zip").read_bytes() == (exported / "pca.zip").read_bytes()
    members = members_of(exported / "pca.zip")
    assert sorted(members) == ["calibration.safetensors", "model.json", "state.safetensors"]
    assert sorted(members_of(exported / "vae.zip")) == ["model.json", "state.safetensors"]
    said = members["model.json"].decode()
    assert "ball-" not in said
    facts = json.loads(said)["model"]
    assert facts["code"] == source.hash_method_files("pca")
    assert facts["about"]["title"]
    assert [one["name"] for one in facts["sources"]] == ["balls"]
    assert facts["sources"][0]["licence"] == dataset_card("balls").licence
    assert len(facts["healthy_scores"]) == 3


def test_only_a_model_that_can_be_taken_up_again_is_written(
    made: dict[str, Outcome], home: Runtime, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"ends in \.zip, got .*model\.tar"):
        uadbench.export(made["intensity"].path, tmp_path / "model.tar", runtime=home)
    with pytest.raises(UserError, match="is a model file already"):
        uadbench.export(exported / "vae.zip", tmp_path / "two.zip", runtime=home)
    gone = replace(home, paths=replace(home.paths, runs=tmp_path / "none"))
    with pytest.raises(UserError, match="The fit .* is not under"):
        uadbench.export(made["vae"].path, tmp_path / "two.zip", runtime=gone)
    pca = uadbench.methods.load("pca")
    monkeypatch.setattr(pca, "calibration_state", lambda self: {})
    with pytest.raises(UserError, match="does not hand on what it found"):
        uadbench.export(made["pca"].path, tmp_path / "two.zip", runtime=home)
    assert list(tmp_path.iterdir()) == []


def test_other_code_is_said_and_a_method_that_is_not_here_is_asked_for(
    exported: Path, away: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_model(exported / "pca.zip", away).caveats == []
    real = source.hash_method_files
    monkeypatch.setattr(source, "hash_method_files", lambda folder: real(folder) | {"methods/x.py": "0" * 64})
    (caveat,) = load_model(exported / "pca.zip", away).caveats
    assert "with other code (methods/x.py)" in caveat


# ---- a folder of scans -------------------------------------------------------------------------


def test_a_bad_scan_is_named_the_others_go_on_and_what_is_done_is_not_done_again(
    exported: Path, away: Runtime, patients: Path, tmp_path: Path
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "scans" / "out"  # results among the scans are no scans
    masks = tmp_path / "masks"
    shutil.copytree(patients / "scans", scans / "a")
    shutil.copytree(patients / "masks", masks / "a")
    first, second, third = sorted((scans / "a").iterdir())
    last, mask = scans / "a/last.nii", masks / "a/last_mask.nii"
    shutil.copy(first, last)
    shutil.copy(masks / "a" / first.name, mask)
    (masks / "a" / third.name).unlink()
    second.write_bytes(second.read_bytes()[:3000])
    four = nibabel.Nifti1Image(np.zeros((9, 9, 9, 2), np.float32), np.eye(4))
    nibabel.save(four, scans / "four.nii.gz")
    shutil.copy(mask, masks / "four.nii")
    for twin in ("twin.nii", "twin.nii.gz"):
        shutil.copy(third, scans / twin)
    (scans / "gone.nii").symlink_to("nowhere.nii")
    (scans / "notes.txt").write_text("no scan")
    asked = {"brain_mask": str(masks), **KNOWN}
    seen = predict(exported / "pca.zip", scans, out, away, **asked)
    assert list(seen.done) == [f"a/{first.stem}", "a/last"]
    reasons = {
        f"a/{second.stem}": second.name,
        f"a/{third.stem}": f"no brain mask of a/{third.stem}",
        "four": "four.nii.gz has shape (9, 9, 9, 2)",
        "gone": "content is not here",
        "twin": "have one name",
    }
    assert set(seen.failures) == set(reasons)
    for name, words in reasons.items():
        assert words in seen.failures[name]
    with open(out / "predictions.csv", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert {name: row["status"] for name, row in rows.items()} == {
        name: "failed" if name in seen.failures else "done" for name in [*seen.done, *seen.failures]
    }
    assert [row["name"] for row in json.loads((out / "predictions.json").read_text())] == sorted(rows)

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    cut = out / "a/last/mask.nii.gz"
    cut.write_bytes(cut.read_bytes()[:40])
    (out / f"a/{first.stem}/picture.png").touch()
    again = predict(exported / "pca.zip", scans, out, away, **asked)
    assert again.done == seen.done
    assert again.earlier == 1
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    assert {path.parent.name for path in after if after[path] != before[path]} == {"last"}

    other = predict(exported / "pca.zip", scans, out, away, point="1.5", **asked)
    assert other.earlier == 0
    assert {one.operating_point for one in other.done.values()} == {"given"}


def test_what_is_asked_of_a_folder_is_checked_before_anything_is_done(
    exported: Path, away: Runtime, patients: Path, tmp_path: Path
) -> None:
    model, scans, out = exported / "pca.zip", patients / "scans", tmp_path / "out"
    (tmp_path / "empty").mkdir()
    for words, scan, asked in (
        ("has no volume", tmp_path / "empty", {}),
        (r"fits '\*_T2w.nii'", scans, {"match": "*_T2w.nii"}),
        ("--brain-mask expects a folder", scans, {"brain_mask": next((patients / "masks").iterdir())}),
        ("no space 'MNI'; did you mean 'MNI152'", scans, {"space": "MNI"}),
        ("--point expects one of fpr1", scans, {"point": "oracle"}),
    ):
        with pytest.raises(UserError, match=words):
            predict(model, scan, out, away, **asked)
    assert not out.exists()


def test_a_volume_that_a_later_prediction_does_not_make_is_removed(
    exported: Path, away: Runtime, patients: Path, tmp_path: Path
) -> None:
    scan = sorted((patients / "scans").iterdir())[0]
    asked = {"brain_mask": patients / "masks" / scan.name, **KNOWN}
    predict(exported / "pca.zip", scan, tmp_path, away, **asked)
    assert (tmp_path / "pseudo_healthy.nii.gz").exists()
    predict(exported / "intensity.zip", scan, tmp_path, away, **asked)
    assert not (tmp_path / "pseudo_healthy.nii.gz").exists()


def test_a_t1_beside_the_scan_is_for_other_contrasts(
    exported: Path, away: Runtime, patients: Path, tmp_path: Path
) -> None:
    scan = min((patients / "scans").iterdir())
    with pytest.raises(UserError, match="--t1 is for models of other contrasts"):
        predict(exported / "intensity.zip", scan, tmp_path / "out", away, t1=str(scan), **KNOWN)
    with pytest.raises(UserError, match="nowhere.nii cannot be read"):
        predict(exported / "intensity.zip", scan, tmp_path / "out", away, t1=tmp_path / "nowhere.nii")
    assert not (tmp_path / "out").exists()


def test_the_command_ends_with_1_where_a_scan_of_a_folder_failed(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/text.nii").write_text("no scan")
    arguments = ["predict", exported / "intensity.zip", tmp_path / "scans", "--out", tmp_path / "out", "-q"]
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    assert done.exit_code == 1
    assert "failed: text: " in done.output
    assert "failed" in (tmp_path / "out/predictions.csv").read_text()


# ---- maps of a run -----------------------------------------------------------------------------


def test_maps_on_the_grid_are_those_that_are_measured(
    made: dict[str, Outcome], home: Runtime, tmp_path: Path
) -> None:
    outcome = made["vae"]
    wrote = uadbench.export_maps(outcome.path, tmp_path, on_grid=True, runtime=home)
    assert wrote.counts == {"healthy-val": 3, "healthy-test": 3, "lesion-val": 3, "lesion-test": 3}
    cases = maps.read_scans(outcome.maps, outcome.record.data_fingerprint, home.paths.cache)
    for name, case in cases.items():
        image = nibabel.load(tmp_path / case.partition / f"{name}.nii.gz")
        grid, brain = case.prepared.grid, case.prepared.brain()
        expected = resample(maps.read_map(case.map_file).score_map, case.map_grid, grid) * brain
        np.testing.assert_array_equal(np.asarray(image.dataobj), expected)
        np.testing.assert_array_equal(image.affine, grid.affine)
        shown = nibabel.load(tmp_path / "brain" / case.partition / f"{name}.nii.gz")
        np.testing.assert_array_equal(np.asarray(shown.dataobj) > 0, brain)


def test_a_scan_whose_file_is_gone_is_named_and_unknown_partitions_are_refused(
    made: dict[str, Outcome], home: Runtime, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no partition 'test'"):
        uadbench.export_maps(made["pca"].path, tmp_path, partitions=["test"], runtime=home)
    file = next(iter(made["random"].maps.glob("*.safetensors")))
    kept = file.read_bytes()
    file.write_bytes(kept[:-100])
    with pytest.raises(UserError, match="The maps of .* are not under"):
        uadbench.export_maps(made["random"].path, tmp_path, runtime=home)
    file.write_bytes(kept)
    assert list(tmp_path.iterdir()) == []
