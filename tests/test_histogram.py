import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uadbench.evaluation import counting
from uadbench.evaluation.counting import Look, count_scores, sharpened, streamed
from uadbench.evaluation.histogram import (
    ScoreHistogram,
    bins_of,
    each_once,
    first_of,
    total,
)
from uadbench.evaluation.metrics import AP_BOUND, AUROC_BOUND, Curve, measure
from uadbench.evaluation.ordinals import ordinals, scores_at
from uadbench.evaluation.pieces import Pieces
from uadbench.evaluation.postprocess import LOWEST

Voxels = tuple[NDArray[np.float32], NDArray[np.bool_]]


def histogram_of(scores: Any, labels: Any) -> ScoreHistogram:
    return count_scores(np.asarray(scores, np.float32), np.asarray(labels, bool))


def sharp(scores: Any, labels: Any, rates: tuple[float, ...] = ()) -> ScoreHistogram:
    """The histogram in which the best threshold and those at the rates are certain."""
    scores, labels = np.asarray(scores, np.float32), np.asarray(labels, bool)

    def undecided(histograms: Any) -> NDArray[np.int32]:
        return each_once([histograms[0].open_for_dice(), *map(histograms[0].open_at_rate, rates)])

    return sharpened(
        {0: count_scores(scores, labels)}, undecided, lambda look, into: look.count(scores, labels, into[0])
    )[0]


def counts_at(histogram: ScoreHistogram, threshold: float) -> tuple[int, int]:
    """True and false positives of score >= threshold, which must not lie inside of a cell."""
    called = scores_at(histogram.starts) >= threshold
    cut = (scores_at(histogram.starts + histogram.widths - 1) >= threshold) & ~called
    assert not cut.any()
    return int(histogram.positives[called].sum()), int(histogram.negatives[called].sum())


def assert_same(a: ScoreHistogram, b: ScoreHistogram) -> None:
    for x, y in zip(a.cells, b.cells, strict=True):
        np.testing.assert_array_equal(x, y)


def brains(n: int, kind: str, seed: int) -> Voxels:
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
        "close together": 1000 + 0.05 * residual,
    }
    return scores[kind].astype(np.float32), labels


KINDS = (
    "distances",
    "residuals",
    "tiny residuals",
    "z-scores",
    "clipped",
    "8 bits",
    "eroded",
    "close together",
)

# ---- the float32 numbers in their order ------------------------------------------------------------


def test_the_numbers_around_0_by_hand() -> None:
    tiny = np.float32(1e-45)
    scores = np.array([-2 * tiny, -tiny, -0.0, 0.0, tiny, LOWEST, -LOWEST], np.float32)
    np.testing.assert_array_equal(ordinals(scores), [-2, -1, 0, 0, 1, -0x7F7FFFFF, 0x7F7FFFFF])
    np.testing.assert_array_equal(
        bins_of(np.array([-1025, -1024, -1, 0, 1, 1024, 1025])), [-2, -1, -1, 0, 1, 1, 2]
    )
    np.testing.assert_array_equal(first_of(np.array([-2, -1, 0, 1, 2])), [-2048, -1024, 0, 1, 1025])


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
@settings(max_examples=40, deadline=None)
def test_ordinals_and_bins_are_in_the_order_of_the_scores(values: list[float]) -> None:
    scores = np.sort(np.array(values, np.float32))
    numbers = ordinals(scores).astype(np.int64)
    np.testing.assert_array_equal(scores_at(numbers), scores)
    np.testing.assert_array_equal(np.diff(numbers) > 0, np.diff(scores.astype(np.float64)) > 0)
    bins = bins_of(numbers)
    assert (first_of(bins) <= numbers).all()
    assert (numbers < first_of(bins + 1)).all()


# ---- every order-preserving image of a map has its figures -----------------------------------------

