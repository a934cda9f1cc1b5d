"""Commands that hold a method or a data set against its contract: check-method, check-dataset."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from uadbench.cli.options import DatasetName, MethodName, Plugins

if TYPE_CHECKING:
    from uadbench.testing.findings import Finding


def check_method(name: MethodName, plugins: Plugins = None) -> None:
    """Check a method against its contract.

    Checks on small heads what all methods must do, in minutes; exit code 1 if one check fails.
    """
    from uadbench.testing.method_contract import check_method as check

    _tell(check(name))


def check_dataset(name: DatasetName, plugins: Plugins = None) -> None:
    """Check a data set against its contract.

    Checks on its fixture what all data sets must do; exit code 1 if one check fails.
    """
    from uadbench.testing.dataset_contract import check_dataset as check

    _tell(check(name))


def _tell(findings: "Iterable[Finding]") -> None:
    """One line for each check; what is only weak is a warning."""
    broken = False
    for finding in findings:
        typer.echo(str(finding))
        broken |= finding.outcome == "failed"
    if broken:
        raise typer.Exit(1)
