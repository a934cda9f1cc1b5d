"""Leaderboard: tables made from records alone.

Records are ranked together only where a comparison means something: same protocol, regime, test set and
version of its card, contrast, metric version, headline profile, and the same patients scored (protocol, rule
17). Everything else is another table.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from uadbench.evaluation.uncertainty import Interval
from uadbench.experiment.record import NONE_OF, RunRecord, Stored
from uadbench.protocol import GIVEN, PROFILES, protocol
from uadbench.report import guests, ranking
from uadbench.report.columns import BY_NAME, SORTABLE, STANDARD, figure_of
from uadbench.report.columns import COLUMNS as COLUMNS
from uadbench.report.columns import Column as Column
from uadbench.report.evidence import SAME_TEST, Evidence
from uadbench.report.shortcut import control_shortcut
from uadbench.report.standings import Kept, Standing, keep_resamples, standings
from uadbench.system.errors import check_choice
from uadbench.system.files import sha256_json

HEADLINE_MARK = "←"  # behind the title of the headline profile's AP
IN_SUMMARY = (*[column.name for column in COLUMNS if column.figure is None], "recall_fpr1")
TELLING = ("variant", "model_grid", "trained_on")  # facts by which rows of one method differ
DICE_POINTS = ("oracle", "val", "fpr1", "fpr5", GIVEN)


@dataclass(frozen=True)
class Row:
    """One method with one setting, its numbers averaged over seeds."""

    method: str
    variant: str
    model_grid: str  # at which its maps were made
    train: str  # the healthy cohort; of an untrained method it gives the thresholds alone
    seeds: tuple[int, ...]
    numbers: Mapping[str, float | None]
    trained: bool = True
    scored: int = 0  # lesion-test scans
    elsewhere: bool = False  # the maps were not made here
    excluded: tuple[tuple[str, int], ...] = ()  # reason, scans of the test set that it kept out
    standing: Standing | None = None  # how sure they are; None where nothing was resampled
    unranked: str = ""  # why the row has no rank
    of_seeds: tuple[Mapping[str, float | None], ...] = ()  # `numbers` of each seed
    stored: tuple[Stored, ...] = field(default=(), compare=False, repr=False)  # one for each seed

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """The record of each seed."""
        return tuple(one.record for one in self.stored)

    @property
    def trained_on(self) -> str:
        """What was learned from, in words; in brackets the cohort whose healthy scans give thresholds."""
        if self.trained:
            return self.train
        if any(map(guests.is_unstated, self.records)):
            return "not stated"
        return "none" if self.train == "none" else f"none ({self.train})"

    @property
    def facts(self) -> tuple[str, str, str, str]:
        """What names the row: method, variant, model grid, and what was learned from."""
        marked = guests.marked(self.method, self.elsewhere)
        return marked, self.variant, self.model_grid, self.trained_on

    @property
    def excluded_count(self) -> int:
        """How many scans of the test set took no part."""
        return sum(count for _, count in self.excluded)

    @property
    def few(self) -> bool:
        """Whether its intervals are from fewer than 20 subjects."""
        return self.standing is not None and self.standing.few

    def interval(self, column: str) -> Interval | None:
        """The interval of a column; None where there is none."""
        return None if self.standing is None else self.standing.intervals.get(column)

    def evidence(self, resamples: int) -> list[Evidence]:
        """The per-subject score histograms of each seed, with so many resamples."""
        return [Evidence(one, resamples) for one in self.stored]


@dataclass(frozen=True)
class Table:
    """Rows that may be ranked together, best first."""

    protocol: str
    regime: str
    test: str
    contrast: str
    metric_version: int
    card_version: int
    headline: str  # the profile that is ranked by
    split: str  # first characters of the hash of lesion-test as it was planned
    scored: str  # first characters of the hash of who of it was scored
    subjects: Mapping[str, int]
    prevalence: float | None
    rows: tuple[Row, ...]
    sort: str = "ap"
    shortcut: Interval | None = None  # AUROC of the control of rule 14, where records have its statistics
    elsewhere: int = 0  # rows of the same test that scored other patients, in tables of their own
    chosen: tuple[str, ...] = STANDARD  # names of columns

    @cached_property
    def told_apart_by(self) -> Mapping[str, tuple[str, ...]]:
        """The facts that tell the rows of one method apart, by method; looked up for every row shown."""
        of_method: dict[str, list[Row]] = {}
        for row in self.rows:
            of_method.setdefault(row.method, []).append(row)
        return {
            method: tuple(f for f in TELLING if len({getattr(row, f) for row in rows}) > 1)
            for method, rows in of_method.items()
        }

    @property
    def columns(self) -> tuple[Column, ...]:
        """Scans are told apart where there are healthy ones, else slices (rule 2).

        Of the standard columns those are left out that no row has and that are made of the histograms.
        """
        hidden = {"auroc_scan" if protocol(self.protocol).flat else "auroc_slice"}
        for name in self.chosen if self.chosen == STANDARD else ():
            made = name == "ap_unflagged" or BY_NAME[name].figure is not None
            if made and all(row.numbers.get(name) is None for row in self.rows):
                hidden.add(name)
        of_masks = [name for name in self.chosen if name.endswith(f"_{GIVEN}")]
        hidden |= {name for name in of_masks if all(row.numbers.get(name) is None for row in self.rows)}
        marked = {f"ap_{self.headline}": f" {HEADLINE_MARK}"}
        return tuple(
            replace(column, title=column.title + marked.get(column.name, ""))
            for column in map(BY_NAME.__getitem__, self.chosen)
            if column.name not in hidden
        )

    @property
    def sort_column(self) -> Column:
        """The column that the table is sorted by."""
        return BY_NAME[f"ap_{self.headline}" if self.sort == "ap" else self.sort]

    @property
    def sorted_by(self) -> str:
        """The title of the column that the table is sorted by."""
        titles = {column.name: column.title for column in self.columns}
        return titles.get(self.sort_column.name, self.sort_column.title)

    @property
    def title(self) -> str:
        """The table's name, in words."""
        name = f"{self.test} {self.contrast} · {self.regime} · {self.protocol}"
        if not self.elsewhere:
            return name
        return f"{name} · {self.subjects.get('lesion-test', 0)} scans scored ({self.scored})"


