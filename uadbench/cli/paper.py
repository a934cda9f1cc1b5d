"""Commands for a paper: two methods against each other, and plots. Tables: `leaderboard --format latex`."""

from pathlib import Path
from typing import Annotated

import typer

from uadbench.api import find_paths
from uadbench.cli import complete
from uadbench.cli.options import OnlyContrast, OnlyDataset, OnlyMethods, OnlyPreset, Output, Plugins, Results
from uadbench.cli.reading import explain_absence, tell_sheets
from uadbench.system.errors import UserError, check_choice


def compare(
    first: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="A method, or the path of a record or of a row's folder.",
            autocompletion=complete.methods,
        ),
    ],
    second: Annotated[
        str | None,
        typer.Argument(metavar="B", help="Another; or --against B.", autocompletion=complete.methods),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="The method (or record) to compare with.", autocompletion=complete.methods),
    ] = None,
    dataset: OnlyDataset = None,
    contrast: OnlyContrast = None,
    preset: OnlyPreset = None,
    format_: Annotated[str, typer.Option("--format", help="table, markdown, csv, json or latex.")] = "table",
    output: Output = None,
    results: Results = None,
    plugins: Plugins = None,
) -> None:
    """Compare two methods on the same subjects.

    Over all seeds; every difference comes with its interval and test.
    """
    from uadbench.report import compare as comparing
    from uadbench.report import sheets

    check_choice("--format", format_, sheets.FORMATS)
    if (second is None) == (against is None):
        raise UserError("Expected two methods or two records: `uadbench compare dae --against vae`.")
    both = (first, str(second or against))
    are_paths = [Path(one).suffix == ".json" or Path(one).exists() for one in both]
    if all(are_paths):
        found = [comparing.compare_records(*map(Path, both))]
    elif any(are_paths):
        raise UserError(
            f"Expected two names of methods or two paths of records or folders, got {' and '.join(both)}."
        )
    else:
        from uadbench.experiment.collect import collect_records, is_wanted

        records = collect_records(
            find_paths(results).results, lambda r: is_wanted(r, dataset, contrast, preset, both)
        )
        found = comparing.compare_methods(records.records, *both)
    lines = [line for one in found for line in comparing.rows(one)]
    tell_sheets(list(map(comparing.write_sheet, found)), format_, output, lines)


def plot(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="forest, precision-recall, critical-difference, cost or response (of implanted lesions).",
            autocompletion=complete.one_of(
                "forest", "precision-recall", "critical-difference", "cost", "response"
            ),
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File: .pdf, .svg or .png.")],
    dataset: OnlyDataset = None,
    contrast: OnlyContrast = None,
    preset: OnlyPreset = None,
    method: OnlyMethods = None,
    resamples: Annotated[int, typer.Option(min=200, help="Of the bootstrap.")] = 1000,
    results: Results = None,
    plugins: Plugins = None,
) -> None:
    """Plot one table of the leaderboard.

    For a paper: as wide as the text of `article`.
    """
    from uadbench.experiment.collect import collect_records, is_wanted
    from uadbench.report.leaderboard import tables
    from uadbench.report.plot import check_plot, write_plot

    check_plot(kind, output)
    folder = find_paths(results).results
    found = collect_records(folder, lambda r: is_wanted(r, dataset, contrast, preset, method))
    if not found.records:
        raise UserError(explain_absence(folder, dataset, contrast, preset, method))
    made = tables(found.records, resamples=resamples)
    if len(made) != 1:
        titles = "; ".join(table.title for table in made) or "none"
        raise UserError(
            f"A plot is of one table, got {len(made)} from {folder.absolute()} ({titles}): choose with "
            "--dataset, --contrast, --preset and --method."
        )
    write_plot(kind, made[0], output, resamples)
    typer.echo(str(output))
