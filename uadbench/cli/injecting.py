"""The command that puts lesions into healthy scans: inject."""

from pathlib import Path
from typing import Annotated

import typer

from uadbench import api
from uadbench.cli import complete
from uadbench.cli.options import DatasetOrFolder, Plugins, Quiet, Seed, Workers
from uadbench.system.errors import UserError


def inject(
    dataset: DatasetOrFolder,
    out: Annotated[Path, typer.Option(help="Folder to write; must be empty or new.")],
    kind: Annotated[
        str,
        typer.Option(
            help="glioma, stroke, ms, wmh or mimic (white matter as bright as grey).",
            autocompletion=complete.one_of("glioma", "stroke", "ms", "wmh", "mimic"),
        ),
    ],
    sizes: Annotated[str, typer.Option(help="Volumes in ml, separated by commas: 0.1,1,10.")],
    contrasts: Annotated[
        str | None,
        typer.Option(help="Contrasts-to-noise, separated by commas, negative for darker: -3,3."),
    ] = None,
    mr: Annotated[
        str | None,
        typer.Option(
            "--contrast",
            "--mr",
            help="MR contrast (modality) of the scans; default: the card's first.",
            autocompletion=complete.contrasts,
        ),
    ] = None,
    per_scan: Annotated[int, typer.Option(help="Lesions in each scan, all of one size and contrast.")] = 1,
    edge: Annotated[float, typer.Option(help="Width in mm over which a lesion fades.")] = 2.0,
    shapes: Annotated[
        Path | None, typer.Option(help="Folder of real lesion masks, whose shapes are used instead.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="At most this number of subjects.")] = None,
    seed: Seed = 0,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Put lesions of known size into healthy scans.

    Every healthy-test subject gets a scan for each size and contrast; the folder is a data set.
    """
    from uadbench.report import show

    made = api.inject(
        dataset,
        out,
        runtime=api.make_runtime("cpu", workers, quiet),
        kind=kind,
        sizes=_numbers("--sizes", sizes),
        contrasts=_numbers("--contrasts", contrasts or ""),
        seed=seed,
        per_scan=per_scan,
        edge_mm=edge,
        shapes=shapes,
        mr=mr,
        limit=limit,
    )
    show.show_injection(made)


def _numbers(option: str, text: str) -> list[float]:
    """Numbers that are separated by commas."""
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    try:
        return [float(part) for part in parts]
    except ValueError:
        raise UserError(f"{option} expects numbers separated by commas, got '{text}'.") from None
