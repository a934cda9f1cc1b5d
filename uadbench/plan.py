"""Plan: what a user asks for, with every question answered before any work begins."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from uadbench import datasets, leases, methods, splits
from uadbench.cards import DatasetCard, MethodCard, dataset_card, method_card
from uadbench.datasets import Found
from uadbench.errors import UserError
from uadbench.evaluation.postprocess import PROFILES as POSTPROCESSING
from uadbench.grids import Grid, grid
from uadbench.methods import Method
from uadbench.places import Places
from uadbench.preparation import external
from uadbench.preparation.prepare_scan import DEFAULTS, Options
from uadbench.progress import Progress
from uadbench.protocol import PROFILES, Protocol, protocol
from uadbench.record import RunRecord
from uadbench.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a user asks for: one method on one data set."""

    method: str
    dataset: str
    train: str | None = None  # None: the default partner of the data set
    contrast: str | None = None  # None: the first of the data set's card
    train_contrasts: tuple[str, ...] = ()  # empty: the tested contrast
    preset: str = "demo"
    seed: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None  # persons per partition
    protocol: str | None = None  # None: that of the data set's card
    profiles: tuple[str, ...] = PROFILES
    precision: str = "float32"
    preparation: Options = DEFAULTS
    split: str = splits.RULES[0]

    @classmethod
    def of(cls, record: RunRecord) -> "Cell":
        """The cell that asks for a record's run again."""
        usual = methods.parameters(methods.build(record.method, record.preset))
        changed = {key: value for key, value in record.parameters.items() if value != usual[key]}
        return cls(
            method=record.method,
            dataset=record.test,
            train=record.train,
            contrast=record.contrast,
            train_contrasts=tuple(record.train_contrasts),
            preset=record.preset,
            seed=record.seed,
            settings={k: v if isinstance(v, str) else json.dumps(v) for k, v in changed.items()},
            limit=record.limit,
            protocol=record.protocol,
            profiles=tuple(name for name in POSTPROCESSING if name in record.thresholds),
            precision=record.precision,
            preparation=Options(**record.preparation.options),  # type: ignore[arg-type]
            split=record.split.asked,
        )


@dataclass(frozen=True)
class Machine:
    """Where and how a run is carried out; nothing of it may change a number on one machine."""

    places: Places
    progress: Progress
    device: str = "cpu"
    workers: int = 1


@dataclass(frozen=True)
class Plan:
    """A cell with every question answered: cards, method, protocol and who is in which partition."""

    cell: Cell
    card: MethodCard
    method: Method
    protocol: Protocol
    test: Found
    train: Found | None
    contrast: str
    train_contrasts: tuple[str, ...]
    parts: Mapping[str, Sequence[Subject]]

    @property
    def model_grid(self) -> Grid:
        """The grid on which the method is handed volumes."""
        return grid(self.method.grid)

    @property
    def variant(self) -> str:
        """Preset, options that differ from it, and what else sets the row apart."""
        name = methods.variant(self.cell.method, self.method, self.cell.preset)
        if self.train_contrasts and self.train_contrasts != (self.contrast,):
            name += f",train={'+'.join(self.train_contrasts)}"
        if self.cell.limit is not None:
            name += f",limit={self.cell.limit}"
        if self.cell.precision != "float32":
            name += f",precision={self.cell.precision}"
        cards = [found.card for found in (self.train, self.test) if found is not None]
        if any(dataset_card(card.name).published_split and splits.rule(card) == "hash" for card in cards):
            name += ",split=hash"
        if self.cell.preparation.label:
            name += f",{self.cell.preparation.label}"
        return name

    def place(self) -> Path:
        """Path of the record below the results folder."""
        pair = f"{self.train.card.name if self.train else 'none'}-to-{self.test.card.name}"
        seed = f"seed-{self.cell.seed}.json"
        return Path(self.protocol.id, pair, self.contrast, self.card.name, self.variant, seed)

    def card_of(self, partition: str) -> DatasetCard:
        """The card of the data set that supplies a partition."""
        if partition.startswith("healthy"):
            assert self.train is not None, "only a training cohort fills the healthy partitions"
            return self.train.card
        return self.test.card


