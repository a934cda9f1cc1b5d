"""Method: what a method is, its options, and how one is found by name.

A method is a folder `methods/<name>/` with a `card.toml` (facts) and a `method.py` (behaviour)
that ends in `ENTRY = TheClass`.
"""

import importlib
import json
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from uadbench import catalog
from uadbench.cards import PRESETS, MethodCard, method_card, method_names
from uadbench.data.volumes import Volume, Volumes
from uadbench.system import environment, ranges
from uadbench.system.errors import UserError, check_known
from uadbench.system.progress import Progress, Silent
from uadbench.system.text import visible

# Makes this module a package whose sub-packages are the folders of `methods/`:
# `methods/x/method.py` is imported as `uadbench.methods.x.method`, installed or not.
__path__ = [str(folder) for folder in catalog.folders("methods")]

State = dict[str, NDArray[Any]]
PRECISIONS = ("float32", "bf16")  # of training; scores are always float32


def fit_option(default: Any, doc: str, choices: tuple[Any, ...] = ()) -> Any:
    """A hyper-parameter that changes what is learned: part of the fit's hash."""
    return field(default=default, metadata={"stage": "fit", "doc": doc, "choices": choices})


def score_option(default: Any, doc: str, choices: tuple[Any, ...] = ()) -> Any:
    """A hyper-parameter of scoring only: rows that differ in it share one fit."""
    return field(default=default, metadata={"stage": "score", "doc": doc, "choices": choices})


@dataclass(frozen=True)
class Spent:
    """Seconds of one training, and how many of them were spent before this process."""

    seconds: float
    earlier: float = 0.0


@dataclass(frozen=True)
class Shared:
    """A training that is the same in several methods, by what it depends on beside volumes and seed."""

    name: str
    module: str  # whose code, with all that it imports, decides what is learned
    options: Mapping[str, Any]
    state: Callable[[Any], State]  # what a network has learned
    load: Callable[[State], Any]  # a network that has learned it


@dataclass(frozen=True)
class Context:
    """What `fit` is given besides the volumes."""

    device: str = "cpu"  # a torch device
    precision: str = "float32"
    seed: int = 0  # the harness has seeded numpy's and torch's global generators before `fit`
    folder: Path = Path()  # for checkpoints and logs
    progress: Progress = field(default_factory=Silent)
    spent: dict[str, Spent] = field(default_factory=dict)  # on each training of this fit, by its name
    keep: "Callable[[Context, Shared, Callable[[Context], Any]], Any] | None" = None  # of the harness

    def share(self, stage: Shared, train: "Callable[[Context], Any]") -> Any:
        """The network that `train` makes and trains, or what it was when another method asked for the same.

        Global generators are seeded before it and after it: what follows draws the same numbers either way.
        """
        environment.seed_everything(environment.stage_seed(self.seed, stage.name))
        network = self.keep(self, stage, train) if self.keep else train(self)
        environment.seed_everything(environment.stage_seed(self.seed, f"after {stage.name}"))
        return network


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
    stores them and does nothing else. What is learned lives in attributes that end in `_`. `score` works
    right after `fit` (and `calibrate`), and right after `load_state`.
    """

    grid: str = fit_option("g96", "model grid: volumes are handed over on it")

    @abstractmethod
    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Learn from healthy volumes only."""

    @abstractmethod
    def score(self, volume: Volume) -> Score:
        """Say how anomalous each voxel of one volume is; leaves the volume and the method as they were."""

    def calibrate(self, healthy: Volumes, context: Context) -> Self:
        """Look at healthy volumes that were not learned from, with what was learned.

        The harness calls it before `score`, for scores that need statistics of healthy residuals: with
        healthy-val, or, before a scan of healthy-val is scored, with the other subjects there. Nothing of it
        is part of the state.
        """
        return self

    def calibration_state(self) -> State:
        """What `calibrate` found, as named arrays, enough for `load_calibration` to score the same.

        No run asks for it: it goes with a model that is exported and leaves its healthy volumes behind.
        """
        return {}

    def load_calibration(self, found: State) -> Self:
        """Take up what an earlier `calibrate` found; ValueError for arrays that it cannot have found."""
        return self

    @property
    def calibrated(self) -> bool:
        """Whether scores depend on what `calibrate` was shown, with these settings."""
        return False

    def state(self) -> State:
        """What was learned, as named arrays, enough for `load_state` to score the same."""
        return {}

    def load_state(self, state: State, context: Context) -> Self:
        """Take up what an earlier fit learned (`context` gives the device)."""
        return self

    def check(self) -> None:
        """Refuse, with a ValueError, options that do not go together; called before anything is prepared."""
        return

    def parameter_count(self) -> int:
        """How many numbers were learned."""
        return sum(array.size for array in self.state().values())


