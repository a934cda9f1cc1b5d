"""Statistics of leaderboard rows from records and pieces: intervals, ties, ranks and their stability."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from uadbench.errors import UserError
from uadbench.evaluation import uncertainty
from uadbench.evaluation.components import FOUND, LESIONS
from uadbench.evaluation.pieces import Pieces
from uadbench.evaluation.summary import rows as rows_of
from uadbench.evaluation.uncertainty import FEW_PERSONS, LEVEL, Interval, Sampled
from uadbench.protocol import OPERATING_POINTS, PIXELS, PROFILES, VOLUMES, Sizes, protocol
from uadbench.record import RunRecord, read, read_pieces

# Resamples of all records together that are made while one waits; beyond it there are fewer of each.
RESAMPLES_IN_ALL = 100_000
FEWEST_RESAMPLES = 200

HEADLINE = PROFILES[-1]
TESTED = ("healthy-test", "lesion-test")
SIGNIFICANT = 1 - LEVEL


def resamples_for(records: int) -> int:
    """How many resamples each of so many records gets: 0 where that would take minutes."""
    each = RESAMPLES_IN_ALL // max(records, 1)
    return 0 if each < FEWEST_RESAMPLES else min(each, uncertainty.RESAMPLES)


@dataclass(frozen=True)
class Evidence:
    """One record with its pieces and the resamples of its persons."""

    record: RunRecord
    results: Path
    resamples: int = uncertainty.RESAMPLES

    @cached_property
    def _chosen(self) -> list[int]:
        """Rows of the tested subjects."""
        return [row for row, s in enumerate(self.record.subjects) if s["partition"] in TESTED]

    @cached_property
    def weights(self) -> Any:
        """Resamples of the tested subjects, (resamples, subjects); of lesion-test in `ill`."""
        tested = [self.record.subjects[row] for row in self._chosen]
        return uncertainty.draw(
            [s["person"] for s in tested], [s["partition"] for s in tested], self.resamples
        )

    @cached_property
    def _ill(self) -> list[int]:
        return rows_of(self.record.subjects, "lesion-test")

    @cached_property
    def ill_weights(self) -> Any:
        """The same resamples, of the lesion-test subjects alone."""
        return self.weights[:, [self._chosen.index(row) for row in self._ill]]

    @cached_property
    def _arrays(self) -> dict[str, dict[str, Any]]:
        return read_pieces((self.results / self.record.place).with_name(self.record.pieces["file"]))

    @cached_property
    def persons(self) -> int:
        """How many persons with lesions were tested."""
        return len({self.record.subjects[row]["person"] for row in self._ill})

    def pooled(self, profile: str = HEADLINE) -> uncertainty.Pooled:
        """Figures of pooled voxels of the lesion-test subjects."""
        pieces = Pieces.from_arrays(
            {k: v for k, v in self._arrays[profile].items() if k not in ("voxels", "lesions")}
        )
        return uncertainty.pooled(pieces.only(self._ill), self.ill_weights)

    @cached_property
    def _headline(self) -> str:
        return HEADLINE if HEADLINE in self._arrays else next(iter(self._arrays))

    def figures(self) -> dict[str, Sampled]:
        """Every column of the leaderboard that the record has, by name."""
        profile = self._headline
        voxels = self.pooled(profile)
        found = {"ap": voxels.ap, "auroc": voxels.auroc, "dsc_oracle": voxels.best_dice}
        if "raw" in self._arrays:
            found["ap_raw"] = voxels.ap if profile == "raw" else self.pooled("raw").ap
        subjects = [self.record.subjects[row] for row in self._ill]
        found["ap_mean"] = uncertainty.mean([s["ap"].get(profile) for s in subjects], self.ill_weights)
        for point in ("val", "fpr1", "fpr5"):
            if self.record.thresholds[profile].get(point) is not None:
                found[f"dsc_{point}"] = self.dice(point)
        if self.record.thresholds[profile].get("fpr1") is not None:
            found["recall_fpr1"] = self.recall("fpr1")
        tested = [self.record.subjects[row] for row in self._chosen]
        ill = [s["partition"] == "lesion-test" for s in tested]
        if not all(ill) and "scan_score" in tested[0]:
            scores = [s["scan_score"] for s in tested]
            found["auroc_scan"] = uncertainty.scan_auroc(scores, ill, self.weights)
        return found

    def dice(self, point: str) -> Sampled:
        """Pooled Dice at an operating point."""
        counts = self._arrays[self._headline]["voxels"][self._ill, OPERATING_POINTS.index(point)]
        true, false, missed = counts.astype(np.float64).T
        return uncertainty.ratio(2 * true, 2 * true + false + missed, self.ill_weights)

    def recall(self, point: str) -> Sampled:
        """Share of lesions found at an operating point."""
        counts = self._arrays[self._headline]["lesions"][self._ill, OPERATING_POINTS.index(point)]
        by_kind = counts.sum(1).astype(np.float64)  # over sizes: (subjects, kinds of counts)
        return uncertainty.ratio(by_kind[:, FOUND], by_kind[:, LESIONS], self.ill_weights)

    @property
    def sizes(self) -> Sizes:
        """In what the sizes of lesions are counted."""
        return PIXELS if protocol(self.record.protocol).flat else VOLUMES

    @property
    def operating_point(self) -> str:
        """The point at which strata are told apart: 1 % false positives, else val, else the oracle."""
        known = self.record.thresholds[self._headline]
        return next((p for p in ("fpr1", "val") if known.get(p) is not None), "oracle")

    def share(self, chosen: Any, parts: Any, wholes: Any) -> Sampled:
        """Sum of parts over sum of wholes, of the chosen among the tested subjects; all (tested,)."""
        return uncertainty.ratio(parts * chosen, wholes * chosen, self.weights)

    def tested(self) -> "Tested":
        """Counts of the tested subjects at the operating point."""
        point = OPERATING_POINTS.index(self.operating_point)
        arrays = self._arrays[self._headline]
        return Tested(
            subjects=[self.record.subjects[row] for row in self._chosen],
            voxels=arrays["voxels"][self._chosen, point].astype(np.float64),
            lesions=arrays["lesions"][self._chosen, point].astype(np.float64),
        )

    def curve(self, points: int = 100) -> list[tuple[float, float]]:
        """Recall and precision over all voxels of lesion-test, at about so many recalls."""
        arrays = self._arrays[self._headline]
        stored = Pieces.from_arrays({k: v for k, v in arrays.items() if k not in ("voxels", "lesions")})
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

    subjects: Sequence[Mapping[str, Any]]
    voxels: Any
    lesions: Any


@dataclass(frozen=True)
class Standing:
    """How sure a row's place in its table is."""

    intervals: Mapping[str, Interval]  # by column, around the leaderboard's own value
    rank: int  # rows that do not differ from the best of their group share its rank
    ranks: tuple[int, int]  # 95 % of resamples rank the row between these
    p: float | None  # against the first row of the rank above, Holm-corrected; None for the first
    few: bool  # intervals from fewer than 20 persons


