"""Description: a sweep as a TOML file, and the cells that it asks for."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from uadbench.cards import Name, Preset, Value, dataset_card, method_card, method_names, spelled
from uadbench.data import splits
from uadbench.experiment.config import LARGEST_SEED, RunConfig
from uadbench.preprocessing.prepare_scan import DEFAULTS, Options
from uadbench.system import toml
from uadbench.system.errors import UserError

# Options of sbatch that the submission states itself.
OWN_OPTIONS = ("array", "error", "job-name", "open-mode", "output", "signal", "wrap")
MOST_CELLS = 50_000  # of a sweep; each is a process, and a line of what `sweep status` prints
ALL, TRAINED = "all", "trained"  # words that stand for methods: every one that is here, those that learn

Names = Annotated[list[Name], Meta(min_length=1, max_length=1000)]
Place = Annotated[str, Meta(min_length=1, max_length=4096)]  # name of a data set, or a folder of scans
Seed = Annotated[int, Meta(ge=0, le=LARGEST_SEED)]
Gigabytes = Annotated[float, Meta(gt=0, le=100_000)]
# What Slurm's own names are made of: no blank or quote, so that a value is one word of its line.
Word = Annotated[str, Meta(pattern=r"\A[\w.,:@+/=-]*\Z")]


class Variant(TypedDict):
    """A method of the sweep with other options."""

    method: str
    set: dict[str, Value]
    contrasts: NotRequired[list[Name]]  # the only ones that it is tested on; left out: all of the sweep


class Pair(TypedDict):
    """A test set in one contrast, with what is learned from; what is left out is said by the sweep."""

    dataset: Place
    contrast: Name
    train: NotRequired[str]
    train_contrasts: NotRequired[list[Name]]
    protocol: NotRequired[str]


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
                    f"which are the sweep's own, got {key!a}"
                )


@dataclass(frozen=True, kw_only=True)
class Description:
    """A sweep: methods x variants x data sets x contrasts x presets x seeds, less what is excluded."""

    methods: Names
    datasets: list[Place] = field(default_factory=list)
    contrasts: list[Name] = field(default_factory=list)  # empty: the first of each data set's card
    pair: list[Pair] = field(default_factory=list)  # besides data sets x contrasts
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
        """There is something to test on, variants are of the sweep's methods, and not too many cells."""
        if not self.datasets and not self.pair:
            raise ValueError("lacks datasets (or tables [[pair]])")
        rows = self._rows()
        for one in self.variant:
            if one["method"] not in rows:
                raise ValueError(
                    f"[[variant]] expects a method of the sweep, {', '.join(rows)}, got {one['method']}"
                )
        tests = len(self.datasets) * max(1, len(self.contrasts)) + len(self.pair)
        cells = len(self.seeds) * len(self.presets) * tests * (len(rows) + len(self.variant))
        if cells > MOST_CELLS:
            raise ValueError(f"a sweep of {cells:,} jobs; expected {MOST_CELLS:,} at most: divide it")

    def rename(self, name_of: Callable[[str, str | None], str]) -> "Description":
        """The same with the names of data sets that `name_of` answers of a name or folder, and a contrast."""
        first = next(iter(self.contrasts), None)

        def named(table: Mapping[str, Any]) -> Any:
            contrast = table.get("contrast", first)
            places = {key: table[key] for key in ("dataset", "train") if table.get(key)}
            return {**table} | {key: name_of(place, contrast) for key, place in places.items()}

        train = self.train
        if isinstance(train, str):
            train = train and name_of(train, first)
        else:
            train = {name_of(test, first): name_of(one, first) for test, one in train.items()}
        return replace(
            self,
            datasets=[name_of(one, first) for one in self.datasets],
            train=train,
            pair=[named(one) for one in self.pair],
            exclude=[named(one) for one in self.exclude],
        )

    def cells(self) -> list[RunConfig]:
        """Every cell once, data set by data set, so that what shares scans and fits stands together."""
        found = {repr(config): config for config in self._product() if not self._is_excluded(config)}
        if not found:
            raise UserError("The sweep has no job: all are excluded, or no data set has the contrasts.")
        return list(found.values())

    def left_out(self) -> list[str]:
        """Contrasts that a data set does not have, in words."""
        return [
            f"{name} has no {contrast}"
            for name, contrast in product(self.datasets, self.contrasts)
            if not spelled(contrast, dataset_card(name).contrasts)
        ]

    def _rows(self) -> list[str]:
        """The methods, with the words for several of them written out."""
        rows: list[str] = []
        for name in self.methods:
            every = method_names() if name in (ALL, TRAINED) else [name]
            rows += [row for row in every if name != TRAINED or method_card(row).trained]
        return list(dict.fromkeys(rows))

    def _pairs(self) -> list[Pair]:
        """Data sets x contrasts in the spelling of their cards, and the pairs that are named."""
        found: list[Pair] = []
        for dataset in self.datasets:
            there = dataset_card(dataset).contrasts
            asked = [spelled(contrast, there) for contrast in self.contrasts or there[:1]]
            train = self.train if isinstance(self.train, str) else self.train.get(dataset, "")
            found += [{"dataset": dataset, "contrast": c, "train": train} for c in dict.fromkeys(asked) if c]
        return [*found, *self.pair]

    def _product(self) -> Iterator[RunConfig]:
        for pair, preset, method in product(self._pairs(), self.presets, self._rows()):
            for seed, settings in product(self.seeds, self._settings(method, pair["contrast"])):
                yield RunConfig(
                    method=method,
                    dataset=pair["dataset"],
                    train=pair.get("train") or None,
                    contrast=pair["contrast"],
                    train_contrasts=tuple(pair.get("train_contrasts", self.train_contrasts)),
                    preset=preset,
                    seed=seed,
                    settings=settings,
                    limit=self.limit,
                    protocol=pair.get("protocol", self.protocol) or None,
                    precision=self.precision,
                    preparation=Options(self.extractor, self.n4),
                    split=self.split,
                )

    def _settings(self, method: str, contrast: str) -> list[dict[str, str]]:
        """The settings of a method's variants as text; the plain one, without any, comes first."""
        mine = [one for one in self.variant if one["method"] == method]
        return [{}, *[_as_text(v["set"]) for v in mine if spelled(contrast, v.get("contrasts", [contrast]))]]

    def _is_excluded(self, config: RunConfig) -> bool:
        facts = {
            key: getattr(config, "settings" if key == "set" else key) for key in Excluded.__annotations__
        }
        rules = [rule | {"set": _as_text(rule["set"])} if "set" in rule else rule for rule in self.exclude]
        return any(all(_same(facts[key], wanted) for key, wanted in rule.items()) for rule in rules)


def _as_text(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as `--set` takes them."""
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in sorted(settings.items())}


def _same(fact: Any, wanted: Any) -> bool:
    """Whether a fact of a cell is what an exclusion names; contrasts in any case."""
    return fact == wanted or (isinstance(fact, str) and fact.lower() == str(wanted).lower())


def read_description(path: Path) -> Description:
    """The sweep that a file describes; every mistake in it is a UserError that names the file."""
    if not path.is_file():
        raise UserError(f"There is no file {path}; a sweep is described in a TOML file, see the README.")
    return toml.typed(Description, toml.parse(path), str(path))