Image = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def images(values: int) -> dict[str, Image]:
    """Strictly increasing images of the ranks 0 .. values - 1, all of them different float32 numbers."""
    at_1000, at_minus = ordinals(np.array([1000, -1e-3], np.float32)).tolist()
    return {
        "next to each other": lambda r: scores_at(at_1000 + r.astype(int)),
        "subnormal": lambda r: scores_at(r.astype(int) - values // 2),
        "largest": lambda r: scores_at(0x7F7FFFFF - (values - 1) + r.astype(int)),
        "lowest": lambda r: scores_at(-0x7F7FFFFF + r.astype(int)),
        "below -1e-3": lambda r: scores_at(at_minus - values + r.astype(int)),
        "equalised": lambda r: (r + 1) / values,
        "both signs": lambda r: (r - values // 2) / 8,
        "many decades": lambda r: 10.0 ** (76 * r / values - 38),
        "huge": lambda r: r / values * 3e38,
        "step": lambda r: r + 1e6 * (r > values // 3),
    }


NAMES = tuple(images(2))


def close(a: Curve, b: Curve) -> None:
    """Equal figures, and thresholds that call the same voxels."""
    assert a.ap == pytest.approx(b.ap, abs=AP_BOUND)
    assert a.auroc == pytest.approx(b.auroc, abs=AUROC_BOUND)
    assert a.best_dice == b.best_dice


@given(
    st.sampled_from(NAMES),
    st.integers(2, 3000),
    st.sampled_from([0.0005, 0.01, 0.3]),
    st.sampled_from(["spread", "tied", "saturated"]),
    st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_figures_are_those_of_every_increasing_image(
    name: str, values: int, prevalence: float, kind: str, seed: int
) -> None:
    random = np.random.default_rng(seed)
    n = 6000
    labels = random.random(n) < prevalence
    labels[:2] = True, False
    ranks = (values * random.random(n) ** np.where(labels, 0.5, 1)).astype(int)
    if kind == "tied":
        ranks[random.random(n) < 0.5] = values // 2
    if kind == "saturated":
        ranks = np.minimum(ranks, values // 2)
    scores = images(values)[name](ranks.astype(np.float64)).astype(np.float32)
    used = np.unique(ranks).size
    assert np.unique(scores).size == used
    exact = measure(scores, labels)
    curve = streamed(scores, labels).certain()
    close(curve, exact)
    assert abs(curve.ap - exact.ap) <= curve.ap_error + 1e-12
    assert curve.best_threshold == exact.best_threshold
    pieces = Pieces.of_voxels(["a", "b"], [(scores[:2000], labels[:2000]), (scores[2000:], labels[2000:])])
    close(pieces.curve().certain(), exact)


@given(
    st.integers(-44, 37),
    st.integers(-44, 37),
    st.sampled_from([-1, 0, 1]),
    st.booleans(),
    st.integers(0, 10**6),
)
@settings(max_examples=40, deadline=None)
def test_figures_are_scikit_learns_at_every_offset_and_scale(
    scale: int, offset: int, sign: int, falling: bool, seed: int
) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    random = np.random.default_rng(seed)
    labels = random.random(5000) < 0.02
    labels[:2] = True, False
    plain = random.gamma(2, 1, labels.size) + 2 * labels
    scores = (sign * 10.0**offset + (-1) ** falling * 10.0**scale * plain).astype(np.float32)
    curve = streamed(scores, labels).certain()
    assert curve.ap == pytest.approx(average_precision_score(labels, scores), abs=AP_BOUND)
    assert curve.auroc == pytest.approx(roc_auc_score(labels, scores), abs=AUROC_BOUND)
    assert curve.best_dice == measure(scores, labels).best_dice


@pytest.mark.parametrize("image", ["id", "1000 + .05 x", "1e-42 x", "3e38 x", "-1e-3 + 1e-7 x"])
def test_scores_close_together_are_no_chance(image: str) -> None:
    """1000 + .05 * image had AP .50 where .004 is true, and the first rank."""
    scores, labels = brains(200_000, "clipped", 1)
    x = np.float32
    changed = {
        "id": scores,
        "1000 + .05 x": x(1000) + x(0.05) * scores,
        "1e-42 x": x(1e-42) * scores,
        "3e38 x": x(3e38) * scores,
        "-1e-3 + 1e-7 x": x(-1e-3) + x(1e-7) * scores,
    }[image]
    exact, curve = measure(changed, labels), streamed(changed, labels).certain()
    close(curve, exact)
    assert curve.best_threshold == exact.best_threshold


def test_millions_of_equalised_scores_of_few_positives() -> None:
    """Uniform on 0-1, prevalence .0005: bins of a relative width leave .001 to .002 of AP open."""
    n = 3_000_000
    random = np.random.default_rng(2)
    labels = random.random(n) < 0.0005
    raw = random.gamma(2, 3, n) + labels * random.gamma(3, 6, n)
    scores = np.empty(n, np.float32)
    scores[np.argsort(raw)] = np.linspace(0, 1, n, dtype=np.float32)
    exact, curve = measure(scores, labels), streamed(scores, labels).certain()
    close(curve, exact)
    assert curve.best_threshold == exact.best_threshold
    pieces = Pieces.of_voxels(["a"], [(scores, labels)])
    close(pieces.curve().certain(), exact)
    assert len(pieces.edges) < 5000


@pytest.mark.parametrize("cells", [1 << 11, 1 << 13])
def test_little_room_for_looks_changes_only_their_number(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels = brains(50_000, "eroded", 3)
    monkeypatch.setattr(counting, "LOOK_CELLS", cells)
    exact, curve = measure(scores, labels), streamed(scores, labels).certain()
    close(curve, exact)
    assert curve.best_threshold == exact.best_threshold


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shift", [0, 3])
def test_a_look_at_neighbouring_bins_finds_what_one_at_scattered_bins_does(kind: str, shift: int) -> None:
    scores, labels = brains(30_000, kind, seed=6)
    bins = np.unique(bins_of(ordinals(scores)))
    bins = bins[bins != 0][::3]
    found = []
    for window in (0, 1 << 40):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(counting, "WINDOW", window)
            patch.setattr(counting, "CHUNK", 1 << 12)
            look = Look(bins[:40], shift)
        counts = look.empty(scores.size)
        look.count(scores, labels, counts)
        found.append(look.found(counts))
    assert_same(*found)
    inside = np.isin(bins_of(ordinals(scores)), bins[:40])
    assert found[0].positives.sum() == labels[inside].sum()
    assert found[0].negatives.sum() == (~labels[inside]).sum()


@pytest.mark.parametrize("kind", KINDS)
def test_counts_are_those_of_a_plain_count(kind: str) -> None:
    scores, labels = brains(300_000, kind, seed=8)
    scores[:100] = -0.0
    bins = bins_of(ordinals(scores))
    names, place = np.unique(bins, return_inverse=True)
    histogram = histogram_of(scores, labels)
    np.testing.assert_array_equal(histogram.starts, first_of(names))
    np.testing.assert_array_equal(histogram.positives, np.bincount(place[labels], minlength=names.size))
    np.testing.assert_array_equal(histogram.negatives, np.bincount(place[~labels], minlength=names.size))


# ---- bounds and sums -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_exact_value_lies_within_the_bounds_also_of_coarse_counts(kind: str) -> None:
    scores, labels = brains(400_000, kind, seed=5)
    exact = measure(scores, labels)
    for curve in (histogram_of(scores, labels).curve(), streamed(scores, labels).certain()):
        assert abs(exact.ap - curve.ap) <= curve.ap_error + 1e-12
        assert abs(exact.auroc - curve.auroc) <= curve.auroc_error + 1e-12
        assert 0 <= exact.best_dice - curve.best_dice <= curve.dice_error + 1e-12
    assert abs(exact.ap - curve.ap) < 1e-5
    assert exact.best_dice == curve.best_dice
    assert exact.best_threshold == curve.best_threshold


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
    assert_same(total([total([a, b]), c]), total([c, b, a]))
    assert_same(total([total([a, b]), c]), total([a, total([b, c])]))
    assert_same(total(parts), histogram_of(scores, labels))


def test_a_finer_and_a_coarser_histogram_add_to_the_coarser() -> None:
    scores, labels = brains(5000, "close together", 1)
    fine, coarse = sharp(scores, labels), histogram_of(scores, labels)
    assert fine.starts.size > coarse.starts.size
    assert_same(total([fine, coarse]), total([coarse, coarse]))
    assert_same(total([coarse, fine, fine]), total([total([coarse, fine]), fine]))
    assert total([fine, fine]).starts.size == fine.starts.size


def test_workers_may_send_it() -> None:
    histogram = histogram_of(*brains(10_000, "residuals", 1))
    assert_same(pickle.loads(pickle.dumps(histogram)), histogram)


def test_filled_bins_do_not_grow_with_the_voxels() -> None:
    few, many = (histogram_of(*brains(n, "z-scores", 3)) for n in (200_000, 2_000_000))
    assert len(many.starts) < 2 * len(few.starts)


# ---- thresholds ------------------------------------------------------------------------------------


def test_threshold_at_a_false_positive_rate_by_hand() -> None:
    # Negatives 0, 1, ..., 99; at a rate of 5 % the five highest may be called: all above 94.
    scores = np.arange(100, dtype=np.float32)
    histogram = sharp(scores, np.zeros(100, bool), rates=(0.05, 0.0, 1.0))
    threshold = histogram.threshold_at_false_positive_rate(0.05)
    assert threshold == np.nextafter(np.float32(94), np.float32(95))
    assert counts_at(histogram, threshold) == (0, 5)
    assert histogram.threshold_at_false_positive_rate(0.0) > 99
    assert histogram.threshold_at_false_positive_rate(1.0) <= 0
    tied = histogram_of(np.zeros(100), np.zeros(100, bool))
    assert counts_at(tied, tied.threshold_at_false_positive_rate(0.5)) == (0, 0)
    largest = sharp(np.full(9, -LOWEST), np.zeros(9, bool), rates=(0.5,))
    assert largest.threshold_at_false_positive_rate(0.5) == np.inf


@given(st.floats(0, 0.99), st.sampled_from(KINDS))
@settings(max_examples=40, deadline=None)
def test_realised_rate_is_the_highest_allowed_one(rate: float, kind: str) -> None:
    scores, labels = brains(5_000, kind, seed=2)
    threshold = np.float32(sharp(scores, labels, (rate,)).threshold_at_false_positive_rate(rate))
    negative_scores = scores[~labels]
    assert (negative_scores >= threshold).mean() <= rate
    below = np.nextafter(threshold, np.float32(-np.inf))
    assert (negative_scores >= below).mean() > rate


@pytest.mark.parametrize("kind", KINDS)
def test_counts_at_proposed_thresholds_are_exact(kind: str) -> None:
    scores, labels = brains(50_000, kind, seed=7)
    histogram = sharp(scores, labels, (0.01, 0.05))
    for threshold in (
        histogram.curve().best_threshold,
        *map(histogram.threshold_at_false_positive_rate, (0.01, 0.05)),
    ):
        called = scores >= np.float32(threshold)
        assert counts_at(histogram, threshold) == ((called & labels).sum(), (called & ~labels).sum())


def test_a_rate_without_negatives_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        histogram_of([1.0], [1]).threshold_at_false_positive_rate(0.05)


def test_published_defect_false_positive_rate_as_share_of_the_called_voxels() -> None:
    # fp / (fp + tp) is 1/2 at every threshold here, the rate is not.
    scores = np.repeat(np.arange(1, 101, dtype=np.float32), 2)
    labels = np.arange(200) % 2 == 0
    histogram = histogram_of(scores, labels)
    true, false = counts_at(histogram, histogram.threshold_at_false_positive_rate(0.1))
    assert (true, false) == (10, 10)


def test_published_defect_scores_divided_by_the_maximum_of_the_batch() -> None:
    scores, labels = brains(20_000, "residuals", 4)
    alone = histogram_of(scores, labels)
    batch = total([alone, histogram_of([1000.0], [0])])
    threshold = alone.curve().best_threshold
    assert counts_at(batch, threshold)[0] == counts_at(alone, threshold)[0]
    np.testing.assert_array_equal(batch.starts[:-1], alone.starts)


def test_counts_are_the_same_without_the_faster_way(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    scores = np.round(random.normal(size=5000), 2).astype(np.float32)
    labels = random.random(5000) < 0.1
    usual = streamed(scores, labels)
    monkeypatch.setattr("uadbench.evaluation.ordinals.csr_column_index1", None)

    assert streamed(scores, labels) == usual
