"""What training buys on the phantom: each learned row against random scores and its own untrained self.

python benchmarks/claims.py [--preset demo] [--method ae] [--output results/claims/phantom-demo.md]

Runs what is not done yet: every row into --results, and those with a network once more without a step of
training into --untrained. The claim of a row is that the paired 95 % bootstrap interval over subjects
of the difference in AP lies above 0, against both: of all lesions, as the mark `?` of a table asks, and of
glioma-like ones alone, of which the phantom has so few scans that their interval may reach 1.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

from uadbench import methods
from uadbench.evaluation.uncertainty import Interval, difference_in_ap
from uadbench.experiment import pieces_file
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.record import RunRecord, Stored
from uadbench.experiment.run import run
from uadbench.protocol import METRIC_VERSION
from uadbench.system.environment import resolve_device
from uadbench.system.files import write_text
from uadbench.system.paths import Paths
from uadbench.system.progress import Bars, Silent

KINDS = ("glioma", "stroke", "ms", "wmh", "mimic")
PROFILE = "baur5"
CLAIMED = "glioma"


def ap(made: RunRecord, kind: str) -> float:
    """Pooled AP over the scans with lesions of one kind."""
    return made.summary.profiles[PROFILE].kinds[kind].ap or 0.0


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


def lines(runtime: Runtime, preset: str, names: list[str], control_results: Path) -> list[str]:
    """The rows of the table, by AP of gliomas."""
    controls = replace(runtime, paths=replace(runtime.paths, results=control_results))
    here, there = runtime.paths.results, control_results
    chance = run(RunConfig(method="random", dataset="phantom", preset=preset), runtime).record
    found: list[tuple[float, str]] = []
    for name in names:
        made = run(RunConfig(method=name, dataset="phantom", preset=preset), runtime).record
        config = RunConfig(method=name, dataset="phantom", preset=preset, untrained=True)
        born = run(config, controls).record if methods.training_steps(methods.load(name)) else None
        cells = [f"{ap(made, kind):.3f}" for kind in KINDS] + [f"{ap(born, CLAIMED):.3f}" if born else ""]
        for kind in (None, CLAIMED):
            cells.append(said(gain(made, chance, (here, here), kind)) if name != "random" else "")
            cells.append(said(gain(made, born, (here, there), kind)) if born else "")
        cells += [f"{made.timing[stage].seconds:.0f}" for stage in ("fit", "score")]
        found.append((ap(made, CLAIMED), "| " + " | ".join([name, *cells]) + " |"))
        print(found[-1][1], flush=True)
    return [line for _, line in sorted(found, key=lambda row: -row[0])]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
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
    against = [f"{what}: against {other}" for what in ("all", CLAIMED) for other in ("random", "untrained")]
    header = ("row", *KINDS, "untrained", *against, "fit s", "score s")
    table = lines(runtime, options.preset, options.method or methods.names(), options.untrained)
    text = "\n".join(
        [
            f"# What training buys on the phantom, preset `{options.preset}`",
            "",
            f"Metric version {METRIC_VERSION}, one seed. AP over all voxels after `{PROFILE}`, by the kind "
            "of lesion; then AP of glioma-like lesions of the same row without a step of training, and the "
            "differences in AP to random scores and to that, of all lesions and of glioma-like ones, with "
            "paired 95 % bootstrap intervals over subjects. Ranks on the phantom are no evidence about "
            "brains: the atlas methods and `dal_r` share its priors.",
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
