import io
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uadbench.evaluation.counting import count_scores, streamed
from uadbench.evaluation.histogram import ScoreHistogram
from uadbench.evaluation.metrics import UncertainFigureError, measure
from uadbench.evaluation.pieces import Pieces
from uadbench.evaluation.postprocess import LOWEST

Voxels = tuple[NDArray[np.float32], NDArray[np.bool_]]


def subject(number: int, n: int = 4000, healthy: bool = False) -> Voxels:
    """Residuals and labels (n,) of one subject: ties at 0, some removed voxels, some saturated."""
    random = np.random.default_rng(number)
    labels = random.random(n) < (0 if healthy else random.uniform(0.005, 0.05))
    scores = np.abs(random.normal(0, 0.05, n)) + labels * np.abs(random.normal(0.3, 0.5, n))
    scores[random.random(n) < 0.4] = 0
    scores = scores.clip(0, 1)
    scores[random.random(n) < 0.1] = LOWEST
    return scores.astype(np.float32), labels


def histogram_of(voxels: Voxels) -> ScoreHistogram:
    return count_scores(*voxels)


def pieces_of(voxels: Sequence[Voxels], thresholds: Sequence[float] = (), **options: object) -> Pieces:
    ids = [f"s{number}" for number in range(len(voxels))]
    return Pieces.of_voxels(ids, voxels, thresholds, **options)  # type: ignore[arg-type]


def together(voxels: Sequence[Voxels]) -> Voxels:
    scores, labels = zip(*voxels, strict=True)
    return np.concatenate(scores), np.concatenate(labels)


COHORT = [subject(number) for number in range(12)]


def test_hand_computed_counts() -> None:
    a = np.array([3, 2, 1, 0], np.float32), np.array([True, False, True, False])
    b = np.array([3, 2, 2, 0], np.float32), np.array([False, True, False, False])
    histogram = histogram_of(together([a, b]))
    threshold = histogram.threshold_at_false_positive_rate(1 / 5)  # above the two negatives at 2
    assert 2 < threshold < 3
    true, false, missed = pieces_of([a, b], [threshold]).dice_at(threshold)
    assert (true.tolist(), false.tolist(), missed.tolist()) == ([1, 0], [0, 1], [1, 1])


def test_pooled_metrics_stay_within_the_tolerance() -> None:
    exact = measure(*together(COHORT))
    sizes = []
    for tolerance in (1e-3, 1e-4):
        pieces = pieces_of(COHORT, tolerance=tolerance)
        curve = pieces.curve()
        assert abs(curve.ap - exact.ap) <= curve.ap_error <= tolerance
        assert abs(curve.auroc - exact.auroc) <= curve.auroc_error <= tolerance
        assert (curve.positives, curve.negatives) == (exact.positives, exact.negatives)
        assert 0 <= exact.best_dice - curve.best_dice <= curve.dice_error + 1e-12
        sizes.append(len(pieces.edges))
    assert sizes[0] < sizes[1] < len(histogram_of(together(COHORT)).starts)


def test_metrics_of_chosen_rows_stay_within_the_tolerance() -> None:
    voxels = [*COHORT, *(subject(number, healthy=True) for number in range(20, 40))]
    tested = np.arange(len(voxels)) < len(COHORT)
    curve = pieces_of(voxels, rows=list(range(len(COHORT)))).curve(tested.astype(int))
    exact = measure(*together(COHORT))
    assert abs(curve.ap - exact.ap) <= curve.ap_error <= 1e-4


@given(st.lists(st.integers(0, 3), min_size=12, max_size=12))
@settings(max_examples=15, deadline=None)
def test_bounds_contain_the_exact_value_of_any_resample(weights: list[int]) -> None:
    resample = [voxels for voxels, times in zip(COHORT, weights, strict=True) for _ in range(times)]
    if not resample:
        return
    exact = measure(*together(resample))
    curve = COHORT_PIECES.curve(np.array(weights))
    assert abs(curve.ap - exact.ap) <= curve.ap_error + 1e-12
    assert abs(curve.auroc - exact.auroc) <= curve.auroc_error + 1e-12


