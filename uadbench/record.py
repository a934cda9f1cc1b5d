"""Record: what one run leaves behind: a JSON file, and beside it the per-subject pieces.

The leaderboard is a pure function of records. A record is written whole or not at all: first the
pieces, then the JSON that names their hash.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uadbench.errors import UserError
from uadbench.files import replacing, sha256, sha256_file, write_json

if TYPE_CHECKING:
    from uadbench.evaluation.evaluate import Evaluation
    from uadbench.evaluation.pieces import Pieces

SCHEMA = 1
ABLATIONS = "ablations"  # folder below the results whose records are no rows of the leaderboard


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One method with one setting and one seed, trained on one cohort and tested on another."""

    protocol: str
    metric_version: int
    regime: str
    train: str | None
    test: str
    contrast: str
    train_contrasts: list[str]
    method: str
    variant: str
    preset: str
    seed: int
    limit: int | None
    precision: str
    parameters: dict[str, Any]
    n_parameters: int
    splits: dict[str, dict[str, Any]]  # by partition: subjects, persons and hash
    excluded: list[dict[str, str]]  # partition, id and reason
    data_fingerprint: str  # hash of all prepared volumes
    fit_hash: str
    score_hash: str
    code: dict[str, str | bool]
    packages: dict[str, str]
    hardware: dict[str, str | int]
    timing: dict[str, dict[str, float]]  # by stage: seconds and peak memory in MB
    subjects: list[dict[str, Any]]
    thresholds: dict[str, dict[str, float | None]]
    summary: dict[str, Any]
    pieces: dict[str, str]  # file name and sha256
    # Of the scans that take part, see `uadbench.preparation.account`; older records have none.
    preparation: dict[str, Any] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)  # rule asked for, and the lists by data set
    schema: int = SCHEMA

    @property
    def place(self) -> Path:
        """Path of the JSON below the results folder."""
        pair = f"{self.train or 'none'}-to-{self.test}"
        return Path(self.protocol, pair, self.contrast, self.method, self.variant, f"seed-{self.seed}.json")


# What a clock or the machine says. Two runs of the same code and packages with the same seed and number of
# threads, on processors of one kind, are equal in all the rest: figures, hashes, pieces.
MEASUREMENTS = ("timing", "hardware")
# What two runs with the same seed may differ in when the code has been changed in between.
CIRCUMSTANCES = (*MEASUREMENTS, "packages", "code")


def without_measurements(record: RunRecord) -> dict[str, Any]:
    """All of a record that must not depend on when, where and how fast it was made."""
    return {key: value for key, value in asdict(record).items() if key not in MEASUREMENTS}


def write_pieces(path: Path, evaluation: "Evaluation") -> str:
    """Write the pieces of all profiles to one compressed npz; equal pieces give equal bytes."""
    arrays: dict[str, NDArray[Any]] = {}
    for profile in sorted(evaluation.pieces):
        stored = evaluation.pieces[profile].arrays()
        arrays |= {f"{profile}/{name}": array for name, array in stored.items()}
        arrays[f"{profile}/voxels"] = evaluation.voxels[profile].astype(np.uint32)
        arrays[f"{profile}/lesions"] = evaluation.lesions[profile].astype(np.uint32)
    buffer = io.BytesIO()
    # numpy's own writer offers deflate only; LZMA saves a sixth, and `np.load` reads it.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_LZMA)
    with replacing(path) as partial:
        partial.write_bytes(buffer.getvalue())
    return sha256(buffer.getvalue())


def read_pieces(path: Path) -> dict[str, dict[str, NDArray[Any]]]:
    """Arrays of the pieces file by profile and name."""
    by_profile: dict[str, dict[str, NDArray[Any]]] = {}
    with np.load(path, allow_pickle=False) as stored:
        for key in stored.files:
            profile, name = key.split("/", 1)
            by_profile.setdefault(profile, {})[name] = stored[key]
    return by_profile


SCORES = ("scan_score", "slice_scores")  # of any magnitude, as the score maps they are means of


def _rounded(value: Any) -> Any:
    """Floats at 6 decimals, so that a record's diff shows what moved and nothing else."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {
            key: _exact(item) if key in ("threshold", "thresholds", *SCORES) else _rounded(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def _exact(value: Any) -> Any:
    """Floats at 9 significant digits: a float32 threshold comes back as it was."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, Mapping):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(item) for item in value]
    return value


def write(record: RunRecord, results: Path) -> Path:
    """Write a record below the results folder, atomically; its pieces must be there already."""
    path = results / record.place
    write_json(path, _rounded(asdict(record)))
    failure_path(path).unlink(missing_ok=True)
    return path


def read(path: Path) -> RunRecord:
    """Read a record and check that its pieces are those it was made with."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        record = RunRecord(**content)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is not a record of schema {SCHEMA}: {error}.") from error
    if record.schema != SCHEMA:
        raise UserError(f"{path} has schema {record.schema}, expected {SCHEMA}; score the run again.")
    pieces = path.with_name(record.pieces["file"])
    if not pieces.exists() or sha256_file(pieces) != record.pieces["sha256"]:
        raise UserError(f"The pieces {pieces} are not those of {path.name}; restore both or run again.")
    return record


def read_all(results: Path) -> list[RunRecord]:
    """Every record below a results folder, in the order of their paths; not those of ablations."""
    paths = [
        path
        for path in sorted(results.rglob("seed-*.json"))
        if not path.name.endswith(".failed.json") and path.relative_to(results).parts[0] != ABLATIONS
    ]
    with ThreadPoolExecutor() as pool:  # most of the time is waiting for the disk
        return list(pool.map(read, paths))


def pieces_of(record: RunRecord, results: Path, profile: str) -> "Pieces":
    """The pieces of one profile of a record."""
    from uadbench.evaluation.pieces import Pieces

    arrays = read_pieces((results / record.place).with_name(record.pieces["file"]))
    return Pieces.from_arrays(arrays[profile])


def failure_path(path: Path) -> Path:
    """Where a failed run is recorded, beside where its record would be."""
    return path.with_name(path.stem + ".failed.json")


def write_failure(path: Path, reason: str, log: str) -> None:
    """Record that a run failed, with the reason in words and the name of the log."""
    write_json(failure_path(path), {"reason": reason, "log": log})


def failures(results: Path) -> Iterator[tuple[Path, str]]:
    """Place and reason of every failed run below a results folder."""
    for path in sorted(results.rglob("seed-*.failed.json")):
        if path.relative_to(results).parts[0] == ABLATIONS:
            continue
        yield path.relative_to(results), json.loads(path.read_text())["reason"]
