"""Functions that hand trained methods and scans on: predict, export, export_maps, inject."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uadbench.api.machine import make_runtime

if TYPE_CHECKING:
    from uadbench.experiment.config import Runtime
    from uadbench.experiment.export_maps import Exported
    from uadbench.experiment.model import Model
    from uadbench.experiment.predict_folder import Predictions
    from uadbench.experiment.prediction import Prediction
    from uadbench.implant.inject import Injection


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
    apply = predict_folder if Path(scan).is_dir() else predict_scan
    return apply(Path(model), Path(scan), Path(out), runtime or make_runtime(workers=1), Asked(**asked))


def export(record: Path | str, out: Path | str, *, runtime: "Runtime | None" = None) -> "Model":
    """Write the trained method of a record to a file with which `predict` works on any machine.

    Args:
        record: path of the record, whose fit must be under `runs`; where its scores are calibrated on healthy
            scans, these must be there too.
        out: the file, `*.zip`: facts, what was learned, thresholds, licences of the data; no code, no scan.
        runtime: what `uadbench.api.make_runtime` answers; None: its defaults.
    """
    from uadbench.experiment.model import export_model

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
