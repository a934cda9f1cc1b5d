"""The whole matrix: every data set from its files to the leaderboard, by the commands that a user types."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from uadbench import testing
from uadbench.cards import dataset_card
from uadbench.cli import app
from uadbench.experiment import record
from uadbench.experiment.config import Runtime
from uadbench.protocol import protocol

SUBJECTS = 4
COARSE = {"uad-1": "uad-1-4mm"}  # the same steps on fewer voxels


def uadbench(*arguments: str) -> str:
    """What a command prints; it must end with exit code 0."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, f"uadbench {' '.join(arguments)}: {done.output} {done.exception!r}"
    return done.stdout


@pytest.mark.slow
def test_every_data_set_goes_from_its_files_to_the_leaderboard(runtime: Runtime, tmp_path: Path) -> None:
    """fixture, verify, prepare for all; run and leaderboard for those with lesions; nothing is downloaded."""
    for name in testing.fixture_names():
        protocol_id = COARSE.get(dataset_card(name).protocol, dataset_card(name).protocol)
        root, report = tmp_path / "downloads" / name, tmp_path / f"{name}.json"
        uadbench("fixture", name, "--out", str(root), "--subjects", str(SUBJECTS))
        quiet = ["--quiet", "--workers", "1"]
        said = uadbench("verify", name, "--root", str(root), "--report", str(report), *quiet)
        assert "something is wrong" not in said
        assert json.loads(report.read_text())["persons"] == SUBJECTS
        rules = protocol(protocol_id)
        said = uadbench("prepare", name, *([] if rules.flat else ["--grid", rules.grid.name]), *quiet)
        assert "failed: " not in said
        assert (runtime.paths.runs / "splits" / f"{name}.csv").is_file()
    tested = [name for name in testing.fixture_names() if dataset_card(name).role != "healthy"]
    for name in tested:
        protocol_id = COARSE.get(dataset_card(name).protocol, dataset_card(name).protocol)
        wanted = ["--method", "intensity", "--dataset", name, "--protocol", protocol_id, "--preset", "ci"]
        uadbench("run", *wanted, *quiet)

    made = {one.test: one for one in record.read_records(runtime.paths.results)}
    assert sorted(made) == tested
    for one in made.values():
        assert one.regime == "phantom"  # nobody was scanned
        assert one.summary.subjects["lesion-test"] == one.splits["lesion-test"].subjects > 0
        assert one.excluded == []
    rows = json.loads(uadbench("leaderboard", "--preset", "ci", "--format", "json"))
    assert sorted(row["test"] for row in rows) == tested
