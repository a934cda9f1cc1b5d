"""Run: fit, score, evaluate and record one method on one pair of cohorts.

Each stage leaves whole files named by the hash of what they depend on, so that a run that was killed
goes on where it stopped, and one fit serves every test set.
"""

import json
import logging
import math
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uadbench import environment, leases, methods, pieces_file, record, splits
from uadbench.cohort import EVALUATED, Cohort, prepare_cohort
from uadbench.environment import measured
from uadbench.errors import UserError
from uadbench.evaluation import maps, scans
from uadbench.evaluation.evaluate import Case, evaluate
from uadbench.evaluation.summary import summarise
from uadbench.files import replacing, sha256, sha256_file, sha256_json, write_json, write_text
from uadbench.grids import Grid
from uadbench.methods import Context, Method, Score, State
from uadbench.plan import Cell, Machine, Plan, make_plan
from uadbench.preparation.account import account
from uadbench.preparation.prepare_scan import PREPARATION_VERSION
from uadbench.protocol import METRIC_VERSION, PROFILES, regime, sizes
from uadbench.recompute import wrong_figures
from uadbench.record import RunRecord, Stored
from uadbench.report import pictures
from uadbench.volumes import Volume, Volumes

logger = logging.getLogger(__name__)
HEADLINE = PROFILES[-1]  # of a data set whose card names none
CALIBRATION_VOLUMES = 64  # healthy-train volumes from which a score may take statistics of residuals


@dataclass(frozen=True)
class Outcome:
    """A finished run and where its files lie."""

    record: RunRecord
    path: Path
    maps: Path
    pictures: tuple[Path, ...]
    reused: bool  # the record was there already


def run(cell: Cell, machine: Machine, force: bool = False, older_than: float = math.inf) -> Outcome:
    """Carry out one cell: prepare what is missing, fit or reuse the fit, score, evaluate, record.

    With `force` fit, maps and record are made again where they are older than `older_than`, a time of change
    of files (s): runs that share a fit and are forced together name the same moment, and fit once.
    """
    redo = older_than if force else -math.inf
    plan = make_plan(cell, machine)
    path = machine.places.results / plan.place()
    cohort = prepare_cohort(plan, machine)
    fit_hash = _fit_hash(plan, cohort)
    score_hash = _score_hash(plan, fit_hash)
    folder = machine.places.runs / "maps" / score_hash
    cases = [
        Case(partition, on_evaluation, folder / f"{on_model.key}.safetensors", on_model.grid)
        for partition in EVALUATED
        for on_evaluation, on_model in zip(cohort.evaluation[partition], cohort.model[partition], strict=True)
    ]
    earlier = _earlier(path, cohort, score_hash, cell.profiles, redo)
    if earlier is not None:
        scans.write(folder, cases)
        return Outcome(
            earlier, path, folder, tuple(sorted(_pictures_folder(machine, plan).glob("*.png"))), True
        )
    fit_facts = fit(plan, cohort, fit_hash, machine, redo)
    score(plan, cohort, fit_hash, folder, machine, redo)
    hardware = environment.hardware(machine.device)
    return _evaluate_and_record(
        plan, cohort, cases, (fit_hash, score_hash), fit_facts, hardware, machine, path
    )


# ---- fit ---------------------------------------------------------------------------------------


def _fit_hash(plan: Plan, cohort: Cohort) -> str:
    """What a fit depends on, and nothing else."""
    trained = plan.card.trained
    return sha256_json(
        {
            "method": plan.card.folder,
            "source": methods.source_hash(plan.card),
            "options": methods.parameters(plan.method, "fit"),
            "grid": plan.method.grid,
            "precision": plan.cell.precision,
            "train_contrasts": plan.train_contrasts,
            "train": [p.key for p in cohort.train] if trained else [],
            "val": [p.key for p in cohort.val] if trained else [],
            "preparation": PREPARATION_VERSION,
            "seed": plan.cell.seed,
        }
    )