COHORT_PIECES = pieces_of(COHORT)


def test_counts_at_operating_thresholds_are_exact() -> None:
    pooled = histogram_of(together(COHORT))
    thresholds = [pooled.curve().best_threshold, pooled.threshold_at_false_positive_rate(0.01), float("inf")]
    thresholds.append(histogram_of(subject(99)).threshold_at_false_positive_rate(0.05))
    pieces = pieces_of(COHORT, thresholds)
    for threshold in thresholds:
        true, false, missed = pieces.dice_at(threshold)
        for row, (scores, labels) in enumerate(COHORT):
            called = scores >= np.float32(threshold)
            counts = (called & labels).sum(), (called & ~labels).sum(), (~called & labels).sum()
            assert (true[row], false[row], missed[row]) == counts


def test_a_threshold_that_is_no_edge_is_refused() -> None:
    with pytest.raises(ValueError, match="edge"):
        COHORT_PIECES.dice_at(0.123)


def test_mean_dice_threshold_maximises_the_mean_over_diseased_subjects() -> None:
    voxels = [*COHORT, subject(50, healthy=True)]
    pieces = pieces_of(voxels)
    threshold = pieces.mean_dice_threshold()

    def mean_dice(edge: float) -> float:
        true, false, missed = (counts[:-1] for counts in pieces.dice_at(edge))
        return float(np.mean(2 * true / (2 * true + false + missed)))

    best = max(mean_dice(float(edge)) for edge in pieces.edges)
    assert mean_dice(threshold) == pytest.approx(best)
    assert np.isnan(pieces.mean_dice_threshold([12]))


def test_published_defect_empty_masks_do_not_move_the_mean_dice() -> None:
    with_healthy = pieces_of([*COHORT, subject(51, healthy=True)])
    rows = range(len(COHORT))
    assert with_healthy.mean_dice_threshold() == with_healthy.mean_dice_threshold(list(rows))


def test_the_order_of_subjects_changes_nothing_but_rows() -> None:
    order = np.random.default_rng(0).permutation(len(COHORT))
    permuted = pieces_of([COHORT[place] for place in order])
    np.testing.assert_array_equal(permuted.edges, COHORT_PIECES.edges)
    np.testing.assert_array_equal(permuted.positives, COHORT_PIECES.positives[order])
    assert permuted.curve() == COHORT_PIECES.curve()


def test_only_healthy_subjects_and_no_voxels() -> None:
    healthy = pieces_of([subject(1, healthy=True)])
    assert np.isnan(healthy.curve().ap)
    assert healthy.negatives.sum() == 4000
    empty = pieces_of([(np.empty(0, np.float32), np.empty(0, bool))])
    assert empty.curve().negatives == 0


def test_arrays_come_back_and_equal_pieces_are_equal_bytes() -> None:
    def stored(pieces: Pieces) -> bytes:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **pieces.arrays())  # type: ignore[arg-type]
        return buffer.getvalue()

    content = stored(COHORT_PIECES)
    assert content == stored(pieces_of(COHORT))
    with np.load(io.BytesIO(content)) as arrays:
        again = Pieces.from_arrays(arrays)
    assert again.ids == COHORT_PIECES.ids
    assert again.curve() == COHORT_PIECES.curve()
    np.testing.assert_array_equal(again.positives, COHORT_PIECES.positives)
    np.testing.assert_array_equal(again.negatives, COHORT_PIECES.negatives)


def test_counts_beyond_one_byte_come_back() -> None:
    counts = np.array([[0, 70_000, 2**32 - 1]], np.uint32)
    pieces = Pieces(("a",), np.array([0, 1, 2], np.float32), np.zeros(3, bool), counts, counts)
    np.testing.assert_array_equal(Pieces.from_arrays(pieces.arrays()).positives, pieces.positives)


