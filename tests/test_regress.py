"""The regression of the metrics must notice what it is there to notice."""

import shutil
from collections.abc import Callable
from dataclasses import replace as replace_fields
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from uadbench import methods
from uadbench.data.volumes import Volume
from uadbench.evaluation import evaluate
from uadbench.evaluation.metrics import Curve, measure
from uadbench.experiment import record
from uadbench.experiment.config import Runtime
from uadbench.experiment.run import Outcome
from uadbench.methods import Method, Score
from uadbench.report import regress
from uadbench.system.errors import UserError


@pytest.fixture
def reference(finished: Outcome, runtime: Runtime) -> Path:
    """Committed records of one method."""
    return runtime.paths.results


def changed(score: Callable[[Method, Volume], Score], change: Callable[[np.ndarray], np.ndarray]) -> object:
    def wrong(self: Method, volume: Volume) -> Score:
        return Score(np.ascontiguousarray(change(score(self, volume).score_map)))

    return wrong


def regressed(reference: Path, runtime: Runtime) -> set[str]:
    return {c.metric for c in regress.rerun_records(reference, "ci", [], runtime) if c.regressed}


def test_nothing_moves_when_nothing_changed(reference: Path, runtime: Runtime) -> None:
    assert not any(change.moved for change in regress.rerun_records(reference, "ci", [], runtime))


@pytest.mark.parametrize(
    "change",
    [lambda m: m[::-1], lambda m: m[:, :, ::-1], lambda m: -m, lambda m: m.round(1)],
    ids=["swapped left and right", "swapped up and down", "negated", "rounded"],
)
def test_a_damaged_score_map_is_a_regression(
    reference: Path,
    runtime: Runtime,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[np.ndarray], np.ndarray],
) -> None:
    kind = methods.load("brightness")
    monkeypatch.setattr(kind, "score", changed(kind.score, change))

    assert "ap_raw" in regressed(reference, runtime)


def test_a_perturbed_metric_is_a_regression(
    reference: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def off(*arguments: object) -> Curve:
        right = measure(*arguments)  # type: ignore[arg-type]
        return replace_fields(right, ap=max(right.ap - 0.02, 0.0))

    monkeypatch.setattr(evaluate, "measure", off)

    assert regressed(reference, runtime) == {"ap_mean"}


def test_no_reference_is_a_users_mistake(runtime: Runtime) -> None:
    with pytest.raises(UserError, match="no phantom record of preset 'ci'"):
        regress.rerun_records(runtime.paths.results, "ci", [], runtime)


def test_other_subjects_are_not_compared(reference: Path, runtime: Runtime) -> None:
    (made,) = record.read_records(reference)
    splits = made.splits | {"lesion-test": replace(made.splits["lesion-test"], hash="0" * 64)}

    with pytest.raises(UserError, match="other subjects than the reference in lesion-test"):
        regress.find_changes(replace(made, splits=splits), made)
    shutil.rmtree(reference)
