"""The commands as a user types them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from uadbench.cli import app
from uadbench.experiment.config import Runtime
from uadbench.experiment.run import Outcome
from uadbench.preprocessing import intensities

PLUGINS = Path(__file__).parent / "plugins"


def uadbench(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own and check its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "uadbench", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def done(finished: Outcome) -> Path:
    """A record that is there."""
    return finished.path


def test_help_does_not_import_torch_or_anything_heavy() -> None:
    heavy = "{'torch', 'monai', 'numpy', 'pandas', 'rich.table'}"
    code = "import sys; sys.argv = ['uadbench', '--help']; from uadbench.cli import main\n" + (
        f"try: main()\nexcept SystemExit: pass\nprint(sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "leaderboard" in finished.stdout
    assert finished.stderr.strip() == "[]"


def test_a_users_mistake_is_one_sentence_and_exit_code_2() -> None:
    finished = uadbench("run", "--method", "vea", "--dataset", "phantom", code=2)

    assert finished.stderr.startswith(
        "uadbench: There is no method 'vea'; did you mean 'vae'? Available: ae,"
    )
    assert len(finished.stderr.splitlines()) == 1


@pytest.mark.thorough
def test_a_method_and_a_data_set_from_outside_are_listed_and_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("data", "runs", "results"):
        monkeypatch.setenv(f"UADBENCH_{name.upper()}", str(tmp_path / name))

    assert "brightness" in uadbench("methods", "--plugins", str(PLUGINS)).stdout
    assert "balls" in uadbench("--plugins", str(PLUGINS), "datasets").stdout
    finished = uadbench(
        "run", "-m", "brightness", "-m", "random", "-d", "balls", "--preset", "ci", "--quiet",
        "--plugins", str(PLUGINS),
    )  # fmt: skip

    assert "brightness" in finished.stdout
    assert len(list((tmp_path / "results").rglob("seed-0.json"))) == 2
    assert list((tmp_path / "runs").rglob("precision_recall.png"))


@pytest.mark.thorough
def test_one_failed_cell_does_not_keep_the_others_from_running(
    tmp_path: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "mine" / "methods" / "broken"
    broken.mkdir(parents=True)
    source = PLUGINS / "methods" / "brightness"
    (broken / "card.toml").write_text((source / "card.toml").read_text())
    (broken / "method.py").write_text(
        (source / "method.py").read_text().replace("return Score(", "raise OSError('no'); return Score(")
    )
    monkeypatch.setenv("UADBENCH_PLUGINS", os.pathsep.join([str(PLUGINS), str(tmp_path / "mine")]))

    finished = uadbench(
        "run", "-m", "broken", "-m", "brightness", "-d", "balls", "--preset", "ci", "--quiet", code=1
    )

    assert "broken on balls failed and is recorded as failed: OSError: no" in finished.stderr
    assert len(list(runtime.paths.results.rglob("seed-0.json"))) == 1
    assert "failed" in uadbench("leaderboard", "--preset", "ci").stdout


def test_plugins_without_methods_or_datasets_are_a_mistake(tmp_path: Path) -> None:
    assert "has neither" in uadbench("methods", "--plugins", str(tmp_path), code=2).stderr


@pytest.mark.parametrize("name", ["markdown", "csv", "json", "table"])
def test_every_format_is_written_to_a_file(done: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "board"
    uadbench("leaderboard", "--preset", "ci", "--format", name, "--output", str(target))

    assert "brightness" in target.read_text()


def test_no_record_is_a_mistake_with_the_way_out(runtime: Runtime) -> None:
    said = uadbench("leaderboard", code=2).stderr
    assert f"There are no records in {runtime.paths.results.absolute()}: `uadbench run --method" in said


def test_a_filter_that_hides_all_records_is_named(done: Path, runtime: Runtime) -> None:
    said = uadbench("leaderboard", code=2).stderr
    assert f"None of the 1 records in {runtime.paths.results.absolute()} fits the default, every" in said
    assert "but ci (--preset ci shows those). Available: balls T1 preset ci (1)." in said
    said = uadbench("leaderboard", "--preset", "ci", "--dataset", "lgg", code=2).stderr
    assert "fits --dataset lgg and --preset ci. Available: balls T1 preset ci (1)." in said


@pytest.mark.thorough
def test_a_dry_run_counts_preparation_and_runs_nothing(runtime: Runtime) -> None:
    said = uadbench("run", "-m", "brightness", "-d", "balls", "--preset", "ci", "--dry-run").stdout
    assert re.search(r"prepare balls T1: \d+ scans +up to \d+ s", said)
    assert re.search(
        r"brightness ci on balls T1 seed 0 +waiting +up to 5 min .* preset ci, not measured", said
    )
    assert "1 jobs: 1 waiting" in said
    assert not list(runtime.paths.results.rglob("*.json"))
    unknown = uadbench("run", "-m", "vea", "-d", "balls", "--dry-run", code=2).stderr
    assert "There is no method 'vea'" in unknown


@pytest.mark.thorough
def test_scores_are_recomputed_from_the_path_of_a_record(done: Path) -> None:
    before = json.loads(done.read_text())["summary"]

    uadbench("evaluate", str(done), "--quiet")

    assert json.loads(done.read_text())["summary"] == before
    assert "is called `uadbench evaluate` now" in uadbench("score", str(done), "--quiet").stderr
    assert "\n  score " not in uadbench("--help").stdout


@pytest.mark.thorough
def test_verify_and_prepare_report_what_is_there(runtime: Runtime, tmp_path: Path) -> None:
    report = tmp_path / "report.json"

    assert "nothing is wrong" in uadbench("verify", "balls", "--report", str(report), "--quiet").stdout
    assert json.loads(report.read_text())
    assert "lesion-test" in uadbench("prepare", "balls", "--quiet").stdout


@pytest.mark.thorough
def test_prepare_says_how_brains_were_found_and_keeps_what_was_prepared_otherwise(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "own mask 24" in uadbench("prepare", "balls", "--quiet").stdout
    assert "no extractor 'bet'" in uadbench("prepare", "balls", "--extractor", "bet", code=2).stderr
    monkeypatch.setattr(intensities, "correct_bias", lambda image, _: image)  # N4 takes its seconds
    done = CliRunner().invoke(app, ["prepare", "balls", "--n4", "--quiet", "--workers", "1"])
    assert done.exit_code == 0
    names = {path.name for path in (runtime.paths.runs / "quality").iterdir()}
    assert names == {"balls-T1-g48.png", "balls-T1-g48-n4.png"}
    assert (runtime.paths.runs / "splits" / "balls.csv").is_file()


def test_a_root_that_is_no_folder_is_a_mistake(runtime: Runtime) -> None:
    assert "expects a folder" in uadbench("prepare", "balls", "--root", "/no/such/folder", code=2).stderr


def test_every_card_can_be_shown(runtime: Runtime) -> None:
    assert "differences from the paper" in uadbench("methods", "vae").stdout
    assert "get it at" in uadbench("datasets", "ixi").stdout


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_table_of_data_sets_is_complete_on_every_screen(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    (tmp_path / "ixi").mkdir()
    for person in ("IXI002-Guys-0828", "IXI012-HH-1211"):
        (tmp_path / "ixi" / f"{person}-T1.nii.gz").touch()
    runtime.paths.remember_root("ixi", tmp_path / "ixi")
    (runtime.paths.data / "camcan").mkdir(parents=True)
    monkeypatch.setenv("COLUMNS", str(width))

    lines = uadbench("datasets").stdout.splitlines()

    assert lines[0].split() == ["data", "set", "role", "contrasts", "expected", "found", "access", "licence"]
    assert max(map(len, lines)) <= width
    rows = {line.split()[0]: line.split() for line in lines if line[0] not in " "}
    assert rows["ixi"][1:9] == ["healthy", "T1", "T2", "PD", "578-581", "2", "open", "CC"]
    assert "unusable" in rows["camcan"]
    assert "registration" in rows["oasis1"]
    assert {"brats21", "mslub", "balls"} <= set(rows)


def test_the_table_of_data_sets_comes_at_once(runtime: Runtime) -> None:
    heavy = "{'torch', 'monai', 'sklearn', 'skimage', 'SimpleITK', 'pandas', 'matplotlib'}"
    code = (
        "import sys; sys.argv = ['uadbench', 'datasets']; from uadbench.cli import main\n"
        f"try: main()\nexcept SystemExit: pass\nprint(sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert finished.stderr.strip() == "[]"


def test_doctor_names_versions_device_and_data(runtime: Runtime) -> None:
    printed = uadbench("doctor").stdout

    for word in ("torch", "device", "memory", "data set phantom"):
        assert word in printed
