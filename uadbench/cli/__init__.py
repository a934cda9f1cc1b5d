"""The command line: verbs on subjects, methods, protocols and records. Parse, call, print."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from uadbench import __version__
from uadbench.cli import (
    applying,
    contracts,
    data,
    evaluating,
    injecting,
    listing,
    new,
    paper,
    published,
    reading,
    running,
    sweep,
)
from uadbench.cli.options import Plugins
from uadbench.system import environment
from uadbench.system.errors import UserError
from uadbench.system.text import visible

COMMANDS = (
    # make records
    running.run, evaluating.evaluate, running.reproduce, running.regress,
    # apply them
    applying.predict, applying.export, applying.export_maps,
    # read records
    reading.leaderboard, paper.compare, paper.plot, reading.check_record,
    # read what others have printed
    published.published,
    # what there is
    listing.methods, listing.datasets, listing.doctor,
    # data
    data.verify, data.prepare, data.fixture, injecting.inject,
    # what methods and data sets promise
    contracts.check_method, contracts.check_dataset,
)  # fmt: skip


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def _common(
    plugins: Plugins = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    pass


def renamed(command: Callable[..., None], earlier: str) -> Callable[..., None]:
    """A command under an earlier name, which says the one it has now."""

    @wraps(command)
    def call(*arguments: Any, **options: Any) -> None:
        typer.echo(f"`uadbench {earlier}` is called `uadbench {command.__name__}` now.", err=True)
        command(*arguments, **options)

    return call


class Stoppable(TyperGroup):
    """Commands that Ctrl-C stops with a sentence and exit code 130."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            where = f" {stop.args[0]}; the same command resumes" if stop.args else ""
            behind = "\n" if sys.stderr.isatty() else ""  # the terminal's own ^C
            typer.echo(f"{behind}Stopped{where}.", err=True)
            raise typer.Exit(130) from stop


def _group(about: str, **more: Any) -> typer.Typer:
    # Rich's help alone would cost more time than all the rest of `--help`.
    return typer.Typer(help=about, no_args_is_help=True, rich_markup_mode=None, **more)


app = _group(
    "Benchmark unsupervised anomaly detection in brain MRI: run methods, read the leaderboard.", cls=Stoppable
)
app.callback()(_common)
for command in COMMANDS:
    app.command()(command)

# Earlier names say what they are called now.
anything = {"allow_extra_args": True, "ignore_unknown_options": True}
app.command(hidden=True, context_settings=anything)(running.ablate)
app.command("score", hidden=True)(renamed(evaluating.evaluate, "score"))

sweeps = _group(
    "Run many methods and seeds from one file.\n\n`sweep FILE` runs it, `sweep status FILE` watches it.",
    cls=sweep.FileFirst,
)
sweeps.command()(sweep.run)
sweeps.command()(sweep.status)
app.add_typer(sweeps, name="sweep")
app.add_typer(sweeps, name=sweep.EARLIER, hidden=True)

begin = _group("Start your own method or data set.")
begin.command()(new.method)
begin.command()(new.dataset)
app.add_typer(begin, name="new")


def main() -> None:
    """Run a command; a user's mistake, or a disk's, is one sentence and exit code 2."""
    _open_streams()
    for name, value in environment.ASLEEP.items():
        os.environ.setdefault(name, value)
    try:
        app()
    except UserError as error:
        typer.echo(f"uadbench: {visible(str(error))}", err=True)
        sys.exit(2)
    except OSError as error:
        from uadbench.system.files import disk_fault

        fault = disk_fault(error)
        if fault is None:
            raise
        typer.echo(f"uadbench: {visible(fault)}", err=True)
        sys.exit(2)
    finally:
        _flush()


def _open_streams() -> None:
    """Give every standard stream that is closed a sink, and let none stumble over a sign it cannot show."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # The lowest free number, which is that of the closed stream: no other file must get it.
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _flush() -> None:
    """Hand over what is printed; that a reader has left (`| head`) is no mistake."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            typer.echo(f"uadbench: the output cannot be written: {error.strerror}.", err=True)
            sys.exit(1)
