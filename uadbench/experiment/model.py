"""Model: a trained method that is ready to score, of a record whose fit is here or of a file from elsewhere.

Of a record it needs the fit under `runs`, and the data set only where scores are calibrated on healthy scans;
of a model file nothing else. Both give the same answers to the bit.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from uadbench import __version__, catalog, methods, source
from uadbench.cards import MethodCard, method_card, method_names
from uadbench.data.prepared import Prepared
from uadbench.data.space import Grid
from uadbench.data.volumes import Volumes
from uadbench.experiment import model_file
from uadbench.experiment.cohort import prepare_cohort
from uadbench.experiment.config import RunConfig, Runtime, find_settings, resolve_run
from uadbench.experiment.fit import read_fit
from uadbench.experiment.model_facts import ModelFacts, describe_model
from uadbench.experiment.model_file import CALIBRATION, STATE, refused
from uadbench.experiment.record import RunRecord, read_record
from uadbench.experiment.score import calibrate_method, score_volume
from uadbench.methods import Context, Method, Score, State
from uadbench.preprocessing import extract
from uadbench.preprocessing.prepare import describe_preparation
from uadbench.preprocessing.prepare_scan import Options
from uadbench.protocol import METRIC_VERSION, PROFILES, Protocol, protocol
from uadbench.system.errors import UserError, check_known
from uadbench.system.files import sha256, sha256_json


@dataclass(frozen=True)
class Model:
    """A method with what it has learned and found, and what is known of its run."""

    path: Path  # of the record or the model file
    facts: ModelFacts
    arrays: Mapping[str, bytes]  # what it has learned and found, as safetensors
    card: MethodCard
    method: Method
    protocol: Protocol

    @property
    def grid(self) -> Grid:
        """The evaluation grid, on which masks are made."""
        return _volumetric(self.protocol.grid, self.path)

    @property
    def model_grid(self) -> Grid:
        """The grid on which the method is handed scans."""
        return _volumetric(self.protocol.model_target(self.method.grid), self.path)

    @property
    def options(self) -> Options:
        """How scans are prepared."""
        return msgspec.convert(self.facts.preparation, Options)

    @cached_property
    def digest(self) -> str:
        """A hash of all that decides its answers: facts, arrays, and the code that is here."""
        arrays = {name: sha256(content) for name, content in self.arrays.items()}
        code = source.source_hash(self.card.folder)
        facts = msgspec.to_builtins(self.facts)
        return sha256_json([facts, arrays, code, __version__, describe_preparation({}, self.options)])

    @cached_property
    def caveats(self) -> list[str]:
        """In what this installation differs from that of the run: its maps may be others than the run's."""
        now = source.hash_method_files(self.card.folder)
        code = sorted(name for name in {*self.facts.code, *now} if self.facts.code.get(name) != now.get(name))
        versions = describe_preparation({}, self.options)["versions"]
        prepared = sorted(key for key, value in self.facts.versions.items() if versions.get(key) != value)
        made = f"was made by uadbench {self.facts.uadbench}, and this is {__version__}"
        found = []
        if code:
            more = f" and {len(code) - 3} more" if len(code) > 3 else ""
            found.append(f"the model {made}, with other code ({', '.join(code[:3])}{more}): maps may differ")
        if prepared:
            found.append(f"the model {made}, which prepares scans otherwise ({', '.join(prepared)})")
        if self.facts.metric_version != METRIC_VERSION:
            found.append(f"the model {made}, which post-processes otherwise: the threshold may be off")
        return found

    def score(self, on_model: Prepared) -> Score:
        """The answer to a scan on the model grid, as `run` would make it."""
        volume = Volumes([on_model], self.model_grid)[0]
        with _doubting(self.path, self.facts.method):
            return score_volume(self.method, volume, self.facts.seed, self.facts.method).score


def load_model(path: Path, runtime: Runtime) -> Model:
    """The model of a record or of a file that `export` wrote, ready to score; UserError for anything else."""
    if model_file.is_model_file(path):
        facts, arrays = model_file.read_model(path)
        if facts.method not in method_names():
            raise refused(
                path, f"the method '{facts.method}' is not here, and a model file holds no code",
                "name the folder that has the method with --plugins, or update uadbench",
            )  # fmt: skip
        with _doubting(path, facts.method):
            return _ready(path, facts, arrays, runtime)
    made = read_record(path)
    state, fitted = read_fit(made.fit_hash, runtime)
    code = fitted.get("identity", {}).get("code", {})
    facts = describe_model(made, method_card(made.method), code)
    model = _ready(path, facts, {STATE: state}, runtime)
    return _calibrated(model, made, runtime) if model.method.calibrated else model


