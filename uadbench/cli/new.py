"""`uadbench new`: begin a method or a data set of your own."""

from pathlib import Path
from typing import Annotated

import typer

from uadbench.cli.options import Plugins

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
    plugins: Plugins = None,
) -> None:
    """Write a small data set that works, to be changed."""
    _write("datasets", name, folder)


def _write(kind: str, name: str, folder: Path | None) -> None:
    from uadbench.scaffold import list_next_steps, write_template

    target = write_template(kind, name, folder)
    files = ", ".join(sorted(file.name for file in target.iterdir()))
    steps = list_next_steps(kind, target)
    typer.echo(f"{target} holds {files}; it works as it is. Next:\n\n{steps}", nl=False)
