"""Ablate: what each part of a method is worth, by rules that are written down before the runs.

A method's folder may have an `ablations.toml`: questions, each with variants of the method (or other
methods) and pass rules. Every variant is a run like any other, compared with the full model on the same
subjects; the folder's `checks.py`, where there is one, adds numbers that a score map does not show.
"""

import importlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from uadbench import catalog, methods, record
from uadbench.cards import method_card, method_names, parse
from uadbench.cohort import Cohort
from uadbench.errors import UserError
from uadbench.evaluation.pieces import Interval, paired_interval
from uadbench.evaluation.summary import rows
from uadbench.files import write_json, write_text
from uadbench.plan import Cell, Machine
from uadbench.protocol import PROFILES
from uadbench.record import RunRecord
from uadbench.run import fitted, run_recording_failure
from uadbench.volumes import Volumes

TESTS = {
    "above": "full is above the variant, and the interval of the difference too where there is one",
    "not_below": "the interval of the difference reaches 0 or lies above it",
    "below": "full is below the variant",
    "within_factor": "full is at most `value` times the variant",
    "at_least": "full reaches `value`",
    "at_most": "full does not exceed `value`",
}
INTERVALS = "ap"  # the quantity that has intervals


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


def ablate(
    asked: Ablations,
    cell: Cell,
    machine: Machine,
    letters: Sequence[str] = (),
    contrasts: Sequence[str] = (),
    force: bool = False,
) -> Report:
    """Run the full model and every variant, compare, and decide the rules.

    `cell` says data set, preset, seed and limit. Records go to a folder of their own: they are no rows of
    the leaderboard.
    """
    unknown = sorted(set(letters) - {one.letter for one in asked.ablations})
    if unknown:
        raise UserError(
            f"{asked.method} has no ablation {', '.join(unknown)}; "
            f"it has {', '.join(one.letter for one in asked.ablations)}."
        )
    machine = replace(machine, places=replace(machine.places, results=place(machine, asked.method)))
    wanted = [one for one in asked.ablations if one.letter in (letters or one.letter)]
    tested = [c for c in asked.contrasts if c in (contrasts or asked.contrasts)]
    whole = Variant(name="full model", method=asked.method)
    full = {c: _run(whole, c, asked, cell, machine, force) for c in tested}
    failed = [found for found in full.values() if isinstance(found, str)]
    if failed:
        raise UserError(f"The full model did not run: {failed[0]}.")
    known: dict[str, Mapping[str, float]] = {}  # checks by fit
    report = Report(asked, cell.dataset, cell.preset, cell.seed, cell.limit, {}, [])
    first: RunRecord = next(iter(full.values()))  # type: ignore[assignment]
    report.checks = known[first.fit_hash] = _checks(whole, tested, asked, cell, machine)
    for ablation in wanted:
        for variant in ablation.variants:
            answer = Answer(ablation.letter, variant)
            report.answers.append(answer)
            if variant.method not in method_names():
                answer.skipped = f"there is no method '{variant.method}' here"
                continue
            possible = variant.contrasts or ablation.contrasts
            for contrast in [c for c in ablation.contrasts if c in tested and c in possible]:
                found = _run(variant, contrast, asked, cell, machine, force)
                if isinstance(found, str):
                    answer.skipped = found
                    break
                answer.comparisons.append(_compare(full[contrast], found, machine.places.results))  # type: ignore[arg-type]
                if variant.method == asked.method and found.fit_hash not in known:
                    known[found.fit_hash] = _checks(variant, tested, asked, cell, machine)
                answer.checks = known.get(found.fit_hash, {})
            answer.verdicts = [
                _decide(rule, answer, report.checks)
                for rule in ablation.rules
                if variant.name in (rule.variants or (variant.name,)) and not answer.skipped
            ]
    return report


def place(machine: Machine, method: str) -> Path:
    """Folder of the records and tables of a method's ablations."""
    return machine.places.results / record.ABLATIONS / method


def _cell(variant: Variant, contrast: str, asked: Ablations, cell: Cell) -> Cell:
    return replace(
        cell,
        method=variant.method,
        contrast=contrast,
        train_contrasts=asked.train_contrasts,
        settings=dict(cell.settings) | dict(variant.set) if variant.method == asked.method else variant.set,
    )


def _run(
    variant: Variant, contrast: str, asked: Ablations, cell: Cell, machine: Machine, force: bool
) -> RunRecord | str:
    """The record of a variant on one contrast, or why there is none."""
    outcome = run_recording_failure(_cell(variant, contrast, asked, cell), machine, force)
    return outcome if isinstance(outcome, str) else outcome.record


def _checks(
    variant: Variant, contrasts: Sequence[str], asked: Ablations, cell: Cell, machine: Machine
) -> Mapping[str, float]:
    """Numbers of the folder's own `checks.py` about a fitted method, on healthy and lesion test scans."""
    folder = method_card(variant.method).folder
    if not (catalog.locate("methods", folder) / "checks.py").is_file():
        return {}
    methods.load(variant.method)
    module = importlib.import_module(f"uadbench.methods.{folder}.checks")
    cohorts: list[Cohort] = []
    for contrast in contrasts:
        method, cohort, grid = fitted(_cell(variant, contrast, asked, cell), machine)
        cohorts.append(cohort)
    healthy = [
        p for cohort in cohorts for part in ("healthy-val", "healthy-test") for p in cohort.model[part]
    ]
    patients = [p for cohort in cohorts for p in cohort.model["lesion-test"]]
    lesions = [p.lesion() for p in patients]
    found: Mapping[str, float] = module.checks(
        method, Volumes(healthy, grid), Volumes(patients, grid), lesions, asked.train_contrasts
    )
    return found


