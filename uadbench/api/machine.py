"""Where data lie, and how runs are carried out."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uadbench.experiment.config import Runtime
    from uadbench.system.paths import Paths


def find_paths(results: Path | str | None = None) -> "Paths":
    """Where data, runs and records lie: folders of the current one, or what the environment names."""
    from uadbench.system.paths import Paths

    paths = Paths.default()
    return paths if results is None else replace(paths, results=Path(results).expanduser())


def make_runtime(
    device: str = "auto", workers: int = 0, quiet: bool = True, results: Path | str | None = None
) -> "Runtime":
    """Where and how runs are carried out.

    Args:
        device: auto, cpu, cuda, cuda:1 or mps.
        workers: processes that share the work on subjects; 0: one per core.
        quiet: no progress; else bars on a terminal, and a line now and then in a file.
        results: folder of the records; None: `results`, or what UADBENCH_RESULTS names.
    """
    from uadbench.experiment.config import Runtime
    from uadbench.system.environment import resolve_device
    from uadbench.system.progress import Bars, Lines, Silent

    progress = Silent() if quiet else Bars() if sys.stderr.isatty() else Lines()
    return Runtime(find_paths(results), progress, resolve_device(device), workers or os.cpu_count() or 1)
