"""Run every learned method at a preset on one GPU, in steps that can be stopped and taken up again.

python benchmarks/gpu.py [--device cuda] [--preset small] [--healthy 200] [--data NAME=FOLDER ...]
                         [--step throughput] [--minutes 9] [--total-minutes 25] [--fresh]

Steps: `prepare phantom T1` (and make it), `throughput` (benchmarks/throughput.py), `run phantom T1` (all
rows, the quickest to train first), then `run <set> <contrast>` for each set of patients among `--data` whose
healthy partner is there too. Each call does what is not done until its minutes are over, and says what is
left; a row that was stopped goes on from its checkpoint. Records and the table, with the hardware named, go
to `--results`; everything else lies under `--runs`. Nothing needs a GPU: `--device cpu --preset ci`.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uadbench import methods
from uadbench.cards import PRESETS, dataset_card, method_card, method_names
from uadbench.experiment.config import RunConfig, Runtime, resolve_run
from uadbench.experiment.record import failure_path
from uadbench.phantom import HEALTHY_VARIABLE
from uadbench.system.errors import UserError
from uadbench.system.files import write_json
from uadbench.system.paths import Paths
from uadbench.system.progress import Silent

SHORTEST_S = 20.0  # with less time left no work is begun


@dataclass(frozen=True)
class Step:
    """A piece of work: `kind` is "prepare", "throughput" or "run"; the last one on a pair of cohorts."""

    kind: str
    dataset: str = ""
    train: str = ""
    contrast: str = ""

    @property
    def name(self) -> str:
        """The step in words."""
        return " ".join(part for part in (self.kind, self.dataset, self.contrast) if part)


class Driver:
    """The steps, what of them is done, and how much time they have taken."""

    def __init__(self, given: argparse.Namespace) -> None:
        """Take up the ledger of earlier calls, or begin a new one."""
        self.given = given
        self.rows: list[str] = given.methods or [n for n in method_names() if method_card(n).trained]
        self.roots = dict(text.split("=", 1) for text in given.data)
        self.paths = Paths(given.runs / "data", given.runs, given.results, given.runs / "cache")
        self.runtime = Runtime(self.paths, Silent())
        self._ledger_file = given.runs / "gpu.json"
        asked = {key: getattr(given, key) for key in ("device", "preset", "dataset", "healthy", "limit")}
        # `done` lists the rows of each step that came to an end, with a record or without.
        self.ledger: dict[str, Any] = {"asked": asked, "begun": time.time(), "spent_s": 0.0, "done": {}}
        if self._ledger_file.exists() and not given.fresh:
            earlier = json.loads(self._ledger_file.read_text())
            self.ledger = earlier if earlier["asked"] == asked else self.ledger
        self._stop = time.monotonic() + min(60 * given.minutes, self.budget_s)

    @property
    def budget_s(self) -> float:
        """Seconds left for all calls together."""
        total_s: float = 60 * self.given.total_minutes
        return total_s - float(self.ledger["spent_s"])

    def left_s(self) -> float:
        """Seconds left of this call."""
        left_s: float = self._stop - time.monotonic()
        return left_s

    def steps(self) -> list[Step]:
        """All steps, in their order."""
        first = self.given.dataset
        contrast = dataset_card(first).contrasts[0]
        found = [
            Step("prepare", first, first, contrast),
            Step("throughput"),
            Step("run", first, first, contrast),
        ]
        for name in self.roots:
            card = dataset_card(name)
            for tested in card.contrasts if card.role != "healthy" else ():
                partner = next((p for p in card.partners.get(tested, ()) if p in self.roots), None)
                if partner is None:
                    print(f"left out: {name} {tested}: none of its healthy partners is among --data")
                else:
                    found.append(Step("run", name, partner, tested))
        return found

    # ---- what a step is ------------------------------------------------------------------------

    def left(self, step: Step) -> list[str]:
        """The rows for which a step is not done."""
        return [row for row in self.rows if row not in self.ledger["done"].get(step.name, [])]

    def commands(self, step: Step) -> list[tuple[list[str], list[str]]]:
        """The rows and the command of each piece that is left of a step."""
        given, rows = self.given, self.left(step)
        if step.kind == "run":
            return self._runs(step)
        if step.kind == "prepare":
            grids = sorted({methods.build(row, given.preset).grid for row in rows})
            named = [word for grid in grids for word in ("--grid", grid)]
            command = [
                "-m",
                "uadbench",
                "prepare",
                step.dataset,
                "--contrast",
                step.contrast,
                *named,
                "--quiet",
            ]
        else:
            how = ["--device", given.device, "--preset", given.preset, "--seconds", str(given.seconds)]
            where = ["--output", str(given.results / "throughput")]
            command = [str(Path(__file__).with_name("throughput.py")), *how, *where, "--methods", *self.rows]
        return [(rows, command)]

    def _runs(self, step: Step) -> list[tuple[list[str], list[str]]]:
        """A run of the rows without a record, and one of those whose record is older than the ledger."""
        given = self.given
        command = ["-m", "uadbench", "run", "--dataset", step.dataset, "--train", step.train]
        command += ["--contrast", step.contrast, "--preset", given.preset, "--device", given.device]
        command += ["--results", str(given.results), "--quiet"]
        command += ["--limit", str(given.limit)] if given.limit else []
        without, older = [], []
        for row in sorted(self.left(step), key=self.fit_s):
            path = self.record(step, row)
            times = [p.stat().st_mtime for p in (path, failure_path(path)) if p.exists()]
            if not times:
                without.append(row)
            elif max(times) < self.ledger["begun"]:
                older.append(row)
        return [
            (rows, [*command, *force, *(word for row in rows for word in ("--method", row))])
            for rows, force in ((without, []), (older, ["--force"]))
            if rows
        ]

    def record(self, step: Step, row: str) -> Path:
        """Where the record of a row is, or will be."""
        config = RunConfig(
            method=row, dataset=step.dataset, train=step.train, contrast=step.contrast,
            preset=self.given.preset, limit=self.given.limit,
        )  # fmt: skip
        return self.paths.results / resolve_run(config, self.runtime).place

    def fit_s(self, row: str) -> float:
        """Seconds that a row's fit takes by the throughput table; unknown ones come last."""
        for table in sorted((self.paths.results / "throughput").glob("*.json")):
            content = json.loads(table.read_text())
            if content["facts"]["preset"] != self.given.preset:
                continue
            found = content["methods"].get(row, {})
            if "training" in found:
                return float(sum(entry["fit_s"] for entry in found["training"]))
        return float("inf")

    def missing(self) -> dict[str, list[str]]:
        """By finished run, the rows that left no record: they failed, or cannot be run on these cohorts."""
        finished = [step for step in self.steps() if step.kind == "run" and not self.left(step)]
        found = {}
        for step in finished:
            with suppress(UserError):
                found[step.name] = [row for row in self.rows if not self.record(step, row).exists()]
        return {name: rows for name, rows in found.items() if rows}

    # ---- doing it ------------------------------------------------------------------------------

    def go(self) -> list[Step]:
        """Do what is not done while there is time; returns the steps that are left."""
        for name, folder in self.roots.items():
            self.paths.remember_root(name, Path(folder))
        os.environ |= {
            "UADBENCH_RUNS": str(self.paths.runs),
            "UADBENCH_DATA": str(self.paths.data),
            HEALTHY_VARIABLE: str(self.given.healthy),
        }
        for step in self.steps():
            if not self.left(step) or self.given.step not in (None, step.name, step.kind):
                continue
            start = time.monotonic()
            finished = self._do(step)
            seconds = time.monotonic() - start
            self.ledger["spent_s"] += seconds
            write_json(self._ledger_file, self.ledger)
            print(f"{step.name}: {'done' if finished else 'stopped'} after {seconds:.0f} s", flush=True)
            if not finished:
                break
        return [step for step in self.steps() if self.left(step)]

    def _do(self, step: Step) -> bool:
        """Whether a step has come to an end; a row of it that cannot be run is at its end too."""
        try:
            commands = self.commands(step)
        except UserError as error:
            print(f"left out: {step.name}: {error}")
            commands = []
        for rows, command in commands:
            if self.left_s() < SHORTEST_S:
                return False
            code = run_for([sys.executable, *command], self.left_s())
            if code is None:
                return False
            if code:
                print(f"{step.name}: a command ended with exit code {code}")
            self.ledger["done"].setdefault(step.name, []).extend(rows)
        self.ledger["done"][step.name] = self.rows
        return True


