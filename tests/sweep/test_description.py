"""Descriptions of sweeps, and what they say of themselves before anything runs."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from uadbench.experiment.config import ResolvedRun, RunConfig, Runtime, resolve_run
from uadbench.sweep import cluster, description, tasks
from uadbench.sweep.cluster import Request
from uadbench.sweep.worker import Orders
from uadbench.system.errors import UserError

if TYPE_CHECKING:
    from tests.sweep.conftest import Arena

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

PLAIN = "methods = ['pca']\ndatasets = ['phantom']\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "sweep.toml"
    path.write_text(text)
    return path


def test_a_description_is_the_product_with_variants_less_what_is_excluded(tmp_path: Path) -> None:
    asked = description.read_description(written(tmp_path, FULL))
    configs = asked.cells()

    found = [(c.method, dict(c.settings), c.dataset, c.contrast, c.seed) for c in configs]
    pca = [("pca", s, "brats13", "FLAIR", n) for n in (0, 1) for s in ({}, {"components": "4"})]
    random: list[tuple[str, dict[str, str], str, str, int]] = [
        ("random", {}, d, c, 0) for d, c in (("brats13", "FLAIR"), ("mslub", "T1"), ("mslub", "FLAIR"))
    ]
    assert sorted(map(repr, found)) == sorted(map(repr, pca + random))
    assert asked.left_out() == ["brats13 has no T1", "brats13 has no PD", "mslub has no PD"]
    assert {c.train for c in configs if c.dataset == "brats13"} == {"ixi"}
    assert {c.train for c in configs if c.dataset == "mslub"} == {None}
    assert asked.slurm.partition == "gpu"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("methods = ['pca']", "lacks datasets"),
        ("methods = 'pca'\ndatasets = ['phantom']", "methods expects list, got 'pca'"),
        ("methods = ['pca']\ndatasets = ['phantom']\nseeds = ['a']", "seeds.0. expects int, got 'a'"),
        ("methods = ['pca']\ndatasets = ['phantom']\nthreads = true", "threads expects int, got True"),
        (
            "methods = ['pca']\ndatasets = ['phantom']\nsede = [1]",
            "no key 'sede' of .*; did you mean 'seeds'",
        ),
        (
            "methods = ['pca']\ndatasets = ['phantom']\n[slurm]\nqueue = 'a'",
            "no key 'queue' of .slurm. of .*sweep.toml",
        ),
        (
            "methods = ['pca']\ndatasets = ['phantom']\n[[exclude]]\nrow = 'a'",
            "no key 'row' of .exclude. of ",
        ),
        (
            "methods = ['pca']\ndatasets = ['phantom']\n[[variant]]\nmethod = 'ae'\nset = {}",
            "a method of the sweep",
        ),
        ("methods = ['pca']\ndatasets = ['phantom']\n[[exclude]]\nmethod = 'pca'", "sweep has no job"),
        ("methods = ['pca']\ndatasets = ['fantom']", "no data set 'fantom'; did you mean 'phantom'"),
        ("methods = [", "is not valid TOML"),
        ("methods = []\ndatasets = ['phantom']", "methods expects list of length >= 1"),
        (PLAIN + "seeds = [-1]", "seeds.0. expects int >= 0, got -1"),
        (PLAIN + "seeds = [4294967296]", "seeds.0. expects int <= 4294967295"),
        (PLAIN + f"seeds = {list(range(60_000))}", "a sweep of 60,000 jobs; expected 50,000 at most"),
        (PLAIN + "presets = ['dmo']", "no preset 'dmo' of .* did you mean 'demo'"),
        (PLAIN + "precision = 'fp16'", "no precision 'fp16' of .* did you mean 'bf16'"),
        (PLAIN + "limit = 0", "limit expects int >= 1, got 0"),
        (PLAIN + "timeout_minutes = nan", "timeout_minutes expects float > 0.0, got nan"),
        (PLAIN + "memory_gb = inf", "memory_gb expects float <= 100000.0, got inf"),
        (PLAIN + "[[variant]]\nmethod = 'pca'", "variant.0. lacks set"),
        (PLAIN + "[[variant]]\nmethod = 'pca'\nset = [1]", "variant.0..set expects table"),
        (PLAIN + "[slurm]\npartition = 'gpu --wrap=x'", "slurm.partition expects one word without blanks"),
        (PLAIN + '[slurm]\npartition = "gpu\\nrm -r x"', "slurm.partition expects text without control"),
        (PLAIN + '[slurm]\nsetup = ["a\\nb"]', "slurm.setup.0 expects text without control"),
        (PLAIN + '[slurm]\nextra = { comment = "a\\nb" }', "slurm.extra.comment expects text without"),
        (PLAIN + '[slurm]\nextra = { "a b" = 1 }', "extra expects long names of options of sbatch"),
        (PLAIN + '[slurm]\nextra = { "comment=x\\nb" = 1 }', "without control characters"),
        (PLAIN + "[slurm]\nextra = { output = '/x' }", "which are the sweep's own, got 'output'"),
    ],
)
def test_a_mistake_in_a_description_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        description.read_description(written(tmp_path, text)).cells()


def test_contrasts_are_found_in_any_case(tmp_path: Path) -> None:
    text = PLAIN + "contrasts = ['flair', 'FLAIR', 't1']\n[[exclude]]\ncontrast = 't1'\n"
    asked = description.read_description(written(tmp_path, text))
    assert [config.contrast for config in asked.cells()] == ["FLAIR"]
    assert not asked.left_out()


def test_seeds_are_planned_once(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = []

    def counted(*arguments: Any) -> ResolvedRun:
        planned.append(arguments)
        return resolve_run(*arguments)

    monkeypatch.setattr(tasks, "resolve_run", counted)
    configs = [
        RunConfig(method="brightness", dataset="balls", preset="ci", seed=seed) for seed in range(3000)
    ]

    found = tasks.plan_tasks(configs, runtime)

    assert len(planned) == 1
    assert len({task.path for task in found}) == len({task.folder for task in found}) == 3000
    assert found[7].path == runtime.paths.results / resolve_run(configs[7], runtime).place


def test_cells_that_share_a_fit_have_one_group_for_each_seed(runtime: Runtime) -> None:
    configs = [
        RunConfig(method="vae", dataset="balls", preset="ci", seed=seed, settings=settings)
        for seed in (0, 1)
        for settings in ({}, {"score_kind": "pos"}, {"width": "16"})
    ]
    groups = [task.fit_group for task in tasks.plan_tasks(configs, runtime)]
    assert groups[0] == groups[1] != groups[2]
    assert groups[3] == groups[4] != groups[0]
    assert len(set(groups)) == 4


def test_every_value_in_a_batch_file_is_one_word_or_quoted(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = pytest.importorskip("submitit.slurm.slurm")
    monkeypatch.setattr(core.SlurmExecutor, "affinity", classmethod(lambda cls: 2))
    monkeypatch.setattr(sys, "executable", "/opt/my python's/bin/python3")
    paths = replace(runtime.paths, runs=runtime.paths.runs / "a folder; with 'signs'")
    orders = Orders(replace(runtime, paths=paths), 1, "", False, 0.0)
    asked = description.Slurm(
        partition="gpu", extra={"comment": "mine; rm x", "exclusive": True, "hold": False}
    )

    executor = cluster._executor(Request(5, 1.0, 1, 0), asked, orders, None, "")
    lines = executor._make_submission_file_text(executor._submitit_command_str, "id").splitlines()

    options = [line for line in lines if line.startswith("#SBATCH")]
    assert "#SBATCH --comment='mine; rm x'" in options
    assert "#SBATCH --exclusive" in options
    assert not [line for line in options if "hold" in line]
    command = shlex.split(next(line for line in lines if line.startswith("srun")))
    assert "/opt/my python's/bin/python3" in command
    assert str(paths.runs / "sweep" / "slurm") in command
    monkeypatch.setattr(sys, "executable", "/opt/a\nb")
    with pytest.raises(UserError, match="path without control characters"):
        cluster._executor(Request(5, 1.0, 1, 0), asked, orders, None, "")


def test_a_sweep_that_is_nowhere_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="see the README"):
        description.read_description(tmp_path / "none.toml")


def test_a_dry_run_names_every_cell_and_mistake_and_runs_nothing(arena: "Arena") -> None:
    arena.describe(
        'methods = ["tortoise", "vea"]\ndatasets = ["balls"]\ncontrasts = ["T1", "PD"]\npresets = ["ci"]'
    )

    printed = arena.sweep("--dry-run", str(arena.file))

    assert "tortoise ci on balls T1 seed 0" in printed
    assert "refused" in printed
    assert "There is no method 'vea'" in " ".join(printed.split())
    assert "left out: balls has no PD" in printed
    assert "2 jobs: 1 refused, 1 waiting" in printed
    assert "of work" in printed
    assert not arena.results.exists()
