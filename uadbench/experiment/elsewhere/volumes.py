"""Volumes: a map from elsewhere with what it is held against, read, checked and on one lattice.

What is wrong with a scan is a SubjectError in one sentence that names the file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.experiment.elsewhere.asked import LOWEST_SCORE, Entry, Source
from uadbench.preprocessing import scan
from uadbench.preprocessing.brains import INSIDE
from uadbench.preprocessing.nifti import round_rows
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import SubjectError

Sides = tuple[float, float, float]  # of a voxel, mm
FEW_VALUES = 64  # different scores of a scan, below which it is worth a remark
LARGEST_SCORE = float(np.finfo(np.float32).max)
EXACT_WHOLE = 2**24  # whole numbers above it are not all float32
BELOW_ALL = np.float32(-3.3e38)  # of scores that are no numbers: above what post-processing takes out


@dataclass(frozen=True)
class Volumes:
    """One scan, all volumes (R, A, S) on the lattice of its map."""

    score_map: NDArray[np.float32]  # finite
    affine: NDArray[np.float64]
    lesion: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    brain: NDArray[np.bool_]
    whole: bool  # no brain mask was given: `brain` is all of the volume
    found: "MapFacts"


@dataclass(frozen=True)
class MapFacts:
    """What is remarkable about a map within the voxels that are measured."""

    values: int  # different ones, counted up to FEW_VALUES + 1
    binary: bool  # 0 and at most one other value, which is above it
    largest_tie: float  # share of the measured voxels that have the commonest score
    not_numbers: int  # voxels whose score counts as the lowest
    rounded: bool  # whole numbers that float32 cannot hold


def read_volumes(entry: Entry, sides_mm: Sides | None, brains: bool, nan: str) -> Volumes:
    """The volumes of a scan; `brains`: each scan must have a brain mask. Arrays have voxels of `sides_mm`."""
    if entry.map is None:
        raise SubjectError(f"{entry.id} has no map: a method may not pass over a scan of the test.")
    score = read_source(entry.map, sides_mm, f"the map of {entry.id}")
    shape = score.array.shape
    lesion = ignored = np.zeros(shape, bool)
    if entry.truth is not None:
        lesion = _labels(entry.truth, sides_mm, f"the lesion mask of {entry.id}", score, entry)
    if entry.ignore is not None:
        ignored = _labels(entry.ignore, sides_mm, f"the ignore mask of {entry.id}", score, entry)
    if brains and entry.brain is None:
        raise SubjectError(f"{entry.id} has no brain mask, and other scans have one: give it too.")
    brain = np.ones(shape, bool)
    if entry.brain is not None:
        what = f"the brain mask of {entry.id}"
        mask = read_source(entry.brain, sides_mm, what)
        check_lattice(mask, score, named(entry.brain, what), named(entry.map, f"the map of {entry.id}"))
        brain = np.asarray(mask.array > INSIDE)
        if not brain.any():
            raise SubjectError(f"{named(entry.brain, what)} has no voxel above {INSIDE}: it is no brain.")
    where = named(entry.map, f"the map of {entry.id}")
    score_map, found = checked_scores(score.array, (brain | lesion) & ~ignored, nan, where)
    return Volumes(score_map, score.affine, lesion, ignored, brain, entry.brain is None, found)


def read_source(source: Source, sides_mm: Sides | None, what: str) -> Scan:
    """A file or an array as a scan in RAS order."""
    if isinstance(source, Path):
        return scan.read_scan(source)
    array = np.asarray(source)
    if array.ndim != 3 or 0 in array.shape:
        raise SubjectError(f"{what} has the shape {array.shape}; expected three axes (R, A, S).")
    if array.dtype.kind not in "biuf":
        raise SubjectError(f"{what} holds {array.dtype}; expected numbers.")
    plain = array.astype(np.uint8) if array.dtype.kind == "b" else array
    return Scan(plain, np.diag([*(sides_mm or (1.0, 1.0, 1.0)), 1.0]))


def named(source: Source, what: str) -> str:
    """How a sentence names a volume: by its file, where it has one."""
    return str(source) if isinstance(source, Path) else what


def check_lattice(mask: Scan, score: Scan, mask_name: str, map_name: str) -> None:
    """Stop where two volumes of a scan have their voxels in other places; storage order does not matter."""
    if mask.array.shape != score.array.shape:
        raise SubjectError(
            f"{mask_name} has {_times(mask)} voxels and {map_name} {_times(score)} (R x A x S): resample the "
            "map to the lattice of the masks."
        )
    if not mask.same_lattice(score):
        raise SubjectError(
            f"{mask_name} and {map_name} have the same shape, but their affines place a corner "
            f"{mask.voxels_apart(score):.3g} voxels apart ({round_rows(mask.affine)}, "
            f"{round_rows(score.affine)}): save the map with the affine of its scan."
        )


def _times(volume: Scan) -> str:
    return " x ".join(map(str, volume.array.shape))


def _labels(
    source: Source, sides_mm: Sides | None, what: str, score: Scan, entry: Entry
) -> NDArray[np.bool_]:
    """A mask on the lattice of the map: where its labels are above 0."""
    if isinstance(source, Path):
        labels = scan.read_labels(source)
    else:
        labels = read_source(source, sides_mm, what)
        if not np.isfinite(labels.array).all() or (labels.array != np.rint(labels.array)).any():
            raise SubjectError(f"{what} has values that are no whole numbers: give labels or a bool array.")
    assert entry.map is not None, "a scan without a map was refused before"
    check_lattice(labels, score, named(source, what), named(entry.map, f"the map of {entry.id}"))
    return np.asarray(labels.array > 0)


# ---- scores ------------------------------------------------------------------------------------


def checked_scores(
    array: NDArray[Any], region: NDArray[np.bool_], nan: str, where: str
) -> tuple[NDArray[np.float32], MapFacts]:
    """The scores as finite float32, and what is remarkable about those in the region that is measured.

    Outside the region anything goes: nothing there is measured, and it becomes the lowest score inside.
    """
    inside = array[region]
    if not inside.size:
        raise SubjectError(f"{where}: no voxel of the scan is measured.")
    finite = np.isfinite(inside)
    missing = int(inside.size - np.count_nonzero(finite))
    if missing and nan != LOWEST_SCORE:
        raise SubjectError(
            f"{where} has {missing} voxels in the measured region that are NaN or infinite: repair the map, "
            "or say --nan lowest to count them as the lowest score."
        )
    known = inside[finite]
    if not known.size:
        raise SubjectError(f"{where} has no finite score in the measured region.")
    if np.abs(known.astype(np.float64)).max() > LARGEST_SCORE:
        raise SubjectError(f"{where} has scores beyond float32 (3.4e38): rescale the map.")
    rounded = array.dtype.kind in "iu" and bool(np.abs(known.astype(np.float64)).max() > EXACT_WHOLE)
    scores = array.astype(np.float32)
    scores[~np.isfinite(scores)] = np.float32(known.min())
    if missing:
        lost = np.zeros(array.shape, bool)
        lost[region] = ~finite
        scores[lost] = BELOW_ALL
    return scores, _describe(scores[region], missing, rounded)


def _describe(scores: NDArray[np.float32], missing: int, rounded: bool) -> MapFacts:
    values, counts = np.unique(scores, return_counts=True)
    binary = values.size <= 2 and values[0] == 0
    return MapFacts(
        min(values.size, FEW_VALUES + 1), bool(binary), float(counts.max() / scores.size), missing, rounded
    )


def remarks_of(facts: dict[str, MapFacts], masks: bool) -> list[str]:
    """What a reader must know of the maps of all scans, by id; one sentence for each kind of thing."""
    few = {name: one for name, one in facts.items() if one.values <= FEW_VALUES and not masks}
    said = []
    if few:
        first, one = next(iter(few.items()))
        said.append(
            f"{len(few)} of {len(facts)} maps have at most {FEW_VALUES} different scores ({first}: "
            f"{one.values}, the commonest in {one.largest_tie:.1%} of its voxels): voxels that are tied are "
            "called together, and AP is step-wise over the ties."
        )
    lowest = {name: one.not_numbers for name, one in facts.items()}
    rounded = {name: int(one.rounded) for name, one in facts.items()}
    for words, chosen in (
        ("voxels that are no numbers, counted as the lowest score", lowest),
        ("whole numbers that float32 rounds", rounded),
    ):
        there = {name: count for name, count in chosen.items() if count}
        if there:
            voxels = f", {sum(there.values())} voxels" if "lowest" in words else ""
            said.append(f"{len(there)} of {len(facts)} maps have {words} ({next(iter(there))}{voxels}).")
    return said
