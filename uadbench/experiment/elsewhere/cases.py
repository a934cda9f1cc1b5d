"""Cases: scans of one's own, written as the evaluation reads them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.data import prepared
from uadbench.data.prepared import IGNORED, LESION, Prepared
from uadbench.data.session import Session
from uadbench.data.space import Grid, ScanGrid
from uadbench.evaluation import maps
from uadbench.evaluation.maps import Case
from uadbench.experiment.config import Runtime
from uadbench.experiment.elsewhere.asked import Entry, MapsConfig, sides_of
from uadbench.experiment.elsewhere.volumes import MapFacts, Volumes, read_volumes
from uadbench.methods import Score
from uadbench.preprocessing import register
from uadbench.preprocessing.resampling import sample_nearest
from uadbench.system import pool
from uadbench.system.errors import SubjectError, UserError
from uadbench.system.files import sha256

SHOWN = 3  # faults that a sentence quotes
INSIDE_SHARE = 0.98  # of a brain, that a grid of MNI152 holds at least
TEMPLATE_DICE = 0.8  # of a brain with the template's; registration to MNI152 reaches .9 and more


@dataclass(frozen=True)
class Made:
    """One scan ready to be evaluated."""

    entry: Entry
    case: Case
    found: MapFacts
    map_digest: str  # of the scores
    native: bool  # the map was on the voxels of the scan's file


@dataclass(frozen=True)
class Cases:
    """The scans in order, and those that cannot be measured with the reason."""

    made: tuple[Made, ...]
    faults: tuple[tuple[Entry, str], ...] = ()
    masks: bool = False  # all maps are masks


def make_cases(
    entries: Sequence[Entry], asked: MapsConfig, grid: Grid, folder: Path, runtime: Runtime
) -> Cases:
    """Read, check and write every scan; `grid` is a ScanGrid where each keeps its own voxels.

    Faults end it all in one sentence, unless they were to be left out.
    """
    sides = None if asked.spacing_mm is None else sides_of(asked.spacing_mm)
    brains = any(one.brain is not None for one in entries)

    def make(entry: Entry) -> Made:
        volumes = read_volumes(entry, sides, brains, asked.nan)
        return write_case(entry, volumes, grid, folder, asked.cohort)

    return make_each([(entry, partial(make, entry)) for entry in entries], asked, runtime)


def make_each(jobs: Sequence[tuple[Entry, Callable[[], Made]]], asked: MapsConfig, runtime: Runtime) -> Cases:
    """What becomes of every scan, given how it is made; faults as in `make_cases`."""

    def attempt(job: tuple[Entry, Callable[[], Made]]) -> Made | str:
        try:
            return job[1]()
        except (SubjectError, MemoryError) as error:
            return str(error) or f"not enough memory for {job[0].id}: use fewer --workers."

    answers = pool.in_threads(attempt, jobs, runtime.workers, runtime.progress, "read maps")
    pairs = zip(jobs, answers, strict=True)
    faults = tuple((entry, answer) for (entry, _), answer in pairs if isinstance(answer, str))
    made = tuple(answer for answer in answers if isinstance(answer, Made))
    check_faults(faults, asked.leave_out)
    return Cases(made, faults, bool(made) and all(one.found.binary for one in made))


def check_faults(faults: Sequence[tuple[Entry, str]], leave_out: bool) -> None:
    """Stop at scans that cannot be measured, all of them in one sentence, unless they are to be left out."""
    if not faults or leave_out:
        return
    said = "; ".join(reason.rstrip(".") for _, reason in faults[:SHOWN])
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    what = "1 scan cannot" if len(faults) == 1 else f"{len(faults)} scans cannot"
    raise UserError(
        f"{what} be measured: {said}{more}; mend them, or say --leave-out, which the record then shows."
    )


def write_case(entry: Entry, volumes: Volumes, grid: Grid, folder: Path, cohort: str) -> Made:
    """Write one scan on its own voxels, or on a grid of MNI152 in which its world already is."""
    native = isinstance(grid, ScanGrid)
    on = _own_grid(volumes) if native else grid
    score_map, lesion, ignored, brain = (
        (volumes.score_map, volumes.lesion, volumes.ignored, volumes.brain)
        if native
        else _on_grid(volumes, grid, entry)
    )
    labels = lesion.astype(np.uint8) * np.uint8(LESION) | ignored.astype(np.uint8) * np.uint8(IGNORED)
    codes = prepared.encode(np.zeros(on.shape, np.float32), brain)
    areas = np.count_nonzero(brain, (0, 1)) * on.sides_mm[0] * on.sides_mm[1]
    facts: dict[str, Any] = {
        "slice_area_mm2": [float(area) for area in areas],
        "all_slices": native,  # rule 7 is of the protocol's grids
        "image": False,
        "world": (volumes.affine if native else on.affine).tolist(),
    }
    digest = sha256(repr((on.sides_mm, on.shape)).encode() + codes.tobytes() + labels.tobytes())
    path = folder / entry.partition / f"{digest}-{sha256(entry.id)[:16]}.safetensors"
    prepared.write_codes(path, codes, labels, facts)
    map_file = path.with_name(f"map-{path.name}")
    maps.write_map(map_file, Score(score_map), 0.0, 0.0)
    case = Case(entry.partition, Prepared(session_of(entry, cohort), "", on, path), map_file, on)
    return Made(entry, case, volumes.found, sha256(np.ascontiguousarray(score_map).tobytes()), native)


def session_of(entry: Entry, cohort: str) -> Session:
    """Who was scanned, as splits and records know them."""
    return Session(
        id=entry.id,
        cohort=cohort,
        subject=entry.person,
        label=entry.session,
        images={},
        healthy=entry.partition.startswith("healthy"),
        lesion_kind=entry.lesion_kind,
        site=entry.site,
        age=entry.age,
        sex=entry.sex,
    )


def _own_grid(volumes: Volumes) -> ScanGrid:
    right, front, top = np.linalg.norm(volumes.affine[:3, :3], axis=0).round(6).tolist()
    shape = volumes.score_map.shape
    return ScanGrid.of((shape[0], shape[1], shape[2]), (right, front, top))


Four = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]


def _on_grid(volumes: Volumes, grid: Grid, entry: Entry) -> Four:
    """Map, lesion, ignored voxels and brain on a grid of MNI152, in whose millimetres the scan must be."""
    to_scan = np.linalg.inv(volumes.affine) @ grid.affine

    def nearest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.asarray(sample_nearest(mask.astype(np.uint8), to_scan, grid.shape) > 0)

    lesion, ignored, brain = map(nearest, (volumes.lesion, volumes.ignored, volumes.brain))
    if volumes.whole:
        raise SubjectError(
            f"{entry.id} has no brain mask, without which nobody can tell whether it is in MNI152 space: "
            "give --brain, or measure at --grid native."
        )
    voxel_mm3 = abs(float(np.linalg.det(volumes.affine[:3, :3])))
    whole_mm3 = np.count_nonzero(volumes.brain) * voxel_mm3
    if np.count_nonzero(brain) * grid.voxel_mm3 < INSIDE_SHARE * whole_mm3 or not overlaps_template(
        brain, grid
    ):
        raise SubjectError(
            f"The brain of {entry.id} is not where MNI152 has its brain: register the scan, or measure at "
            "--grid native."
        )
    return bring_scores(volumes.score_map, to_scan, grid), lesion, ignored, brain


def overlaps_template(brain: NDArray[np.bool_], grid: Grid) -> bool:
    """Whether a brain on a grid of MNI152 covers the template's about as well as a registered one."""
    to_template = np.linalg.inv(register.WORKING.affine) @ grid.affine
    mask = register.load_template()[1].astype(np.uint8)
    template = sample_nearest(mask, to_template, grid.shape) > 0
    together = np.count_nonzero(brain & template)
    sizes = int(np.count_nonzero(brain) + np.count_nonzero(template))
    return 2 * int(together) >= TEMPLATE_DICE * sizes


def bring_scores(
    scores: NDArray[np.float32], to_scan: NDArray[np.float64], grid: Grid
) -> NDArray[np.float32]:
    """Scores on a grid: of each voxel those of the nearest voxel of the scan.

    A mean of neighbours would smooth the map, which raises AP: maps made elsewhere would be flattered.
    """
    return np.asarray(sample_nearest(scores, to_scan, grid.shape), np.float32)
