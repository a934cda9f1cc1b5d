"""Ablate: run a method without each of its parts, and decide whether the part has earned its place.

Every variant is a run like any other, compared with the full model on the same subjects; the `checks.py` of
the method's folder, where there is one, adds numbers that a score map does not show.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from uadbench import catalog, methods
from uadbench.ablation.questions import Ablations, Variant
from uadbench.ablation.verdicts import Answer, Report, compare, decide
from uadbench.cards import method_card, method_names, spelled
from uadbench.experiment import record
from uadbench.experiment.cohort import Cohort
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.record import RunRecord
from uadbench.experiment.run import fit_run, run_recording_failure
from uadbench.system.errors import UserError, unknown


def ablate(
    asked: Ablations,
    config: RunConfig,
    runtime: Runtime,
    letters: Sequence[str] = (),
    contrasts: Sequence[str] = (),
    force: bool = False,
) -> Report:
    """Run the full model and every variant, compare, and decide the rules.

    `cell` says data set, preset, seed and limit. Records go to a folder of their own: they are no rows of
    the leaderboard.
    """
    there = [one.letter for one in asked.ablations]
    for letter in letters:
        if letter not in there:
            raise unknown("ablation", letter, there, of=asked.method)
    for contrast in contrasts:
        if not spelled(contrast, asked.contrasts):
            raise unknown("contrast", contrast, asked.contrasts, of=f"the ablations of {asked.method}")
    runtime = replace(runtime, paths=replace(runtime.paths, results=place(runtime, asked.method)))
    wanted = [one for one in asked.ablations if one.letter in (letters or one.letter)]
    tested = [c for c in asked.contrasts if not contrasts or spelled(c, contrasts)]
    whole = Variant(name="full model", method=asked.method)
    full = {c: _run(whole, c, asked, config, runtime, force) for c in tested}
    failed = [found for found in full.values() if isinstance(found, str)]
    if failed:
        raise UserError(f"The full model did not run: {failed[0]}.")
    known: dict[str, Mapping[str, float]] = {}  # checks by fit
    report = Report(asked, config.dataset, config.preset, config.seed, config.limit, {}, [])
    first: RunRecord = next(iter(full.values()))  # type: ignore[assignment]
    report.checks = known[first.fit_hash] = _checks(whole, tested, asked, config, runtime)
    for ablation in wanted:
        for variant in ablation.variants:
            answer = Answer(ablation.letter, variant)
            report.answers.append(answer)
            if variant.method not in method_names():
                answer.skipped = f"there is no method '{variant.method}' here"
                continue
            possible = variant.contrasts or ablation.contrasts
            for contrast in [c for c in ablation.contrasts if c in tested and c in possible]:
                found = _run(variant, contrast, asked, config, runtime, force)
                if isinstance(found, str):
                    answer.skipped = found
                    break
                answer.comparisons.append(compare(full[contrast], found, runtime.paths.results))  # type: ignore[arg-type]
                if variant.method == asked.method and found.fit_hash not in known:
                    known[found.fit_hash] = _checks(variant, tested, asked, config, runtime)
                answer.checks = known.get(found.fit_hash, {})
            answer.verdicts = [
                decide(rule, answer, report.checks)
                for rule in ablation.rules
                if variant.name in (rule.variants or (variant.name,)) and not answer.skipped
            ]
    return report


def place(runtime: Runtime, method: str) -> Path:
    """Folder of the records and tables of a method's ablations."""
    return runtime.paths.results / record.ABLATIONS / method


def _cell(variant: Variant, contrast: str, asked: Ablations, config: RunConfig) -> RunConfig:
    return replace(
        config,
        method=variant.method,
        contrast=contrast,
        train_contrasts=asked.train_contrasts,
        settings=dict(config.settings) | dict(variant.set) if variant.method == asked.method else variant.set,
    )


def _run(
    variant: Variant, contrast: str, asked: Ablations, config: RunConfig, runtime: Runtime, force: bool
) -> RunRecord | str:
    """The record of a variant on one contrast, or why there is none."""
    outcome = run_recording_failure(_cell(variant, contrast, asked, config), runtime, force)
    return outcome if isinstance(outcome, str) else outcome.record


def _checks(
    variant: Variant, contrasts: Sequence[str], asked: Ablations, config: RunConfig, runtime: Runtime
) -> Mapping[str, float]:
    """Numbers of the folder's own `checks.py` about a fitted method, on healthy and lesion test scans."""
    folder = method_card(variant.method).folder
    if not (catalog.locate("methods", folder) / "checks.py").is_file():
        return {}
    methods.load(variant.method)
    module = importlib.import_module(f"uadbench.methods.{folder}.checks")
    cohorts: list[Cohort] = []
    for contrast in contrasts:
        plan, cohort = fit_run(_cell(variant, contrast, asked, config), runtime)
        cohorts.append(cohort)
    healthy = [
        p for cohort in cohorts for part in ("healthy-val", "healthy-test") for p in cohort.model[part]
    ]
    patients = [p for cohort in cohorts for p in cohort.model["lesion-test"]]
    lesions = [p.lesion() for p in patients]
    found: Mapping[str, float] = module.checks(
        plan.method, plan.volumes(healthy), plan.volumes(patients), lesions, asked.train_contrasts
    )
    return found
