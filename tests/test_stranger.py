"""A stranger adds a data set from outside: the README's four boxes and nothing else."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from uadbench import record
from uadbench.cli import app
from uadbench.fixtures import Lattice, Picture, heads
from uadbench.plan import Machine

README = Path(__file__).resolve().parent.parent / "README.md"
pytestmark = pytest.mark.skipif(not README.exists(), reason="only a checkout has the README")


def shown(name: str) -> str:
    """A file as the README shows it."""
    found = re.search(rf"<!-- file: {re.escape(name)} -->\n```\w+\n(.*?)```", README.read_text(), re.DOTALL)
    assert found, f"the README shows no {name}"
    return found[1]


def write_patients(root: Path, count: int) -> None:
    """Full heads in the layout of the README's card; the last patient has no outline."""
    for number in range(1, count + 1):
        visit = heads.make_visit(number, number, 1, "glioma", 0)
        files = {"FLAIR": "flair", "brain": "brain"} | ({"lesion": "tumour"} if number < count else {})
        for shows, file in files.items():
            path = f"patient{number}/{file}.nii.gz"
            picture = Picture(visit=visit, path=path, shows=shows, lattice=Lattice("LPS"))
            heads.save(root / path, heads.see(picture, "glioma", 0))


def uadbench(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    return done.stdout


def test_the_four_boxes_of_the_readme_are_enough(machine: Machine, tmp_path: Path) -> None:
    boxes = README.read_text().split("## Add a data set")[1].split("\n## ")[0]
    assert len(re.findall(r"^\d\. ", boxes, re.MULTILINE)) == 4
    home, data = tmp_path / "anywhere/datasets/mine", tmp_path / "hospital"
    home.mkdir(parents=True)  # 1
    (home / "card.toml").write_text(shown("card.toml"))  # 2
    (home / "dataset.py").write_text(shown("dataset.py"))  # 3
    write_patients(data, 5)
    plugins, quiet = ["--plugins", str(tmp_path / "anywhere")], ["--quiet", "--workers", "1"]

    verified = uadbench("verify", "mine", "--root", str(data), *plugins, *quiet)  # 4
    prepared = uadbench("prepare", "mine", "--grid", "g48", *plugins, *quiet)
    uadbench(
        "run", "-m", "intensity", "-d", "mine", "--protocol", "uad-1-4mm", "--preset", "ci", *plugins, *quiet
    )

    assert "left out: patient5: has no tumour.nii.gz" in verified
    assert "nothing is wrong" in verified
    assert "own mask 4" in prepared
    assert "failed" not in prepared
    (made,) = record.read_all(machine.places.results)
    assert (made.test, made.regime, made.contrast) == ("mine", "none", "FLAIR")
    assert [item["id"] for item in made.excluded] == ["patient5"]
    assert made.summary["subjects"]["lesion-test"] > 0
    assert "mine" in uadbench("leaderboard", "--preset", "ci", "--format", "markdown", *plugins)
    assert "12" in next(
        line for line in uadbench("datasets", *plugins).splitlines() if line.startswith("mine")
    )
    listed = json.loads((machine.places.runs / "splits" / "mine.json").read_text())
    assert listed["left_out"] == [{"id": "patient5", "reason": "has no tumour.nii.gz"}]
    written = {
        str(path.relative_to(home)) for path in home.rglob("*") if path.suffix != ".pyc" and path.is_file()
    }
    assert written == {"card.toml", "dataset.py"}


def test_a_cohort_of_another_name_is_a_mistake_that_is_said(machine: Machine, tmp_path: Path) -> None:
    home = tmp_path / "anywhere/datasets/ours"
    home.mkdir(parents=True)
    (home / "card.toml").write_text(shown("card.toml"))
    (home / "dataset.py").write_text(shown("dataset.py"))
    write_patients(tmp_path / "hospital", 2)

    arguments = ["verify", "ours", "--root", str(tmp_path / "hospital"), "--quiet"]
    done = CliRunner().invoke(app, [*arguments, "--plugins", str(tmp_path / "anywhere")])

    assert "says cohort 'mine' of its subjects; expected is 'ours'" in str(done.exception)
