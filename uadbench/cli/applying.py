"""Commands that apply records and hand them on: predict, export, export-maps."""

from pathlib import Path
from typing import Annotated

import typer

from uadbench import api
from uadbench.api import make_runtime
from uadbench.cli import complete
from uadbench.cli.options import Device, Plugins, Quiet, Run, Workers

PARTITIONS = ("healthy-val", "healthy-test", "lesion-val", "lesion-test")


def predict(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A record, or a model file that `export` wrote.")
    ],
    scan: Annotated[
        Path,
        typer.Argument(metavar="SCAN", help="A NIfTI file of the model's contrast, or a folder."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for maps, mask, picture and prediction.json.")],
    brain_mask: Annotated[
        Path | None,
        typer.Option(help="Brain mask, or a folder of masks for a folder of scans; default: extracted."),
    ] = None,
    stripped: Annotated[bool, typer.Option("--stripped", help="The scan shows the brain alone.")] = False,
    space: Annotated[
        str,
        typer.Option(
            help="native; co-registered (with --t1); or MNI152: scans are there already.",
            autocompletion=complete.one_of("native", "co-registered", "MNI152"),
        ),
    ] = "native",
    t1: Annotated[
        Path | None,
        typer.Option(
            "--t1",
            help="T1 of the same session, or a folder of them: there brain and registration are found.",
        ),
    ] = None,
    point: Annotated[
        str | None,
        typer.Option(
            help="Threshold of the mask: fpr1, fpr5, val or a number; default: the first there is.",
            autocompletion=complete.one_of("fpr1", "fpr5", "val"),
        ),
    ] = None,
    match: Annotated[str, typer.Option(help="Names of the scans in a folder, such as '*_T1w.nii.gz'.")] = "*",
    device: Device = "auto",
    workers: Workers = 1,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Apply a trained method to your own scans.

    The maps are in each scan's own space. A model file needs no data set. In a folder of scans a bad one is
    named and the others are done; the same command resumes.
    """
    from uadbench.experiment.prediction import Prediction
    from uadbench.report import show

    made = api.predict(
        model,
        scan,
        out,
        runtime=make_runtime(device, workers, quiet),
        brain_mask=brain_mask,
        stripped=stripped,
        space=space,
        t1=t1,
        point=point,
        match=match,
    )
    if isinstance(made, Prediction):
        show.show_prediction(made, out)
        return
    show.show_predictions(made)
    if made.failures:
        raise typer.Exit(1)


def export(
    run: Run,
    out: Annotated[Path, typer.Argument(metavar="MODEL", help="The file to write, such as model.zip.")],
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Write a trained method to one file.

    `predict` applies it on any machine that has uadbench, without data. The file holds what was learned,
    thresholds and licences; no code and no scan.
    """
    from uadbench.report import show

    show.show_exported(api.export(run, out, runtime=make_runtime("cpu", workers, quiet)), out)


def export_maps(
    run: Run,
    out: Annotated[Path, typer.Option(help="Folder for the maps: PARTITION/ID.nii.gz.")],
    partition: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this one: healthy-val, healthy-test, lesion-val, lesion-test. Repeatable.",
            autocompletion=complete.one_of(*PARTITIONS),
        ),
    ] = None,
    grid: Annotated[
        bool, typer.Option("--grid", help="On the evaluation grid instead of each scan's own voxels.")
    ] = False,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Write a run's score maps as NIfTI.

    In each scan's own space, with the brain masks and the pseudo-healthy volumes beside them.
    """
    from uadbench.report import show

    runtime = make_runtime("cpu", workers, quiet)
    made = api.export_maps(run, out, partitions=partition or (), on_grid=grid, runtime=runtime)
    show.show_maps(made)
    if made.failures:
        raise typer.Exit(1)
