"""Listings beside a record: what was measured of every scan, and every lesion with its place, as CSV."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.evaluation.components import FALSE, FOUND, LESIONS, is_found
from uadbench.evaluation.details import Details
from uadbench.evaluation.evaluate import Evaluation
from uadbench.evaluation.maps import Case
from uadbench.evaluation.postprocess import LOWEST, PROFILES
from uadbench.evaluation.regions import REGIONS, regions_of
from uadbench.evaluation.scan_facts import extent
from uadbench.evaluation.view import View
from uadbench.system.files import write_text
from uadbench.system.text import csv_cell

Row = dict[str, Any]


def write_listings(evaluation: Evaluation, cases: Sequence[Case], record: Path) -> tuple[Path, Path]:
    """`seed-0.subjects.csv` and `seed-0.lesions.csv` beside `seed-0.json`; the paths of both."""
    subjects, lesions = (record.with_suffix(f".{name}.csv") for name in ("subjects", "lesions"))
    write_text(subjects, as_csv(list(list_subjects(evaluation))))
    write_text(lesions, as_csv(list(list_lesions(evaluation, cases)), LESION_COLUMNS))
    return subjects, lesions


def as_csv(rows: Sequence[Row], columns: Sequence[str] = ()) -> str:
    """Rows under the names of all of them; texts are safe to open in a spreadsheet."""
    names = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows([{name: csv_cell(value) for name, value in row.items()} for row in rows])
    return text.getvalue()


def list_subjects(evaluation: Evaluation) -> Iterator[Row]:
    """Of every scan and profile: its facts, its areas, and voxels and lesions at every operating point."""
    for place, subject in enumerate(evaluation.subjects):
        for profile, thresholds in evaluation.thresholds.items():
            row: Row = {
                name: subject[name]
                for name in ("id", "person", "session", "partition", "site", "sex", "age", "lesion_kind")
            }
            row["subject"] = row.pop("person")
            row |= {
                "profile": profile,
                "voxels": subject["voxels"],
                "lesion_ml": _short(subject["lesion_ml"]),
            }
            row |= {name: _short(subject[name].get(profile)) for name in ("ap", "auroc")}
            row["scan_score"] = _short(subject.get("scan_score"))
            for number, (point, threshold) in enumerate(thresholds.items()):
                if threshold is not None:
                    voxels = evaluation.voxels[profile][place, number]
                    found = evaluation.lesions[profile][place, number].sum(0)
                    row |= _at_point(point, subject["dsc"][profile][point], voxels, found)
            yield row


def _at_point(point: str, dsc: float | None, voxels: NDArray[np.int64], lesions: NDArray[np.int64]) -> Row:
    row: Row = {f"dice_{point}": _short(dsc)}
    for name, count in zip(("true_positives", "false_positives", "false_negatives"), voxels, strict=True):
        row[f"{name}_{point}"] = int(count)
    for name, kind in (("lesions", LESIONS), ("lesions_found", FOUND), ("false_components", FALSE)):
        row[f"{name}_{point}"] = int(lesions[kind])
    return row


LESION_COLUMNS = ("id", "subject", "lesion", "voxels", "volume_ml", "x_mm", "y_mm", "z_mm", "region")


def list_lesions(evaluation: Evaluation, cases: Sequence[Case]) -> Iterator[Row]:
    """Every lesion of every scan under the headline profile: volume, place, and at every operating point
    whether it is found and which share of it is called.

    The place is the centroid in the world of the scan's file, or in MNI152 where that is the grid; the region
    is the commonest of its voxels, in MNI152 alone. Lesions that touch an ignored voxel do not count.
    """
    if evaluation.details is None:
        return
    thresholds = next(iter(evaluation.thresholds.values()))
    known = {point: n for n, point in enumerate(thresholds) if any_threshold(evaluation, point)}
    for place, (case, subject) in enumerate(zip(cases, evaluation.subjects, strict=True)):
        own = np.flatnonzero(evaluation.details.owners == place)
        for number, (lesion, where) in enumerate(zip(own, _places(case, len(own)), strict=True), 1):
            yield {
                "id": subject["id"],
                "subject": subject["person"],
                "lesion": number,
                **where,
                **_found_at(evaluation.details, int(lesion), known),
            }


def any_threshold(evaluation: Evaluation, point: str) -> bool:
    """Whether there is a threshold at a point."""
    return any(known[point] is not None for known in evaluation.thresholds.values())


def _found_at(details: Details, lesion: int, points: Mapping[str, int]) -> Row:
    voxels, covered = details.arrays["lesion_voxels"][lesion], details.arrays["covered"][lesion]
    row: Row = {}
    for point, number in points.items():
        row[f"found_{point}"] = "found" if is_found(covered[number], voxels) else "missed"
        row[f"overlap_{point}"] = _short(float(covered[number] / voxels))
    return row


def _places(case: Case, count: int) -> list[Row]:
    """Volume and place of the lesions of a scan that count, in the order of the details."""
    if not count:
        return []
    prepared = case.prepared
    nothing = np.full(int(extent(prepared).sum()), LOWEST, np.float32)
    view = View.of(prepared, PROFILES["raw"], nothing)
    counted = np.flatnonzero(view.lesions.counts)
    labels, sizes = view.lesions.labels, view.lesions.voxels
    start = [side.start or 0 for side in view.box]
    inside = np.argwhere(labels > 0)
    own = labels[tuple(inside.T)]
    sums = np.stack([np.bincount(own, inside[:, axis], minlength=len(sizes)) for axis in range(3)], 1)
    world = np.array(prepared.facts.get("world", prepared.grid.affine), np.float64)
    regions = regions_of(prepared.grid, prepared.brain())[view.box] if prepared.grid.placed else None
    rows = []
    for label in counted:
        centroid = world @ [*(sums[label] / sizes[label] + start), 1.0]
        row: Row = {"voxels": int(sizes[label]), "volume_ml": _short(float(sizes[label] * view.voxel_size))}
        row |= {f"{axis}_mm": round(float(mm), 1) for axis, mm in zip("xyz", centroid[:3], strict=True)}
        if regions is not None:
            row["region"] = REGIONS[int(np.bincount(regions[labels == label]).argmax())]
        rows.append(row)
    return rows


def _short(value: float | None) -> float | None:
    """Six significant digits."""
    return None if value is None else float(f"{value:.6g}")
