"""Comparisons of the full model with its variants, and whether the rules hold."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from uadbench.ablation.questions import Ablations, Rule, Variant
from uadbench.evaluation.uncertainty import Interval, difference_in_ap
from uadbench.experiment import pieces_file
from uadbench.experiment.record import RunRecord, Stored

INTERVALS = "ap"  # the quantity that has intervals


@dataclass(frozen=True)
class Comparison:
    """The full model and a variant on one contrast; numbers by quantity, AP by lesion kind ("" is all)."""

    contrast: str
    full: Mapping[str, float | None]
    variant: Mapping[str, float | None]
    ap: Mapping[str, Interval]


@dataclass(frozen=True)
class Verdict:
    """A rule, whether it holds (None: not decided, something is missing), and the numbers behind it."""

    rule: Rule
    variant: str
    passed: bool | None
    numbers: tuple[str, ...]


@dataclass
class Answer:
    """What came of one variant."""

    letter: str
    variant: Variant
    skipped: str = ""  # the reason why there are no numbers
    comparisons: list[Comparison] = field(default_factory=list)
    checks: Mapping[str, float] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)


@dataclass
class Report:
    """All that `uadbench ablate` found."""

    asked: Ablations
    dataset: str
    preset: str
    seed: int
    limit: int | None
    checks: Mapping[str, float]  # of the full model
    answers: list[Answer]


def compare(full: RunRecord, variant: RunRecord, results: Path) -> Comparison:
    """Numbers of two records of the same subjects."""
    pieces = [
        pieces_file.read(Stored(one, results / one.place)).pieces[full.headline] for one in (full, variant)
    ]
    kinds = sorted(full.summary.profiles[full.headline].kinds)
    intervals = {}
    for kind in ["", *kinds]:
        chosen = {full.subjects[row].id: full.subjects[row] for row in full.rows("lesion-test", kind or None)}
        both = [name for name in chosen if name in pieces[1].ids]  # paired by who they are
        first, second = (own.only([own.ids.index(name) for name in both]) for own in pieces)
        intervals[kind] = difference_in_ap(first, second, [chosen[name].person for name in both])
    return Comparison(full.contrast, _numbers(full), _numbers(variant), intervals)


def _numbers(one: RunRecord) -> dict[str, float | None]:
    headline = one.summary.profiles[one.headline]
    point = headline.points.get("fpr1")
    return {
        "ap": headline.ap,
        **{f"ap {kind}": values.ap for kind, values in headline.kinds.items()},
        "dice": None if point is None else point.dsc,
        "healthy_l1": one.summary.restoration.healthy_l1,
        "residual_ratio": one.summary.restoration.residual_ratio,
    }


def decide(rule: Rule, answer: Answer, checks: Mapping[str, float]) -> Verdict:
    """Whether a rule holds in every contrast it speaks of."""
    found: list[tuple[bool | None, str]] = []
    if rule.quantity in ("ap", "dice", "healthy_l1", "residual_ratio"):
        for one in answer.comparisons:
            if one.contrast in (rule.contrasts or (one.contrast,)):
                key = f"ap {rule.kind}" if rule.kind else rule.quantity
                interval = one.ap.get(rule.kind or "") if rule.quantity == INTERVALS else None
                passed, text = _holds(rule, one.full.get(key), one.variant.get(key), interval)
                found.append((passed, f"{one.contrast}: {text}"))
    else:
        names = [n for n in checks if n == rule.quantity or n.startswith(f"{rule.quantity} ")]
        for name in names:
            passed, text = _holds(rule, checks[name], answer.checks.get(name), None)
            found.append((passed, f"{name}: {text}"))
    decided = [passed for passed, _ in found]
    verdict = None if None in decided or not decided else all(decided)
    return Verdict(rule, answer.variant.name, verdict, tuple(text for _, text in found))


def _holds(
    rule: Rule, full: float | None, variant: float | None, interval: Interval | None
) -> tuple[bool | None, str]:
    """Whether a rule holds for two numbers, and the numbers in words."""
    absolute = rule.test in ("at_least", "at_most")
    if full is None or math.isnan(full) or (not absolute and (variant is None or math.isnan(variant))):
        return None, "not known"
    if absolute:
        return (full >= rule.value if rule.test == "at_least" else full <= rule.value), f"{full:.3f}"
    assert variant is not None
    text = f"{full:.3f} and {variant:.3f}"
    if interval is not None:
        text += f", difference {shown_interval(interval)}"
    if rule.test == "within_factor":
        return full <= rule.value * variant, text
    if rule.test == "below":
        return full < variant, text
    if rule.test == "not_below":
        return (interval.high >= 0 if interval is not None else full >= variant), text
    return (interval.low > 0 if interval is not None else full > variant), text


def shown_interval(interval: Interval) -> str:
    """A difference with its ends."""
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
