"""Description: a grid as a TOML file, and the cells that it asks for."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta

from uadbench.cards import Name, Preset, Value, dataset_card, spelled
from uadbench.data import splits
from uadbench.experiment.config import LARGEST_SEED, RunConfig
from uadbench.preprocessing.prepare_scan import DEFAULTS, Options
from uadbench.system import toml
from uadbench.system.errors import UserError

# Options of sbatch that the submission states itself.
OWN_OPTIONS = ("array", "error", "job-name", "open-mode", "output", "signal", "wrap")
MOST_CELLS = 50_000  # of a grid; each is a process, and a line of what `grid status` prints

Names = Annotated[list[Name], Meta(min_length=1, max_length=1000)]
Seed = Annotated[int, Meta(ge=0, le=LARGEST_SEED)]
Gigabytes = Annotated[float, Meta(gt=0, le=100_000)]
# What Slurm's own names are made of: no blank or quote, so that a value is one word of its line.
Word = Annotated[str, Meta(pattern=r"\A[\w.,:@+/=-]*\Z")]


class Variant(TypedDict):
    """A method of the grid with other options."""

    method: str
    set: dict[str, Value]


class Excluded(TypedDict, total=False):
    """By what a cell is excluded. A key that is not named matches every cell."""

    method: str
    dataset: str
    contrast: str
    preset: str
    seed: int
    set: dict[str, Value]


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """What the cluster is asked for, over what cards and earlier records say."""

    partition: Word = ""
    account: Word = ""
    qos: Word = ""
    gpus: Annotated[int, Meta(ge=0, le=64)] | None = None  # per cell
    memory_gb: Gigabytes | None = None
    # A cell that takes longer is put back into the queue and goes on.
    minutes: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    setup: list[str] = field(default_factory=list)  # shell lines before Python starts, run as they are
    extra: dict[str, bool | int | float | str] = field(default_factory=dict)  # sbatch's, by long names
    signal_s: Annotated[int, Meta(ge=1, le=65_535)] = 90  # how long before its end a job is warned
    requeues: Annotated[int, Meta(ge=0, le=1000)] = 20  # how often a cell may run out of its time

    def __post_init__(self) -> None:
        """Options of sbatch are letters and hyphens, and none that the submission itself needs."""
        for key in self.extra:
            name = key.replace("_", "-")
            if not re.fullmatch("[a-z][a-z0-9-]*", name) or name in OWN_OPTIONS:
                raise ValueError(
                    f"extra expects long names of options of sbatch, but none of {', '.join(OWN_OPTIONS)}, "
                    f"which are the grid's own; {key!a} came"
                )


@dataclass(frozen=True, kw_only=True)
class Description:
    """A grid: methods x variants x data sets x contrasts x presets x seeds, less what is excluded."""

    methods: Names
    datasets: Names
    contrasts: list[Name] = field(default_factory=list)  # empty: the first of each data set's card
    seeds: Annotated[list[Seed], Meta(min_length=1)] = field(default_factory=lambda: [0])
    presets: Annotated[list[Preset], Meta(min_length=1)] = field(default_factory=lambda: ["demo"])
    variant: list[Variant] = field(default_factory=list)  # besides the plain methods
    exclude: list[Excluded] = field(default_factory=list)
    train: str | dict[str, str] = ""  # one healthy set, or by test set; "": the card's partner
    train_contrasts: list[str] = field(default_factory=list)
    protocol: str = ""
    precision: Literal["float32", "bf16"] = "float32"
    limit: Annotated[int, Meta(ge=1)] | None = None
    split: str = splits.RULES[0]
    extractor: str = DEFAULTS.extractor
    n4: bool = False
    device: str = "auto"
    # Of the processor for each cell: part of what makes two runs equal to the bit.
    threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    timeout_minutes: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    memory_gb: Gigabytes | None = None  # of a cell, instead of the estimate
    slurm: Slurm = field(default_factory=Slurm)

    def __post_init__(self) -> None:
        """Variants are of the grid's methods, and nobody could look through more cells."""
        there = ", ".join(self.methods)
        for one in self.variant:
            if one["method"] not in self.methods:
                raise ValueError(f"[[variant]] expects a method of the grid, {there}; {one['method']} came")
        seeds = len(self.seeds) * len(self.presets)
        tests = len(self.datasets) * max(1, len(self.contrasts))
        configs = seeds * tests * (len(self.methods) + len(self.variant))
        if configs > MOST_CELLS:
            raise ValueError(f"a grid of {configs:,} cells; expected are {MOST_CELLS:,} at most: divide it")

    def cells(self) -> list[RunConfig]:
        """Every cell once, data set by data set, so that what shares scans and fits stands together."""
        found = {_key(config): config for config in self._product() if not self._is_excluded(config)}
        if not found:
            raise UserError("The grid has no cell: every one is excluded, or no data set has the contrasts.")
        return list(found.values())

    def left_out(self) -> list[str]:
        """Contrasts that a data set does not have, in words."""
        return [
            f"{name} has no {contrast}"
            for name, contrast in product(self.datasets, self.contrasts)
            if not spelled(contrast, dataset_card(name).contrasts)
        ]

    def _contrasts(self, dataset: str) -> list[str]:
        """The contrasts of a data set that are asked for, in the spelling of its card."""
        there = dataset_card(dataset).contrasts
        found = [spelled(contrast, there) for contrast in self.contrasts or there[:1]]
        return list(dict.fromkeys(name for name in found if name))

    def _product(self) -> Iterator[RunConfig]:
        for dataset, preset, method in product(self.datasets, self.presets, self.methods):
            contrasts = self._contrasts(dataset)
            train = self.train if isinstance(self.train, str) else self.train.get(dataset, "")
            for seed, contrast, settings in product(self.seeds, contrasts, self._settings(method)):
                yield RunConfig(
                    method=method,
                    dataset=dataset,
                    train=train or None,
                    contrast=contrast,
                    train_contrasts=tuple(self.train_contrasts),
                    preset=preset,
                    seed=seed,
                    settings=settings,
                    limit=self.limit,
                    protocol=self.protocol or None,
                    precision=self.precision,
                    preparation=Options(self.extractor, self.n4),
                    split=self.split,
                )

    def _settings(self, method: str) -> list[dict[str, str]]:
        """The settings of a method's variants as text; the plain one, without any, comes first."""
        return [{}, *[_as_text(one["set"]) for one in self.variant if one["method"] == method]]

    def _is_excluded(self, config: RunConfig) -> bool:
        facts = {
            key: getattr(config, "settings" if key == "set" else key) for key in Excluded.__annotations__
        }
        rules = [rule | {"set": _as_text(rule["set"])} if "set" in rule else rule for rule in self.exclude]
        return any(all(_same(facts[key], wanted) for key, wanted in rule.items()) for rule in rules)


def _key(config: RunConfig) -> str:
    return json.dumps([str(getattr(config, f.name)) for f in fields(config)])


def _as_text(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as `--set` takes them."""
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in sorted(settings.items())}


def _same(fact: Any, wanted: Any) -> bool:
    """Whether a fact of a cell is what an exclusion names; contrasts in any case."""
    return fact == wanted or (isinstance(fact, str) and fact.lower() == str(wanted).lower())


def read(path: Path) -> Description:
    """The grid that a file describes; every mistake in it is a UserError that names the file."""
    if not path.is_file():
        raise UserError(f"There is no file {path}; a grid is described in a TOML file, see the README.")
    return toml.typed(Description, toml.parse(path), str(path))
