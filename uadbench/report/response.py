"""Response: how a row finds implanted lesions by their size and contrast-to-noise (protocol, rule 18)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from uadbench.evaluation import uncertainty
from uadbench.evaluation.components import FOUND, LESIONS
from uadbench.evaluation.uncertainty import FEW_PERSONS, Interval, Sampled
from uadbench.report import formats
from uadbench.report.evidence import Evidence
from uadbench.report.further import share_of
from uadbench.report.leaderboard import Table
from uadbench.report.sheets import Line, Sheet
from uadbench.report.strata import FEWEST_PERSONS, interval_of
from uadbench.system.errors import UserError

if TYPE_CHECKING:
    from uadbench.experiment.facts import ImplantedResult

Chosen = NDArray[np.bool_]  # lesion-test scans
ROW = ("method", "variant", "grid", "trained on")
POINTS = {"fpr1": "1 %", "fpr5": "5 %"}  # false-positive voxels of healthy-val at the threshold
SHARES = (0.5, 0.8)  # of lesions, from which a size counts as detected
GREY = "as grey matter"


@dataclass(frozen=True)
class Cell:
    """The scans with lesions of one size and contrast-to-noise, and how a row does on them.

    `found` is the share of lesions found at each of `POINTS` that the record has; `ap` is the mean over scans
    of their own AP.
    """

    contrast: float | None  # None: the level of grey matter
    ml: float
    scans: int
    subjects: int
    found: Mapping[str, Interval]
    ap: Interval


def measure_response(seeds: Sequence[Evidence]) -> list[Cell]:
    """The cells of a row by contrast and size, with 95 % intervals over subjects and seeds."""
    first = seeds[0]
    asked = [first.record.subjects[row].implanted for row in first.ill]
    keys = {(one.contrast, one.ml) for one in asked if one is not None}
    return [_cell(seeds, asked, *key) for key in sorted(keys, key=lambda key: (key[0] or 0.0, key[1]))]


def _cell(
    seeds: Sequence[Evidence], asked: Sequence["ImplantedResult | None"], contrast: float | None, ml: float
) -> Cell:
    chosen = np.array([one is not None and (one.contrast, one.ml) == (contrast, ml) for one in asked])
    patients = [seeds[0].record.subjects[row] for row in np.array(seeds[0].ill)[chosen]]
    persons = len({patient.person for patient in patients})
    sampled = {point: _found(seeds, point, chosen) for point in POINTS}
    found = {point: _interval(one, persons) for point, one in sampled.items() if one is not None}
    return Cell(contrast, ml, len(patients), persons, found, _interval(_ap(seeds, chosen), persons))


def _found(seeds: Sequence[Evidence], point: str, chosen: Chosen) -> Sampled | None:
    """The share of the lesions of the chosen scans that is found; None without threshold or lesions."""
    each = []
    for one in seeds:
        counts = one.lesion_counts(point) * chosen[:, None]
        threshold = one.record.thresholds[one.record.headline].get(point)
        share = None if threshold is None else share_of(counts[:, FOUND], counts[:, LESIONS], one.ill_weights)
        if share is None:
            return None
        each.append(share)
    return uncertainty.over_seeds(each)


def _ap(seeds: Sequence[Evidence], chosen: Chosen) -> Sampled:
    """The mean over the chosen scans of their own AP under the headline profile."""
    each = []
    for one in seeds:
        values = [one.record.subjects[row].ap.get(one.record.headline) for row in one.ill]
        known = [value if there else None for value, there in zip(values, chosen, strict=True)]
        each.append(uncertainty.mean(known, one.ill_weights))
    return uncertainty.over_seeds(each)


def _interval(sampled: Sampled, persons: int) -> Interval:
    """The value with its interval, which has no width where it is undefined or from too few subjects."""
    return interval_of(sampled, persons) or Interval(*3 * [sampled.value])


def find_limit(cells: Sequence[Cell], point: str, share: float) -> float | None:
    """The smallest size (ml) from which on every size tried has at least that share of its lesions found.

    Of the cells of one contrast; None where the largest one has not, or the record has no such threshold.
    """
    limit = None
    for cell in sorted(cells, key=lambda one: one.ml, reverse=True):
        if point not in cell.found or not cell.found[point].value >= share:
            break
        limit = cell.ml
    return limit


def by_contrast(cells: Iterable[Cell]) -> dict[float | None, list[Cell]]:
    """The cells of each contrast."""
    groups: dict[float | None, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.contrast, []).append(cell)
    return groups


def check_implanted(found: Sequence[Table]) -> list[Table]:
    """The tables of implanted lesions; UserError where there is none."""
    there = [t for t in found if any(s.implanted is not None for s in t.rows[0].records[0].subjects)]
    if not there:
        raise UserError(
            "No record is of lesions of known size in healthy scans: make such scans with `uadbench inject`, "
            "and test on their folder."
        )
    return there


# ---- as sheets ---------------------------------------------------------------------------------


def write_cells(table: Table, resamples: int) -> Sheet:
    """Every row by contrast-to-noise and size."""
    lines: list[Line] = []
    for row in table.rows:
        for cell in measure_response(row.evidence(resamples)):
            own, few = [*map(cell.found.get, POINTS), cell.ap], cell.subjects < FEW_PERSONS
            figures = [formats.with_ends(one, few) for one in own]
            counts = str(cell.scans), str(cell.subjects)
            lines.append((*row.facts, name_contrast(cell.contrast), f"{cell.ml:g}", *counts, *figures))
    found = [f"found, FPR {rate}" for rate in POINTS.values()]
    headers = (*ROW, "contrast", "ml", "scans", "subjects", *found, "AP")
    note = (
        "Contrast: contrast-to-noise in white matter. Found: share of the lesions of which at least 10 % is "
        "called, at the thresholds with 1 % and 5 % false positives on healthy-val. AP: mean over scans of "
        f"their own, after {table.headline}; larger lesions have a larger AP by chance. 95 % intervals over "
        f"subjects and seeds. * from fewer than {FEW_PERSONS} subjects; no interval from fewer than "
        f"{FEWEST_PERSONS}, or from equals."
    )
    return formats.view(table, "response to size and contrast", headers, lines, note)


def write_limits(table: Table, resamples: int) -> Sheet:
    """The detection limits of every row at each contrast."""
    lines: list[Line] = []
    for row in table.rows:
        for contrast, cells in by_contrast(measure_response(row.evidence(resamples))).items():
            limits = [_show_limit(cells, point, share) for point in POINTS for share in SHARES]
            subjects = str(min(cell.subjects for cell in cells))
            lines.append((*row.facts, name_contrast(contrast), subjects, *limits))
    asked = [f"{share:.0%} found, FPR {rate}" for rate in POINTS.values() for share in SHARES]
    note = (
        "Detection limit: the smallest of the sizes tried (ml) from which on at least that share of the "
        "lesions is found at every size; > the largest size where that is found too seldom."
    )
    headers = (*ROW, "contrast", "subjects", *asked)
    return formats.view(table, "detection limit in ml", headers, lines, note)


def name_contrast(contrast: float | None) -> str:
    """Contrast-to-noise as text."""
    return GREY if contrast is None else f"{contrast:+g}"


def _show_limit(cells: Sequence[Cell], point: str, share: float) -> str:
    if any(point not in cell.found for cell in cells):
        return ""
    limit = find_limit(cells, point, share)
    return f"> {max(cell.ml for cell in cells):g}" if limit is None else f"{limit:g}"
