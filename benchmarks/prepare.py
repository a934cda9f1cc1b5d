"""How fast preparation is, beside what one would use instead, in CPU time of the same run on one core.

python benchmarks/prepare.py [--rounds 7] [--folder /tmp/somewhere]

A made brain of 182 x 218 x 182 voxels of 1 mm, int16, gzip, in MNI152, as most releases are stored. Ratios
count; absolute times are of this machine.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from uadbench.cards import DatasetCard, dataset_card
from uadbench.data.prepared import Prepared
from uadbench.data.session import Session
from uadbench.data.space import GRIDS, Grid
from uadbench.datasets import Found
from uadbench.preprocessing import brains, intensities, resampling, scan
from uadbench.preprocessing.intensities import Brain
from uadbench.preprocessing.prepare import prepare
from uadbench.preprocessing.register import WORKING, load_template
from uadbench.preprocessing.verify import verify
from uadbench.system.progress import Silent

SHAPE, ORIGIN_MM = (182, 218, 182), (-90.0, -126.0, -72.0)


def timed(tasks: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of each task; the tasks take turns, so that all meet the same load."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            before = time.process_time()
            task()
            seconds[name].append(time.process_time() - before)
    return {name: 1000 * float(np.median(found)) for name, found in seconds.items()}


def make(folder: Path, number: int) -> tuple[Path, Path]:
    """A skull-stripped scan (the template with noise) and its brain mask."""
    image, brain = load_template()
    affine = np.eye(4)
    affine[:3, 3] = ORIGIN_MM
    to_template = np.linalg.inv(WORKING.affine) @ affine
    mask = resampling.sample_nearest(brain.view(np.uint8), to_template, SHAPE)
    noise = np.random.default_rng(number).normal(0, 20, SHAPE)
    values = (1000 * resampling.sample_linear(image, to_template, SHAPE) + noise).clip(1, 32000) * mask
    paths = folder / f"{number}_T1.nii.gz", folder / f"{number}_mask.nii.gz"
    for path, array in zip(paths, (values.astype(np.int16), mask), strict=True):
        nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return paths


def monai(image: Path) -> Callable[[], Any]:
    """MONAI's Compose of the same steps: read, RAS, 2 mm, percentiles of the brain to [0, 1], crop."""
    from monai import transforms

    pipeline = transforms.Compose(
        [
            transforms.LoadImaged("image", ensure_channel_first=True),
            transforms.Orientationd("image", axcodes="RAS", labels=None),
            transforms.Spacingd("image", pixdim=(2.0, 2.0, 2.0), mode="bilinear"),
            transforms.ScaleIntensityRangePercentilesd("image", 1, 99, 0, 1, clip=True),
            transforms.CropForegroundd("image", source_key="image"),
        ]
    )
    return lambda: pipeline({"image": str(image)})


def same_steps(image: Path, grid: Grid, mask: Path | None = None) -> NDArray[np.float32]:
    """The same steps by uadbench: read, RAS, brain, percentiles, the grid; nothing hashed or written."""
    found = scan.read_image(image)
    brain = Brain.of(found, brains.read_brain(found, mask, session(0, image), ""))
    low, high = intensities.find_scale(brain.inside, "")
    return intensities.put_on_grid(brain, low, high, np.eye(4), grid, "")[0]


def session(number: int, image: Path, mask: Path | None = None) -> Session:
    return Session(
        id=str(number), cohort="made", subject=str(number), images={"T1": image}, healthy=True,
        brain_mask=mask, space="MNI152", skull_stripped=True,
    )  # fmt: skip


def whole(sessions: Sequence[Session], grid: Grid, card: DatasetCard, cache: Path) -> Sequence[Prepared]:
    """Everything that `uadbench prepare` does, on one core."""
    shutil.rmtree(cache, ignore_errors=True)
    cohort = prepare(sessions, "T1", grid, card, cache, 1, Silent())
    assert not cohort.failures
    return cohort.prepared


def preparation(folder: Path, rounds: int) -> Sequence[Prepared]:
    """Print the ratios of preparation; returns what was prepared."""
    card = dataset_card("ixi")
    image, mask = make(folder, 0)
    cache = folder / "cache"
    stripped, masked = session(0, image), session(0, image, mask)
    found = Found(card, folder, (masked,), ())
    tasks: dict[str, Callable[[], Any]] = {
        "MONAI Compose, 2 mm": monai(image),
        "the same steps, 2 mm": lambda: same_steps(image, GRIDS["g96"]),
        "the same with a mask file, 2 mm": lambda: same_steps(image, GRIDS["g96"], mask),
        "the same steps, 1 mm": lambda: same_steps(image, GRIDS["g192"]),
        "prepare, 2 mm": lambda: whole([stripped], GRIDS["g96"], card, cache),
        "prepare with a mask file, 2 mm": lambda: whole([masked], GRIDS["g96"], card, cache),
        "prepare, 1 mm": lambda: whole([stripped], GRIDS["g192"], card, cache),
        "verify": lambda: verify(found, 1, Silent()),
    }
    milliseconds = timed(tasks, rounds)
    first = milliseconds["MONAI Compose, 2 mm"]
    print(f"{'':<34}{'CPU ms':>8}{'subjects/s/core':>17}{'times MONAI':>13}")
    for name, value in milliseconds.items():
        print(f"{name:<34}{value:8.1f}{1000 / value:17.1f}{first / value:13.1f}")
    return whole([stripped], GRIDS["g192"], card, cache)


def reading(item: Prepared, image: Path, rounds: int) -> None:
    """Print the speed of reading the prepared cache, against the same bytes and against nibabel."""
    plain = image.with_suffix(".raw")
    codes = np.asarray(item.codes)
    plain.write_bytes(codes.tobytes())
    picks = np.random.default_rng(0).permutation(len(codes))

    def sums(volume: NDArray[np.uint16]) -> int:
        return sum(int(volume[position].sum(dtype=np.uint32)) for position in picks)

    tasks: dict[str, Callable[[], Any]] = {
        "prepared cache, all slices": lambda: sums(
            Prepared(item.session, item.contrast, item.grid, item.path).codes
        ),
        "np.memmap of the same bytes": lambda: sums(np.memmap(plain, np.uint16, "r", shape=codes.shape)),
        "prepared, whole volume as float32": lambda: Prepared(
            item.session, item.contrast, item.grid, item.path
        ).image(),
        "nibabel + gzip, get_fdata": lambda: nibabel.load(image).get_fdata(
            dtype=np.float32, caching="unchanged"
        ),
    }
    milliseconds = timed(tasks, 3 * rounds)
    print(f"\n{'':<34}{'CPU ms':>8}")
    for name, value in milliseconds.items():
        print(f"{name:<34}{value:8.2f}")
    cache, raw, volume, gzip = milliseconds.values()
    print(f"cache against memmap: {100 * raw / cache:.0f} %; volume against nibabel: x{gzip / volume:.1f}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--folder", type=Path, default=None)
    given = arguments.parse_args()
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        made = preparation(Path(folder), given.rounds)
        reading(made[0], Path(folder) / "0_T1.nii.gz", given.rounds)


if __name__ == "__main__":
    main()
