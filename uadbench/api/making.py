"""Functions that make records: run, evaluate, evaluate_maps."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uadbench.api.machine import make_runtime

if TYPE_CHECKING:
    from uadbench.experiment.config import Runtime
    from uadbench.experiment.run import Outcome


def run(
    method: str, dataset: Path | str, *, runtime: "Runtime | None" = None, force: bool = False, **asked: Any
) -> "Outcome":
    """Prepare what is missing, fit, score, evaluate and record a method on a data set.

    Args:
        method: row of `uadbench.methods.names()`.
        dataset: one of `uadbench.datasets.names()`, or a folder of scans, to test on.
        runtime: what `uadbench.api.make_runtime` answers; None: its defaults.
        force: fit, score and record again where that is done already.
        asked: other fields of `uadbench.experiment.config.RunConfig`, such as `preset`, `seed`, `contrast`,
            `train`, `limit`, or `settings`, a mapping of the method's options.

    Returns:
        The record and where its files lie.

    Raises:
        UserError: something that was asked for is not there, or cannot be carried out.
    """
    from uadbench.experiment.config import RunConfig
    from uadbench.experiment.own import name_dataset
    from uadbench.experiment.run import run as carry_out

    runtime = runtime or make_runtime()
    asked |= {"dataset": dataset, "train": asked.get("train")}
    for key in ("dataset", "train"):
        asked[key] = asked[key] and name_dataset(str(asked[key]), runtime, asked.get("contrast"))
    settings = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in asked.pop("settings", {}).items()
    }
    return carry_out(RunConfig(method=method, settings=settings, **asked), runtime, force)


def evaluate(record: Path | str, *, runtime: "Runtime | None" = None) -> "Outcome":
    """Recompute the metrics of a record from its stored score maps, and write the record again."""
    from uadbench.experiment.run import evaluate_again

    return evaluate_again(Path(record), runtime or make_runtime("cpu"))


def evaluate_maps(
    maps: Any, truth: Any = None, *, runtime: "Runtime | None" = None, force: bool = False, **asked: Any
) -> "Outcome":
    """Measure score maps or masks that were made elsewhere, and record what was measured.

    Args:
        maps: folder of NIfTI files, a table that names every file (docs/how-to/maps.md), or a mapping of ids
            to arrays (R, A, S), higher is more anomalous; arrays of 0 and 1 are measured as masks.
        truth: lesion masks in the same way, above 0 is lesion; None with a table or with `dataset`.
        runtime: what `uadbench.api.make_runtime` answers; None: its defaults.
        force: replace the record of other maps under the same name.
        asked: other fields of `uadbench.experiment.elsewhere.asked.MapsConfig`: `brain`, `ignore`, `healthy`
            and `val` (maps of healthy test and validation scans) as `maps`; `spacing_mm` of arrays, one
            number or three; `name` of the method; `dataset`, `contrast`, `train`, `split`, `protocol`,
            `grid`, `nan`, `leave_out`, `seed`.

    Returns:
        The record and where its files lie; beside it are `seed-0.subjects.csv` and `seed-0.lesions.csv`.

    Raises:
        UserError: files that do not belong together, a scan that cannot be measured, nothing to measure.
    """
    from uadbench.experiment.elsewhere.asked import MapsConfig
    from uadbench.experiment.elsewhere.evaluate_maps import evaluate_maps as carry_out

    asked |= {"maps": maps, "truth": truth}
    for name in ("maps", "truth", "brain", "ignore", "healthy", "val"):
        if isinstance(asked.get(name), str):
            asked[name] = Path(asked[name]).expanduser()
    return carry_out(MapsConfig(**asked), runtime or make_runtime("cpu"), force)