def standings(
    table_rows: Sequence[Mapping[str, float | None]],
    evidence: Sequence[Sequence[Evidence]],
    sort: str,
) -> list[Standing]:
    """Intervals and ranks of the rows of a table, which come best first, each with its seeds' evidence.

    `table_rows` are the leaderboard's own values by column. Rows share a rank unless the paired bootstrap
    tells them apart from the first row of their rank (5 %, Holm over the tests of the table).
    """
    figures = [_figures(seeds) for seeds in evidence]
    sampled = [row.get(sort) for row in figures]
    p_values = _against_leaders(sampled)
    ranges = _rank_ranges(sampled)
    made, rank = [], 1
    for place, (row, own) in enumerate(zip(table_rows, figures, strict=True)):
        p = p_values[place]
        if p is not None and p <= SIGNIFICANT:
            rank = place + 1
        intervals = {name: moved for name, figure in own.items() if (moved := _around(figure, row.get(name)))}
        few = min(one.persons for one in evidence[place]) < FEW_PERSONS
        made.append(Standing(intervals, rank, ranges[place], p, few))
    return made


def _figures(seeds: Sequence[Evidence]) -> dict[str, Sampled]:
    """Figures of a row: means over its seeds, where every seed has them."""
    each = [one.figures() for one in seeds]
    shared = [name for name in each[0] if all(name in other for other in each)]
    return {name: uncertainty.over_seeds([one[name] for one in each]) for name in shared}


