"""Commands that make records: run, reproduce, evaluate, regress."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uadbench.api import make_runtime
from uadbench.cli import complete
from uadbench.cli.options import (
    N4,
    Device,
    Extractor,
    Force,
    Limit,
    MethodName,
    Plugins,
    Preset,
    Quiet,
    Results,
    Seed,
    Train,
    Workers,
    name_folder,
    settings_from,
)
from uadbench.system.errors import UserError
from uadbench.system.text import visible

if TYPE_CHECKING:
    from uadbench.experiment.config import RunConfig, Runtime
    from uadbench.sweep.run_all import Ended


def run(
    method: Annotated[
        list[str], typer.Option("--method", "-m", help="Method; repeatable.", autocompletion=complete.methods)
    ],
    dataset: Annotated[
        list[str],
        typer.Option(
            "--dataset",
            "-d",
            help="Data set or folder of scans to test on; repeatable.",
            autocompletion=complete.datasets_and_folders,
        ),
    ],
    train: Train = None,
    contrast: Annotated[
        str | None,
        typer.Option(
            help="MR contrast (modality) to test on; default: the card's first.",
            autocompletion=complete.contrasts,
        ),
    ] = None,
    train_contrast: Annotated[
        list[str] | None,
        typer.Option(
            help="MR contrasts to train on, if others. Repeatable.", autocompletion=complete.contrasts
        ),
    ] = None,
    preset: Preset = "demo",
    seed: Seed = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="An option of the method. Repeatable.",
            autocompletion=complete.settings,
        ),
    ] = None,
    device: Device = "auto",
    precision: Annotated[
        str, typer.Option(help="float32 or bf16, for training; scoring is always float32.")
    ] = "float32",
    protocol: Annotated[str | None, typer.Option(help="Protocol id; default: the card's.")] = None,
    limit: Limit = None,
    split: Annotated[
        str,
        typer.Option(help="published (parts of the release, where there are any), hash, or all-test."),
    ] = "published",
    extractor: Extractor = "atlas",
    n4: N4 = False,
    force: Force = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be run, and what it needs.")
    ] = False,
    results: Results = None,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Run methods on data sets.

    Prepares what is missing, fits, scores, evaluates and records. What is done already is not done again:
    after Ctrl-C the same command resumes. Networks write TensorBoard logs below runs/fits/; where they are is
    printed at the end.
    """
    from uadbench.experiment.config import RunConfig
    from uadbench.preprocessing.prepare_scan import Options
    from uadbench.report import show

    settings = settings_from(set_)
    runtime = make_runtime(device, workers, quiet, results)
    train = train and name_folder(train, runtime, quiet, contrast)
    named = [name_folder(one, runtime, quiet, contrast) for one in dict.fromkeys(dataset)]
    configs = [
        RunConfig(
            method=one_method,
            dataset=one_dataset,
            train=train,
            contrast=contrast,
            train_contrasts=tuple(train_contrast or ()),
            preset=preset,
            seed=seed,
            settings=settings,
            limit=limit,
            protocol=protocol,
            precision=precision,
            preparation=Options(extractor, n4),
            split=split,
        )
        for one_method in dict.fromkeys(method)
        for one_dataset in dict.fromkeys(named)
    ]
    if dry_run:
        _show_dry_run(configs, runtime)
        return
    ends = _run_all(configs, runtime, force)
    outcomes = [end.outcome for end in ends if end.outcome is not None]
    if outcomes:
        show.show_outcomes(outcomes)
    _tell(ends)


def _show_dry_run(configs: "Sequence[RunConfig]", runtime: "Runtime") -> None:
    """What runs would need; a mistake in the only one that was asked for is a UserError."""
    from uadbench.sweep import estimate, status, tasks

    planned = tasks.plan_tasks(configs, runtime)
    if len(planned) == 1 and planned[0].mistake:
        raise UserError(planned[0].mistake)
    cells = [(task, tasks.standing(task)) for task in planned]
    status.show_dry_run(cells, estimate.estimates(planned, runtime.paths), [], 1, runtime.workers)


def _run_all(configs: "Sequence[RunConfig]", runtime: "Runtime", force: bool) -> "list[Ended]":
    """Carry out runs; a mistake in the only one that was asked for is a UserError."""
    from uadbench.sweep.run_all import run_all

    runtime.paths.check_writable()
    ends = run_all(configs, runtime, force=force)
    if len(ends) == 1 and ends[0].kind == "refused":
        raise UserError(ends[0].reason)
    return ends


def _tell(ends: "Sequence[Ended]") -> None:
    """Say of each run that is not done why; the exit code is 1 where one has failed."""
    names = [f"{end.config.method} on {end.config.dataset}" for end in ends]
    refused = [f"{name}: {e.reason}" for name, e in zip(names, ends, strict=True) if e.kind == "refused"]
    failed = [
        f"{name} failed and is recorded as failed: {e.reason}"
        for name, e in zip(names, ends, strict=True)
        if e.kind == "failed"
    ]
    for line in refused + failed:
        typer.echo(f"uadbench: {visible(line)}", err=True)
    if refused or failed:
        raise typer.Exit(1 if failed else 2)


def ablate(arguments: Annotated[list[str] | None, typer.Argument(hidden=True)] = None) -> None:
    """Replaced by sweeps with variants."""
    raise UserError(
        "`uadbench ablate` has become a sweep with variants: `uadbench sweep methods/dal_r/sweep.toml`, then "
        "`uadbench compare A B` for two of its records."
    )


def reproduce(
    method: MethodName,
    dataset: Annotated[
        str, typer.Option("--dataset", "-d", help="Data set to test on.", autocompletion=complete.datasets)
    ],
    train: Annotated[
        str | None,
        typer.Option(
            help="Another healthy data set than the published one.", autocompletion=complete.datasets
        ),
    ] = None,
    contrast: Annotated[
        str | None, typer.Option(help="Only this MR contrast.", autocompletion=complete.contrasts)
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="paper; a smaller one is said beside the verdict.", autocompletion=complete.presets
        ),
    ] = "paper",
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    results: Results = None,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Check published values of a method.

    Runs what they need on the test set, and says which of them are reproduced.
    """
    from uadbench.report.reproduce import find_wanted, judge_records
    from uadbench.report.screen import print_sheets

    asked = find_wanted(method, dataset, train, contrast, preset, seed)
    if not asked.configs:
        raise UserError(
            f"No published value of {method} can be run on {dataset}: {'; '.join(asked.skipped)}."
        )
    ends = _run_all(asked.configs, make_runtime(device, workers, quiet, results), force)
    print_sheets([judge_records(asked, [end.outcome.record for end in ends if end.outcome is not None])])
    _tell(ends)


def regress(
    reference: Annotated[
        Path | None, typer.Option(help="Folder of the committed records; default: those of this checkout.")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="Compare the records of this preset.", autocompletion=complete.presets)
    ] = "ci",
    method: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", help="Only these methods.", autocompletion=complete.methods),
    ] = None,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Compare phantom records with committed ones.

    Runs them again, and compares metric by metric; exit code 1 if one has regressed.
    """
    from uadbench.report import show
    from uadbench.report.regress import committed_results, rerun_records

    folder = committed_results() if reference is None else reference
    typer.echo(f"reference: {folder.resolve()}")
    changes = rerun_records(folder, preset, method or [], make_runtime("cpu", workers, quiet, None))
    show.show_changes(changes)
    if any(change.regressed for change in changes):
        raise typer.Exit(1)
