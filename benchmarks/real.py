"""Every method on the real scans at hand: train -> test pairs of what lies under a folder of downloads.

python benchmarks/real.py --data /data --results results/real [--method ae] [--preset demo]

Data sets are recognised by the names of their folders (FOLDERS). A pair whose data are not there is passed
over and named. What is done already is not done again, so that it can be killed and started anew; a row that
fails is recorded as failed, and the others go on. Ends with the leaderboard of the results folder.
"""

import argparse
import os
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from uadbench import datasets, methods
from uadbench.experiment import record
from uadbench.experiment.collect import collect
from uadbench.experiment.plan import RunConfig, Runtime
from uadbench.experiment.run import run_recording_failure
from uadbench.report import evidence, formats, leaderboard
from uadbench.system.environment import resolve_device
from uadbench.system.errors import UserError
from uadbench.system.files import write_text
from uadbench.system.paths import Paths
from uadbench.system.progress import Bars, Silent

FOLDERS = {  # data set -> what its folder is called, in lower case
    "ixi": ("ixi*",),
    "mslub": ("mslub*",),
    "brats13": ("brats13*", "brats*2013*"),
    "labelmaps": ("labelmaps*", "training_label_maps*"),
    "lgg": ("lgg*", "kaggle_3m*"),
}


@dataclass(frozen=True)
class Pair:
    """A cohort to learn from and one to test on, in one contrast."""

    train: str
    test: str
    contrast: str
    protocol: str | None  # None: that of the test set's card
    learned: tuple[str, ...] = ()  # contrasts to learn from, where they are not the tested one: a transfer


def pairs(protocol: str) -> list[Pair]:
    return [
        Pair("ixi", "mslub", "T1", protocol),
        Pair("ixi", "brats13", "T1ce", protocol, learned=("T1",)),
        Pair("lgg", "lgg", "FLAIR", None),
        Pair("labelmaps", "mslub", "FLAIR", protocol),
        Pair("labelmaps", "mslub", "T2", protocol),
        Pair("labelmaps", "brats13", "FLAIR", protocol),
    ]


def found(data: Path) -> dict[str, Path]:
    """The folder of each data set, the first by name where there are several."""
    roots: dict[str, Path] = {}
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        for name, patterns in FOLDERS.items():
            if any(fnmatch(folder.name.lower(), pattern) for pattern in patterns):
                roots.setdefault(name, folder)
    known = datasets.names()
    return {name: folder for name, folder in roots.items() if name in known}


def run_all(runtime: Runtime, options: argparse.Namespace) -> list[str]:
    """Run every row on every pair; what could not be asked for, and what failed, in words."""
    roots, said = found(options.data), []
    for name, root in roots.items():
        runtime.paths.remember_root(name, root)
    for pair in pairs(options.protocol):
        absent = sorted({pair.train, pair.test} - set(roots))
        if absent:
            said.append(f"{pair.train} to {pair.test} {pair.contrast}: no {' and no '.join(absent)} there")
            continue
        for method in options.method or methods.names():
            what = f"{method}, {pair.train} to {pair.test} {pair.contrast}"
            config = RunConfig(
                method=method,
                dataset=pair.test,
                train=pair.train,
                contrast=pair.contrast,
                train_contrasts=pair.learned,
                preset=options.preset,
                protocol=pair.protocol,
            )
            try:
                outcome = run_recording_failure(config, runtime)
            except UserError as error:
                said.append(f"{what}: {error}")
                continue
            if isinstance(outcome, str):
                said.append(f"{what} failed: {outcome}")
            print(f"done: {what}", flush=True)
    return said


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder for each data set")
    parser.add_argument("--results", type=Path, required=True, help="folder of the records")
    parser.add_argument("--runs", type=Path, default=Paths.default().runs / "real", help="working files")
    parser.add_argument("--method", action="append", help="only this row; repeatable")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--protocol", default="uad-1-2mm")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    paths = replace(Paths.default(), results=options.results, runs=options.runs, cache=options.runs / "cache")
    progress = Silent() if options.quiet else Bars()
    runtime = Runtime(paths, progress, resolve_device(options.device), options.workers)
    said = run_all(runtime, options)
    found = collect(options.results)
    failed = [(str(place), reason) for place, reason in record.failures(options.results)]
    tables = leaderboard.tables(found.records, "ap", evidence.resamples_for(len(found.records)))
    text = formats.markdown(tables, failed, found.left_out)
    write_text(options.results / "LEADERBOARD.md", text)
    print(text)
    print("\n".join(["Not done:", *said] if said else ["Every row is done."]))


if __name__ == "__main__":
    main()
