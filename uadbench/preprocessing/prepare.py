"""Preparation: scans of a data set become packed volumes on a grid of MNI152 (protocol, preparation rules).

canonical RAS → brain mask → affine to MNI152, where the scan is not there yet → 1st and 99th percentile
inside the brain, on the scan's own voxels → clip, scale to [0, 1], 0 outside the brain → one trilinear
resampling to the grid (smoothed first where the grid is coarser), masks and labels by nearest neighbour.

Slices without geometry stay on their own pixels, or are resampled in the plane: see `prepare_stack`.

This file decides what is to be made, where it is kept and who makes it; `prepare_scan` makes one scan.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from uadbench.cards import DatasetCard
from uadbench.data import prepared
from uadbench.data.prepared import Prepared
from uadbench.data.session import Session
from uadbench.data.space import Grid, Target
from uadbench.data.suffixes import files_of
from uadbench.preprocessing import brains, extract, slice_brains
from uadbench.preprocessing.filememory import FileMemory
from uadbench.preprocessing.intensities import N4_VERSION
from uadbench.preprocessing.labels import Labels
from uadbench.preprocessing.prepare_scan import (
    DEFAULTS,
    PREPARATION_VERSION,
    Job,
    Options,
    Order,
    position_of,
    reference_of,
    write_scan,
)
from uadbench.preprocessing.prepare_stack import STACK_VERSION, write_stack
from uadbench.preprocessing.register import REGISTRATION_VERSION
from uadbench.preprocessing.rigid import RIGID_VERSION
from uadbench.system import locks, pool
from uadbench.system.errors import SubjectError, UserError
from uadbench.system.files import sha256_json
from uadbench.system.progress import Progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A scan that could not be prepared, with the reason in words."""

    subject_id: str
    contrast: str
    reason: str


@dataclass(frozen=True)
class Cohort:
    """The prepared scans in the order of the sessions, and what failed."""

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
    """One contrast of every session on a grid; what is in the cache already is not made again.

    A session that cannot be used is a Failure and the others go on. The result does not depend on
    the number of workers.
    """
    extract.check_extractor(options.extractor)
    if not isinstance(grid, Grid) and options != DEFAULTS:
        raise UserError(
            f"The slices of {card.name} have no geometry: no extractor and no N4 can work on them."
        )
    memory = FileMemory(cache / "files.json")
    order = Order(grid, Labels.of(card), cache, options)
    with progress.stage(f"prepare {card.name} {contrast} {grid.name}", len(sessions)) as stage:
        memory.hash_all((p for s in sessions for p in find_sources(s, contrast).values()), workers)
        jobs, reasons = _jobs(sessions, contrast, order, memory)
        memory.keep()
        todo = _missing(jobs, grid, workers)
        stage.advance(len(sessions) - len(todo))
        if todo:
            # One for each data set, because its grids share brain masks and transforms to MNI152.
            with locks.held(cache / "locks" / f"prepare-{card.name}"):
                # What a volume is made from is known by its bytes of this day, not by its size and age.
                again = (p for n in todo for p in find_sources(sessions[n], contrast).values())
                memory.hash_all(again, workers, fresh=True)
                jobs, reasons = _jobs(sessions, contrast, order, memory)
                before, todo = len(todo), _missing({n: jobs[n] for n in todo if n in jobs}, grid, workers)
                stage.advance(before - len(todo))  # another process has made them
                for path in (jobs[position].path for position in todo):
                    if path.exists() and not prepared.is_whole(path, grid):
                        logger.warning("%s is damaged: prepared again", path)
                for index, reason in pool.results(_make, [jobs[p] for p in todo], workers):
                    if reason is not None:
                        reasons[todo[index]] = reason.reason if isinstance(reason, pool.Died) else reason
                    stage.advance(1, sessions[todo[index]].id)
    memory.keep()
    made = {n: job.path for n, job in jobs.items() if n not in reasons}
    return Cohort(
        tuple(prepared.open_prepared(sessions[n], contrast, grid, path) for n, path in made.items()),
        tuple(Failure(sessions[n].id, contrast, reasons[n]) for n in sorted(reasons)),
    )


def describe_preparation(parts: Mapping[str, Sequence[Prepared]], options: Options) -> dict[str, Any]:
    """As a record states it: options, versions, and by partition the ways to brains and the flagged scans."""
    there = {partition: members for partition, members in parts.items() if members}
    flagged = {p: sum(bool(m.facts["quality"]["flags"]) for m in members) for p, members in there.items()}
    return {
        "options": asdict(options),
        "versions": {
            "preparation": PREPARATION_VERSION,
            "registration": REGISTRATION_VERSION,
            "rigid": RIGID_VERSION,
            "n4": N4_VERSION,
            "extractor": extract.find_version(options.extractor),
        },
        "brains": {partition: count_ways(members) for partition, members in there.items()},
        "flagged": flagged,
    }


