"""Descriptions of grids, and what they say of themselves before anything runs."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from uadbench.errors import UserError
from uadbench.grid import description

if TYPE_CHECKING:
    from tests.grid.conftest import Arena

FULL = """
methods = ["random", "pca"]
datasets = ["brats13", "mslub"]
contrasts = ["T1", "FLAIR", "PD"]
seeds = [0, 1]
presets = ["ci"]
train = { brats13 = "ixi" }

[[variant]]
method = "pca"
set = { components = 4 }

[[exclude]]
method = "pca"
dataset = "mslub"
[[exclude]]
method = "random"
seed = 1

[slurm]
partition = "gpu"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "grid.toml"
    path.write_text(text)
    return path


def test_a_description_is_the_product_with_variants_less_what_is_excluded(tmp_path: Path) -> None:
    asked = description.read(written(tmp_path, FULL))
    cells = asked.cells()

    found = [(c.method, dict(c.settings), c.dataset, c.contrast, c.seed) for c in cells]
    pca = [("pca", s, "brats13", "FLAIR", n) for n in (0, 1) for s in ({}, {"components": "4"})]
    random: list[tuple[str, dict[str, str], str, str, int]] = [
        ("random", {}, d, c, 0) for d, c in (("brats13", "FLAIR"), ("mslub", "T1"), ("mslub", "FLAIR"))
    ]
    assert sorted(map(repr, found)) == sorted(map(repr, pca + random))
    assert asked.left_out() == ["brats13 has no T1", "brats13 has no PD", "mslub has no PD"]
    assert {c.train for c in cells if c.dataset == "brats13"} == {"ixi"}
    assert {c.train for c in cells if c.dataset == "mslub"} == {None}
    assert asked.slurm.partition == "gpu"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("methods = ['pca']", "names no datasets"),
        ("methods = 'pca'\ndatasets = ['phantom']", "expects list"),
        ("methods = ['pca']\ndatasets = ['phantom']\nseeds = ['a']", "seeds in .* expects list"),
        ("methods = ['pca']\ndatasets = ['phantom']\nthreads = true", "threads in .* expects int"),
        ("methods = ['pca']\ndatasets = ['phantom']\nsede = [1]", "unknown keys \\['sede'\\]; known are"),
        ("methods = ['pca']\ndatasets = ['phantom']\n[slurm]\nqueue = 'a'", "\\[slurm\\] of .* unknown keys"),
        (
            "methods = ['pca']\ndatasets = ['phantom']\n[[exclude]]\nrow = 'a'",
            "\\[\\[exclude\\]\\] of .* unknown",
        ),
        (
            "methods = ['pca']\ndatasets = ['phantom']\n[[variant]]\nmethod = 'ae'\nset = {}",
            "a method of the grid",
        ),
        ("methods = ['pca']\ndatasets = ['phantom']\n[[exclude]]\nmethod = 'pca'", "grid has no cell"),
        ("methods = ['pca']\ndatasets = ['fantom']", "no dataset 'fantom'"),
        ("methods = [", "is not valid TOML"),
    ],
)
def test_a_mistake_in_a_description_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        description.read(written(tmp_path, text)).cells()


def test_a_grid_that_is_nowhere_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="see the README"):
        description.read(tmp_path / "none.toml")


def test_a_dry_run_names_every_cell_and_mistake_and_runs_nothing(arena: "Arena") -> None:
    arena.describe(
        'methods = ["tortoise", "vea"]\ndatasets = ["balls"]\ncontrasts = ["T1", "PD"]\npresets = ["ci"]'
    )

    printed = arena.grid("--dry-run", str(arena.file))

    assert "tortoise ci on balls T1 seed 0" in printed
    assert "refused" in printed
    assert "There is no method 'vea'" in " ".join(printed.split())
    assert "no cell: balls has no PD" in printed
    assert "2 cells: 1 refused, 1 waiting" in printed
    assert "of work" in printed
    assert not arena.results.exists()
