"""How fast the metrics are, each beside what one would use instead, in CPU time of the same run.

python benchmarks/metrics.py [--size 5e7] [--only curves|bootstrap|median]

Ratios count; absolute times are of this machine. At the full size scikit-learn alone takes minutes.
"""

import argparse
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from uadbench.data.space import GRIDS
from uadbench.evaluation.counting import streamed
from uadbench.evaluation.medians import median
from uadbench.evaluation.metrics import Curve, Voxels, measure
from uadbench.evaluation.pieces import Pieces
from uadbench.evaluation.postprocess import PROFILES, filtered
from uadbench.evaluation.uncertainty import draw_resamples, pooled


def timed(work: Callable[[], Any], rounds: int = 1) -> tuple[float, Any]:
    """CPU seconds (the median of the rounds) and the result."""
    seconds = []
    for _ in range(rounds):
        before = time.process_time()
        result = work()
        seconds.append(time.process_time() - before)
    return float(np.median(seconds)), result


def voxels(n: int, kind: str, seed: int = 0) -> Voxels:
    """Scores and labels (n,), 1 % positive.

    Unbounded distances; residuals of which 45 % are 0; distances brought within 1e-3 of each other.
    """
    random = np.random.default_rng(seed)
    labels = random.random(n) < 0.01
    if kind == "ties":
        scores = np.abs(random.normal(0, 0.05, n)) + labels * np.abs(random.normal(0.1, 0.1, n))
        scores[random.random(n) < 0.45] = 0
        scores = scores.clip(0, 1)
    else:
        scores = random.gamma(2, 3, n) + labels * random.gamma(3, 4, n)
    if kind.startswith("close"):
        scores = float(kind.split()[-1]) + 1e-3 * scores / scores.max()
    return scores.astype(np.float32), labels


