"""Whether dal_r's anatomy and imaging are really apart: numbers that no score map shows, as a table.

python benchmarks/dal_r.py [--preset demo] [--limit 8] [--set one_hot=soft] [--dataset phantom]

Fits what is not fitted yet; `--set` makes the table of a variant.
"""

import argparse
import os
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from uadbench.cli.options import settings_from
from uadbench.data.volumes import Volume, Volumes
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.run import fit_run
from uadbench.learning import scores
from uadbench.learning.tissues import in_brain, tissue_prior
from uadbench.methods.dal_r.anatomy import MEANING, hard
from uadbench.methods.dal_r.method import DalR, Findings
from uadbench.system.environment import resolve_device
from uadbench.system.paths import Paths
from uadbench.system.progress import Bars

Array = NDArray[np.float64]
TRAINED, TESTED = ("T1", "T2"), ("T1", "T2", "FLAIR", "PD")


def measure(config: RunConfig, runtime: Runtime, contrasts: tuple[str, ...] = TESTED) -> dict[str, float]:
    """The checks of one fit, on the healthy and the lesion test scans of all contrasts."""
    both = [fit_run(RunConfig(**{**vars(config), "contrast": contrast}), runtime) for contrast in contrasts]
    resolved, cohorts = both[-1][0], [cohort for _, cohort in both]
    parts = ("healthy-val", "healthy-test")
    healthy = [scan for cohort in cohorts for part in parts for scan in cohort.model[part]]
    patients = [scan for cohort in cohorts for scan in cohort.model["lesion-test"]]
    lesions = [scan.lesion() for scan in patients]
    found: dict[str, float] = checks(
        resolved.method, resolved.volumes(healthy), resolved.volumes(patients), lesions, TRAINED
    )
    return found


def checks(
    method: DalR,
    healthy: Volumes,
    patients: Volumes,
    lesions: Sequence[NDArray[np.bool_]],
    train_contrasts: Sequence[str],
) -> dict[str, float]:
    """All checks of a fitted method.

    `contrast probe ...`: accuracy of a linear probe for the training contrasts, by subjects unseen (the code
    should tell them, the anatomy should not). `anatomy dice`: agreement of the anatomies of one subject in
    two training contrasts. `swap ssim`: anatomy of one contrast with the code of the other, against the
    real other. `tissue agreement`: share of brain voxels with the atlas' most likely tissue, by contrast.
    `leakage`: share of the image's variance inside a class that the anatomy tells linearly. `copy rate`:
    share of lesion voxels whose anatomy is restored as it was seen, by contrast.
    """
    codes, histograms, groups, contrasts = [], [], [], []
    agreement: dict[str, list[float]] = {}
    leakage, dices, similarities = [], [], []
    for group in sorted(set(healthy.groups)):
        members = [index for index, own in enumerate(healthy.groups) if own == group]
        found = {healthy.contrasts[i]: (healthy[i], method.findings(healthy[i])) for i in members}
        for contrast, (_, seen) in found.items():
            agreement.setdefault(contrast, []).append(tissue_agreement(method, seen))
            leakage.append(leak(seen))
            if contrast in train_contrasts:
                codes.append(seen.code.cpu().numpy())
                histograms.append(histogram(seen))
                groups.append(group)
                contrasts.append(contrast)
        for one, other in combinations([c for c in found if c in train_contrasts], 2):
            dices.append(anatomy_dice(found[one][1], found[other][1]))
            similarities += [swapped(method, found[a], found[b]) for a, b in ((one, other), (other, one))]
    result = {
        "contrast probe code": probe(np.stack(codes), contrasts, groups),
        "contrast probe anatomy": probe(np.stack(histograms), contrasts, groups),
        "contrast probe chance": 1 / len(set(contrasts)),
        "anatomy dice": _mean(dices),
        "swap ssim": _mean(similarities),
        "leakage": _mean(leakage),
    }
    result |= {f"tissue agreement {contrast}": _mean(values) for contrast, values in agreement.items()}
    copied: dict[str, list[float]] = {}
    for volume, lesion in zip(patients, lesions, strict=True):
        found_lesion = copy_rate(method.findings(volume), lesion)
        if found_lesion is not None:
            copied.setdefault(volume.contrasts[0], []).append(found_lesion)
    return result | {f"copy rate {contrast}": _mean(values) for contrast, values in copied.items()}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def probe(features: Array, contrasts: Sequence[str], groups: Sequence[int]) -> float:
    """Cross-validated accuracy of logistic regression for the contrast; a subject is in one fold only."""
    folds = min(5, len(set(groups)))
    if folds < 2 or len(set(contrasts)) < 2:
        return float("nan")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(cross_val_score(model, features, contrasts, groups=groups, cv=GroupKFold(folds)).mean())


