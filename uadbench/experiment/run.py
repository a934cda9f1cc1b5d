"""Run: fit, score, evaluate and record one method on one pair of cohorts."""

import logging
import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uadbench.evaluation import maps
from uadbench.experiment import fit, identity, record, score
from uadbench.experiment.assemble import assemble_record
from uadbench.experiment.cohort import Cohort, prepare_cohort
from uadbench.experiment.config import ResolvedRun, RunConfig, Runtime, resolve_run
from uadbench.experiment.recompute import wrong_figures
from uadbench.experiment.record import RunRecord, Stored
from uadbench.experiment.work import Work
from uadbench.system import environment, progress
from uadbench.system.errors import UserError
from uadbench.system.files import read_sealed, sha256, write_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """A finished run and where its files lie."""

    record: RunRecord
    path: Path
    maps: Path
    logs: Path  # of training, for TensorBoard; not there where nothing was trained
    pictures: tuple[Path, ...]
    reused: bool  # the record was there already


def run(config: RunConfig, runtime: Runtime, force: bool = False, older_than: float = math.inf) -> Outcome:
    """Carry out one run: prepare what is missing, fit or reuse the fit, score, evaluate, record.

    With `force` fit, maps and record are made again where they are older than `older_than`, a time of change
    of files (s): runs that share a fit and are forced together name the same moment, and fit once.
    """
    return _carry_out(resolve_run(config, runtime), runtime, older_than if force else -math.inf)


def _carry_out(resolved: ResolvedRun, runtime: Runtime, redo: float) -> Outcome:
    what = f"{resolved.card.name} on {resolved.test.card.name}"
    with progress.about(what, training=resolved.card.folder):
        return _worked(Work.of(resolved, runtime, redo))


def _worked(work: Work) -> Outcome:
    """The record that is there, or the one that is made."""
    earlier = _earlier(work)
    if earlier is not None:
        maps.write_scans(work.maps_folder, work.cohort.fingerprint(), work.cases)
        pictures = tuple(sorted(work.pictures_folder.glob("*.png")))
        return Outcome(earlier, work.record_path, work.maps_folder, work.logs, pictures, True)
    score.check_calibration(work.resolved.method, work.cohort.val, work.name)
    fit_facts = fit.make_fit(work)
    score.make_maps(work)
    if work.runtime.on_scored:
        work.runtime.on_scored()
    return _record(work, fit_facts, environment.hardware(work.runtime.device))


def _record(work: Work, fit_facts: Mapping[str, Any], hardware: Mapping[str, Any]) -> Outcome:
    made, pictures = assemble_record(work, fit_facts, hardware)
    return Outcome(made, work.record_path, work.maps_folder, work.logs, tuple(pictures), False)


def _earlier(work: Work) -> RunRecord | None:
    """The record that is there, if it is of this very run; one of another run is not overwritten."""
    path = work.record_path
    if not path.exists() or path.stat().st_mtime < work.redo:
        return None
    try:
        earlier = record.read_record(path)
        wrong = wrong_figures(Stored(earlier, path))
    except UserError as error:
        wrong = [str(error)]
    if wrong:
        logger.warning("the record is damaged and made again: %s", wrong[0])
        return None
    if (earlier.score_hash, earlier.data_fingerprint) == (work.score_hash, work.cohort.fingerprint()):
        return earlier
    differs = identity.explain_difference(earlier, work.resolved, work.cohort, work.runtime.paths)
    raise UserError(
        f"{path} is there from a run that differs in {' and '.join(differs)}; --force replaces it."
    )


def fit_run(config: RunConfig, runtime: Runtime) -> tuple[ResolvedRun, Cohort]:
    """A resolved run whose method is ready to score, fitted if it is not yet, and its cohort.

    Scores are made by `score.score_volume`, which gives each volume its own noise.
    """
    work = Work.of(resolve_run(config, runtime), runtime)
    fit.make_fit(work)
    method, context = fit.load_fit(work.resolved, work.fit_hash, runtime)
    score.calibrate_method(method, work.cohort.val, work.resolved.volumes, context)
    return work.resolved, work.cohort


def evaluate_again(path: Path, runtime: Runtime) -> Outcome:
    """Recompute the metrics of a record from its stored maps, and write the record again."""
    work = find_work(path, runtime)
    fit_facts = read_sealed(work.fit_folder / fit.FACTS)
    if fit_facts is None:
        raise _maps_missing(path, work)
    return _record(work, fit_facts, record.read_record(path).hardware)


def find_work(path: Path, runtime: Runtime) -> Work:
    """The run of a record with its scans and its maps; UserError where a map is missing or damaged."""
    made = record.read_record(path)
    resolved = resolve_run(RunConfig.of(made), runtime)
    work = Work(resolved, prepare_cohort(resolved, runtime), runtime, made.fit_hash, made.score_hash)
    if not all(maps.is_whole(case.map_file) for case in work.cases):
        raise _maps_missing(path, work)
    return work


def _maps_missing(path: Path, work: Work) -> UserError:
    return UserError(
        f"The maps of {path} are not under {work.maps_folder}; `uadbench run --force` makes them again."
    )


def run_recording_failure(
    config: RunConfig, runtime: Runtime, force: bool = False, older_than: float = math.inf
) -> Outcome | str:
    """Like `run`, but anything that goes wrong in the run is recorded and returned as its reason.

    A mistake in what was asked for is still a UserError.
    """
    runtime.paths.check_writable()
    resolved = resolve_run(config, runtime)
    try:
        return _carry_out(resolved, runtime, older_than if force else -math.inf)
    except UserError:
        raise
    except Exception as error:
        path = runtime.paths.results / resolved.place
        return _record_failure(f"{type(error).__name__}: {error}", traceback.format_exc(), path, runtime)


def _record_failure(reason: str, trace: str, path: Path, runtime: Runtime) -> str:
    """Record a failure, then its trace; the reason, with what could not be written."""
    log = f"logs/{sha256(str(path))[:16]}.log"
    steps: dict[str, Callable[[], None]] = {
        "recorded": lambda: record.write_failure(path, reason, log),
        "logged": lambda: write_text(runtime.paths.runs / log, trace),
    }
    missing = ""
    for what, write in steps.items():
        try:
            write()
        except OSError as error:
            logger.error("%s", trace)
            missing += f"; and that cannot be {what}: {error.strerror}"
    return reason + missing
