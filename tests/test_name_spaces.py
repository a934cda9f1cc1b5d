"""Runs that share a folder as several machines do: each in a name space of processes of its own."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from uadbench.experiment import record
from uadbench.experiment.config import Runtime
from uadbench.system.files import sha256_file

# Numbers of processes differ between the name spaces, as they do between machines.
APART = 'i=0; while [ $i -lt "$1" ]; do /bin/true; i=$((i+1)); done; shift; "$@"; exit $?'


def command(method: str, seed: int, dataset: str = "balls") -> list[str]:
    small = ["--protocol", "uad-1-4mm", "--limit", "2"] if dataset == "phantom" else []
    return [
        sys.executable, "-m", "uadbench", "run", "--method", method, "--dataset", dataset,
        "--preset", "ci", "--seed", str(seed), "--quiet", "--workers", "1", *small,
    ]  # fmt: skip


def elsewhere(space: Sequence[str], number: int, commands: list[list[str]]) -> "subprocess.Popen[str]":
    """Start commands together in one name space; they all must end well."""
    shell = " & ".join(" ".join(one) for one in commands) + " & "
    script = f"{shell} code=0; for job in $(jobs -p); do wait $job || code=1; done; exit $code"
    return subprocess.Popen(
        [*space, "sh", "-c", APART, "sh", str(7 * number), "bash", "-c", script],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def records(results: Path) -> dict[str, Any]:
    """All records with their pieces, less what a clock or the machine says."""
    made = {str(one.place): record.without_measurements(one) for one in record.read_records(results)}
    for place, content in made.items():
        del content["code"]
        content["pieces on disk"] = sha256_file((results / place).with_suffix(".npz"))
    return made


def together(
    runtime: Runtime, space: Sequence[str], spaces: int, each: int, dataset: str = "balls"
) -> dict[str, Any]:
    seeds = [range(space * each, (space + 1) * each) for space in range(spaces)]
    running = [
        elsewhere(space, number, [command("random", seed, dataset) for seed in some])
        for number, some in enumerate(seeds)
    ]
    ended = [(process.communicate()[0], process.returncode) for process in running]
    assert [code for _, code in ended] == [0] * spaces, [text[-1500:] for text, _ in ended]
    return records(runtime.paths.results)


@pytest.mark.thorough
def test_two_name_spaces_on_one_folder_make_all_their_records(
    runtime: Runtime, name_space: tuple[str, ...]
) -> None:
    made = together(runtime, name_space, spaces=2, each=1)
    assert len(made) == 2
    assert not list(runtime.paths.runs.rglob("*.partial"))


@pytest.mark.slow
def test_twenty_runs_in_four_name_spaces_started_together_make_twenty_records(
    runtime: Runtime, name_space: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UADBENCH_PHANTOM_HEALTHY", "8")
    assert len(together(runtime, name_space, spaces=4, each=5, dataset="phantom")) == 20
    assert not list(runtime.paths.runs.rglob("*.partial"))


@pytest.mark.slow
def test_killed_at_forty_random_moments_the_records_are_the_same(runtime: Runtime, tmp_path: Path) -> None:
    calm = os.environ | {"UADBENCH_RUNS": str(tmp_path / "calm"), "UADBENCH_RESULTS": str(tmp_path / "calm")}
    begun = time.monotonic()
    subprocess.run(command("pca", 0), env=calm, check=True, capture_output=True)
    duration, moments = time.monotonic() - begun, random.Random(0)
    for _ in range(40):
        process = subprocess.Popen(
            command("pca", 0), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(duration * moments.uniform(0.2, 1.1))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command("pca", 0), check=True, capture_output=True)

    assert records(runtime.paths.results) == records(tmp_path / "calm")
    assert not list(runtime.paths.runs.rglob("*.scratch"))
