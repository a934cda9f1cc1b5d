"""Published figures beside ours: what was printed where, and whether the two may be compared at all.

`published.csv` holds every figure with its source as rows, `bands.csv` the ranges in which a correct
re-implementation is expected (a reading of the figures, itself not published).
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from uadbench.data.space import GRIDS
from uadbench.experiment.record import RunRecord
from uadbench.protocol import protocol
from uadbench.report.listing import Listing

HERE = Path(__file__).parent
NONE = "none"
# Which of our points a published threshold rule is.
POINTS = {"oracle": "oracle", "oracle_mean": "oracle_mean", "val": "val"}


@dataclass(frozen=True)
class Published:
    """One printed figure; empty text where a fact was not stated."""

    table: str  # letter of the group it was read in
    method: str  # our row of the same method, "" where we have none
    label: str  # the method as printed
    train: str
    test: str
    contrast: str
    metric: str
    value: float
    spread: float | None
    regime: str
    resolution: str
    threshold: str  # the rule by which a Dice was thresholded
    averaging: str
    note: str
    status: str  # own, re-run, second hand
    source: str
    family: str  # one of report.field.words.FAMILIES
    kind: str  # of lesion: tumour, stroke, MS, small vessel disease, several
    part: str  # of the test set, where only that was tested
    low: float | None  # of the printed 95 % interval
    high: float | None
    false_alarms: float | None  # share of the lesion-free slices with one, at the threshold of a Dice
    version: str  # of a source that printed other values before or after
    other_version: float | None  # the value that the other version prints


@dataclass(frozen=True)
class Band:
    """Where a correct re-implementation is expected to lie."""

    method: str
    train: str
    test: str
    contrast: str
    metric: str
    low: float
    high: float
    threshold: str
    note: str


@lru_cache(maxsize=1)
def figures() -> tuple[Published, ...]:
    """Every published figure."""
    optional = ("spread", "low", "high", "false_alarms", "other_version")
    return tuple(
        Published(
            **row
            | {"value": float(row["value"])}
            | {name: float(row[name]) if row[name] else None for name in optional}
        )
        for row in _rows("published.csv")
    )


@lru_cache(maxsize=1)
def bands() -> tuple[Band, ...]:
    """Every band."""
    return tuple(
        Band(**row | {"low": float(row["low"]), "high": float(row["high"])}) for row in _rows("bands.csv")
    )


def _rows(name: str) -> list[dict[str, Any]]:
    with open(HERE / name, encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def ours(record: RunRecord, metric: str, threshold: str) -> float | None:
    """Our figure of the same definition, after the headline post-processing; None where we have none."""
    headline = record.summary.profiles.get(record.headline)
    if headline is None:
        return None
    point = headline.points.get(POINTS.get(threshold, ""))
    simple: dict[str, float | None] = {
        "AP": headline.ap,
        "AP mean": headline.ap_mean,
        "AUROC": headline.auroc,
        "DSC": None if point is None else point.dsc,
        "DSC mean": None if point is None else point.dsc_mean,
    }
    return simple.get(metric)


def definition(figure: Published) -> str:
    """The metric a figure is of, by our names: several papers average Dice and AP over volumes."""
    averaged = figure.averaging.startswith("mean over") and figure.metric in ("DSC", "AP")
    return f"{figure.metric} mean" if averaged else figure.metric


def differences(record: RunRecord, figure: Published) -> list[str]:
    """What keeps a record's figure and a published one from being compared; empty: they are comparable."""
    reasons = []
    train = record.train or NONE
    trained_on = figure.train or "unknown"
    if record.regime != figure.regime:
        reasons.append(f"regime {record.regime}, published {figure.regime or 'unknown'}")
    if record.test != figure.test:
        reasons.append(f"tested on {record.test}, published {figure.test or 'unknown'}")
    if record.contrast != figure.contrast:
        reasons.append(f"contrast {record.contrast}, published {figure.contrast or 'unknown'}")
    if train != trained_on and figure.method not in UNTRAINED:
        reasons.append(f"trained on {train}, published {trained_on}")
    own = resolution(record)
    if figure.resolution and not figure.resolution.startswith(own):
        reasons.append(f"resolution {own}, published {figure.resolution}")
    if figure.metric.startswith("DSC") and figure.threshold not in POINTS:
        reasons.append(f"threshold rule {figure.threshold or 'unknown'}, which is none of ours")
    if record.limit is not None:
        reasons.append(f"at most {record.limit} subjects per partition")
    return reasons


