"""Preparation: scans of a data set become packed volumes on a grid of MNI152 (protocol, preparation rules).

canonical RAS → brain mask → affine to MNI152, where the scan is not there yet → 1st and 99th percentile
inside the brain, on the scan's own voxels → clip, scale to [0, 1], 0 outside the brain → one trilinear
resampling to the grid (smoothed first where the grid is coarser), masks and labels by nearest neighbour.

Slices without geometry stay on their own pixels, or are resampled in the plane: see `prepare_stack`.

This file decides what is to be made, where it is kept and who makes it; `prepare_scan` makes one scan.
"""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from uadbench.cards import DatasetCard
from uadbench.data import prepared, splits
from uadbench.data.prepared import Prepared
from uadbench.data.session import Session
from uadbench.data.space import Grid, Target
from uadbench.preprocessing import brains, external, scan, slice_brains
from uadbench.preprocessing.bias import N4_VERSION
from uadbench.preprocessing.filememory import FileMemory
from uadbench.preprocessing.labels import Labels
from uadbench.preprocessing.prepare_scan import (
    DEFAULTS,
    PREPARATION_VERSION,
    Job,
    Options,
    Order,
    position_of,
    prepare_one,
    reference_of,
)
from uadbench.preprocessing.prepare_stack import STACK_VERSION, prepare_stack
from uadbench.preprocessing.register import REGISTRATION_VERSION
from uadbench.preprocessing.rigid import RIGID_VERSION
from uadbench.system import locks, pool
from uadbench.system.errors import SubjectError, UserError
from uadbench.system.files import sha256_json
from uadbench.system.progress import Progress

logger = logging.getLogger(__name__)
EXCLUDE_ONE = "exclude one of them in the data set's card"
__all__ = ["DEFAULTS", "Cohort", "Failure", "Options", "check_voxels", "prepare"]


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


def prepare(
    sessions: Sequence[Session],
    contrast: str,
    grid: Target,
    card: DatasetCard,
    cache: Path,
    workers: int,
    progress: Progress,
    options: Options = DEFAULTS,
) -> Cohort:
    """One contrast of every subject on a grid; what is in the cache already is not made again.

    A subject that cannot be used is a Failure and the others go on. The result does not depend on
    the number of workers.
    """
    external.check(options.extractor)
    flat = not isinstance(grid, Grid)
    if flat and options != DEFAULTS:
        raise UserError(
            f"The slices of {card.name} have no geometry: no extractor and no N4 can work on them."
        )
    memory = FileMemory(cache / "files.json")
    with progress.stage(f"prepare {card.name} {contrast} {grid.name}", len(sessions)) as stage:
        memory.hash_all((p for s in sessions for p in _files(s, contrast).values()), workers)
        order = Order(grid, Labels.of(card), cache, options)
        jobs, reasons = _jobs(sessions, contrast, order, memory)
        memory.keep()
        todo = _missing(jobs, grid, workers)
        stage.advance(len(sessions) - len(todo))
        if todo:
            # One for each data set, because its grids share brain masks and transforms to MNI152.
            with locks.held(cache / "locks" / f"prepare-{card.name}"):
                # What a volume is made from is known by its bytes of this day, not by its size and age.
                again = (p for n in todo for p in _files(sessions[n], contrast).values())
                memory.hash_all(again, workers, anew=True)
                jobs, reasons = _jobs(sessions, contrast, order, memory)
                before, todo = len(todo), _missing({n: jobs[n] for n in todo if n in jobs}, grid, workers)
                stage.advance(before - len(todo))  # another process has made them
                for position in todo:
                    if jobs[position].path.exists():
                        logger.warning("%s is damaged: prepared again", jobs[position].path)
                for index, reason in pool.results(
                    prepare_stack if flat else prepare_one, [jobs[p] for p in todo], workers
                ):
                    if reason is not None:
                        reasons[todo[index]] = reason.reason if isinstance(reason, pool.Died) else reason
                    stage.advance(1, sessions[todo[index]].id)
    memory.keep()
    return Cohort(
        tuple(
            prepared.opened(sessions[p], contrast, grid, job.path)
            for p, job in jobs.items()
            if p not in reasons
        ),
        tuple(Failure(sessions[p].id, contrast, reasons[p]) for p in sorted(reasons)),
    )


