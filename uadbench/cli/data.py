"""Commands on data: verify, prepare, fixture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uadbench.api import make_runtime
from uadbench.cli import complete
from uadbench.cli.options import N4, DatasetOrFolder, Extractor, Plugins, Quiet, Workers, name_folder
from uadbench.system.errors import UserError

if TYPE_CHECKING:
    from uadbench.experiment.config import Runtime
    from uadbench.system.paths import Paths

Root = Annotated[Path | None, typer.Option(help="Folder of the downloaded data; remembered for later runs.")]


def verify(
    dataset: DatasetOrFolder,
    root: Root = None,
    contrast: Annotated[
        str | None,
        typer.Option(
            help="MR contrast of a folder whose names do not say it.", autocompletion=complete.contrasts
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the report as JSON to this file.")] = None,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Check a download, or a folder of your own scans.

    File by file; exit code 1 when something is wrong.
    """
    from uadbench import datasets
    from uadbench.experiment.config import find_dataset
    from uadbench.preprocessing.verify import verify as verify_dataset
    from uadbench.report import show
    from uadbench.system.files import write_json

    machine = make_runtime("cpu", workers, quiet, None)
    dataset = name_with_root(dataset, root, machine, quiet, contrast)
    drawn = datasets.can_draw(dataset)  # then its segmentations are looked at, and no scan is drawn
    there = (
        datasets.survey(dataset, machine.paths.root(dataset), machine.workers, machine.progress)
        if drawn
        else find_dataset(dataset, machine)
    )
    found = verify_dataset(there, machine.workers, machine.progress, opening=not drawn)
    show.show_verified(found)
    if report is not None:
        write_json(report, found.as_dict())
    if not found.ok:
        raise typer.Exit(1)


def prepare(
    dataset: DatasetOrFolder,
    root: Root = None,
    contrast: Annotated[
        list[str] | None,
        typer.Option(help="MR contrasts; default: all. Repeatable.", autocompletion=complete.contrasts),
    ] = None,
    grid: Annotated[
        list[str] | None, typer.Option(help="Grids; default: the evaluation grid. Repeatable.")
    ] = None,
    extractor: Extractor = "atlas",
    n4: N4 = False,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Bring scans to the protocol's grid.

    Every subject of a data set, once; later runs find it done.
    """
    from uadbench.experiment.prepare_dataset import prepare_dataset
    from uadbench.preprocessing.prepare_scan import Options
    from uadbench.report import show
    from uadbench.system.files import check_writable

    machine = make_runtime("cpu", workers, quiet, None)
    check_writable(machine.paths.cache, "UADBENCH_RUNS")
    dataset = name_with_root(dataset, root, machine, quiet, next(iter(contrast or []), None))
    options = Options(extractor, n4)
    show.show_prepared(prepare_dataset(dataset, contrast or [], grid or [], machine, options))


def fixture(
    dataset: Annotated[
        str,
        typer.Argument(help="Data set whose layout is written.", autocompletion=complete.datasets),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; must be empty or new.")],
    subjects: Annotated[int, typer.Option(min=1, max=10_000, help="How many simulated subjects.")] = 6,
    corruption: Annotated[
        list[str] | None, typer.Option(help="A fault that real files have. Repeatable.")
    ] = None,
    trap: Annotated[list[str] | None, typer.Option(hidden=True)] = None,  # as it was called
    layout: Annotated[str | None, typer.Option(help="A variant of the layout; default: the first.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the simulated subjects.")] = 0,
    plugins: Plugins = None,
) -> None:
    """Write simulated subjects of a data set.

    In its layout, to try every command without a download.
    """
    from uadbench.testing import write_fixture

    write_fixture(dataset, out, subjects, [*(corruption or []), *(trap or [])], seed, layout)
    typer.echo(f"{subjects} simulated subjects are under {out}; next: uadbench verify {dataset} --root {out}")


def name_with_root(
    dataset: str, root: Path | None, machine: "Runtime", quiet: bool, contrast: str | None
) -> str:
    """The name of a data set, whose root is remembered; a folder of scans is its own root."""
    name = name_folder(dataset, machine, quiet, contrast)
    if name != dataset and root is not None:
        raise UserError(f"{dataset} is a folder of scans already: leave --root out.")
    remember_root(machine.paths, name, root)
    return name


def remember_root(paths: "Paths", dataset: str, root: Path | None) -> None:
    """Keep the raw folder that `--root` names for a data set."""
    from uadbench.cards import dataset_card

    dataset_card(dataset)
    if root is not None:
        root = root.expanduser()
        if not root.is_dir():
            raise UserError(f"--root expects a folder, but there is none at {root}.")
        paths.remember_root(dataset, root)
