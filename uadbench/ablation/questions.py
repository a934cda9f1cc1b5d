"""Questions about a method, from the `ablations.toml` of its folder.

Each has variants of the method (or other methods) and rules, written down before the runs, by which a part
of the method earns its place.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from uadbench import catalog
from uadbench.cards import method_card
from uadbench.errors import UserError
from uadbench.toml import parse

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


def read(method: str) -> Ablations:
    """The ablations of a method; a method without any is a UserError."""
    folder = method_card(method).folder
    path = catalog.locate("methods", folder) / "ablations.toml"
    if not path.is_file():
        raise UserError(f"{method} has no ablations: there is no {path}.")
    content = parse(path)
    try:
        contrasts = tuple(content["contrasts"])
        return Ablations(
            method=method,
            train_contrasts=tuple(content["train_contrasts"]),
            contrasts=contrasts,
            ablations=tuple(_ablation(method, contrasts, entry) for entry in content["ablation"]),
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} does not have the form of an ablations file: {error}.") from error


def _ablation(method: str, contrasts: tuple[str, ...], entry: Mapping[str, Any]) -> Ablation:
    rules = tuple(_rule(rule) for rule in entry["rule"])
    variants = tuple(
        Variant(
            name=one["name"],
            method=one.get("method", method),
            set={key: _text(value) for key, value in one.get("set", {}).items()},
            contrasts=tuple(one.get("contrasts", ())),
        )
        for one in entry["variant"]
    )
    asked = tuple(entry.get("contrasts", contrasts))
    return Ablation(
        letter=entry["letter"], question=entry["question"], variants=variants, rules=rules, contrasts=asked
    )


def _rule(entry: Mapping[str, Any]) -> Rule:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    rule = Rule(**values)
    if rule.test not in TESTS:
        raise UserError(f"A rule tests '{rule.test}'; expected one of {', '.join(TESTS)}.")
    return rule


def _text(value: Any) -> str:
    """A value as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value)