def _fit_folder(machine: Machine, fit_hash: str) -> Path:
    return machine.places.runs / "fits" / fit_hash


def _context(plan: Plan, fit_hash: str, machine: Machine) -> Context:
    folder = _fit_folder(machine, fit_hash)
    folder.mkdir(parents=True, exist_ok=True)
    return Context(machine.device, plan.cell.precision, plan.cell.seed, folder, machine.progress)


def fit(
    plan: Plan, cohort: Cohort, fit_hash: str, machine: Machine, redo: float = -math.inf
) -> dict[str, Any]:
    """Fit, or find the fit of the same hash; its facts: seconds, peak memory, parameter count.

    Of several processes that want the same fit one makes it and the others wait.
    """
    folder = _fit_folder(machine, fit_hash)
    found = _found_fit(folder, redo)
    if found is not None:
        return found
    with leases.held(folder / "lease"):
        return _found_fit(folder, redo) or _fit(plan, cohort, fit_hash, machine, redo)


def _found_fit(folder: Path, redo: float) -> dict[str, Any] | None:
    """The facts of a fit that is there, whole, and not to be made again."""
    file, state = folder / "fit.json", folder / "state.safetensors"
    if not file.exists() or file.stat().st_mtime < redo:
        return None
    try:
        facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        # Fits made before the hash was noted have none.
        if facts.get("state_sha256") in (None, sha256_file(state)):
            return facts
    except (OSError, ValueError):
        pass
    logger.warning("the fit %s is damaged: made again", folder)
    return None


def _fit(plan: Plan, cohort: Cohort, fit_hash: str, machine: Machine, redo: float) -> dict[str, Any]:
    """Fit and write down what was learned."""
    from safetensors.numpy import save

    facts_file = _fit_folder(machine, fit_hash) / "fit.json"
    _drop(file for file in facts_file.parent.glob("*.checkpoint") if file.stat().st_mtime < redo)
    context = _context(plan, fit_hash, machine)
    environment.seed_everything(environment.stage_seed(plan.cell.seed, "fit"))
    with measured() as cost:
        plan.method.fit(Volumes(cohort.train, plan.model_grid), Volumes(cohort.val, plan.model_grid), context)
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
    }
    write_json(facts_file, facts)
    _drop(facts_file.parent.glob("*.checkpoint"))  # the state has taken their place
    return facts


def _drop(checkpoints: Iterable[Path]) -> None:
    for checkpoint in checkpoints:
        checkpoint.unlink(missing_ok=True)


def fitted_state(machine: Machine, fit_hash: str) -> State:
    """What a finished fit learned."""
    from safetensors.numpy import load_file

    file = _fit_folder(machine, fit_hash) / "state.safetensors"
    if not file.is_file():
        raise UserError(f"The fit {fit_hash[:12]} is not under {machine.places.runs}: run the method again.")
    return load_file(file)


# ---- score -------------------------------------------------------------------------------------


def _score_hash(plan: Plan, fit_hash: str) -> str:
    return sha256_json([fit_hash, methods.parameters(plan.method, "score")])


