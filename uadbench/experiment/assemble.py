"""Assemble: evaluate the maps of a run, and write its pieces, its pictures and its record."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from uadbench import methods
from uadbench.data import splits
from uadbench.data.sizes import sizes
from uadbench.evaluation import maps
from uadbench.evaluation.evaluate import Evaluation, evaluate
from uadbench.evaluation.summary import summarise
from uadbench.experiment import figures, pieces_file, score
from uadbench.experiment.cohort import EVALUATED
from uadbench.experiment.record import NONE_OF, RunRecord, make_record, read_record, write_record
from uadbench.experiment.work import Work
from uadbench.methods import Stochastic
from uadbench.preprocessing.prepare import describe_preparation
from uadbench.protocol import METRIC_VERSION, PROFILES, regime
from uadbench.system import environment
from uadbench.system.environment import Cost, measured


def assemble_record(
    work: Work, fit_facts: Mapping[str, Any], hardware: Mapping[str, Any]
) -> tuple[RunRecord, list[Path]]:
    """The record of a run whose maps are made, and its pictures; `hardware`: what the maps were made on."""
    runtime, cases = work.runtime, work.cases
    maps.write_scans(work.maps_folder, work.cohort.fingerprint(), cases)
    with measured() as cost:
        scratch = runtime.paths.runs / "scratch"
        evaluation = evaluate(
            cases, PROFILES, scratch, runtime.workers, runtime.progress, work.resolved.test.card.headline
        )
    pieces = work.record_path.with_suffix(".npz")
    facts: dict[str, Any] = {
        **_asked(work),
        **describe_taking_part(work),
        **_made_with(work, fit_facts, cost),
        "hardware": dict(hardware),
        **_figures(work, evaluation),
        "pieces": {"file": pieces.name, "sha256": pieces_file.write_pieces(pieces, evaluation)},
    }
    made = make_record(facts)
    drawn = figures.draw_pictures(made, evaluation, cases, work.pictures_folder)
    return read_record(write_record(made, runtime.paths.results)), drawn


def _asked(work: Work) -> dict[str, Any]:
    """What was asked for."""
    resolved, config = work.resolved, work.resolved.config
    train = resolved.train.card if resolved.train else None
    return {
        "protocol": resolved.protocol.id,
        "metric_version": METRIC_VERSION,
        "card_version": resolved.test.card.version,
        "regime": regime(train, resolved.test.card),
        "train": train.name if train else None,
        "trained": resolved.card.trained,
        "test": resolved.test.card.name,
        "contrast": resolved.contrast,
        "train_contrasts": list(resolved.train_contrasts),
        "method": resolved.card.name,
        "variant": resolved.variant,
        "preset": config.preset,
        "model_grid": resolved.model_target.name,
        "headline": resolved.test.card.headline,
        "seed": config.seed,
        "draws": score.count_draws(resolved.method),
        "stochastic": isinstance(resolved.method, Stochastic),
        "limit": config.limit,
        "precision": config.precision,
        "parameters": methods.parameters(resolved.method),
    }


def describe_taking_part(work: Work) -> dict[str, Any]:
    """Who takes part, who does not, and how their scans were prepared."""
    config, cohort = work.resolved.config, work.cohort
    return {
        "splits": {
            name: {
                "subjects": len(members),
                "persons": len({s.subject for s in members}),
                "hash": splits.split_hash(members),
            }
            for name, members in work.resolved.parts.items()
        },
        "split": {"asked": config.split, "lists": cohort.lists},
        "preparation": describe_preparation(cohort.taking_part(), config.preparation),
        "excluded": _excluded(work),
        "data_fingerprint": cohort.fingerprint(),
    }


def _made_with(work: Work, fit_facts: Mapping[str, Any], evaluating: Cost) -> dict[str, Any]:
    """With which code and fit the figures were made, and what each stage took."""
    scored = [maps.read_cost(case.map_file) for case in work.cases]
    on_device = [one.peak_device_mb for one in scored if one.peak_device_mb is not None]
    scoring = sum(one.seconds for one in scored), max(one.peak_memory_mb for one in scored)
    costs = {
        "prepare": Cost(work.cohort.seconds, work.cohort.peak_memory_mb),
        "fit": Cost(fit_facts["seconds"], fit_facts["peak_memory_mb"], fit_facts.get("peak_device_mb")),
        "score": Cost(*scoring, max(on_device, default=None)),
        "evaluate": evaluating,
    }
    timing = {stage: asdict(cost) for stage, cost in costs.items()}
    trainings = fit_facts.get("trainings", {})
    timing["fit"]["trainings"] = trainings if len(trainings) > 1 else None
    return {
        "n_parameters": fit_facts["n_parameters"],
        "fit_hash": work.fit_hash,
        "score_hash": work.score_hash,
        "code": environment.commit(),
        "packages": environment.packages(),
        "timing": timing,
    }


def _figures(work: Work, evaluation: Evaluation) -> dict[str, Any]:
    """What was measured."""
    grid = work.cases[0].prepared.grid
    return {
        "subjects": evaluation.subjects,
        "thresholds": evaluation.thresholds,
        "summary": summarise(evaluation, grid.voxel_size, sizes(grid)),
    }


def _excluded(work: Work) -> list[dict[str, str]]:
    """Everyone who was found but takes no part, with the reason (protocol, rule 1).

    What lacks a contrast that the run does not look at takes part; and patients whose lesion-free slices are
    learned from are not excluded but in healthy-train.
    """
    resolved = work.resolved
    failed: dict[tuple[str, str], dict[str, str]] = {}
    for partition, failures in work.cohort.failures.items():
        planned = {session.id: session for session in resolved.parts[partition]}
        for failure in failures:
            if failure.contrast != resolved.contrast and partition in EVALUATED:
                continue  # it was scored all the same
            session = planned[failure.subject_id]
            who = {"id": session.id, "cohort": session.cohort, "person": session.subject}
            facts = {"partition": partition, "session": session.label, "reason": failure.reason}
            failed.setdefault((partition, session.id), facts | who)  # it may fail on two grids
    looked_at = {None, resolved.contrast, *resolved.train_contrasts}
    sources = {found.card.name: found for found in (resolved.train, resolved.test) if found is not None}
    left_out = [
        {"partition": f"{NONE_OF}{name}", "id": item.id, "reason": item.reason}
        for name, found in sources.items()
        for item in found.left_out
        if item.contrast in looked_at
    ]
    return [*failed.values(), *left_out]
