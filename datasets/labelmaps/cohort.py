"""Cohort: the scans of every segmentation in a folder, written into another folder."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uadbench import phantom
from uadbench.data import layout
from uadbench.preprocessing import scan
from uadbench.preprocessing.filememory import FileMemory
from uadbench.system import pool
from uadbench.system.errors import SubjectError
from uadbench.system.files import sha256, sha256_json, write_json
from uadbench.system.progress import Progress

from . import drawing

VERSION = 1  # to be raised with every change that changes a voxel: everything is then drawn again
SEED = 2024
INDEX = "index.json"  # of the drawn folder: which of its contents come of the root as it is now


@dataclass(frozen=True)
class Job:
    """A segmentation to draw from so many times, and the folder for its scans."""

    path: Path
    name: str
    folder: Path
    draws: int

    def files(self, number: int) -> dict[str, Path]:
        """Where the files of one draw lie: its contrasts and "brain"."""
        return phantom.list_files(self.folder, f"{self.name}-{number}", lesion=False)

    @property
    def done(self) -> bool:
        """Whether all files are there."""
        return all(path.exists() for n in range(1, self.draws + 1) for path in self.files(n).values())


def write_drawn(root: Path, folder: Path, draws: int, workers: int, progress: Progress) -> None:
    """Draw every segmentation under `root` that is not drawn yet, and write the index.

    A segmentation's scans lie in a folder named by its name and its voxels, so that another root, or one
    that has changed, never gets the scans of other segmentations.
    """
    memory = FileMemory(folder / "files.json")
    jobs, left_out = _jobs(root, folder, draws, memory)
    memory.keep()
    lost = _draw([job for job in jobs if not job.done], root, left_out, workers, progress)
    drawn = {job.name: job.folder.name for job in jobs if job.name not in lost}
    write_json(folder / INDEX, {"drawn": drawn, "left_out": left_out})


def survey(root: Path, workers: int, progress: Progress) -> tuple[list[str], dict[str, str]]:
    """The segmentations under `root` that can be drawn, and why others cannot; nothing is written."""
    jobs, left_out = _jobs(root, root, 0, FileMemory(root / "no memory"))
    lost = _draw(jobs, root, left_out, workers, progress)
    return [job.name for job in jobs if job.name not in lost], left_out


def _draw(
    jobs: list[Job], root: Path, left_out: dict[str, str], workers: int, progress: Progress
) -> set[str]:
    """Read and draw segmentations; the names of those that cannot be, whose reasons go to `left_out`."""
    lost = set()
    with progress.stage("label maps", len(jobs)) as stage:
        for position, reason in pool.results(draw_one, jobs, workers):
            job = jobs[position]
            if reason is not None:
                lost.add(job.name)
                why = reason.reason if isinstance(reason, pool.Died) else reason
                left_out[str(job.path.relative_to(root))] = why
            stage.advance(1, job.name)
    return lost


def _jobs(root: Path, folder: Path, draws: int, memory: FileMemory) -> tuple[list[Job], dict[str, str]]:
    """A job for each segmentation, and the files that are none or copies, with the reason."""
    jobs: dict[str, Job] = {}
    seen: dict[str, str] = {}
    left_out = {}
    for path, match in layout.find_volumes(root, "(.+)"):
        name, place = match[1].lower(), str(path.relative_to(root))
        try:
            voxels = memory.word(path, lambda p: scan.voxel_hash(drawing.read_segmentation(p).array))
        except SubjectError as error:
            left_out[place] = str(error)
            continue
        if name in jobs:
            left_out[place] = f"a second file of the name {name}"
        elif seen.setdefault(voxels, name) != name:
            left_out[place] = f"a second copy of {seen[voxels]}, voxel by voxel"
        else:
            digest = sha256_json([VERSION, SEED, name, voxels])[:16]
            jobs[name] = Job(path, name, folder / digest, draws)
    return list(jobs.values()), left_out


def draw_one(job: Job) -> str | None:
    """Draw a segmentation as often as it is wanted; the reason where that is not possible."""
    try:
        brain = drawing.brain_of(drawing.read_segmentation(job.path), job.path.name)
    except (SubjectError, MemoryError) as error:
        return str(error) or "not enough memory for this segmentation: use fewer --workers."
    for number in range(1, job.draws + 1):
        drawn = drawing.draw_scans(brain, (SEED, int(sha256(job.name)[:12], 16), number))
        files = job.files(number)
        for contrast, image in drawn.images.items():
            phantom.write_volume(files[contrast], image, drawn.grid, "scanner")
        phantom.write_volume(files["brain"], drawn.brain.astype(np.uint8), drawn.grid, "scanner")
    return None
