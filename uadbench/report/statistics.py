"""Statistics of leaderboard rows from records and pieces: intervals, ties, ranks and their stability."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from uadbench.data.sizes import PIXELS, VOLUMES, Sizes
from uadbench.evaluation import uncertainty
from uadbench.evaluation.components import FOUND, LESIONS
from uadbench.evaluation.metrics import UncertainFigureError
from uadbench.evaluation.uncertainty import FEW_PERSONS, LEVEL, Interval, Sampled
from uadbench.experiment import pieces_file
from uadbench.experiment.facts import SubjectResult
from uadbench.experiment.recompute import wrong_figures
from uadbench.experiment.record import RunRecord, Stored, read_record
from uadbench.protocol import OPERATING_POINTS, PROFILES, protocol
from uadbench.system.errors import UserError

# Resamples of all records together that are made while one waits; of more records there are fewer of each.
RESAMPLES_IN_ALL = 100_000
FEWEST_RESAMPLES = 200

TESTED = ("healthy-test", "lesion-test")
SIGNIFICANT = 1 - LEVEL
FEWEST_SEEDS = 3  # without which no order is claimed of a row that depends on its seed (protocol, rule 12)


def resamples_for(records: int) -> int:
    """How many resamples each of so many records gets: fewer of many, and never none."""
    return min(max(RESAMPLES_IN_ALL // max(records, 1), FEWEST_RESAMPLES), uncertainty.RESAMPLES)


@dataclass(frozen=True)
class Evidence:
    """One record with its pieces and the resamples of its persons.

    Subjects are in the order of their ids, whatever their order in the record, so that two records of the
    same subjects pair them by who they are. With `only`, lesion-test is restricted to these ids.
    """

    stored: Stored
    resamples: int = uncertainty.RESAMPLES
    only: frozenset[str] | None = None

    @property
    def record(self) -> RunRecord:
        """The record."""
        return self.stored.record

    @cached_property
    def _chosen(self) -> list[int]:
        """Rows of the tested subjects."""
        subjects = self.record.subjects
        tested = [
            row
            for row, s in enumerate(subjects)
            if s.partition in TESTED and (self.only is None or s.id in self.only)
        ]
        return sorted(tested, key=lambda row: (subjects[row].partition, subjects[row].id))

    @cached_property
    def weights(self) -> Any:
        """Resamples of the tested subjects, (resamples, subjects); of lesion-test in `ill`."""
        tested = self.subjects
        return uncertainty.draw([s.person for s in tested], [s.partition for s in tested], self.resamples)

    @property
    def subjects(self) -> list[SubjectResult]:
        """The tested subjects."""
        return [self.record.subjects[row] for row in self._chosen]

    @property
    def ids(self) -> tuple[str, ...]:
        """Who was tested, healthy or not."""
        return tuple(s.id for s in self.subjects)

    @cached_property
    def _ill(self) -> list[int]:
        return [row for row in self._chosen if self.record.subjects[row].partition == "lesion-test"]

    @cached_property
    def ill_weights(self) -> Any:
        """The same resamples, of the lesion-test subjects alone."""
        return self.weights[:, [self._chosen.index(row) for row in self._ill]]

    @cached_property
    def _read(self) -> pieces_file.PiecesRead:
        return pieces_file.read_pieces(self.stored)

    @cached_property
    def persons(self) -> int:
        """How many subjects with lesions were tested."""
        return len({self.record.subjects[row].person for row in self._ill})

    def pooled(self, profile: str) -> uncertainty.Pooled:
        """Figures of pooled voxels of the lesion-test subjects."""
        return uncertainty.pooled(self._read.pieces[profile].only(self._ill), self.ill_weights)

    def figures(self) -> dict[str, Sampled]:
        """Every column of the leaderboard that the record has, by name."""
        headline = self.record.headline
        found: dict[str, Sampled] = {}
        for profile in dict.fromkeys([headline, *PROFILES]):
            if profile not in self._read.pieces:
                continue
            voxels = self.pooled(profile)
            found[f"ap_{profile}"] = voxels.ap
            if profile == headline:
                found |= {"ap": voxels.ap, "auroc": voxels.auroc, "dsc_oracle": voxels.best_dice}
        ill = [self.record.subjects[row] for row in self._ill]
        found["ap_mean"] = uncertainty.mean([s.ap.get(headline) for s in ill], self.ill_weights)
        thresholds = self.record.thresholds[headline]
        for point in ("val", "fpr1", "fpr5"):
            if thresholds.get(point) is not None:
                found[f"dsc_{point}"] = self.dice(point)
        if thresholds.get("fpr1") is not None:
            found["recall_fpr1"] = self.recall("fpr1")
        sick = [s.partition == "lesion-test" for s in self.subjects]
        scores = [s.scan_score for s in self.subjects]
        if not all(sick) and None not in scores:
            found["auroc_scan"] = uncertainty.scan_auroc(scores, sick, self.weights)  # type: ignore[arg-type]
        return found

    def values(self) -> dict[str, float]:
        """The figures of pooled voxels as exactly as the pieces give them, by the names of `figures`.

        Of some of the subjects alone the pieces may leave more open than is promised: those are left out.
        """
        found: dict[str, float] = {}
        for profile, pieces in self._read.pieces.items():
            try:
                curve = pieces.only(self._ill).curve().certain()
            except UncertainFigureError:  # of some of the subjects alone
                continue
            found[f"ap_{profile}"] = curve.ap
            if profile == self.record.headline:
                found |= {"ap": curve.ap, "auroc": curve.auroc, "dsc_oracle": curve.best_dice}
        return found

    def dice(self, point: str) -> Sampled:
        """Pooled Dice at an operating point."""
        counts = self._read.voxels[self.record.headline][self._ill, OPERATING_POINTS.index(point)]
        true, false, missed = counts.astype(np.float64).T
        return uncertainty.ratio(2 * true, 2 * true + false + missed, self.ill_weights)

    def recall(self, point: str) -> Sampled:
        """Share of lesions found at an operating point."""
        counts = self._read.lesions[self.record.headline][self._ill, OPERATING_POINTS.index(point)]
        by_kind = counts.sum(1).astype(np.float64)  # over sizes: (subjects, kinds of counts)
        return uncertainty.ratio(by_kind[:, FOUND], by_kind[:, LESIONS], self.ill_weights)

    @property
    def sizes(self) -> Sizes:
        """In what the sizes of lesions are counted."""
        return PIXELS if protocol(self.record.protocol).flat else VOLUMES

    @property
    def operating_point(self) -> str:
        """The point at which strata are told apart: 1 % false positives, else val, else the oracle."""
        known = self.record.thresholds[self.record.headline]
        return next((p for p in ("fpr1", "val") if known.get(p) is not None), "oracle")

    def share(self, chosen: Any, parts: Any, wholes: Any) -> Sampled:
        """Sum of parts over sum of wholes, of the chosen among the tested subjects; all (tested,)."""
        return uncertainty.ratio(parts * chosen, wholes * chosen, self.weights)

    def tested(self) -> "Tested":
        """Counts of the tested subjects at the operating point."""
        point, headline = OPERATING_POINTS.index(self.operating_point), self.record.headline
        return Tested(
            subjects=self.subjects,
            voxels=self._read.voxels[headline][self._chosen, point].astype(np.float64),
            lesions=self._read.lesions[headline][self._chosen, point].astype(np.float64),
        )

    def curve(self, points: int = 100) -> list[tuple[float, float]]:
        """Recall and precision over all voxels of lesion-test, at about so many recalls."""
        stored = self._read.pieces[self.record.headline]
        true, false = (
            counts[self._ill].sum(0, dtype=np.int64)[::-1].cumsum()
            for counts in (stored.positives, stored.negatives)
        )
        if not true.size or not true[-1]:
            return []
        recall, precision = true / true[-1], true / np.maximum(true + false, 1)
        wanted = np.searchsorted(recall, np.linspace(0.005, 1, points)).clip(max=len(recall) - 1)
        return [(round(float(recall[i]), 4), round(float(precision[i]), 4)) for i in np.unique(wanted)]


@dataclass(frozen=True)
class Tested:
    """The tested subjects of a record, with TP, FP, FN (subjects, 3) and lesions (subjects, sizes, kinds)."""

    subjects: Sequence[SubjectResult]
    voxels: Any
    lesions: Any


# ---- the rows of a table -----------------------------------------------------------------------


@dataclass(frozen=True)
class Standing:
    """How sure a row's place in its table is."""

    intervals: Mapping[str, Interval]  # by column, around the leaderboard's own value
    rank: int | None  # rows that do not differ from the best of their group share it; None: not ranked
    ranks: tuple[int, int] | None  # 95 % of resamples rank the row between these
    p: float | None  # against the first row of the rank above, Holm-corrected; None for the first
    few: bool  # intervals from fewer than 20 subjects


