"""What cells are estimated to need, and what a cluster is asked for."""

import math
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from uadbench import cards
from uadbench.experiment import record
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.facts import Stage
from uadbench.experiment.record import RunRecord, plain
from uadbench.experiment.run import run
from uadbench.sweep import cluster, estimate, processes
from uadbench.sweep.description import Slurm
from uadbench.sweep.tasks import plan_tasks, standing
from uadbench.system.files import sha256, write_json

CELL = RunConfig(method="brightness", dataset="balls", preset="ci", limit=1)


def earlier(
    made: RunRecord, runtime: Runtime, name: str, test: str, seconds: float, memory_mb: float
) -> None:
    """A record like one that was made, that says what its run took."""
    stage = Stage(seconds=seconds, peak_memory_mb=memory_mb)
    timing = dict.fromkeys(("prepare", "fit", "score", "evaluate"), stage)
    other = msgspec.structs.replace(
        made, test=test, timing=timing, score_hash=sha256(name), fit_hash=sha256(f"fit {name}")
    )
    write_json(runtime.paths.results / f"seed-{name}.json", plain(other))


def test_needs_come_from_earlier_records_of_the_same_test_set(runtime: Runtime) -> None:
    (task,) = plan_tasks([CELL], runtime)
    made = run(CELL, runtime)
    made.path.unlink()
    earlier(made.record, runtime, "0", "balls", 10, 100)
    earlier(made.record, runtime, "1", "balls", 30, 300)
    earlier(made.record, runtime, "2", "elsewhere", 1000, 9000)
    maps = runtime.paths.runs / "maps" / sha256("1")
    maps.mkdir(parents=True)
    (maps / "a.safetensors").write_bytes(bytes(3_000_000))

    found = estimate.estimates([task], runtime.paths)[task.path]

    assert (found.fit_s, found.rest_s, found.memory_mb, found.disk_mb) == (20, 40, 300, 3)
    assert found.source == "2 earlier records"


def test_the_records_that_come_with_the_project_are_the_prior(runtime: Runtime) -> None:
    config = RunConfig(method="random", dataset="balls", preset="ci")
    (task,) = plan_tasks([config], runtime)
    found = estimate.estimates([task], runtime.paths)[task.path]
    committed = Path(__file__).parents[2] / "results/uad-1-2mm/phantom-to-phantom/T1/random/ci/seed-0.json"
    timing = record.read_record(committed).timing
    seconds = timing["score"].seconds + timing["evaluate"].seconds
    assert found.source == "1 reference record on phantom"
    assert not found.bound
    assert found.rest_s == pytest.approx(seconds * task.scans / 48)  # of 48 scored scans


def test_without_records_the_card_is_asked_and_then_the_preset(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task,) = plan_tasks([CELL], runtime)
    scans, voxels = 3, 48 * 56 * 48
    assert estimate.estimates([task], runtime.paths)[task.path].source == "preset ci, not measured"

    card = replace(cards.method_card("brightness"), needs={"ci": {"minutes": 2, "memory_gb": 0.5}})
    monkeypatch.setattr(estimate, "method_card", lambda name: card)
    found = estimate.estimates([task], runtime.paths)[task.path]

    assert (found.seconds(fit=True), found.memory_mb, found.source) == (120, 512, "the card")
    assert found.disk_mb == pytest.approx(4e-6 * scans * voxels, rel=0.7)


def test_a_job_is_asked_for_twice_the_estimate_or_what_the_description_says(runtime: Runtime) -> None:
    (task,) = plan_tasks([CELL], runtime)
    needs = estimate.Estimate(fit_s=3600, rest_s=600, memory_mb=3000, disk_mb=1, source="")

    assert cluster.request(task, needs, Slurm(), 4, True, math.inf) == cluster.Request(140, 6.0, 4, 0)
    assert cluster.request(task, needs, Slurm(), 4, False, math.inf).minutes == 20
    named = Slurm(minutes=7, memory_gb=1.5, gpus=2)
    assert cluster.request(task, needs, named, 1, True, math.inf) == cluster.Request(7, 1.5, 1, 2)


def test_cells_of_one_fit_are_told_from_others(runtime: Runtime) -> None:
    config = replace(CELL, method="ae")
    same, other = replace(config, settings={"score_kind": "zres"}), replace(config, seed=1)
    untrained = [CELL, replace(CELL, settings={"sign": "-1"})]

    tasks = plan_tasks([config, same, other, *untrained, replace(CELL, method="x")], runtime)

    first, same_fit, other_fit, bright, dark, wrong = tasks
    assert first.fit_group == same_fit.fit_group != other_fit.fit_group
    assert bright.fit_group != dark.fit_group  # nothing to wait for
    assert len({task.path for task in tasks}) == 6
    assert standing(first).kind == "waiting"
    assert standing(wrong).kind == "refused"
    assert "no method 'x'" in standing(wrong).note


def test_free_memory_is_not_more_than_the_machine_has(tmp_path: Path) -> None:
    assert 0 < processes.free_mb() < 1e8


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"job": 3, "end": "done", "started": "x"}', "null", "{"])
def test_side_files_of_a_cell_that_are_damaged_say_nothing(runtime: Runtime, text: str) -> None:
    (task,) = plan_tasks([CELL], runtime)
    task.folder.mkdir(parents=True)
    for path in (task.folder / "state.json", task.folder / "job.json"):
        path.write_text(text)
    assert standing(task, {"7_1": "PENDING"}).kind in ("waiting", "interrupted")
    task.path.parent.mkdir(parents=True)
    record.failure_path(task.path).write_text(text)
    how = standing(task)
    assert how.kind == "failed"
    assert how.note.startswith(f"{record.failure_path(task.path)} does not say why the run failed")


def test_every_preset_has_a_bound() -> None:
    """A sweep of a preset without one would end in a KeyError before its first job."""
    assert set(estimate.BY_PRESET) == set(cards.PRESETS)
