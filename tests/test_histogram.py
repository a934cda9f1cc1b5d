import functools
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uadbench.evaluation.histogram import LOWEST, ScoreHistogram, edges_of, keys_of
from uadbench.evaluation.metrics import measure


def histogram_of(scores: Any, labels: Any) -> ScoreHistogram:
    histogram = ScoreHistogram()
    histogram.add(np.asarray(scores, np.float32), np.asarray(labels, bool))
    return histogram


def assert_same(a: ScoreHistogram, b: ScoreHistogram) -> None:
    for x, y in zip((*a.bins, *a.values), (*b.bins, *b.values), strict=True):
        np.testing.assert_array_equal(x, y)


def brains(n: int, kind: str, seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores and labels (n,) of the kinds that methods emit."""
    random = np.random.default_rng(seed)
    labels = random.random(n) < 0.01
    residual = np.abs(random.normal(0, 0.05, n)) + labels * np.abs(random.normal(0.1, 0.1, n))
    scores = {
        "distances": random.gamma(2, 3, n) + labels * random.gamma(3, 4, n),
        "residuals": np.where(random.random(n) < 0.45, 0, residual).clip(0, 1),
        "tiny residuals": residual * 1e-4,
        "z-scores": random.normal(0, 1, n) + 2 * labels,
        "clipped": (residual * 5).clip(0, 1),
        "8 bits": np.round(residual * 255),
        "eroded": np.where(random.random(n) < 0.2, LOWEST, residual - 0.05),
    }
    return scores[kind].astype(np.float32), labels


KINDS = ("distances", "residuals", "tiny residuals", "z-scores", "clipped", "8 bits", "eroded")


def test_zero_has_a_bin_of_its_own() -> None:
    tiny = np.float32(1e-45)
    np.testing.assert_array_equal(keys_of(np.array([-tiny, -0.0, 0.0, tiny], np.float32)), [-1, 0, 0, 1])


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
@settings(max_examples=100, deadline=None)
def test_bins_are_in_the_order_of_the_scores(values: list[float]) -> None:
    scores = np.sort(np.array(values, np.float32))
    keys = keys_of(scores)
    assert (np.diff(keys) >= 0).all()
    assert (edges_of(keys) <= scores).all()
    below = edges_of(keys + 1)
    assert (scores < np.where(np.isnan(below), np.inf, below)).all()
    np.testing.assert_array_equal(keys_of(edges_of(keys)), keys)


@pytest.mark.parametrize("kind", KINDS)
def test_exact_value_lies_within_the_bounds_and_these_are_narrow(kind: str) -> None:
    scores, labels = brains(400_000, kind, seed=5)
    exact, streaming = measure(scores, labels), histogram_of(scores, labels).curve()
    assert abs(exact.ap - streaming.ap) <= streaming.ap_error + 1e-12 <= 1e-4
    assert abs(exact.auroc - streaming.auroc) <= streaming.auroc_error + 1e-12 <= 1e-4
    assert 0 <= exact.best_dice - streaming.best_dice <= streaming.dice_error + 1e-12
    assert abs(exact.ap - streaming.ap) < 1e-5
    assert abs(exact.best_dice - streaming.best_dice) < 1e-4


@given(
    st.lists(st.tuples(st.floats(-2, 2, width=32), st.booleans()), max_size=60),
    st.integers(0, 60),
    st.integers(0, 60),
)
@settings(max_examples=60, deadline=None)
def test_counts_add_in_any_order_and_grouping(voxels: list[tuple[float, bool]], i: int, j: int) -> None:
    scores = np.array([v[0] for v in voxels], np.float32)
    labels = np.array([v[1] for v in voxels], bool)
    cuts = sorted((i, j))
    parts = [histogram_of(s, t) for s, t in zip(np.split(scores, cuts), np.split(labels, cuts), strict=True)]
    a, b, c = parts
    assert_same((a + b) + c, c + (b + a))
    assert_same((a + b) + c, a + (b + c))
    merged = functools.reduce(lambda x, y: x + y, parts)
    whole = histogram_of(scores, labels)
    np.testing.assert_array_equal(merged.keys, whole.keys)
    np.testing.assert_array_equal(merged.positives, whole.positives)
    np.testing.assert_array_equal(merged.negatives, whole.negatives)


def test_workers_may_send_it() -> None:
    histogram = histogram_of(*brains(10_000, "residuals", 1))
    assert_same(pickle.loads(pickle.dumps(histogram)), histogram)


def test_a_tie_of_many_voxels_is_known_as_one_after_merging() -> None:
    first = histogram_of(np.full(100, 0.7), np.arange(100) < 10)
    second = histogram_of(np.full(50, 0.7), np.arange(50) < 20)
    curve = (first + second).curve()
    assert (curve.ap, curve.auroc, curve.ap_error, curve.auroc_error) == (30 / 150, 0.5, 0, 0)


def test_another_value_beside_a_tie_widens_the_bounds_by_its_own_weight_only() -> None:
    tie = histogram_of(np.full(1000, 0.7), np.arange(1000) < 10)
    beside = histogram_of([np.nextafter(np.float32(0.7), np.float32(0))], [False])
    curve = (tie + beside).curve()
    assert 0 < curve.auroc_error < 1e-3
    # The lone negative lies below the tie, which the histogram cannot know.
    assert abs(curve.auroc - (0.5 * 990 + 1) / 991) <= curve.auroc_error


def test_few_removed_voxels_in_one_subject_do_not_blur_the_many_of_another() -> None:
    few = histogram_of([LOWEST, LOWEST, 0.5, 0.25], [0, 1, 1, 0])
    many = histogram_of([LOWEST] * 500 + [0.125] * 20, [1, 0] * 260)
    assert (few + many).curve().auroc_error == 0


def test_filled_bins_do_not_grow_with_the_voxels() -> None:
    few, many = (histogram_of(*brains(n, "z-scores", 3)) for n in (200_000, 2_000_000))
    assert len(many.keys) < 2 * len(few.keys)


def test_threshold_at_a_false_positive_rate_by_hand() -> None:
    # Negatives 0, 1, ..., 99; at a rate of 5 % the five highest may be called.
    scores = np.arange(100, dtype=np.float32)
    histogram = histogram_of(scores, np.zeros(100, bool))
    threshold = histogram.threshold_at_false_positive_rate(0.05)
    assert 94 < threshold < 95
    assert histogram.counts_at(threshold) == (0, 5)
    assert histogram.threshold_at_false_positive_rate(0.0) > 99
    assert histogram.threshold_at_false_positive_rate(1.0) <= 0
    tied = histogram_of(np.zeros(100), np.zeros(100, bool))
    assert tied.counts_at(tied.threshold_at_false_positive_rate(0.5)) == (0, 0)


@given(st.floats(0, 1), st.sampled_from(KINDS))
@settings(max_examples=20, deadline=None)
def test_realised_rate_is_the_highest_allowed_one(rate: float, kind: str) -> None:
    scores, labels = brains(5_000, kind, seed=2)
    histogram = histogram_of(scores, labels)
    threshold = histogram.threshold_at_false_positive_rate(rate)
    negative_scores = scores[~labels]
    assert (negative_scores >= np.float32(threshold)).mean() <= rate
    below = edges_of(keys_of(np.array([threshold], np.float32)) - 1)
    if threshold > negative_scores.min():
        assert (negative_scores >= below).mean() > rate or below > negative_scores.max()


@pytest.mark.parametrize("kind", KINDS)
def test_counts_at_proposed_thresholds_are_exact(kind: str) -> None:
    scores, labels = brains(50_000, kind, seed=7)
    histogram = histogram_of(scores, labels)
    for threshold in (
        histogram.curve().best_threshold,
        *map(histogram.threshold_at_false_positive_rate, (0.01, 0.05)),
    ):
        called = scores >= np.float32(threshold)
        assert histogram.counts_at(threshold) == ((called & labels).sum(), (called & ~labels).sum())


def test_a_threshold_inside_a_bin_is_refused() -> None:
    with pytest.raises(ValueError, match="edge"):
        histogram_of([1.0, 2.0], [1, 0]).counts_at(1.5)


def test_a_rate_without_negatives_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        histogram_of([1.0], [1]).threshold_at_false_positive_rate(0.05)


def test_published_defect_false_positive_rate_as_share_of_the_called_voxels() -> None:
    # fp / (fp + tp) is 1/2 at every threshold here, the rate is not.
    scores = np.repeat(np.arange(1, 101, dtype=np.float32), 2)
    labels = np.arange(200) % 2 == 0
    histogram = histogram_of(scores, labels)
    true, false = histogram.counts_at(histogram.threshold_at_false_positive_rate(0.1))
    assert (true, false) == (10, 10)


def test_published_defect_scores_divided_by_the_maximum_of_the_batch() -> None:
    scores, labels = brains(20_000, "residuals", 4)
    alone = histogram_of(scores, labels)
    batch = alone + histogram_of([1000.0], [0])
    assert (
        batch.counts_at(alone.curve().best_threshold)[0] == alone.counts_at(alone.curve().best_threshold)[0]
    )
    np.testing.assert_array_equal(batch.keys[:-1], alone.keys)
