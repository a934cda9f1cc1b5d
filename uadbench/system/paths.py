"""Paths: where raw data, working files and results lie."""

import os
from dataclasses import dataclass
from pathlib import Path

from uadbench.system.files import check_writable, read_json, write_json


@dataclass(frozen=True)
class Paths:
    """The folders of an installation.

    `data` holds one raw folder per data set, `runs` everything that can be made again (fits, score
    maps, pictures, and the cache of prepared volumes), `results` the records.
    """

    data: Path
    runs: Path
    results: Path
    cache: Path  # prepared volumes

    @classmethod
    def default(cls) -> "Paths":
        """`data`, `runs` and `results` of the current folder, or what the environment names."""
        data, runs, results = (_named(name) for name in ("data", "runs", "results"))
        return cls(data=data, runs=runs, results=results, cache=runs / "cache")

    def check_writable(self) -> None:
        """UserError where working files or records could not be written."""
        check_writable(self.runs, "UADBENCH_RUNS")
        check_writable(self.cache, "UADBENCH_RUNS")
        check_writable(self.results, "--results or UADBENCH_RESULTS")

    def _roots_file(self) -> Path:
        return self.runs / "roots.json"

    def _roots(self) -> dict[str, str]:
        return read_json(self._roots_file(), dict[str, str]) or {}

    def root(self, dataset: str) -> Path:
        """Raw folder of a data set: the one last named with `--root`, else `data/<name>`."""
        named = self._roots().get(dataset)
        if named:
            return Path(named)
        return self.data / dataset

    @property
    def own(self) -> Path:
        """Plug-ins that the program writes: a data set for each folder of scans that was named as one."""
        return self.runs / "own"

    def drawn(self, dataset: str) -> Path:
        """Where a data set that draws its scans from what was downloaded puts them."""
        return self.runs / "drawn" / dataset

    def fit(self, fit_hash: str) -> Path:
        """The folder of a fit: its state, facts, checkpoints and logs."""
        return self.runs / "fits" / fit_hash

    def stage(self, stage_hash: str) -> Path:
        """The folder of a training that several methods share: as that of a fit."""
        return self.runs / "stages" / stage_hash

    def lock(self, work: str) -> Path:
        """The lock of a piece of work that is done once under `runs`."""
        return self.runs / "locks" / work

    def remember_root(self, dataset: str, root: Path) -> None:
        """Keep a raw folder for the runs that follow."""
        roots = self._roots() | {dataset: str(root.resolve())}
        write_json(self._roots_file(), roots)


def _named(name: str) -> Path:
    """The folder that the environment names, `~` being the home folder; where it names none, `name`."""
    return Path(os.path.expanduser(os.environ.get(f"UADBENCH_{name.upper()}", "").strip() or name))
