"""What a sweep costs beside the work of its cells, and how it scales: small cells over one and two workers.

python benchmarks/sweep.py [--cells 64] [--rounds 4]

The cells are `random` on the tests' data set of balls, one seed each, with scans prepared beforehand; rounds
with one and with two workers take turns, so that both meet the same load of the machine. Seconds of CPU time
are those of all processes of a command; wall time means something on an idle machine only. Linux only.
"""

import argparse
import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PLUGINS = Path(__file__).resolve().parent.parent / "tests" / "plugins"
CELL = ["--method", "random", "--dataset", "balls", "--preset", "ci", "--limit", "1"]
SWEEP = 'methods = ["random"]\ndatasets = ["balls"]\npresets = ["ci"]\nlimit = 1\nseeds = {seeds}\n'
# The same cells one after the other in one process that has loaded everything: all work and no start-up.
IN_ONE_PROCESS = """
import sys, time
from uadbench.system.paths import Paths
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.system.progress import Silent
from uadbench.experiment.run import run
import torch
torch.set_num_threads(1)
runtime = Runtime(Paths.default(), Silent())
took = []
for seed in map(int, sys.argv[1:]):
    before = time.process_time()
    run(RunConfig(method="random", dataset="balls", preset="ci", limit=1, seed=seed), runtime)
    took.append(time.process_time() - before)
print(sum(took[1:]) / len(took[1:]))
"""


class Place:
    """A folder for one series of runs, with scans prepared."""

    def __init__(self, home: Path) -> None:
        """Make it, with the first run, which prepares."""
        self.home, self.next_seed = home, 0
        home.mkdir()
        folders = {f"UADBENCH_{n.upper()}": str(home / n) for n in ("data", "runs", "results")}
        self.environment = os.environ | folders | {"UADBENCH_PLUGINS": str(PLUGINS), "OMP_NUM_THREADS": "1"}
        self.bare()

    def seeds(self, count: int) -> list[int]:
        """Seeds that no run has had."""
        self.next_seed += count
        return list(range(self.next_seed - count, self.next_seed))

    def python(self, *arguments: str) -> "Took":
        """What Python takes, with all processes that it starts, and what it prints."""
        wall, cpu = time.perf_counter(), children_cpu()
        done = subprocess.run(
            [sys.executable, *arguments], env=self.environment, check=True, capture_output=True, text=True
        )
        wall = time.perf_counter() - wall
        with suppress(ChildProcessError):  # what outlives its parent comes to this process, to be waited for
            while True:
                os.wait()
        return Took(wall, children_cpu() - cpu, done.stdout)

    def bare(self) -> "Took":
        """One `uadbench run`."""
        seed = str(self.seeds(1)[0])
        return self.python("-m", "uadbench", "run", *CELL, "--seed", seed, "--quiet", "--workers", "1")

    def in_one_process(self, count: int) -> float:
        """CPU seconds a cell without any start-up."""
        return float(self.python("-c", IN_ONE_PROCESS, *map(str, self.seeds(count))).printed)

    def sweep(self, cells: int, workers: int) -> "Took":
        """One `uadbench sweep` of so many new cells."""
        file = self.home / "sweep.toml"
        file.write_text(SWEEP.format(seeds=self.seeds(cells)))
        took = self.python("-m", "uadbench", "sweep", str(file), "--jobs", str(workers))
        assert f"{cells} done" in took.printed, took.printed
        return took


class Took(NamedTuple):
    """What a command took, in seconds, and what it printed."""

    wall: float
    cpu: float
    printed: str


def children_cpu() -> float:
    """CPU seconds of all processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=4)
    asked = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    share = asked.cells // asked.rounds
    bare, alone, single, one, two = [], [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder) / "place")
        for _ in range(asked.rounds):
            bare.append(place.bare())
            alone.append(place.in_one_process(5))
            single.append(place.sweep(1, 1))
            one.append(place.sweep(share, 1))
            two.append(place.sweep(share, 2))
    work = statistics.median(alone)
    first = statistics.median(took.cpu for took in single)
    cell = (statistics.median(took.cpu for took in one) - first) / (share - 1)
    print(f"{share * asked.rounds} cells in {asked.rounds} interleaved rounds; load {os.getloadavg()[0]:.1f}")
    print("CPU seconds")
    print(f"  one `uadbench run`                         {statistics.median(t.cpu for t in bare):6.2f}")
    print(f"  one cell in a process that is warm: work   {work:6.2f}")
    print(f"  a sweep of one cell                        {first:6.2f}")
    print(f"  each further cell of a sweep               {cell:6.2f}, {cell - work:+.2f} beside its work")
    all_of_one, all_of_two = (sum(took.wall for took in many) for many in (one, two))
    print(
        f"wall: {all_of_one:.0f} s with 1 worker, {all_of_two:.0f} s with 2: "
        f"{all_of_one / all_of_two:.2f} times"
    )


if __name__ == "__main__":
    main()
