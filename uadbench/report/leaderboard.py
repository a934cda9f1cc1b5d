"""Leaderboard: tables made from records alone.

Records are ranked together only where a comparison means something: same protocol, regime, test set and
version of its card, contrast, metric version, headline profile, and the same patients scored (protocol, rule
17). Everything else is another table.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from uadbench.cards import dataset_card
from uadbench.evaluation.uncertainty import FEW_PERSONS
from uadbench.experiment.facts import Profile
from uadbench.experiment.record import NONE_OF, RunRecord, Stored
from uadbench.protocol import PROFILES, protocol
from uadbench.report.shortcut import Shortcut, control
from uadbench.report.statistics import FEWEST_SEEDS, Contender, Evidence, Standing, standings
from uadbench.system.errors import UserError
from uadbench.system.files import sha256_json


@dataclass(frozen=True)
class Column:
    """One number of a row: where it comes from in a record's summary, and what it means."""

    name: str
    title: str
    meaning: str
    main: bool = True  # shown on a narrow screen too


COLUMNS = (
    *[
        Column(
            f"ap_{profile}",
            f"AP {profile}",
            "average precision over all voxels"
            + (", of the map as the method emits it" if profile == "raw" else f", after `{profile}`"),
        )
        for profile in PROFILES
    ],
    Column("ap_unflagged", "AP unflagged", "the headline AP without the scans that preparation flagged"),
    Column("ap_mean", "AP mean", "mean over subjects of their own headline AP", main=False),
    Column("auroc", "AUROC", "over all voxels, after the headline profile", main=False),
    Column("dsc_oracle", "⌈DSC⌉", "Dice at the best single threshold on the test set: an oracle"),
    Column("dsc_val", "DSC val", "Dice at the threshold frozen on lesion-val", main=False),
    Column("dsc_fpr1", "DSC 1%", "Dice at 1 % false positives on healthy-val"),
    Column("dsc_fpr5", "DSC 5%", "Dice at 5 % false positives on healthy-val", main=False),
    Column("recall_fpr1", "recall 1%", "share of lesions found at 1 % false positives", main=False),
    Column("auroc_scan", "AUROC scan", "healthy-test against lesion-test scans, mean of their top 1 %"),
    Column("auroc_slice", "AUROC slice", "lesion-free against lesion slices of patients, by their top 1 %"),
)
HEADLINE_MARK = "←"  # behind the title of the headline profile's AP
SORTABLE = ("ap", *[column.name for column in COLUMNS])  # `ap`: of the headline profile


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
    excluded: tuple[tuple[str, int], ...] = ()  # reason, scans of the test set that it kept out
    standing: Standing | None = None  # how sure they are; None where the pieces were not asked
    unranked: str = ""  # why the row has no rank
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
        return "none" if self.train == "none" else f"none ({self.train})"

    @property
    def facts(self) -> tuple[str, str, str, str]:
        """What names the row: method, variant, model grid, and what was learned from."""
        return self.method, self.variant, self.model_grid, self.trained_on

    @property
    def excluded_count(self) -> int:
        """How many scans of the test set took no part."""
        return sum(count for _, count in self.excluded)

    def evidence(self, resamples: int) -> list[Evidence]:
        """The pieces of each seed."""
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
    persons: int  # with lesions
    prevalence: float | None
    rows: tuple[Row, ...]
    sort: str = "ap"
    shortcut: Shortcut | None = None  # the control of rule 14, where the records carry its statistics
    elsewhere: int = 0  # rows of the same test that scored other patients, in tables of their own

    @property
    def columns(self) -> tuple[Column, ...]:
        """Scans are told apart where there are healthy ones, else slices (rule 2)."""
        hidden = {"auroc_scan" if protocol(self.protocol).flat else "auroc_slice"}
        if all(row.numbers["ap_unflagged"] is None for row in self.rows):
            hidden.add("ap_unflagged")
        return tuple(self._marked(column) for column in COLUMNS if column.name not in hidden)

    def _marked(self, column: Column) -> Column:
        if column.name != f"ap_{self.headline}":
            return column
        return replace(column, title=f"{column.title} {HEADLINE_MARK}")

    @property
    def sorted_by(self) -> str:
        """The title of the column that the table is sorted by."""
        name = f"ap_{self.headline}" if self.sort == "ap" else self.sort
        return next((c.title for c in self.columns if c.name == name), f"AP {self.headline}")

    @property
    def title(self) -> str:
        """The table's name, in words."""
        name = f"{self.test} {self.contrast} · {self.regime} · {self.protocol}"
        if not self.elsewhere:
            return name
        return f"{name} · {self.subjects.get('lesion-test', 0)} scans scored ({self.scored})"


