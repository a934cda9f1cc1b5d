"""Names in words: methods, data sets, training settings, and what a table says at a glance."""

import re
from collections.abc import Mapping, Sequence
from functools import cache

from uadbench.cards import DatasetCard, MethodCard, all_datasets, method_cards
from uadbench.protocol import protocol
from uadbench.report import families, formats, guests
from uadbench.report.cautions import cautions
from uadbench.report.leaderboard import Row, Table
from uadbench.report.numbers import between, rounded

SETTINGS = {
    "cross": "trained on healthy volunteers of another cohort",
    "within": "trained on lesion-free slices",
    "synthetic": "trained on synthetic contrasts",
    "none": "no healthy cohort",
    "implanted": "trained on healthy volunteers",
    "phantom": "trained on simulated controls",
}
KINDS = {"ms": "multiple sclerosis", "wmh": "white-matter hyperintensities", "healthy": "without lesions"}
SIMULATED = "Simulated brains: tests the software, says nothing about patients."
NAMED = 4  # rows that a sentence names; of more it gives the number
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_PLAIN = re.compile(r"^(?:The \w+ row of )?([^:]+): ")


@cache
def _methods() -> Mapping[str, MethodCard]:
    return method_cards()


@cache
def _datasets() -> Mapping[str, DatasetCard]:
    return all_datasets()[0]


def read_cards_anew() -> None:
    """Forget the cards that were read, which a page looks at thousands of times."""
    _methods.cache_clear()
    _datasets.cache_clear()


def method_card(name: str) -> MethodCard | None:
    """The card of a method, None where it is not here."""
    return _methods().get(name)


def dataset_card(name: str) -> DatasetCard | None:
    """The card of a data set, None where it is not here."""
    return _datasets().get(name)


def method_name(name: str) -> str:
    """A method in words, up to a bracket or a colon; its code name where it has no card."""
    card = method_card(name)
    return re.split(r": | \(", card.title, maxsplit=1)[0] if card else name


def family(name: str) -> str:
    """The family of a method."""
    card = method_card(name)
    return card.family if card else families.UNKNOWN


def cite(name: str) -> str:
    """First author and year of a method's paper; "this benchmark" where it has none."""
    card = method_card(name)
    if card is None:
        return ""
    authors = _PLAIN.match(card.paper)
    if authors is None or card.paper.startswith(("None", "Our own")):
        return "this benchmark"
    first, *others = authors[1].split(", ")
    joined = f"{first} and {others[0]}" if len(others) == 1 else f"{first} et al." if others else first
    year = _YEAR.search(card.paper.split(";")[0])
    return f"{joined} {year[0] if year else card.year}"


def is_simulated(table: Table) -> bool:
    """Whether a table is of simulated brains, and so no evidence about patients."""
    card = dataset_card(table.test)
    return table.regime == "phantom" or (card is not None and card.population == "synthetic")


def dataset_name(name: str) -> str:
    """A data set's name as its card writes it."""
    card = dataset_card(name)
    return card.title.split(":")[0] if card else name


def kinds(table: Table) -> str:
    """The kinds of lesion in a table, in words."""
    if table.regime == "implanted":
        return "implanted lesions"
    patients = (s for s in table.rows[0].records[0].subjects if s.partition == "lesion-test")
    found = sorted({KINDS.get(s.lesion_kind or "", s.lesion_kind or "lesions") for s in patients})
    return found[0] if len(found) == 1 else f"{len(found)} kinds of lesion" if found else "lesions"


def title(table: Table) -> str:
    """A table in words: what lesions, which contrast and data set, how it was trained for."""
    setting = SETTINGS.get(table.regime, table.regime)
    if table.regime == "within" and not protocol(table.protocol).flat:
        setting = "trained on its own healthy subjects"
    parts = [kinds(table), table.contrast, dataset_name(table.test), setting]
    if table.elsewhere:
        parts.append(f"{table.subjects.get('lesion-test', 0)} scans scored")
    text = ", ".join(parts)
    return text[0].upper() + text[1:]


def short(table: Table) -> str:
    """A table as the head of a column: data set and contrast."""
    return f"{dataset_name(table.test)}, {table.contrast}"


def row_name(row: Row, table: Table) -> str:
    """A row's method, with what tells it from other rows of the same method."""
    facts = [getattr(row, fact) for fact in table.told_apart_by.get(row.method, ())]
    return ", ".join([guests.marked(method_name(row.method), row.elsewhere), *facts])


def row_names(table: Table) -> list[str]:
    """The names of all rows."""
    return [row_name(row, table) for row in table.rows]


# ---- what a table says -------------------------------------------------------------------------


def persons(table: Table) -> int:
    """How many subjects with lesions were tested."""
    return len({s.person for s in table.rows[0].records[0].subjects if s.partition == "lesion-test"})


def people(table: Table) -> str:
    """Who the tested subjects are."""
    if is_simulated(table):
        return "simulated subjects"
    return "healthy subjects" if table.regime == "implanted" else "patients"


def with_interval(row: Row, column: str = "ap") -> str:
    """A row's value with its interval, in the digits that this allows."""
    found = row.interval(column)
    if found is None:
        return rounded(row.numbers[column])
    return f"{rounded(row.numbers[column], found.low, found.high)} {between(found.low, found.high)}"


def is_ranked(table: Table) -> bool:
    """Whether an order is claimed of the table's first row."""
    return any(row.standing is not None and row.standing.position is not None for row in table.rows[:1])


def leaders(table: Table) -> list[Row]:
    """The first row, and those not significantly different from it.

    Where no order is claimed these are the rows whose interval reaches into that of the first.
    """
    first = table.rows[0]
    if is_ranked(table):
        return [r for r in table.rows if r.standing is not None and r.standing.best]
    own = first.interval("ap")
    if own is None:
        return [first]
    return [row for row in table.rows if (found := row.interval("ap")) and found.high >= own.low]


def sentence(table: Table) -> str:
    """What leads, how surely, and on what data."""
    first = table.rows[0]
    ap = f"AP {with_interval(first)}"
    name = row_name(first, table)
    where = f"on {persons(table)} {people(table)} with {kinds(table)}"
    if table.sort != "ap":
        return f"{name} is first {where} by {table.sorted_by}; its {ap}."
    if not is_ranked(table):
        return f"{name} has the highest AP {where}, {ap.removeprefix('AP ')}; {_no_order(table)}."
    return f"{name} leads {where}, {ap}; {_apart(table, leaders(table)[1:])}."


def _apart(table: Table, others: Sequence[Row]) -> str:
    if not others:
        return "significantly ahead of every other method"
    if len(others) > NAMED:
        return f"not separable from {len(others)} other methods"
    names = [row_name(row, table) for row in others]
    together = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return f"not separable from {together}"


def _no_order(table: Table) -> str:
    """Why no order is claimed, and how many intervals reach into the first."""
    first = table.rows[0]
    if first.standing is None:
        return "without intervals no order is claimed"
    others = len(leaders(table)) - 1
    many = "s" if others > 1 else ""
    reach = f"the interval{many} of {others} other method{many} overlap{'' if many else 's'} it; "
    overlap = reach if others else ""
    others_are = any(row.standing and row.standing.position is not None for row in table.rows)
    return f"{overlap}{first.unranked}: no order is claimed{' of it' * others_are}"


def warnings(table: Table) -> list[str]:
    """The cautions of a table, less what its box of warning says."""
    return [said for said in cautions(table) if not said.startswith("The phantom tests")]


def notes(table: Table) -> list[str]:
    """What else a reader must know about a table."""
    said = cautions(table)
    return [note for note in formats.notes(table) if note not in said]
