"""Ranking: of which rows of a table an order is claimed, and why not of the others (protocol, rule 12)."""

from collections.abc import Sequence

from uadbench.cards import method_cards
from uadbench.evaluation import uncertainty
from uadbench.evaluation.uncertainty import FEW_PERSONS
from uadbench.experiment.record import RunRecord
from uadbench.report import guests
from uadbench.report.standings import FEWEST_SEEDS, Kept

CHANCE = "random"  # the method that a trained row has to beat, where the table has it
FEW = f"fewer than {FEW_PERSONS} patients"
FEW_SEEDS = f"fewer than {FEWEST_SEEDS} seeds"
BELOW = "below a row without a rank"
UNTRAINED = "not trained enough to judge"


def why_unranked(record: RunRecord, seeds: int, persons: int) -> str:
    """Why no order is claimed of a row; "" where it may be."""
    if persons < FEW_PERSONS:
        return FEW
    if record.of_masks:
        return "masks have no AP"
    if guests.is_unstated(record):
        return "made elsewhere, and what they were trained on is not stated"
    by_chance = record.trained or record.stochastic
    return FEW_SEEDS if by_chance and seeds < FEWEST_SEEDS else ""


def after_those_without_rank(reasons: Sequence[str], methods: Sequence[str]) -> list[str]:
    """The reasons of rows, best first; below one of which no order is claimed no place is known either.

    A row whose method has a rank by another row takes none from others: methods are ranked, each by the rows
    that suffice for it.
    """
    there = list(zip(reasons, methods, strict=True))
    first, before = len(there), -1
    while first != before:  # a rank that is lost may have been what a row above relied on
        before = first
        ranked = {method for reason, method in there[:first] if not reason}
        stands = (reason and method not in ranked for reason, method in there[:first])
        first = next((place for place, alone in enumerate(stands) if alone), first)
    return [reason or (BELOW if place > first else "") for place, reason in enumerate(reasons)]


def is_learned(method: str, trained: bool) -> bool:
    """Whether a row could learn more: a fitted baseline, such as a mean of healthy maps, could not."""
    card = method_cards().get(method)
    return trained and (card is None or card.family != "baseline")


def is_shown_to_beat(row: Kept, chance: Kept) -> bool:
    """Whether the interval of the paired difference from the row of random scores lies above 0.

    True as well where the two were made of other subjects, or nothing was resampled: nothing is known then.
    """
    if row.column is None or chance.column is None or row.ids != chance.ids:
        return True
    return uncertainty.difference(row.column, chance.column)[0].low > 0
