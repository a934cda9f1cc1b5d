"""Compare: two records, or two rows of the leaderboard over all their seeds, on the scans that both have."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy.stats import wilcoxon

from uadbench.evaluation import uncertainty
from uadbench.evaluation.uncertainty import Interval
from uadbench.experiment.facts import SubjectResult
from uadbench.experiment.recompute import wrong_figures
from uadbench.experiment.record import RunRecord, Stored, read_record
from uadbench.report.evidence import SAME_TEST, TESTED, Evidence, figures_of_row
from uadbench.report.sheets import Sheet
from uadbench.system.errors import UserError

Seeds = Sequence[Stored]  # the records of one row, one for each seed
_ROW = ("method", "variant", "model_grid", "train")


@dataclass(frozen=True)
class Comparison:
    """First less second, figure by figure, on the same scans."""

    first: Seeds
    second: Seeds
    differences: Mapping[str, tuple[float, float, Interval, float]]  # both values, difference, p by bootstrap
    wilcoxon: float | None  # p of no difference between the subjects' own AP
    corrected: Mapping[str, float]  # p by Holm over all of these tests
    subjects: int  # lesion-test scans that both have scored
    left_out: tuple[str, ...]  # lesion-test scans that only one of them has scored
    persons: int  # with lesions, of the scans that both have


def compare_records(first: Path, second: Path) -> Comparison:
    """Two records, or the folders of two rows with all their seeds, on the scans that both have scored.

    Other protocol, contrast or training setting, or no scan in common, is a UserError.
    """
    return compare_rows(_read_row(first), _read_row(second))


def compare_methods(records: Iterable[Stored], first: str, second: str) -> list[Comparison]:
    """Two methods wherever both were tested alike: one comparison for each test, over all seeds.

    Raises:
        UserError: no test has both, or one of them has several rows in a test.
    """
    tests: dict[tuple[Any, ...], dict[str, dict[tuple[Any, ...], list[Stored]]]] = {}
    for one in records:
        made = one.record
        test = tests.setdefault(tuple(getattr(made, name) for name in SAME_TEST), {})
        row = tuple(getattr(made, name) for name in _ROW)
        test.setdefault(made.method, {}).setdefault(row, []).append(one)
    both = [test for _, test in sorted(tests.items()) if {first, second} <= set(test)]
    if not both:
        there = sorted({name for test in tests.values() for name in test})
        raise UserError(
            f"No test has records of both {first} and {second}; there are records of "
            f"{', '.join(there) or 'nothing'}."
        )
    return [compare_rows(*(_only_row(test[name]) for name in (first, second))) for test in both]


def _only_row(rows: Mapping[tuple[Any, ...], Seeds]) -> Seeds:
    if len(rows) > 1:
        named = "; ".join(" ".join(map(str, row)) for row in rows)
        raise UserError(
            f"Expected one row of {next(iter(rows))[0]}, got {len(rows)} ({named}): choose with --preset, "
            "or give the paths of two records, or of the folders that hold a row's records."
        )
    return sorted(next(iter(rows.values())), key=lambda one: one.record.seed)


def compare_rows(first: Seeds, second: Seeds) -> Comparison:
    """Two rows on the scans that all their seeds have scored, paired by id."""
    both = (first, second)
    for name in SAME_TEST:
        values = [getattr(row[0].record, name) for row in both]
        if values[0] != values[1]:
            raise UserError(
                f"{first[0].path} has the {name} {values[0]} and {second[0].path} {values[1]}: two values of "
                f"different {name} are not compared."
            )
    tested = [{s.id: s for s in one.record.subjects if s.partition in TESTED} for row in both for one in row]
    common = frozenset(
        name for name, scan in tested[0].items() if all(_is_same(scan, other.get(name)) for other in tested)
    )
    ill = [{name for name, scan in own.items() if scan.partition == "lesion-test"} for own in tested]
    paired = sorted(common & ill[0])
    if not paired:
        raise UserError(
            f"{first[0].path} and {second[0].path} have no tested patient in common: run both on the "
            "same split."
        )
    found = _differences(*[[Evidence(one, only=common) for one in row] for row in both])
    own, others = (own_ap([one.record for one in row], common) for row in both)
    apart = [own[person] - others[person] for person in sorted(own) if person in others]
    ranked = float(wilcoxon(apart).pvalue) if any(apart) else None
    p_values = {name: p for name, (*_, p) in found.items()}
    if ranked is not None:
        p_values["wilcoxon"] = ranked
    return Comparison(
        first,
        second,
        differences=found,
        wilcoxon=ranked,
        corrected=dict(zip(p_values, uncertainty.holm(list(p_values.values())), strict=True)),
        subjects=len(paired),
        left_out=tuple(sorted(set.union(*ill) - set(paired))),
        persons=len({tested[0][name].person for name in paired}),
    )


def own_ap(records: Sequence[RunRecord], only: frozenset[str] | None = None) -> dict[str, float]:
    """Each patient's own AP after the headline profile: the mean over scans and seeds.

    Without those who have none in some record; `only` these scans.
    """
    of_seeds = []
    for made in records:
        scans: dict[str, list[float]] = {}
        for s in made.subjects:
            value = s.ap.get(made.headline)
            if s.partition == "lesion-test" and value is not None and (only is None or s.id in only):
                scans.setdefault(s.person, []).append(value)
        of_seeds.append({person: fmean(values) for person, values in scans.items()})
    shared = set.intersection(*map(set, of_seeds))
    return {person: fmean(own[person] for own in of_seeds) for person in sorted(shared)}


def _differences(
    first: Sequence[Evidence], second: Sequence[Evidence]
) -> dict[str, tuple[float, float, Interval, float]]:
    """Both values of each figure, their difference with its interval moved to the exact values, and p."""
    found = {}
    figures, others = figures_of_row(first), figures_of_row(second)
    exact, exact_others = (_exact(row) for row in (first, second))
    for name, figure in figures.items():
        if name not in others or name == "ap":  # it is there by the name of its profile
            continue
        apart, p = uncertainty.difference(figure, others[name])
        a, b = exact.get(name, figure.value), exact_others.get(name, others[name].value)
        shift = a - b - apart.value
        found[name] = a, b, Interval(a - b, apart.low + shift, apart.high + shift), p
    return found


def _exact(seeds: Sequence[Evidence]) -> dict[str, float]:
    """Means over the seeds of what the histograms give exactly."""
    each = [one.values() for one in seeds]
    return {name: fmean(one[name] for one in each) for name in each[0] if all(name in one for one in each)}


def _is_same(one: SubjectResult, other: SubjectResult | None) -> bool:
    """Whether an id means the same scan in both records."""
    return other is not None and (one.cohort, one.person, one.session, one.partition) == (
        other.cohort, other.person, other.session, other.partition,
    )  # fmt: skip


def _read_row(path: Path) -> Seeds:
    """The record at a path, or all in a row's folder."""
    if not path.is_dir():
        return [_read_believed(path)]
    found = [_read_believed(one) for one in path.glob("seed-*.json")]
    if not found:
        raise UserError(f"{path}: expected a record, or a folder with the records of one row (seed-N.json).")
    return sorted(found, key=lambda one: one.record.seed)


