"""Record: what one run leaves behind: a JSON file, and beside it the per-subject pieces.

The leaderboard is a pure function of records. A record is written whole or not at all: first the
pieces, then the JSON that names their hash. What is read is held against the types below, with their
bounds: a file that differs is refused by name, and never half understood.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from uadbench.system.errors import UserError
from uadbench.system.files import sha256_file, write_json
from uadbench.system.text import CONTROL, all_visible, visible

SCHEMA = 2
ABLATIONS = "ablations"  # folder below the results whose records are no rows of the leaderboard
NONE_OF = "none of "  # before the name of a data set: the partition of who was left out of it altogether
LARGEST_BYTES = 64_000_000  # of a record's JSON; one of 1,251 scans has about 2,000,000

_SHOWN = rf"[^{CONTROL}]*\Z"
Text: TypeAlias = Annotated[str, Meta(max_length=4000, pattern=rf"^{_SHOWN}")]
Key: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200, pattern=rf"^{_SHOWN}")]
# A part of a path: no way out of the results folder.
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200, pattern=rf"^(?![.])[^/\\{CONTROL}]+\Z")]
Digest: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Size: TypeAlias = Annotated[float, Meta(ge=0, le=1e15)]  # of a volume, a time, an error
Number: TypeAlias = Annotated[float, Meta(ge=-3.5e38, le=3.5e38)]  # a score: any float32
Option: TypeAlias = bool | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | Number | Text | None
# No patterns here: msgspec 0.22 frees memory twice where a union holds a text with a pattern and a list.
# `RunRecord` looks at these texts itself.
_Loose: TypeAlias = Annotated[str, Meta(max_length=4000)]
_Value: TypeAlias = bool | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | Number | _Loose | None
Setting: TypeAlias = _Value | Annotated[list[_Value], Meta(max_length=1000)]


class Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Typed facts: nothing unknown in them; what has its default is left out of the file."""


class Part(Facts, frozen=True, kw_only=True):
    """A partition as it was planned."""

    subjects: Count
    persons: Count
    hash: Digest  # of who is in it


class Exclusion(Facts, frozen=True, kw_only=True):
    """Who was found but takes no part, and why; of a planned partition with what its hash is made of."""

    partition: Key
    id: Key
    reason: Text
    cohort: Key | None = None
    person: Key | None = None
    session: Key | None = None


class SplitList(Facts, frozen=True, kw_only=True):
    """The list of who of a data set is where."""

    rule: Key
    sha256: Digest


class SplitRule(Facts, frozen=True, kw_only=True):
    """The rule of the split that was asked for, and the lists by data set."""

    asked: Key = "published"
    lists: dict[Key, SplitList] = {}


class Preparation(Facts, frozen=True, kw_only=True):
    """How the scans that take part were prepared, see `uadbench.preprocessing.prepare`."""

    options: dict[Key, Option] = {}
    versions: dict[Key, Option] = {}
    brains: dict[Key, dict[Key, Count]] = {}  # by partition: in which ways, and how often
    flagged: dict[Key, Count] = {}  # scans by partition


class Stage(Facts, frozen=True, kw_only=True):
    """What a stage of the run took."""

    seconds: Size
    peak_memory_mb: Size


class PiecesFile(Facts, frozen=True, kw_only=True):
    """The file beside the record that holds its pieces."""

    file: Name
    sha256: Digest


class SubjectResult(Facts, frozen=True, kw_only=True):
    """One scored scan. Sizes are in millilitres, or in pixels where slices have no geometry."""

    id: Key
    cohort: Key
    person: Key
    session: Key
    partition: Key
    site: Text | None
    sex: Text | None
    age: Annotated[float, Meta(ge=0, le=150)] | None
    lesion_kind: Key | None
    voxels: Count  # that were evaluated
    lesion_ml: Size | None = None  # the patient's own
    lesion_ml_outside_counted_slices: Size | None = None
    lesion_pixels: Size | None = None
    lesion_pixels_outside_counted_slices: Size | None = None
    template_scale: Annotated[float, Meta(gt=0, le=1000)] = 1.0  # template volume over the patient's own
    flags: Annotated[list[Text], Meta(max_length=100)] = []  # of the preparation
    scan_score: Number | None = None
    slice_scores: Annotated[list[Number], Meta(max_length=100_000)] | None = None
    slice_lesion: Annotated[list[bool], Meta(max_length=100_000)] | None = None
    intensity: Annotated[list[Number], Meta(max_length=100)] | None = None  # for the shortcut control
    draw_spread: Size | None = None  # standard deviation of its AP (healthy: of its score) over draws
    ap: dict[Key, Share]  # by profile
    auroc: dict[Key, Share]
    dsc: dict[Key, dict[Key, Share | None]]  # by profile and operating point
    restoration_l1: Size | None = None
    restoration_ssim: Annotated[float, Meta(ge=-1, le=1)] | None = None
    residual_ratio: Size | None = None

    @property
    def lesion_size(self) -> float:
        """Millilitres or pixels of lesion."""
        return self.lesion_ml or self.lesion_pixels or 0.0