def numbers(record: RunRecord) -> dict[str, float | None]:
    """The columns that a record's summary has; of a headline profile that it lacks, there are none."""
    profiles, sliced = record.summary.profiles, record.summary.slice
    found: dict[str, float | None] = dict.fromkeys(("ap", *IN_SUMMARY))
    found |= {f"ap_{name}": profiles[name].ap for name in PROFILES if name in profiles}
    found["auroc_scan"] = record.summary.scan.auroc
    found["auroc_slice"] = None if sliced is None else sliced.auroc_slice
    headline = profiles.get(record.headline)
    if headline is not None:
        found |= {"ap": headline.ap, "ap_mean": headline.ap_mean, "auroc": headline.auroc}
        found["ap_unflagged"] = None if headline.unflagged is None else headline.unflagged.ap
        found |= {f"dsc_{name}": point.dsc for name, point in headline.points.items() if name in DICE_POINTS}
        found["recall_fpr1"] = headline.points["fpr1"].recall if "fpr1" in headline.points else None
    return found


def scored(record: RunRecord) -> list[str]:
    """Ids of the lesion-test scans that were scored, sorted."""
    return sorted(f"{s.cohort}/{s.id}" for s in record.subjects if s.partition == "lesion-test")


def tables(
    records: Iterable[Stored], sort: str = "ap", resamples: int = 0, columns: Sequence[str] = ()
) -> list[Table]:
    """All tables of the records, the rows of each sorted by one column, best first.

    With resamples each row gets its `Standing` from its score histograms; without, no row has a rank.
    `columns`: names as `choose_columns` gives them; with neither, only what stands in the summaries is shown.
    """
    check_choice("--sort", sort, SORTABLE)
    chosen = tuple(columns) or STANDARD
    shown = (*(chosen if columns or resamples else ()), sort)
    further = [name for name in BY_NAME if name in shown and name not in IN_SUMMARY]
    groups: dict[tuple[Any, ...], list[Stored]] = {}
    for stored in records:
        key = (*[getattr(stored.record, name) for name in SAME_TEST], sha256_json(scored(stored.record)))
        groups.setdefault(key, []).append(stored)
    groups = guests.seat_guests(groups)
    made = {key: _table(group, sort, resamples, further) for key, group in sorted(groups.items())}
    rows_of_test: Counter[tuple[Any, ...]] = Counter()
    for key, table in made.items():
        rows_of_test[key[:-1]] += len(table.rows)
    return [
        replace(table, chosen=chosen, scored=key[-1][:8], elsewhere=rows_of_test[key[:-1]] - len(table.rows))
        for key, table in made.items()
    ]


