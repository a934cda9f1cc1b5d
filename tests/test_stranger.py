"""A stranger adds a data set from outside: the four boxes of its page and nothing else."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from uadbench.cli import app
from uadbench.experiment import record
from uadbench.experiment.config import Runtime

PAGE = Path(__file__).resolve().parent.parent / "docs/how-to/dataset.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="only a checkout has the docs")


def uadbench(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    return done.stdout


@pytest.mark.thorough
def test_the_four_boxes_of_the_page_are_enough(runtime: Runtime, tmp_path: Path) -> None:
    assert len(re.findall(r"^\d\. ", PAGE.read_text(), re.MULTILINE)) == 4
    home, data = tmp_path / "anywhere/datasets/mine", tmp_path / "hospital"
    plugins, quiet = ["--plugins", str(tmp_path / "anywhere")], ["--quiet", "--workers", "1"]
    uadbench("new", "dataset", "mine", "--folder", str(tmp_path / "anywhere"))  # 1, 2 and 3
    uadbench("fixture", "mine", "--out", str(data), "--subjects", "5", *plugins)
    (data / "patient05" / "tumour.nii.gz").unlink()

    verified = uadbench("verify", "mine", "--root", str(data), *plugins, *quiet)  # 4
    prepared = uadbench("prepare", "mine", "--grid", "g48", *plugins, *quiet)
    uadbench(
        "run", "-m", "intensity", "-d", "mine", "--protocol", "uad-1-4mm", "--preset", "ci", *plugins, *quiet
    )

    assert "left out: patient05: has no lesion mask (tumour.nii.gz)" in verified
    assert "what is used is in order (1 left out, see above)" in verified
    assert "own mask 4" in prepared
    assert "failed" not in prepared
    (made,) = record.read_records(runtime.paths.results)
    assert (made.test, made.regime, made.contrast) == ("mine", "phantom", "FLAIR")
    assert [item.id for item in made.excluded] == ["patient05"]
    assert made.summary.subjects["lesion-test"] > 0
    assert "mine" in uadbench("leaderboard", "--preset", "ci", "--format", "markdown", *plugins)
    assert "12" in next(
        line for line in uadbench("datasets", *plugins).splitlines() if line.startswith("mine")
    )
    listed = json.loads((runtime.paths.runs / "splits" / "mine.json").read_text())
    assert listed["left_out"] == [{"id": "patient05", "reason": "has no lesion mask (tumour.nii.gz)"}]
    written = {
        str(path.relative_to(home)) for path in home.rglob("*") if path.suffix != ".pyc" and path.is_file()
    }
    assert written == {"card.toml", "dataset.py", "fixture.py"}


def test_a_cohort_of_another_name_is_a_mistake_that_is_said(runtime: Runtime, tmp_path: Path) -> None:
    plugins = ["--plugins", str(tmp_path / "anywhere")]
    uadbench("new", "dataset", "mine", "--folder", str(tmp_path / "anywhere"))
    (tmp_path / "anywhere/datasets/mine").rename(tmp_path / "anywhere/datasets/theirs")
    uadbench("fixture", "theirs", "--out", str(tmp_path / "hospital"), "--subjects", "1", *plugins)

    arguments = ["verify", "theirs", "--root", str(tmp_path / "hospital"), "--quiet"]
    done = CliRunner().invoke(app, [*arguments, *plugins])

    assert "says cohort 'mine' of its subjects; expected 'theirs'" in str(done.exception)
