"""`uadbench grid`: many runs from one file."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from uadbench.cli.options import Plugins, Results, machine_for


class FileFirst(TyperGroup):
    """`uadbench grid FILE` without the word `run`: what is no command of the group is an argument of it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the word in."""
        if args and args[0] not in (*self.commands, "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


Description = Annotated[Path, typer.Argument(metavar="FILE", help="The grid's description, a TOML file.")]


def run(
    file: Description,
    on: Annotated[str, typer.Option(help="local, or slurm: as job arrays.")] = "local",
    jobs: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Cells at once; default: one per GPU, or per `threads` cores."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the cells, and what they need.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Do finished cells again.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Do cells again that are recorded as failed.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option(metavar="MINUTES", min=0, help="The longest that a cell may take.")
    ] = None,
    results: Results = None,
    plugins: Plugins = None,
) -> None:
    """Carry out the cells of a grid that are not done; kill it at any moment and start it again."""
    from uadbench.sweep import run_sweep as grids

    machine = grids.absolute(machine_for("cpu", 1, True, results))
    wish = grids.Wish(on, jobs, force, retry_failed, timeout)
    if dry_run:
        grids.show_dry_run(file, machine, wish)
    elif code := grids.run_grid(file, machine, wish):
        raise typer.Exit(code)


def status(
    file: Description,
    once: Annotated[bool, typer.Option("--once", help="Print it once, and do not wait.")] = False,
    results: Results = None,
    plugins: Plugins = None,
) -> None:
    """Show what is done, running, failed (with the reason and the log) and the time left, live."""
    from uadbench.sweep import run_sweep as grids

    grids.show_status(file, grids.absolute(machine_for("cpu", 1, True, results)), once)
