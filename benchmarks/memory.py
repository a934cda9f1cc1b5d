"""How much memory preparation takes: of the process that divides the work, and of the largest worker.

python benchmarks/memory.py [--subjects 2 8] [--heads 1 3] [--folder /tmp/somewhere]

Two kinds of scans of 1 mm: skull-stripped in MNI152, and full heads in the scanner's space, whose brains are
extracted, whose bias field is removed and which are registered. Each row is a process of its own, so that
no row sees the memory of another. The figures must not grow with the cohort. Linux only.
"""

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from threading import Event, Thread

import psutil

from uadbench.cards import dataset_card
from uadbench.data.session import Session
from uadbench.data.space import GRIDS
from uadbench.preprocessing.prepare import prepare
from uadbench.preprocessing.prepare_scan import Options
from uadbench.system.environment import peak_memory_mb, reset_peak_memory
from uadbench.system.progress import Silent
from uadbench.testing import Lattice, Picture, heads

EXTENT_MM = (192.0, 228.0, 192.0)


def make(folder: Path, number: int, full_head: bool) -> Session:
    """A scan of 192 x 228 x 192 voxels of 1 mm, int16, gzip."""
    picture = Picture(
        visit=heads.make_visit(number, number, 1, None, 0),
        path=f"{'head' if full_head else 'brain'}-{number}.nii.gz",
        shows="T1",
        space="native" if full_head else "MNI152",
        lattice=Lattice("LPS", (1.0, 1.0, 1.0), EXTENT_MM),
        stripped=not full_head,
    )
    path = folder / picture.path
    if not path.exists():
        heads.write_scan(path, heads.show_picture(picture, None, 0))
    return Session(
        id=path.name, cohort="made", subject=path.name, images={"T1": path}, healthy=True,
        space=picture.space, skull_stripped=picture.stripped,
    )  # fmt: skip


def peaks_mb(folder: Path, count: int, full_head: bool, workers: int) -> tuple[float, float]:
    """Largest resident memory in MB of this process and of its largest worker, for the 1 mm grid."""
    subjects = [make(folder, number, full_head) for number in range(count)]
    worker_mb, done = [0.0], Event()
    watch = Thread(target=watch_workers, args=(worker_mb, done))
    watch.start()
    reset_peak_memory()
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        made = prepare(
            subjects, "T1", GRIDS["g192"], dataset_card("ixi"), Path(cache), workers, Silent(),
            Options(n4=full_head),
        )  # fmt: skip
    assert not made.failures, made.failures
    done.set()
    watch.join()
    return peak_memory_mb(), worker_mb[0]


def watch_workers(largest_mb: list[float], done: Event) -> None:
    """Keep the largest peak of any child process; getrusage would count what it was forked from too."""
    while not done.wait(0.05):
        for child in psutil.Process().children(recursive=True):
            with suppress(OSError, StopIteration):
                status = Path(f"/proc/{child.pid}/status").read_text()
                line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
                largest_mb[0] = max(largest_mb[0], int(line.split()[1]) / 1024)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--subjects", type=int, nargs=2, default=(2, 8), help="skull-stripped scans")
    arguments.add_argument("--heads", type=int, nargs=2, default=(2, 4), help="full heads")
    arguments.add_argument("--folder", type=Path, default=None)
    given = arguments.parse_args()
    print(f"{'':<30}{'subjects':>9}{'workers':>9}{'parent MB':>11}{'largest worker MB':>19}")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for full_head, counts in ((False, given.subjects), (True, given.heads)):
            with ProcessPoolExecutor(
                1, get_context("spawn")
            ) as maker:  # drawing heads takes memory of its own
                for number in range(max(counts)):
                    maker.submit(make, Path(folder), number, full_head).result()
            for workers in (1, 2):
                for count in counts:
                    with ProcessPoolExecutor(1, get_context("spawn")) as process:
                        own, others = process.submit(
                            peaks_mb, Path(folder), count, full_head, workers
                        ).result()
                    name = "full head: all steps and N4" if full_head else "skull-stripped, in MNI152"
                    worker = f"{others:.0f}" if workers > 1 else "-"
                    print(f"{name:<30}{count:>9}{workers:>9}{own:>11.0f}{worker:>19}", flush=True)


if __name__ == "__main__":
    main()
