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
from uadbench.report import leaderboard as board
from uadbench.report.listing import Listing

UNKNOWN = "unknown"
ALL = "all kinds"


@dataclass(frozen=True)
class Member:
    """A row on one kind of lesion."""

    row: board.Row
    ap: float


@dataclass(frozen=True)
class Cell:
    """The rows of one family on one kind of lesion, best first."""

    family: str
    kind: str
    members: tuple[Member, ...]

    @property
    def best(self) -> Member:
        """The row with the highest AP."""
        return self.members[0]

    @property
    def median(self) -> float:
        """The median AP of the rows."""
        return median(member.ap for member in self.members)


@dataclass(frozen=True)
class Comparison:
    """One table of the leaderboard by family and kind of lesion."""

    table: board.Table
    kinds: tuple[str, ...]
    prevalence: Mapping[str, float | None]  # of each kind: the AP of random scores
    subjects: Mapping[str, int]
    cells: Mapping[tuple[str, str], Cell]  # by family and kind

    @property
    def families(self) -> list[str]:
        """The families that have rows, in the order of the cards."""
        there = {family for family, _ in self.cells}
        return [family for family in (*FAMILIES, UNKNOWN) if family in there]


def by_method() -> dict[str, str]:
    """The family of every method that is here."""
    return {name: card.family for name, card in method_cards().items()}


def comparison(table: board.Table, family_of: Mapping[str, str]) -> Comparison:
    """A table of the leaderboard by family and kind; a method of no known family is `UNKNOWN`."""
    prevalence: dict[str, float | None] = {ALL: table.prevalence}
    subjects = {ALL: table.subjects.get("lesion-test", 0)}
    members: dict[tuple[str, str], list[Member]] = {}
    for row in table.rows:
        of_row = [_kinds(record) for record in row.records]
        for kind in {ALL: None, **of_row[0]} if of_row else ():
            if kind == ALL:
                ap = row.numbers["ap"]
            else:
                facts = [one[kind] for one in of_row if kind in one]
                prevalence[kind], subjects[kind] = facts[0].prevalence, facts[0].subjects
                values = [one.ap for one in facts if one.ap is not None]
                ap = sum(values) / len(values) if len(values) == len(of_row) else None
            if ap is not None:
                members.setdefault((family_of.get(row.method, UNKNOWN), kind), []).append(Member(row, ap))
    cells = {
        key: Cell(*key, tuple(sorted(rows, key=lambda m: (-m.ap, m.row.method, m.row.variant))))
        for key, rows in members.items()
    }
    kinds = tuple(sorted(kind for kind in prevalence if kind != ALL))
    # One kind only: it is all there is.
    return Comparison(table, kinds if len(kinds) == 1 else (*kinds, ALL), prevalence, subjects, cells)


def _kinds(record: RunRecord) -> Mapping[str, Group]:
    headline = record.summary.profiles.get(record.headline)
    return {} if headline is None else headline.kinds


def listing(comparison: Comparison) -> Listing:
    """By family: the best row with its AP, and the median of so many rows."""
    lines = []
    for family in comparison.families:
        for what in ("best", "median"):
            line = [family, what]
            for kind in comparison.kinds:
                cell = comparison.cells.get((family, kind))
                if cell is None:
                    line.append("")
                elif what == "best":
                    line.append(f"{formats.shown(cell.best.ap)} {cell.best.row.method}")
                else:
                    line.append(f"{formats.shown(cell.median)} of {len(cell.members)}")
            lines.append(tuple(line))
    counted = "; ".join(
        f"{kind} {comparison.subjects[kind]} scans, prevalence {formats.shown(comparison.prevalence[kind])}"
        for kind in comparison.kinds
    )
    return Listing(
        f"{comparison.table.title}: by family",
        ("family", "row", *comparison.kinds),
        tuple(lines),
        (
            f"AP after `{comparison.table.headline}`. {counted}; the prevalence is the AP of random scores. "
            "The median is of the family's rows, each the mean of its seeds.",
        ),
        formats.cautions(comparison.table),
    )