def make_plan(cell: Cell, machine: Machine, known: dict[tuple[str, str], Found] | None = None) -> Plan:
    """Answer every question of a cell; each mistake in it is a UserError.

    `known` keeps what was found of each data set from one plan to the next, for plans made in one go.
    """
    known = {} if known is None else known
    card = method_card(cell.method)
    method = methods.build(cell.method, cell.preset, cell.settings)
    grid(method.grid)
    external.check(cell.preparation.extractor)
    test_card = dataset_card(cell.dataset)
    contrast = cell.contrast or test_card.contrasts[0]
    if contrast not in test_card.contrasts:
        raise UserError(
            f"{cell.dataset} has no contrast '{contrast}'; known are: {', '.join(test_card.contrasts)}."
        )
    if test_card.role == "healthy":
        raise UserError(
            f"{cell.dataset} holds healthy subjects only: name it with --train and test on another set."
        )
    if cell.split not in splits.RULES:
        raise UserError(f"--split expects {' or '.join(splits.RULES)}, but '{cell.split}' came.")
    rules = protocol(cell.protocol or test_card.protocol)
    for name in (cell.dataset, cell.train):
        if name is not None:
            _check_space(rules, dataset_card(name))
    if rules.flat and card.template_space:
        raise UserError(
            f"{cell.method} compares places of the brain in MNI152, and {cell.dataset} has slices that lie "
            "in no space: choose a method that looks at slices."
        )
    test = _find(cell.dataset, machine, cell.split, known)
    train_name = _train_name(cell, card, test_card, contrast, machine.places)
    own = train_name == cell.dataset
    train = (test if own else _find(train_name, machine, cell.split, known)) if train_name else None
    train_contrasts = (cell.train_contrasts or (contrast,)) if train and card.trained else ()
    return Plan(
        cell=cell,
        card=card,
        method=method,
        protocol=rules,
        test=test,
        train=train,
        contrast=contrast,
        train_contrasts=train_contrasts,
        parts=_partitions(test, train, contrast, cell.limit),
    )


def _check_space(rules: Protocol, card: DatasetCard) -> None:
    """Slices without geometry and volumes in MNI152 never meet in one run."""
    if rules.flat != (card.space == "pixels"):
        has = "slices without geometry" if card.space == "pixels" else "volumes"
        wanted = "slices without geometry" if rules.flat else "volumes in MNI152"
        raise UserError(
            f"Protocol {rules.id} is for {wanted}, and {card.name} has {has}: "
            f"the protocol of its card is {card.protocol}."
        )


def find(name: str, machine: Machine) -> Found:
    """The subjects of a data set; one that makes or draws its own files makes those that are missing."""
    root, drawn = machine.places.root(name), None
    if datasets.can_generate(name):
        with leases.held(machine.places.lease(f"generate-{name}")):
            datasets.generate(name, root, machine.progress)
    elif datasets.can_draw(name) and root.is_dir():
        drawn = machine.places.drawn(name)
        with leases.held(machine.places.lease(f"draw-{name}")):
            datasets.draw(name, root, drawn, machine.workers, machine.progress)
    return datasets.find(name, root, drawn)


def _find(name: str, machine: Machine, rule: str, known: dict[tuple[str, str], Found]) -> Found:
    """The subjects of a data set; its card forgets its published parts where they are not to be followed."""
    if (name, rule) not in known:
        found = find(name, machine)
        own = found.card if rule == "published" else replace(found.card, published_split={})
        known[name, rule] = replace(found, card=own)
    return known[name, rule]


def _train_name(
    cell: Cell, card: MethodCard, test_card: DatasetCard, contrast: str, places: Places
) -> str | None:
    """The healthy cohort of a run: the one named, else the first partner that is here."""
    if cell.train is not None:
        if dataset_card(cell.train).role == "lesion":
            raise UserError(f"--train {cell.train} holds no healthy subjects; name a healthy data set.")
        return cell.train
    partners = test_card.partners.get(contrast, ())
    for partner in partners:
        if datasets.can_generate(partner) or places.root(partner).is_dir():
            return partner
    if not card.trained:
        return None
    if not partners:
        raise UserError(
            f"{cell.method} must be trained, and no public data set has healthy {contrast} volumes for "
            f"{cell.dataset}: name another healthy set with --train and its contrasts with --train-contrast."
        )
    raise UserError(
        f"{cell.method} must be trained on healthy {contrast} volumes: {cell.dataset} can be tested from "
        f"{', '.join(partners)}, and none of them is under {places.data}; `uadbench datasets {partners[0]}` "
        "says how to get it."
    )


def _partitions(
    test: Found, train: Found | None, contrast: str, limit: int | None
) -> dict[str, Sequence[Subject]]:
    """Who is in which partition; healthy ones come from the training cohort, whatever its contrasts."""
    parts: dict[str, Sequence[Subject]] = {name: [] for name in splits.PARTITIONS}
    lesion = splits.split([s for s in test.with_contrast(contrast) if not s.healthy], test.card, limit)
    parts |= {name: members for name, members in lesion.items() if name.startswith("lesion")}
    if train is not None:
        healthy = splits.split([s for s in train.subjects if s.healthy], train.card, limit)
        parts |= {name: members for name, members in healthy.items() if name.startswith("healthy")}
    splits.check_persons(parts)
    if not parts["lesion-test"]:
        by_hash = splits.rule(test.card) == "hash"
        raise UserError(
            f"The lesion-test partition of {test.card.name} is empty: the split by "
            f"{'persons' if by_hash else 'published parts'} puts none of the {len(test.subjects)} subjects "
            f"under {test.root} there; add subjects{'' if by_hash else ', or use --split hash'}."
        )
    return parts
