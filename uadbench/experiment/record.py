"""Record: what one run leaves behind: a JSON file, and beside it the per-subject pieces.

The leaderboard is a pure function of records. A record is written whole or not at all: first the pieces, then
the JSON that names their hash. What is read is held against the types of `uadbench.experiment.facts`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from uadbench.experiment.facts import (
    Count,
    Digest,
    Elsewhere,
    Exclusion,
    Facts,
    Key,
    Name,
    Number,
    Option,
    Part,
    PiecesFile,
    Preparation,
    Setting,
    SplitRule,
    Stage,
    SubjectResult,
    Summary,
    Text,
    round_facts,
)
from uadbench.protocol import ALL_POINTS, GIVEN, OPERATING_POINTS
from uadbench.system.errors import UserError
from uadbench.system.files import open_file, sha256_file, write_json
from uadbench.system.text import all_visible, visible

SCHEMA = 2
ABLATIONS = "ablations"  # folder below the results whose records are no rows of the leaderboard
NOBODY = "none"  # in a path, and said to --train: no healthy cohort takes part
ELSEWHERE = "made-elsewhere"  # variant and preset of maps that are not ours, which every table shows
NONE_OF = "none of "  # before the name of a data set: the partition of who was left out of it altogether
LARGEST_BYTES = 64_000_000  # of a record's JSON; one of 1,251 scans has about 2,000,000
FAILED = ".failed.json"


class RunRecord(Facts, frozen=True, kw_only=True):
    """One method with one setting and one seed, trained on one cohort and tested on another."""

    schema: Count = SCHEMA
    protocol: Name
    metric_version: Count
    card_version: Count  # of the test set's card
    regime: Key
    train: Name | None  # the healthy cohort; of an untrained method it gives the thresholds alone
    trained: bool  # whether anything was learned from it
    test: Name
    contrast: Name
    train_contrasts: list[Name]
    method: Name
    variant: Name
    preset: Name
    model_grid: Name  # at which the maps were made
    headline: Name  # the profile by which the test set's tables rank
    seed: Count
    draws: Annotated[int, Meta(ge=1, le=10_000)] = 1  # of the score, where that is a matter of chance
    stochastic: bool = False
    limit: Count | None
    precision: Name
    parameters: dict[Key, Setting]
    n_parameters: Count
    splits: dict[Key, Part]  # by partition
    split: SplitRule = SplitRule()
    excluded: Annotated[list[Exclusion], Meta(max_length=100_000)]
    preparation: Preparation = Preparation()
    data_fingerprint: Digest  # hash of all prepared volumes
    fit_hash: Digest
    score_hash: Digest
    code: dict[Key, Option]
    packages: dict[Key, Text]
    hardware: dict[Key, Option]
    timing: dict[Key, Stage]
    subjects: Annotated[list[SubjectResult], Meta(max_length=100_000)]
    thresholds: dict[Key, dict[Key, Number | None]]  # by profile and operating point
    summary: Summary
    pieces: PiecesFile
    elsewhere: Elsewhere | None = None  # of maps that were not made here

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema is {self.schema}, expected {SCHEMA}")
        if all_visible(self.parameters) != self.parameters:
            raise ValueError("an option of the method holds control characters")

    @property
    def place(self) -> Path:
        """Path of the JSON below a results folder."""
        return place_record(
            self.protocol, self.train, self.test, self.contrast, self.method, self.variant, self.seed
        )

    @property
    def points(self) -> tuple[str, ...]:
        """Its operating points, in the order of the counts beside it; of masks there is one more."""
        return ALL_POINTS if self.of_masks else OPERATING_POINTS

    @property
    def of_masks(self) -> bool:
        """Whether masks were measured, not score maps: there are no thresholds and no AP then."""
        return any(GIVEN in known for known in self.thresholds.values())

    def rows(self, partition: str, kind: str | None = None) -> list[int]:
        """Row numbers of a partition, or of one lesion kind in it."""
        return [
            row
            for row, subject in enumerate(self.subjects)
            if subject.partition == partition and kind in (None, subject.lesion_kind)
        ]


def place_record(
    protocol: str, train: str | None, test: str, contrast: str, method: str, variant: str, seed: int
) -> Path:
    """Path of a record's JSON below a results folder."""
    pair = f"{train or NOBODY}-to-{test}"
    return Path(protocol, pair, contrast, method, variant, f"seed-{seed}.json")


@dataclass(frozen=True)
class Stored:
    """A record and where its JSON lies; its pieces lie beside that, wherever the folder was copied to."""

    record: RunRecord
    path: Path

    @property
    def pieces(self) -> Path:
        """The file of its pieces."""
        return self.path.with_name(self.record.pieces.file)

    @property
    def in_place(self) -> bool:
        """Whether its path ends as its facts say."""
        parts = self.record.place.parts
        return self.path.parts[-len(parts) :] == parts


def make_record(facts: Mapping[str, Any]) -> RunRecord:
    """A record of plain facts, rounded as it is written; control characters in texts are written out."""
    return msgspec.convert(round_facts(all_visible(facts)), RunRecord)