def _read_believed(path: Path) -> Stored:
    """A record whose figures follow from its score histograms."""
    stored = Stored(read_record(path), path)
    wrong = wrong_figures(stored)
    if wrong:
        raise UserError(f"{path} is not consistent: {wrong[0]}; `uadbench check-record` says all.")
    return stored


# ---- as a table --------------------------------------------------------------------------------

HEADERS = ("metric", "A", "B", "A - B", "95 % CI", "p", "p (Holm)")


def write_sheet(found: Comparison) -> Sheet:
    """A comparison as a table."""
    lines = [
        (
            *(name, f"{a:.3f}", f"{b:.3f}", f"{a - b:+.3f}", f"{ends.low:+.3f} to {ends.high:+.3f}"),
            *(f"{p:.3f}", f"{found.corrected[name]:.3f}"),
        )
        for name, (a, b, ends, p) in found.differences.items()
    ]
    if found.wilcoxon is not None:
        p_values = (f"{found.wilcoxon:.3f}", f"{found.corrected['wilcoxon']:.3f}")
        lines.append(("own AP (Wilcoxon)", "", "", "", "", *p_values))
    made, other = found.first[0].record, found.second[0].record
    names = [one.method + f" {one.variant}" * (made.method == other.method) for one in (made, other)]
    title = f"{made.test} {made.contrast}: {' against '.join(names)}"
    return Sheet(title, HEADERS, tuple(lines), tuple(_notes(found)), texts=1)


def _notes(found: Comparison) -> list[str]:
    notes = []
    for letter, row in (("A", found.first), ("B", found.second)):
        made = row[0].record
        seeds = ", ".join(str(one.record.seed) for one in row)
        notes.append(f"{letter}: {made.method} {made.variant}, seed{'s' * (len(row) > 1)} {seeds}.")
    notes.append(
        f"{found.subjects} scans of {found.persons} subjects with lesions, the same for both; bootstrap "
        "paired over subjects, Wilcoxon's test of each subject's own AP (mean over its scans and seeds)."
    )
    if found.left_out:
        total = found.subjects + len(found.left_out)
        notes.append(
            f"Compared on {found.subjects} of {total} patients: only one of the two scored the others."
        )
    alone = [row[0].record for row in (found.first, found.second) if len(row) == 1]
    if any(one.trained or one.stochastic for one in alone):
        notes.append("One seed: what another seed would change is not in the intervals.")
    return notes


def rows(found: Comparison) -> list[dict[str, Any]]:
    """One row for each figure, full precision, for CSV and JSON."""
    first, second = found.first[0].record, found.second[0].record
    facts = {name: getattr(first, name) for name in SAME_TEST} | {
        "a": first.method, "b": second.method, "variant_a": first.variant, "variant_b": second.variant,
        "seeds_a": len(found.first), "seeds_b": len(found.second),
        "scans": found.subjects, "subjects": found.persons, "left_out": len(found.left_out),
    }  # fmt: skip
    made: list[dict[str, Any]] = [
        facts
        | {"metric": name, "value_a": a, "value_b": b, "difference": ends.value, "low": ends.low}
        | {"high": ends.high, "p": p, "p_holm": found.corrected[name]}
        for name, (a, b, ends, p) in found.differences.items()
    ]
    if found.wilcoxon is not None:
        p_values = {"p": found.wilcoxon, "p_holm": found.corrected["wilcoxon"]}
        made.append(dict.fromkeys(made[0]) | facts | {"metric": "own AP (Wilcoxon)"} | p_values)
    return made
