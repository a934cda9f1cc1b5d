"""Strata: for whom a row works, by lesion, site, sex, age band and contrast, and how far groups lie apart.

All figures are at one frozen threshold, and come with an interval over subjects and seeds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from uadbench.data.sizes import Sizes
from uadbench.evaluation import uncertainty
from uadbench.evaluation.components import FOUND, LESIONS
from uadbench.evaluation.uncertainty import FEW_PERSONS, Interval, Sampled
from uadbench.experiment.facts import SubjectResult
from uadbench.report.evidence import Evidence

MEASURES = {
    "recall": "lesion recall",
    "dsc": "Dice, pooled",
    "fpr": "false positives per voxel of healthy scans",
    "fpr_lesion": "false positives per voxel outside the lesions of scans that have some",
}
POINTS = {
    "fpr1": "1 % false positives on healthy-val",
    "val": "lesion-val",
    "given": "the masks as they came",
    "oracle": "the best threshold (oracle)",
}
PEOPLE = ("site", "sex", "age")  # by what a method may treat people differently
AGES = (40, 60, 80)  # where one band of age ends and the next begins
AGE_BANDS = (f"under {AGES[0]}", *[f"{a} to {b - 1}" for a, b in pairwise(AGES)], f"{AGES[-1]} and over")
UNKNOWN = "unknown"
FEWEST_PERSONS = 5  # no interval from fewer, and no comparison with other groups


def interval_of(sampled: Sampled, persons: int) -> Interval | None:
    """The value with its interval, which has no width from too few subjects; None where it is undefined."""
    enough = persons >= FEWEST_PERSONS
    return uncertainty.interval(sampled) if enough else Interval(*3 * [sampled.value])


@dataclass(frozen=True)
class Stratum:
    """One group of the tested subjects, or of their lesions, and how a row does on it."""

    by: str
    name: str
    lesion_scans: int
    healthy_scans: int
    sampled: Mapping[str, Sampled] = field(repr=False)  # by the names of MEASURES, where there is any
    persons: Mapping[str, int]  # from how many subjects each of them is

    @cached_property
    def figures(self) -> dict[str, Interval]:
        """The measures with their intervals, which have no width where they are undefined."""
        found = {name: interval_of(one, self.persons[name]) for name, one in self.sampled.items()}
        return {name: interval for name, interval in found.items() if interval is not None}

    def few(self, measure: str) -> bool:
        """Whether a measure is from fewer than 20 subjects."""
        return self.persons[measure] < FEW_PERSONS


@dataclass(frozen=True)
class Gap:
    """How far apart the two most different groups of people lie in a measure."""

    by: str
    measure: str
    lowest: str
    highest: str
    difference: Interval
    few: bool  # one of the two has fewer than 20 subjects


def strata(seeds: Sequence[Evidence]) -> list[Stratum]:
    """A row by lesion kind, lesion size, the scan's lesion volume, site, sex, age band and contrast.

    All at one frozen threshold (`Evidence.operating_point`); a group that is not there has no stratum.
    """
    row = _Row(seeds)
    people = [
        row.stratum(by, name, np.array([group == name for group in groups]))
        for by, groups in _groups(seeds[0], row.subjects).items()
        for name in _ordered(by, groups, seeds[0].sizes)
    ]
    return [*people, *row.by_lesion_size()]


class _Row:
    """The tested scans of a row's seeds, with their counts."""

    def __init__(self, seeds: Sequence[Evidence]) -> None:
        self.seeds = seeds
        self.counts = [one.counts() for one in seeds]  # voxels, lesions
        self.subjects = seeds[0].subjects
        self.ill = np.array([s.partition == "lesion-test" for s in self.subjects])
        self.sizes = np.array([s.voxels for s in self.subjects], np.float64)

    def stratum(self, by: str, name: str, chosen: Any) -> Stratum:
        """The measures over the chosen scans (a mask of all)."""
        ill, healthy = chosen & self.ill, chosen & ~self.ill
        of_lesions = [(2 * voxels[:, 0], voxels @ np.array([2.0, 1.0, 1.0])) for voxels, _ in self.counts]
        of_healthy = [(voxels[:, 1], self.sizes) for voxels, _ in self.counts]
        of_rest = [(v[:, 1], self.sizes - v[:, 0] - v[:, 2]) for v, _ in self.counts]
        found = {
            "recall": self._recall(ill),
            "dsc": self._share(of_lesions, ill),
            "fpr": self._share(of_healthy, healthy),
            "fpr_lesion": self._share(of_rest, ill),
        }
        sampled = {measure: own for measure, own in found.items() if own is not None}
        persons = dict.fromkeys(MEASURES, self._persons(ill)) | {"fpr": self._persons(healthy)}
        return Stratum(by, name, int(ill.sum()), int(healthy.sum()), sampled, persons)

    def by_lesion_size(self) -> Iterator[Stratum]:
        """Recall of the lesions of each size; counted are the scans that have one."""
        for band, name in enumerate(self.seeds[0].sizes.bands):
            recall = self._recall(self.ill, slice(band, band + 1))
            if recall is not None:
                having = self.ill & (self.counts[0][1][:, band, LESIONS] > 0)
                persons = {"recall": self._persons(having)}
                yield Stratum("lesion size", name, int(having.sum()), 0, {"recall": recall}, persons)

    def _recall(self, chosen: Any, sizes: slice = slice(None)) -> Sampled | None:
        lesions = [lesions[:, sizes] for _, lesions in self.counts]
        return self._share([(one[..., FOUND].sum(1), one[..., LESIONS].sum(1)) for one in lesions], chosen)

    def _share(self, parts: Sequence[tuple[Any, Any]], chosen: Any) -> Sampled | None:
        """Sum over sum of the chosen scans, mean over seeds; None where there is nothing to share."""
        if not (parts[0][1] * chosen).any():
            return None
        each = [
            uncertainty.ratio(part * chosen, whole * chosen, one.weights)
            for one, (part, whole) in zip(self.seeds, parts, strict=True)
        ]
        return uncertainty.over_seeds(each)

    def _persons(self, chosen: Any) -> int:
        return len({s.person for s, there in zip(self.subjects, chosen, strict=True) if there})


