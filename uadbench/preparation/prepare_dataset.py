"""Prepare a whole data set, outside any run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from uadbench.cards import dataset_card
from uadbench.grids import grid as named_grid
from uadbench.plan import Machine, find
from uadbench.preparation import sheets
from uadbench.preparation.prepare import DEFAULTS, Failure, Options, prepare
from uadbench.prepared import Prepared
from uadbench.protocol import protocol
from uadbench.splits import balance, split
from uadbench.subject import LeftOut


@dataclass(frozen=True)
class Preparation:
    """What became of a data set: counts by contrast and grid, what failed or was left out, the split."""

    dataset: str
    counts: dict[tuple[str, str], int]
    failures: tuple[Failure, ...]
    flagged: tuple[Failure, ...]  # kept, and worth a look at the sheets
    sheets: tuple[Path, ...]
    left_out: tuple[LeftOut, ...]
    balance: dict[str, dict[str, object]]


def prepare_dataset(
    name: str,
    contrasts: Sequence[str],
    grids: Sequence[str],
    machine: Machine,
    options: Options = DEFAULTS,
) -> Preparation:
    """Prepare all subjects in the named contrasts (default: all there are) on the named grids."""
    card = dataset_card(name)
    rules = protocol(card.protocol)
    found = find(name, machine)
    there = [c for c in card.contrasts if any(c in subject.images for subject in found.subjects)]
    on = [rules.model_target(named_grid(g)) for g in grids] or [rules.grid]
    counts, failures, flagged, pages = {}, [], [], []
    for contrast in contrasts or there:
        subjects = found.with_contrast(contrast)
        for one in on:
            cache, workers = machine.places.cache, machine.workers
            cohort = prepare(subjects, contrast, one, card, cache, workers, machine.progress, options)
            counts[contrast, one.name] = len(cohort.prepared)
            failures += [failure for failure in cohort.failures if failure not in failures]
            flagged += [flag for flag in _flags(cohort.prepared) if flag not in flagged]
            place = machine.places.runs / "quality" / f"{name}-{contrast}-{one.name}.png"
            pages += sheets.draw(cohort.prepared, place)
    parts = split(found.subjects, card)
    return Preparation(
        name, counts, tuple(failures), tuple(flagged), tuple(pages), found.left_out, balance(parts)
    )


def _flags(prepared: Sequence[Prepared]) -> Iterator[Failure]:
    for item in prepared:
        for flag in item.facts["quality"]["flags"]:
            yield Failure(item.subject.id, item.contrast, flag)
