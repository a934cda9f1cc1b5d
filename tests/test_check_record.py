"""Records are consistent as they are made; what is no record is a mistake; what is remarkable is said."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from uadbench.cli import app
from uadbench.experiment import record
from uadbench.experiment.check_record import CANNOT_SEE, check_record, check_records
from uadbench.experiment.facts import round_facts
from uadbench.system.errors import UserError

RESULTS = Path(__file__).parent.parent / "results"
FOLDER = Path("uad-1-4mm/phantom-to-phantom/T1")


def test_every_record_that_is_made_is_consistent(made_results: Path) -> None:
    paths = record.paths_of_records(made_results)
    assert len(paths) == 4
    for path in paths:
        assert check_record(path).wrong == []


def test_pieces_of_another_record_are_refused(results: Path) -> None:
    path = results / FOLDER / "pca/ci/seed-0.json"
    shutil.copy(results / FOLDER / "random/ci/seed-0.npz", path.with_suffix(".npz"))
    with pytest.raises(UserError, match="are not those of"):
        check_record(path)


def test_what_is_no_record_is_that_files_fault_alone(results: Path, tmp_path: Path) -> None:
    bad, good = tmp_path / "seed-0.json", results / FOLDER / "pca/ci/seed-0.json"
    bad.write_text("{}")
    with pytest.raises(UserError, match="is no record of schema 2"):
        check_record(bad)
    found = check_records([bad, good])
    assert [bool(one.wrong) for one in found.values()] == [True, False]
    told = CliRunner().invoke(app, ["check-record", str(bad), str(good)])
    assert told.exit_code == 1
    assert "1 of 2 records refused" in told.output


def test_what_cannot_be_seen_is_in_the_output(results: Path) -> None:
    told = CliRunner().invoke(app, ["check-record", str(results / FOLDER / "pca/ci/seed-0.json")])
    assert told.exit_code == 0
    assert all(line in told.output for line in CANNOT_SEE)


def test_equal_pieces_of_another_seed_are_remarked(results: Path) -> None:
    """Where the method knows no chance, another seed gives the same pieces: honest, and worth nothing."""
    path = results / FOLDER / "intensity/ci/seed-0.json"
    other = path.with_name("seed-1.json")
    shutil.copy(path.with_suffix(".npz"), other.with_suffix(".npz"))
    content = json.loads(path.read_text())
    content |= {"seed": 1, "score_hash": "b" * 64, "pieces": {**content["pieces"], "file": "seed-1.npz"}}
    content["timing"]["score"]["seconds"] += 1
    other.write_text(json.dumps(content))
    found = check_record(other)
    assert found.wrong == []
    assert any("it counts once" in remark for remark in found.remarks)


@pytest.mark.thorough
def test_every_committed_record_is_consistent() -> None:
    # What is tested on a folder of the user's is checked where its card is: there is none in a checkout.
    paths = [path for path in record.paths_of_records(RESULTS) if "-to-own_" not in str(path)]
    assert paths
    for path in paths:
        assert check_record(path).wrong == [], path


def test_an_option_is_recorded_as_it_was_set_however_small() -> None:
    """1e-8 became 0, which no preset says: the record was refused."""
    rounded = round_facts({"parameters": {"weight": 1.23e-8, "steps": 3, "kind": "l1"}, "ap": 1.23e-8})
    assert rounded == {"parameters": {"weight": 1.23e-8, "steps": 3, "kind": "l1"}, "ap": 0.0}
