"""Options that several commands have, and what commands make of them.

Here and in the commands, heavy modules are imported inside functions, so that `--help` stays fast.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uadbench import catalog
from uadbench.cli import complete
from uadbench.system.errors import UserError
from uadbench.system.text import visible

if TYPE_CHECKING:
    from uadbench.experiment.config import Runtime


def _add_plugins(paths: list[Path] | None) -> list[Path] | None:
    for path in paths or []:
        catalog.add_plugins(path.expanduser())
    return paths


Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugins",
        callback=_add_plugins,
        is_eager=True,
        help="A folder with methods/ or datasets/ of your own (or UADBENCH_PLUGINS). Repeatable.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Workers = Annotated[
    int, typer.Option(min=0, max=1024, help="Processes that share the work on subjects; 0: one per core.")
]
Extractor = Annotated[
    str,
    typer.Option(
        help="Skull stripping for scans without a brain mask: atlas (built in), hd-bet or synthstrip.",
        autocompletion=complete.one_of("atlas", "hd-bet", "synthstrip"),
    ),
]
N4 = Annotated[bool, typer.Option("--n4", help="Remove the bias field of every scan first.")]
Results = Annotated[Path | None, typer.Option(help="Folder of the records (or UADBENCH_RESULTS).")]
Train = Annotated[
    str | None,
    typer.Option(
        help="Healthy data set or folder to train on, or none; default: the card's first.",
        autocompletion=complete.datasets_and_folders,
    ),
]
MethodName = Annotated[str, typer.Argument(help="Method.", autocompletion=complete.methods)]
DatasetName = Annotated[str, typer.Argument(help="Data set.", autocompletion=complete.datasets)]
DatasetOrFolder = Annotated[
    str, typer.Argument(help="Data set, or a folder of scans.", autocompletion=complete.datasets_and_folders)
]
Preset = Annotated[
    str,
    typer.Option(
        help="ci, demo (two cores, minutes), cpu (20 of them), small (one GPU) or paper.",
        autocompletion=complete.presets,
    ),
]
OnlyDataset = Annotated[
    str | None,
    typer.Option("--dataset", "-d", help="Only this test set.", autocompletion=complete.datasets),
]
OnlyContrast = Annotated[
    str | None, typer.Option(help="Only this MR contrast (modality).", autocompletion=complete.contrasts)
]
OnlyPreset = Annotated[
    str | None,
    typer.Option(help="Only this preset; default: all but ci.", autocompletion=complete.presets),
]
OnlyMethods = Annotated[
    list[str] | None,
    typer.Option("--method", "-m", help="Only this method. Repeatable.", autocompletion=complete.methods),
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of every random choice.")]
Device = Annotated[
    str,
    typer.Option(
        help="auto, cpu, cuda, cuda:1, mps.", autocompletion=complete.one_of("auto", "cpu", "cuda", "mps")
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="At most this number of subjects in each partition.")]
Force = Annotated[bool, typer.Option("--force", help="Fit, score and record again.")]
Output = Annotated[Path | None, typer.Option(help="Write to this file instead of the screen.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Path of a record (results/.../seed-0.json).")]


def settings_from(texts: list[str] | None, option: str = "--set") -> dict[str, str]:
    """Options of a method from `--set key=value`, or what another option names so."""
    pairs = [text.partition("=") for text in texts or []]
    for key, equals, value in pairs:
        if not (key and equals):
            raise UserError(f"{option} expects key=value, got '{key}{equals}{value}'.")
    return {key: value for key, _, value in pairs}


def name_folder(dataset: str, runtime: "Runtime", quiet: bool, contrast: str | None = None) -> str:
    """The name of a data set that may be given as a folder of scans; what is in the folder is printed."""
    from uadbench.experiment.own import name_dataset

    return name_dataset(
        dataset, runtime, contrast, lambda line: None if quiet else typer.echo(visible(line), err=True)
    )