def sklearn_trio(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> tuple[float, float, float]:
    precision, recall, _ = precision_recall_curve(labels, scores)
    dices = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    return average_precision_score(labels, scores), roc_auc_score(labels, scores), float(dices.max())


def peak_bytes(work: Callable[[], Any]) -> int:
    """Most memory that numpy held at once for the work."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


# How many times less CPU time than scikit-learn's three functions, by kind of scores and engine; 0: no goal.
GOALS = {
    "continuous": {"exact": 45, "streaming": 300},
    "ties": {"exact": 45, "streaming": 200},
    "close to 1": {"exact": 0, "streaming": 50},
    "close to 1000": {"exact": 0, "streaming": 50},
}


def curves(size: int) -> bool:
    """Time both engines on all kinds; whether each goal was reached."""
    reached = True
    for kind, goals in GOALS.items():
        scores, labels = voxels(size, kind)
        engines: dict[str, Callable[[], Curve]] = {
            "exact": lambda s=scores, t=labels: measure(s, t),  # type: ignore[misc]
            "streaming": lambda s=scores, t=labels: streamed(s, t),  # type: ignore[misc]
        }
        found = {name: timed(work, rounds=5) for name, work in engines.items()}
        reference, truth = timed(lambda s=scores, t=labels: sklearn_trio(s, t))  # type: ignore[misc]
        print(f"{kind}, {size:.0e} voxels: scikit-learn {reference / size * 1e9:.0f} ns per voxel")
        for name, (seconds, curve) in found.items():
            values = curve.certain().ap, curve.auroc, curve.best_dice
            errors = " / ".join(f"{abs(a - b):.0e}" for a, b in zip(values, truth, strict=True))
            bounds = f"{curve.ap_error:.0e} / {curve.auroc_error:.0e} / {curve.dice_error:.0e}"
            goal = f" (goal {goals[name]})" if goals[name] else ""
            reached &= reference / seconds >= goals[name]
            print(
                f"  {name:9} x{reference / seconds:4.0f}{goal}, {seconds / size * 1e9:.1f} ns per voxel, "
                f"{peak_bytes(engines[name]) / 2**20:.0f} MB; "
                f"AP / AUROC / Dice off by {errors}, bounds {bounds}"
            )
    print("every goal reached" if reached else "NOT every goal reached")
    return reached


def bootstraps(subjects: int = 100, each: int = 100_000, resamples: int = 1000, tried: int = 3) -> None:
    for kind in ("continuous", "ties"):
        cohort = [voxels(each, kind, seed) for seed in range(subjects)]
        names = [str(number) for number in range(subjects)]
        weights = draw_resamples(names, ["lesion-test"] * subjects, resamples)

        def resampled(row: int, cohort: list[Voxels] = cohort, weights: NDArray[Any] = weights) -> float:
            chosen = np.repeat(np.arange(len(cohort)), weights[row])
            scores, labels = (np.concatenate([cohort[c][part] for c in chosen]) for part in (0, 1))
            return float(average_precision_score(labels, scores))

        making, pieces = timed(lambda n=names, c=cohort: Pieces.of_voxels(n, c))  # type: ignore[misc]
        drawing, figures = timed(lambda p=pieces, w=weights: pooled(p, w))  # type: ignore[misc]
        naive, aps = timed(lambda r=resampled: [r(row) for row in range(tried)])  # type: ignore[misc]
        naive *= resamples / tried
        worst = float(np.abs(figures.ap.values[:tried] - aps).max())
        print(
            f"bootstrap, {kind}, {resamples} resamples of {subjects} x {each:.0e} voxels: "
            f"scikit-learn's AP {naive:.0f} s (from {tried} resamples); "
            f"AP, AUROC and Dice {drawing:.2f} s, x{naive / drawing:.0f}; "
            f"with pieces {making:.2f} s of {len(pieces.edges)} cells "
            f"x{naive / (drawing + making):.0f}; AP off by {worst:.0e}"
        )


def brain_and_map() -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """A brain-sized mask (1.5 litres, ventricles and a wavy surface) and residuals on the 1 mm grid."""
    grid = GRIDS["g192"]
    axes = [o + grid.spacing_mm * np.arange(n) for o, n in zip(grid.origin_mm, grid.shape, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    wave = 1 + 0.04 * np.sin(x / 5) * np.sin(y / 6) * np.cos(z / 5)
    brain = ((x / 66) ** 2 + ((y + 18) / 84) ** 2 + ((z - 8) / 64) ** 2) < wave
    brain &= ((x / 10) ** 2 + ((y + 18) / 24) ** 2 + ((z - 12) / 10) ** 2) > 1
    residual = np.abs(np.random.default_rng(0).normal(0, 0.05, grid.shape)).astype(np.float32)
    return brain, np.where(brain, residual, np.float32(0))


def medians() -> None:
    brain, score_map = brain_and_map()
    for name in ("baur5", "median4"):
        size = PROFILES[name].median_voxels(GRIDS["g192"])
        reference, truth = timed(lambda n=size: ndimage.median_filter(score_map, n))  # type: ignore[misc]
        everywhere, found = timed(lambda n=size: median(score_map, n))  # type: ignore[misc]
        inside, within = timed(lambda n=size: median(score_map, n, where=brain))  # type: ignore[misc]
        whole, _ = timed(lambda p=PROFILES[name]: filtered(score_map, brain, p, GRIDS["g192"]))  # type: ignore[misc]
        equal = np.array_equal(found, truth) and np.array_equal(within[brain], truth[brain])
        print(
            f"median {size[0]}, 1 mm, {brain.sum() / 1e6:.1f} million brain voxels: scipy {reference:.1f} s; "
            f"everywhere {everywhere:.2f} s, x{reference / everywhere:.1f}; in the brain {inside:.2f} s, "
            f"x{reference / inside:.1f}; whole profile {name} {whole:.2f} s; equal: {equal}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=float, default=5e7, help="voxels for the curves")
    parser.add_argument("--only", choices=("curves", "bootstrap", "median"))
    chosen = parser.parse_args()
    if chosen.only in (None, "curves"):
        curves(int(chosen.size))
    if chosen.only in (None, "bootstrap"):
        bootstraps()
    if chosen.only in (None, "median"):
        medians()


if __name__ == "__main__":
    main()
