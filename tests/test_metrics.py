import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uadbench.evaluation.counting import streamed
from uadbench.evaluation.metrics import Curve, UncertainFigureError, dice, measure

Engine = Callable[[NDArray[np.float32], NDArray[np.bool_]], Curve]
ENGINES: tuple[Engine, ...] = (measure, streamed)


def scored(*pairs: tuple[float, int]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores and labels from (score, label) pairs."""
    return np.array([p[0] for p in pairs], np.float32), np.array([p[1] for p in pairs], bool)


def sklearn_curve(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> tuple[float, float, float]:
    """AP, AUROC and best Dice by scikit-learn."""
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    precision, recall, _ = precision_recall_curve(labels, scores)
    dices = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    return average_precision_score(labels, scores), roc_auc_score(labels, scores), float(dices.max())


def assert_close(curve: Curve, expected: tuple[float, float, float], tolerance: float = 1e-6) -> None:
    for value, error, truth in zip(
        (curve.ap, curve.auroc, curve.best_dice),
        (curve.ap_error, curve.auroc_error, curve.dice_error),
        expected,
        strict=True,
    ):
        assert abs(value - truth) <= error + tolerance, (curve, expected)


@st.composite
def voxels(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A few voxels of both labels, with ties, signs, zeros and wide magnitudes."""
    value = st.one_of(
        st.integers(-3, 3).map(float),
        st.floats(-(2.0**100), 2.0**100, width=32),
        st.floats(1 - 2.0**-10, 1 + 2.0**-10, width=32),
        st.just(float(np.finfo(np.float32).min)),
        st.just(-0.0),
    )
    scores = draw(st.lists(value, min_size=2, max_size=40))
    labels = draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)))
    assume(any(labels) and not all(labels))
    return np.array(scores, np.float32), np.array(labels)


@pytest.mark.parametrize("engine", ENGINES)
def test_hand_computed_ranking(engine: Engine) -> None:
    # Descending: + - + - ; precision at the positives 1 and 2/3.
    curve = engine(*scored((4, 1), (3, 0), (2, 1), (1, 0)))
    assert_close(curve, ((1 + 2 / 3) / 2, 3 / 4, 4 / 5))
    assert curve.best_threshold == 2  # the highest of the equivalent thresholds
    assert (curve.positives, curve.negatives, curve.prevalence) == (2, 2, 0.5)


