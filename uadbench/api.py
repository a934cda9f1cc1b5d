"""The functions of `import uadbench`, which the command line calls too.

Heavy modules are imported inside functions, so that `import uadbench` and `uadbench --help` stay fast.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

    from uadbench.data.volumes import Volume
    from uadbench.experiment.config import Runtime
    from uadbench.experiment.export_maps import Exported
    from uadbench.experiment.model import Model
    from uadbench.experiment.predict_folder import Predictions
    from uadbench.experiment.prediction import Prediction
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


def predict(
    model: Path | str, scan: Path | str, out: Path | str, *, runtime: "Runtime | None" = None, **asked: Any
) -> "Prediction | Predictions":
    """Apply a trained method to a scan of your own, or to every scan below a folder.

    Args:
        model: path of a record (`results/.../seed-0.json`), or a model file that `export` wrote, which needs
            neither data nor runs.
        scan: a NIfTI file of the model's contrast, or a folder of them.
        out: folder for score map, mask and pseudo-healthy volume in the scan's own space, picture and JSON;
            of a folder of scans a folder for each of them, and one CSV and one JSON of all.
        runtime: what `uadbench.api.make_runtime` answers; None: its defaults.
        asked: fields of `uadbench.experiment.prediction.Asked`: `brain_mask` (a file, or a folder of masks;
            None: extracted), `stripped` (whether scans show the brain alone), `space` (native,
            co-registered or MNI152), `t1` (of the same session, a file or a folder; for other contrasts),
            `point` (threshold of the mask: fpr1, fpr5, val or a number; None: the first that there is),
            `match` (of a folder the names of the scans, such as `*_T1w.nii.gz`).

    Returns:
        What is said of the scan; of a folder what is said of each, and why others failed.

    Raises:
        UserError: the model or the scan cannot be used; a bad scan of a folder raises nothing.
    """
    from uadbench.experiment.predict import predict_scan
    from uadbench.experiment.predict_folder import predict_folder
    from uadbench.experiment.prediction import Asked

    asked |= {key: Path(asked[key]) for key in ("brain_mask", "t1") if asked.get(key) is not None}
    places, at = (Path(model), Path(scan), Path(out)), runtime or make_runtime(workers=1)
    if Path(scan).is_dir():
        return predict_folder(*places, at, Asked(**asked))
    asked.pop("match", None)
    return predict_scan(*places, at, **asked)


def export(record: Path | str, out: Path | str, *, runtime: "Runtime | None" = None) -> "Model":
    """Write the trained method of a record to a file with which `predict` works on any machine.

    Args:
        record: path of the record, whose fit must be under `runs`; where its scores are calibrated on healthy
            scans, these must be there too.
        out: the file, `*.zip`: facts, what was learned, thresholds, licences of the data; no code, no scan.
        runtime: what `uadbench.api.make_runtime` answers; None: its defaults.
    """
    from uadbench.experiment.export import export_model

    return export_model(Path(record), Path(out), runtime or make_runtime("cpu"))


def export_maps(
    record: Path | str,
    out: Path | str,
    *,
    partitions: Sequence[str] = (),
    on_grid: bool = False,
    runtime: "Runtime | None" = None,
) -> "Exported":
    """Write the score maps of a run as NIfTI: `PARTITION/ID.nii.gz`, and brain masks beside them.

    Args:
        record: path of the record, whose maps must be under `runs`.
        out: folder; `brain` and, where the method makes them, `pseudo_healthy` are folders in it.
        partitions: healthy-val, healthy-test, lesion-val, lesion-test; none named: all.
        on_grid: on the protocol's evaluation grid, where they are measured, not in each scan's own voxels.
        runtime: what `uadbench.api.make_runtime` answers; None: its defaults.
    """
    from uadbench.experiment.export_maps import export_maps as write_maps

    return write_maps(Path(record), Path(out), runtime or make_runtime("cpu"), partitions, on_grid)


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