@dataclass(frozen=True)
class Contender:
    """A row of a table, as far as its standing goes; its evidence is loaded when asked for, and let go."""

    numbers: Mapping[str, float | None]  # the leaderboard's own values by column
    evidence: Callable[[], Sequence[Evidence]]  # of each seed
    ranked: bool = True


@dataclass(frozen=True)
class _Sampled:
    """What is kept of a row's evidence: the intervals, and the resamples of one column."""

    intervals: Mapping[str, Interval]
    column: Sampled | None
    ids: tuple[str, ...]  # of whom the column is made, in the order of its influences
    few: bool


def standings(rows: Sequence[Contender], sort: str) -> list[Standing]:
    """Intervals and ranks of the rows of a table, which come best first.

    Rows share a rank unless the paired bootstrap tells them apart from the first row of their rank (5 %,
    Holm over the tests of the table). Ranks are given among the rows that may be ranked.
    """
    sampled = [_sampled(row, sort) for row in rows]
    there = [place for place, row in enumerate(rows) if row.ranked and sampled[place].column is not None]
    p_values = dict(zip(there, _against_leaders([sampled[place] for place in there]), strict=True))
    ranges = dict(zip(there, _rank_ranges([sampled[place].column for place in there]), strict=True))
    made, rank = [], 1
    for place, own in enumerate(sampled):
        p = p_values.get(place)
        if p is not None and p <= SIGNIFICANT:
            rank = there.index(place) + 1
        ranked = place in ranges
        made.append(Standing(own.intervals, rank if ranked else None, ranges.get(place), p, own.few))
    return made