def numbers(record: RunRecord) -> dict[str, float | None]:
    """The leaderboard's columns of one record; of a headline profile that it lacks, there are none."""
    profiles = record.summary.profiles
    headline = profiles.get(record.headline)
    sliced = record.summary.slice
    return {
        "ap": None if headline is None else headline.ap,
        **{f"ap_{name}": profiles[name].ap if name in profiles else None for name in PROFILES},
        "ap_unflagged": None if headline is None or headline.unflagged is None else headline.unflagged.ap,
        "ap_mean": None if headline is None else headline.ap_mean,
        "auroc": None if headline is None else headline.auroc,
        **{f"dsc_{name}": _dice(headline, name) for name in ("oracle", "val", "fpr1", "fpr5")},
        "recall_fpr1": None
        if headline is None or "fpr1" not in headline.points
        else headline.points["fpr1"].recall,
        "auroc_scan": record.summary.scan.auroc,
        "auroc_slice": None if sliced is None else sliced.auroc_slice,
    }


def _dice(headline: Profile | None, point: str) -> float | None:
    return None if headline is None or point not in headline.points else headline.points[point].dsc


def scored(record: RunRecord) -> list[str]:
    """Ids of the lesion-test scans that were scored, sorted."""
    return sorted(f"{s.cohort}/{s.id}" for s in record.subjects if s.partition == "lesion-test")


def _test(record: RunRecord) -> tuple[Any, ...]:
    """What two records must share to be of one test (rule 17), whoever of it they scored."""
    return (
        record.protocol,
        record.regime,
        record.test,
        record.contrast,
        record.metric_version,
        record.card_version,
        record.headline,
    )


def tables(records: Iterable[Stored], sort: str = "ap", resamples: int = 0) -> list[Table]:
    """All tables of the records, the rows of each sorted by one column, best first.

    With resamples each row gets its `Standing` from its pieces; without, no row has a rank.
    """
    if sort not in SORTABLE:
        raise UserError(f"--sort expects one of {', '.join(SORTABLE)}, but '{sort}' came.")
    groups: dict[tuple[Any, ...], list[Stored]] = {}
    for stored in records:
        key = (*_test(stored.record), sha256_json(scored(stored.record)))
        groups.setdefault(key, []).append(stored)
    made = {key: _table(group, sort, resamples) for key, group in sorted(groups.items())}
    rows_of_test = Counter({key: len(table.rows) for key, table in made.items()})
    return [
        replace(table, scored=key[-1][:8], elsewhere=_of_test(rows_of_test, key) - len(table.rows))
        for key, table in made.items()
    ]


def _of_test(rows: Mapping[tuple[Any, ...], int], key: tuple[Any, ...]) -> int:
    return sum(count for other, count in rows.items() if other[:-1] == key[:-1])


