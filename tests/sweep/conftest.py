"""A place to run sweeps in, as a user does: by the command, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.experiment import record
from uadbench.system.files import sha256_file

PLUGINS = (Path(__file__).parent / "plugins", Path(__file__).parents[1] / "plugins")
# Four cells with a fit each.
SWEEP = """
methods = ["tortoise"]
datasets = ["balls"]
presets = ["ci"]
limit = 1
seeds = [0, 1, 2, 3]
"""
PATIENCE_S = 240.0  # the machine may be busy


def wait_for(condition: Callable[[], Any], seconds: float = PATIENCE_S, every: float = 0.02) -> Any:
    """What a condition answers as soon as that is true."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(every)
    return answer


class Arena:
    """Folders, a sweep's file, and the commands on it."""

    wait_for = staticmethod(wait_for)

    def __init__(self, home: Path) -> None:
        """Everything under one folder."""
        self.home, self.file, self.holds = home, home / "sweep.toml", home / "holds"
        self.runs, self.results, self.data = home / "runs", home / "results", home / "data"
        self.holds.mkdir(parents=True)
        self.describe(SWEEP)

    def describe(self, text: str) -> None:
        """Write the sweep's file."""
        self.file.write_text(text)

    @property
    def environment(self) -> dict[str, str]:
        """Of every command here."""
        folders = {f"UADBENCH_{n.upper()}": str(getattr(self, n)) for n in ("data", "runs", "results")}
        plugins = {PLUGINS_VARIABLE: os.pathsep.join(map(str, PLUGINS))}
        return os.environ | folders | plugins | {"UADBENCH_TEST_HOLD": str(self.holds)}

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Begin `uadbench sweep`."""
        return subprocess.Popen(
            [sys.executable, "-m", "uadbench", "sweep", *arguments],
            env=self.environment, cwd=self.home, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def sweep(self, *arguments: str, code: int = 0) -> str:
        """What `uadbench sweep FILE` prints; it must end with an exit code."""
        process = self.start(*arguments or (str(self.file),))
        printed, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == code, printed
        return printed

    # ---- stopping cells where something is to happen to them ---------------------------------

    def hold(self, place: str) -> None:
        """Let a cell stop at a place: `fit-<step> <seed>` or `score <seed>`."""
        (self.holds / place).touch()

    def reached(self, place: str) -> int:
        """Wait until it stands there; the number of its process."""
        sign = self.holds / f"{place}.reached"
        return int(wait_for(lambda: sign.exists() and sign.read_text()))

    def release(self, place: str) -> None:
        """Let it go on."""
        (self.holds / place).unlink()

    def kill(self, moment: str, seed: int) -> None:
        """Kill the process of a cell with -9 in `prepare`, `fit-<step>`, `score` or `record`."""
        if moment in ("prepare", "record"):
            process = wait_for(lambda: self.worker(seed), every=0.001)
            wanted = {"prepare": "runs/cache/*/*.safetensors", "record": f"results/*/*/*/*/*/seed-{seed}.npz"}
            wait_for(lambda: list(self.home.glob(wanted[moment])), every=0.001)
        else:
            process = self.reached(f"{moment} {seed}")
        os.kill(process, signal.SIGKILL)
        if moment not in ("prepare", "record"):
            self.release(f"{moment} {seed}")

    def worker(self, seed: int) -> int:
        """The process that carries out a cell, from its lock; 0: none."""
        for owner in self.runs.glob(f"sweep/*/*/*/*/*/*/seed-{seed}/lock.*/owner.json"):
            return int(json.loads(owner.read_text())["pid"])
        return 0

    # ---- what came of it ---------------------------------------------------------------------

    def records(self) -> dict[str, Any]:
        """All records with their pieces, less what a clock or the machine says."""
        made = {str(one.place): record.without_measurements(one) for one in record.read_records(self.results)}
        for place, content in made.items():
            del content["code"]  # a checkout may be worked on while its tests run
            content["pieces on disk"] = sha256_file((self.results / place).with_suffix(".npz"))
        return made

    def threads(self) -> set[Any]:
        """Threads of all records."""
        return {made.hardware["threads"] for made in record.read_records(self.results)}

    def failures(self) -> dict[str, str]:
        """Reason of every recorded failure, by the seed of its cell."""
        return {place.name.split(".")[0]: reason for place, reason in record.failures(self.results)}

    def fits(self) -> list[int]:
        """How often a training was begun, fit by fit."""
        return [len(file.read_text().split()) for file in sorted(self.runs.glob("fits/*/fits.txt"))]

    def log(self, seed: int = 0) -> str:
        """All that the processes of the cells with a seed have printed."""
        return "".join(
            f.read_text() for f in sorted(self.runs.glob(f"sweep/*/*/*/*/*/*/seed-{seed}/log.txt"))
        )


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    """A place of its own."""
    return Arena(tmp_path / "arena")


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Arena:
    """A place where the sweep was carried out and nothing happened to it; to be left as it is."""
    made = Arena(tmp_path_factory.mktemp("calm") / "arena")
    made.sweep()
    return made


@pytest.fixture
def undisturbed(calm: Arena) -> dict[str, Any]:
    """The records that the sweep ends with when nothing happens to it."""
    return calm.records()
