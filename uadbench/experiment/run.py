"""Run: fit, score, evaluate and record one method on one pair of cohorts.

Each stage leaves whole files named by the hash of what they depend on, so that a run that was killed
goes on where it stopped, and one fit serves every test set.
"""

import logging
import math
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uadbench import methods
from uadbench.data import splits
from uadbench.data.sizes import sizes
from uadbench.evaluation import maps
from uadbench.evaluation.evaluate import evaluate
from uadbench.evaluation.maps import Case
from uadbench.evaluation.summary import summarise
from uadbench.experiment import figures, identity, pieces_file, record, scoring
from uadbench.experiment.cohort import EVALUATED, Cohort, prepare_cohort
from uadbench.experiment.plan import ResolvedRun, RunConfig, Runtime, make_plan
from uadbench.experiment.recompute import wrong_figures
from uadbench.experiment.record import RunRecord, Stored
from uadbench.methods import Context, Method, State, Stochastic
from uadbench.preprocessing.account import account
from uadbench.protocol import METRIC_VERSION, regime
from uadbench.system import environment, locks
from uadbench.system.environment import measured
from uadbench.system.errors import UserError
from uadbench.system.files import (
    read_sealed,
    replacing,
    sha256,
    sha256_file,
    sha256_json,
    write_sealed,
    write_text,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """A finished run and where its files lie."""

    record: RunRecord
    path: Path
    maps: Path
    pictures: tuple[Path, ...]
    reused: bool  # the record was there already


def run(config: RunConfig, runtime: Runtime, force: bool = False, older_than: float = math.inf) -> Outcome:
    """Carry out one cell: prepare what is missing, fit or reuse the fit, score, evaluate, record.

    With `force` fit, maps and record are made again where they are older than `older_than`, a time of change
    of files (s): runs that share a fit and are forced together name the same moment, and fit once.
    """
    redo = older_than if force else -math.inf
    plan = make_plan(config, runtime)
    path = runtime.paths.results / plan.place()
    cohort = prepare_cohort(plan, runtime)
    fit_hash = _fit_hash(plan, cohort)
    score_hash = _score_hash(plan, fit_hash)
    folder = runtime.paths.runs / "maps" / score_hash
    cases = [
        Case(partition, on_evaluation, folder / f"{on_model.key}.safetensors", on_model.grid)
        for partition in EVALUATED
        for on_evaluation, on_model in zip(cohort.evaluation[partition], cohort.model[partition], strict=True)
    ]
    earlier = _earlier(plan, cohort, score_hash, runtime, redo)
    if earlier is not None:
        maps.write_scans(folder, cohort.fingerprint(), cases)
        return Outcome(
            earlier, path, folder, tuple(sorted(_pictures_folder(runtime, plan).glob("*.png"))), True
        )
    scoring.check_calibration(plan.method, cohort.val, plan.card.name)
    fit_facts = fit(plan, cohort, fit_hash, runtime, redo)
    score(plan, cohort, fit_hash, folder, runtime, redo)
    hardware = environment.hardware(runtime.device)
    return _evaluate_and_record(
        plan, cohort, cases, (fit_hash, score_hash), fit_facts, hardware, runtime, path
    )


# ---- fit ---------------------------------------------------------------------------------------


def _fit_hash(plan: ResolvedRun, cohort: Cohort) -> str:
    return identity.fit_hash(identity.fit_identity(plan, cohort))


def _context(plan: ResolvedRun, fit_hash: str, runtime: Runtime) -> Context:
    folder = runtime.paths.fit(fit_hash)
    folder.mkdir(parents=True, exist_ok=True)
    return Context(runtime.device, plan.config.precision, plan.config.seed, folder, runtime.progress)


def fit(
    plan: ResolvedRun, cohort: Cohort, fit_hash: str, runtime: Runtime, redo: float = -math.inf
) -> dict[str, Any]:
    """Fit, or find the fit of the same hash; its facts: seconds, peak memory, parameter count.

    Of several processes that want the same fit one makes it and the others wait.
    """
    folder = runtime.paths.fit(fit_hash)
    found = _found_fit(folder, redo)
    if found is not None:
        return found
    with locks.held(folder / "lease"):
        return _found_fit(folder, redo) or _fit(plan, cohort, fit_hash, runtime, redo)


def _found_fit(folder: Path, redo: float) -> dict[str, Any] | None:
    """The facts of a fit that is there, whole, and not to be made again."""
    file, state = folder / "fit.json", folder / "state.safetensors"
    if not file.exists() or file.stat().st_mtime < redo:
        return None
    facts = read_sealed(file)
    if facts is not None and state.is_file() and facts["state_sha256"] == sha256_file(state):
        return facts
    logger.warning("the fit %s is damaged: made again", folder)
    return None


def _fit(plan: ResolvedRun, cohort: Cohort, fit_hash: str, runtime: Runtime, redo: float) -> dict[str, Any]:
    """Fit and write down what was learned."""
    from safetensors.numpy import save

    facts_file = runtime.paths.fit(fit_hash) / "fit.json"
    asked = identity.fit_identity(plan, cohort)
    nearest = identity.nearest_fit(runtime.paths, asked)
    if nearest:
        logger.info("a fit of %s is there that differs in %s: fitted anew", plan.card.name, nearest)
    _drop(file for file in facts_file.parent.glob("*.checkpoint") if file.stat().st_mtime < redo)
    context = _context(plan, fit_hash, runtime)
    environment.seed_everything(environment.stage_seed(plan.config.seed, "fit"))
    with measured() as cost:
        plan.method.fit(plan.volumes(cohort.train), plan.volumes(cohort.val), context)
    state = save({k: np.ascontiguousarray(v) for k, v in plan.method.state().items()})
    with replacing(facts_file.with_name("state.safetensors")) as partial:
        partial.write_bytes(state)
    facts = {
        "method": plan.card.name,
        "options": methods.parameters(plan.method, "fit"),
        "n_parameters": plan.method.parameter_count(),
        "seconds": cost.seconds,
        "peak_memory_mb": cost.peak_memory_mb,
        "state_sha256": sha256(state),
        "identity": asked,
    }
    write_sealed(facts_file, facts)
    _drop(facts_file.parent.glob("*.checkpoint"))  # the state has taken their place
    return facts


def _drop(checkpoints: Iterable[Path]) -> None:
    for checkpoint in checkpoints:
        checkpoint.unlink(missing_ok=True)


def fitted_state(runtime: Runtime, fit_hash: str) -> State:
    """What a finished fit learned."""
    from safetensors.numpy import load

    folder = runtime.paths.fit(fit_hash)
    facts = read_sealed(folder / "fit.json")
    try:
        state = (folder / "state.safetensors").read_bytes()
    except FileNotFoundError:
        facts = None
    if facts is None:
        raise UserError(f"The fit {fit_hash[:12]} is not under {runtime.paths.runs}: run the method again.")
    if sha256(state) != facts["state_sha256"]:
        raise UserError(f"The fit {folder} is damaged: run the method again, which makes it anew.")
    return load(state)


# ---- score -------------------------------------------------------------------------------------


def _score_hash(plan: ResolvedRun, fit_hash: str) -> str:
    return sha256_json([fit_hash, methods.parameters(plan.method, "score")])


def score(
    plan: ResolvedRun, cohort: Cohort, fit_hash: str, folder: Path, runtime: Runtime, redo: float = -math.inf
) -> None:
    """Score every evaluated volume whose map is not there yet."""
    volumes = [p for partition in EVALUATED for p in cohort.model[partition]]
    wanted = [p for p in volumes if _is_wanted(folder / f"{p.key}.safetensors", redo)]
    if not wanted:
        return
    if len(wanted) < len(volumes):
        logger.info(
            "%d of %d maps are there: %d to score", len(volumes) - len(wanted), len(volumes), len(wanted)
        )
    method, context = load_fit(plan, fit_hash, runtime)
    with runtime.progress.stage(f"{plan.card.name}: score", len(wanted)) as stage:
        for members, healthy in scoring.folds(method, wanted, cohort.val):
            scoring.calibrate(method, healthy, plan.volumes, context)
            for prepared, volume in zip(members, plan.volumes(members), strict=True):
                with measured() as cost:
                    answer = scoring.answer(method, volume, plan.config.seed, plan.card.name)
                file = folder / f"{prepared.key}.safetensors"
                maps.write_map(file, answer.score, cost.seconds, cost.peak_memory_mb, answer.draws)
                stage.advance()


def _is_wanted(map_file: Path, redo: float) -> bool:
    """Whether a map is to be made."""
    if not map_file.exists() or map_file.stat().st_mtime < redo:
        return True
    if maps.is_whole(map_file):
        return False
    logger.warning("the map %s is damaged: made again", map_file)
    return True


def load_fit(plan: ResolvedRun, fit_hash: str, runtime: Runtime) -> tuple[Method, Context]:
    """The plan's method with what was learned, and where it works."""
    context = _context(plan, fit_hash, runtime)
    return plan.method.load_state(fitted_state(runtime, fit_hash), context), context


def fitted(config: RunConfig, runtime: Runtime) -> tuple[ResolvedRun, Cohort]:
    """A cell's plan whose method is ready to score, fitted if it is not yet, and its cohort.

    Scores are made by `scoring.answer`, which gives each volume its own noise.
    """
    plan = make_plan(config, runtime)
    cohort = prepare_cohort(plan, runtime)
    fit_hash = _fit_hash(plan, cohort)
    fit(plan, cohort, fit_hash, runtime)
    method, context = load_fit(plan, fit_hash, runtime)
    scoring.calibrate(method, cohort.val, plan.volumes, context)
    return plan, cohort


# ---- evaluation and record ---------------------------------------------------------------------


def _earlier(
    plan: ResolvedRun, cohort: Cohort, score_hash: str, runtime: Runtime, redo: float
) -> RunRecord | None:
    """The record that is there, if it is of this very run; one of another run is not overwritten."""
    path = runtime.paths.results / plan.place()
    if not path.exists() or path.stat().st_mtime < redo:
        return None
    try:
        earlier = record.read(path)
        wrong = wrong_figures(Stored(earlier, path))
    except UserError as error:
        wrong = [str(error)]
    if wrong:
        logger.warning("the record is damaged and made again: %s", wrong[0])
        return None
    differs = []
    if earlier.metric_version != METRIC_VERSION:
        differs.append(f"metric version ({earlier.metric_version})")
    if set(earlier.thresholds) != set(plan.config.profiles):
        differs.append(f"profiles ({', '.join(earlier.thresholds)})")
    if earlier.score_hash != score_hash or earlier.data_fingerprint != cohort.fingerprint():
        differs += identity.since(earlier, plan, cohort, runtime.paths)
    if differs:
        raise UserError(
            f"{path} is there from a run that differs in {' and '.join(differs)}; --force replaces it."
        )
    return earlier


def _pictures_folder(runtime: Runtime, plan: ResolvedRun) -> Path:
    return runtime.paths.runs / "pictures" / plan.place().with_suffix("")


def _evaluate_and_record(
    plan: ResolvedRun,
    cohort: Cohort,
    cases: Sequence[Case],
    hashes: tuple[str, str],
    fit_facts: Mapping[str, Any],
    hardware: Mapping[str, Any],
    runtime: Runtime,
    path: Path,
) -> Outcome:
    """Evaluate the maps, write pieces, record and pictures; `hardware`: what they were made on."""
    maps.write_scans(cases[0].map_file.parent, cohort.fingerprint(), cases)
    with measured() as cost:
        evaluation = evaluate(
            cases, plan.config.profiles, runtime.paths.runs / "scratch", runtime.workers,
            runtime.progress,
        )  # fmt: skip
    pieces = path.with_suffix(".npz")
    costs = [maps.read_cost(case.map_file) for case in cases]
    facts: dict[str, Any] = {
        "protocol": plan.protocol.id,
        "metric_version": METRIC_VERSION,
        "card_version": plan.test.card.version,
        "regime": regime(plan.train.card if plan.train else None, plan.test.card),
        "train": plan.train.card.name if plan.train else None,
        "trained": plan.card.trained,
        "test": plan.test.card.name,
        "contrast": plan.contrast,
        "train_contrasts": list(plan.train_contrasts),
        "method": plan.card.name,
        "variant": plan.variant,
        "preset": plan.config.preset,
        "model_grid": plan.model_target.name,
        "headline": plan.headline,
        "seed": plan.config.seed,
        "draws": scoring.draws(plan.method),
        "stochastic": isinstance(plan.method, Stochastic),
        "limit": plan.config.limit,
        "precision": plan.config.precision,
        "parameters": methods.parameters(plan.method),
        "n_parameters": fit_facts["n_parameters"],
        "splits": {
            name: {
                "subjects": len(members),
                "persons": len({s.subject for s in members}),
                "hash": splits.split_hash(members),
            }
            for name, members in plan.parts.items()
        },
        "split": {"asked": plan.config.split, "lists": cohort.lists},
        "preparation": account(cohort.taking_part(), plan.config.preparation),
        "excluded": _excluded(plan, cohort),
        "data_fingerprint": cohort.fingerprint(),
        "fit_hash": hashes[0],
        "score_hash": hashes[1],
        "code": environment.commit(),
        "packages": environment.packages(),
        "hardware": dict(hardware),
        "timing": {
            "prepare": {"seconds": cohort.seconds, "peak_memory_mb": cohort.peak_memory_mb},
            "fit": {"seconds": fit_facts["seconds"], "peak_memory_mb": fit_facts["peak_memory_mb"]},
            "score": {
                "seconds": sum(stored.seconds for stored in costs),
                "peak_memory_mb": max(stored.peak_memory_mb for stored in costs),
            },
            "evaluate": {"seconds": cost.seconds, "peak_memory_mb": cost.peak_memory_mb},
        },
        "subjects": evaluation.subjects,
        "thresholds": evaluation.thresholds,
        "summary": summarise(evaluation, cases[0].prepared.grid.voxel_size, sizes(cases[0].prepared.grid)),
        "pieces": {"file": pieces.name, "sha256": pieces_file.write(pieces, evaluation)},
    }
    made = record.made(facts)
    drawn = figures.draw(made, evaluation, cases, _pictures_folder(runtime, plan))
    record.write(made, runtime.paths.results)
    return Outcome(record.read(path), path, cases[0].map_file.parent, tuple(drawn), False)


def _excluded(plan: ResolvedRun, cohort: Cohort) -> list[dict[str, str]]:
    """Everyone who was found but takes no part, with the reason (protocol, rule 1).

    What lacks a contrast that the run does not look at takes part; and patients whose lesion-free slices are
    learned from are not excluded but in healthy-train.
    """
    failed: dict[tuple[str, str], dict[str, str]] = {}
    for partition, failures in cohort.failures.items():
        planned = {subject.id: subject for subject in plan.parts[partition]}
        for failure in failures:
            if failure.contrast != plan.contrast and partition in EVALUATED:
                continue  # it was scored all the same
            subject = planned[failure.subject_id]
            who = {"id": subject.id, "cohort": subject.cohort, "person": subject.subject}
            facts = {"partition": partition, "session": subject.label, "reason": failure.reason}
            failed.setdefault((partition, subject.id), facts | who)  # it may fail on two grids
    looked_at = {None, plan.contrast, *plan.train_contrasts}
    sources = {found.card.name: found for found in (plan.train, plan.test) if found is not None}
    left_out = [
        {"partition": f"{record.NONE_OF}{name}", "id": item.id, "reason": item.reason}
        for name, found in sources.items()
        for item in found.left_out
        if item.contrast in looked_at
    ]
    return [*failed.values(), *left_out]


def evaluate_again(path: Path, runtime: Runtime) -> Outcome:
    """Recompute the metrics of a record from its stored maps, and write the record anew."""
    earlier = record.read(path)
    plan = make_plan(RunConfig.of(earlier), runtime)
    folder = runtime.paths.runs / "maps" / earlier.score_hash
    cohort = prepare_cohort(plan, runtime)
    models = [p for part in EVALUATED for p in cohort.model[part]]
    files = [folder / f"{p.key}.safetensors" for p in models]
    fit_facts = read_sealed(runtime.paths.fit(earlier.fit_hash) / "fit.json")
    if fit_facts is None or not all(maps.is_whole(file) for file in files):
        raise UserError(
            f"The maps of {path} are not under {folder}; `uadbench run --force` makes them again."
        )
    evaluated = [(part, p) for part in EVALUATED for p in cohort.evaluation[part]]
    cases = [
        Case(part, p, file, model.grid)
        for (part, p), file, model in zip(evaluated, files, models, strict=True)
    ]
    hashes = (earlier.fit_hash, earlier.score_hash)
    return _evaluate_and_record(plan, cohort, cases, hashes, fit_facts, earlier.hardware, runtime, path)


def run_recording_failure(
    config: RunConfig, runtime: Runtime, force: bool = False, older_than: float = math.inf
) -> Outcome | str:
    """Like `run`, but anything that goes wrong in the run is recorded and returned as its reason.

    A mistake in what was asked for is still a UserError.
    """
    runtime.paths.check_writable()
    place = runtime.paths.results / make_plan(config, runtime).place()
    try:
        return run(config, runtime, force, older_than)
    except UserError:
        raise
    except Exception as error:
        return _recorded(f"{type(error).__name__}: {error}", traceback.format_exc(), place, runtime)


def _recorded(reason: str, trace: str, place: Path, runtime: Runtime) -> str:
    """Record a failure, then its trace; the reason, with what could not be written."""
    log = f"logs/{sha256(str(place))[:16]}.log"
    steps: dict[str, Callable[[], None]] = {
        "recorded": lambda: record.write_failure(place, reason, log),
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
