"""The README is executed: what it shows must work, and its table must be that of the records.

A comment above each block says what becomes of it: `test` and `slow` (its commands run, one after the
other, in an empty folder; Python after them), `not run: <reason>` (its commands must at least be
understood), or `file: <path>` (it shows that file), or `slurm: <part>` (followed on a real Slurm by
`tests/sweep/test_slurm.py`).
"""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

import uadbench
from uadbench.cli import app
from uadbench.experiment.collect import collect_records
from uadbench.report import evidence, formats, leaderboard

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
pytestmark = pytest.mark.skipif(not README.exists(), reason="only a checkout has the README")
TEXT = README.read_text() if README.exists() else ""
BLOCKS = re.findall(
    r"(?:<!-- ([^\n]*) -->\n)?```(\w*)\n(.*?)```", TEXT, re.DOTALL
)  # (fate, language, content)


def commands(fate: str) -> list[str]:
    """The shell lines of the blocks of one fate (a whole one, or that before the colon), without comments."""
    blocks = [text for said, kind, text in BLOCKS if kind == "sh" and fate in (said, said.split(":")[0])]
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]


def mentioned() -> list[str]:
    """The commands of the text between the blocks that are whole: without `...` and alternatives."""
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    found = [" ".join(words.split()) for words in re.findall(r"`(uadbench [^`]*)`", prose)]
    return [command.replace("<name>", "NAME") for command in found if "..." not in command]


def without_settings() -> dict[str, str]:
    """The environment of a user who has set nothing of this program."""
    return {key: value for key, value in os.environ.items() if not key.startswith("UADBENCH_")}


def run(line: str, folder: Path) -> None:
    """A command line of this program, as a user without settings types it."""
    program, *arguments = shlex.split(line)
    assert program == "uadbench"
    command = [sys.executable, "-m", "uadbench", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=without_settings(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_every_block_says_what_becomes_of_it() -> None:
    assert len(BLOCKS) == TEXT.count("```") // 2
    for fate, language, content in BLOCKS:
        if language == "sh":
            assert re.fullmatch(r"test|slow|slurm: \w+|not run: \w+ .+", fate), content
        elif (language, fate) != ("python", "slow"):
            kind, _, name = fate.partition(": ")
            assert kind == "file", content
            assert content == (ROOT / name).read_text(), name


def test_commands_that_are_quick_work(tmp_path: Path) -> None:
    assert commands("test")
    for line in commands("test"):
        run(line, tmp_path)


@pytest.mark.slow
def test_commands_that_take_their_time_work_one_after_the_other(tmp_path: Path) -> None:
    assert commands("slow")
    for line in commands("slow"):
        run(line, tmp_path)
    (code,) = (text for said, kind, text in BLOCKS if (said, kind) == ("slow", "python"))
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=without_settings(), check=True)


@pytest.mark.parametrize("line", [*commands("not run"), *mentioned()])
def test_a_command_that_is_not_run_is_understood(line: str) -> None:
    program, *arguments = shlex.split(line)
    if program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    assert program == "uadbench"
    command = typer.main.get_command(app)
    while isinstance(command, TyperGroup):
        if arguments[0] not in command.commands:
            arguments = ["run", *arguments]  # `uadbench grid FILE`
        name, *arguments = arguments
        command = command.commands[name]
    command.make_context(name, arguments)  # an option that is not there is an error


def test_the_table_is_that_of_the_committed_records() -> None:
    found = collect_records(ROOT / "results", leaderboard.is_public)
    tables = leaderboard.tables(found.records, resamples=evidence.resamples_for(len(found.records)))
    expected = formats.markdown(tables, (), found.left_out)

    assert (ROOT / "results" / "LEADERBOARD.md").read_text() == expected
    for line in expected.splitlines():
        if line.startswith("|"):
            assert line in TEXT

    folder = ROOT / "results"
    said = json.loads((folder / "LEADERBOARD.json").read_text(encoding="utf-8"))
    freeze = runpy.run_path(str(ROOT / ".ci" / "freeze.py"))
    made = freeze["frozen"](tables, said["commit"], said["date"])
    again = "make leaderboard"
    assert made == {name: (folder / name).read_text(encoding="utf-8") for name in made}, again
    assert said["version"] == uadbench.__version__, again


def test_every_path_that_the_readme_names_is_there() -> None:
    for name in re.findall(r"`((?:methods|datasets|tests|results|benchmarks|uadbench)/[\w./-]+)`", TEXT):
        assert "NAME" in name or (ROOT / name).exists(), name


def test_the_readme_says_what_executes_code() -> None:
    said = " ".join(TEXT.split("## What executes code\n")[1].split("\n## ")[0].split())
    for word in ("UADBENCH_PLUGINS", "`table.toml`", "`setup`", "`runs/`", "pickles", "`results/`", "`PATH`"):
        assert word in said, word