def gaps(found: Sequence[Stratum]) -> list[Gap]:
    """For site, sex and age, and each measure: the two groups furthest apart, of at least 5 subjects each."""
    made = []
    for by in PEOPLE:
        groups = [one for one in found if one.by == by and one.name != UNKNOWN]
        for measure in MEASURES:
            having = sorted(
                (one for one in groups if one.persons[measure] >= FEWEST_PERSONS and measure in one.figures),
                key=lambda one: one.figures[measure].value,
            )
            if len(having) > 1:
                low, high = having[0], having[-1]
                apart = uncertainty.difference_of_groups(high.sampled[measure], low.sampled[measure])
                few = low.few(measure) or high.few(measure)
                made.append(Gap(by, measure, low.name, high.name, apart, few))
    return made


# ---- groups ------------------------------------------------------------------------------------


def _groups(first: Evidence, subjects: Sequence[SubjectResult]) -> dict[str, list[str | None]]:
    """The group of each scan, by what they are told apart; None: takes no part."""
    ill = [s.partition == "lesion-test" for s in subjects]
    sizes = [s.lesion_size if i else 0 for s, i in zip(subjects, ill, strict=True)]
    bands, places = first.sizes.bands, np.searchsorted(first.sizes.limits, sizes, "right")
    return {
        "all": ["all"] * len(subjects),
        "lesion kind": [s.lesion_kind or "lesion" if i else None for s, i in zip(subjects, ill, strict=True)],
        "lesion volume of the scan": [
            bands[n] if size else None for n, size in zip(places, sizes, strict=True)
        ],
        "site": [s.site or UNKNOWN for s in subjects],
        "sex": [s.sex or UNKNOWN for s in subjects],
        "age": [age_band(s.age) for s in subjects],
        "contrast": [first.record.contrast] * len(subjects),
    }


def age_band(age: float | None) -> str:
    """The band of an age in years."""
    return UNKNOWN if age is None else AGE_BANDS[int(np.searchsorted(AGES, age, "right"))]


def _ordered(by: str, groups: Sequence[str | None], sizes: Sizes) -> list[str]:
    """The names of the groups: bands from small to large, others by the alphabet, unknown last."""
    bands = [*sizes.bands, *AGE_BANDS]
    there = {name for name in groups if name is not None}
    return sorted(there, key=lambda n: (n == UNKNOWN, bands.index(n) if n in bands else 0, n))