def _sampled(row: Contender, sort: str) -> _Sampled:
    seeds = row.evidence()
    figures = _figures(seeds)
    intervals = {
        name: moved for name, figure in figures.items() if (moved := _around(figure, row.numbers.get(name)))
    }
    first = seeds[0]
    ids = first.ids
    # Healthy and lesion scans are drawn each for themselves, but where a subject has both (regime `within`).
    if sort != "auroc_scan" and first.record.regime != "within":
        ids = tuple(s.id for s in first.subjects if s.partition == "lesion-test")
    few = min(one.persons for one in seeds) < FEW_PERSONS
    return _Sampled(intervals, figures.get(sort), ids, few)


def _figures(seeds: Sequence[Evidence]) -> dict[str, Sampled]:
    """Figures of a row: means over its seeds, where every seed has them, of the same subjects."""
    each = [one.figures() for one in seeds]
    if len({one.ids for one in seeds}) > 1:  # some healthy scans are not in every seed
        for figures in each:
            figures.pop("auroc_scan", None)
    shared = [name for name in each[0] if all(name in other for other in each)]
    return {name: uncertainty.over_seeds([one[name] for one in each]) for name in shared}


def _around(figure: Sampled, value: float | None) -> Interval | None:
    """The interval, moved to the leaderboard's own value, from which binning may part it by 1e-4."""
    found = uncertainty.interval(figure)
    if found is None or value is None or found.low == found.high:  # no width: there is nothing to resample
        return None
    shift = value - found.value
    return Interval(value, max(found.low + shift, 0.0), min(found.high + shift, 1.0))


def _against_leaders(rows: Sequence[_Sampled]) -> list[float | None]:
    """p of each row against the first row of the group it would join, Holm-corrected over the table.

    Rows that were made of other subjects are not tested against each other.
    """
    leader, raw = 0, {}
    for place in range(1, len(rows)):
        first, own = rows[leader], rows[place]
        if first.column is None or own.column is None or first.ids != own.ids:
            continue
        raw[place] = uncertainty.difference(first.column, own.column)[1]
        # Groups are formed with the strictest of Holm's levels, so that none is parted without a reason.
        if raw[place] * (len(rows) - 1) <= SIGNIFICANT:
            leader = place
    corrected = uncertainty.holm(list(raw.values()))
    by_place = dict(zip(raw, corrected, strict=True))
    return [by_place.get(place) for place in range(len(rows))]