@dataclass
class Stochastic(Method):
    """A method whose score draws random numbers, from numpy's or torch's global generators.

    The harness seeds these by the run's seed and the volume's content before every draw.
    """

    draws: ranges.Draws = score_option(
        1, "maps of different noise, whose mean is the score map; 1: as published"
    )


def load(row: str | MethodCard) -> type[Method]:
    """The class of a method by its row: the name, or the card."""
    card = _card_of(row)
    folder = card.folder
    __path__[:] = [str(folder) for folder in catalog.folders("methods")]
    importlib.invalidate_caches()
    try:
        entry: type[Method] = importlib.import_module(f"uadbench.methods.{folder}.method").ENTRY
        hints(entry)
    except Exception as error:  # whatever the code of a plug-in does
        raise UserError(
            f"The code of method '{card.name}', {catalog.locate('methods', folder) / 'method.py'}, cannot be "
            f"loaded: {type(error).__name__}: {visible(str(error))}."
        ) from error
    return entry


def _card_of(row: str | MethodCard) -> MethodCard:
    return method_card(row) if isinstance(row, str) else row


def names() -> list[str]:
    """All methods, row by row, sorted."""
    return method_names()


def build(
    row: str | MethodCard, preset: str, settings: Mapping[str, str] = {}, untrained: bool = False
) -> Method:
    """A method with the values of a preset and, over them, settings given as text (`--set`).

    With `untrained` it has no step of training, which no setting can ask for: its networks stay as they were
    born, and show what training buys.
    Each value is held against its option's range, and all of them against each other: what cannot be
    carried out is a UserError here, before anything is prepared.
    """
    card = _card_of(row)
    name, kind = card.name, load(card)
    check_known("preset", preset, PRESETS)
    values = {
        key: _value(kind, name, key, value, f"{value} in its preset {preset}")
        for key, value in card.preset[preset].items()
    }
    values |= {key: _value(kind, name, key, _parse(kind, key, text), text) for key, text in settings.items()}
    if untrained:
        values |= dict.fromkeys(training_steps(kind), 0)
    method = kind(**values)
    if settings:
        try:
            method.check()
        except UserError:
            raise
        except Exception as error:  # whatever a layer raises
            asked = visible(", ".join(f"{key}={text}" for key, text in settings.items()))
            raise UserError(f"{name} cannot be made with {asked}: {error}.") from error
    return method


@cache
def hints(kind: type[Method]) -> dict[str, Any]:
    """The types of a method's options with their ranges, by name."""
    return typing.get_type_hints(kind, include_extras=True)


def options(method: type[Method] | Method) -> dict[str, "Field[Any]"]:
    """The hyper-parameters of a method by name."""
    return {f.name: f for f in fields(method)}


def training_steps(kind: type[Method]) -> list[str]:
    """The options that say how many steps a network is trained for; none where no network is."""
    return [key for key in options(kind) if hints(kind)[key] in (ranges.Steps, ranges.MoreSteps)]


def _parse(kind: type[Method], key: str, text: str) -> Any:
    """The value of a `--set key=text`; what is no value is left as it is, for `_value` to refuse."""
    if key not in options(kind) or str in (wanted := hints(kind)[key], *typing.get_args(wanted)):
        return text
    try:
        return json.loads(text.lower())
    except (ValueError, RecursionError):
        return text


def _value(kind: type[Method], name: str, key: str, value: Any, came: str) -> Any:
    """A value of an option, of its type and in its range; `came` is how it was written."""
    there = options(kind)
    check_known("option", key, there, of=name)
    choices = there[key].metadata["choices"]
    if choices:
        check_known(key, value, choices, of=name)
    try:
        return ranges.fits(value, hints(kind)[key])
    except ValueError as error:
        wanted = ranges.expected(hints(kind)[key])
        raise UserError(f"{key} of {name} expects {wanted}, got {visible(came)[:60]}.") from error


def parameters(method: Method, stage: str | None = None) -> dict[str, Any]:
    """Values of the hyper-parameters, of one stage (`fit` or `score`) or of both."""
    return {
        key: getattr(method, key)
        for key, option in options(method).items()
        if stage in (None, option.metadata["stage"])
    }


def variant(row: str | MethodCard, method: Method, preset: str) -> str:
    """Name of a row: the preset and the sorted options that differ from it."""
    usual = parameters(build(row, preset))
    changed = {k: v for k, v in parameters(method).items() if v != usual[k]}
    return ",".join([preset, *[f"{key}={changed[key]}" for key in sorted(changed)]])
