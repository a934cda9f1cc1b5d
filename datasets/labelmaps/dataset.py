"""Label maps: healthy scans drawn from segmentations of real people; a person is a segmentation."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from uadbench import layout, phantom, pool
from uadbench.errors import SubjectError
from uadbench.files import sha256, sha256_json, write_json
from uadbench.preparation import scan
from uadbench.preparation.filememory import FileMemory
from uadbench.progress import Progress
from uadbench.subject import LeftOut, Subject

from . import drawing

VERSION = 1  # to be raised with every change that changes a voxel: everything is then drawn anew
SEED = 2024
DRAWS = 6  # scans of each segmentation
INDEX = "index.json"  # of the drawn folder: which of its contents come of the root as it is now


@dataclass(frozen=True)
class Job:
    """A segmentation to draw from, and the folder for its scans."""

    path: Path
    name: str
    folder: Path


def draw(root: Path, folder: Path, workers: int, progress: Progress) -> None:
    """Draw every segmentation under `root` that is not drawn yet; what was wrong with one is noted."""
    memory, seen, left_out = FileMemory(folder / "files.json"), dict[str, str](), dict[str, str]()
    jobs: dict[str, Job] = {}
    for path, match in layout.files(root, r"(.+?)\.nii(\.gz)?"):
        name = match[1].lower()
        try:
            voxels = memory.word(path, lambda p: scan.voxel_hash(drawing.read(p).array))
        except SubjectError as error:
            left_out[str(path.relative_to(root))] = str(error)
            continue
        if seen.setdefault(voxels, name) != name or name in jobs:
            left_out[str(path.relative_to(root))] = f"a second copy of {seen[voxels]}, or of its name"
        else:
            jobs[name] = Job(path, name, folder / sha256_json([VERSION, SEED, name, voxels])[:16])
    memory.keep()
    todo = [job for job in jobs.values() if not _is_drawn(job)]
    with progress.stage("draw label maps", len(todo)) as stage:
        for position, reason in pool.results(draw_one, todo, workers):
            if reason is not None:
                lost = jobs.pop(todo[position].name)
                why = reason.reason if isinstance(reason, pool.Died) else reason
                left_out[str(lost.path.relative_to(root))] = why
            stage.advance(1, todo[position].name)
    drawn = {name: job.folder.name for name, job in jobs.items()}
    write_json(folder / INDEX, {"drawn": drawn, "left_out": left_out})


def subjects(drawn: Path) -> Iterator[Subject | LeftOut]:
    """Every draw of every segmentation, and the files that could not be used."""
    index = drawn / INDEX
    known = (
        json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {"drawn": {}, "left_out": {}}
    )
    for name, reason in known["left_out"].items():
        yield LeftOut(name, reason)
    for person, folder in known["drawn"].items():
        for number in range(1, DRAWS + 1):
            files = phantom.paths(drawn / folder, f"{person}-{number}", lesion=False)
            yield Subject(
                id=f"{person}-{number}",
                cohort="labelmaps",
                person=person,
                session=str(number),
                images={contrast: files[contrast] for contrast in drawing.CONTRASTS},
                healthy=True,
                brain_mask=files["brain"],
                space="co-registered",
                skull_stripped=True,
            )


def draw_one(job: Job) -> str | None:
    """Draw a segmentation as often as it is wanted; the reason where that is not possible."""
    try:
        brain = drawing.brain_of(drawing.read(job.path), job.path.name)
    except (SubjectError, MemoryError) as error:
        return str(error) or "not enough memory for this segmentation: use fewer --workers."
    for number in range(1, DRAWS + 1):
        drawn = drawing.draw(brain, (SEED, int(sha256(job.name)[:12], 16), number))
        files = phantom.paths(job.folder, f"{job.name}-{number}", lesion=False)
        for contrast, image in drawn.images.items():
            phantom.write_volume(files[contrast], image, drawn.grid, "scanner")
        phantom.write_volume(files["brain"], drawn.brain.astype("uint8"), drawn.grid, "scanner")
    return None


def _is_drawn(job: Job) -> bool:
    names = [f"{job.name}-{number}" for number in range(1, DRAWS + 1)]
    return all(path.exists() for name in names for path in phantom.paths(job.folder, name, False).values())
