"""`uadbench sweep`: many runs from one file."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from uadbench.api import make_runtime
from uadbench.cli.data import remember_root
from uadbench.cli.options import Plugins, Results, settings_from

EARLIER = "grid"  # how the command was called


class FileFirst(TyperGroup):
    """`uadbench sweep FILE` without the word `run`: what is no command of the group is an argument of it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the word in; the command's earlier name says the one it has now."""
        if ctx.info_name == EARLIER:
            typer.echo("`uadbench grid` is called `uadbench sweep` now.", err=True)
        if args and args[0] not in (*self.commands, "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


Description = Annotated[Path, typer.Argument(metavar="FILE", help="The sweep's description, a TOML file.")]


def run(
    file: Description,
    on: Annotated[str, typer.Option(help="local, or slurm: as job arrays.")] = "local",
    jobs: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Jobs at once; default: one per GPU, or per `threads` cores."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the jobs, and what they need.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Run finished jobs again.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run jobs again that are recorded as failed.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option(metavar="MINUTES", min=0, help="The longest that a job may take.")
    ] = None,
    for_minutes: Annotated[
        float | None,
        typer.Option(metavar="MINUTES", min=0, help="Stop after this time; the same command resumes."),
    ] = None,
    root: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="Raw folder of a data set; remembered. Repeatable."),
    ] = None,
    results: Results = None,
    plugins: Plugins = None,
) -> None:
    """Run the jobs of a sweep that are not done.

    Stop it at any moment: the same command resumes.
    """
    from uadbench.sweep.run_sweep import Sweep, Wish

    wish = Wish(on, jobs, force, retry_failed, timeout, for_minutes)
    runtime = make_runtime("cpu", 1, True, results)
    for name, folder in settings_from(root, "--root").items():
        remember_root(runtime.paths, name, Path(folder))
    sweep = Sweep(file, runtime, wish)
    if dry_run:
        sweep.show_dry_run()
    elif code := sweep.run():
        raise typer.Exit(code)


def status(
    file: Description,
    once: Annotated[bool, typer.Option("--once", help="Print it once, and do not wait.")] = False,
    results: Results = None,
    plugins: Plugins = None,
) -> None:
    """Show what is done, running and failed.

    With the reason and the log of what failed, and the time left; live on a terminal.
    """
    from uadbench.sweep.run_sweep import Sweep

    Sweep(file, make_runtime("cpu", 1, True, results)).show_status(once)
