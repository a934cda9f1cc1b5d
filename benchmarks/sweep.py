"""What a sweep costs over bare runs, and how it scales: 64 small cells over one and over two workers.

python benchmarks/sweep.py [--cells 64] [--rounds 4]

The cells are `random` on the tests' data set of balls, one seed each, with scans prepared beforehand; rounds
with one and with two workers take turns, so that both meet the same load of the machine.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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
    before = time.perf_counter()
    run(RunConfig(method="random", dataset="balls", preset="ci", limit=1, seed=seed), runtime)
    took.append(time.perf_counter() - before)
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

    def python(self, *arguments: str) -> str:
        """What Python prints."""
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True)
        return done.stdout

    def bare(self) -> float:
        """Seconds of one `uadbench run`."""
        start = time.perf_counter()
        seed = str(self.seeds(1)[0])
        self.python("-m", "uadbench", "run", *CELL, "--seed", seed, "--quiet", "--workers", "1")
        return time.perf_counter() - start

    def in_one_process(self, count: int) -> float:
        """Seconds a cell without any start-up."""
        return float(self.python("-c", IN_ONE_PROCESS, *map(str, self.seeds(count))))

    def sweep(self, cells: int, workers: int) -> float:
        """Seconds of one `uadbench sweep` of so many new cells."""
        file = self.home / "sweep.toml"
        file.write_text(SWEEP.format(seeds=self.seeds(cells)))
        start = time.perf_counter()
        said = self.python("-m", "uadbench", "sweep", str(file), "--jobs", str(workers))
        assert f"{cells} done" in said, said
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=4)
    asked = parser.parse_args()
    share = asked.cells // asked.rounds
    bare, alone, one, two = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder) / "place")
        for _ in range(asked.rounds):
            bare.append(place.bare())
            alone.append(place.in_one_process(5))
            one.append(place.sweep(share, 1))
            two.append(place.sweep(share, 2))
    cell = sum(one) / (share * asked.rounds)
    print(f"{share * asked.rounds} cells in {asked.rounds} interleaved rounds; load {os.getloadavg()[0]:.1f}")
    print(f"  bare `uadbench run`           {statistics.median(bare):6.2f} s a cell")
    print(f"  in one process, no start-up   {statistics.median(alone):6.2f} s a cell")
    print(f"  sweep, 1 worker               {cell:6.2f} s a cell, its own start included")
    print(f"  overhead over a bare run      {cell - statistics.median(bare):+6.2f} s a cell (goal: under 1)")
    print(f"  overhead over no start-up     {cell - statistics.median(alone):+6.2f} s a cell")
    ratio = sum(one) / sum(two)
    print(f"  {sum(one):.0f} s with 1 worker, {sum(two):.0f} s with 2: {ratio:.2f} times (goal: 1.8)")


if __name__ == "__main__":
    main()
