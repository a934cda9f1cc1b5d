"""The README is executed: what it shows must work, and its table must be that of the records."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from uadbench import record
from uadbench.report import leaderboard

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
pytestmark = pytest.mark.skipif(not README.exists(), reason="only a checkout has the README")


def marked_commands() -> list[str]:
    """Commands of the blocks below `<!-- test -->`, without their comments."""
    blocks = re.findall(r"<!-- test -->\n```sh\n(.*?)```", README.read_text(), re.DOTALL)
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("command", marked_commands() if README.exists() else [])
def test_a_command_of_the_readme_works(command: str) -> None:
    program, *arguments = shlex.split(command)
    assert program == "uadbench"

    subprocess.run([sys.executable, "-m", "uadbench", *arguments], check=True, capture_output=True, cwd=ROOT)


def test_the_table_is_that_of_the_committed_records() -> None:
    records = [r for r in record.read_all(ROOT / "results") if leaderboard.public(r)]
    expected = leaderboard.markdown(leaderboard.tables(records, results=ROOT / "results"))

    assert (ROOT / "results" / "LEADERBOARD.md").read_text() == expected
    for line in expected.splitlines():
        if line.startswith("|"):
            assert line in README.read_text()


def test_every_path_that_the_readme_names_is_there() -> None:
    for name in re.findall(r"`((?:methods|datasets|tests|results|benchmarks)/[\w./-]+)`", README.read_text()):
        assert (ROOT / name).exists(), name