def score(
    plan: Plan, cohort: Cohort, fit_hash: str, folder: Path, machine: Machine, redo: float = -math.inf
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
    _make_ready(plan, cohort, fit_hash, machine)
    with machine.progress.stage(f"{plan.card.name}: score", len(wanted)) as stage:
        for prepared, volume in zip(wanted, Volumes(wanted, plan.model_grid), strict=True):
            # Seeded for each volume, so that a score does not depend on what was scored before.
            environment.seed_everything(environment.stage_seed(plan.cell.seed, "score"))
            with measured() as cost:
                answer = checked(plan.method.score(volume), volume, plan.card.name)
            maps.write(folder / f"{prepared.key}.safetensors", answer, cost.seconds, cost.peak_memory_mb)
            stage.advance()


def _is_wanted(map_file: Path, redo: float) -> bool:
    """Whether a map is to be made."""
    if not map_file.exists() or map_file.stat().st_mtime < redo:
        return True
    if maps.whole(map_file):
        return False
    logger.warning("the map %s is damaged: made again", map_file)
    return True


def _make_ready(plan: Plan, cohort: Cohort, fit_hash: str, machine: Machine) -> None:
    """Give the plan's method what was learned, so that it can score."""
    context = _context(plan, fit_hash, machine)
    plan.method.load_state(fitted_state(machine, fit_hash), context)
    environment.seed_everything(environment.stage_seed(plan.cell.seed, "calibrate"))
    # Spread over the cohort, which lists one contrast after the other.
    some = cohort.train[:: max(1, -(-len(cohort.train) // CALIBRATION_VOLUMES))]
    plan.method.calibrate(Volumes(some, plan.model_grid), context)


def fitted(cell: Cell, machine: Machine) -> tuple[Method, Cohort, Grid]:
    """The method of a cell ready to score, fitted if it is not yet; its cohort, and its model grid."""
    plan = make_plan(cell, machine)
    cohort = prepare_cohort(plan, machine)
    fit_hash = _fit_hash(plan, cohort)
    fit(plan, cohort, fit_hash, machine)
    _make_ready(plan, cohort, fit_hash, machine)
    return plan.method, cohort, plan.model_grid


def checked(answer: Score, volume: Volume, name: str) -> Score:
    """A method's answer, if it keeps the contract; the harness does not take a method's word."""
    shape = volume.brain.shape
    expected = {"score map": (answer.score_map, shape)}
    if answer.pseudo_healthy is not None:
        expected["pseudo-healthy volume"] = (answer.pseudo_healthy, volume.image.shape)
    for what, (array, wanted) in expected.items():
        if array.shape != wanted or array.dtype != np.float32:
            raise ValueError(
                f"The {what} of {name} must be float32 of shape {wanted}; "
                f"it is {array.dtype} of {array.shape}."
            )
        if not np.isfinite(array).all():
            raise ValueError(f"The {what} of {name} has values that are not finite.")
    return answer


# ---- evaluation and record ---------------------------------------------------------------------


def _earlier(
    path: Path, cohort: Cohort, score_hash: str, profiles: tuple[str, ...], redo: float
) -> RunRecord | None:
    """The record that is there, if it is of this very run; one of another run is not overwritten."""
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
    same = (
        earlier.score_hash == score_hash
        and earlier.data_fingerprint == cohort.fingerprint()
        and earlier.metric_version == METRIC_VERSION
        and set(earlier.thresholds) == set(profiles)
    )
    if not same:
        raise UserError(f"{path} is there from a run with other data, code or settings; --force replaces it.")
    return earlier


def _pictures_folder(machine: Machine, plan: Plan) -> Path:
    return machine.places.runs / "pictures" / plan.place().with_suffix("")


def _evaluate_and_record(
    plan: Plan,
    cohort: Cohort,
    cases: Sequence[Case],
    hashes: tuple[str, str],
    fit_facts: Mapping[str, Any],
    hardware: Mapping[str, Any],
    machine: Machine,
    path: Path,
) -> Outcome:
    """Evaluate the maps, write pieces, record and pictures; `hardware`: what they were made on."""
    scans.write(cases[0].map_file.parent, cases)
    with measured() as cost:
        evaluation = evaluate(
            cases, plan.cell.profiles, machine.places.runs / "scratch", machine.workers,
            machine.progress,
        )  # fmt: skip
    pieces = path.with_suffix(".npz")
    costs = [maps.read(case.map_file) for case in cases]
    facts: dict[str, Any] = {
        "protocol": plan.protocol.id,
        "metric_version": METRIC_VERSION,
        "card_version": getattr(plan.test.card, "version", 1),
        "regime": regime(plan.train.card if plan.train else None, plan.test.card),
        "train": plan.train.card.name if plan.train else None,
        "trained": plan.card.trained,
        "test": plan.test.card.name,
        "contrast": plan.contrast,
        "train_contrasts": list(plan.train_contrasts),
        "method": plan.card.name,
        "variant": plan.variant,
        "preset": plan.cell.preset,
        "model_grid": plan.model_grid.name,
        "headline": getattr(plan.test.card, "headline", HEADLINE),
        "seed": plan.cell.seed,
        "limit": plan.cell.limit,
        "precision": plan.cell.precision,
        "parameters": methods.parameters(plan.method),
        "n_parameters": fit_facts["n_parameters"],
        "splits": {
            name: {
                "subjects": len(members),
                "persons": len({s.person for s in members}),
                "hash": splits.split_hash(members),
            }
            for name, members in plan.parts.items()
        },
        "split": {"asked": plan.cell.split, "lists": cohort.lists},
        "preparation": account(cohort.taking_part(), plan.cell.preparation),
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
    drawn = pictures.draw(made, evaluation, cases, _pictures_folder(machine, plan))
    record.write(made, machine.places.results)
    return Outcome(record.read(path), path, cases[0].map_file.parent, tuple(drawn), False)


def _excluded(plan: Plan, cohort: Cohort) -> list[dict[str, str]]:
    """Everyone who was found but takes no part, with the reason (protocol, rule 1)."""
    failed: dict[tuple[str, str], dict[str, str]] = {}
    for partition, failures in cohort.failures.items():
        planned = {subject.id: subject for subject in plan.parts[partition]}
        for failure in failures:
            if failure.contrast != plan.contrast and partition in EVALUATED:
                continue  # it was scored all the same
            subject = planned[failure.subject_id]
            who = {"id": subject.id, "cohort": subject.cohort, "person": subject.person}
            facts = {"partition": partition, "session": subject.session, "reason": failure.reason}
            failed.setdefault((partition, subject.id), facts | who)  # it may fail on two grids
    sources = {found.card.name: found for found in (plan.train, plan.test) if found is not None}
    left_out = [
        {"partition": f"{record.NONE_OF}{name}", "id": item.id, "reason": item.reason}
        for name, found in sources.items()
        for item in found.left_out
    ]
    return [*failed.values(), *left_out]


def evaluate_again(path: Path, machine: Machine) -> Outcome:
    """Recompute the metrics of a record from its stored maps, and write the record anew."""
    earlier = record.read(path)
    plan = make_plan(Cell.of(earlier), machine)
    folder = machine.places.runs / "maps" / earlier.score_hash
    cohort = prepare_cohort(plan, machine)
    models = [p for part in EVALUATED for p in cohort.model[part]]
    files = [folder / f"{p.key}.safetensors" for p in models]
    facts_file = _fit_folder(machine, earlier.fit_hash) / "fit.json"
    if not facts_file.exists() or not all(maps.whole(file) for file in files):
        raise UserError(
            f"The maps of {path} are not under {folder}; `uadbench run --force` makes them again."
        )
    evaluated = [(part, p) for part in EVALUATED for p in cohort.evaluation[part]]
    cases = [
        Case(part, p, file, model.grid)
        for (part, p), file, model in zip(evaluated, files, models, strict=True)
    ]
    hashes = (earlier.fit_hash, earlier.score_hash)
    return _evaluate_and_record(
        plan, cohort, cases, hashes, json.loads(facts_file.read_text()), earlier.hardware, machine, path
    )


def run_recording_failure(
    cell: Cell, machine: Machine, force: bool = False, older_than: float = math.inf
) -> Outcome | str:
    """Like `run`, but anything that goes wrong in the run is recorded and returned as its reason.

    A mistake in what was asked for is still a UserError.
    """
    place = machine.places.results / make_plan(cell, machine).place()
    try:
        return run(cell, machine, force, older_than)
    except UserError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        log = f"logs/{sha256(str(place))[:16]}.log"
        write_text(machine.places.runs / log, traceback.format_exc())
        record.write_failure(place, reason, log)
        return reason