def check_voxels(parts: Mapping[str, Sequence[Prepared]]) -> None:
    """Stop where the same voxels are in two partitions, or belong to two subjects."""
    seen: dict[str, tuple[str, Session]] = {}
    for part, members in parts.items():
        for item in members:
            for digest in item.facts.get("slice_sha256", [item.facts["voxel_sha256"]]):
                first_part, first = seen.setdefault(str(digest), (part, item.session))
                other_person = (first.cohort, first.subject) != (item.session.cohort, item.session.subject)
                if other_person or not splits.may_share(first_part, first, part, item.session):
                    what = "share a slice" if "slice_sha256" in item.facts else "are the same image"
                    raise UserError(
                        f"{first.id} of {first.cohort} ({first_part}) and {item.session.id} of "
                        f"{item.session.cohort} ({part}) {what} voxel by voxel; a subject may be in "
                        "one partition only: remove one of them, or exclude it in the data set's card."
                    )


def same_image(contrast: str, other: Session, other_contrast: str) -> str:
    """How two subjects with the same voxels are told of."""
    return f"{contrast} is the same image voxel by voxel as {other.id} {other_contrast}"


def copies(parts: Mapping[str, Sequence[Prepared]]) -> dict[str, list[Failure]]:
    """By partition, the scans of a data set that show the voxels of another of its subjects.

    The first by id stays, and where the two contradict each other, one healthy and the other not, or with
    other lesions, neither.
    """
    found: dict[str, dict[str, Failure]] = {}
    seen: dict[tuple[str, str], tuple[str, Prepared]] = {}
    members = [(part, item) for part, items in parts.items() for item in items]
    for part, item in sorted(members, key=lambda member: member[1].session.id):
        for digest in item.facts.get("slice_sha256", [item.facts["voxel_sha256"]]):
            first_part, first = seen.setdefault((item.session.cohort, str(digest)), (part, item))
            if _one_scan(first.session, item.session):
                continue
            pairs = [(part, item, first)]
            if not _agree(first, item):
                pairs.append((first_part, first, item))
            for home, one, other in pairs:
                reason = same_image(one.contrast, other.session, other.contrast)
                failure = Failure(one.session.id, one.contrast, f"{reason}: {EXCLUDE_ONE}")
                found.setdefault(home, {}).setdefault(one.session.id, failure)
    return {part: list(failures.values()) for part, failures in found.items()}


def _one_scan(one: Session, other: Session) -> bool:
    """Whether two subjects are one scan: the same, or a stack and its lesion-free slices."""
    if one.id == other.id:
        return True
    return (one.subject, one.label) == (other.subject, other.label) and one.slices != other.slices


def _agree(one: Prepared, other: Prepared) -> bool:
    """Whether two subjects with the same voxels are said to have the same lesions."""
    if one.session.healthy != other.session.healthy:
        return False
    return one.grid != other.grid or np.array_equal(one.lesion(), other.lesion())


def _files(session: Session, contrast: str) -> dict[str, Path]:
    """Every file that decides how the prepared volume looks, by its part in it."""
    if session.stack:
        images = {f"image{n:03d}": one.image for n, one in enumerate(session.stack)}
        return images | {f"mask{n:03d}": one.mask for n, one in enumerate(session.stack)}
    reference = reference_of(session, contrast)
    involved = {"": contrast, "reference": reference, "position": position_of(session, contrast)}
    for part, one in (("", contrast), ("reference_", reference)):
        if one is not None and brains.source_of(session, one) != one:
            involved[f"{part}brain_source"] = brains.source_of(session, one)
    files: dict[str, Path | None] = {"lesion_mask": session.lesion_mask, "ignore_mask": session.ignore_mask}
    for part, one in involved.items():
        if one is not None:
            files[part or "image"] = session.images.get(one)
            files[f"{part or 'brain'}_mask"] = session.mask_of(one)
    return {
        f"{part}{number or ''}": path
        for part, named in files.items()
        if named is not None
        for number, path in enumerate(scan.files_of(named))
    }


