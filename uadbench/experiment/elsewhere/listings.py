"""Listings beside a record: what was measured of every scan, and every lesion with its place, as CSV."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.data.space import resample
from uadbench.evaluation import maps
from uadbench.evaluation.components import FALSE, FOUND, LESIONS, is_found
from uadbench.evaluation.evaluate import Evaluation
from uadbench.evaluation.ground import Ground
from uadbench.evaluation.maps import Case
from uadbench.evaluation.matching import Matching, match_lesions
from uadbench.evaluation.postprocess import PROFILES, filtered
from uadbench.evaluation.regions import REGIONS, regions_of
from uadbench.evaluation.view import View
from uadbench.system.files import write_text
from uadbench.system.text import csv_text

Row = dict[str, Any]
Matched = Mapping[str, Matching]  # by operating point


def write_listings(evaluation: Evaluation, cases: Sequence[Case], headline: str, record: Path) -> None:
    """`seed-0.subjects.csv` and `seed-0.lesions.csv` beside `seed-0.json`."""
    thresholds = {p: t for p, t in evaluation.thresholds[headline].items() if t is not None}
    matched: dict[str, Matched] = {}
    lesions: list[Row] = []
    for place, case in enumerate(cases):
        if case.partition.startswith("lesion"):
            view, subject = make_view(case, headline), evaluation.subjects[place]
            matched[subject["id"]] = {p: _match(view, t) for p, t in thresholds.items()}
            who = {"id": subject["id"], "subject": subject["person"], "partition": case.partition}
            lesions += list_lesions(case, view, thresholds, matched[subject["id"]], who)
    subjects = list(list_subjects(evaluation, headline, matched))
    write_text(record.with_suffix(".subjects.csv"), as_csv(subjects))
    write_text(record.with_suffix(".lesions.csv"), as_csv(lesions, LESION_COLUMNS))


def make_view(case: Case, profile: str) -> View:
    """A scan with its map after a profile, as it was evaluated."""
    ground = Ground.of(case.prepared)
    score_map = resample(maps.read_map(case.map_file).score_map, case.map_grid, case.prepared.grid)
    scores = filtered(score_map[ground.box], ground.brain, PROFILES[profile], ground.grid)
    return View(ground, PROFILES[profile], scores[ground.inside])


def _match(view: View, threshold: float) -> Matching:
    ground, lesions = view.ground, view.ground.lesions
    sides = [side / ground.scale ** (1 / 3) for side in ground.grid.sides_mm]
    called = view.called(threshold) & ~ground.ignored
    labels = np.where(lesions.counts[lesions.labels], lesions.labels, 0)
    return match_lesions(labels, called, (sides[0], sides[1], sides[2]))


def as_csv(rows: Sequence[Row], columns: Sequence[str] = ()) -> str:
    """Rows under the names of all of them; texts are safe to open in a spreadsheet."""
    names = dict.fromkeys([*columns, *(name for row in rows for name in row)])
    return csv_text([names, *(map(row.get, names) for row in rows)])


def list_subjects(evaluation: Evaluation, headline: str, matched: Mapping[str, Matched]) -> Iterator[Row]:
    """Of every scan and profile: its facts, its areas, and voxels and lesions at every operating point.

    Pairs of lesions and components (`evaluation.matching`) are of the headline profile alone.
    """
    for place, subject in enumerate(evaluation.subjects):
        for profile, thresholds in evaluation.thresholds.items():
            row: Row = {name: subject["person" if name == "subject" else name] for name in FACTS}
            row |= {"profile": profile, "voxels": subject["voxels"]}
            row["lesion_ml"] = _short(subject["lesion_ml"])
            row |= {name: _short(subject[name].get(profile)) for name in ("ap", "auroc")}
            row["scan_score"] = _short(subject.get("scan_score"))
            for number, (point, threshold) in enumerate(thresholds.items()):
                if threshold is not None:
                    voxels = evaluation.voxels[profile][place, number]
                    found = evaluation.lesions[profile][place, number].sum(0)
                    row |= _at_point(point, subject["dsc"][profile][point], voxels, found)
            if profile == headline:
                for point, one in matched.get(subject["id"], {}).items():
                    row |= _matched_at(point, one, row)
            yield row


def _at_point(point: str, dsc: float | None, voxels: NDArray[np.int64], lesions: NDArray[np.int64]) -> Row:
    row: Row = {f"dice_{point}": _short(dsc)}
    for name, count in zip(("true_positives", "false_positives", "false_negatives"), voxels, strict=True):
        row[f"{name}_{point}"] = int(count)
    for name, kind in (("lesions", LESIONS), ("lesions_found", FOUND), ("false_components", FALSE)):
        row[f"{name}_{point}"] = int(lesions[kind])
    return row


def _matched_at(point: str, one: Matching, row: Row) -> Row:
    """Lesions that have a component of their own, F1 of the pairs, and their mean Dice."""
    pairs, lesions = len(one.pairs), row[f"lesions_{point}"]
    total = lesions + one.components
    return {
        f"components_{point}": one.components,
        f"matched_{point}": pairs,
        f"matched_f1_{point}": _short(2 * pairs / total) if total else None,
        f"matched_dice_{point}": _short(float(np.mean([p.dice for p in one.pairs]))) if pairs else None,
    }


FACTS = ("id", "subject", "session", "partition", "site", "sex", "age", "lesion_kind")
LESION_COLUMNS = (
    *("id", "subject", "partition", "lesion", "voxels", "volume_ml"),
    *("x_mm", "y_mm", "z_mm", "region"),
)


def list_lesions(
    case: Case, view: View, thresholds: Mapping[str, float], matched: Matched, who: Row
) -> Iterator[Row]:
    """Every lesion of a scan: volume, place, and at each operating point whether it is found, which share of
    it is called, and how well the component that is matched with it fits.

    The place is the centroid in the world of the scan's file, or in MNI152 where that is the grid; the region
    is the commonest of its voxels, in MNI152 alone. Lesions that touch an ignored voxel do not count.
    """
    lesions = view.ground.lesions
    sizes = lesions.voxels
    covered = {point: lesions.covered(view.reached(t)) for point, t in thresholds.items()}
    for number, (label, where) in enumerate(_places(case, view).items(), 1):
        row = {**who, "lesion": number, "voxels": int(sizes[label])}
        row |= {"volume_ml": _short(float(sizes[label] * view.ground.voxel_size)), **where}
        for point, own in covered.items():
            found = bool(is_found(own[label], sizes[label]))
            row[f"found_{point}"] = "found" if found else "missed"
            row[f"overlap_{point}"] = _short(float(own[label] / sizes[label]))
            pair = next((p for p in matched[point].pairs if p.lesion == label), None)
            for name in ("dice", "hd95_mm", "nsd"):
                row[f"matched_{name}_{point}"] = None if pair is None else _short(getattr(pair, name))
        yield row


def _places(case: Case, view: View) -> dict[int, Row]:
    """The centroid of each lesion that counts by its label, and its region where the grid is in MNI152."""
    prepared, lesions = case.prepared, view.ground.lesions
    labels, sizes = lesions.labels, lesions.voxels
    inside = np.argwhere(labels > 0)
    own = labels[tuple(inside.T)]
    sums = np.stack([np.bincount(own, inside[:, axis], minlength=len(sizes)) for axis in range(3)], 1)
    start = [side.start or 0 for side in view.ground.box]
    world = np.array(prepared.facts.get("world", prepared.grid.affine), np.float64)
    ground = view.ground
    regions = regions_of(prepared.grid, ground.brain, ground.box) if prepared.grid.placed else None
    found: dict[int, Row] = {}
    for label in np.flatnonzero(lesions.counts).tolist():
        centroid = world @ [*(sums[label] / sizes[label] + start), 1.0]
        found[label] = {f"{axis}_mm": round(float(mm), 1) for axis, mm in zip("xyz", centroid, strict=False)}
        if regions is not None:
            found[label]["region"] = REGIONS[int(np.bincount(regions[labels == label]).argmax())]
    return found


def _short(value: float | None) -> float | None:
    """Six significant digits."""
    return None if value is None else float(f"{value:.6g}")
