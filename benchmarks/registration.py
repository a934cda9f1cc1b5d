"""How fast, and how well, brains are registered to MNI152, beside another commit.

python benchmarks/registration.py --against FOLDER --scans 'ixi/IXI-T1/*' --masks 'ixi/DLMUSE/*.nii.gz'

FOLDER of --against is a checkout of another commit. --scans and --masks are patterns of file names, of as
many files each, which belong together in the order of their names; a mask is above 0 in the brain. Each
commit registers all scans in a process of its own. CPU time counts. The fit of both is measured here, in one
way: Dice of the brain mask with the template's on voxels of 2 mm, and the correlation with the template
inside both.
"""

import argparse
import glob
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

HERE = Path(__file__).resolve()
Pair = tuple[Path, Path]  # scan, brain mask


def register_here(pairs: list[list[str]]) -> None:
    """In a process of the commit that is looked at: a line of JSON for each scan."""
    package = "uadbench.preprocessing"
    if not importlib.util.find_spec(package):  # commits of before November 2026
        package = "uadbench.preparation"
    scan, register = (importlib.import_module(f"{package}.{name}") for name in ("scan", "register"))
    work = getattr(register, "register_brain", None) or register.register
    for number, (image, mask) in enumerate([pairs[0], *pairs]):  # the first twice: it reads the template too
        read, brain = scan.read_image(Path(image)), scan.read_image(Path(mask)).array > 0
        before = time.process_time()
        try:
            found = {"matrix": work(read, brain, image).matrix.tolist()}
        except scan.SubjectError as error:
            found = {"refused": str(error)}
        if number:
            print(json.dumps(found | {"seconds": time.process_time() - before}), flush=True)


def registered(tree: Path, pairs: list[Pair]) -> Iterator[dict[str, Any]]:
    """What a commit says of each scan."""
    environment = os.environ | {"PYTHONPATH": str(tree.resolve()), "OMP_NUM_THREADS": "1"}
    task = json.dumps([[str(path) for path in pair] for pair in pairs])
    command = [sys.executable, str(HERE), "--task", task]
    with subprocess.Popen(command, env=environment, cwd=tree, stdout=-1, text=True) as process:
        for line in process.stdout or ():
            yield json.loads(line)


def fit_of(pair: Pair, matrix: NDArray[np.float64]) -> tuple[float, float]:
    """Dice and correlation of a scan that a matrix (scan mm to MNI152 mm) brings to the template."""
    from uadbench.preprocessing.register import WORKING, load_template

    template, inside = load_template()
    image, mask = (nibabel.as_closest_canonical(nibabel.load(path)) for path in pair)
    to_scan = np.linalg.inv(matrix) @ WORKING.affine

    def carried(volume: Any, order: Literal[0, 1]) -> NDArray[np.float32]:
        back = np.linalg.inv(volume.affine) @ to_scan
        values = np.asarray(volume.dataobj, np.float32)
        return np.asarray(ndimage.affine_transform(values, back, output_shape=WORKING.shape, order=order))

    brain = carried(mask, 0) > 0
    both = brain & inside
    dice = 2 * np.count_nonzero(both) / (np.count_nonzero(brain) + np.count_nonzero(inside))
    return float(dice), float(np.corrcoef(carried(image, 1)[both], template[both])[0, 1])


def compare(other: Path, pairs: list[Pair]) -> None:
    """Print each scan's, and how the two commits differ."""
    both = zip(registered(other, pairs), registered(HERE.parents[1], pairs), strict=True)
    seconds, changes, refused = [], [], []
    for pair, (before, now) in zip(pairs, both, strict=True):
        seconds.append((before["seconds"], now["seconds"]))
        refused.append(("refused" in before, "refused" in now))
        if not any(refused[-1]):
            fits = [fit_of(pair, np.array(found["matrix"])) for found in (before, now)]
            changes.append(np.subtract(fits[1], fits[0]))
            print(f"{pair[0].name}: {seconds[-1][0]:.2f} s, {seconds[-1][1]:.2f} s; Dice, correlation", *(
                f"{dice:.4f} {r:.4f}" for dice, r in fits), flush=True)  # fmt: skip
    before_s, now_s = np.mean(seconds, 0)
    print(f"{len(pairs)} scans: {before_s:.2f} s a scan before, {now_s:.2f} s now, x{before_s / now_s:.2f}")
    for name, change in zip(("Dice", "correlation"), np.transpose(changes), strict=True):
        print(f"{name}: {change.mean():+.4f} on average, {change.min():+.4f} to {change.max():+.4f}")
    print("refused before, now:", *np.sum(refused, 0))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path)
    parser.add_argument("--scans")
    parser.add_argument("--masks")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.task:
        register_here(json.loads(chosen.task))
        return
    scans, masks = (
        [Path(path).resolve() for path in sorted(glob.glob(pattern))]
        for pattern in (chosen.scans, chosen.masks)
    )
    if not scans or len(scans) != len(masks):
        parser.error(f"{len(scans)} scans and {len(masks)} masks: expected as many of one as of the other")
    compare(chosen.against, list(zip(scans, masks, strict=True)))


if __name__ == "__main__":
    main()