def _jobs(
    sessions: Sequence[Session], contrast: str, order: Order, memory: FileMemory
) -> tuple[dict[int, Job], dict[int, str]]:
    """Jobs, or reasons why there is none, by position of the subject."""
    jobs, reasons = {}, {}
    for position, session in enumerate(sessions):
        try:
            jobs[position] = _job(session, contrast, order, memory)
        except SubjectError as error:
            reasons[position] = str(error)
    return jobs, reasons


def _job(session: Session, contrast: str, order: Order, memory: FileMemory) -> Job:
    """What is to be done for a subject, and under which key: equal content has equal keys."""
    if contrast not in session.images:
        raise SubjectError(f"{session.id} has no {contrast}; it has {', '.join(sorted(session.images))}.")
    files = _files(session, contrast)
    sources = {part: memory.hash(path) for part, path in files.items()}
    if bool(session.stack) == isinstance(order.grid, Grid):
        kind = "slices without geometry" if session.stack else "volumes"
        raise SubjectError(f"{session.id} has {kind}, which do not go on {order.grid.name}.")
    if session.stack:
        return _stack_job(session, contrast, order, sources)
    reference = reference_of(session, contrast)
    ways = _ways(session, [contrast] if reference is None else [contrast, reference], order.options)
    reference_ways = _ways(session, [] if reference is None else [reference], order.options)
    orientation = [] if session.orientation is None else [session.orientation]
    content = [PREPARATION_VERSION, sources, asdict(order.labels), session.space, session.skull_stripped]
    content += [
        *orientation,
        *session.mask_values,
        *ways,
        N4_VERSION if order.options.n4 else None,
        session.mask_contrast,
    ]
    key = sha256_json([*content, asdict(order.grid), contrast, REGISTRATION_VERSION if reference else None])
    transform_key = sha256_json(
        [REGISTRATION_VERSION, session.skull_stripped, *reference_ways]
        + orientation
        + [digest for part, digest in sorted(sources.items()) if part.startswith("reference")]
    )
    return Job(
        session=session,
        contrast=contrast,
        order=order,
        sources=sources,
        digests={str(path): sources[part] for part, path in files.items()},
        path=order.cache / order.grid.name / f"{key}.safetensors",
        reference=reference,
        transform_path=order.cache / "transforms" / f"{transform_key}.json",
    )


def _stack_job(session: Session, contrast: str, order: Order, sources: dict[str, str]) -> Job:
    content = [STACK_VERSION, slice_brains.SLICE_BRAINS_VERSION, sources, asdict(order.labels), contrast]
    key = sha256_json([*content, dict(session.channels), session.slices, session.healthy, asdict(order.grid)])
    path = order.cache / order.grid.name / f"{key}.safetensors"
    return Job(session, contrast, order, sources, {}, path, reference=None, transform_path=path)


def _ways(session: Session, contrasts: Sequence[str], options: Options) -> list[str]:
    """What decides brain masks that do not come with the data: no more than has a say in them."""
    ways = []
    if any(brains.is_extracted(session, contrast) for contrast in contrasts):
        ways += [options.extractor, external.version(options.extractor)]
    if any(brains.source_of(session, contrast) != contrast for contrast in contrasts):
        ways.append(RIGID_VERSION)
    return ways


def _missing(jobs: Mapping[int, Job], grid: Target, workers: int) -> list[int]:
    """Positions of the jobs whose result is not in the cache, whole and to the bit as it was written."""
    with ThreadPoolExecutor(max(1, workers)) as threads:  # most of it is reading
        whole = threads.map(lambda job: prepared.is_whole(job.path, grid), jobs.values())
        return [position for position, fine in zip(jobs, whole, strict=True) if not fine]
