"""Preparation: scans of a data set become packed volumes on a grid of MNI152 (protocol, preparation rules).

canonical RAS → brain mask → affine to MNI152, where the scan is not there yet → 1st and 99th percentile
inside the brain, on the scan's own voxels → clip, scale to [0, 1], 0 outside the brain → one trilinear
resampling to the grid (smoothed first where the grid is coarser), masks and labels by nearest neighbour.

The brain is cut out before the resampling, so that the rim of a brain looks the same whether the data set
was skull-stripped or came with masks.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from uadbench import masks, pool, prepared, resampling, scan
from uadbench.cards import DatasetCard
from uadbench.errors import SubjectError, UserError
from uadbench.filememory import FileMemory
from uadbench.files import sha256_json, write_json
from uadbench.grids import Grid
from uadbench.prepared import IGNORED, LESION, Prepared
from uadbench.progress import Progress
from uadbench.register import REGISTRATION_VERSION, register
from uadbench.scan import Scan
from uadbench.subject import Subject

PREPARATION_VERSION = "1"
REFERENCES = ("T1", "T1ce", "T1post", "T2", "FLAIR")  # whose transform a subject's contrasts share
LEAST_ON_GRID = 0.5  # of the brain; less means that the scan does not lie where its card says


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
class _Labels:
    """Values of a label file (see cards.DatasetCard)."""

    lesion: tuple[int, ...]
    ignore: tuple[int, ...]
    other: tuple[int, ...]


@dataclass(frozen=True)
class _Job:
    """One scan to prepare; everything a worker process needs."""

    subject: Subject
    contrast: str
    grid: Grid
    labels: _Labels
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
    labels = _Labels(card.lesion_labels, card.ignore_labels, card.other_labels)
    jobs: dict[int, _Job] = {}
    reasons: dict[int, str] = {}
    with progress.stage(f"prepare {card.name} {contrast} {grid.name}", len(subjects)) as stage:
        memory.hash_all((p for s in subjects for p in _files(s, contrast).values()), workers)
        for position, subject in enumerate(subjects):
            try:
                jobs[position] = _job(subject, contrast, grid, labels, cache, memory)
            except SubjectError as error:
                reasons[position] = str(error)
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


def _job(
    subject: Subject, contrast: str, grid: Grid, labels: _Labels, cache: Path, memory: FileMemory
) -> _Job:
    """What is to be done for a subject, and under which key: equal content has equal keys."""
    if contrast not in subject.images:
        raise SubjectError(f"{subject.id} has no {contrast}; it has {', '.join(sorted(subject.images))}.")
    sources = {part: memory.hash(path) for part, path in _files(subject, contrast).items()}
    reference = _reference(subject, contrast)
    content = [PREPARATION_VERSION, sources, asdict(labels), subject.space, subject.skull_stripped]
    key = sha256_json([*content, asdict(grid), contrast, REGISTRATION_VERSION if reference else None])
    transform_key = sha256_json(
        [REGISTRATION_VERSION, subject.skull_stripped]
        + [digest for part, digest in sorted(sources.items()) if part.startswith("reference")]
    )
    return _Job(
        subject=subject,
        contrast=contrast,
        grid=grid,
        labels=labels,
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
    image = scan.read_image(job.subject.images[job.contrast])
    brain = _brain(job.subject, job.contrast, image)
    transform = _transform(job, image, brain)
    lesion, ignored = _labels_of(job)
    facts, picture, mask = _picture(job, image, brain, np.array(transform["matrix"]), lesion)
    labels = None
    if lesion is not None or ignored is not None:
        labels = _flags(job, np.array(transform["matrix"]), lesion, ignored)
        facts["lesion_ml"] = float(np.count_nonzero(labels & LESION) * job.grid.voxel_ml)
    facts |= {
        "transform": transform["matrix"],
        "registration": transform["quality"],
        "voxel_sha256": scan.voxel_hash(image.array),
        "sources": dict(job.sources),
        "preparation_version": PREPARATION_VERSION,
        "codes_crc32": _checksum(prepared.encode(picture, mask)),
    }
    prepared.write(job.path, picture, mask, labels, facts)


def _brain(subject: Subject, contrast: str, image: Scan) -> NDArray[np.bool_]:
    name = f"{subject.id} {contrast}"
    return masks.brain_mask(image, subject.mask_of(contrast), subject.skull_stripped, name)


def _transform(job: _Job, image: Scan, brain: NDArray[np.bool_]) -> dict[str, Any]:
    """`matrix` scan mm -> MNI152 mm and the `quality` of the registration, from the cache if there."""
    if job.reference is None:
        return {"matrix": np.eye(4).tolist(), "quality": None}
    try:
        kept: dict[str, Any] = json.loads(job.transform_path.read_text())
        return kept
    except (FileNotFoundError, json.JSONDecodeError):
        pass  # not registered yet, or the file was damaged
    if job.reference != job.contrast:
        image = scan.read_image(job.subject.images[job.reference])
        brain = _brain(job.subject, job.reference, image)
    found = register(image, brain, f"{job.subject.id} {job.reference}")
    quality = {name: getattr(found, name) for name in ("dice", "correlation", "determinant")}
    result = {"matrix": found.matrix.tolist(), "quality": quality | {"reference": job.reference}}
    write_json(job.transform_path, result)
    return result


def _labels_of(job: _Job) -> tuple[Scan | None, Scan | None]:
    """The lesion and the ignored voxels on their own lattice, as 0 and 1."""
    subject = job.subject
    lesion = ignored = None
    if subject.lesion_mask is not None:
        values = _checked_labels(subject.lesion_mask, job.labels)
        lesion = _marked(values, job.labels.lesion)
    if subject.ignore_mask is not None:
        if subject.ignore_mask != subject.lesion_mask:
            values = _checked_labels(subject.ignore_mask, job.labels)
        ignored = _marked(values, job.labels.ignore)
    return lesion, ignored


def _marked(labels: Scan, values: Sequence[int]) -> Scan:
    return Scan(np.isin(labels.array, values).astype(np.uint8), labels.affine)


def _checked_labels(path: Path, labels: _Labels) -> Scan:
    """A label file that holds no value but those of the card."""
    found = scan.read_labels(path)
    unknown = unknown_labels(found, (*labels.lesion, *labels.ignore, *labels.other))
    if unknown:
        known = sorted({0, *labels.lesion, *labels.ignore, *labels.other})
        raise SubjectError(
            f"{path} has the labels {unknown}, the data set's card knows {known}: "
            "correct the card, or leave the subject out."
        )
    return found


def unknown_labels(labels: Scan, known: Sequence[int]) -> list[int]:
    """Values of a label volume that are neither 0 nor known."""
    there = [int(value) for value in np.unique(labels.array)]
    return [value for value in there if value != 0 and value not in known]


def _picture(
    job: _Job, image: Scan, brain: NDArray[np.bool_], transform: NDArray[np.float64], lesion: Scan | None
) -> tuple[dict[str, Any], NDArray[np.float32], NDArray[np.bool_]]:
    """Facts, image in [0, 1] and brain mask (R, A, S) on the grid."""
    box = resampling.bounding_box(brain)
    inside, values = brain[box], image.array[box].astype(np.float32)
    low, high = percentiles(values[inside])
    if not high > low:
        raise SubjectError(
            f"{job.subject.id} {job.contrast} has the 1st and the 99th percentile {low} inside the brain: "
            "it shows nothing there; check that brain mask and scan belong together."
        )
    bright = _above_healthy(image, box, inside, values, lesion)
    scaled = np.where(inside, ((values - low) / (high - low)).clip(0, 1), np.float32(0))
    to_scan = np.linalg.inv(transform @ resampling.moved(image.affine, box)) @ job.grid.affine
    mask = resampling.nearest(inside.astype(np.uint8), to_scan, job.grid.shape) > 0
    brain_ml = np.count_nonzero(mask) * job.grid.voxel_ml
    expected_ml = np.count_nonzero(inside) * abs(np.linalg.det(transform @ image.affine)) / 1000
    if brain_ml < LEAST_ON_GRID * expected_ml:
        raise SubjectError(
            f"Only {brain_ml:.0f} of {expected_ml:.0f} ml of the brain of {job.subject.id} {job.contrast} "
            f"lie on the grid {job.grid.name}: the scan is not in {job.subject.space} space as stated; "
            "correct the space in the data set's card."
        )
    picture = np.where(mask, resampling.linear(scaled, to_scan, job.grid.shape).clip(0, 1), np.float32(0))
    area = mask.sum((0, 1)) * job.grid.spacing_mm**2
    facts = {
        "slice_area_mm2": [float(a) for a in area],
        "p1": low,
        "p99": high,
        "above_healthy_p99": bright,
        "brain_ml": float(brain_ml),
        "lesion_ml": 0.0,
    }
    return facts, picture, mask


def percentiles(values: NDArray[np.float32]) -> tuple[float, float]:
    """The 1st and the 99th percentile by nearest rank, by selection instead of sorting."""
    ranks = [round(share * (len(values) - 1)) for share in (0.01, 0.99)]
    chosen = np.partition(values, ranks)[ranks]
    return float(chosen[0]), float(chosen[1])


def _above_healthy(
    image: Scan,
    box: tuple[slice, ...],
    inside: NDArray[np.bool_],
    values: NDArray[np.float32],
    lesion: Scan | None,
) -> float:
    """Fraction of the brain that is brighter than the 99th percentile of the brain outside the lesion."""
    healthy = inside
    if lesion is not None:
        part = Scan(values, resampling.moved(image.affine, box))
        healthy = inside & (masks.on_voxels_of(part, lesion) == 0)
    if not healthy.any():
        return 1.0
    return float(np.mean(values[inside] > percentiles(values[healthy])[1]))


def _flags(
    job: _Job, transform: NDArray[np.float64], lesion: Scan | None, ignored: Scan | None
) -> NDArray[np.uint8]:
    """Lesion and ignored flags (R, A, S) on the grid, straight from their own lattices."""
    flags = np.zeros(job.grid.shape, np.uint8)
    for labels, flag in ((lesion, LESION), (ignored, IGNORED)):
        if labels is not None:
            to_labels = np.linalg.inv(transform @ labels.affine) @ job.grid.affine
            flags |= np.uint8(flag) * resampling.nearest(labels.array, to_labels, job.grid.shape)
    return flags
