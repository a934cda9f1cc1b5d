"""Compare: two records on the scans that both have, figure by figure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import wilcoxon

from uadbench.evaluation import uncertainty
from uadbench.evaluation.uncertainty import Interval
from uadbench.experiment.facts import SubjectResult
from uadbench.experiment.recompute import wrong_figures
from uadbench.experiment.record import RunRecord, Stored, read_record
from uadbench.report.evidence import SAME_TEST, TESTED, Evidence
from uadbench.system.errors import UserError


@dataclass(frozen=True)
class Comparison:
    """First less second, figure by figure, on the same scans."""

    first: RunRecord
    second: RunRecord
    differences: Mapping[str, tuple[float, float, Interval, float]]  # both values, difference, p by bootstrap
    wilcoxon: float | None  # p of no difference between the scans' own AP
    corrected: Mapping[str, float]  # p by Holm over all of these tests
    subjects: int  # lesion-test scans that both have scored
    left_out: tuple[str, ...]  # lesion-test scans that only one of them has scored
    persons: int  # with lesions, of the scans that both have


def compare_records(first: Path, second: Path) -> Comparison:
    """Two records on the scans that both have scored, paired by id.

    Other protocol, contrast or regime, or no scan in common, is a UserError.
    """
    stored = [_read_believed(path) for path in (first, second)]
    records = [one.record for one in stored]
    for name in SAME_TEST:
        values = [getattr(made, name) for made in records]
        if values[0] != values[1]:
            raise UserError(
                f"{first} has the {name} {values[0]} and {second} {values[1]}: two numbers of different "
                f"{name} are not compared."
            )
    tested = [{s.id: s for s in made.subjects if s.partition in TESTED} for made in records]
    common = frozenset(name for name, one in tested[0].items() if _is_same(one, tested[1].get(name)))
    own = [
        {s.id: s.ap.get(made.headline) for s in made.subjects if s.partition == "lesion-test"}
        for made in records
    ]
    paired = sorted(name for name in own[0] if name in common)
    if not paired:
        raise UserError(f"{first} and {second} have no tested patient in common: run both on the same split.")
    found = _differences(*[Evidence(one, only=common) for one in stored])
    pairs = [(own[0][name], own[1][name]) for name in paired]
    apart = [a - b for a, b in pairs if a is not None and b is not None]
    ranked = float(wilcoxon(apart).pvalue) if any(apart) else None
    p_values = {name: p for name, (*_, p) in found.items()}
    if ranked is not None:
        p_values["wilcoxon"] = ranked
    return Comparison(
        records[0],
        records[1],
        differences=found,
        wilcoxon=ranked,
        corrected=dict(zip(p_values, uncertainty.holm(list(p_values.values())), strict=True)),
        subjects=len(paired),
        left_out=tuple(sorted((set(own[0]) | set(own[1])) - set(paired))),
        persons=len({tested[0][name].person for name in paired}),
    )


def _differences(first: Evidence, second: Evidence) -> dict[str, tuple[float, float, Interval, float]]:
    """Both values of each figure, their difference with its interval moved to the exact values, and p."""
    found = {}
    figures, others = first.figures(), second.figures()
    exact, exact_others = first.values(), second.values()
    for name, figure in figures.items():
        if name not in others or name == "ap":  # it is there by the name of its profile
            continue
        apart, p = uncertainty.difference(figure, others[name])
        a, b = exact.get(name, figure.value), exact_others.get(name, others[name].value)
        shift = a - b - apart.value
        found[name] = a, b, Interval(a - b, apart.low + shift, apart.high + shift), p
    return found


def _is_same(one: SubjectResult, other: SubjectResult | None) -> bool:
    """Whether an id means the same scan in both records."""
    return other is not None and (one.cohort, one.person, one.session, one.partition) == (
        other.cohort, other.person, other.session, other.partition,
    )  # fmt: skip


def _read_believed(path: Path) -> Stored:
    """A record whose figures follow from its score histograms."""
    stored = Stored(read_record(path), path)
    wrong = wrong_figures(stored)
    if wrong:
        raise UserError(f"{path} is not consistent: {wrong[0]}; `uadbench check-record` says all.")
    return stored
