"""Prepare a whole data set, outside any run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from uadbench.cards import contrast_of, dataset_card
from uadbench.data.prepared import Prepared
from uadbench.data.session import LeftOut, Remark
from uadbench.data.splits import check_subjects, count_balance, list_path, split_sessions, write_list
from uadbench.experiment.config import Runtime, find_dataset
from uadbench.preprocessing import contact_sheets, extract
from uadbench.preprocessing.duplicates import find_copies
from uadbench.preprocessing.prepare import Failure, count_ways, prepare
from uadbench.preprocessing.prepare_scan import DEFAULTS, Options
from uadbench.protocol import protocol


@dataclass(frozen=True)
class Preparation:
    """What became of a data set: counts by contrast and grid, what failed or was left out, the split."""

    dataset: str
    counts: dict[tuple[str, str], int]
    brains: dict[tuple[str, str], dict[str, int]]  # how many brain masks were found in which way
    failures: tuple[Failure, ...]
    flagged: tuple[Failure, ...]  # kept, and worth a look at the sheets
    sheets: tuple[Path, ...]
    left_out: tuple[LeftOut, ...]
    remarks: tuple[Remark, ...]
    balance: dict[str, dict[str, object]]
    split_list: Path


def prepare_dataset(
    name: str,
    contrasts: Sequence[str],
    grids: Sequence[str],
    runtime: Runtime,
    options: Options = DEFAULTS,
) -> Preparation:
    """Prepare all subjects in the named contrasts (default: all there are) on the named grids."""
    card = dataset_card(name)
    rules = protocol(card.protocol)
    wanted = [contrast_of(card, contrast) for contrast in contrasts]
    on = [rules.model_target(g) for g in grids] or [rules.grid]
    extract.check_extractor(options.extractor)
    found = find_dataset(name, runtime)
    there = [c for c in card.contrasts if any(c in session.images for session in found.sessions)]
    counts, brains, failures, flagged, pages = {}, {}, [], [], []
    for contrast in wanted or there:
        sessions = found.with_contrast(contrast)
        for one in on:
            cache, workers = runtime.paths.cache, runtime.workers
            cohort = prepare(sessions, contrast, one, card, cache, workers, runtime.progress, options)
            twins = find_copies({"": cohort.prepared}).get("", [])
            lost = {twin.subject_id for twin in twins}
            usable = [item for item in cohort.prepared if item.session.id not in lost]
            counts[contrast, one.name] = len(usable)
            brains[contrast, one.name] = count_ways(usable)
            failures += [failure for failure in (*cohort.failures, *twins) if failure not in failures]
            flagged += [flag for flag in _flags(usable) if flag not in flagged]
            label = f"-{options.label}" if options.label else ""
            place = runtime.paths.runs / "quality" / f"{name}-{contrast}-{one.name}{label}.png"
            pages += contact_sheets.draw_sheets(cohort.prepared, place)
    parts = split_sessions(found.sessions, card)
    check_subjects(parts)
    lists = runtime.paths.runs / "splits"
    write_list(found.sessions, found.left_out, card, lists)
    return Preparation(
        dataset=name,
        counts=counts,
        brains=brains,
        failures=tuple(failures),
        flagged=tuple(flagged),
        sheets=tuple(pages),
        left_out=tuple(item for item in found.left_out if item.contrast in {None, *(contrasts or there)}),
        remarks=found.remarks,
        balance=count_balance(parts),
        split_list=list_path(card, lists),
    )


def _flags(prepared: Sequence[Prepared]) -> Iterator[Failure]:
    """The flags of every scan once: the lesion-free slices of a stack have those of the stack."""
    whole = {(item.session.subject, item.session.label) for item in prepared if item.session.slices == "all"}
    for item in prepared:
        if item.session.slices != "all" and (item.session.subject, item.session.label) in whole:
            continue
        for flag in item.facts["quality"]["flags"]:
            yield Failure(item.session.id, item.contrast, flag)
