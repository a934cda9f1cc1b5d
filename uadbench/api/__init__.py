"""The functions of `import uadbench`, which the command line calls too.

Heavy modules are imported inside functions, so that `import uadbench` and `uadbench --help` stay fast.
"""

from uadbench.api.applying import export, export_maps, inject, predict
from uadbench.api.machine import find_paths, make_runtime
from uadbench.api.making import evaluate, evaluate_maps, run
from uadbench.api.reading import leaderboard, load_volume, read_records

__all__ = [
    "evaluate",
    "evaluate_maps",
    "export",
    "export_maps",
    "find_paths",
    "inject",
    "leaderboard",
    "load_volume",
    "make_runtime",
    "predict",
    "read_records",
    "run",
]
