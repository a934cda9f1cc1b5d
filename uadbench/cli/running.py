"""Commands that fit, score and record: run, ablate, reproduce, score, regress, predict."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uadbench.cli.options import (
    N4,
    Device,
    Extractor,
    Force,
    Limit,
    Plugins,
    Preset,
    Quiet,
    Results,
    Run,
    Seed,
    Train,
    Workers,
    machine_for,
    settings_from,
)
from uadbench.system.errors import UserError
from uadbench.system.text import visible

if TYPE_CHECKING:
    from uadbench.experiment.plan import RunConfig, Runtime


def run(
    method: Annotated[list[str], typer.Option("--method", "-m", help="Method; repeatable.")],
    dataset: Annotated[list[str], typer.Option("--dataset", "-d", help="Data set to test on; repeatable.")],
    train: Train = None,
    contrast: Annotated[
        str | None, typer.Option(help="Contrast to test on; default: the card's first.")
    ] = None,
    train_contrast: Annotated[
        list[str] | None, typer.Option(help="Contrasts to learn from, if others. Repeatable.")
    ] = None,
    preset: Preset = "demo",
    seed: Seed = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the method. Repeatable."),
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
    results: Results = None,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Prepare what is missing, fit, score, evaluate and record methods on data sets."""
    from uadbench.experiment.plan import RunConfig
    from uadbench.preprocessing.prepare_scan import Options

    settings = settings_from(set_)
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
        for one_dataset in dict.fromkeys(dataset)
    ]
    _run_all(configs, machine_for(device, workers, quiet, results), force)


def _run_all(configs: "list[RunConfig]", runtime: "Runtime", force: bool) -> None:
    """Run every cell; one that fails is recorded and the others go on."""
    from uadbench.experiment.run import run_recording_failure
    from uadbench.report import show

    runtime.paths.check_writable()
    outcomes, mistakes, failed = [], [], []
    for config in configs:
        name = f"{config.method} on {config.dataset}"
        try:
            outcome = run_recording_failure(config, runtime, force)
        except UserError as error:
            if len(configs) == 1:
                raise
            mistakes.append(f"{name}: {error}")
            continue
        if isinstance(outcome, str):
            failed.append(f"{name} failed and is recorded as failed: {outcome}")
        else:
            outcomes.append(outcome)
    if outcomes:
        show.show_outcomes(outcomes)
    for line in mistakes + failed:
        typer.echo(f"uadbench: {line}", err=True)
    if failed or mistakes:
        raise typer.Exit(1 if failed else 2)


def ablate(
    method: Annotated[str, typer.Argument(help="Method whose folder has an ablations.toml.")],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="Data set to test on.")] = "phantom",
    train: Train = None,
    letter: Annotated[
        list[str] | None, typer.Option("--letter", "-l", help="Only these questions. Repeatable.")
    ] = None,
    contrast: Annotated[
        list[str] | None, typer.Option(help="Test on these contrasts only. Repeatable.")
    ] = None,
    preset: Preset = "demo",
    seed: Seed = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of full model and variants. Repeatable."),
    ] = None,
    device: Device = "auto",
    limit: Limit = None,
    force: Force = False,
    results: Results = None,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Run a method without each of its parts and decide whether the part has earned its place."""
    from uadbench.ablation import ablate as ablation
    from uadbench.ablation.questions import read
    from uadbench.ablation.tables import markdown, write
    from uadbench.experiment.plan import RunConfig

    runtime = machine_for(device, workers, quiet, results)
    settings = settings_from(set_)
    config = RunConfig(
        method=method, dataset=dataset, train=train, preset=preset, seed=seed, settings=settings, limit=limit
    )
    report = ablation.ablate(read(method), config, runtime, letter or (), contrast or (), force=force)
    path = write(report, ablation.place(runtime, method))
    typer.echo(markdown(report))
    typer.echo(f"records and tables: {path.parent}")


def reproduce(
    method: Annotated[str, typer.Argument(help="Method.")],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="Data set to test on.")],
    train: Annotated[
        str | None, typer.Option(help="Another healthy data set than the published one.")
    ] = None,
    contrast: Annotated[str | None, typer.Option(help="Only this contrast.")] = None,
    preset: Annotated[str, typer.Option(help="paper; a smaller one is said beside the verdict.")] = "paper",
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    results: Results = None,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Run what the published figures of a method on a test set need, and say which are met."""
    from uadbench.experiment.run import run_recording_failure
    from uadbench.report.reproduce import find_wanted, judge_records
    from uadbench.report.screen import print_sheets

    asked = find_wanted(method, dataset, train, contrast, preset, seed)
    if not asked.configs:
        raise UserError(
            f"No published figure of {method} can be run on {dataset}: {'; '.join(asked.skipped)}."
        )
    runtime = machine_for(device, workers, quiet, results)
    done = [run_recording_failure(config, runtime, force) for config in asked.configs]
    print_sheets([judge_records(asked, [outcome.record for outcome in done if not isinstance(outcome, str)])])
    failed = [outcome for outcome in done if isinstance(outcome, str)]
    for reason in failed:
        said = f"uadbench: {method} on {dataset} failed and is recorded as failed: {visible(reason)}"
        typer.echo(said, err=True)
    if failed:
        raise typer.Exit(1)


def score(
    run: Run,
    results: Results = None,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Recompute the metrics of a record from its stored score maps."""
    from uadbench.experiment.run import evaluate_again
    from uadbench.report import show

    show.show_outcomes([evaluate_again(run, machine_for("cpu", workers, quiet, results))])


def regress(
    reference: Annotated[
        Path | None, typer.Option(help="Folder of the committed records; default: those of this checkout.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Compare the records of this preset.")] = "ci",
    method: Annotated[list[str] | None, typer.Option("--method", "-m", help="Only these methods.")] = None,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Run the phantom records anew and compare them with the committed ones, metric by metric."""
    from uadbench.report import show
    from uadbench.report.regress import committed_results, rerun_records

    folder = committed_results() if reference is None else reference
    typer.echo(f"reference: {folder.resolve()}")
    changes = rerun_records(folder, preset, method or [], machine_for("cpu", workers, quiet, None))
    show.show_changes(changes)
    if any(change.regressed for change in changes):
        raise typer.Exit(1)


def predict(
    run: Run,
    scan: Annotated[Path, typer.Argument(metavar="SCAN", help="A NIfTI file of the run's contrast.")],
    out: Annotated[Path, typer.Option(help="Folder for maps, mask, picture and prediction.json.")],
    brain_mask: Annotated[Path | None, typer.Option(help="Brain mask; default: extracted.")] = None,
    stripped: Annotated[bool, typer.Option("--stripped", help="The scan shows the brain alone.")] = False,
    point: Annotated[
        str | None,
        typer.Option(help="Threshold of the mask: fpr1, fpr5, val or a number; default: the first there is."),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Apply a trained method to a scan of your own; the maps lie in the scan's own space."""
    from uadbench.experiment.predict import predict as predict_scan
    from uadbench.report import show

    runtime = machine_for(device, 1, quiet, None)
    show.show_prediction(predict_scan(run, scan, out, runtime, brain_mask, stripped, point), out)