@pytest.mark.parametrize("engine", ENGINES)
def test_ties_share_one_threshold(engine: Engine) -> None:
    curve = engine(*scored((1, 1), (1, 0), (0, 1), (0, 0), (0, 0), (0, 0)))
    # Thresholds 1 and 0: precision 1/2 and 1/3, recall 1/2 and 1.
    assert_close(curve, (1 / 2 * 1 / 2 + 1 / 2 * 1 / 3, (0.5 + 3 + 1.5) / 8, 1 / 2), 1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_all_scores_equal_is_chance(engine: Engine) -> None:
    labels = np.arange(50) % 10 == 0
    for value in (0.0, 0.3, -7.0, 1e20):
        curve = engine(np.full(50, value, np.float32), labels)
        assert_close(curve, (0.1, 0.5, 2 * 5 / (5 + 50)), 1e-12)
        assert curve.ap_error == curve.auroc_error == curve.dice_error == 0
        assert curve.ap == pytest.approx(curve.prevalence)


@pytest.mark.parametrize("engine", ENGINES)
def test_perfect_and_inverted_map(engine: Engine) -> None:
    labels = np.arange(1000) >= 900
    scores = np.linspace(-3, 5, 1000).astype(np.float32)
    assert_close(engine(scores, labels), (1, 1, 1))
    inverted = engine(-scores, labels)
    worst = float(np.mean(np.arange(1, 101) / np.arange(901, 1001)))
    assert_close(inverted, (worst, 0, 2 * 100 / 1100))


@pytest.mark.parametrize("engine", ENGINES)
def test_without_a_positive_nothing_is_defined(engine: Engine) -> None:
    curve = engine(*scored((1, 0), (2, 0)))
    assert np.isnan([curve.ap, curve.auroc, curve.best_dice, curve.best_threshold]).all()
    assert (curve.positives, curve.negatives, curve.prevalence) == (0, 2, 0)


@pytest.mark.parametrize("engine", ENGINES)
def test_without_a_negative_only_auroc_is_undefined(engine: Engine) -> None:
    curve = engine(*scored((1, 1), (2, 1)))
    assert (curve.ap, curve.best_dice) == (1, 1)
    assert np.isnan(curve.auroc)


@pytest.mark.parametrize("engine", ENGINES)
def test_no_voxels_at_all(engine: Engine) -> None:
    curve = engine(np.empty(0, np.float32), np.empty(0, bool))
    assert np.isnan([curve.ap, curve.auroc, curve.best_dice, curve.prevalence]).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(engine: Engine, value: float) -> None:
    scores, labels = scored((1, 0), (value, 1), (0, 0))
    with pytest.raises(ValueError, match="finite"):
        engine(scores, labels)


@pytest.mark.parametrize("engine", ENGINES)
def test_minus_zero_equals_zero(engine: Engine) -> None:
    labels = np.array([True, False])
    assert engine(np.array([-0.0, 0.0], np.float32), labels).auroc == 0.5
    assert engine(np.array([0.0, -0.0], np.float32), labels).auroc == 0.5


@given(voxels(), st.sampled_from(ENGINES))
@settings(max_examples=150, deadline=None)
def test_agrees_with_sklearn(case: Any, engine: Engine) -> None:
    scores, labels = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = sklearn_curve(scores, labels)
    curve = engine(scores, labels)
    assert_close(curve, expected)
    called = scores >= np.float32(curve.best_threshold)
    attained = 2 * (called & labels).sum() / (called.sum() + labels.sum())
    assert curve.best_dice == pytest.approx(attained, abs=1e-12)


def test_agrees_with_sklearn_on_a_score_map() -> None:
    random = np.random.default_rng(1)
    labels = random.random(300_000) < 0.01
    scores = np.abs(random.normal(0, 0.05, labels.size) + 0.1 * labels)
    scores[random.random(labels.size) < 0.45] = 0
    for values in (scores, np.round(scores * 255), scores - 0.02):
        rounded = np.asarray(values, np.float32)
        expected = sklearn_curve(rounded, labels)
        assert_close(measure(rounded, labels), expected, 1e-9)
        streaming = streamed(rounded, labels)
        assert_close(streaming, expected, 1e-9)
        assert streaming.ap_error <= 1e-4
        assert streaming.auroc_error <= 1e-4


@given(voxels())
@settings(max_examples=60, deadline=None)
def test_only_the_order_of_scores_counts(case: Any) -> None:
    scores, labels = case
    ranks = np.unique(scores + np.float32(0), return_inverse=True)[1].astype(np.float32)
    first, second = measure(scores, labels), measure(ranks**3 - 100, labels)
    assert_close(first, (second.ap, second.auroc, second.best_dice), 1e-12)


def test_published_defect_a_false_positive_rate_equal_to_the_true_positive_rate() -> None:
    # With FPR := TPR every map has the AUROC of chance.
    assert measure(*scored((3, 1), (2, 1), (1, 0), (0, 0))).auroc == 1


def test_published_defect_a_threshold_search_that_never_updates() -> None:
    scores = np.linspace(0, 1, 101, dtype=np.float32)
    for cut in (10, 50, 90):
        assert measure(scores, np.arange(101) >= cut).best_threshold == scores[cut]


@pytest.mark.parametrize("engine", ENGINES)
def test_published_defect_half_precision_scores(engine: Engine) -> None:
    scores, labels = scored((0.50010, 1), (0.50000, 0), (0.49990, 0))
    assert len(np.unique(scores.astype(np.float16))) == 1
    assert engine(scores, labels).ap == 1
    for dtype in (np.float16, np.float64):
        with pytest.raises(ValueError, match="float32"):
            engine(scores.astype(dtype), labels)


def test_published_defect_unseeded_voxel_sampling() -> None:
    random = np.random.default_rng(2)
    scores, labels = random.random(50_000, np.float32), random.random(50_000) < 0.01
    for engine in ENGINES:
        first = engine(scores, labels)
        assert first == engine(scores, labels)
        assert first.positives + first.negatives == 50_000


@pytest.mark.parametrize("engine", ENGINES)
def test_published_defect_thresholds_only_up_to_the_maximum_of_the_label(engine: Engine) -> None:
    curve = engine(*scored((30, 1), (20, 0), (10, 0)))
    assert curve.best_dice == 1
    assert curve.best_threshold > 20


@pytest.mark.parametrize("engine", ENGINES)
def test_published_defect_a_sigmoid_on_scores_outside_0_and_1(engine: Engine) -> None:
    # A float32 sigmoid makes all of these 1.
    assert engine(*scored((40, 1), (39, 0), (38, 1), (37, 0))).ap == pytest.approx(5 / 6, abs=1e-9)
    assert engine(*scored((-240, 1), (-239, 0))).auroc == 0


def test_published_defect_an_axis_mix_up() -> None:
    random = np.random.default_rng(3)
    labels = np.zeros((8, 9, 10), bool)
    labels[2:4, 3:7, 1:9] = True
    score_map = (labels + random.normal(0, 0.3, labels.shape)).astype(np.float32)
    curve = measure(score_map, labels)
    both = measure(score_map.transpose(2, 0, 1), labels.transpose(2, 0, 1))
    assert both == curve
    one = score_map.transpose(2, 0, 1).reshape(labels.shape)
    assert measure(one, labels).auroc < curve.auroc - 0.2
    with pytest.raises(ValueError, match="shapes"):
        measure(score_map.transpose(2, 0, 1), labels)


def test_published_defect_empty_against_empty_counted_as_dice_1() -> None:
    assert np.isnan(dice(0, 0, 0))
    np.testing.assert_array_equal(
        dice(np.array([0, 0, 2]), np.array([0, 5, 1]), np.array([0, 0, 3])), [np.nan, np.nan, 4 / 6]
    )


def test_tied_scores_get_step_wise_precision_and_not_the_trapezoid() -> None:
    """Half of the voxels are tied at 0: recall runs from 1/2 at precision 1 to 1 at precision 1/8.

    Step-wise 1/2 * 1 + 1/2 * 1/8 = .5625; the trapezoid between the two gives 1/2 + 1/2 * 9/16 = .78125.
    """
    from sklearn.metrics import auc, average_precision_score, precision_recall_curve

    scores, labels = scored(*[(1, 1)] * 2, *[(0, 1)] * 2, *[(0, 0)] * 28)
    precision, recall, _ = precision_recall_curve(labels, scores)
    assert auc(recall, precision) == pytest.approx(0.78125)
    assert average_precision_score(labels, scores) == pytest.approx(0.5625)
    for engine in ENGINES:
        assert engine(scores, labels).ap == pytest.approx(0.5625, abs=1e-12)


def test_a_figure_less_certain_than_promised_is_refused() -> None:
    certain = Curve(0.5, 0.9, 0.6, 0.1, 10, 90, ap_error=1e-4, auroc_error=5e-4, dice_error=1e-4)
    assert certain.certain() is certain
    for name, error in (("ap_error", 1.1e-4), ("auroc_error", 5.1e-4), ("dice_error", 1.1e-4)):
        with pytest.raises(UncertainFigureError, match="promised"):
            replace(certain, **{name: error}).certain()  # type: ignore[arg-type]
