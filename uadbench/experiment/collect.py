"""Collect: the records below a results folder, as far as they can be believed and each of them once.

A record counts at its own place: below the folder, or below any folder in it, so that the results of several
laboratories merge by copying. What cannot be read, lies elsewhere, or states figures that its pieces do not
give is named and left out; a copy is named and counted once.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from uadbench.cards import contrast_named
from uadbench.experiment import record
from uadbench.experiment.recompute import examine_figures
from uadbench.experiment.record import RunRecord, Stored
from uadbench.system.errors import UserError

Named = tuple[str, str]  # a file, and what is the matter with it


@dataclass(frozen=True)
class Collection:
    """The records that count, and every other with the reason why it does not."""

    records: tuple[Stored, ...] = ()
    bad: tuple[Named, ...] = ()  # damaged, out of place, or not consistent
    copies: tuple[Named, ...] = ()  # of a record that counts

    @property
    def left_out(self) -> tuple[Named, ...]:
        """Every file that does not count."""
        return (*self.bad, *self.copies)


def collect_records(results: Path, wanted: Callable[[RunRecord], bool] = lambda made: True) -> Collection:
    """The records of a folder that are wanted; whatever cannot be read at all is named in any case."""
    found = collect_readable(results)
    there = [stored for stored in found.records if wanted(stored.record)]
    with ThreadPoolExecutor() as pool:
        verdicts = list(pool.map(examine_figures, there))
    good, bad, copies = [], list(found.bad), list(found.copies)
    known: dict[object, Stored] = {}
    for stored, verdict in zip(there, verdicts, strict=True):
        if verdict.wrong:
            more = f" (and {len(verdict.wrong) - 1} more)" if len(verdict.wrong) > 1 else ""
            bad.append((_shown(stored.path, results), f"not shown: {verdict.wrong[0]}{more}"))
        elif first := _first_of(stored, [verdict.digest], known):
            copies.append(_copy(stored, first, results))
        else:
            known[verdict.digest] = stored
            good.append(stored)
    return Collection(tuple(good), tuple(sorted(bad)), tuple(sorted(copies)))


def collect_readable(results: Path) -> Collection:
    """Every record that can be read and lies at its place, each once; its figures are not looked at."""
    paths = record.paths_of_records(results)
    with ThreadPoolExecutor() as pool:  # most of the time is waiting for the disk
        read = list(pool.map(_read, paths))
    pairs = list(zip(paths, read, strict=True))
    bad = [(_shown(path, results), made) for path, made in pairs if isinstance(made, str)]
    stored = [Stored(made, path) for path, made in pairs if isinstance(made, RunRecord)]
    good, copies = [], []
    known: dict[object, Stored] = {}
    # Of several copies one whose maps were made here counts before others, then the one that lies least deep.
    for one in sorted(stored, key=_precedence):
        first = _first_of(one, _identities(one.record), known)
        if first is not None:
            copies.append(_copy(one, first, results))
        elif not one.in_place:
            bad.append((_shown(one.path, results), f"its facts say another place: {one.record.place}"))
        else:
            known |= dict.fromkeys(_identities(one.record), one)
            good.append(one)
    return Collection(tuple(good), tuple(sorted(bad)), tuple(sorted(copies)))


def _precedence(one: Stored) -> tuple[bool, bool, int, Path]:
    return not one.in_place, one.record.elsewhere is not None, len(one.path.parts), one.path


def _identities(made: RunRecord) -> Sequence[object]:
    """By which two files are one record: the same pieces, or the same run made twice."""
    run = (made.place, made.metric_version)
    scored = (made.score_hash, made.data_fingerprint, made.protocol, made.contrast, made.metric_version)
    return made.pieces.sha256, run, scored


def _first_of(stored: Stored, keys: Sequence[object], known: dict[object, Stored]) -> Stored | None:
    """The record of which this is a copy, if there is one."""
    first = next((known[key] for key in keys if key in known), None)
    if first is None or record.equal_presets(first.record, stored.record):
        return None
    return first


def _read(path: Path) -> RunRecord | str:
    try:
        return record.read_record(path)
    except UserError as error:
        return str(error).removeprefix(f"{path} ")


def _copy(stored: Stored, first: Stored, results: Path) -> Named:
    same = f"the same run or pieces as {_shown(first.path, results)}: counted once"
    return _shown(stored.path, results), same


def _shown(path: Path, results: Path) -> str:
    return path.relative_to(results).as_posix()


# ---- which records -----------------------------------------------------------------------------


def is_public(record: RunRecord) -> bool:
    """Whether a record belongs on a leaderboard: the preset `ci` is for the machinery only."""
    return record.preset != "ci"


def is_wanted(
    record: RunRecord,
    dataset: str | None,
    contrast: str | None,
    preset: str | None,
    methods: Sequence[str] | None = None,
) -> bool:
    """Whether a record is of what is asked for: test set, contrast, preset (else public), methods."""
    return (
        dataset in (None, record.test)
        and contrast_named(contrast or record.contrast).casefold() == record.contrast.casefold()
        and (record.preset == preset if preset else is_public(record))
        and (not methods or record.method in methods)
    )
