"""Cohort: the scans of every segmentation in a folder, written into another folder."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uadbench import layout, phantom, pool
from uadbench.errors import SubjectError
from uadbench.files import sha256, sha256_json, write_json
from uadbench.preparation import scan
from uadbench.preparation.filememory import FileMemory
from uadbench.progress import Progress

from . import drawing

VERSION = 1  # to be raised with every change that changes a voxel: everything is then drawn anew
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
        return phantom.paths(self.folder, f"{self.name}-{number}", lesion=False)

    @property
    def done(self) -> bool:
        """Whether all files are there."""
        return all(path.exists() for n in range(1, self.draws + 1) for path in self.files(n).values())


def write(root: Path, folder: Path, draws: int, workers: int, progress: Progress) -> None:
    """Draw every segmentation under `root` that is not drawn yet, and write the index.

    A segmentation's scans lie in a folder named by its name and its voxels, so that another root, or one
    that has changed, never gets the scans of other segmentations.
    """
    jobs, left_out = _jobs(root, folder, draws)
    todo = [job for job in jobs if not job.done]
    lost = set()
    with progress.stage("draw label maps", len(todo)) as stage:
        for position, reason in pool.results(draw_one, todo, workers):
            job = todo[position]
            if reason is not None:
                lost.add(job.name)
                why = reason.reason if isinstance(reason, pool.Died) else reason
                left_out[str(job.path.relative_to(root))] = why
            stage.advance(1, job.name)
    drawn = {job.name: job.folder.name for job in jobs if job.name not in lost}
    write_json(folder / INDEX, {"drawn": drawn, "left_out": left_out})


def _jobs(root: Path, folder: Path, draws: int) -> tuple[list[Job], dict[str, str]]:
    """A job for each segmentation, and the files that are none or copies, with the reason."""
    memory = FileMemory(folder / "files.json")
    jobs: dict[str, Job] = {}
    seen: dict[str, str] = {}
    left_out = {}
    for path, match in layout.files(root, r"(.+?)\.nii(\.gz)?"):
        name, place = match[1].lower(), str(path.relative_to(root))
        try:
            voxels = memory.word(path, lambda p: scan.voxel_hash(drawing.read(p).array))
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
    memory.keep()
    return list(jobs.values()), left_out


def draw_one(job: Job) -> str | None:
    """Draw a segmentation as often as it is wanted; the reason where that is not possible."""
    try:
        brain = drawing.brain_of(drawing.read(job.path), job.path.name)
    except (SubjectError, MemoryError) as error:
        return str(error) or "not enough memory for this segmentation: use fewer --workers."
    for number in range(1, job.draws + 1):
        drawn = drawing.draw(brain, (SEED, int(sha256(job.name)[:12], 16), number))
        files = job.files(number)
        for contrast, image in drawn.images.items():
            phantom.write_volume(files[contrast], image, drawn.grid, "scanner")
        phantom.write_volume(files["brain"], drawn.brain.astype(np.uint8), drawn.grid, "scanner")
    return None