def histogram(found: Findings) -> Array:
    """Share of the brain's voxels in each class (K,)."""
    counts = (hard(found.anatomy) * found.brain).sum((0, 2, 3)).double().cpu().numpy()
    return np.asarray(counts / max(counts.sum(), 1))


def tissue_agreement(method: DalR, found: Findings) -> float:
    """Share of brain voxels with the tissue that the atlas deems most likely there."""
    meaning = MEANING[: method.classes].to(found.anatomy.device)
    tissue = torch.einsum("bkra,kt->btra", found.anatomy, meaning).argmax(1)
    atlas = tissue_prior(method.grid)[torch.from_numpy(found.slices)].to(found.brain.device)
    expected = in_brain(atlas, found.brain).argmax(1)
    inside = found.brain[:, 0].bool()
    return float((tissue == expected)[inside].float().mean())


def leak(found: Findings) -> float:
    """R squared of the image from the anatomy's K maps, inside the most likely class; mean over classes."""
    inside = found.brain[:, 0].bool()
    maps = found.anatomy.movedim(1, -1)[inside].double().cpu().numpy()
    image = found.image[:, 0][inside].double().cpu().numpy()
    chosen = maps.argmax(1)
    shares = []
    for label in np.unique(chosen):
        rows = chosen == label
        if rows.sum() > 10 * maps.shape[1] and image[rows].std() > 0:
            design = np.column_stack([maps[rows], np.ones(int(rows.sum()))])
            answer = design @ np.linalg.lstsq(design, image[rows], rcond=None)[0]
            shares.append(1 - float(((image[rows] - answer) ** 2).mean() / image[rows].var()))
    return _mean(shares)


def anatomy_dice(one: Findings, other: Findings) -> float:
    """Mean Dice over the classes that either anatomy has in the brain."""
    a, b = hard(one.anatomy) * one.brain, hard(other.anatomy) * other.brain
    overlap, total = (a * b).sum((0, 2, 3)), (a + b).sum((0, 2, 3))
    return float((2 * overlap / total.clamp(min=1))[total > 0].mean())


def swapped(method: DalR, source: tuple[Volume, Findings], target: tuple[Volume, Findings]) -> float:
    """Mean SSIM in the brain of D(anatomy of one contrast, code of another) and the other real image."""
    volume, found = target
    made = method.paint(source[1].anatomy, found.code, found)
    image = np.zeros_like(volume.image[0])
    image[..., found.slices] = made[:, 0].permute(1, 2, 0).cpu().numpy()
    return float(1 - scores.ssim(volume.image[0], image * volume.brain)[volume.brain].mean())


def copy_rate(found: Findings, lesion: NDArray[np.bool_]) -> float | None:
    """Share of the lesion's voxels whose restored class is the seen one; None without lesion."""
    inside = torch.from_numpy(np.ascontiguousarray(lesion[..., found.slices].transpose(2, 0, 1)))
    same = (found.anatomy.argmax(1) == found.restored.argmax(1)).cpu()
    return float(same[inside].float().mean()) if inside.any() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="phantom")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE")
    asked = parser.parse_args()
    config = RunConfig(
        method="dal_r", dataset=asked.dataset, preset=asked.preset, seed=asked.seed, limit=asked.limit,
        train_contrasts=TRAINED, settings=settings_from(asked.set),
    )  # fmt: skip
    runtime = Runtime(Paths.default(), Bars(), resolve_device(asked.device), os.cpu_count() or 1)
    print("| check | value |\n| --- | ---: |")
    for name, value in measure(config, runtime).items():
        print(f"| {name} | {value:.3f} |")


if __name__ == "__main__":
    main()
