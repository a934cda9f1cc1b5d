"""What a user asks of a run, and the same with every question answered before any work begins."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uadbench import catalog, datasets, methods
from uadbench.cards import DatasetCard, MethodCard, contrast_of, dataset_card, method_card
from uadbench.data import splits
from uadbench.data.prepared import Prepared
from uadbench.data.session import Session
from uadbench.data.space import EVALUATION, Frame, Target, find_grid
from uadbench.data.volumes import Volumes
from uadbench.datasets import Found
from uadbench.experiment.partner import check_partner, choose_partner
from uadbench.experiment.record import NOBODY, RunRecord, place_record
from uadbench.methods import PRECISIONS, Method
from uadbench.preprocessing import extract
from uadbench.preprocessing.prepare_scan import DEFAULTS, Options
from uadbench.protocol import Protocol, protocol
from uadbench.system.errors import UserError, check_known
from uadbench.system.paths import Paths
from uadbench.system.progress import Progress

LARGEST_SEED = 2**32 - 1  # that numpy takes


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What a user asks for: one method on one data set."""

    method: str
    dataset: str
    train: str | None = None  # None: the first partner on the data set's card; NOBODY: no healthy cohort
    contrast: str | None = None  # None: the first of the data set's card
    train_contrasts: tuple[str, ...] = ()  # empty: the tested contrast
    preset: str = "demo"
    seed: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None  # subjects per partition
    protocol: str | None = None  # None: that of the data set's card
    precision: str = "float32"
    preparation: Options = DEFAULTS
    split: str = splits.RULES[0]
    untrained: bool = False  # the networks stay as they were born

    @classmethod
    def of(cls, record: RunRecord) -> "RunConfig":
        """What asks for a record's run again."""
        steps = methods.training_steps(methods.load(record.method))
        untrained = bool(steps) and not any(record.parameters.get(key) for key in steps)
        settings = find_settings(record.method, record.preset, record.parameters)
        return cls(
            method=record.method,
            dataset=record.test,
            train=record.train or NOBODY,
            contrast=record.contrast,
            train_contrasts=tuple(record.train_contrasts),
            preset=record.preset,
            seed=record.seed,
            settings={k: v for k, v in settings.items() if not (untrained and k in steps)},
            limit=record.limit,
            protocol=record.protocol,
            precision=record.precision,
            preparation=Options(**record.preparation.options),  # type: ignore[arg-type]
            split=record.split.asked,
            untrained=untrained,
        )


def find_settings(method: str, preset: str, parameters: Mapping[str, Any]) -> dict[str, str]:
    """The options of a run that differ from those of its preset, as texts that `methods.build` takes."""
    usual = methods.parameters(methods.build(method, preset))
    changed = {key: value for key, value in parameters.items() if value != usual.get(key)}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in changed.items()}


@dataclass(frozen=True)
class Runtime:
    """Where and how a run is carried out; nothing of it may change a number on one machine."""

    paths: Paths
    progress: Progress
    device: str = "cpu"
    workers: int = 1
    on_scored: Callable[[], None] | None = None  # called when the maps are there: the rest needs no device


@dataclass(frozen=True)
class ResolvedRun:
    """A RunConfig with every question answered: cards, method, protocol and who is in which partition."""

    config: RunConfig
    card: MethodCard
    method: Method
    protocol: Protocol
    test: Found
    train: Found | None
    contrast: str
    train_contrasts: tuple[str, ...]
    variant: str  # preset, options that differ from it, and what else sets the row apart
    parts: Mapping[str, Sequence[Session]]

    @property
    def model_target(self) -> Target:
        """On what scans are prepared for the method: its model grid, or slices of as many pixels."""
        return self.protocol.model_target(self.method.grid)

    def volumes(self, members: Sequence[Prepared]) -> Volumes:
        """What the method sees of scans that were prepared on its model grid."""
        on = self.model_target
        if isinstance(on, Frame):  # all slices of a frame have its pixels, unless it takes them as they are
            pixels = on.pixels or (members[0].grid.shape[:2] if members else (1, 1))
            on = on.stack((pixels[0], pixels[1]), 0)
        return Volumes(members, on)

    @property
    def place(self) -> Path:
        """Path of the record below the results folder."""
        train = self.train.card.name if self.train else None
        row = self.contrast, self.card.name, self.variant
        return place_record(self.protocol.id, train, self.test.card.name, *row, self.config.seed)

    def card_of(self, partition: str) -> DatasetCard:
        """The card of the data set that supplies a partition."""
        if partition.startswith("healthy"):
            assert self.train is not None, "only a training cohort fills the healthy partitions"
            return self.train.card
        return self.test.card


