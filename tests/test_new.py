"""New: what is written works before its first change, and nothing is ever written over."""

import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from uadbench import catalog, scaffold
from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.cli import app
from uadbench.experiment import record
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.run import run
from uadbench.system.errors import UserError

FILES = {"methods": {"card.toml", "method.py"}, "datasets": {"card.toml", "dataset.py", "fixture.py"}}
KINDS = pytest.mark.parametrize("kind", FILES)


def uadbench(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    return done.stdout


@KINDS
def test_a_template_is_whole_and_keeps_nothing_of_its_own_name(kind: str, tmp_path: Path) -> None:
    target = scaffold.write_template(kind, "mine", tmp_path)

    assert target == tmp_path / kind / "mine"
    assert {file.name for file in target.iterdir()} == FILES[kind]
    for file in target.iterdir():
        assert scaffold.PLACEHOLDERS[kind] not in file.read_text()
        assert "mine" in file.read_text()


@pytest.mark.thorough
def test_what_is_written_keeps_the_contracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scaffold.write_template("methods", "new_method_here", tmp_path)
    scaffold.write_template("datasets", "new_dataset_here", tmp_path)
    monkeypatch.setenv(PLUGINS_VARIABLE, str(tmp_path))

    for command, checks in (("check-method new_method_here", 17), ("check-dataset new_dataset_here", 5)):
        lines = uadbench(*command.split()).splitlines()
        assert [line for line in lines if not line.startswith("passed: ")] == []
        assert len(lines) == checks


@pytest.mark.thorough
def test_a_new_method_learns_scores_and_has_a_record(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaffold.write_template("methods", "mine", tmp_path / "plugins")
    monkeypatch.setenv(
        PLUGINS_VARIABLE, os.pathsep.join([os.environ[PLUGINS_VARIABLE], str(tmp_path / "plugins")])
    )
    config = RunConfig(method="mine", dataset="balls", preset="ci")
    ours = run(config, runtime).record
    chance = run(RunConfig(method="random", dataset="balls", preset="ci"), runtime).record

    assert (ours.summary.profiles["raw"].ap or 0) > 2 * (chance.summary.profiles["raw"].ap or 1)
    assert len(record.read_records(runtime.paths.results)) == 2

    code = tmp_path / "plugins/methods/mine/method.py"
    text = re.sub("#.*", "# another remark", code.read_text())
    code.write_text(text.replace('"""Restored slices', '"""Slices, restored').replace("\n\n\n", "\n\n\n\n"))
    assert run(config, runtime).reused  # without --force


def test_what_to_type_next_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = uadbench("new", "dataset", "mine", "--folder", str(tmp_path))
    for step in ("fixture mine", "verify mine", "run --method", "check-dataset mine"):
        assert step in printed
    assert f"export {PLUGINS_VARIABLE}={tmp_path}\n" in printed

    monkeypatch.setenv(PLUGINS_VARIABLE, str(tmp_path))
    assert "export" not in uadbench("new", "method", "mine")
    assert (tmp_path / "methods/mine/method.py").is_file()


def test_without_a_folder_it_is_that_of_the_user_then_the_checkout_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PLUGINS_VARIABLE, raising=False)
    monkeypatch.setattr(catalog, "checkout", lambda: None)
    assert scaffold.find_folder() == Path()
    monkeypatch.setattr(catalog, "checkout", lambda: tmp_path)
    assert scaffold.find_folder() == tmp_path
    monkeypatch.setenv(PLUGINS_VARIABLE, os.pathsep.join(["/first", "/last"]))
    assert scaffold.find_folder() == Path("/last")


@pytest.mark.parametrize("name", ["Mine", "my-method", "2d", "class", "a b", "../up", ""])
def test_a_name_that_no_module_can_have_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it needs lower-case letters"):
        scaffold.write_template("methods", name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_written_over(tmp_path: Path) -> None:
    for kind, name in (("methods", "vae"), ("methods", "vae_restoration"), ("datasets", "ixi")):
        with pytest.raises(UserError, match=rf"There is a \w+ '{name}' already"):
            scaffold.write_template(kind, name, tmp_path)
    scaffold.write_template("methods", "ixi", tmp_path)  # a method may be called as a data set is
    card = tmp_path / "methods/ixi/card.toml"
    card.write_text("changed")
    with pytest.raises(UserError, match="is there already"):
        scaffold.write_template("methods", "ixi", tmp_path)
    assert card.read_text() == "changed"
