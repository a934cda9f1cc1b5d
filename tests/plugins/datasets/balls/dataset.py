"""Balls: heads that are made in a moment, for tests of everything behind the adapter."""

import os
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

from uadbench.data.session import Session
from uadbench.data.space import GRIDS
from uadbench.system.progress import Progress

# Another number of subjects of each kind for benchmarks.
COUNT = os.environ.get("UADBENCH_TEST_BALLS")
HEALTHY, LESION = (int(COUNT), int(COUNT)) if COUNT else (14, 10)


def generate(root: Path, progress: Progress) -> None:
    """Write the scans that are not there."""
    root.mkdir(parents=True, exist_ok=True)
    for number in range(HEALTHY + LESION):
        if not (root / f"scan-{number}.nii").exists():
            _write(root, number)


def sessions(root: Path) -> Iterator[Session]:
    """One subject per scan."""
    for scan in sorted(root.glob("scan-*.nii")):
        number = int(scan.stem.split("-")[1])
        healthy = number < HEALTHY
        yield Session(
            id=f"ball-{number:02d}",
            cohort="balls",
            subject=f"ball-{number:02d}",
            images={"T1": scan},
            healthy=healthy,
            brain_mask=root / f"mask-{number}.nii",
            lesion_mask=None if healthy else root / f"lesion-{number}.nii",
            lesion_kind=None if healthy else ("large" if number % 2 else "small"),
            space="MNI152",
            skull_stripped=True,
        )


def _write(root: Path, number: int) -> None:
    grid, random = GRIDS["g48"], np.random.default_rng(number)
    r, a, s = np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")
    brain = ((r - 24) / 16) ** 2 + ((a - 28) / 20) ** 2 + ((s - 22) / 15) ** 2 <= 1
    tissue = 0.5 + 0.2 * np.sin(r / 5 + random.normal()) * np.cos(a / 6)
    image = (tissue + random.normal(0, 0.03, grid.shape)) * brain
    if number >= HEALTHY:
        size = 4 if number % 2 else 2
        lesion = (r - 24 - random.integers(-6, 7)) ** 2 + (a - 28) ** 2 + (s - 22) ** 2 <= size**2
        image[lesion] += 0.35
        _save(lesion.astype(np.uint8), root / f"lesion-{number}.nii")
    _save(brain.astype(np.uint8), root / f"mask-{number}.nii")
    _save((1000 * image).astype(np.int16), root / f"scan-{number}.nii")


def _save(array: np.ndarray, path: Path) -> None:
    nib.save(nib.Nifti1Image(array, GRIDS["g48"].affine), path)