def _rank_ranges(rows: Sequence[Sampled | None]) -> list[tuple[int, int]]:
    """Between which ranks each row lies in 95 % of the resamples."""
    if not rows:
        return []
    values = np.stack([np.nan_to_num(row.values, nan=-np.inf) for row in rows if row is not None])
    ranks = (-values).argsort(0, kind="stable").argsort(0, kind="stable") + 1
    low, high = np.quantile(ranks, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1, method="nearest").astype(int)
    return list(zip(low.tolist(), high.tolist(), strict=True))


# ---- two records -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """First less second, figure by figure, on the same subjects."""

    first: RunRecord
    second: RunRecord
    differences: Mapping[str, tuple[float, float, Interval, float]]  # both values, difference, p by bootstrap
    wilcoxon: float | None  # p of no difference between the subjects' own AP
    corrected: Mapping[str, float]  # p by Holm over all of these tests
    subjects: int  # lesion-test scans that both have scored
    left_out: tuple[str, ...]  # lesion-test scans that only one of them has scored
    persons: int  # with lesions, of the subjects that both have


# What two records must share before their numbers may be held against each other (protocol, rule 17).
SHARED = ("protocol", "regime", "test", "contrast", "metric_version", "card_version", "headline")


def compare(first: Path, second: Path) -> Comparison:
    """Two records on the subjects that both have scored, paired by id.

    Other protocol, contrast or regime, or no subject in common, is a UserError.
    """
    stored = [_believed(path) for path in (first, second)]
    records = [one.record for one in stored]
    for name in SHARED:
        values = [getattr(made, name) for made in records]
        if values[0] != values[1]:
            raise UserError(
                f"{first} has the {name} {values[0]} and {second} {values[1]}: two numbers of different "
                f"{name} are not compared."
            )
    tested = [{s.id: s for s in made.subjects if s.partition in TESTED} for made in records]
    common = frozenset(name for name, one in tested[0].items() if _same(one, tested[1].get(name)))
    own = [
        {s.id: s.ap.get(made.headline) for s in made.subjects if s.partition == "lesion-test"}
        for made in records
    ]
    paired = sorted(name for name in own[0] if name in common)
    if not paired:
        raise UserError(f"{first} and {second} have no tested patient in common: run both on the same split.")
    evidence = [Evidence(one, only=common) for one in stored]
    figures, values = [one.figures() for one in evidence], [one.values() for one in evidence]
    found = {
        name: _difference(one, figures[1][name], values[0].get(name), values[1].get(name))
        for name, one in figures[0].items()
        if name in figures[1] and name != "ap"  # it is there by the name of its profile
    }
    pairs = [(own[0][name], own[1][name]) for name in paired]
    apart = [a - b for a, b in pairs if a is not None and b is not None]
    ranked = float(wilcoxon(apart).pvalue) if any(apart) else None
    names = [*found, *(["wilcoxon"] if ranked is not None else [])]
    p_values = [found[name][3] if name in found else ranked or 0.0 for name in names]
    return Comparison(
        records[0],
        records[1],
        differences=found,
        wilcoxon=ranked,
        corrected=dict(zip(names, uncertainty.holm(p_values), strict=True)),
        subjects=len(paired),
        left_out=tuple(sorted((set(own[0]) | set(own[1])) - set(paired))),
        persons=len({tested[0][name].person for name in paired}),
    )


def _difference(
    first: Sampled, second: Sampled, exact: float | None, other_exact: float | None
) -> tuple[float, float, Interval, float]:
    """Both values, their difference with its interval moved to the exact values, and p."""
    apart, p = uncertainty.difference(first, second)
    a = first.value if exact is None else exact
    b = second.value if other_exact is None else other_exact
    shift = a - b - apart.value
    return a, b, Interval(a - b, apart.low + shift, apart.high + shift), p


def _same(one: SubjectResult, other: SubjectResult | None) -> bool:
    """Whether an id means the same scan in both records."""
    return other is not None and (one.cohort, one.person, one.session, one.partition) == (
        other.cohort, other.person, other.session, other.partition,
    )  # fmt: skip


def _believed(path: Path) -> Stored:
    """A record whose figures follow from its pieces."""
    stored = Stored(read_record(path), path)
    wrong = wrong_figures(stored)
    if wrong:
        raise UserError(f"{path} is not consistent: {wrong[0]}; `uadbench check-record` says all.")
    return stored
