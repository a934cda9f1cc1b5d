"""Fit: what a method learns, made once and kept under the hash of all it depends on.

A training that several methods share is kept in the same way, beside the fits.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from uadbench import methods
from uadbench.experiment import identity
from uadbench.experiment.config import ResolvedRun, Runtime
from uadbench.experiment.full import told_when_full
from uadbench.experiment.work import Work
from uadbench.methods import Context, Method, Shared, Spent, State
from uadbench.system import environment, locks
from uadbench.system.errors import UserError
from uadbench.system.files import read_sealed, replacing, sha256, sha256_file, sha256_json, write_sealed

FACTS, STATE = "fit.json", "state.safetensors"
logger = logging.getLogger(__name__)


Made = tuple[State, dict[str, Any]]  # what was learned, and facts about that


def make_fit(work: Work) -> dict[str, Any]:
    """Fit, or find the fit of the same hash; its facts: seconds, peak memory, parameter count.

    Of several processes that want the same fit one makes it and the others wait.
    """
    return _once(work.fit_folder, work.redo, lambda: _fit(work))


def _once(folder: Path, redo: float, make: Callable[[], Made]) -> dict[str, Any]:
    """The facts of what is kept in a folder; it is made where it is not there."""
    found = _find(folder, redo)
    if found is not None:
        return found
    with locks.held(folder / "lock"):
        return _find(folder, redo) or _keep(folder, redo, make)


def _find(folder: Path, redo: float) -> dict[str, Any] | None:
    """The facts of a fit that is there, whole, and not to be made again."""
    file, state = folder / FACTS, folder / STATE
    if not file.exists() or file.stat().st_mtime < redo:
        return None
    facts = read_sealed(file)
    if facts is not None and state.is_file() and facts["state_sha256"] == sha256_file(state):
        return facts
    logger.warning("the fit %s is damaged: made again", folder)
    return None


def _keep(folder: Path, redo: float, make: Callable[[], Made]) -> dict[str, Any]:
    """Make it and write it down."""
    from safetensors.numpy import save

    _drop(file for file in folder.glob("*.checkpoint") if file.stat().st_mtime < redo)
    learned, facts = make()
    state = save({k: np.ascontiguousarray(v) for k, v in learned.items()})
    with replacing(folder / STATE) as partial:
        partial.write_bytes(state)
    facts["state_sha256"] = sha256(state)
    write_sealed(folder / FACTS, facts)
    _drop(folder.glob("*.checkpoint"))  # the state has taken their place
    return facts


def _fit(work: Work) -> Made:
    """Fit."""
    resolved = work.resolved
    asked = identity.fit_identity(resolved, work.cohort)
    nearest = identity.nearest_fit(work.runtime.paths, asked)
    if nearest:
        logger.info("a fit of %s is there that differs in %s: fitted again", work.name, nearest)

    def keep(context: Context, stage: Shared, train: Callable[[Context], Any]) -> Any:
        return _share(work, context, stage, train)

    method = resolved.method
    context = replace(_open_context(resolved, work.fit_hash, work.runtime), keep=keep)
    environment.seed_everything(environment.stage_seed(resolved.config.seed, "fit"))
    with told_when_full(resolved, "fit", context.device), environment.measured(context.device) as cost:
        method.fit(resolved.volumes(work.cohort.train), resolved.volumes(work.cohort.val), context)
    return method.state(), {
        "method": work.name,
        "options": methods.parameters(method, "fit"),
        "n_parameters": method.parameter_count(),
        # As if all of it had been done here and now.
        "seconds": cost.seconds + sum(spent.earlier for spent in context.spent.values()),
        "trainings": {name: spent.seconds for name, spent in context.spent.items()},
        "peak_memory_mb": cost.peak_memory_mb,
        "peak_device_mb": cost.peak_device_mb,
        "identity": asked,
    }


def _share(work: Work, context: Context, stage: Shared, train: Callable[[Context], Any]) -> Any:
    """The network of a training that several methods share, of the same volumes, code and options."""
    asked = identity.stage_identity(work.resolved, work.cohort, stage)
    folder = work.runtime.paths.stage(sha256_json(asked))
    folder.mkdir(parents=True, exist_ok=True)
    inside, trained = replace(context, folder=folder, spent={}), list[Any]()

    def make() -> Made:
        trained.append(train(inside))
        facts = {"seconds": inside.spent[stage.name].seconds, "identity": asked}
        return stage.state(trained[0]), facts

    facts = _once(folder, work.redo, make)
    found = Spent(facts["seconds"], facts["seconds"])
    context.spent[stage.name] = inside.spent.get(stage.name, found)
    if trained:
        return trained[0]
    logger.info("%s: the %s is there already, from another fit", work.name, stage.name)
    return stage.load(_read_state(folder))


def _drop(checkpoints: Iterable[Path]) -> None:
    for checkpoint in checkpoints:
        checkpoint.unlink(missing_ok=True)


def _open_context(resolved: ResolvedRun, fit_hash: str, runtime: Runtime) -> Context:
    folder = runtime.paths.fit(fit_hash)
    folder.mkdir(parents=True, exist_ok=True)
    config = resolved.config
    return Context(runtime.device, config.precision, config.seed, folder, runtime.progress)


def load_fit(resolved: ResolvedRun, fit_hash: str, runtime: Runtime) -> tuple[Method, Context]:
    """The method with what was learned, and where it works."""
    context = _open_context(resolved, fit_hash, runtime)
    return resolved.method.load_state(read_state(fit_hash, runtime), context), context


def read_state(fit_hash: str, runtime: Runtime) -> State:
    """What a finished fit learned."""
    from safetensors.numpy import load

    return load(read_fit(fit_hash, runtime)[0])


def _read_state(folder: Path) -> State:
    from safetensors.numpy import load

    return load((folder / STATE).read_bytes())


def read_fit(fit_hash: str, runtime: Runtime) -> tuple[bytes, dict[str, Any]]:
    """What a finished fit learned, as safetensors has it, and its facts; UserError where it is not here."""
    folder = runtime.paths.fit(fit_hash)
    facts = read_sealed(folder / FACTS)
    try:
        state = (folder / STATE).read_bytes()
    except FileNotFoundError:
        facts = None
    if facts is None:
        raise UserError(f"The fit {fit_hash[:12]} is not under {runtime.paths.runs}: run the method again.")
    if sha256(state) != facts["state_sha256"]:
        raise UserError(f"The fit {folder} is damaged: run the method again.")
    return state, facts