def resolution(record: RunRecord) -> str:
    """At what resolution a record's maps were made, in the words of the published figures.

    The coarser of the model grid and the grid on which the maps were measured.
    """
    on = [GRIDS[name] for name in (record.model_grid, protocol(record.protocol).grid.name) if name in GRIDS]
    coarser = max(on, key=lambda one: one.spacing_mm, default=None)
    if coarser is None:
        return "slices of unknown size"
    return "128 x 128 slices" if coarser.name == "g128" else f"{coarser.spacing_mm:g} mm"


UNTRAINED = ("random", "intensity")  # where the figure does not depend on the training cohort


@dataclass(frozen=True)
class Beside:
    """A record's figure and a published one."""

    record: RunRecord
    figure: Published
    ours: float | None
    reasons: tuple[str, ...]  # why they are not comparable

    @property
    def difference(self) -> float | None:
        """Ours less theirs."""
        return None if self.ours is None else self.ours - self.figure.value

    @property
    def verdict(self) -> str:
        """In words."""
        if self.ours is None:
            return "not comparable: this figure is not among ours"
        return "comparable" if not self.reasons else f"not comparable: {'; '.join(self.reasons)}"

    @property
    def band(self) -> tuple[float, float]:
        """How far from the printed figure a correct re-implementation may lie: a reading of ours.

        A fifth of the figure, 0.03 or twice its printed spread, whichever is most: the same systems, run
        by others on the same data, differ by that much (groups A and B of the collection).
        """
        reach = max(0.2 * self.figure.value, 0.03, 2 * (self.figure.spread or 0.0))
        return max(self.figure.value - reach, 0.0), min(self.figure.value + reach, 1.0)

    @property
    def judgement(self) -> str:
        """`inside band`, `outside band` or `not comparable`, with the reason."""
        if self.ours is None or self.reasons:
            return self.verdict
        low, high = self.band
        return f"{'inside' if low <= self.ours <= high else 'outside'} band {low:.3f} to {high:.3f}"


def edition(test: str) -> str:
    """A test set without its year: other editions are shown beside, and said not to be comparable."""
    return test.rstrip("0123456789")


def beside(records: Iterable[RunRecord]) -> list[Beside]:
    """Every published figure of the same method and contrast beside a record; any edition of its set."""
    return [
        Beside(
            record,
            figure,
            ours(record, definition(figure), figure.threshold),
            tuple(differences(record, figure)),
        )
        for record in records
        for figure in _of_method().get(record.method, ())
        if edition(figure.test) == edition(record.test) and figure.contrast == record.contrast
    ]


@lru_cache(maxsize=1)
def _of_method() -> dict[str, list[Published]]:
    by_method: dict[str, list[Published]] = {}
    for figure in figures():
        if figure.method:
            by_method.setdefault(figure.method, []).append(figure)
    return by_method


@dataclass(frozen=True)
class Judgement:
    """A record held against a band."""

    band: Band
    ours: float | None
    reasons: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """`inside band`, `outside band` or `not comparable`, with the figures."""
        if self.ours is None:
            return f"not comparable: the record has no {self.band.metric} at {self.band.threshold}"
        where = "inside" if self.band.low <= self.ours <= self.band.high else "outside"
        text = f"{where} band: {self.ours:.3f}, expected {self.band.low:.2f} to {self.band.high:.2f}"
        text += f" ({self.band.note})" if self.band.note else ""
        return text if not self.reasons else f"not comparable ({'; '.join(self.reasons)}); {text}"


