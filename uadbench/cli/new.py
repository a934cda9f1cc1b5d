"""`uadbench new`: begin a method or a data set of your own."""

from pathlib import Path
from typing import Annotated

import typer

from uadbench.api import make_runtime
from uadbench.cli import complete
from uadbench.cli.options import Plugins
from uadbench.system.text import visible

Folder = Annotated[
    Path | None,
    typer.Option(
        help="Its methods/ or datasets/ is written to; default: that of --plugins, else the checkout."
    ),
]


def method(
    name: Annotated[str, typer.Argument(help="Its name: lower-case letters, digits and _.")],
    folder: Folder = None,
    plugins: Plugins = None,
) -> None:
    """Write a small method that works, to be changed."""
    _write("methods", name, folder)


def dataset(
    name: Annotated[str, typer.Argument(help="Its name: lower-case letters, digits and _.")],
    folder: Folder = None,
    scans: Annotated[
        Path | None,
        typer.Option("--from", help="A folder of scans: card and adapter are made of what is found there."),
    ] = None,
    contrast: Annotated[
        str | None,
        typer.Option(
            help="MR contrast of scans whose names do not say it.", autocompletion=complete.contrasts
        ),
    ] = None,
    plugins: Plugins = None,
) -> None:
    """Write a small data set that works, to be changed."""
    if scans is None:
        _write("datasets", name, folder)
        return
    from uadbench.scaffold import list_next_steps, write_dataset_of

    target, said = write_dataset_of(scans.expanduser(), name, make_runtime("cpu"), contrast, folder)
    typer.echo(f"{visible(said)}\n{target} holds its card and adapter. Next:\n\n", nl=False)
    typer.echo(list_next_steps("scans", target), nl=False)


def _write(kind: str, name: str, folder: Path | None) -> None:
    from uadbench.scaffold import list_next_steps, write_template

    target = write_template(kind, name, folder)
    files = ", ".join(sorted(file.name for file in target.iterdir()))
    steps = list_next_steps(kind, target)
    typer.echo(f"{target} holds {files}; it works as it is. Next:\n\n{steps}", nl=False)
