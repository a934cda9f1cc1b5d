"""The functions of `import uadbench`, which the command line calls too.

Heavy modules are imported inside functions, so that `import uadbench` and `uadbench --help` stay fast.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

    from uadbench.data.volumes import Volume
    from uadbench.experiment.config import Runtime
    from uadbench.experiment.predict import Prediction
    from uadbench.experiment.run import Outcome
    from uadbench.implant.inject import Injection
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


def predict(
    record: Path | str,
    scan: Path | str,
    out: Path | str,
    *,
    runtime: "Runtime | None" = None,
    brain_mask: Path | None = None,
    stripped: bool = False,
    point: str | None = None,
) -> "Prediction":
    """Apply the trained method of a record to a scan of your own.

    Args:
        record: path of the record (`results/.../seed-0.json`).
        scan: a NIfTI file of the record's contrast.
        out: folder for score map, mask and pseudo-healthy volume in the scan's own space, picture and JSON.
        runtime: what `uadbench.api.make_runtime` answers; None: its defaults.
        brain_mask: of the scan; None: extracted.
        stripped: whether the scan shows the brain alone.
        point: threshold of the mask: fpr1, fpr5, val or a number; None: the first that the record has.
    """
    from uadbench.experiment.predict import predict_scan

    places = Path(record), Path(scan), Path(out)
    return predict_scan(*places, runtime or make_runtime(workers=1), brain_mask, stripped, point)


def inject(
    dataset: Path | str, out: Path | str, *, runtime: "Runtime | None" = None, **asked: Any
) -> "Injection":
    """Put lesions of known size and contrast-to-noise into the healthy-test scans of a data set.

    Args:
        dataset: one of `uadbench.datasets.names()`, or a folder of scans, with healthy subjects.
        out: new or empty folder for the scans, their masks and the table of lesions; it is a data set then.
        runtime: what `uadbench.api.make_runtime` answers; None: its defaults.
        asked: fields of `uadbench.implant.order.Order`: `kind`, `sizes` (ml), `contrasts` (signed
            contrast-to-noise) and, if need be, `seed`, `per_scan`, `edge_mm`, `shapes`, `mr` and `limit`.

    Returns:
        Every lesion as asked and as measured, and who was left out, with the reasons.

    Raises:
        UserError: something cannot be as it is asked for; nothing is written then.
    """
    from uadbench.experiment.own import name_dataset
    from uadbench.implant.inject import inject as carry_out
    from uadbench.implant.order import Order, check_order

    order, runtime = Order(**asked), runtime or make_runtime("cpu")
    check_order(order)
    name = name_dataset(str(dataset), runtime, order.mr)
    return carry_out(name, Path(out).expanduser(), order, runtime)


def load_volume(
    dataset: Path | str,
    session: str | None = None,
    contrast: str | None = None,
    grid: str | None = None,
    *,
    runtime: "Runtime | None" = None,
) -> "Volume":
    """One scan of a data set, prepared as a method is handed it.

    Args:
        dataset: one of `uadbench.datasets.names()`, or a folder of scans.
        session: id of the scan; None: the first that has the contrast.
        contrast: None: the first of the data set's card.
        grid: such as g96; None: the evaluation grid of the data set's protocol.
        runtime: what `uadbench.api.make_runtime` answers; None: its defaults.

    Returns:
        `image` (1, R, A, S) float32 in [0, 1], exactly 0 outside the brain, and `brain` (R, A, S) bool.
    """
    from uadbench.cards import contrast_of
    from uadbench.data.space import EVALUATION
    from uadbench.data.volumes import Volumes
    from uadbench.experiment.config import find_dataset
    from uadbench.experiment.own import name_dataset
    from uadbench.preprocessing.prepare import prepare
    from uadbench.protocol import protocol
    from uadbench.system.errors import UserError, unknown

    runtime = runtime or make_runtime("cpu", workers=1)
    found = find_dataset(name_dataset(str(dataset), runtime, contrast), runtime)
    wanted = contrast_of(found.card, contrast) if contrast else found.card.contrasts[0]
    there = {one.id: one for one in found.with_contrast(wanted)}
    if session is not None and session not in there:
        raise unknown("session", session, there, of=found.card.name)
    chosen = there[session or next(iter(there))]
    on = protocol(found.card.protocol).model_target(grid or EVALUATION)
    made = prepare([chosen], wanted, on, found.card, runtime.paths.cache, 1, runtime.progress)
    if made.failures:
        raise UserError(f"{chosen.id} could not be prepared: {made.failures[0].reason}")
    volume: Volume = Volumes(made.prepared, made.prepared[0].grid)[0]
    return volume


def read_records(results: Path | str | None = None) -> "DataFrame":
    """Every record below a folder that can be believed, one row each: what was run and its figures.

    Columns: the facts of the run, the columns of the leaderboard, and `path`. `attrs["left_out"]` names the
    files that do not count, each with the reason.
    """
    from pandas import DataFrame

    from uadbench.experiment.collect import collect_records
    from uadbench.report.leaderboard import numbers

    found = collect_records(find_paths(results).results)
    facts = (
        "protocol", "regime", "train", "test", "contrast", "method", "variant", "preset", "model_grid",
        "headline", "seed", "limit", "metric_version", "n_parameters",
    )  # fmt: skip
    rows = [
        {name: getattr(one.record, name) for name in facts} | numbers(one.record) | {"path": str(one.path)}
        for one in found.records
    ]
    frame = DataFrame(rows)
    frame.attrs["left_out"] = dict(found.left_out)
    return frame


def leaderboard(
    results: Path | str | None = None,
    *,
    dataset: str | None = None,
    contrast: str | None = None,
    preset: str | None = None,
    sort: str = "ap",
    resamples: int = 1000,
) -> "DataFrame":
    """The rows of all tables of the leaderboard, numbers averaged over seeds.

    Only rows of one `table` may be compared; `rank` is missing where no order can be claimed.

    Args:
        results: folder of the records; None: `results`, or what UADBENCH_RESULTS names.
        dataset: only this test set.
        contrast: only this contrast.
        preset: only this preset; None: all but ci.
        sort: column by which the rows of a table are sorted, best first.
        resamples: of the bootstrap over subjects, from which ranks come; 0: no ranks.
    """
    from pandas import DataFrame

    from uadbench.experiment.collect import collect_records
    from uadbench.report import leaderboard as board

    found = collect_records(
        find_paths(results).results, lambda r: board.is_wanted(r, dataset, contrast, preset)
    )
    rows = [
        {
            "table": number,
            "protocol": table.protocol,
            "regime": table.regime,
            "test": table.test,
            "contrast": table.contrast,
            "headline": table.headline,
            "rank": row.standing.position if row.standing else None,
            "method": row.method,
            "variant": row.variant,
            "model_grid": row.model_grid,
            "trained_on": row.trained_on,
            "seeds": len(row.seeds),
            "scored": row.scored,
            "excluded": row.excluded_count,
            **row.numbers,
        }
        for number, table in enumerate(board.tables(found.records, sort, resamples))
        for row in table.rows
    ]
    return DataFrame(rows)
