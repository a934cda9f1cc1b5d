"""Sweeps on a real Slurm with two nodes, started for each test; each fault befalls real jobs and daemons."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.sweep.conftest import Arena
    from tests.sweep.slurm_cluster import Cluster

pytestmark = pytest.mark.slurm


def started(folder: Path, monkeypatch: pytest.MonkeyPatch, apart: bool) -> Iterator["Cluster"]:
    """A Slurm in a folder, which the commands of the test find."""
    file = Path(__file__).with_name("slurm_cluster.py")
    spec = importlib.util.spec_from_file_location("slurm_cluster", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Cluster = module.Cluster(folder, apart)
    try:
        made.check()
        pytest.importorskip("submitit", reason="pip install uadbench[slurm]")
        made.start()
    except module.CannotRunError as error:
        # Run by `.ci/slurm`, which installs Slurm; whoever cannot have its daemons cannot test them.
        pytest.skip(f"Slurm cannot run here: {error}")
    monkeypatch.setenv("SLURM_CONF", str(made.configuration))
    yield made
    print(made.logs())  # pytest shows it where the test has failed
    made.stop()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Cluster"]:
    """A Slurm whose nodes share this machine's processes, so that tests can kill them."""
    yield from started(tmp_path / "slurm", monkeypatch, apart=False)


@pytest.fixture
def nodes_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Cluster"]:
    """A Slurm whose nodes do not see each other's processes, as on real clusters."""
    yield from started(tmp_path / "slurm", monkeypatch, apart=True)


@pytest.fixture
def alone(arena: "Arena", calm: "Arena") -> dict[str, Any]:
    """The record that the sweep ends with, made of its first cell alone."""
    arena.describe(arena.file.read_text().replace("[0, 1, 2, 3]", "[0]"))
    return {place: content for place, content in calm.records().items() if place.endswith("seed-0.json")}


def submit(arena: "Arena", *more: str) -> str:
    return arena.sweep(str(arena.file), "--on", "slurm", *more)


def finish(arena: "Arena", cluster: "Cluster") -> None:
    """Wait until the queue is empty; a job that starts or ends gives the others all their time again."""

    def queue() -> str:
        return cluster.ask("squeue", "--noheader", "--array", "--format=%i %T")

    def changed(before: str) -> bool:
        return queue() != before

    while waiting := queue():
        arena.wait_for(partial(changed, waiting), every=0.5)


def job(arena: "Arena") -> str:
    """The Slurm job of the cell with seed 0."""
    found = next(arena.runs.glob("sweep/*/*/*/*/*/*/seed-0/job.json"))
    return str(json.loads(found.read_text())["job"])


def restarts(cluster: "Cluster", number: str) -> int:
    """How often Slurm has put a job back into the queue."""
    found = re.search(r"Restarts=(\d+)", cluster.ask("scontrol", "show", "job", number))
    assert found is not None
    return int(found.group(1))


def family(process: int) -> list[int]:
    """A worker and all above it that belong to its job, the worker first."""
    import psutil

    chain = [psutil.Process(process)]
    while (parent := chain[-1].parent()) is not None and parent.name() != "slurmstepd":
        chain.append(parent)
    return [one.pid for one in chain]


def test_a_sweep_ends_with_the_records_of_a_local_one(
    arena: "Arena", cluster: "Cluster", undisturbed: dict[str, Any]
) -> None:
    printed = submit(arena)
    assert "4 jobs submitted" in printed
    assert "0 to run" in submit(arena)  # nothing is submitted twice
    finish(arena, cluster)

    assert arena.records() == undisturbed
    assert arena.threads() == {1}
    assert "4 jobs: 4 done" in arena.sweep("status", str(arena.file))


def test_nodes_that_do_not_see_each_other_s_processes_share_a_folder(
    arena: "Arena", nodes_apart: "Cluster", undisturbed: dict[str, Any]
) -> None:
    """Jobs on both nodes and cells of a local sweep, each in a name space of its own, on the same files."""
    submit(arena)
    arena.sweep(str(arena.file), "--jobs", "1")
    finish(arena, nodes_apart)

    assert not arena.failures()
    assert arena.records() == undisturbed
    assert set(arena.fits()) == {1}
    assert not list(arena.runs.rglob("*.partial"))
    owners = arena.runs.glob("sweep/*/*/*/*/*/*/seed-*/lock.*/released.json")
    spaces = {json.loads(owner.read_text())["place"] for owner in owners}
    assert len(spaces) >= 2, "all cells were carried out in one name space"


