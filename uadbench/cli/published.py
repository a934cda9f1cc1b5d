"""Command that shows what others have printed: published."""

from typing import Annotated

import typer

from uadbench.cards import contrast_named
from uadbench.cli.options import Output, Plugins
from uadbench.cli.reading import write_output
from uadbench.system.errors import check_choice


def published(
    by: Annotated[
        str,
        typer.Option(
            help="family: best and median by kind of lesion; test: every value by test set and contrast."
        ),
    ] = "family",
    test: Annotated[
        str | None, typer.Option(help="Only this test set (brats21), or all its editions (brats).")
    ] = None,
    family: Annotated[str | None, typer.Option(help="Only this family: AE, VAE, GAN, diffusion, ...")] = None,
    metric: Annotated[str | None, typer.Option(help="Only this metric: AP, Dice, AUROC, ...")] = None,
    method: Annotated[str | None, typer.Option(help="Only this method, as printed or as our row.")] = None,
    contrast: Annotated[
        str | None, typer.Option(help='Only this MR contrast (modality); "not stated" for none.')
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", help="table, markdown, csv, json, latex or bibtex.")
    ] = "table",
    output: Output = None,
    plugins: Plugins = None,
) -> None:
    """Show what the field has published.

    Each value comes with its source; neither data nor records are needed.
    """
    from uadbench.report import references, sheets
    from uadbench.report.field import findings, formats, views
    from uadbench.report.field.collection import collection, narrowed, rows

    for name, value, expected in (("--by", by, views.BY), ("--format", format_, (*sheets.FORMATS, "bibtex"))):
        check_choice(name, value, expected)
    whole = collection()
    named = contrast and contrast_named(contrast)
    chosen = narrowed(whole, test=test, contrast=named, family=family, metric=metric, method=method)
    if format_ == "bibtex":
        write_output(references.bibtex(references.of_sources(chosen["source"])), output)
        return
    lead = findings.summary(chosen)
    missing = findings.findings(whole) if len(chosen) == len(whole) else []
    found = views.by_test(chosen) if by == "test" else [views.overview(chosen), *views.by_family(chosen)]
    if format_ == "table" and output is None:
        formats.print_comparison(found, lead, missing)
        return
    cells = [cell.row(flat=format_ == "csv") for cell in views.find_cells(chosen)]
    lines = rows(chosen) if by == "test" else cells
    text = formats.markdown(found, lead, missing)
    write_output(sheets.written(found, format_, lines, text, (lead, *missing)), output)
