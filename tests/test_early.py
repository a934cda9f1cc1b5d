"""What can be known to be wrong is said at once, in one sentence; and nothing printed stumbles."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from uadbench import catalog, methods
from uadbench.cli import app
from uadbench.experiment import config
from uadbench.experiment.config import RunConfig, Runtime, resolve_run
from uadbench.sweep.run_sweep import Wish
from uadbench.system.environment import resolve_device
from uadbench.system.errors import UserError, unknown
from uadbench.system.paths import Paths

CELL = RunConfig(method="vae", dataset="balls", preset="ci")


# ---- early -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"precision": "fp16"}, "no precision 'fp16'; did you mean 'bf16'. Available: float32, bf16"),
        ({"seed": -1}, "seed expects a whole number from 0 to 4294967295, got -1"),
        ({"seed": 2**32}, "seed expects a whole number from 0 to 4294967295, got 4294967296"),
        ({"limit": 0}, "limit expects a whole number from 1"),
        ({"split": "hsah"}, "no split 'hsah'; did you mean 'hash'"),
        ({"preset": "dmo"}, "no preset 'dmo'; did you mean 'demo'"),
        (
            {"settings": {"steps": "0"}},
            "steps of vae expects a whole number from 1 up to 100,000,000, got 0",
        ),
        ({"settings": {"latent_dim": "-3"}}, "latent_dim of vae expects a whole number from 1 up to 16,384"),
        (
            {"settings": {"learning_rate": "nan"}},
            "learning_rate of vae expects a number above 0 up to 1, got nan",
        ),
        ({"settings": {"score_kind": "L1"}}, "no score_kind 'L1' of vae; did you mean 'l1'"),
        ({"settings": {"latent_dim": "1" * 400}}, "latent_dim of vae expects"),
        ({"method": "ddpm", "settings": {"groups": "7"}}, "ddpm cannot be made with groups=7: .*multiple"),
        ({"method": "dae", "settings": {"width": "33"}}, "dae cannot be made with width=33: .*divisible"),
        ({"contrast": "flair"}, "no contrast 'flair' of balls"),
    ],
)
def test_a_mistake_is_told_before_any_data_set_is_looked_for(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], said: str
) -> None:
    def looked_for(*_: object) -> None:
        raise AssertionError("work has begun")

    monkeypatch.setattr(config, "find_dataset", looked_for)
    with pytest.raises(UserError, match=said):
        resolve_run(replace(CELL, **change), runtime)


def test_contrasts_are_found_in_any_case(runtime: Runtime) -> None:
    made = resolve_run(replace(CELL, contrast="t1", train_contrasts=("t1",)), runtime)
    assert (made.contrast, made.train_contrasts) == ("T1", ("T1",))
    assert made.place == resolve_run(CELL, runtime).place
    with pytest.raises(UserError, match="no contrast 'T9' of balls"):
        resolve_run(replace(CELL, train_contrasts=("T9",)), runtime)


def test_options_that_go_together_are_taken() -> None:
    assert methods.parameters(methods.build("ddpm", "ci", {"width": "32", "groups": "16"}))["groups"] == 16
    assert methods.parameters(methods.build("pca", "ci", {"slab_mm": "20"}))["slab_mm"] == 20.0


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cuda:x", "cpu:0", "", "CPU"])
def test_a_device_that_is_not_there_is_told(device: str) -> None:
    with pytest.raises(UserError, match="There is no device"):
        resolve_device(device)


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), float("inf")])
def test_a_timeout_is_a_time(minutes: float) -> None:
    with pytest.raises(UserError, match="--timeout expects 0 to 1,000,000 minutes"):
        Wish(timeout_minutes=minutes)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "-m", "pca", "-d", "mslub", "--seed=-1"],
        ["run", "-m", "pca", "-d", "mslub", "--seed=4294967296"],
        ["run", "-m", "pca", "-d", "mslub", "--limit=0"],
        ["run", "-m", "pca", "-d", "mslub", "--workers=-1"],
        ["fixture", "mslub", "--out", "x", "--subjects=0"],
        ["grid", "x.toml", "--jobs=0"],
    ],
)
def test_numbers_beyond_their_range_are_refused(words: list[str]) -> None:
    assert CliRunner().invoke(app, words).exit_code == 2


def test_an_unknown_name_names_the_nearest_in_any_case() -> None:
    assert str(unknown("contrast", "flair", ["T1", "FLAIR"], of="x")) == (
        "There is no contrast 'flair' of x; did you mean 'FLAIR'? Available: T1, FLAIR."
    )
    assert str(unknown("grid", "g\x07" + "9" * 99, [])) == (
        "There is no grid 'g\\x07" + "9" * 55 + "'. Available: none."
    )


# ---- places ------------------------------------------------------------------------------------


def test_places_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("UADBENCH_RUNS", "~/my runs")
    monkeypatch.setenv("UADBENCH_RESULTS", "")
    monkeypatch.setenv("UADBENCH_DATA", " ")
    paths = Paths.default()
    assert (paths.runs, paths.cache) == (tmp_path / "my runs", tmp_path / "my runs" / "cache")
    assert (paths.results, paths.data) == (Path("results"), Path("data"))
    monkeypatch.setenv(catalog.PLUGINS_VARIABLE, os.pathsep.join(["~/mine", "", "/yours"]))
    assert catalog.plugins() == [tmp_path / "mine", Path("/yours")]


# ---- streams -----------------------------------------------------------------------------------


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = line.replace("uadbench", f"'{sys.executable}' -m uadbench")
    surroundings = os.environ | environment
    return subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        env=surroundings,
        check=False,
        encoding="utf-8",
        errors="replace",
    )


@pytest.mark.parametrize("line", ["uadbench methods >&-", "uadbench methods vae >&- 2>&- <&-"])
def test_a_closed_output_is_quiet(line: str) -> None:
    done = shell(line)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_mistake_keeps_its_code_where_nothing_can_be_said() -> None:
    assert shell("uadbench methods vea >&- 2>&-").returncode == 2


def test_a_reader_who_leaves_is_no_mistake() -> None:
    done = shell("uadbench methods vae | head -n 1")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_an_output_that_is_full_is_one_sentence() -> None:
    done = shell("uadbench methods vae > /dev/full")
    assert done.returncode == 2
    assert done.stderr.startswith("uadbench: ")
    assert "No space left" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_signs_that_the_output_cannot_show_are_replaced(encoding: str) -> None:
    done = shell("uadbench methods ddpm_onestep; uadbench methods 'vae\N{BRAIN}'", PYTHONIOENCODING=encoding)
    assert "DDPM" in done.stdout
    assert "Kr?ger" in done.stdout if encoding == "ascii" else "Kr\ufffdger" in done.stdout
    assert "Traceback" not in done.stderr
    assert "There is no method 'vae" in done.stderr  # click writes UTF-8 where it is told ASCII


def test_control_characters_of_a_name_are_not_passed_on_to_the_terminal() -> None:
    assert "\x1b" not in shell("uadbench methods $'v\\x1b[31m'").stderr