class Pooled(Facts, frozen=True, kw_only=True):
    """Figures of the pooled voxels of some subjects; None where they are undefined."""

    ap: Share | None
    ap_error: Share | None
    auroc: Share | None
    auroc_error: Share | None
    prevalence: Share | None


class Group(Pooled, frozen=True, kw_only=True):
    """Pooled figures of a group of the lesion-test scans."""

    subjects: Count


class SizeBand(Facts, frozen=True, kw_only=True):
    """Lesions of one size at an operating point."""

    lesions: Count
    recall: Share | None
    false_components: Size | None


class OperatingPoint(Facts, frozen=True, kw_only=True):
    """Figures at one frozen threshold (protocol, rules 3, 10 and 11)."""

    threshold: Number | None
    dsc: Share | None
    dsc_mean: Share | None
    fpr_lesion_test: Share | None
    fpr_healthy_test: Share | None
    healthy_false_ml: Size | None = None
    healthy_false_pixels: Size | None = None
    recall: Share | None
    false_components: Size | None
    by_size: dict[Key, SizeBand]
    ceiling: Share | None = None


class Profile(Pooled, frozen=True, kw_only=True):
    """Figures after one post-processing profile."""

    ap_mean: Share | None
    kinds: dict[Key, Group]
    points: dict[Key, OperatingPoint]
    unflagged: Group | None = None  # without the flagged scans; None where no scan is flagged


class ScanLevel(Facts, frozen=True, kw_only=True):
    """Whole scans against each other."""

    auroc: Share | None
    rule: Text


class SliceLevel(Facts, frozen=True, kw_only=True):
    """Slices against each other, where these stand alone."""

    auroc_slice: Share | None
    rule: Text
    lesion_free: Count
    with_lesion: Count


class Restoration(Facts, frozen=True, kw_only=True):
    """Quality of the pseudo-healthy volumes; empty for methods that make none."""

    healthy_l1: Size | None = None
    healthy_ssim: Annotated[float, Meta(ge=-1, le=1)] | None = None
    residual_ratio: Size | None = None


class DrawSpread(Facts, frozen=True, kw_only=True):
    """How far AP moves from one draw of the scores to another."""

    subject: Size  # deviation of a scan's own AP, mean over scans
    ap_mean: Size  # deviation of the mean over scans


class Summary(Facts, frozen=True, kw_only=True):
    """Everything a row shows; a function of subjects, thresholds and pieces."""

    subjects: dict[Key, Count]  # by partition
    empty_masks: Count
    scan: ScanLevel
    slice: SliceLevel | None = None
    restoration: Restoration
    draw_spread: DrawSpread | None = None  # None with one draw
    profiles: dict[Key, Profile]


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

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema is {self.schema}, expected {SCHEMA}")
        if all_visible(self.parameters) != self.parameters:
            raise ValueError("an option of the method holds control characters")

    @property
    def place(self) -> Path:
        """Path of the JSON below a results folder."""
        pair = f"{self.train or 'none'}-to-{self.test}"
        return Path(self.protocol, pair, self.contrast, self.method, self.variant, f"seed-{self.seed}.json")

    def rows(self, partition: str, kind: str | None = None) -> list[int]:
        """Row numbers of a partition, or of one lesion kind in it."""
        return [
            row
            for row, subject in enumerate(self.subjects)
            if subject.partition == partition and kind in (None, subject.lesion_kind)
        ]