def typed_summary(facts: Mapping[str, Any]) -> Summary:
    """A summary of plain facts, rounded as it is written."""
    return msgspec.convert(round_facts(facts), Summary)


def plain(facts: msgspec.Struct) -> dict[str, Any]:
    """Typed facts as JSON holds them."""
    content: dict[str, Any] = msgspec.to_builtins(facts)
    return content


# What a clock or the machine says. Two runs of the same code and packages with the same seed and number of
# threads, on processors of one kind, are equal in all the rest: figures, hashes, pieces.
MEASUREMENTS = ("timing", "hardware")
# What two runs with the same seed may differ in when the code has been changed in between.
CIRCUMSTANCES = (*MEASUREMENTS, "packages", "code")


def equal_presets(one: RunRecord, other: RunRecord) -> bool:
    """Whether two records are of presets that set the same: both are rows, and neither is a copy."""
    run = (one.method, one.seed, one.train, one.model_grid, one.parameters)
    return one.preset != other.preset and run == (
        other.method, other.seed, other.train, other.model_grid, other.parameters,
    )  # fmt: skip


def without_measurements(record: RunRecord) -> dict[str, Any]:
    """All of a record that must not depend on when, where and how fast it was made."""
    return {key: value for key, value in plain(record).items() if key not in MEASUREMENTS}


# ---- files -------------------------------------------------------------------------------------


def write_record(record: RunRecord, results: Path) -> Path:
    """Write a record below the results folder, atomically; its pieces must be there already."""
    path = results / record.place
    write_json(path, plain(record))
    failure_path(path).unlink(missing_ok=True)
    return path


def read_record(path: Path) -> RunRecord:
    """Read a record and check that its pieces are those it was made with."""
    record = parse_record(path)
    pieces = Stored(record, path).pieces
    try:
        there = sha256_file(pieces)
    except OSError:
        there = ""
    if there != record.pieces.sha256:
        raise UserError(f"The pieces {pieces} are not those of {path.name}; restore both or run again.")
    return record


# Made once, before there are threads: msgspec looks through a type at its first use, and two threads that do
# so at a time end the process.
_DECODER = msgspec.json.Decoder(RunRecord)


def parse_record(path: Path) -> RunRecord:
    """Read a record's JSON; what is none is a UserError that says what came instead."""
    try:
        with open_file(path) as opened:
            content = opened.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; expected a record.") from error
    if len(content) > LARGEST_BYTES:
        raise UserError(f"{path} is no record: it has more than {LARGEST_BYTES // 10**6} MB.")
    try:
        return _DECODER.decode(content)
    except (ValueError, RecursionError) as error:  # msgspec's own are ValueErrors
        raise UserError(f"{path} {_what_came(content, error)}") from error


class _Version(msgspec.Struct):
    schema: int


def _what_came(content: bytes, error: Exception) -> str:
    """Why a file is no record, in words."""
    if not content.strip():
        return "is no record: the file is empty; run it again."
    try:
        version = msgspec.json.decode(content, type=_Version).schema
    except (ValueError, RecursionError):
        version = SCHEMA
    if version != SCHEMA:
        return f"has schema {version}, expected {SCHEMA}: run it again."
    return f"is no record of schema {SCHEMA}: {visible(str(error))[:300]}; restore it or run it again."


def paths_of_records(results: Path) -> list[Path]:
    """The files of records below a results folder, sorted; not those of ablations."""
    return [path for path in _below(results) if not path.name.endswith(FAILED)]


def read_records(results: Path) -> list[RunRecord]:
    """Every record below a results folder, in the order of their paths; one that is damaged is a UserError.

    `uadbench.experiment.collect` goes on past these, and counts no record twice.
    """
    return [read_record(path) for path in paths_of_records(results)]


def _below(results: Path) -> list[Path]:
    found = sorted(results.rglob("seed-*.json")) if results.is_dir() else []
    return [path for path in found if path.relative_to(results).parts[0] != ABLATIONS]


class Failure(msgspec.Struct, frozen=True):
    """Why a run failed, and the name of its log."""

    reason: Annotated[str, Meta(max_length=1_000_000)]
    log: Annotated[str, Meta(max_length=4000)] = ""


def failure_path(path: Path) -> Path:
    """Where a failed run is recorded, beside where its record would be."""
    return path.with_name(path.stem + FAILED)


def write_failure(path: Path, reason: str, log: str) -> None:
    """Record that a run failed, with the reason in words and the name of the log."""
    write_json(failure_path(path), {"reason": visible(reason), "log": log})


def read_failure(path: Path) -> str:
    """Why a run failed, or that its file is damaged."""
    try:
        with open_file(path) as opened:
            return visible(msgspec.json.decode(opened.read(LARGEST_BYTES), type=Failure).reason)
    except (OSError, ValueError, RecursionError):
        return visible(f"{path} does not say why the run failed: the file is damaged; delete it.")


def failures(results: Path) -> Iterator[tuple[Path, str]]:
    """Place and reason of every failed run below a results folder."""
    for path in _below(results):
        if path.name.endswith(FAILED):
            yield path.relative_to(results), read_failure(path)
