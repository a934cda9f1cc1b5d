"""Commands that read records: leaderboard, check-record."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uadbench.api import find_paths
from uadbench.cli import complete
from uadbench.cli.options import OnlyContrast, OnlyDataset, OnlyMethods, OnlyPreset, Output, Plugins, Results
from uadbench.system.errors import UserError, check_choice

if TYPE_CHECKING:
    from uadbench.report.sheets import Rows, Sheet


def leaderboard(
    dataset: OnlyDataset = None,
    contrast: OnlyContrast = None,
    preset: OnlyPreset = None,
    method: OnlyMethods = None,
    sort: Annotated[str, typer.Option(help="Column to sort by: ap, dsc_oracle, auroc, ...")] = "ap",
    by: Annotated[
        str,
        typer.Option(
            help="method; family (best and median row by lesion kind), stratum, bias, cost, lesion, or "
            "response (to the size and contrast of implanted lesions).",
            autocompletion=complete.one_of(
                "method", "family", "stratum", "bias", "cost", "lesion", "response"
            ),
        ),
    ] = "method",
    columns: Annotated[
        list[str] | None,
        typer.Option(help="Columns, separated by commas; all: every one. Default: a standard set."),
    ] = None,
    multiverse: Annotated[
        bool,
        typer.Option("--multiverse", help="Ranks under every defensible choice, and what decides them."),
    ] = False,
    published: Annotated[bool, typer.Option("--published", help="Published values beside ours.")] = False,
    resamples: Annotated[
        int | None,
        typer.Option(min=0, help="Of the bootstrap, 0 for none; default: 1000, fewer of many records."),
    ] = None,
    wide: Annotated[bool, typer.Option("--wide", help="Methods down, data sets across.")] = False,
    spread: Annotated[
        str, typer.Option(help="Beside values in latex and --wide: interval, or sd over seeds.")
    ] = "interval",
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="table, markdown, csv, json, latex, bibtex (what latex cites), html (a page with pictures).",
            autocompletion=complete.one_of("table", "markdown", "csv", "json", "latex", "bibtex", "html"),
        ),
    ] = "table",
    output: Output = None,
    results: Results = None,
    plugins: Plugins = None,
) -> None:
    """Show the records as ranked tables.

    Rows are ranked only where they can be compared. On a narrow terminal the least important columns are left
    out and named below the table.
    """
    from uadbench.experiment import collect, record
    from uadbench.report import beside, evidence, formats, latex, references, sheets, show, views
    from uadbench.report import leaderboard as board
    from uadbench.report import wide as wide_table
    from uadbench.report.columns import choose_columns
    from uadbench.report.multiverse import sheets_of as multiverse_of

    formats_there = (*sheets.FORMATS, "bibtex", "html")
    for name, value, expected in (
        ("--format", format_, formats_there),
        ("--spread", spread, latex.SPREADS),
        ("--by", by, ("method", *views.BY)),
    ):
        check_choice(name, value, expected)
    views_asked = by != "method" or published or multiverse
    if format_ in ("html", "bibtex") and (views_asked or wide):
        name = "page" if format_ == "html" else "BibTeX file"
        raise UserError(f"The {name} holds all views: leave --by, --published, --multiverse and --wide out.")
    if wide and views_asked:
        raise UserError("--wide is a view of its own: leave --by, --published and --multiverse out.")
    shown = choose_columns(columns or (["all"] if format_ == "html" else []))  # a page folds the rest
    places = find_paths(results)
    folder = places.results
    found = collect.collect_records(folder, lambda r: collect.is_wanted(r, dataset, contrast, preset, method))
    chosen, left_out = found.records, found.left_out
    drawn = evidence.resamples_for(len(chosen)) if resamples is None else resamples
    if not chosen:
        _say(formats.left_out_lines(left_out))
        raise UserError(explain_absence(folder, dataset, contrast, preset, method))
    on_screen = format_ == "table" and output is None
    if views_asked:
        listed = views.sheets_by(by, board.tables(chosen, sort), drawn) if by != "method" else []
        for table in board.tables(chosen, sort) if multiverse else ():
            listed += multiverse_of(table)
        listed += beside.write_sheets([one.record for one in chosen]) if published else []
        tell_sheets(listed, format_, output)
        _say(formats.left_out_lines(left_out))
    else:
        tables = board.tables(chosen, sort, 0 if format_ == "bibtex" else drawn, shown)
        failed = [(str(place), reason) for place, reason in record.failures(places.results)]
        if wide and format_ == "latex":
            write_output(wide_table.write_latex(tables, spread), output)
        elif wide:
            tell_sheets([wide_table.write_sheet(tables, spread)], format_, output)
        elif on_screen:
            show.show_leaderboard(tables, failed, left_out)
        elif format_ == "bibtex":
            write_output(references.of_tables(tables), output)
        elif format_ == "latex":
            write_output(latex.write_tables(tables, spread, asked=bool(columns)), output)
        elif format_ == "html":
            from uadbench.report import page

            write_output(page.write_page(tables, [*failed, *left_out], places, drawn), output)
        else:
            write_output(formats.written(tables, format_, failed, left_out), output)
        if not on_screen:
            _say(formats.left_out_lines(left_out))
    if found.bad:
        raise typer.Exit(1)


def explain_absence(
    folder: Path, dataset: str | None, contrast: str | None, preset: str | None, method: list[str] | None
) -> str:
    """Why no record below a folder is shown: the options that hide them, and what is there."""
    from uadbench.experiment.collect import collect_readable

    found = collect_readable(folder).records
    if not found:
        return (
            f"There are no records in {folder.absolute()}: `uadbench run --method ae --dataset phantom` "
            "makes one, and --results names another folder."
        )
    there = Counter((r.record.test, r.record.contrast, f"preset {r.record.preset}") for r in found)
    listed = "; ".join(f"{' '.join(facts)} ({count})" for facts, count in sorted(there.items()))
    asked = {"dataset": dataset, "contrast": contrast, "preset": preset, "method": ", ".join(method or [])}
    named = [f"--{option} {value}" for option, value in asked.items() if value]
    if not preset:
        named.append("the default, every preset but ci (--preset ci shows those)")
    return (
        f"None of the {len(found)} records in {folder.absolute()} fits {' and '.join(named)}. "
        f"Available: {listed}."
    )


def _say(lines: list[str]) -> None:
    """Lines beside a text that may go to a file."""
    for line in lines:
        typer.echo(line, err=True)


def tell_sheets(
    made: "Sequence[Sheet]", format_: str, output: Path | None, rows: "Rows | None" = None
) -> None:
    """Sheets on the screen, or as a text in one of `sheets.FORMATS`; `rows`: of CSV and JSON."""
    from uadbench.report import screen, sheets

    if format_ == "table" and output is None:
        screen.print_sheets(made)
    else:
        write_output(sheets.written(made, format_, rows), output)


def write_output(text: str, output: Path | None) -> None:
    """Write a text to a file, or else to the standard output."""
    from uadbench.system.files import write_text

    if output is None:
        typer.echo(text, nl=False)
    else:
        write_text(output, text)


def check_record(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Records (seed-*.json), each with its .npz.")
    ],
    plugins: Plugins = None,
) -> None:
    """Check a record that was made elsewhere.

    Says whether it is consistent, not whether it is authentic; exit code 1 if not.
    """
    from uadbench.experiment.check_record import CANNOT_SEE, check_records
    from uadbench.system.text import visible

    found = check_records(files)
    for file, verdict in found.items():
        for reason in verdict.wrong:
            typer.echo(visible(f"{file}: {reason}"))
        for remark in verdict.remarks:
            typer.echo(visible(f"{file}: note: {remark}"))
    refused = sum(bool(verdict.wrong) for verdict in found.values())
    if refused:
        typer.echo(f"{refused} of {len(found)} records refused.")
    else:
        typer.echo(f"{len(found)} consistent.")
    typer.echo("What no check of a record can see:")
    for line in CANNOT_SEE:
        typer.echo(f"- {line}")
    if refused:
        raise typer.Exit(1)
