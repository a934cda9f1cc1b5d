"""Published values beside ours: whether the two may be compared at all, and how far apart they lie."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from uadbench.data.space import GRIDS
from uadbench.experiment.record import RunRecord
from uadbench.protocol import protocol
from uadbench.report.formats import shown
from uadbench.report.leaderboard import mean_of_all
from uadbench.report.published import Band, Published, edition, figures_of, read_bands
from uadbench.report.sheets import Line, Sheet

NONE = "none"
HALF_RESOLUTION = "uad-1-2mm"
POINTS = ("oracle", "oracle_mean", "val")  # published threshold rules that are operating points of ours
UNTRAINED = ("random", "intensity")  # where the figure does not depend on the training cohort


def our_figure(record: RunRecord, metric: str, threshold: str) -> float | None:
    """Our figure of the same definition, after the headline post-processing; None where we have none."""
    headline = record.summary.profiles.get(record.headline)
    if headline is None:
        return None
    point = headline.points.get(threshold) if threshold in POINTS else None
    known = {"AP": headline.ap, "AP mean": headline.ap_mean, "AUROC": headline.auroc}
    if point is not None:
        known |= {"DSC": point.dsc, "DSC mean": point.dsc_mean}
    return known.get(metric)


def differences(record: RunRecord, figure: Published) -> list[str]:
    """What keeps a record's figure and a published one from being compared; empty: they are comparable."""
    own = resolution(record)
    settings = [
        ("training setting", record.regime, figure.regime),
        ("tested on", record.test, figure.test),
        ("contrast", record.contrast, figure.contrast),
    ]
    if figure.method not in UNTRAINED:
        settings.append(("trained on", record.train or NONE, figure.train))
    if not figure.resolution.startswith(own) and figure.resolution:
        settings.append(("resolution", own, figure.resolution))
    reasons = [
        f"{what} {ours}, published {theirs or 'unknown'}" for what, ours, theirs in settings if ours != theirs
    ]
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
            return "not comparable: this value is not among ours"
        return "comparable" if not self.reasons else f"not comparable: {'; '.join(self.reasons)}"

    @property
    def judgement(self) -> str:
        """`inside band`, `outside band` or `not comparable`, with the reason.

        How far from the printed figure a correct re-implementation may lie is a reading of ours: a fifth of
        the figure, 0.03 or twice its printed spread, whichever is most. The same systems, run by others on
        the same data, differ by that much (groups A and B of the collection).
        """
        if self.ours is None or self.reasons:
            return self.verdict
        value = self.figure.value
        reach = max(0.2 * value, 0.03, 2 * (self.figure.spread or 0.0))
        low, high = max(value - reach, 0.0), min(value + reach, 1.0)
        return f"{'inside' if low <= self.ours <= high else 'outside'} band {low:.3f} to {high:.3f}"


def find_beside(records: Iterable[RunRecord]) -> list[Beside]:
    """Every published figure of the same method and contrast beside a record; any edition of its set."""
    return [
        Beside(
            record,
            figure,
            our_figure(record, figure.own_metric, figure.threshold),
            tuple(differences(record, figure)),
        )
        for record in records
        for figure in figures_of(record.method)
        if edition(figure.test) == edition(record.test) and figure.contrast == record.contrast
    ]


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
        text = f"{where} band: {self.ours:.3f}, expected {self.band.shown}"
        text += f" ({self.band.note})" if self.band.note else ""
        return text if not self.reasons else f"not comparable ({'; '.join(self.reasons)}); {text}"


def judge_record(record: RunRecord) -> list[Judgement]:
    """A record against every band of its method, test set and contrast."""
    found = []
    for band in read_bands():
        if (band.test, band.contrast) != (record.test, record.contrast):
            continue
        if band.method not in ("*", record.method):
            continue
        reasons = []
        if band.train not in (NONE, record.train):
            reasons.append(f"trained on {record.train or NONE}, the band is for {band.train}")
        if band.half_resolution and record.protocol != HALF_RESOLUTION:
            reasons.append(f"protocol {record.protocol}, the band is for half resolution ({HALF_RESOLUTION})")
        found.append(Judgement(band, our_figure(record, band.metric, band.threshold), tuple(reasons)))
    return found


# ---- sheets ------------------------------------------------------------------------------------

BESIDE_HEADERS = (
    "method", "variant", "grid", "trained on", "test", "contrast", "training setting", "metric", "threshold",
    "ours",
    "published", "difference", "verdict", "as printed", "status", "source",
)  # fmt: skip
BAND_HEADERS = (
    "method", "variant", "trained on", "test", "contrast", "metric", "threshold", "ours", "band", "verdict"
)  # fmt: skip
SPARE = {"source": 300, "status": 130, "training setting": 130}
NOTE = (
    "A difference means something only where the verdict is `comparable`: same training setting, test set, "
    "MR contrast, training cohort, resolution and threshold rule. Values of other editions of a challenge "
    "are shown and never comparable."
)


def write_sheets(records: Iterable[RunRecord]) -> list[Sheet]:
    """Published values beside ours, and ours against the bands; comparable ones first."""
    chosen = list(records)
    found = sorted(_over_seeds(find_beside(chosen)), key=lambda one: one.verdict != "comparable")
    note = NOTE if found else "Nothing is published of these methods on these test sets and contrasts."
    title, lines = "Published values beside ours", tuple(_line(one) for one in found)
    made = [Sheet(title, BESIDE_HEADERS, lines, (note,), spare=SPARE)]
    judged = tuple(_band_line(record, one) for record in chosen for one in judge_record(record))
    if judged:
        title = "Bands in which a correct re-implementation is expected"
        made.append(Sheet(title, BAND_HEADERS, judged))
    return made


def _over_seeds(found: Iterable[Beside]) -> list[Beside]:
    """One line for each figure and row of the leaderboard: ours is the mean over its seeds."""
    groups: dict[tuple[Any, ...], list[Beside]] = {}
    for one in found:
        r = one.record
        row = (r.method, r.variant, r.model_grid)
        key = (r.protocol, r.regime, r.train, r.test, r.contrast, *row, one.figure)
        groups.setdefault(key, []).append(one)
    return [replace(group[0], ours=mean_of_all([one.ours for one in group])) for group in groups.values()]


def _line(one: Beside) -> Line:
    """A published figure beside ours as text, under `BESIDE_HEADERS`."""
    r, figure = one.record, one.figure
    return (
        *(r.method, r.variant, r.model_grid, r.train or NONE, r.test, r.contrast, r.regime),
        *(figure.own_metric, figure.threshold, shown(one.ours), figure.shown),
        "" if one.difference is None else f"{one.difference:+.3f}",
        *(one.verdict, figure.place, figure.status, figure.source),
    )


def _band_line(record: RunRecord, one: Judgement) -> Line:
    """A record against a band as text, under `BAND_HEADERS`."""
    variant = f"{record.variant} seed {record.seed}"
    return (
        *(record.method, variant, record.train or NONE, record.test, record.contrast),
        *(one.band.metric, one.band.threshold, shown(one.ours), one.band.shown, one.verdict),
    )
