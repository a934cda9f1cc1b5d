"""The sweeps that come with the project, and what earlier commands say of them."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from uadbench import methods
from uadbench.cards import method_card
from uadbench.cli import app
from uadbench.sweep.description import read_description
from uadbench.system.errors import UserError
from uadbench.system.paths import Paths

if TYPE_CHECKING:
    from tests.sweep.conftest import Arena

ROOT = Path(__file__).resolve().parents[2]
DAL_R = ROOT / "methods" / "dal_r" / "sweep.toml"
SHIPPED = ROOT / "results" / "sweeps"
in_a_checkout = pytest.mark.skipif(not SHIPPED.exists(), reason="only a checkout has the sweeps")


@in_a_checkout
def test_the_variants_of_dal_r_are_options_that_it_has() -> None:
    cells = read_description(DAL_R).cells()
    for cell in cells:
        methods.build(cell.method, "demo", cell.settings)
    variants = {repr(cell.settings) for cell in cells if cell.method == "dal_r" and cell.settings}
    assert len(variants) == 11
    assert {cell.train_contrasts for cell in cells} == {("T1", "T2")}
    assert {cell.contrast for cell in cells if cell.method == "atlas_z"} == {"T1", "T2"}
    assert {cell.contrast for cell in cells if not cell.settings} == {"T1", "T2", "FLAIR", "PD"}


@in_a_checkout
def test_every_learned_method_is_run_on_a_gpu_and_all_on_the_real_pairs() -> None:
    rows = set(methods.names())
    gpu = read_description(SHIPPED / "gpu.toml").cells()
    assert {cell.method for cell in gpu} == {name for name in rows if method_card(name).trained}
    assert {(cell.dataset, cell.preset) for cell in gpu} == {("phantom", "small")}
    real = read_description(SHIPPED / "samples.toml").cells()
    assert {cell.method for cell in real} == rows
    pairs = {(c.train, c.dataset, c.contrast, c.train_contrasts, c.protocol) for c in real}
    assert pairs == {
        ("ixi", "mslub", "T1", (), "uad-1-2mm"),
        ("ixi", "brats13", "T1c", ("T1",), "uad-1-2mm"),
        ("lgg", "lgg", "FLAIR", (), None),
        ("labelmaps", "mslub", "FLAIR", (), "uad-1-2mm"),
        ("labelmaps", "mslub", "T2", (), "uad-1-2mm"),
        ("labelmaps", "brats13", "FLAIR", (), "uad-1-2mm"),
    }


def test_earlier_commands_say_what_they_are_called_now(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"`uadbench sweep methods/dal_r/sweep.toml`, then `uadbench compare"):
        CliRunner().invoke(app, ["ablate", "dal_r", "--letter", "a"], catch_exceptions=False)
    asked = CliRunner().invoke(app, ["grid", "--help"])
    assert asked.exit_code == 0
    assert "`uadbench grid` is called `uadbench sweep` now." in asked.stderr
    assert "ablate" not in CliRunner().invoke(app, ["--help"]).output


def test_raw_folders_are_named_with_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UADBENCH_RUNS", str(tmp_path / "runs"))
    file = tmp_path / "sweep.toml"
    file.write_text('methods = ["random"]\ndatasets = ["mslub"]\n')
    command = ["sweep", str(file), "--dry-run", "--root", f"mslub={tmp_path}"]
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    assert Paths.default().root("mslub") == tmp_path
    with pytest.raises(UserError, match="there is none at"):
        CliRunner().invoke(app, [*command[:-1], "mslub=nowhere"], catch_exceptions=False)


@pytest.mark.thorough
def test_a_sweep_stops_when_its_time_is_over_and_the_same_command_goes_on(arena: "Arena") -> None:
    arena.describe(arena.file.read_text().replace("[0, 1, 2, 3]", "[0]"))
    arena.hold("fit-5 0")
    begun = time.monotonic()
    process = arena.start(str(arena.file), "--for-minutes", "0.5")
    printed, _ = process.communicate()
    arena.release("fit-5 0")

    assert process.returncode == 0, printed
    assert time.monotonic() - begun > 30
    assert "the same command resumes" in printed
    assert not arena.failures()
    again = arena.sweep()
    assert "again: tortoise" in again
    assert len(arena.records()) == 1