def test_workers_are_killed_in_their_jobs_in_every_stage(
    arena: "Arena", cluster: "Cluster", undisturbed: dict[str, Any]
) -> None:
    for place in ("fit-5 1", "score 2"):
        arena.hold(place)
    submit(arena)
    for seed, moment in enumerate(("prepare", "fit-5", "score", "record")):
        arena.kill(moment, seed)
    finish(arena, cluster)

    assert sorted(arena.failures()) == ["seed-0", "seed-1", "seed-2", "seed-3"]
    assert all("was killed in stage" in reason for reason in arena.failures().values())
    assert submit(arena, "--retry-failed").count("again: tortoise") == 4
    finish(arena, cluster)
    assert arena.records() == undisturbed
    assert not arena.failures()


def test_all_of_a_job_is_killed(arena: "Arena", cluster: "Cluster", alone: dict[str, Any]) -> None:
    arena.hold("fit-5 0")
    submit(arena)
    for process in family(arena.reached("fit-5 0")):
        os.kill(process, signal.SIGKILL)
    arena.release("fit-5 0")
    finish(arena, cluster)

    assert not arena.failures()  # nobody was left to record it
    assert "again: tortoise" in submit(arena)
    finish(arena, cluster)
    assert "training resumes after step 5" in arena.log()
    assert arena.records() == alone


@pytest.mark.parametrize("jobs_too", [False, True], ids=["the daemon alone", "with its jobs"])
def test_a_node_daemon_is_killed_in_the_middle_of_a_job(
    arena: "Arena", cluster: "Cluster", alone: dict[str, Any], jobs_too: bool
) -> None:
    arena.hold("fit-5 0")
    submit(arena)
    worker = arena.reached("fit-5 0")
    environment = Path(f"/proc/{worker}/environ").read_bytes().decode().split("\0")
    node = next(v.partition("=")[2] for v in environment if v.startswith("SLURMD_NODENAME="))
    cluster.kill_node(node, jobs_too)
    if jobs_too:
        arena.wait_for(lambda: not Path(f"/proc/{worker}").exists())
        arena.release("fit-5 0")
        arena.wait_for(lambda: restarts(cluster, job(arena)) == 1, every=0.5)
    else:
        # Slurm takes the node for lost and begins the job elsewhere, while the first one lives.
        arena.wait_for(lambda: restarts(cluster, job(arena)) == 1, every=0.5)
        arena.release("fit-5 0")
    finish(arena, cluster)

    assert arena.records() == alone
    assert not arena.failures()
    assert ("training resumes after step 5" in arena.log()) == jobs_too
    assert max(arena.fits()) == (2 if jobs_too else 1)


def test_a_job_is_cancelled(arena: "Arena", cluster: "Cluster", alone: dict[str, Any]) -> None:
    arena.hold("fit-5 0")
    submit(arena)
    arena.reached("fit-5 0")
    cluster.ask("scancel", job(arena))
    finish(arena, cluster)
    arena.release("fit-5 0")

    assert not arena.failures()
    assert "1 interrupted" in arena.sweep("status", str(arena.file))
    assert "again: tortoise" in submit(arena)
    finish(arena, cluster)
    assert "training resumes after step 5" in arena.log()
    assert arena.records() == alone


def goes_on(arena: "Arena", cluster: "Cluster", alone: dict[str, Any]) -> None:
    """Slurm starts the job once more, and it ends as if nothing had been."""
    arena.wait_for(lambda: restarts(cluster, job(arena)) == 1, every=0.5)
    arena.release("fit-5 0")
    finish(arena, cluster)

    assert "training resumes after step 5" in arena.log()
    assert arena.records() == alone
    assert not arena.failures()


def test_a_job_is_preempted_and_goes_on(arena: "Arena", cluster: "Cluster", alone: dict[str, Any]) -> None:
    arena.hold("fit-5 0")
    submit(arena)
    arena.reached("fit-5 0")
    urgent = ["sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null"]
    cluster.ask(*urgent, "--wrap=sleep 2")
    goes_on(arena, cluster, alone)


