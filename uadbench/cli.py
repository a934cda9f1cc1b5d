"""The command line: verbs on subjects, methods, protocols and records. Parse, call, print.

Heavy modules are imported inside the commands, so that `--help` stays fast.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from uadbench import __version__, catalog
from uadbench.errors import UserError

if TYPE_CHECKING:
    from uadbench.places import Places
    from uadbench.plan import Cell, Machine
    from uadbench.progress import Progress

app = typer.Typer(
    help="Benchmark unsupervised anomaly detection in brain MRI: run methods, read the leaderboard.",
    no_args_is_help=True,
    rich_markup_mode=None,  # Rich's help alone would cost more time than all the rest of `--help`
)

new = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(new, name="new", help="Begin a method or a data set of your own.")


def _add_plugins(paths: list[Path] | None) -> list[Path] | None:
    for path in paths or []:
        catalog.add_plugins(path)
    return paths


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugins",
        callback=_add_plugins,
        is_eager=True,
        help="A folder with methods/ or datasets/ of your own (or UADBENCH_PLUGINS). Repeatable.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Workers = Annotated[int, typer.Option(help="Processes that share the work on subjects; 0: one per core.")]
Root = Annotated[Path | None, typer.Option(help="Folder of the downloaded data; remembered for later runs.")]
Extractor = Annotated[
    str, typer.Option(help="Of brains that come without a mask: atlas (built in), hd-bet or synthstrip.")
]
N4 = Annotated[bool, typer.Option("--n4", help="Remove the bias field of every scan first.")]
Folder = Annotated[
    Path | None,
    typer.Option(
        help="Its methods/ or datasets/ is written to; default: that of --plugins, else the checkout."
    ),
]
Results = Annotated[Path | None, typer.Option(help="Folder of the records (or UADBENCH_RESULTS).")]


@app.callback()
def _common(
    plugins: Plugins = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run a command; a user's mistake is one sentence and exit code 2."""
    try:
        app()
    except UserError as error:
        typer.echo(f"uadbench: {error}", err=True)
        sys.exit(2)


# ---- the main job ------------------------------------------------------------------------------


