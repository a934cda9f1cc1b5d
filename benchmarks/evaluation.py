"""How fast scans are evaluated: beside what one would use instead, and beside another commit.

python benchmarks/evaluation.py                        parts of it, on a made scan of 1 mm
python benchmarks/evaluation.py --against FOLDER --data FOLDER [--dataset lgg] [--protocol uad-1-2d]

FOLDER of --against is a checkout of another commit; that of --data holds a folder for each data set, of its
name. Both commits prepare all scans with lesions there, in runs/benchmark-FOLDER, and evaluate the scans
themselves as maps, each in a process of its own; with --times 7 all of them seven times over, as in a larger
cohort. Ratios of CPU time count. AP and AUROC of single scans lie
apart where the two prepare scans or post-process maps in different ways.
"""

import argparse
import dataclasses
import importlib
import inspect
import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve()
SHOWN = ("ap", "auroc")  # of every scan, by profile


def timed(work: Callable[[], Any], rounds: int = 3) -> tuple[float, Any]:
    """CPU seconds (the least of the rounds) and the result."""
    seconds, result = [], None
    for _ in range(rounds):
        before = time.process_time()
        result = work()
        seconds.append(time.process_time() - before)
    return min(seconds), result


# ---- parts -----------------------------------------------------------------------------------------


def show_parts() -> None:
    """Each part beside the usual tool, with how far the results lie apart."""
    import torch
    from monai.metrics.surface_dice import compute_surface_dice
    from scipy import ndimage

    from uadbench.data.space import GRIDS
    from uadbench.evaluation.components import FALSE, FOUND
    from uadbench.evaluation.details import FROC_RATES, Sweep, swept
    from uadbench.evaluation.ground import Ground
    from uadbench.evaluation.postprocess import PROFILES, eroded
    from uadbench.evaluation.surfaces import surface_dice
    from uadbench.evaluation.view import View
    from uadbench.testing.toys import draw_ellipsoid

    grid = GRIDS["g192"]
    brain = draw_ellipsoid(grid, (0, -18, 8), (66, 82, 62))
    lesion = draw_ellipsoid(grid, (30, -10, 20), (18, 14, 16)) | draw_ellipsoid(grid, (-30, 0, 20), (4, 4, 4))
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(grid.shape), 1.0)
    scores = (noise / noise.std() + lesion).astype(np.float32)
    ground = Ground(
        grid, 1.0, grid.voxel_ml, brain, lesion, np.zeros(grid.shape, bool), brain, (slice(None),) * 3
    )
    view = View(ground, PROFILES["raw"], scores[brain])
    thresholds = np.quantile(scores[brain & ~lesion], 1 - np.array(FROC_RATES)).astype(np.float32)
    disc = np.hypot(*np.mgrid[-3:4, -3:4])[:, :, None] <= 3
    called = view.called(float(thresholds[-1]))

    def by_scipy() -> list[list[int]]:
        """Lesions found and false components at each threshold, in whole volumes."""
        around, found = np.ones((3, 3, 3)), []
        labels, count = ndimage.label(lesion, around)
        whole = np.bincount(labels.ravel())[1:]
        for threshold in thresholds:
            mask = brain & (scores >= threshold)
            own, n = ndimage.label(mask, around)
            hit = np.bincount(labels[mask], minlength=count + 1)[1:] >= 0.1 * whole
            found.append([int(hit.sum()), int(n - np.count_nonzero(np.unique(own[lesion])))])
        return found

    def by_monai() -> float:
        masks = (torch.from_numpy(mask[None, None]) for mask in (called, lesion))
        spacing = [1.0, 1.0, 1.0]
        return float(compute_surface_dice(*masks, [2.0], True, spacing=spacing, use_subvoxels=True))

    for name, ours, usual in (
        (
            "components at 26 thresholds, scipy",
            lambda: swept(view, Sweep(thresholds, len(thresholds)))[:, [FOUND, FALSE]],
            by_scipy,
        ),
        ("surface Dice, MONAI", lambda: surface_dice(called, lesion, (1.0, 1.0, 1.0)), by_monai),
        ("erosion by 3 mm in plane, scipy", lambda: eroded(brain, 3.0, grid),
         lambda: ndimage.binary_erosion(brain, disc)),
    ):  # fmt: skip
        seconds, found = timed(ours)
        usually, expected = timed(usual)
        apart = np.abs(np.asarray(found, float) - np.asarray(expected, float)).max()
        print(f"{name}: x{usually / seconds:.1f} ({usually:.2f} s, {seconds:.3f} s), apart {apart:.0e}")


# ---- another commit --------------------------------------------------------------------------------


class CaughtError(BaseException):
    """What a run was about to evaluate; not an Exception, which a run would report."""

    def __init__(self, *given: Any) -> None:
        """The arguments of `evaluate`."""
        self.given = given


