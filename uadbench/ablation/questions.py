"""Questions about a method, from the `ablations.toml` of its folder.

Each has variants of the method (or other methods) and rules, written down before the runs, by which a part
of the method earns its place.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from uadbench import catalog
from uadbench.cards import Value, method_card
from uadbench.system import toml
from uadbench.system.errors import UserError, unknown

TESTS = {
    "above": "full is above the variant, and the interval of the difference too where there is one",
    "not_below": "the interval of the difference reaches 0 or lies above it",
    "below": "full is below the variant",
    "within_factor": "full is at most `value` times the variant",
    "at_least": "full reaches `value`",
    "at_most": "full does not exceed `value`",
}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What must hold for a part to have earned its place."""

    text: str
    quantity: str  # ap, dice, healthy_l1, residual_ratio, or the name of a check
    test: str  # one of TESTS
    value: float = 0.0
    kind: str | None = None  # of lesion, for AP; None: all
    contrasts: tuple[str, ...] = ()  # none: all that the ablation has
    variants: tuple[str, ...] = ()  # none: all


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A changed model: options over those of the preset, or another method."""

    name: str
    method: str
    set: Mapping[str, str] = field(default_factory=dict)
    contrasts: tuple[str, ...] = ()  # the only ones that it can be tested on; empty: those of its question


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """One question."""

    letter: str
    question: str
    variants: tuple[Variant, ...]
    rules: tuple[Rule, ...]
    contrasts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Ablations:
    """All questions about a method, and what the full model is trained and tested on."""

    method: str
    train_contrasts: tuple[str, ...]
    contrasts: tuple[str, ...]
    ablations: tuple[Ablation, ...]


@dataclass(frozen=True, kw_only=True)
class _Change:
    """A variant as the file has it."""

    name: str
    method: str = ""  # "": the method of the folder
    set: Mapping[str, Value] = field(default_factory=dict)
    contrasts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Question:
    """An ablation as the file has it."""

    letter: str
    question: str
    variant: tuple[_Change, ...]
    rule: tuple[Rule, ...]
    contrasts: tuple[str, ...] = ()  # none: those of the file


@dataclass(frozen=True, kw_only=True)
class _File:
    """The whole file."""

    train_contrasts: tuple[str, ...]
    contrasts: tuple[str, ...]
    ablation: tuple[_Question, ...]


def read(method: str) -> Ablations:
    """The ablations of a method; a method without any, and a mistake in its file, are UserErrors."""
    folder = method_card(method).folder
    path = catalog.locate("methods", folder) / "ablations.toml"
    if not path.is_file():
        raise UserError(f"{method} has no ablations: there is no {path}.")
    asked = toml.typed(_File, toml.parse(path), str(path))
    for rule in (rule for one in asked.ablation for rule in one.rule):
        if rule.test not in TESTS:
            raise unknown("test", rule.test, TESTS, of=str(path))
    return Ablations(
        method=method,
        train_contrasts=asked.train_contrasts,
        contrasts=asked.contrasts,
        ablations=tuple(_ablation(method, asked.contrasts, one) for one in asked.ablation),
    )


def _ablation(method: str, contrasts: tuple[str, ...], asked: _Question) -> Ablation:
    variants = tuple(
        Variant(
            name=one.name,
            method=one.method or method,
            set={key: _text(value) for key, value in one.set.items()},
            contrasts=one.contrasts,
        )
        for one in asked.variant
    )
    return Ablation(
        letter=asked.letter,
        question=asked.question,
        variants=variants,
        rules=asked.rule,
        contrasts=asked.contrasts or contrasts,
    )


def _text(value: Any) -> str:
    """A value as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value)