def export_model(run: Path, out: Path, runtime: Runtime) -> Model:
    """Write the model of a record to a file with which `predict` works anywhere; equal runs, equal bytes.

    It holds what was learned, what scores are calibrated by, thresholds, facts, and no code and no name of a
    subject. What cannot be taken up again is a UserError, and nothing is written.
    """
    if model_file.is_model_file(run):
        raise UserError(f"{run} is a model file already; export expects a record (results/.../seed-0.json).")
    if out.suffix.lower() != ".zip":
        raise UserError(f"A model is exported to a file that ends in .zip, got {out}.")
    model = load_model(run, runtime)
    if model.method.calibrated and CALIBRATION not in model.arrays:
        raise UserError(
            f"{model.facts.method} measures scans against healthy ones and does not hand on what it found of "
            "them: its method needs `calibration_state` and `load_calibration`, or another score."
        )
    model_file.write_model(out, model.facts, model.arrays)
    return model


@contextmanager
def _doubting(path: Path, method: str) -> Iterator[None]:
    """Whatever a method says to the arrays of a model file is a UserError: they may not be its own."""
    try:
        yield
    except Exception as error:
        if not model_file.is_model_file(path):
            raise
        if isinstance(error, UserError):
            raise UserError(f"{path} cannot be used as a model here: {error}") from error
        words = " ".join(str(error).split())[:300] or type(error).__name__
        raise refused(path, f"its arrays do not fit {method}: {words}") from error


def _ready(path: Path, facts: ModelFacts, arrays: Mapping[str, bytes], runtime: Runtime) -> Model:
    """The method with its options, and with what the arrays say."""
    from safetensors.numpy import load

    card = method_card(facts.method)
    catalog.forget_changed("methods", card.folder)
    method = methods.build(card, facts.preset, find_settings(facts.method, facts.preset, facts.parameters))
    model = Model(path, facts, arrays, card, method, protocol(facts.protocol))
    _check_facts(model)
    parts = {name: load(content) for name, content in arrays.items()}
    for name, part in parts.items():
        for key, value in part.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise ValueError(f"{key} of {name} has values that are not finite")
    _check_layout(method, parts[STATE])
    context = _context(facts, runtime)
    method.load_state(parts[STATE], context)
    if method.parameter_count() != facts.n_parameters:
        raise ValueError(f"they hold {method.parameter_count()} parameters, not {facts.n_parameters}")
    if CALIBRATION in parts:
        method.load_calibration(parts[CALIBRATION])
    elif method.calibrated and model_file.is_model_file(path):
        raise ValueError(f"{CALIBRATION} is missing")
    return model


def _context(facts: ModelFacts, runtime: Runtime) -> Context:
    return Context(runtime.device, facts.precision, facts.seed, progress=runtime.progress)


def _check_facts(model: Model) -> None:
    """Stop where a run was not on volumes, or facts do not go together or are unknown here."""
    for what, name, there in (
        ("post-processing profile", model.facts.headline, PROFILES),
        ("extractor", model.options.extractor, (extract.DEFAULT, *extract.PROGRAMS)),
    ):
        check_known(what, name, there)
    on, asked = model.model_grid.name, model.facts.model_grid
    if on != asked or model.grid.flat:
        raise UserError(
            f"{model.path} was made on the grid {asked}, but its options and protocol mean {on}: "
            "run it again, or export it again."
        )


def _volumetric(on: Any, path: Path) -> Grid:
    if not isinstance(on, Grid):
        raise UserError(f"{path} is of slices without geometry; predict needs a run on volumes.")
    return on


def _check_layout(method: Method, state: State) -> None:
    """Stop where the weights are not those of the network that the options ask for, before it is built."""
    import torch

    from uadbench.learning.reconstruction import NetworkMethod

    if not isinstance(method, NetworkMethod) or type(method).state is not NetworkMethod.state:
        return  # a method without a network says itself what does not fit
    with torch.device("meta"):  # without memory
        network = method.build()
    # A number by itself comes back as an array of one.
    wanted = {name: (tuple(one.shape) or (1,), str(one.dtype)) for name, one in network.state_dict().items()}
    there = {name: (value.shape or (1,), f"torch.{value.dtype}") for name, value in state.items()}
    wrong = sorted(name for name in {*wanted, *there} if wanted.get(name) != there.get(name))
    if wrong:
        name = wrong[0]
        raise ValueError(f"{name} is {there.get(name, 'missing')}, expected {wanted.get(name, 'nothing')}")


def _calibrated(model: Model, made: RunRecord, runtime: Runtime) -> Model:
    """The model of a record that has looked at healthy-val, as its run did."""
    from safetensors.numpy import save

    resolved = resolve_run(RunConfig.of(made), runtime)
    cohort = prepare_cohort(resolved, runtime)
    if cohort.fingerprint() != made.data_fingerprint:
        raise UserError(
            f"{model.path} measures scans against healthy ones, and those that are here are not those of the "
            "run: `uadbench run --force` makes it again with them."
        )
    calibrate_method(model.method, cohort.val, resolved.volumes, _context(model.facts, runtime))
    found = {key: np.ascontiguousarray(v) for key, v in model.method.calibration_state().items()}
    arrays = {**model.arrays, **({CALIBRATION: save(found)} if found else {})}
    return replace(model, arrays=arrays)