def evaluate_here(
    words: list[str], profiles: list[str], headline: str | None, rounds: int, times: int
) -> None:
    """In a process of the commit that is looked at: evaluate all scans of a run, and print JSON."""
    try:
        module = importlib.import_module("uadbench.experiment.assemble")
    except ImportError:  # commits of before November 2026
        module = importlib.import_module("uadbench.run")
        splits = importlib.import_module("uadbench.splits")
        splits.partition = lambda person, _: None if person.healthy else "lesion-test"  # type: ignore[attr-defined]
        words = [word for word in words if word not in ("--train", "none", "--split", "all-test")]
    evaluate = module.evaluate

    def catch(*given: Any, **_: Any) -> None:
        raise CaughtError(*given)

    module.evaluate = catch  # type: ignore[attr-defined]
    sys.argv = ["uadbench", *words]
    try:
        runpy.run_module("uadbench", run_name="__main__")
    except CaughtError as caught:
        cases, _, scratch, _, progress = caught.given[:5]
    maps, score = (importlib.import_module(f"uadbench.{name}") for name in ("evaluation.maps", "methods"))
    write, own = getattr(maps, "write_map", None) or maps.write, []
    folder = Path(os.environ["UADBENCH_RUNS"])
    for number, case in enumerate(list(cases) * times):
        file, prepared = folder / f"own-{number}.safetensors", renamed(case.prepared, number)
        write(file, score.Score(prepared.image()), 1.0, 1.0)
        own.append(dataclasses.replace(case, prepared=prepared, map_file=file, map_grid=prepared.grid))
    further = {"headline": headline} if "headline" in inspect.signature(evaluate).parameters else {}
    seconds, found = timed(lambda: evaluate(own, profiles, scratch, 1, progress, **further), rounds)
    figures = {f"{s['id']} {name} {p}": s[name][p] for s in found.subjects for name in SHOWN for p in s[name]}
    print(json.dumps({"seconds": seconds, "scans": len(own), "figures": figures}))


def renamed(scan: Any, number: int) -> Any:
    """The scan, as if it were another subject's: a cohort has each but once."""
    whose = "session" if hasattr(scan, "session") else "subject"
    person = getattr(scan, whose)
    return dataclasses.replace(scan, **{whose: dataclasses.replace(person, id=f"{person.id}-{number}")})


def compare(other: Path, data: Path, dataset: str, protocol: str, rounds: int, times: int) -> None:
    """The other commit's time over this one's: for the figures that both have, and for all of this one."""
    words = ["run", "-m", "intensity", "-d", dataset, "--contrast", "FLAIR", "--protocol", protocol]
    words += ["--train", "none", "--split", "all-test", "--quiet", "--force"]

    def one(tree: Path, profiles: str, headline: str = "") -> dict[str, Any]:
        runs = Path.cwd() / "runs" / f"benchmark-{tree.resolve().name}"
        places = {
            "UADBENCH_RUNS": runs,
            "UADBENCH_DATA": data.resolve(),
            "UADBENCH_RESULTS": runs / "results",
        }
        environment = os.environ | {name: str(place) for name, place in places.items()}
        environment |= {"PYTHONPATH": str(tree.resolve()), "OMP_NUM_THREADS": "1"}
        task = json.dumps([words, profiles.split(), headline or None, rounds, times])
        done = subprocess.run(
            [sys.executable, str(HERE), "--task", task],
            env=environment,
            cwd=tree,
            check=True,
            stdout=-1,
            text=True,
        )
        return dict(json.loads(done.stdout.splitlines()[-1]))

    before = one(other, "raw baur5")
    same, everything = (
        one(HERE.parents[1], "raw baur5"),
        one(HERE.parents[1], "raw median3 baur5", "baur5"),
    )
    both = before["figures"].keys() & same["figures"].keys()
    apart = max((abs(before["figures"][name] - same["figures"][name]) for name in both), default=float("nan"))
    print(f"{dataset} {protocol}, {same['scans']} scans ({before['scans']} there): {before['seconds']:.2f} s")
    for name, now in (("the same profiles, no details", same), ("all profiles and details", everything)):
        print(f"  {name}: {now['seconds']:.2f} s, x{before['seconds'] / now['seconds']:.2f}")
    print(f"  {len(both)} figures of single scans lie apart by at most {apart:.0e}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--dataset", default="lgg")
    parser.add_argument("--protocol", default="uad-1-2d")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.task:
        evaluate_here(*json.loads(chosen.task))
    elif chosen.against:
        compare(chosen.against, chosen.data, chosen.dataset, chosen.protocol, chosen.rounds, chosen.times)
    else:
        show_parts()


if __name__ == "__main__":
    main()
