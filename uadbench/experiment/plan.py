"""Plan: what a user asks for, with every question answered before any work begins."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from uadbench import datasets, methods
from uadbench.cards import DatasetCard, MethodCard, contrast_of, dataset_card, method_card
from uadbench.data import splits
from uadbench.data.prepared import Prepared
from uadbench.data.session import Session
from uadbench.data.space import EVALUATION, Frame, Target, find_grid
from uadbench.data.volumes import Volumes
from uadbench.datasets import Found
from uadbench.evaluation.postprocess import PROFILES as POSTPROCESSING
from uadbench.experiment.record import RunRecord
from uadbench.methods import PRECISIONS, Method
from uadbench.preprocessing import extract
from uadbench.preprocessing.prepare_scan import DEFAULTS, Options
from uadbench.protocol import PROFILES, Protocol, protocol
from uadbench.system import locks
from uadbench.system.errors import UserError, unknown
from uadbench.system.paths import Paths
from uadbench.system.progress import Progress

NONE = "none"  # --train: no healthy cohort takes part
LARGEST_SEED = 2**32 - 1  # that numpy takes


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What a user asks for: one method on one data set."""

    method: str
    dataset: str
    train: str | None = None  # None: the first partner on the data set's card; NONE: nobody
    contrast: str | None = None  # None: the first of the data set's card
    train_contrasts: tuple[str, ...] = ()  # empty: the tested contrast
    preset: str = "demo"
    seed: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None  # subjects per partition
    protocol: str | None = None  # None: that of the data set's card
    profiles: tuple[str, ...] = PROFILES
    precision: str = "float32"
    preparation: Options = DEFAULTS
    split: str = splits.RULES[0]

    @classmethod
    def of(cls, record: RunRecord) -> "RunConfig":
        """The cell that asks for a record's run again."""
        usual = methods.parameters(methods.build(record.method, record.preset))
        changed = {key: value for key, value in record.parameters.items() if value != usual[key]}
        return cls(
            method=record.method,
            dataset=record.test,
            train=record.train or NONE,
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
class Runtime:
    """Where and how a run is carried out; nothing of it may change a number on one machine."""

    paths: Paths
    progress: Progress
    device: str = "cpu"
    workers: int = 1


@dataclass(frozen=True)
class ResolvedRun:
    """A cell with every question answered: cards, method, protocol and who is in which partition."""

    config: RunConfig
    card: MethodCard
    method: Method
    protocol: Protocol
    test: Found
    train: Found | None
    contrast: str
    train_contrasts: tuple[str, ...]
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
    def headline(self) -> str:
        """The profile by which the row is ranked: that of the test set's card, if it is evaluated."""
        said = self.test.card.headline
        return said if said in self.config.profiles else self.config.profiles[-1]

    @property
    def variant(self) -> str:
        """Preset, options that differ from it, and what else sets the row apart."""
        name = methods.variant(self.config.method, self.method, self.config.preset)
        if self.train_contrasts and self.train_contrasts != (self.contrast,):
            name += f",train={'+'.join(self.train_contrasts)}"
        if self.config.limit is not None:
            name += f",limit={self.config.limit}"
        if self.config.precision != "float32":
            name += f",precision={self.config.precision}"
        cards = [found.card for found in (self.train, self.test) if found is not None]
        if self.config.split == splits.ALL_TEST:
            name += f",split={splits.ALL_TEST}"
        elif any(
            dataset_card(card.name).published_split and splits.find_rule(card) == "hash" for card in cards
        ):
            name += ",split=hash"
        if self.config.preparation.label:
            name += f",{self.config.preparation.label}"
        return name

    def place(self) -> Path:
        """Path of the record below the results folder."""
        pair = f"{self.train.card.name if self.train else NONE}-to-{self.test.card.name}"
        seed = f"seed-{self.config.seed}.json"
        return Path(self.protocol.id, pair, self.contrast, self.card.name, self.variant, seed)

    def card_of(self, partition: str) -> DatasetCard:
        """The card of the data set that supplies a partition."""
        if partition.startswith("healthy"):
            assert self.train is not None, "only a training cohort fills the healthy partitions"
            return self.train.card
        return self.test.card


def make_plan(
    config: RunConfig, runtime: Runtime, known: dict[tuple[str, str], Found] | None = None
) -> ResolvedRun:
    """Answer every question of a cell; each mistake in it is a UserError.

    `known` keeps what was found of each data set from one plan to the next, for plans made in one go.
    """
    known = {} if known is None else known
    card = method_card(config.method)
    _check_options(config)
    method = methods.build(config.method, config.preset, config.settings)
    _check_grid(method)
    test_card = dataset_card(config.dataset)
    contrast = contrast_of(test_card, config.contrast) if config.contrast else test_card.contrasts[0]
    if test_card.role == "healthy":
        raise UserError(
            f"{config.dataset} holds healthy subjects only: name it with --train and test on another set."
        )
    rules = protocol(config.protocol or test_card.protocol)
    train_name = _train_name(config, card, test_card, contrast)
    for name in (config.dataset, train_name):
        if name is not None:
            _check_space(rules, dataset_card(name))
    if rules.flat and card.template_space:
        raise UserError(
            f"{config.method} compares places of the brain in MNI152, and {config.dataset} has slices that "
            "lie in no space: choose a method that looks at slices."
        )
    test = _find(config.dataset, runtime, config.split, known)
    own = train_name == config.dataset
    if train_name is not None and not own:
        _check_there(train_name, config, card, test_card.partners.get(contrast, ()), runtime.paths)
    if own and test_card.within and config.split == splits.ALL_TEST:
        raise UserError(
            f"--split {splits.ALL_TEST} tests on every patient of {config.dataset}, and {config.method} is "
            f"given lesion-free slices of some of them: leave --split out, or say --train {NONE}."
        )
    train = (test if own else _find(train_name, runtime, config.split, known)) if train_name else None
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
        parts=_partitions(test, train, contrast, config.limit),
    )


