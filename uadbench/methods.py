"""Method: what a method is, its options, and how one is found by name.

A method is a folder `methods/<name>/` with a `card.toml` (facts) and a `method.py` (behaviour)
that ends in `ENTRY = TheClass`.
"""

import importlib
import json
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from uadbench import catalog, source
from uadbench.cards import PRESETS, MethodCard, method_card, method_names
from uadbench.errors import UserError
from uadbench.progress import Progress, Silent
from uadbench.volumes import Volume, Volumes

# Makes this module a package whose sub-packages are the folders of `methods/`:
# `methods/x/method.py` is imported as `uadbench.methods.x.method`, installed or not.
__path__ = [str(folder) for folder in catalog.folders("methods")]

State = dict[str, NDArray[Any]]


def fit_option(default: Any, doc: str, choices: tuple[Any, ...] = ()) -> Any:
    """A hyper-parameter that changes what is learned: part of the fit's hash."""
    return field(default=default, metadata={"stage": "fit", "doc": doc, "choices": choices})


def score_option(default: Any, doc: str, choices: tuple[Any, ...] = ()) -> Any:
    """A hyper-parameter of scoring only: rows that differ in it share one fit."""
    return field(default=default, metadata={"stage": "score", "doc": doc, "choices": choices})


@dataclass(frozen=True)
class Context:
    """What `fit` is given besides the volumes."""

    device: str = "cpu"  # a torch device
    precision: str = "float32"
    seed: int = 0  # the harness has seeded numpy's and torch's global generators with it
    folder: Path = Path()  # for checkpoints and logs
    progress: Progress = field(default_factory=Silent)


@dataclass(frozen=True)
class Score:
    """A method's answer for one volume.

    `score_map` (R, A, S) float32, finite, any sign, higher is more anomalous;
    `pseudo_healthy` (C, R, A, S) float32 in the units of the image, or None.
    """

    score_map: NDArray[np.float32]
    pseudo_healthy: NDArray[np.float32] | None = None


@dataclass
class Method(ABC):
    """Learns what healthy brains look like, then says how far a volume is from that.

    The fields are the hyper-parameters, each a `fit_option` or a `score_option`; the constructor
    stores them and does nothing else. What is learned lives in attributes that end in `_`.
    """

    grid: str = fit_option("g96", "model grid: volumes are handed over on it")

    @abstractmethod
    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Learn from healthy volumes only."""

    @abstractmethod
    def score(self, volume: Volume) -> Score:
        """Say how anomalous each voxel of one volume is; leaves the volume and the method as they were."""

    def calibrate(self, healthy: Volumes, context: Context) -> Self:
        """Look at healthy training volumes once more, with what was learned.

        The harness calls it before `score`, for scores that need statistics of healthy residuals; nothing
        of it is part of the state.
        """
        return self

    def state(self) -> State:
        """What was learned, as named arrays, enough for `load_state` to score the same."""
        return {}

    def load_state(self, state: State, context: Context) -> Self:
        """Take up what an earlier fit learned (`context` gives the device)."""
        return self

    def parameter_count(self) -> int:
        """How many numbers were learned."""
        return sum(array.size for array in self.state().values())


def load(name: str) -> type[Method]:
    """The class of a method by the name of its row."""
    folder = method_card(name).folder
    __path__[:] = [str(folder) for folder in catalog.folders("methods")]
    importlib.invalidate_caches()
    entry: type[Method] = importlib.import_module(f"uadbench.methods.{folder}.method").ENTRY
    return entry


def names() -> list[str]:
    """All methods, row by row, sorted."""
    return method_names()


def build(name: str, preset: str, settings: Mapping[str, str] = {}) -> Method:
    """A method with the values of a preset and, over them, settings given as text (`--set`)."""
    card, kind = method_card(name), load(name)
    if preset not in PRESETS:
        raise UserError(f"There is no preset '{preset}'; known are: {', '.join(PRESETS)}.")
    values = dict(card.preset.get(preset, {})) | {
        key: _parse(kind, name, key, text) for key, text in settings.items()
    }
    unknown = sorted(set(values) - set(options(kind)))
    if unknown:
        raise UserError(
            f"Preset '{preset}' of {name}'s card sets unknown {unknown}; known: {', '.join(options(kind))}."
        )
    return kind(**values)


def options(method: type[Method] | Method) -> dict[str, "Field[Any]"]:
    """The hyper-parameters of a method by name."""
    return {f.name: f for f in fields(method)}


def _parse(kind: type[Method], name: str, key: str, text: str) -> Any:
    """The value of a `--set key=text`, checked against the field's type and choices."""
    known = options(kind)
    if key not in known:
        raise UserError(f"{name} has no option '{key}'; known are: {', '.join(known)}.")
    wanted = typing.get_type_hints(kind)[key]
    try:
        value = text if wanted is str else json.loads(text.lower())
        if wanted is float and type(value) is int:
            value = float(value)
        if typing.get_origin(wanted) is tuple and isinstance(value, list):
            value = tuple(value)
        if not isinstance(value, typing.get_origin(wanted) or wanted):
            raise ValueError(value)
    except ValueError as error:
        expected = getattr(wanted, "__name__", str(wanted))
        raise UserError(f"--set {key} of {name} expects {expected}, but '{text}' came.") from error
    choices = known[key].metadata["choices"]
    if choices and value not in choices:
        raise UserError(
            f"--set {key} of {name} expects one of {', '.join(map(str, choices))}, but '{text}' came."
        )
    return value


def parameters(method: Method, stage: str | None = None) -> dict[str, Any]:
    """Values of the hyper-parameters, of one stage (`fit` or `score`) or of both."""
    return {
        key: getattr(method, key)
        for key, option in options(method).items()
        if stage in (None, option.metadata["stage"])
    }


def variant(name: str, method: Method, preset: str) -> str:
    """Name of a row: the preset and the sorted options that differ from it."""
    usual = parameters(build(name, preset))
    changed = {k: v for k, v in parameters(method).items() if v != usual[k]}
    return ",".join([preset, *[f"{key}={changed[key]}" for key in sorted(changed)]])


def source_hash(card: MethodCard) -> str:
    """Hash of the code that decides what a method learns and answers, see `uadbench.source`."""
    return source.source_hash(card.folder)
