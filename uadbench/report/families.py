"""Families: the best and the median row of each family of methods on each kind of lesion.

The comparison that reviews of the field make, within one table of the leaderboard at a time: never across
regimes, protocols or test sets (protocol, rule 17).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from uadbench.cards import FAMILIES, method_cards
from uadbench.experiment.facts import Group
from uadbench.experiment.record import RunRecord
from uadbench.report import formats
from uadbench.report.leaderboard import Row, Table, mean_of_all
from uadbench.report.sheets import Line, Sheet

UNKNOWN = "unknown"
ALL = "all kinds"
# Colour and marker in every chart: colours of Okabe and Ito (jfly.uni-koeln.de/color), which colour-blind
# readers tell apart; markers, which a black-and-white print does.
STYLES: Mapping[str, tuple[str, str]] = {
    "baseline": ("#000000", "x"), "AE": ("#0072B2", "o"), "VAE": ("#56B4E9", "s"), "GAN": ("#CC79A7", "P"),
    "diffusion": ("#D55E00", "^"), "disentangled": ("#E69F00", "D"), "restoration": ("#009E73", "v"),
    "feature": ("#8C6D1F", "*"), "transformer": ("#5D3A9B", "X"), UNKNOWN: ("#777777", "."),
}  # fmt: skip
DASHES = (
    "solid", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 2)),
    (0, (2, 2)), (0, (1, 3)),
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """The rows of one family on one kind of lesion."""

    best: float  # AP
    method: str  # of the best
    median: float
    count: int

    @property
    def texts(self) -> tuple[str, str]:
        """The best and the median row."""
        return f"{formats.shown(self.best)} {self.method}", f"{formats.shown(self.median)} of {self.count}"


@dataclass(frozen=True)
class Comparison:
    """One table of the leaderboard by family and kind of lesion."""

    kinds: tuple[str, ...]
    families: tuple[str, ...]
    prevalence: Mapping[str, float | None]  # of each kind: the AP of random scores
    subjects: Mapping[str, int]
    cells: Mapping[tuple[str, str], Cell]  # by family and kind


def family_of_methods() -> dict[str, str]:
    """The family of every method that is here."""
    return {name: card.family for name, card in method_cards().items()}


def style_of(method: str) -> tuple[str, str]:
    """Colour and marker of a method's family."""
    return STYLES[family_of_methods().get(method, UNKNOWN)]


def compare_families(table: Table) -> Comparison:
    """A table of the leaderboard by family and kind; a method of no known family is `UNKNOWN`."""
    family_of = family_of_methods()
    groups = {kind: group for row in table.rows for kind, group in _kinds(row.records[0]).items()}
    found: dict[tuple[str, str], list[tuple[float, str, str]]] = {}
    for row in table.rows:
        for kind in (ALL, *_kinds(row.records[0])):
            ap = row.numbers["ap"] if kind == ALL else _ap_of_kind(row, kind)
            if ap is not None:
                family = family_of.get(row.method, UNKNOWN)
                found.setdefault((family, kind), []).append((-ap, row.method, row.variant))
    cells = {
        key: Cell(-min(rows)[0], min(rows)[1], median(-row[0] for row in rows), len(rows))
        for key, rows in found.items()
    }
    there = {family for family, _ in cells}
    kinds = tuple(sorted(groups))
    return Comparison(
        kinds=kinds if len(kinds) == 1 else (*kinds, ALL),  # one kind only: it is all there is
        families=tuple(family for family in (*FAMILIES, UNKNOWN) if family in there),
        prevalence={ALL: table.prevalence} | {kind: group.prevalence for kind, group in groups.items()},
        subjects={ALL: table.subjects.get("lesion-test", 0)}
        | {kind: group.subjects for kind, group in groups.items()},
        cells=cells,
    )


def _kinds(record: RunRecord) -> Mapping[str, Group]:
    headline = record.summary.profiles.get(record.headline)
    return {} if headline is None else headline.kinds


def _ap_of_kind(row: Row, kind: str) -> float | None:
    """Mean over the seeds of AP on a kind of lesion."""
    groups = [_kinds(record).get(kind) for record in row.records]
    return mean_of_all([None if group is None else group.ap for group in groups])


def write_sheet(table: Table, resamples: int = 0) -> Sheet:
    """By family: the best row with its AP, and the median of so many rows; nothing is resampled."""
    comparison, lines = compare_families(table), list[Line]()
    for family in comparison.families:
        cells = [comparison.cells.get((family, kind)) for kind in comparison.kinds]
        texts = [("", "") if cell is None else cell.texts for cell in cells]
        lines.append((family, "best", *[best for best, _ in texts]))
        lines.append((family, "median", *[middle for _, middle in texts]))
    counted = "; ".join(
        f"{kind} {comparison.subjects[kind]} scans, prevalence {formats.shown(comparison.prevalence[kind])}"
        for kind in comparison.kinds
    )
    note = (
        f"AP after `{table.headline}`. {counted}; the prevalence is the AP of random scores. "
        "The median is of the family's rows, each the mean of its seeds."
    )
    return formats.view(table, "by family", ("family", "row", *comparison.kinds), lines, note)