def _check_options(config: RunConfig) -> None:
    """Refuse what can be known to be wrong before any card or scan is read."""
    for what, name, there in (
        ("precision", config.precision, PRECISIONS),
        ("split", config.split, splits.RULES),
        *(("profile", profile, POSTPROCESSING) for profile in config.profiles),
    ):
        if name not in there:
            raise unknown(what, name, there)
    for what, number, least, most in (
        ("seed", config.seed, 0, LARGEST_SEED),
        ("limit", config.limit, 1, LARGEST_SEED),
    ):
        if number is not None and not least <= number <= most:
            raise UserError(f"The {what} expects a whole number from {least} to {most}, but {number} came.")
    extract.check_extractor(config.preparation.extractor)


def _check_space(rules: Protocol, card: DatasetCard) -> None:
    """Slices without geometry and volumes in MNI152 never meet in one run."""
    if rules.flat != (card.space == "pixels"):
        has = "slices without geometry" if card.space == "pixels" else "volumes"
        wanted = "slices without geometry" if rules.flat else "volumes in MNI152"
        raise UserError(
            f"Protocol {rules.id} is for {wanted}, and {card.name} has {has}: "
            f"the protocol of its card is {card.protocol}."
        )


def find(name: str, runtime: Runtime) -> Found:
    """The subjects of a data set; one that makes or draws its own files makes those that are missing."""
    root, drawn = runtime.paths.root(name), None
    if datasets.can_generate(name):
        with locks.held(runtime.paths.lease(f"generate-{name}")):
            datasets.generate(name, root, runtime.progress)
    elif datasets.can_draw(name) and root.is_dir():
        drawn = runtime.paths.drawn(name)
        with locks.held(runtime.paths.lease(f"draw-{name}")):
            datasets.draw(name, root, drawn, runtime.workers, runtime.progress)
    return datasets.find(name, root, drawn)


def _find(name: str, runtime: Runtime, rule: str, known: dict[tuple[str, str], Found]) -> Found:
    """The subjects of a data set, with a card that says how they are split under a rule."""
    if (name, rule) not in known:
        found = find(name, runtime)
        known[name, rule] = replace(found, card=splits.apply_rule(found.card, rule))
    return known[name, rule]


def _check_grid(method: Method) -> None:
    """Refuse a model grid that is not there."""
    if method.grid != EVALUATION or methods.options(method)["grid"].default != EVALUATION:
        find_grid(method.grid)


def _train_name(config: RunConfig, card: MethodCard, test_card: DatasetCard, contrast: str) -> str | None:
    """The healthy cohort of a run: the one asked for, else the card's first partner.

    Drawn scans are no healthy cohort of a contrast: what learns nothing takes none of them unless asked to
    (protocol, rule 2). What lies on the disk has no say, so that one command has one meaning everywhere.
    """
    partners = [p for p in test_card.partners.get(contrast, ()) if card.trained or _is_real(p, test_card)]
    name = config.train or next(iter(partners), NONE)
    if name != NONE:
        if dataset_card(name).role == "lesion":
            raise UserError(f"--train {name} holds no healthy subjects; name a healthy data set.")
        return name
    if not card.trained:
        return None
    if config.train == NONE:
        raise UserError(f"{config.method} must be trained: name a healthy data set with --train.")
    raise UserError(
        f"{config.method} must be trained, and no public data set has healthy {contrast} volumes for "
        f"{config.dataset}: name another healthy set with --train and its contrasts with --train-contrast."
    )


def _is_real(name: str, test_card: DatasetCard) -> bool:
    """Whether a cohort's scans are of people, or of the phantom that is tested itself."""
    return name == test_card.name or dataset_card(name).population != "synthetic"


def _check_there(
    name: str, config: RunConfig, card: MethodCard, partners: Sequence[str], paths: Paths
) -> None:
    """Refuse a healthy cohort that is not on this machine, and say what may be asked for instead."""
    if datasets.can_generate(name) or paths.root(name).is_dir():
        return
    others = [other for other in partners if other != name]
    ways = [f"name another with --train ({', '.join(others)})"] if others else []
    if card.trained:
        needs = f"{config.method} must be trained on healthy scans"
    else:
        needs = f"{config.method} takes its thresholds from healthy scans"
        ways.append(f"say --train {NONE} to do without")
    which = name if config.train else f"{name}, the first partner of {config.dataset},"
    raise UserError(
        f"{needs}, and {which} is not under {paths.root(name)}: `uadbench datasets {name}` says how to get "
        f"it{''.join(f', or {way}' for way in ways)}."
    )


def _partitions(
    test: Found, train: Found | None, contrast: str, limit: int | None
) -> dict[str, Sequence[Session]]:
    """Who is in which partition; healthy ones come from the training cohort, whatever its contrasts."""
    parts: dict[str, Sequence[Session]] = {name: [] for name in splits.PARTITIONS}
    lesion = splits.split_sessions(
        [s for s in test.with_contrast(contrast) if not s.healthy], test.card, limit
    )
    parts |= {name: members for name, members in lesion.items() if name.startswith("lesion")}
    if train is not None:
        healthy = splits.split_sessions([s for s in train.sessions if s.healthy], train.card, limit)
        parts |= {name: members for name, members in healthy.items() if name.startswith("healthy")}
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