def run_for(command: Sequence[str], seconds: float) -> int | None:
    """Exit code of a command; None where it had to be ended after some seconds, with all that it started."""
    print("$", " ".join(command), flush=True)
    process = subprocess.Popen(command, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        for kind, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, kind)
                process.wait(patience)


def options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--preset", default="small", choices=PRESETS)
    parser.add_argument("--methods", nargs="*", default=None, help="rows; default: all that learn")
    parser.add_argument("--dataset", default="phantom", help="the set that makes its own files")
    parser.add_argument("--healthy", type=int, default=200, help="healthy subjects of the phantom")
    parser.add_argument("--limit", type=int, default=None, help="at most so many subjects of each partition")
    parser.add_argument(
        "--data", nargs="*", default=[], metavar="NAME=FOLDER", help="data sets that are here"
    )
    parser.add_argument(
        "--step", default=None, help="only this one: prepare, throughput, run, 'run phantom T1'"
    )
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement of throughput")
    parser.add_argument("--minutes", type=float, default=9.0, help="of this call")
    parser.add_argument("--total-minutes", type=float, default=25.0, help="of all calls since --fresh")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--fresh", action="store_true", help="begin anew: what is recorded is done again")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the next steps and say what is left."""
    driver = Driver(options(sys.argv[1:] if arguments is None else arguments))
    left = driver.go()
    for name, rows in driver.missing().items():
        print(f"no record of {name}: {', '.join(rows)}")
    spent = driver.ledger["spent_s"] / 60
    if not left:
        print(f"all steps are done, after {spent:.1f} min; `uadbench leaderboard` shows the records")
    elif driver.budget_s < SHORTEST_S:
        names = ", ".join(step.name for step in left)
        print(f"{spent:.1f} min are spent; not done: {names}; --total-minutes gives more")
    else:
        print(f"{spent:.1f} min so far; left: {', '.join(step.name for step in left)}; call again to go on")


if __name__ == "__main__":
    main()