def _around(figure: Sampled, value: float | None) -> Interval | None:
    """The interval, moved to the leaderboard's own value, from which binning may part it by 1e-4."""
    found = uncertainty.interval(figure)
    if found is None or value is None or found.low == found.high:  # no width: there is nothing to resample
        return None
    shift = value - found.value
    return Interval(value, max(found.low + shift, 0.0), min(found.high + shift, 1.0))


def _against_leaders(rows: Sequence[Sampled | None]) -> list[float | None]:
    """p of each row against the first row of the group it would join, Holm-corrected over the table."""
    leader, raw = 0, {}
    for place in range(1, len(rows)):
        first, own = rows[leader], rows[place]
        if first is None or own is None:
            continue
        raw[place] = uncertainty.difference(first, own)[1]
        # Groups are formed with the strictest of Holm's levels, so that none is parted without a reason.
        if raw[place] * (len(rows) - 1) <= SIGNIFICANT:
            leader = place
    corrected = uncertainty.holm(list(raw.values()))
    by_place = dict(zip(raw, corrected, strict=True))
    return [by_place.get(place) for place in range(len(rows))]


def _rank_ranges(rows: Sequence[Sampled | None]) -> list[tuple[int, int]]:
    """Between which ranks each row lies in 95 % of the resamples."""
    there = [place for place, row in enumerate(rows) if row is not None]
    if not there:
        return [(1, len(rows))] * len(rows)
    values = np.stack([np.nan_to_num(rows[place].values, nan=-np.inf) for place in there])  # type: ignore[union-attr]
    ranks = (-values).argsort(0, kind="stable").argsort(0, kind="stable") + 1
    low, high = np.quantile(ranks, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1, method="nearest").astype(int)
    by_place = {place: (int(low[i]), int(high[i])) for i, place in enumerate(there)}
    return [by_place.get(place, (len(rows), len(rows))) for place in range(len(rows))]


# ---- two records -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """First less second, figure by figure, on the same persons."""

    first: RunRecord
    second: RunRecord
    differences: Mapping[str, tuple[float, float, Interval, float]]  # both values, difference, p by bootstrap
    wilcoxon: float | None  # p of no difference between the subjects' own AP
    corrected: Mapping[str, float]  # p by Holm over all of these tests

    @property
    def persons(self) -> int:
        """How many persons with lesions were tested."""
        return len({s["person"] for s in self.first.subjects if s["partition"] == "lesion-test"})


def compare(first: Path, second: Path) -> Comparison:
    """Two records of the same test: other protocol, contrast, regime or split is a UserError."""
    records = [read(path) for path in (first, second)]
    for name in ("protocol", "regime", "test", "contrast", "metric_version"):
        values = [getattr(made, name) for made in records]
        if values[0] != values[1]:
            raise UserError(
                f"{first} has the {name} {values[0]} and {second} {values[1]}: two numbers of different "
                f"{name} are not compared."
            )
    listed = [[s["id"] for s in made.subjects if s["partition"] in TESTED] for made in records]
    if listed[0] != listed[1]:
        raise UserError(f"{first} and {second} were tested on other subjects: run both on the same split.")
    evidence = [
        Evidence(made, Path(*path.parts[: -len(made.place.parts)]))
        for made, path in zip(records, (first, second), strict=True)
    ]
    figures = [one.figures() for one in evidence]
    found = {
        name: (one.value, figures[1][name].value, *uncertainty.difference(one, figures[1][name]))
        for name, one in figures[0].items()
        if name in figures[1]
    }
    own = [
        [s["ap"].get(HEADLINE) for s in made.subjects if s["partition"] == "lesion-test"] for made in records
    ]
    apart = [a - b for a, b in zip(*own, strict=True) if a is not None and b is not None]
    ranked = float(wilcoxon(apart).pvalue) if any(apart) else None
    names = [*found, *(["wilcoxon"] if ranked is not None else [])]
    p_values = [found[name][3] if name in found else ranked or 0.0 for name in names]
    return Comparison(
        records[0],
        records[1],
        found,
        ranked,
        dict(zip(names, uncertainty.holm(p_values), strict=True)),
    )