def _compare(full: RunRecord, variant: RunRecord, results: Path) -> Comparison:
    """Numbers of two records of the same subjects."""
    pieces = [record.pieces_of(one, results, PROFILES[-1]) for one in (full, variant)]
    kinds = sorted(full.summary["profiles"][PROFILES[-1]]["kinds"])
    intervals = {}
    for kind in ["", *kinds]:
        chosen = rows(full.subjects, "lesion-test", kind or None)
        persons = [full.subjects[row]["person"] for row in chosen]
        intervals[kind] = paired_interval(pieces[0].only(chosen), pieces[1].only(chosen), persons)
    return Comparison(full.contrast, _numbers(full), _numbers(variant), intervals)


def _numbers(one: RunRecord) -> dict[str, float | None]:
    headline = one.summary["profiles"][PROFILES[-1]]
    restoration = one.summary["restoration"]
    return {
        "ap": headline["ap"],
        **{f"ap {kind}": values["ap"] for kind, values in headline["kinds"].items()},
        "dice": headline["points"].get("fpr1", {}).get("dsc"),
        "healthy_l1": restoration.get("healthy_l1"),
        "residual_ratio": restoration.get("residual_ratio"),
    }


def _decide(rule: Rule, answer: Answer, checks: Mapping[str, float]) -> Verdict:
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
        text += f", difference {_interval(interval)}"
    if rule.test == "within_factor":
        return full <= rule.value * variant, text
    if rule.test == "below":
        return full < variant, text
    if rule.test == "not_below":
        return (interval.high >= 0 if interval is not None else full >= variant), text
    return (interval.low > 0 if interval is not None else full > variant), text


# ---- writing -----------------------------------------------------------------------------------


def _interval(interval: Interval) -> str:
    return f"{interval.difference:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def write(report: Report, machine: Machine) -> Path:
    """Write the tables as Markdown and all numbers as JSON beside the records."""
    folder = place(machine, report.asked.method)
    write_text(folder / "ABLATIONS.md", markdown(report))
    write_json(folder / "ablations.json", _plain(asdict(report)))
    return folder / "ABLATIONS.md"


def _plain(value: Any) -> Any:
    """Numbers that JSON can hold, at 6 decimals."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Interval):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {key or "all": _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def markdown(report: Report) -> str:
    """The report in words and tables."""
    asked = report.asked
    people = "" if report.limit is None else f", at most {report.limit} persons a partition"
    lines = [
        f"# Ablations of {asked.method}",
        "",
        f"Full model: preset {report.preset}, seed {report.seed}, trained on "
        f"{' and '.join(asked.train_contrasts)}, tested on {report.dataset}{people}. AP is pooled over "
        f"voxels after `{PROFILES[-1]}`; the difference is full model less variant with a 95 % paired "
        "bootstrap interval over persons. DSC 1% is Dice at 1 % false positives on healthy-val. One seed: "
        "what another seed would change is not in the intervals.",
        "",
    ]
    if report.dataset == "phantom":
        lines += ["The phantom checks mechanics: ranks on it are no evidence about brains.", ""]
    for ablation in asked.ablations:
        answers = [answer for answer in report.answers if answer.letter == ablation.letter]
        if answers:
            lines += [f"## {ablation.letter}: {ablation.question}", "", *_tables(answers)]
    if report.checks:
        lines += ["## Checks of what was learned", "", *_checks_table(report)]
    return "\n".join(lines) + "\n"


def _tables(answers: Sequence[Answer]) -> list[str]:
    """Comparisons and verdicts of one question."""
    header = ["variant", "contrast", "AP full", "AP variant", "difference", "DSC 1% full", "DSC 1% variant"]
    header += ["healthy L1 full", "healthy L1 variant"]
    lines = [_line(header), _line(["---"] * 2 + ["---:"] * (len(header) - 2))]
    for answer in answers:
        for one in answer.comparisons:
            pairs = [(one.full[key], one.variant[key]) for key in ("dice", "healthy_l1")]
            cells = [answer.variant.name, one.contrast, _shown(one.full["ap"]), _shown(one.variant["ap"])]
            cells += [_interval(one.ap[""]), *[_shown(value) for pair in pairs for value in pair]]
            lines.append(_line(cells))
    lines.append("")
    for answer in answers:
        if answer.skipped:
            lines.append(f"- {answer.variant.name}: skipped, {answer.skipped}.")
        for verdict in answer.verdicts:
            word = {True: "**pass**", False: "**fail**", None: "not decided"}[verdict.passed]
            numbers = "; ".join(verdict.numbers)
            lines.append(f"- {word}, {verdict.variant}: {verdict.rule.text} ({numbers})")
    return [*lines, ""]


def _checks_table(report: Report) -> list[str]:
    """Checks of the full model and of the variants that were fitted anew."""
    columns: dict[str, Mapping[str, float]] = {"full model": report.checks}
    for answer in report.answers:
        if answer.checks and all(answer.checks is not seen for seen in columns.values()):
            columns[f"{answer.letter}: {answer.variant.name}"] = answer.checks
    lines = [_line(["check", *columns]), _line(["---", *["---:"] * len(columns)])]
    for name in report.checks:
        lines.append(_line([name, *[_shown(values.get(name)) for values in columns.values()]]))
    return [*lines, ""]
