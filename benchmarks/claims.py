"""What training buys: each learned row against random scores and its own untrained self.

python benchmarks/claims.py [--preset demo] [--method ae] [--output results/claims/phantom-demo.md]
python benchmarks/claims.py --dataset lgg --method dae --results results --output results/claims/lgg-demo.md

Runs what is not done yet: every row into --results, and those with a network once more without a step of
training into --untrained. The claim of a row is that the paired 95 % bootstrap interval over subjects
of the difference in AP lies above 0, against both: of all lesions, as the mark `?` of a table asks, and of
glioma-like ones alone, of which the phantom has so few scans that their interval may reach 1. Of a data set
of patients (--dataset) all lesions are of one kind, and a record of an earlier version that is in --results
is taken as it is.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from uadbench import methods
from uadbench.evaluation.uncertainty import Interval, difference_in_ap
from uadbench.experiment import pieces_file
from uadbench.experiment.config import RunConfig, Runtime, resolve_run
from uadbench.experiment.record import RunRecord, Stored, read_record
from uadbench.experiment.run import run
from uadbench.protocol import METRIC_VERSION
from uadbench.system.environment import resolve_device
from uadbench.system.files import write_text
from uadbench.system.paths import Paths
from uadbench.system.progress import Bars, Silent

KINDS = ("glioma", "stroke", "ms", "wmh", "mimic")
PROFILE = "baur5"
CLAIMED = "glioma"
PHANTOM = (
    "AP is by the kind of lesion, `untrained` of glioma-like ones. Ranks on the phantom are no evidence "
    "about brains: the atlas methods and `dal_r` share its priors."
)


def ap(made: RunRecord, kind: str | None) -> float:
    """Pooled AP over the scans with lesions of one kind, or of all."""
    of_all = made.summary.profiles[PROFILE]
    return (of_all.kinds[kind] if kind else of_all).ap or 0.0


def gain(first: RunRecord, second: RunRecord, paths: tuple[Path, Path], kind: str | None) -> Interval:
    """Difference in AP of one kind of lesion, or of all, with its paired interval."""
    chosen = {first.subjects[row].id: first.subjects[row] for row in first.rows("lesion-test", kind)}
    ours, theirs = (
        pieces.only([pieces.ids.index(name) for name in chosen])
        for made, results in zip((first, second), paths, strict=True)
        for pieces in [pieces_file.read_pieces(Stored(made, results / made.place)).pieces[PROFILE]]
    )
    return difference_in_ap(ours, theirs, [subject.person for subject in chosen.values()])


def said(interval: Interval) -> str:
    """The interval, and whether it leaves the claim open."""
    text = f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
    return text if interval.low > 0 else f"{text} not shown"


def lines(runtime: Runtime, dataset: str, preset: str, names: list[str], control_results: Path) -> list[str]:
    """The rows of the table, by AP of gliomas, or of all lesions of patients."""
    kinds, claims = columns(dataset)
    controls = replace(runtime, paths=replace(runtime.paths, results=control_results))
    here, there = runtime.paths.results, control_results
    chance = trained(RunConfig(method="random", dataset=dataset, preset=preset), runtime)
    found: list[tuple[float, str]] = []
    for name in names:
        made = trained(RunConfig(method=name, dataset=dataset, preset=preset), runtime)
        config = RunConfig(method=name, dataset=dataset, preset=preset, untrained=True)
        born = run(config, controls).record if methods.training_steps(methods.load(name)) else None
        cells = [f"{ap(made, kind):.3f}" for kind in kinds] + [f"{ap(born, claims[-1]):.3f}" if born else ""]
        for kind in claims:
            cells.append(said(gain(made, chance, (here, here), kind)) if name != "random" else "")
            cells.append(said(gain(made, born, (here, there), kind)) if born else "")
        cells += [f"{made.timing[stage].seconds:.0f}" for stage in ("fit", "score")]
        found.append((ap(made, claims[-1]), "| " + " | ".join([name, *cells]) + " |"))
        print(found[-1][1], flush=True)
    return [line for _, line in sorted(found, key=lambda row: -row[0])]


def trained(config: RunConfig, runtime: Runtime) -> RunRecord:
    """The record of a row; that of patients is not made again where it is there."""
    path = runtime.paths.results / resolve_run(config, runtime).place
    there = config.dataset != "phantom" and path.exists()
    return read_record(path) if there else run(config, runtime).record


def columns(dataset: str) -> tuple[Sequence[str | None], Sequence[str | None]]:
    """Kinds of lesions whose AP is shown, and those whose differences are; None is all lesions."""
    return (KINDS, (None, CLAIMED)) if dataset == "phantom" else ((None,), (None,))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="phantom")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--method", action="append", help="only this row; repeatable")
    parser.add_argument("--results", type=Path, default=Path("runs/claims/trained"))
    parser.add_argument("--untrained", type=Path, default=Path("runs/claims/untrained"))
    parser.add_argument("--output", type=Path, help="where to write the table")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    paths = replace(Paths.default(), results=options.results)
    runtime = Runtime(
        paths, Silent() if options.quiet else Bars(), resolve_device(options.device), os.cpu_count() or 1
    )
    kinds, claims = columns(options.dataset)
    against = [f"{kind or 'all'}: against {other}" for kind in claims for other in ("random", "untrained")]
    header = ("row", *(kind or "AP" for kind in kinds), "untrained", *against, "fit s", "score s")
    names = options.method or methods.names()
    table = lines(runtime, options.dataset, options.preset, names, options.untrained)
    text = "\n".join(
        [
            f"# What training buys on {options.dataset}, preset `{options.preset}`",
            "",
            f"Metric version {METRIC_VERSION}, one seed. AP over all voxels after `{PROFILE}`; then AP of "
            "the same row without a step of training, and the differences in AP to random scores and to "
            "that, with paired 95 % bootstrap intervals over subjects.",
            *(["", PHANTOM] if options.dataset == "phantom" else []),
            "",
            "| " + " | ".join(header) + " |",
            "| --- " + "| ---: " * (len(header) - 1) + "|",
            *table,
            "",
        ]
    )
    print(text)
    if options.output:
        write_text(options.output, text)


if __name__ == "__main__":
    main()
