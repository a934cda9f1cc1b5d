"""Fit: what a method learns, made once and kept under the hash of all it depends on."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from uadbench import methods
from uadbench.experiment import identity
from uadbench.experiment.config import ResolvedRun, Runtime
from uadbench.experiment.full import told_when_full
from uadbench.experiment.work import Work
from uadbench.methods import Context, Method, State
from uadbench.system import environment, locks
from uadbench.system.errors import UserError
from uadbench.system.files import read_sealed, replacing, sha256, sha256_file, write_sealed

FACTS, STATE = "fit.json", "state.safetensors"
logger = logging.getLogger(__name__)


def make_fit(work: Work) -> dict[str, Any]:
    """Fit, or find the fit of the same hash; its facts: seconds, peak memory, parameter count.

    Of several processes that want the same fit one makes it and the others wait.
    """
    found = _find_fit(work)
    if found is not None:
        return found
    with locks.held(work.fit_folder / "lock"):
        return _find_fit(work) or _fit(work)


def _find_fit(work: Work) -> dict[str, Any] | None:
    """The facts of a fit that is there, whole, and not to be made again."""
    file, state = work.fit_folder / FACTS, work.fit_folder / STATE
    if not file.exists() or file.stat().st_mtime < work.redo:
        return None
    facts = read_sealed(file)
    if facts is not None and state.is_file() and facts["state_sha256"] == sha256_file(state):
        return facts
    logger.warning("the fit %s is damaged: made again", work.fit_folder)
    return None


def _fit(work: Work) -> dict[str, Any]:
    """Fit and write down what was learned."""
    from safetensors.numpy import save

    resolved, folder = work.resolved, work.fit_folder
    method = resolved.method
    asked = identity.fit_identity(resolved, work.cohort)
    nearest = identity.nearest_fit(work.runtime.paths, asked)
    if nearest:
        logger.info("a fit of %s is there that differs in %s: fitted again", work.name, nearest)
    _drop(file for file in folder.glob("*.checkpoint") if file.stat().st_mtime < work.redo)
    context = _open_context(resolved, work.fit_hash, work.runtime)
    environment.seed_everything(environment.stage_seed(resolved.config.seed, "fit"))
    with told_when_full(resolved, "fit", context.device), environment.measured(context.device) as cost:
        method.fit(resolved.volumes(work.cohort.train), resolved.volumes(work.cohort.val), context)
    state = save({k: np.ascontiguousarray(v) for k, v in method.state().items()})
    with replacing(folder / STATE) as partial:
        partial.write_bytes(state)
    facts = {
        "method": work.name,
        "options": methods.parameters(method, "fit"),
        "n_parameters": method.parameter_count(),
        "seconds": cost.seconds,
        "peak_memory_mb": cost.peak_memory_mb,
        "peak_device_mb": cost.peak_device_mb,
        "state_sha256": sha256(state),
        "identity": asked,
    }
    write_sealed(folder / FACTS, facts)
    _drop(folder.glob("*.checkpoint"))  # the state has taken their place
    return facts


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
