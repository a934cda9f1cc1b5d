"""Prepare a whole data set, outside any run."""

from collections.abc import Sequence
from dataclasses import dataclass

from uadbench.cards import dataset_card
from uadbench.grids import grid as named_grid
from uadbench.plan import Machine, find
from uadbench.prepare import Failure, prepare
from uadbench.protocol import protocol
from uadbench.splits import balance, split
from uadbench.subject import LeftOut


@dataclass(frozen=True)
class Preparation:
    """What became of a data set: counts by contrast and grid, failures, who was left out, the split."""

    dataset: str
    counts: dict[tuple[str, str], int]
    failures: tuple[Failure, ...]
    left_out: tuple[LeftOut, ...]
    balance: dict[str, dict[str, object]]


def prepare_dataset(
    name: str, contrasts: Sequence[str], grids: Sequence[str], machine: Machine
) -> Preparation:
    """Prepare all subjects in the named contrasts (default: all there are) on the named grids."""
    card = dataset_card(name)
    found = find(name, machine)
    there = [c for c in card.contrasts if any(c in subject.images for subject in found.subjects)]
    on = [named_grid(g) for g in grids] or [protocol(card.protocol).grid]
    counts, failures = {}, []
    for contrast in contrasts or there:
        subjects = found.with_contrast(contrast)
        for one in on:
            cohort = prepare(
                subjects, contrast, one, card, machine.places.cache, machine.workers, machine.progress
            )
            counts[contrast, one.name] = len(cohort.prepared)
            failures += [failure for failure in cohort.failures if failure not in failures]
    parts = split(found.subjects, card)
    return Preparation(name, counts, tuple(failures), found.left_out, balance(parts))
