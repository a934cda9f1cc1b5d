"""The benchmark of unsupervised anomaly detection in brain MRI.

    run, evaluate, predict      carry out a run, measure its maps again, apply it to scans of your own
    export, export_maps         a run's trained method as a file that travels, its score maps as NIfTI
    evaluate_maps               measure score maps or masks that were made elsewhere
    inject                      put lesions of known size into healthy scans
    read_records, leaderboard   what was measured, as pandas tables
    methods, datasets           what there is: `methods.names()`, `methods.build(name, preset)`, ...
    load_volume                 one scan as a method sees it
    Method, Volume, Score       what a method of your own is, is given and answers
    UserError                   a mistake that the caller can mend, in one sentence

Shape letters, the same in every docstring:
    N subjects, B slices in a batch, C contrasts (channels),
    R, A, S voxels towards the patient's right, front and top (RAS+); axial slices are the last axis.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uadbench import datasets, methods
    from uadbench.api import (
        evaluate,
        evaluate_maps,
        export,
        export_maps,
        inject,
        leaderboard,
        load_volume,
        predict,
        read_records,
        run,
    )
    from uadbench.data.volumes import Volume
    from uadbench.methods import Method, Score
    from uadbench.system.errors import UserError

__version__ = "0.13.0"
__all__ = [
    "Method",
    "Score",
    "UserError",
    "Volume",
    "datasets",
    "evaluate",
    "evaluate_maps",
    "export",
    "export_maps",
    "inject",
    "leaderboard",
    "load_volume",
    "methods",
    "predict",
    "read_records",
    "run",
]
_HOMES = {"Method": "methods", "Score": "methods", "UserError": "system.errors", "Volume": "data.volumes"}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'uadbench' has no attribute '{name}'")
    if name in ("datasets", "methods"):
        return import_module(f"uadbench.{name}")
    return getattr(import_module(f"uadbench.{_HOMES.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