@dataclass(frozen=True)
class Stored:
    """A record and where its JSON lies; its pieces lie beside that, wherever the folder was copied to."""

    record: RunRecord
    path: Path

    @property
    def pieces(self) -> Path:
        """The file of its pieces."""
        return self.path.with_name(self.record.pieces.file)


def made(facts: Mapping[str, Any]) -> RunRecord:
    """A record of plain facts, rounded as it is written; control characters in texts are written out."""
    return msgspec.convert(_rounded(all_visible(facts)), RunRecord)


def typed_summary(facts: Mapping[str, Any]) -> Summary:
    """A summary of plain facts, rounded as it is written."""
    return msgspec.convert(_rounded(facts), Summary)


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


# A scan's score orders scans, at whatever magnitude a method's scores have; a float32 threshold comes back
# as it was from 9 significant digits; anything else is read by people.
_EXACT = {"threshold": 9, "thresholds": 9, "scan_score": 17, "slice_scores": 17, "intensity": 9}


def _rounded(value: Any, digits: int | None = None) -> Any:
    """Floats at 6 decimals, or at so many significant digits, so that a diff shows what moved."""
    if isinstance(value, float):
        return round(value, 6) if digits is None else float(f"{value:.{digits}g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item, _EXACT.get(key, digits)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item, digits) for item in value]
    return value


def write(record: RunRecord, results: Path) -> Path:
    """Write a record below the results folder, atomically; its pieces must be there already."""
    path = results / record.place
    write_json(path, plain(record))
    failure_path(path).unlink(missing_ok=True)
    return path


def read(path: Path) -> RunRecord:
    """Read a record and check that its pieces are those it was made with."""
    record = parse(path)
    pieces = Stored(record, path).pieces
    try:
        there = sha256_file(pieces)
    except OSError:
        there = ""
    if there != record.pieces.sha256:
        raise UserError(f"The pieces {pieces} are not those of {path.name}; restore both or run again.")
    return record


def parse(path: Path) -> RunRecord:
    """Read a record's JSON; what is none is a UserError that says what came instead."""
    try:
        with open(path, "rb") as opened:
            content = opened.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; expected a record.") from error
    if len(content) > LARGEST_BYTES:
        raise UserError(f"{path} is no record: it has more than {LARGEST_BYTES // 10**6} MB.")
    try:
        return msgspec.json.decode(content, type=RunRecord)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UserError(f"{path} {_what_came(content, error)}") from error


class _Version(msgspec.Struct):
    schema: int


def _what_came(content: bytes, error: Exception) -> str:
    """Why a file is no record, in words."""
    if not content.strip():
        return "is no record: the file is empty; run it again."
    try:
        version = msgspec.json.decode(content, type=_Version).schema
    except (msgspec.MsgspecError, ValueError, RecursionError):
        version = SCHEMA
    if version != SCHEMA:
        return f"has schema {version}, expected {SCHEMA}: run it again."
    return f"is no record of schema {SCHEMA}: {visible(str(error))[:300]}; restore it or run it again."


def read_all(results: Path) -> list[RunRecord]:
    """Every record below a results folder, in the order of their paths; one that is damaged is a UserError.

    `uadbench.experiment.collect` goes on past these, and counts no record twice.
    """
    return [read(path) for path in paths_of_records(results)]


def paths_of_records(results: Path) -> list[Path]:
    """The files of records below a results folder, sorted; not those of ablations."""
    return [path for path in _below(results) if not path.name.endswith(FAILED)]


def _below(results: Path) -> list[Path]:
    found = sorted(results.rglob("seed-*.json")) if results.is_dir() else []
    return [path for path in found if path.relative_to(results).parts[0] != ABLATIONS]


# ---- runs that failed --------------------------------------------------------------------------

FAILED = ".failed.json"


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


def read_failure(path: Path) -> Failure:
    """Why a run failed; a damaged file is a UserError."""
    try:
        with open(path, "rb") as opened:
            return msgspec.json.decode(opened.read(LARGEST_BYTES), type=Failure)
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UserError(f"{path} does not say why the run failed: the file is damaged; delete it.") from error


def failures(results: Path) -> Iterator[tuple[Path, str]]:
    """Place and reason of every failed run below a results folder, as far as these can be read."""
    for path in _below(results):
        if path.name.endswith(FAILED):
            try:
                reason = read_failure(path).reason
            except UserError as error:
                reason = str(error)
            yield path.relative_to(results), visible(reason)