@app.command()
def run(
    method: Annotated[list[str], typer.Option("--method", "-m", help="Method; repeatable.")],
    dataset: Annotated[list[str], typer.Option("--dataset", "-d", help="Data set to test on; repeatable.")],
    train: Annotated[
        str | None, typer.Option(help="Healthy data set to learn from; default: the card's partner.")
    ] = None,
    contrast: Annotated[
        str | None, typer.Option(help="Contrast to test on; default: the card's first.")
    ] = None,
    train_contrast: Annotated[
        list[str] | None, typer.Option(help="Contrasts to learn from, if others. Repeatable.")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="ci, demo (2 CPU cores, minutes), small (one GPU) or paper.")
    ] = "demo",
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the method. Repeatable."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="float32 or bf16, for training; scoring is always float32.")
    ] = "float32",
    protocol: Annotated[str | None, typer.Option(help="Protocol id; default: the card's.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many persons of each partition.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="published (the parts of the release, where there are any) or hash.")
    ] = "published",
    extractor: Extractor = "atlas",
    n4: N4 = False,
    force: Annotated[bool, typer.Option("--force", help="Fit, score and record again.")] = False,
    results: Results = None,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Prepare what is missing, fit, score, evaluate and record methods on data sets."""
    from uadbench.plan import Cell
    from uadbench.preparation.prepare_scan import Options

    settings = dict(_setting(text) for text in set_ or [])
    cells = [
        Cell(
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
    _run_all(cells, _machine(device, workers, quiet, results), force)


def _run_all(cells: "list[Cell]", machine: "Machine", force: bool) -> None:
    """Run every cell; one that fails is recorded and the others go on."""
    from uadbench.report import show
    from uadbench.run import run_recording_failure

    outcomes, mistakes, failed = [], [], []
    for cell in cells:
        name = f"{cell.method} on {cell.dataset}"
        try:
            outcome = run_recording_failure(cell, machine, force)
        except UserError as error:
            if len(cells) == 1:
                raise
            mistakes.append(f"{name}: {error}")
            continue
        if isinstance(outcome, str):
            failed.append(f"{name} failed and is recorded as failed: {outcome}")
        else:
            outcomes.append(outcome)
    if outcomes:
        show.outcomes(outcomes)
    for line in mistakes + failed:
        typer.echo(f"uadbench: {line}", err=True)
    if failed or mistakes:
        raise typer.Exit(1 if failed else 2)


class _FileFirst(TyperGroup):
    """`uadbench grid FILE` without the word `run`: what is no command of the group is an argument of it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the word in."""
        if args and args[0] not in (*self.commands, "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


grid = typer.Typer(
    cls=_FileFirst,
    no_args_is_help=True,
    help="Many methods, data sets and seeds from one file: `grid FILE`, and `grid status FILE` to watch.",
)
app.add_typer(grid, name="grid")
Description = Annotated[Path, typer.Argument(metavar="FILE", help="The grid's description, a TOML file.")]


@grid.command("run")
def run_grid(
    file: Description,
    on: Annotated[str, typer.Option(help="local, or slurm: as job arrays.")] = "local",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Cells at once; default: one per GPU, or per `threads` cores.")
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
    from uadbench.grid import run_grid as grids

    machine = grids.absolute(_machine("cpu", 1, True, results))
    wish = grids.Wish(on, jobs, force, retry_failed, timeout)
    if dry_run:
        grids.show_dry_run(file, machine, wish)
    elif code := grids.run_grid(file, machine, wish):
        raise typer.Exit(code)


@grid.command("status")
def grid_status(
    file: Description,
    once: Annotated[bool, typer.Option("--once", help="Print it once, and do not wait.")] = False,
    results: Results = None,
    plugins: Plugins = None,
) -> None:
    """Show what is done, running, failed (with the reason and the log) and the time left, live."""
    from uadbench.grid import run_grid as grids

    grids.show_status(file, grids.absolute(_machine("cpu", 1, True, results)), once)


@app.command()
def score(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Path of a record (results/.../seed-0.json).")],
    results: Results = None,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Recompute the metrics of a record from its stored score maps."""
    from uadbench.report import show
    from uadbench.run import evaluate_again

    show.outcomes([evaluate_again(run, _machine("cpu", workers, quiet, results))])


@app.command()
def leaderboard(
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Only this test set.")] = None,
    contrast: Annotated[str | None, typer.Option(help="Only this contrast.")] = None,
    preset: Annotated[str | None, typer.Option(help="Only this preset; default: all but ci.")] = None,
    sort: Annotated[str, typer.Option(help="Column to sort by: ap, dsc_oracle, auroc, ...")] = "ap",
    by: Annotated[
        str,
        typer.Option(help="method; family (best and median row by lesion kind), stratum, bias or cost."),
    ] = "method",
    published: Annotated[bool, typer.Option("--published", help="Published figures beside ours.")] = False,
    resamples: Annotated[
        int | None,
        typer.Option(min=0, help="Of the bootstrap, 0 for none; default: 1000, fewer of many records."),
    ] = None,
    format_: Annotated[
        str,
        typer.Option("--format", help="table, markdown, csv, json, latex, or html: a page with pictures."),
    ] = "table",
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of the screen.")] = None,
    results: Results = None,
    plugins: Plugins = None,
) -> None:
    """Tables of all records, ranked only where a comparison means something."""
    from uadbench import record
    from uadbench.report import leaderboard as board
    from uadbench.report import listing, page, show, statistics, views
    from uadbench.report import published as figures

    if format_ not in board.FORMATS:
        raise UserError(f"--format expects one of {', '.join(board.FORMATS)}, but '{format_}' came.")
    if by not in ("method", *views.BY):
        raise UserError(f"--by expects one of method, {', '.join(views.BY)}, but '{by}' came.")
    if format_ == "html" and (by != "method" or published):
        raise UserError("The page holds all views and the published figures: leave --by and --published out.")
    places = _places(results)
    folder = places.results
    chosen = [
        r
        for r in record.read_all(folder)
        if (dataset is None or r.test == board.known_dataset(dataset))
        and (contrast is None or r.contrast == contrast)
        and (r.preset == preset if preset else board.public(r))
    ]
    if not chosen:
        raise UserError(
            f"There is no such record under {folder}; `uadbench run --method ae --dataset phantom` makes one."
        )
    drawn = statistics.resamples_for(len(chosen)) if resamples is None else resamples
    if by != "method" or published:
        listings = views.listings(by, board.tables(chosen, sort), folder, drawn) if by != "method" else []
        listings += figures.listings(chosen) if published else []
        if format_ == "table" and output is None:
            show.listings(listings)
        else:
            _write(listing.FORMATS[format_](listings), output)
        return
    found = board.tables(chosen, sort, folder if drawn else None, drawn)
    failed = [(str(place), reason) for place, reason in record.failures(folder)]
    if format_ == "table" and output is None:
        show.leaderboard(found, failed)
        return
    text = {
        "table": lambda: board.markdown(found, failed),
        "markdown": lambda: board.markdown(found, failed),
        "csv": lambda: board.csv(found),
        "json": lambda: board.as_json(found),
        "latex": lambda: board.latex(found),
        "html": lambda: page.write(found, failed, places, drawn),
    }[format_]()
    _write(text, output)


def _write(text: str, output: Path | None) -> None:
    from uadbench.files import write_text

    if output is None:
        typer.echo(text, nl=False)
    else:
        write_text(output, text)


@app.command()
def reproduce(
    method: Annotated[str, typer.Argument(help="Method.")],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="Data set to test on.")],
    train: Annotated[
        str | None, typer.Option(help="Another healthy data set than the published one.")
    ] = None,
    contrast: Annotated[str | None, typer.Option(help="Only this contrast.")] = None,
    preset: Annotated[str, typer.Option(help="paper; a smaller one is said beside the verdict.")] = "paper",
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Fit, score and record again.")] = False,
    results: Results = None,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Run what the published figures of a method on a test set need, and say which are met."""
    from uadbench.report import show
    from uadbench.report.reproduce import verdicts, wanted
    from uadbench.run import run_recording_failure

    asked = wanted(method, dataset, train, contrast, preset, seed)
    if not asked.cells:
        raise UserError(
            f"No published figure of {method} can be run on {dataset}: {'; '.join(asked.skipped)}."
        )
    machine = _machine(device, workers, quiet, results)
    done = [run_recording_failure(cell, machine, force) for cell in asked.cells]
    show.listings([verdicts(asked, [outcome.record for outcome in done if not isinstance(outcome, str)])])
    failed = [outcome for outcome in done if isinstance(outcome, str)]
    for reason in failed:
        typer.echo(f"uadbench: {method} on {dataset} failed and is recorded as failed: {reason}", err=True)
    if failed:
        raise typer.Exit(1)


@app.command()
def ablate(
    method: Annotated[str, typer.Argument(help="Method whose folder has an ablations.toml.")],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="Data set to test on.")] = "phantom",
    train: Annotated[
        str | None, typer.Option(help="Healthy data set to learn from; default: the card's partner.")
    ] = None,
    letter: Annotated[
        list[str] | None, typer.Option("--letter", "-l", help="Only these questions. Repeatable.")
    ] = None,
    contrast: Annotated[
        list[str] | None, typer.Option(help="Test on these contrasts only. Repeatable.")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="ci, demo (2 CPU cores, minutes), small (one GPU) or paper.")
    ] = "demo",
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of full model and variants. Repeatable."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many persons of each partition.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Fit, score and record again.")] = False,
    results: Results = None,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Run a method without each of its parts and decide whether the part has earned its place."""
    from uadbench import ablate as ablations
    from uadbench.plan import Cell

    machine = _machine(device, workers, quiet, results)
    settings = dict(_setting(text) for text in set_ or [])
    cell = Cell(
        method=method, dataset=dataset, train=train, preset=preset, seed=seed, settings=settings, limit=limit
    )
    report = ablations.ablate(
        ablations.read(method), cell, machine, letter or (), contrast or (), force=force
    )
    path = ablations.write(report, machine)
    typer.echo(ablations.markdown(report))
    typer.echo(f"records and tables: {path.parent}")


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Path of a record (results/.../seed-0.json).")],
    scan: Annotated[Path, typer.Argument(metavar="SCAN", help="A NIfTI file of the run's contrast.")],
    out: Annotated[Path, typer.Option(help="Folder for maps, mask, picture and prediction.json.")],
    brain_mask: Annotated[Path | None, typer.Option(help="Brain mask; default: extracted.")] = None,
    stripped: Annotated[bool, typer.Option("--stripped", help="The scan shows the brain alone.")] = False,
    point: Annotated[str, typer.Option(help="Threshold of the mask: fpr1, fpr5 or val.")] = "fpr1",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Apply a trained method to a scan of your own; the maps lie in the scan's own space."""
    from uadbench.predict import predict as predict_scan
    from uadbench.report import show

    machine = _machine(device, 1, quiet, None)
    show.prediction(predict_scan(run, scan, out, machine, brain_mask, stripped, point), out)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Path of a record.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Path of another record of the same test.")],
    plugins: Plugins = None,
) -> None:
    """Two runs on the same persons: every figure's difference with its interval and test."""
    from uadbench.report import show
    from uadbench.report.statistics import compare as compare_records

    show.comparison(compare_records(first, second))