def _table(group: Sequence[Stored], sort: str, resamples: int, further: Sequence[str]) -> Table:
    first = group[0].record
    by_row: dict[tuple[str, str, str, str], list[Stored]] = {}
    for one in group:
        r = one.record
        by_row.setdefault((r.method, r.variant, r.model_grid, r.train or "none"), []).append(one)
    persons = len({s.person for s in first.subjects if s.partition == "lesion-test"})
    judged = [_judged(seeds, persons, sort, resamples, further) for seeds in by_row.values()]
    judged.sort(key=lambda one: _place(one[0], sort))
    made, kept = [row for row, _ in judged], [own for _, own in judged if own is not None]
    reasons = ranking.after_those_without_rank(_reasons(made, kept), [row.method for row in made])
    made = [replace(row, unranked=reason) for row, reason in zip(made, reasons, strict=True)]
    if resamples:
        sure = standings(kept, [not row.unranked for row in made])
        made = [replace(row, standing=standing) for row, standing in zip(made, sure, strict=True)]
    profiles = first.summary.profiles
    return Table(
        **{name: getattr(first, name) for name in SAME_TEST},
        split=first.splits["lesion-test"].hash[:8] if "lesion-test" in first.splits else "",
        scored="",
        subjects=first.summary.subjects,
        prevalence=(profiles.get("raw") or next(iter(profiles.values()))).prevalence,
        rows=tuple(made),
        sort=sort,
        shortcut=next((found for one in group if (found := control_shortcut(one.record.subjects))), None),
    )


def _reasons(rows: Sequence[Row], kept: Sequence[Kept]) -> list[str]:
    """Why each row has no rank; a learned one that does not beat random scores cannot be judged yet."""
    chance = [own for row, own in zip(rows, kept, strict=False) if row.method == ranking.CHANCE]
    weak = {
        row.facts
        for row, own in zip(rows, kept, strict=False)
        if ranking.is_learned(row.method, row.trained)
        and not all(ranking.is_shown_to_beat(own, one) for one in chance)
    }
    return [ranking.UNTRAINED if row.facts in weak else row.unranked for row in rows]


def _place(row: Row, sort: str) -> tuple[Any, ...]:
    """By which rows are sorted: the highest first, those without the figure last."""
    return row.numbers[sort] is None, -(row.numbers[sort] or 0.0), row.facts, row.train


def _judged(
    seeds: Sequence[Stored], persons: int, sort: str, resamples: int, further: Sequence[str]
) -> tuple[Row, Kept | None]:
    """A row with what its standing needs, where resamples are asked for: what lies beside it is read once."""
    evidence = [Evidence(one, resamples) for one in sorted(seeds, key=lambda one: one.record.seed)]
    row = _row(evidence, persons, further)
    return row, keep_resamples(evidence, row.numbers, sort, further) if resamples else None


def _row(seeds: Sequence[Evidence], persons: int, further: Sequence[str]) -> Row:
    ordered = tuple(one.stored for one in seeds)
    first = ordered[0].record
    of_seeds = [numbers(one.record) | (_further(one, further) if further else {}) for one in seeds]
    return Row(
        **{name: getattr(first, name) for name in ("method", "variant", "model_grid", "trained")},
        train=first.train or "none",
        seeds=tuple(one.record.seed for one in ordered),
        numbers={name: mean_of_all([one[name] for one in of_seeds]) for name in of_seeds[0]},
        of_seeds=tuple(of_seeds),
        elsewhere=first.elsewhere is not None,
        scored=len(scored(first)),
        excluded=tuple(sorted(exclusions(first).items())),
        unranked=ranking.why_unranked(first, len({one.record.seed for one in ordered}), persons),
        stored=ordered,
    )


def _further(evidence: Evidence, names: Sequence[str]) -> dict[str, float | None]:
    """Columns that are made of what lies beside a record."""
    found = {name: figure_of(name, evidence) for name in names if BY_NAME[name].figure}
    return {name: None if one is None else one.value for name, one in found.items()}


def exclusions(record: RunRecord) -> Counter[str]:
    """Of the test set: how many scans took no part, by reason."""
    of_test = ("lesion-test", f"{NONE_OF}{record.test}")
    return Counter(item.reason for item in record.excluded if item.partition in of_test)


def mean_of_all(values: Sequence[float | None]) -> float | None:
    """The mean, None where a value is."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there and len(there) == len(values) else None
