"""Which records of a folder count: each once, at its own place; damaged ones are named, good ones shown."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from uadbench.cli import app
from uadbench.experiment import record
from uadbench.experiment.check_record import check_record
from uadbench.experiment.collect import collect_readable, collect_records
from uadbench.experiment.facts import Elsewhere
from uadbench.report.regress import committed_results

FOLDER = Path("uad-1-4mm/phantom-to-phantom/T1")


def leaderboard(results: Path, *options: str) -> Any:
    return CliRunner().invoke(app, ["leaderboard", "--preset", "ci", "--results", str(results), *options])


def rows(results: Path) -> dict[str, int]:
    """Seeds by method, as the leaderboard counts them."""
    told = leaderboard(results, "--format", "json", "--resamples", "0")
    return {row["method"]: row["seeds"] for row in json.loads(told.stdout)}


COUNTED = {"intensity": 1, "random": 2, "pca": 1}


@pytest.mark.parametrize("place", ["backup", "backup/uad-1-4mm", "old/results/uad-1-4mm"])
def test_a_copied_folder_adds_no_seed_and_is_named(results: Path, place: str) -> None:
    shutil.copytree(results / "uad-1-4mm", results / place)
    assert rows(results) == COUNTED
    told = leaderboard(results, "--resamples", "0")
    assert told.exit_code == 0  # nothing is wrong with a copy
    assert told.output.count(f"left out: {place.split('/')[0]}/") == 4


def test_maps_of_ours_that_come_back_from_elsewhere_do_not_take_the_place_of_our_record(
    results: Path,
) -> None:
    path = results / FOLDER / "random/ci/seed-0.json"
    made = record.read_record(path)
    guest = msgspec.structs.replace(
        made,
        method="aaa",  # before ours in every list
        variant=record.ELSEWHERE,
        elsewhere=Elsewhere(kind="maps", own_truth=False, maps_sha256="0" * 64),
    )
    place = results / guest.place
    place.parent.mkdir(parents=True)
    shutil.copy(path.with_suffix(".npz"), place.with_name(made.pieces.file))
    place.write_bytes(msgspec.json.encode(guest))
    found = collect_readable(results)
    assert path in [one.path for one in found.records]
    ((name, reason),) = found.copies
    assert "aaa" in name
    assert "random" in reason


def test_the_results_of_two_laboratories_merge_by_copying(results: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    for name, methods in (("labA", ("pca",)), ("labB", ("random", "intensity"))):
        for method in methods:
            shutil.copytree(results / FOLDER / method, both / name / FOLDER / method)
    assert rows(both) == COUNTED
    told = leaderboard(both)  # with pieces, which lie beside their records
    assert told.exit_code == 0
    assert "left out" not in told.output


def test_pipes_and_devices_are_named_and_nobody_waits_for_them(results: Path) -> None:
    folder = results / FOLDER / "pca" / "ci"
    os.mkfifo(folder / "seed-7.json")
    (folder / "seed-8.json").symlink_to("/dev/zero")
    pieces = next((results / FOLDER / "random").rglob("seed-0.npz"))
    pieces.unlink()
    os.mkfifo(pieces)
    told = leaderboard(results, "--resamples", "0")
    assert told.exit_code == 1
    assert told.output.count("left out: ") == 3
    assert told.output.count("it is a pipe or a device, not a file") == 2
    assert rows(results) == COUNTED | {"random": 1}


def test_a_record_at_another_place_is_named(results: Path) -> None:
    shutil.move(results / FOLDER / "pca", results / FOLDER / "vae")
    told = leaderboard(results, "--resamples", "0")
    assert told.exit_code == 1
    assert "its facts say another place" in told.output
    assert "intensity" in told.output


def test_every_bad_record_is_named_and_the_good_ones_are_shown(results: Path) -> None:
    good = (results / FOLDER / "pca/ci/seed-0.json").read_bytes()
    contents = [b"", b"[]", b"{}", b"null", b"\xff\xfe", good[:-40], b'{"schema": 1}', b"[" * 100_000]
    for number, content in enumerate(contents):
        (results / FOLDER / f"pca/ci/seed-{number + 10}.json").write_bytes(content)
    (results / FOLDER / "pca/ci/seed-30.json").mkdir()
    for format_ in ("table", "markdown", "csv"):
        told = leaderboard(results, "--resamples", "0", "--format", format_)
        assert told.exit_code == 1
        for number in [*range(len(contents)), 20]:
            assert told.output.count(f"left out: {FOLDER}/pca/ci/seed-{number + 10}.json: ") == 1
        for method in COUNTED:
            assert method in told.stdout
    found = {place.split("/")[-1]: reason for place, reason in collect_records(results).bad}
    assert "the file is empty" in found["seed-10.json"]
    assert "has schema 1, expected 2: run it again" in found["seed-16.json"]


def test_damaged_failures_are_named_and_no_traceback(results: Path) -> None:
    contents = (b"", b"[]", b"{}", b'{"reason": 3}', b"\xff", b'{"reason": "out of\\nmemory \\u001b[31m"}')
    for number, content in enumerate(contents):
        (results / FOLDER / f"pca/ci/seed-{number + 10}.failed.json").write_bytes(content)
    told = leaderboard(results, "--resamples", "0")
    assert told.exit_code == 0
    assert told.output.count("\nfailed: ") == len(contents)
    assert "the file is damaged" in told.output
    assert "out of\\nmemory \\x1b[31m" in told.output
    assert "\x1b[31m" not in told.output


def test_a_forged_figure_is_not_ranked_first(results: Path) -> None:
    """The smallest forgery: one number in the JSON."""
    path = results / FOLDER / "random/ci/seed-0.json"
    content = json.loads(path.read_text())
    content["summary"]["profiles"][content["headline"]]["ap"] = 0.95
    path.write_text(json.dumps(content))
    told = leaderboard(results)
    assert told.exit_code == 1
    assert "0.95" not in told.output.split("left out")[0]
    assert "seed-0.json: not shown: " in told.output
    assert rows(results) == COUNTED | {"random": 1}


def test_three_thousand_records_are_read_in_a_few_seconds(results: Path, tmp_path: Path) -> None:
    path = results / FOLDER / "random/ci/seed-0.json"
    made = record.read_record(path)
    for seed in range(300):
        place = tmp_path / "many" / FOLDER / f"random/ci/seed-{seed}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path.with_suffix(".npz"), place.with_name(made.pieces.file))
        place.write_bytes(msgspec.json.encode(msgspec.structs.replace(made, seed=seed)))
    start = time.process_time()
    found = collect_readable(tmp_path / "many")
    taken = time.process_time() - start
    assert len(found.records) + len(found.copies) == 300
    assert taken < 3.0, taken  # a tenth of 3,000; measured: 0.4 s


def test_regress_takes_no_results_that_happen_to_lie_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    assert committed_results().resolve() != (tmp_path / "results").resolve()


def test_compare_says_in_one_sentence_what_came(tmp_path: Path) -> None:
    for name, content in (("a", None), ("b", ""), ("c", "[]"), ("d", '{"schema": 1}')):
        file = tmp_path / name
        if content is not None:
            file.write_text(content)
        told = CliRunner().invoke(app, ["compare", str(file), str(file)])
        said = str(told.exception)
        assert str(file) in said
        assert "Errno" not in said
        assert said.count(".\n") == 0


def test_presets_that_set_the_same_are_rows_of_their_own(results: Path) -> None:
    """A baseline works on the evaluation grid whatever the preset: its records of two presets are equal."""
    (path,) = results.glob("*/*/*/intensity/ci/seed-0.json")
    other = path.parents[1] / "demo" / path.name
    other.parent.mkdir()
    content = json.loads(path.read_text()) | {"preset": "demo", "variant": "demo"}
    other.write_text(json.dumps(content))
    shutil.copy(path.with_suffix(".npz"), other.with_suffix(".npz"))

    found = collect_records(results)
    assert {one.record.preset for one in found.records if one.record.method == "intensity"} == {"ci", "demo"}
    assert not found.copies
    assert check_record(other).wrong == []