def test_a_job_runs_out_of_its_time_and_goes_on(
    arena: "Arena", cluster: "Cluster", alone: dict[str, Any]
) -> None:
    arena.describe(arena.file.read_text() + "[slurm]\nminutes = 1\nsignal_s = 20\n")
    arena.hold("fit-5 0")
    submit(arena)
    arena.reached("fit-5 0")
    goes_on(arena, cluster, alone)


def test_the_controller_is_restarted(arena: "Arena", cluster: "Cluster", alone: dict[str, Any]) -> None:
    arena.hold("fit-5 0")
    submit(arena)
    arena.reached("fit-5 0")
    cluster.kill_controller(job(arena))
    assert "Slurm does not answer" in arena.sweep(str(arena.file), "--on", "slurm", code=2)
    cluster.start_controller()
    arena.release("fit-5 0")
    finish(arena, cluster)

    assert arena.records() == alone
    assert set(arena.fits()) == {1}


def test_two_sweeps_are_submitted_together_and_one_runs_here(
    arena: "Arena", cluster: "Cluster", alone: dict[str, Any]
) -> None:
    processes = [arena.start(str(arena.file), "--on", "slurm") for _ in range(2)]
    processes.append(arena.start(str(arena.file), "--jobs", "1"))
    printed = "".join(process.communicate()[0] for process in processes)
    finish(arena, cluster)

    assert [process.returncode for process in processes] == [0, 0, 0], printed
    assert printed.count("seed 0: Slurm job") <= 1
    assert arena.records() == alone
    assert set(arena.fits()) == {1}


# ---- the same records everywhere ---------------------------------------------------------------

MATRIX = """
methods = ["random", "intensity", "atlas_z", "pca"]
datasets = ["mslub", "atlas2", "brats21"]
contrasts = ["T1"]
train = "ixi"
seeds = [0, 1]
presets = ["ci"]
protocol = "uad-1-4mm"
"""


def test_four_methods_on_three_fixtures_with_two_seeds_are_the_same_everywhere(
    arena: "Arena", cluster: "Cluster"
) -> None:
    """Here with one and with two workers, and on Slurm, each from an empty cache."""
    for name, people in {"ixi": 8, "mslub": 4, "atlas2": 4, "brats21": 4}.items():
        command = ["fixture", name, "--out", str(arena.data / name), "--subjects", str(people)]
        subprocess.run([sys.executable, "-m", "uadbench", *command], env=arena.environment, check=True)
    arena.describe(MATRIX)
    made = {}
    for name, options in {"one": ["--jobs", "1"], "two": ["--jobs", "2"], "slurm": ["--on", "slurm"]}.items():
        arena.runs, arena.results = arena.home / name / "runs", arena.home / name / "results"
        process = arena.start(str(arena.file), *options)
        printed, _ = process.communicate()
        assert process.returncode == 0, printed
        finish(arena, cluster)
        made[name] = arena.records()

    assert len(made["one"]) == 24
    assert made["two"] == made["one"]
    assert made["slurm"] == made["one"]


# ---- the page for cluster users ----------------------------------------------------------------

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/cluster.md"


def block(name: str) -> str:
    """A block of the page for cluster users."""
    found = re.search(rf"<!-- slurm: {name} -->\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None, name
    return found.group(1)


@pytest.mark.skipif(not PAGE.exists(), reason="only a checkout has the docs")
def test_the_page_is_followed_word_for_word(arena: "Arena", cluster: "Cluster") -> None:
    home = arena.home / "uadbench"
    home.mkdir()
    shutil.copy(Path(__file__).with_name("table.toml"), home)  # what the page shows, see tests/test_docs.py
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = arena.environment | {"HOME": str(arena.home), "PATH": programs}

    def follow(name: str, first: str = "") -> str:
        script = f"set -euo pipefail\n{first}{block(name)}"
        done = subprocess.run(["bash", "-c", script], env=environment, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    begun = follow("before")
    assert "8 jobs: 8 waiting" in begun
    assert "8 jobs submitted" in begun
    finish(arena, cluster)

    shell = block("before").splitlines()
    ended = follow("after", "\n".join(shell[:2]) + "\n")
    assert "8 jobs: 8 done; 0 to run" in ended
    assert "components=4" in ended