def test_published_defect_one_subject_does_not_scale_the_counts_of_another() -> None:
    pooled = streamed(*together(COHORT)).best_threshold
    louder = [*COHORT[:-1], (COHORT[-1][0] * np.float32(0.5), COHORT[-1][1])]
    before, after = pieces_of(COHORT, [pooled]), pieces_of(louder, [pooled])
    for a, b in zip(before.dice_at(pooled), after.dice_at(pooled), strict=True):
        np.testing.assert_array_equal(a[:-1], b[:-1])


def test_the_pieces_of_some_subjects_measure_these_subjects_alone() -> None:
    random = np.random.default_rng(0)
    voxels = []
    for _ in range(5):
        scores = random.random(400).astype(np.float32)
        scores[random.random(400) < 0.3] = 0.5  # a tie
        voxels.append((scores, random.random(400) < 0.2))
    pieces = Pieces.of_voxels(["a", "b", "c", "d", "e"], voxels)

    some = pieces.only([1, 3])

    assert some.ids == ("b", "d")
    assert some.curve() == pieces.curve(np.array([0, 1, 0, 1, 0]))


def test_a_single_value_holds_no_other_subjects_neighbours() -> None:
    """Tested subjects are tied at 1; healthy ones have scores just above, which must not count as tied."""
    above = np.nextafter(np.float32(1), np.float32(2))
    tied = np.full(200, 1, np.float32), np.arange(200) < 20
    healthy = np.array([1, above, above], np.float32), np.zeros(3, bool)
    pieces = pieces_of([tied, healthy], rows=[0])

    place = int(np.searchsorted(pieces.edges, np.float32(1)))
    assert pieces.single[place]
    assert pieces.negatives[1, place] == 1
    assert pieces.curve(np.array([1, 0])).ap == 0.1


def test_the_lowest_number_has_one_edge_though_its_bin_begins_below_it() -> None:
    """As after erosion of a rim without any lesion voxel: `baur5` of real scans had two edges there."""
    random = np.random.default_rng(0)
    labels = random.uniform(size=20_000) < 0.02
    scores = (random.normal(size=labels.size) + 2 * labels).astype(np.float32)
    scores[np.flatnonzero(~labels)[:3000]] = np.finfo(np.float32).min

    pieces = Pieces.of_voxels(["a"], [(scores, labels)])

    pieces.check()
    assert pieces.edges[0] == np.finfo(np.float32).min
    assert pieces.negatives.sum() == (~labels).sum()


def test_pieces_say_when_they_are_less_certain_than_promised() -> None:
    counts = np.array([[5, 5]], np.uint32)
    edges = np.array([0, 1], np.float32)
    with pytest.raises(UncertainFigureError):
        Pieces(("a",), edges, np.array([True, False]), counts, counts).curve().certain()
    assert Pieces(("a",), edges, np.array([True, True]), counts, counts).curve().certain().ap == 0.5


def test_few_voxels_at_the_lowest_score_are_not_joined_with_those_above() -> None:
    from uadbench.evaluation.pooling import Group, Pools

    random = np.random.default_rng(5)
    scans = []
    for _ in range(3):
        own = random.normal(0, 1, 700).astype(np.float32)
        own[:10] += 2  # the lesion
        own[: random.integers(0, 3)] = own[30 : 30 + random.integers(1, 3)] = np.finfo(np.float32).min
        scans.append(own)
    scores, labels = np.concatenate(scans), np.tile(np.arange(700) < 10, 3)
    pools, group = Pools(), Group("lesion-test")
    pools.add(group, scores, labels)

    def look_again(look, counts):  # type: ignore[no-untyped-def]  # as `evaluate` does
        own = look.empty(scores.size)
        look.count(scores, labels, own)
        counts[group][...] += own

    pools.sharpen(look_again)
    edges = pools.edges([])
    pieces = Pieces.of_counts(["one"], edges, [edges.between(scores, labels)])

    pieces.curve().certain("AP", "AUROC")  # as exact as is promised, else an UncertainFigureError