def resolve_run(config: RunConfig, runtime: Runtime, known: dict[str, Found] | None = None) -> ResolvedRun:
    """Answer every question of a config; each mistake in it is a UserError.

    `known` keeps what was found of each data set from one call to the next, for calls in one go.
    """
    known = {} if known is None else known
    card = method_card(config.method)
    catalog.forget_changed("methods", card.folder)  # not later: a run's code is that of its start
    _check_options(config)
    method = methods.build(card, config.preset, config.settings, config.untrained)
    if method.grid != EVALUATION or methods.options(method)["grid"].default != EVALUATION:
        find_grid(method.grid)  # refuses one that is not there
    test_card = dataset_card(config.dataset)
    contrast = contrast_of(test_card, config.contrast) if config.contrast else test_card.contrasts[0]
    if test_card.role == "healthy":
        raise UserError(
            f"{config.dataset} holds healthy subjects only: name it with --train and test on another set."
        )
    rules = protocol(config.protocol or test_card.protocol)
    train_card = choose_partner(config.train, card, test_card, contrast)
    cards = [one for one in (test_card, train_card) if one is not None]
    for one in cards:
        _check_space(rules, one)
    _check_pair(config, card, rules, test_card, train_card)
    test = _find_split(test_card, config.split, runtime, known)
    train = None
    if train_card is not None:
        own = train_card.name == test_card.name
        if not own:
            check_partner(train_card, config.train, card, test_card, contrast, runtime.paths)
        train = test if own else _find_split(train_card, config.split, runtime, known)
    learned = (config.train_contrasts or (contrast,)) if train and card.trained else ()
    train_contrasts = tuple(contrast_of(train.card, name) for name in learned) if train else ()
    return ResolvedRun(
        config=config,
        card=card,
        method=method,
        protocol=rules,
        test=test,
        train=train,
        contrast=contrast,
        train_contrasts=train_contrasts,
        variant=name_variant(config, card, method, cards, contrast, train_contrasts),
        parts=_divide(test, train, contrast, config.limit),
    )


def name_variant(
    config: RunConfig,
    card: MethodCard,
    method: Method,
    cards: Sequence[DatasetCard],
    contrast: str,
    train_contrasts: tuple[str, ...],
) -> str:
    """Name of a row: preset, options that differ from it, and what else sets it apart from others."""
    by_hash = config.split == "hash" and any(one.published_split for one in cards)
    marks = {
        f"train={'+'.join(train_contrasts)}": train_contrasts not in ((), (contrast,)),
        f"limit={config.limit}": config.limit is not None,
        f"precision={config.precision}": config.precision != "float32",
        f"split={config.split}": by_hash or config.split == splits.ALL_TEST,
        config.preparation.label: bool(config.preparation.label),
    }
    return ",".join([methods.variant(card, method, config.preset), *[mark for mark in marks if marks[mark]]])


def _check_options(config: RunConfig) -> None:
    """Refuse what can be known to be wrong before any card or scan is read."""
    for what, name, there in (
        ("precision", config.precision, PRECISIONS),
        ("split", config.split, splits.RULES),
    ):
        check_known(what, name, there)
    for what, number, least in (("seed", config.seed, 0), ("limit", config.limit, 1)):
        if number is not None and not least <= number <= LARGEST_SEED:
            raise UserError(
                f"The {what} expects a whole number from {least} to {LARGEST_SEED}, got {number}."
            )
    extract.check_extractor(config.preparation.extractor)


def _check_space(rules: Protocol, card: DatasetCard) -> None:
    """Slices without geometry and volumes in MNI152 never meet in one run, and runs leave native space."""
    if rules.native:
        raise UserError(
            f"Protocol {rules.id} is for maps made elsewhere, with lesion masks of your own: "
            f"`uadbench evaluate MAPS --truth DIR`; {card.name} has {card.protocol}."
        )
    if rules.flat != (card.space == "pixels"):
        has = "slices without geometry" if card.space == "pixels" else "volumes"
        wanted = "slices without geometry" if rules.flat else "volumes in MNI152"
        raise UserError(
            f"Protocol {rules.id} is for {wanted}, and {card.name} has {has}: "
            f"the protocol of its card is {card.protocol}."
        )


def _check_pair(
    config: RunConfig, card: MethodCard, rules: Protocol, test: DatasetCard, train: DatasetCard | None
) -> None:
    """Refuse a method on data that it cannot work on, and training on who is tested."""
    if rules.flat and card.template_space:
        raise UserError(
            f"{config.method} needs volumes in MNI152, and {config.dataset} has slices without geometry: "
            "choose a method that works on slices."
        )
    if train == test and test.within and config.split == splits.ALL_TEST:
        raise UserError(
            f"--split {splits.ALL_TEST} tests on every patient of {config.dataset}, and {config.method} is "
            f"given lesion-free slices of some of them: leave --split out, or say --train {NOBODY}."
        )


def _find_split(card: DatasetCard, rule: str, runtime: Runtime, known: dict[str, Found]) -> Found:
    """The subjects of a data set, with a card that says how they are split under a rule."""
    if card.name not in known:
        known[card.name] = find_dataset(card.name, runtime)
    found = known[card.name]
    return replace(found, card=splits.apply_rule(found.card, rule))


def find_dataset(name: str, runtime: Runtime) -> Found:
    """The subjects of a data set; one that makes or draws its own files makes those that are missing."""
    return datasets.find_or_make(name, runtime.paths, runtime.workers, runtime.progress)


def _divide(
    test: Found, train: Found | None, contrast: str, limit: int | None
) -> dict[str, Sequence[Session]]:
    """Who is in which partition; healthy ones come from the training cohort, whatever its contrasts."""
    lesion = splits.split_sessions(
        [s for s in test.with_contrast(contrast) if not s.healthy], test.card, limit
    )
    healthy = (
        splits.split_sessions([s for s in train.sessions if s.healthy], train.card, limit) if train else {}
    )
    parts: dict[str, Sequence[Session]] = {
        name: (healthy if name.startswith("healthy") else lesion).get(name, []) for name in splits.PARTITIONS
    }
    splits.check_subjects(parts)
    if not parts["lesion-test"]:
        by_hash = splits.find_rule(test.card) == "hash"
        raise UserError(
            f"The lesion-test partition of {test.card.name} is empty: the split by "
            f"{'subjects' if by_hash else 'published parts'} puts none of the {len(test.sessions)} subjects "
            f"under {test.root} there; add subjects, {'' if by_hash else 'use --split hash, '}or test on all "
            f"patients there are with --split {splits.ALL_TEST}."
        )
    return parts