@app.command("check-record")
def check_record(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Records (seed-*.json), with pieces.")],
    plugins: Plugins = None,
) -> None:
    """Is a record made elsewhere consistent? That proves no authenticity. Exit code 1 if it is not."""
    from uadbench.check_record import check

    wrong = {file: check(file) for file in files}
    for file, reasons in wrong.items():
        for reason in reasons:
            typer.echo(f"{file}: {reason}")
    refused = sum(bool(reasons) for reasons in wrong.values())
    if refused:
        typer.echo(f"{refused} of {len(files)} records refused.")
        raise typer.Exit(1)
    typer.echo(f"{len(files)} consistent; nothing here proves that the scores are of the named method.")


@app.command()
def regress(
    reference: Annotated[Path, typer.Option(help="Folder of the committed records.")] = Path("results"),
    preset: Annotated[str, typer.Option(help="Compare the records of this preset.")] = "ci",
    method: Annotated[list[str] | None, typer.Option("--method", "-m", help="Only these methods.")] = None,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Run the phantom records anew and compare them with the committed ones, metric by metric."""
    from uadbench.report import show
    from uadbench.report.regress import rerun

    changes = rerun(reference, preset, method or [], _machine("cpu", workers, quiet, None))
    show.changes(changes)
    if any(change.regressed for change in changes):
        raise typer.Exit(1)


# ---- what there is -----------------------------------------------------------------------------


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="Show all about one method.")] = None,
    plugins: Plugins = None,
) -> None:
    """List the methods, or show one: source, differences from its paper, options, presets."""
    from uadbench.cards import method_card, method_names
    from uadbench.report import show

    if name is None:
        show.methods([method_card(known) for known in method_names()])
    else:
        show.method(method_card(name))


@app.command()
def datasets(
    name: Annotated[str | None, typer.Argument(help="Show all about one data set.")] = None,
    plugins: Plugins = None,
) -> None:
    """List the data sets, or show one: where to apply, licence, layout, labels."""
    from uadbench.cards import dataset_card
    from uadbench.report import show

    places = _places(None)
    if name is None:
        show.datasets([dataset_card(known) for known in catalog.names("datasets")], places)
    else:
        show.dataset(dataset_card(name), places)


@app.command()
def verify(
    dataset: Annotated[str, typer.Argument(help="Data set.")],
    root: Root = None,
    report: Annotated[Path | None, typer.Option(help="Write the report as JSON to this file.")] = None,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Compare a download with what the card expects, file by file; exit code 1 when something is wrong."""
    from uadbench.files import write_json
    from uadbench.plan import find
    from uadbench.preparation.verify import verify as verify_dataset
    from uadbench.report import show

    machine = _machine("cpu", workers, quiet, None)
    _remember(machine.places, dataset, root)
    found = verify_dataset(find(dataset, machine), machine.workers, machine.progress)
    show.report(found)
    if report is not None:
        write_json(report, found.as_dict())
    if not found.ok:
        raise typer.Exit(1)


@app.command()
def prepare(
    dataset: Annotated[str, typer.Argument(help="Data set.")],
    root: Root = None,
    contrast: Annotated[list[str] | None, typer.Option(help="Contrasts; default: all. Repeatable.")] = None,
    grid: Annotated[
        list[str] | None, typer.Option(help="Grids; default: the evaluation grid. Repeatable.")
    ] = None,
    extractor: Extractor = "atlas",
    n4: N4 = False,
    workers: Workers = 0,
    quiet: Quiet = False,
    plugins: Plugins = None,
) -> None:
    """Bring every subject of a data set to the protocol's grid, once; later runs find it done."""
    from uadbench.preparation.prepare import Options
    from uadbench.preparation.prepare_dataset import prepare_dataset
    from uadbench.report import show

    machine = _machine("cpu", workers, quiet, None)
    _remember(machine.places, dataset, root)
    options = Options(extractor, n4)
    show.prepared(prepare_dataset(dataset, contrast or [], grid or [], machine, options))


@app.command()
def fixture(
    dataset: Annotated[str, typer.Argument(help="Data set whose layout is written.")],
    out: Annotated[Path, typer.Option(help="Folder to write; must be empty or new.")],
    subjects: Annotated[int, typer.Option(min=1, help="How many phantom people.")] = 6,
    trap: Annotated[list[str] | None, typer.Option(help="A fault that real files have. Repeatable.")] = None,
    layout: Annotated[str | None, typer.Option(help="A variant of the layout; default: the first.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the phantom people.")] = 0,
    plugins: Plugins = None,
) -> None:
    """Write phantom people in the layout of a data set: to try every command without a download."""
    from uadbench.fixtures import write_fixture

    write_fixture(dataset, out, subjects, trap or (), seed, layout)
    typer.echo(f"{subjects} phantom people lie under {out}; next: uadbench verify {dataset} --root {out}")


@new.command("method")
def new_method(
    name: Annotated[str, typer.Argument(help="Its name: small letters, digits and _.")],
    folder: Folder = None,
    plugins: Plugins = None,
) -> None:
    """Write a small method that works, to be changed."""
    _write_new("methods", name, folder)


@new.command("dataset")
def new_dataset(
    name: Annotated[str, typer.Argument(help="Its name: small letters, digits and _.")],
    folder: Folder = None,
    plugins: Plugins = None,
) -> None:
    """Write a small data set that works, to be changed."""
    _write_new("datasets", name, folder)


@app.command()
def doctor(plugins: Plugins = None) -> None:
    """Versions, device, memory, caches and the data found: what to send with a question."""
    from uadbench.report import show

    show.doctor(_places(None))


# ---- shared ------------------------------------------------------------------------------------


def _write_new(kind: str, name: str, folder: Path | None) -> None:
    from uadbench.new import next_steps, write

    target = write(kind, name, folder)
    files = ", ".join(sorted(file.name for file in target.iterdir()))
    typer.echo(f"{target} holds {files}; it works as it is. Next:\n\n{next_steps(kind, target)}", nl=False)


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise UserError(f"--set expects key=value, but '{text}' came.")
    return key, value


def _places(results: Path | None) -> "Places":
    from dataclasses import replace

    from uadbench.places import Places

    places = Places.default()
    return places if results is None else replace(places, results=results)


def _progress(quiet: bool) -> "Progress":
    from uadbench.progress import Bars, Silent

    return Silent() if quiet else Bars()


def _machine(device: str, workers: int, quiet: bool, results: Path | None) -> "Machine":
    from uadbench.environment import resolve_device
    from uadbench.plan import Machine

    if workers < 0:
        raise UserError(f"--workers expects 0 or more, but {workers} came.")
    return Machine(_places(results), _progress(quiet), resolve_device(device), workers or os.cpu_count() or 1)


def _remember(places: "Places", dataset: str, root: Path | None) -> None:
    from uadbench.cards import dataset_card

    dataset_card(dataset)
    if root is not None:
        if not root.is_dir():
            raise UserError(f"--root expects a folder, but there is none at {root}.")
        places.remember_root(dataset, root)
