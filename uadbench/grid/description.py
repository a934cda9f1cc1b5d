"""Description: a grid as a TOML file, and the cells that it asks for."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from itertools import product
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from uadbench import cards, splits
from uadbench.cards import dataset_card
from uadbench.errors import UserError
from uadbench.plan import Cell
from uadbench.preparation.prepare_scan import DEFAULTS, Options

# Keys by which a cell is excluded. One that is not named matches every cell.
EXCLUDED_BY = ("method", "dataset", "contrast", "preset", "seed", "set")


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """What the cluster is asked for, over what cards and earlier records say."""

    partition: str = ""
    account: str = ""
    qos: str = ""
    gpus: int | None = None  # per cell
    memory_gb: float | None = None
    minutes: int | None = None  # a cell that takes longer is put back into the queue and goes on
    setup: list[str] = field(default_factory=list)  # shell lines before Python starts
    extra: dict[str, Any] = field(default_factory=dict)  # options of sbatch by their long names
    signal_s: int = 90  # how long before the end of its time a job is warned
    requeues: int = 20  # how often a cell may run out of its time


@dataclass(frozen=True, kw_only=True)
class Description:
    """A grid: methods x variants x data sets x contrasts x presets x seeds, less what is excluded."""

    methods: list[str]
    datasets: list[str]
    contrasts: list[str] = field(default_factory=list)  # empty: the first of each data set's card
    seeds: list[int] = field(default_factory=lambda: [0])
    presets: list[str] = field(default_factory=lambda: ["demo"])
    variant: list[dict[str, Any]] = field(default_factory=list)  # `method` and `set`, besides the plain ones
    exclude: list[dict[str, Any]] = field(default_factory=list)  # see EXCLUDED_BY
    train: str | dict[str, str] = ""  # one healthy set, or by test set; "": the card's partner
    train_contrasts: list[str] = field(default_factory=list)
    protocol: str = ""
    precision: str = "float32"
    limit: int | None = None
    split: str = splits.RULES[0]
    extractor: str = DEFAULTS.extractor
    n4: bool = False
    device: str = "auto"
    threads: int = 1  # of the processor for each cell: part of what makes two runs equal to the bit
    timeout_minutes: float | None = None
    memory_gb: float | None = None  # of a cell, instead of the estimate
    slurm: Slurm = field(default_factory=Slurm)

    def cells(self) -> list[Cell]:
        """Every cell once, data set by data set, so that what shares scans and fits stands together."""
        found = {_key(cell): cell for cell in self._product() if not self._is_excluded(cell)}
        if not found:
            raise UserError("The grid has no cell: every one is excluded, or no data set has the contrasts.")
        return list(found.values())

    def left_out(self) -> list[str]:
        """Contrasts that a data set does not have, in words."""
        return [
            f"{name} has no {contrast}"
            for name, contrast in product(self.datasets, self.contrasts)
            if contrast not in dataset_card(name).contrasts
        ]

    def _product(self) -> Iterator[Cell]:
        for dataset, preset, method in product(self.datasets, self.presets, self.methods):
            known = dataset_card(dataset).contrasts
            contrasts = [c for c in self.contrasts if c in known] if self.contrasts else [known[0]]
            train = self.train if isinstance(self.train, str) else self.train.get(dataset, "")
            for seed, contrast, settings in product(self.seeds, contrasts, self._settings(method)):
                yield Cell(
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

    def _is_excluded(self, cell: Cell) -> bool:
        facts = {key: getattr(cell, key) for key in EXCLUDED_BY if key != "set"} | {"set": cell.settings}
        return any(
            all(facts[key] == (_as_text(wanted) if key == "set" else wanted) for key, wanted in rule.items())
            for rule in self.exclude
        )


def _key(cell: Cell) -> str:
    return json.dumps([str(getattr(cell, f.name)) for f in fields(cell)])


def _as_text(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as `--set` takes them."""
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in sorted(settings.items())}


def read(path: Path) -> Description:
    """The grid that a file describes; every mistake in it is a UserError that names the file."""
    if not path.is_file():
        raise UserError(f"There is no file {path}; a grid is described in a TOML file, see the README.")
    content = cards.parse(path)
    slurm = _made(Slurm, content.pop("slurm", {}), f"[slurm] of {path}")
    made: Description = _made(Description, content | {"slurm": slurm}, str(path))
    for rule in made.exclude:
        _check_keys(rule, EXCLUDED_BY, f"[[exclude]] of {path}")
    for one in made.variant:
        _check_keys(one, ("method", "set"), f"[[variant]] of {path}")
        if set(one) != {"method", "set"} or one["method"] not in made.methods:
            raise UserError(f"[[variant]] of {path} expects a method of the grid and its `set`; came {one}.")
    if made.threads < 1:
        raise UserError(f"threads in {path} expects 1 or more, but {made.threads} came.")
    return made


def _made(kind: type[Any], content: Mapping[str, Any], where: str) -> Any:
    """A description of a table; unknown, missing and mistyped keys are UserErrors."""
    known = {f.name: f for f in fields(kind)}
    _check_keys(content, tuple(known), where)
    for key, value in content.items():
        if not _fits(value, known[key].type):
            raise UserError(f"{key} in {where} expects {_name(known[key].type)}, but {value!r} came.")
    needed = (f.name for f in known.values() if f.default is MISSING and f.default_factory is MISSING)
    missing = [name for name in needed if not content.get(name)]
    if missing:
        raise UserError(f"{where} names no {' and no '.join(missing)}.")
    return kind(**content)


def _fits(value: Any, wanted: Any) -> bool:
    """Whether a value of a TOML file is of an annotated type."""
    if isinstance(wanted, UnionType):
        return any(_fits(value, one) for one in get_args(wanted))
    kind, inner = get_origin(wanted) or wanted, get_args(wanted)
    if kind is list:
        return isinstance(value, list) and all(_fits(item, inner[0]) for item in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _name(wanted: Any) -> str:
    return wanted.__name__ if isinstance(wanted, type) and not get_args(wanted) else str(wanted)


def _check_keys(content: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    surplus = sorted(set(content) - set(known))
    if surplus:
        raise UserError(f"{where} has unknown keys {surplus}; known are: {', '.join(known)}.")
