"""Preparation: scans of a data set become packed volumes on a grid of MNI152 (protocol, preparation rules).

canonical RAS → brain mask → affine to MNI152, where the scan is not there yet → 1st and 99th percentile
inside the brain, on the scan's own voxels → clip, scale to [0, 1], 0 outside the brain → one trilinear
resampling to the grid (smoothed first where the grid is coarser), masks and labels by nearest neighbour.

This file decides what is to be made, where it is kept and who makes it; `scan`, `masks`, `register`,
`intensities`, `labels` and `resampling` are the steps.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from uadbench import intensities, labels, masks, pool, prepared, scan
from uadbench.cards import DatasetCard
from uadbench.errors import SubjectError, UserError
from uadbench.filememory import FileMemory
from uadbench.files import sha256_json, write_json
from uadbench.grids import Grid
from uadbench.intensities import Brain
from uadbench.labels import Labels
from uadbench.prepared import LESION, Prepared
from uadbench.progress import Progress
from uadbench.register import REGISTRATION_VERSION, register
from uadbench.scan import Scan
from uadbench.subject import Subject

PREPARATION_VERSION = "1"
REFERENCES = ("T1", "T1ce", "T1post", "T2", "FLAIR")  # whose transform a subject's contrasts share


@dataclass(frozen=True)
class Failure:
    """A scan that could not be prepared, with the reason in words."""

    subject_id: str
    contrast: str
    reason: str


@dataclass(frozen=True)
class Cohort:
    """The prepared scans in the order of the subjects, and what failed."""

    prepared: tuple[Prepared, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class _Job:
    """One scan to prepare; everything a worker process needs."""

    subject: Subject
    contrast: str
    grid: Grid
    labels: Labels
    sources: Mapping[str, str]  # what is read -> SHA-256 of the file
    path: Path
    reference: str | None  # contrast that decides the transform; None: already in MNI152
    transform_path: Path


def prepare(
    subjects: Sequence[Subject],
    contrast: str,
    grid: Grid,
    card: DatasetCard,
    cache: Path,
    workers: int,
    progress: Progress,
) -> Cohort:
    """One contrast of every subject on a grid; what is in the cache already is not made again.

    A subject that cannot be used is a Failure and the others go on. The result does not depend on
    the number of workers.
    """
    memory = FileMemory(cache / "files.json")
    with progress.stage(f"prepare {card.name} {contrast} {grid.name}", len(subjects)) as stage:
        memory.hash_all((p for s in subjects for p in _files(s, contrast).values()), workers)
        jobs, reasons = _jobs(subjects, contrast, grid, card, cache, memory)
        memory.keep()
        todo = [p for p, job in jobs.items() if not _is_there(job.path, grid, memory)]
        stage.advance(len(subjects) - len(todo))
        for index, reason in pool.results(_prepare_one, [jobs[p] for p in todo], workers):
            if reason is not None:
                reasons[todo[index]] = reason.reason if isinstance(reason, pool.Died) else reason
            stage.advance(1, subjects[todo[index]].id)
    memory.keep()
    return Cohort(
        tuple(Prepared(subjects[p], contrast, grid, job.path) for p, job in jobs.items() if p not in reasons),
        tuple(Failure(subjects[p].id, contrast, reasons[p]) for p in sorted(reasons)),
    )


def check_voxels(parts: Mapping[str, Sequence[Prepared]]) -> None:
    """Stop where the same voxels are in two partitions, or belong to two persons."""
    seen: dict[str, tuple[str, Subject]] = {}
    for part, members in parts.items():
        for item in members:
            first_part, first = seen.setdefault(str(item.facts["voxel_sha256"]), (part, item.subject))
            other_person = (first.cohort, first.person) != (item.subject.cohort, item.subject.person)
            if other_person or first_part != part:
                raise UserError(
                    f"{first.id} of {first.cohort} ({first_part}) and {item.subject.id} of "
                    f"{item.subject.cohort} ({part}) are the same image voxel by voxel; a person may be in "
                    "one partition only: remove one of them, or exclude it in the data set's card."
                )


def _files(subject: Subject, contrast: str) -> dict[str, Path]:
    """Every file that decides how the prepared volume looks, by its part in it."""
    files: dict[str, Path | None] = {
        "image": subject.images.get(contrast),
        "brain_mask": subject.mask_of(contrast),
        "lesion_mask": subject.lesion_mask,
        "ignore_mask": subject.ignore_mask,
    }
    reference = _reference(subject, contrast)
    if reference is not None:
        files["reference"] = subject.images[reference]
        files["reference_mask"] = subject.mask_of(reference)
    return {
        f"{part}{number or ''}": path
        for part, named in files.items()
        if named is not None
        for number, path in enumerate(scan.files_of(named))
    }


def _reference(subject: Subject, contrast: str) -> str | None:
    """The contrast whose transform to MNI152 a contrast shares; None where it is there already."""
    if subject.space == "MNI152" or contrast not in subject.images:
        return None
    if subject.space == "native":
        return contrast
    return next((c for c in REFERENCES if c in subject.images), min(subject.images))


def _jobs(
    subjects: Sequence[Subject],
    contrast: str,
    grid: Grid,
    card: DatasetCard,
    cache: Path,
    memory: FileMemory,
) -> tuple[dict[int, _Job], dict[int, str]]:
    """Jobs, or reasons why there is none, by position of the subject."""
    jobs, reasons = {}, {}
    for position, subject in enumerate(subjects):
        try:
            jobs[position] = _job(subject, contrast, grid, Labels.of(card), cache, memory)
        except SubjectError as error:
            reasons[position] = str(error)
    return jobs, reasons


def _job(
    subject: Subject, contrast: str, grid: Grid, wanted: Labels, cache: Path, memory: FileMemory
) -> _Job:
    """What is to be done for a subject, and under which key: equal content has equal keys."""
    if contrast not in subject.images:
        raise SubjectError(f"{subject.id} has no {contrast}; it has {', '.join(sorted(subject.images))}.")
    sources = {part: memory.hash(path) for part, path in _files(subject, contrast).items()}
    reference = _reference(subject, contrast)
    orientation = [] if subject.orientation is None else [subject.orientation]
    content = [PREPARATION_VERSION, sources, asdict(wanted), subject.space, subject.skull_stripped]
    content += orientation
    key = sha256_json([*content, asdict(grid), contrast, REGISTRATION_VERSION if reference else None])
    transform_key = sha256_json(
        [REGISTRATION_VERSION, subject.skull_stripped]
        + orientation
        + [digest for part, digest in sorted(sources.items()) if part.startswith("reference")]
    )
    return _Job(
        subject=subject,
        contrast=contrast,
        grid=grid,
        labels=wanted,
        sources=sources,
        path=cache / grid.name / f"{key}.safetensors",
        reference=reference,
        transform_path=cache / "transforms" / f"{transform_key}.json",
    )


def _is_there(path: Path, grid: Grid, memory: FileMemory) -> bool:
    """Whether a prepared file is in the cache, whole and as it was written."""
    if not path.is_file():
        return False
    return memory.word(path, lambda p: _condition(Prepared(_NOBODY, "", grid, p))) == "whole"


_NOBODY = Subject(id="", cohort="", person="", images={}, healthy=True)


def _condition(item: Prepared) -> str:
    """ "whole", or "damaged" for a file that is cut short or whose bytes have changed."""
    try:
        checksum = _checksum(np.asarray(item.codes))
        whole = item.codes.shape == _axial(item.grid) and item.facts["codes_crc32"] == checksum
    except (ValueError, KeyError, OSError):  # from JSON, from the file's length, from missing entries
        return "damaged"
    return "whole" if whole else "damaged"


def _axial(grid: Grid) -> tuple[int, int, int]:
    return grid.shape[2], grid.shape[0], grid.shape[1]


def _checksum(codes: NDArray[np.uint16]) -> int:
    return int(isal_zlib.crc32(np.ascontiguousarray(codes).data.cast("B")))


def _prepare_one(job: _Job) -> str | None:
    """Prepare one scan and write it; the reason where that is not possible."""
    try:
        _write(job)
    except (SubjectError, MemoryError) as error:
        return str(error) or "not enough memory for this scan: use fewer --workers."
    return None


def _write(job: _Job) -> None:
    """Every step for one scan."""
    name = f"{job.subject.id} {job.contrast}"
    image = scan.read_image(job.subject.images[job.contrast], job.subject.orientation)
    mask = _brain(job.subject, job.contrast, image)
    transform, quality = _transform(job, image, mask)
    lesion, ignored = labels.of_subject(job.subject, job.labels)
    brain = Brain.of(image, mask)
    low, high = intensities.scale(brain, name)
    picture, on_grid = intensities.on_grid(brain, low, high, transform, job.grid, name)
    flags = labels.on_grid(lesion, ignored, transform, job.grid)
    lesion_voxels = 0 if flags is None else np.count_nonzero(flags & LESION)
    area_mm2 = on_grid.sum((0, 1)) * job.grid.spacing_mm**2
    facts = {
        "slice_area_mm2": [float(area) for area in area_mm2],
        "brain_ml": float(np.count_nonzero(on_grid) * job.grid.voxel_ml),
        "lesion_ml": float(lesion_voxels * job.grid.voxel_ml),
        "p1": low,
        "p99": high,
        "above_healthy_p99": intensities.above_healthy(brain, high, lesion),
        "transform": transform.tolist(),
        "registration": quality,
        "voxel_sha256": scan.voxel_hash(image.array),
        "sources": dict(job.sources),
        "preparation_version": PREPARATION_VERSION,
        "codes_crc32": _checksum(prepared.encode(picture, on_grid)),
    }
    prepared.write(job.path, picture, on_grid, flags, facts)


def _brain(subject: Subject, contrast: str, image: Scan) -> NDArray[np.bool_]:
    name = f"{subject.id} {contrast}"
    path = subject.mask_of(contrast)
    return masks.brain_mask(image, path, subject.skull_stripped, name, subject.orientation)


def _transform(
    job: _Job, image: Scan, mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], dict[str, Any] | None]:
    """Scan mm -> MNI152 mm (4, 4) and the figures of the registration, from the cache if they are there."""
    if job.reference is None:
        return np.eye(4), None
    try:
        kept = json.loads(job.transform_path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):  # not registered yet, or the file was damaged
        kept = _register(job, job.reference, image, mask)
        write_json(job.transform_path, kept)
    return np.array(kept["matrix"]), kept["quality"]


def _register(job: _Job, reference: str, image: Scan, mask: NDArray[np.bool_]) -> dict[str, Any]:
    if reference != job.contrast:
        image = scan.read_image(job.subject.images[reference], job.subject.orientation)
        mask = _brain(job.subject, reference, image)
    found = register(image, mask, f"{job.subject.id} {reference}")
    quality = {name: getattr(found, name) for name in ("dice", "correlation", "determinant")}
    return {"matrix": found.matrix.tolist(), "quality": quality | {"reference": reference}}
