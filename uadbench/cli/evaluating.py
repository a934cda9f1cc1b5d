"""The command that measures score maps: those of a record, and those that were made elsewhere."""

from pathlib import Path
from typing import Annotated, Any

import typer

from uadbench import api
from uadbench.api import make_runtime
from uadbench.cli import complete
from uadbench.cli.options import Plugins, Quiet, Results, Seed, Workers
from uadbench.system.errors import UserError


def evaluate(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A record (results/.../seed-0.json), or a folder of NIfTI maps or a CSV that names them.",
        ),
    ],
    truth: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Lesion masks; above 0 is lesion.")
    ] = None,
    brain: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Brain masks; default: the whole volumes.")
    ] = None,
    ignore: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Masks of voxels that are neither hit nor false.")
    ] = None,
    healthy: Annotated[Path | None, typer.Option(metavar="DIR", help="Maps of healthy test scans.")] = None,
    val: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Maps of healthy validation scans: thresholds at 1 % and 5 % false positives."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the method; default: my_method.")] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            "-d",
            help="A data set of the benchmark: its lesion masks, brain masks and split.",
            autocompletion=complete.datasets,
        ),
    ] = None,
    contrast: Annotated[
        str | None, typer.Option(help="MR contrast of the scans.", autocompletion=complete.contrasts)
    ] = None,
    train: Annotated[
        str | None,
        typer.Option(
            help="Healthy data set the method was trained on, or none; default: not stated.",
            autocompletion=complete.datasets,
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="With --dataset: published, hash, or all-test.")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Protocol whose grid is meant; default: the card's, or uad-1.")
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(
            help="native (each scan's own voxels; default with --truth) or protocol (in MNI152).",
            autocompletion=complete.one_of("native", "protocol"),
        ),
    ] = None,
    nan: Annotated[
        str | None, typer.Option(help="Scores that are NaN or infinite: refuse (default), or lowest.")
    ] = None,
    leave_out: Annotated[
        bool,
        typer.Option("--leave-out", help="Leave out scans that cannot be measured; the record lists them."),
    ] = False,
    seed: Seed = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the record of other maps.")] = False,
    results: Results = None,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Measure score maps again, or maps made elsewhere.

    Of a record, the metrics are recomputed from its stored maps. Maps or masks made elsewhere are paired with
    lesion masks by name, measured, and recorded with that mark.
    """
    from uadbench.report import show

    asked: dict[str, Any] = {
        "truth": truth, "brain": brain, "ignore": ignore, "healthy": healthy, "val": val, "name": name,
        "dataset": dataset, "contrast": contrast, "train": train, "split": split, "protocol": protocol,
        "grid": grid, "nan": nan, "leave_out": leave_out or None, "seed": seed or None,
    }  # fmt: skip
    given = {option: value for option, value in asked.items() if value is not None}
    runtime = make_runtime("cpu", workers, quiet, results)
    if path.suffix.lower() != ".json":
        outcome = api.evaluate_maps(path, runtime=runtime, force=force, **given)
    elif given:
        options = ", ".join(f"--{option.replace('_', '-')}" for option in given)
        raise UserError(f"{path} is a record, whose maps are known: leave {options} out.")
    else:
        outcome = api.evaluate(path, runtime=runtime)
    show.show_outcomes([outcome])