def count_ways(scans: Iterable[Prepared]) -> dict[str, int]:
    """How many brain masks were found in which way: "own mask", "atlas on T1, carried", ..."""
    return dict(sorted(Counter(_way(item.facts["brain"]) for item in scans).items()))


def _way(brain: Mapping[str, Any]) -> str:
    version = [brain["version"]] if "version" in brain else []
    on = [] if brain["by"] in brains.GIVEN else ["on", brain["on"]]
    return " ".join([brain["by"], *version, *on]) + (", carried" if brain.get("carried") else "")


def _make(job: Job) -> str | None:
    """Prepare one scan or stack and write it; the reason where that is not possible."""
    try:
        (write_stack if job.session.stack else write_scan)(job)
    except (SubjectError, MemoryError) as error:
        kind = "stack" if job.session.stack else "scan"
        return str(error) or f"not enough memory for this {kind}: use fewer --workers."
    return None


def _missing(jobs: Mapping[int, Job], grid: Target, workers: int) -> list[int]:
    """Positions of the jobs whose result is not in the cache, whole and to the bit as it was written."""

    def is_ready(job: Job) -> bool:
        # Earlier versions wrote other facts beside the same voxels.
        return (
            prepared.is_whole(job.path, grid)
            and prepared.open_prepared(job.session, job.contrast, grid, job.path).has_fingerprints
        )

    ready = pool.mapped(is_ready, jobs.values(), workers)
    return [position for position, fine in zip(jobs, ready, strict=True) if not fine]


def find_sources(session: Session, contrast: str) -> dict[str, Path]:
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
        for number, path in enumerate(files_of(named))
    }


def _jobs(
    sessions: Sequence[Session], contrast: str, order: Order, memory: FileMemory
) -> tuple[dict[int, Job], dict[int, str]]:
    """Jobs, or reasons why there is none, by position of the session."""
    jobs, reasons = {}, {}
    for position, session in enumerate(sessions):
        try:
            jobs[position] = _job(session, contrast, order, memory)
        except SubjectError as error:
            reasons[position] = str(error)
    return jobs, reasons


def _job(session: Session, contrast: str, order: Order, memory: FileMemory) -> Job:
    """What is to be done for a session, and under which key: equal content has equal keys."""
    if contrast not in session.images:
        raise SubjectError(f"{session.id} has no {contrast}; it has {', '.join(sorted(session.images))}.")
    files = find_sources(session, contrast)
    sources = {part: memory.hash(path) for part, path in files.items()}
    if bool(session.stack) == isinstance(order.grid, Grid):
        kind = "slices without geometry" if session.stack else "volumes"
        raise SubjectError(f"{session.id} has {kind}, which cannot be brought to {order.grid.name}.")
    reference = None if session.stack else reference_of(session, contrast)
    transform_key = _transform_key(session, reference, order, sources)
    key = (_stack_key if session.stack else _scan_key)(session, contrast, order, sources)
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


def _scan_key(session: Session, contrast: str, order: Order, sources: Mapping[str, str]) -> str:
    reference = reference_of(session, contrast)
    content = [PREPARATION_VERSION, sources, asdict(order.labels), session.space, session.skull_stripped]
    content += [] if session.orientation is None else [session.orientation]
    content += [session.transform] if session.implanted is not None and session.transform else []
    content += [*session.mask_values, *_ways(session, {contrast, reference or contrast}, order.options)]
    content += [N4_VERSION if order.options.n4 else None, session.mask_contrast, asdict(order.grid), contrast]
    return sha256_json([*content, REGISTRATION_VERSION if reference else None])


def _transform_key(session: Session, reference: str | None, order: Order, sources: Mapping[str, str]) -> str:
    content = [REGISTRATION_VERSION, session.skull_stripped]
    content += _ways(session, set() if reference is None else {reference}, order.options)
    content += [] if session.orientation is None else [session.orientation]
    return sha256_json(
        [*content, *(digest for part, digest in sorted(sources.items()) if part.startswith("reference"))]
    )


def _stack_key(session: Session, contrast: str, order: Order, sources: Mapping[str, str]) -> str:
    content = [STACK_VERSION, slice_brains.SLICE_BRAINS_VERSION, sources, asdict(order.labels), contrast]
    return sha256_json(
        [*content, dict(session.channels), session.slices, session.healthy, asdict(order.grid)]
    )


def _ways(session: Session, contrasts: set[str], options: Options) -> list[str]:
    """What decides brain masks that do not come with the data: no more than has a say in them."""
    ways = []
    if any(brains.is_extracted(session, contrast) for contrast in contrasts):
        ways += [options.extractor, extract.find_version(options.extractor)]
    if any(brains.source_of(session, contrast) != contrast for contrast in contrasts):
        ways.append(RIGID_VERSION)
    return ways
