"""Collect: the records below a results folder, as far as they can be believed and each of them once.

A record counts at its own place: below the folder, or below any folder in it, so that the results of several
laboratories merge by copying. What cannot be read, lies elsewhere, or states figures that its pieces do not
give is named and left out; a copy is named and counted once.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from uadbench.experiment import record
from uadbench.experiment.recompute import examined
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


def collect(results: Path, wanted: Callable[[RunRecord], bool] = lambda made: True) -> Collection:
    """The records of a folder that are wanted; whatever cannot be read at all is named in any case."""
    found = read_all(results)
    there = [stored for stored in found.records if wanted(stored.record)]
    with ThreadPoolExecutor() as pool:
        verdicts = list(pool.map(_examined, there))
    good, bad, copies = [], list(found.bad), list(found.copies)
    first_of: dict[str, Stored] = {}
    for stored, (wrong, digest) in zip(there, verdicts, strict=True):
        if wrong:
            bad.append((_shown(stored.path, results), _few(wrong)))
        elif (
            (first := first_of.setdefault(digest, stored)) is not stored
            and not record.equal_presets(first.record, stored.record)
        ):  # fmt: skip
            copies.append(_copy(stored, first, results))
        else:
            good.append(stored)
    return Collection(tuple(good), tuple(sorted(bad)), tuple(sorted(copies)))


def read_all(results: Path) -> Collection:
    """Every record that can be read and lies at its place, each once; its figures are not looked at."""
    paths = record.paths_of_records(results)
    with ThreadPoolExecutor() as pool:  # most of the time is waiting for the disk
        read = list(pool.map(_read, paths))
    pairs = list(zip(paths, read, strict=True))
    bad = [(_shown(path, results), made) for path, made in pairs if isinstance(made, str)]
    stored = [Stored(made, path) for path, made in pairs if isinstance(made, RunRecord)]
    # Of several copies the one that lies least deep counts.
    in_place = sorted(filter(is_in_place, stored), key=lambda one: (len(one.path.parts), one.path))
    good, copies = [], []
    first_of: dict[object, Stored] = {}
    for one in [*in_place, *(one for one in stored if not is_in_place(one))]:
        first = next((first_of[key] for key in _identities(one.record) if key in first_of), None)
        if first is not None and record.equal_presets(first.record, one.record):
            first = None
        if first is not None:
            copies.append(_copy(one, first, results))
        elif not is_in_place(one):
            bad.append((_shown(one.path, results), f"its facts say another place: {one.record.place}"))
        else:
            first_of |= dict.fromkeys(_identities(one.record), one)
            good.append(one)
    return Collection(tuple(good), tuple(sorted(bad)), tuple(sorted(copies)))


def is_in_place(stored: Stored) -> bool:
    """Whether the path of a record ends as its facts say."""
    parts = stored.record.place.parts
    return stored.path.parts[-len(parts) :] == parts


def _identities(made: RunRecord) -> Sequence[object]:
    """By which two files are one record: the same pieces, or the same run made twice."""
    run = (made.place, made.metric_version)
    scored = (made.score_hash, made.data_fingerprint, made.protocol, made.contrast, made.metric_version)
    return made.pieces.sha256, run, scored


def _read(path: Path) -> RunRecord | str:
    try:
        return record.read(path)
    except UserError as error:
        return str(error).removeprefix(f"{path} ")


def _examined(stored: Stored) -> tuple[Sequence[str], str]:
    try:
        verdict = examined(stored)
    except UserError as error:
        return [str(error)], ""
    return verdict.wrong, verdict.digest


def _copy(stored: Stored, first: Stored, results: Path) -> Named:
    same = f"the same run or pieces as {_shown(first.path, results)}: counted once"
    return _shown(stored.path, results), same


def _shown(path: Path, results: Path) -> str:
    return path.relative_to(results).as_posix()


def _few(reasons: Sequence[str]) -> str:
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"not shown: {reasons[0]}{more}"