def judge(record: RunRecord) -> list[Judgement]:
    """A record against every band of its method, test set and contrast."""
    found = []
    for band in bands():
        same = band.method in ("*", record.method) and band.test == record.test
        if not (same and band.contrast == record.contrast):
            continue
        reasons = []
        if band.train not in (NONE, record.train):
            reasons.append(f"trained on {record.train or NONE}, the band is for {band.train}")
        if "half resolution" in band.note and record.protocol != "uad-1-2mm":
            reasons.append(f"protocol {record.protocol}, the band is for half resolution (uad-1-2mm)")
        found.append(Judgement(band, ours(record, band.metric, band.threshold), tuple(reasons)))
    return found


# ---- listings ----------------------------------------------------------------------------------

BESIDE_HEADERS = (
    "method", "variant", "grid", "trained on", "test", "contrast", "regime", "metric", "threshold", "ours",
    "published", "difference", "verdict", "as printed", "status", "source",
)  # fmt: skip
BAND_HEADERS = (
    "method", "variant", "trained on", "test", "contrast", "metric", "threshold", "ours", "band", "verdict"
)  # fmt: skip


def over_seeds(found: Iterable[Beside]) -> list[Beside]:
    """One line for each figure and row of the leaderboard: ours is the mean over its seeds."""
    groups: dict[tuple[Any, ...], list[Beside]] = {}
    for one in found:
        r = one.record
        row = (r.method, r.variant, r.model_grid)
        key = (r.protocol, r.regime, r.train, r.test, r.contrast, *row, one.figure)
        groups.setdefault(key, []).append(one)
    return [
        Beside(group[0].record, group[0].figure, _mean([one.ours for one in group]), group[0].reasons)
        for group in groups.values()
    ]


def _mean(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if len(there) == len(values) else None


def listings(records: Iterable[RunRecord]) -> list[Listing]:
    """Published figures beside ours, and ours against the bands; comparable ones first."""
    chosen = list(records)
    found = sorted(over_seeds(beside(chosen)), key=lambda one: one.verdict != "comparable")
    lines = tuple(line(one) for one in found)
    note = NOTE if lines else "Nothing is published of these methods on these test sets and contrasts."
    made = [Listing("Published figures beside ours", BESIDE_HEADERS, lines, (note,))]
    judged = [(record, one) for record in chosen for one in judge(record)]
    if judged:
        bands_of_ours = tuple(band_line(record, one) for record, one in judged)
        made.append(
            Listing("Bands in which a correct re-implementation is expected", BAND_HEADERS, bands_of_ours)
        )
    return made


NOTE = (
    "A difference is a finding only where the verdict is `comparable`: same regime, test set, contrast, "
    "training cohort, resolution and threshold rule. Figures of other editions of a challenge are shown and "
    "never comparable."
)


def line(one: Beside) -> tuple[str, ...]:
    """A published figure beside ours as text, under `BESIDE_HEADERS`."""
    r, figure = one.record, one.figure
    spread = f" ± {figure.spread:.3f}" if figure.spread else ""
    return (
        *(r.method, r.variant, r.model_grid, r.train or NONE, r.test, r.contrast, r.regime),
        definition(figure),
        *(figure.threshold, _shown(one.ours), f"{figure.value:.3f}{spread}"),
        "" if one.difference is None else f"{one.difference:+.3f}",
        *(one.verdict, f"{figure.table}: {figure.label}", figure.status, figure.source),
    )


def band_line(record: RunRecord, one: Judgement) -> tuple[str, ...]:
    """A record against a band as text, under `BAND_HEADERS`."""
    variant = f"{record.variant} seed {record.seed}"
    return (
        *(record.method, variant, record.train or NONE, record.test, record.contrast),
        *(one.band.metric, one.band.threshold, _shown(one.ours)),
        *(f"{one.band.low:.2f} to {one.band.high:.2f}", one.verdict),
    )


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