def _table(group: Sequence[Stored], sort: str, resamples: int) -> Table:
    first = group[0].record
    by_row: dict[tuple[str, str, str, str], list[Stored]] = {}
    for one in group:
        r = one.record
        by_row.setdefault((r.method, r.variant, r.model_grid, r.train or "none"), []).append(one)
    persons = len({s.person for s in first.subjects if s.partition == "lesion-test"})
    made = [_row(seeds, persons) for seeds in by_row.values()]
    made.sort(key=lambda row: (row.numbers[sort] is None, -(row.numbers[sort] or 0.0), row.facts, row.train))
    made = _below_unranked(made)
    if resamples:
        contenders = [
            Contender(row.numbers, partial(row.evidence, resamples), not row.unranked) for row in made
        ]
        sure = standings(contenders, sort)
        made = [replace(row, standing=standing) for row, standing in zip(made, sure, strict=True)]
    profiles = first.summary.profiles
    return Table(
        protocol=first.protocol,
        regime=first.regime,
        test=first.test,
        contrast=first.contrast,
        metric_version=first.metric_version,
        card_version=first.card_version,
        headline=first.headline,
        split=first.splits["lesion-test"].hash[:8] if "lesion-test" in first.splits else "",
        scored="",
        subjects=first.summary.subjects,
        persons=persons,
        prevalence=(profiles.get("raw") or next(iter(profiles.values()))).prevalence,
        rows=tuple(made),
        sort=sort,
        shortcut=next((found for one in group if (found := control(one.record.subjects))), None),
    )


def _row(seeds: Sequence[Stored], persons: int) -> Row:
    ordered = tuple(sorted(seeds, key=lambda one: one.record.seed))
    first = ordered[0].record
    return Row(
        method=first.method,
        variant=first.variant,
        model_grid=first.model_grid,
        train=first.train or "none",
        seeds=tuple(one.record.seed for one in ordered),
        numbers=_mean([numbers(one.record) for one in ordered]),
        trained=first.trained,
        scored=len(scored(first)),
        excluded=tuple(sorted(exclusions(first).items())),
        unranked=_why_unranked(first, len({one.record.seed for one in ordered}), persons),
        stored=ordered,
    )


def exclusions(record: RunRecord) -> Counter[str]:
    """Of the test set: how many scans took no part, by reason."""
    of_test = ("lesion-test", f"{NONE_OF}{record.test}")
    return Counter(item.reason for item in record.excluded if item.partition in of_test)


FEW = f"fewer than {FEW_PERSONS} patients"
FEW_SEEDS = f"fewer than {FEWEST_SEEDS} seeds"
BELOW = "below a row without a rank"


def _why_unranked(record: RunRecord, seeds: int, persons: int) -> str:
    """Why no order is claimed of a row (rule 12); "" where it may be."""
    if persons < FEW_PERSONS:
        return FEW
    by_chance = record.trained or record.stochastic
    return FEW_SEEDS if by_chance and seeds < FEWEST_SEEDS else ""


def _below_unranked(rows: Sequence[Row]) -> list[Row]:
    """The rows, best first; below one of which no order is claimed no place is known either."""
    blocked = False
    made = []
    for row in rows:
        made.append(replace(row, unranked=BELOW) if blocked and not row.unranked else row)
        blocked |= bool(row.unranked)
    return made


def _mean(seeds: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Mean over seeds, None where a seed has no such number."""
    means: dict[str, float | None] = {}
    for name in SORTABLE:
        values = [seed[name] for seed in seeds]
        there = [value for value in values if value is not None]
        means[name] = sum(there) / len(there) if len(there) == len(values) else None
    return means


# ---- which records -----------------------------------------------------------------------------


def public(record: RunRecord) -> bool:
    """Whether a record belongs on a leaderboard: the preset `ci` is for the machinery only."""
    return record.preset != "ci"


@dataclass(frozen=True)
class Wanted:
    """Records of a test set, a contrast and a preset, each where one is asked for; else every public one."""

    dataset: str | None = None
    contrast: str | None = None
    preset: str | None = None

    def __post_init__(self) -> None:
        if self.dataset is not None:
            dataset_card(self.dataset)  # no such data set is a UserError

    def __call__(self, record: RunRecord) -> bool:
        """Whether a record is one of them."""
        return (
            self.dataset in (None, record.test)
            and (self.contrast or record.contrast).casefold() == record.contrast.casefold()
            and (record.preset == self.preset if self.preset else public(record))
        )
