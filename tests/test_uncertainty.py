"""Bootstrap intervals and tests: against arithmetic, numerical derivatives and simulation."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from uadbench.evaluation import uncertainty
from uadbench.evaluation.pieces import Pieces
from uadbench.evaluation.uncertainty import (
    Sampled,
    difference,
    difference_in_ap,
    draw_resamples,
    holm,
    interval,
    over_seeds,
)

EDGES = np.linspace(-4, 8, 65)[:-1].astype(np.float32)


def pieces_of(positives: NDArray[np.integer], negatives: NDArray[np.integer]) -> Pieces:
    """Pieces of counts (subjects, bins)."""
    subjects = len(positives)
    ids = tuple(f"s{row}" for row in range(subjects))
    edges = EDGES[: positives.shape[1]]
    single = np.zeros(len(edges), bool)
    return Pieces(ids, edges, single, positives.astype(np.uint32), negatives.astype(np.uint32))


def cohort(subjects: int, random: np.random.Generator, shift: float = 2.0) -> Pieces:
    """Lesions of log-normal volume (log-sd 1), subjects of differing separation; 64 bins."""

    def counts(volumes: NDArray[np.int64], means: NDArray[np.float64]) -> NDArray[np.int64]:
        shares = np.diff(norm.cdf(np.append(EDGES, 8.0) - means[:, None]), axis=1)
        return random.multinomial(volumes, shares / shares.sum(1, keepdims=True))

    volumes = np.exp(random.normal(5, 1, subjects)).astype(int) + 1
    positives = counts(volumes, random.normal(shift, 0.4, subjects))
    return pieces_of(positives, counts(np.full(subjects, 20_000), random.normal(0, 0.2, subjects)))


def persons(subjects: int) -> list[str]:
    return [f"p{row}" for row in range(subjects)]


def weights(subjects: int, n: int = 1000) -> NDArray[np.int64]:
    return draw_resamples(persons(subjects), ["lesion-test"] * subjects, n)


def test_a_ratio_and_its_standard_error_by_hand() -> None:
    """(1 + 2) / (2 + 4) = .5; influences (1 - .5 * 2) / 6 = 0 and (2 - .5 * 4) / 6 = 0."""
    found = uncertainty.ratio(np.array([1.0, 2.0]), np.array([2.0, 4.0]), weights(2))
    assert found.value == 0.5
    assert found.error == 0
    mean = uncertainty.mean([0.2, None, 0.6], weights(3))
    assert mean.value == pytest.approx(0.4)
    assert mean.error == pytest.approx(np.sqrt(2 * (0.2 / 2) ** 2))


def test_the_auroc_of_scans_is_that_of_scikit_learn_also_in_resamples() -> None:
    random = np.random.default_rng(0)
    scores, ill = random.normal(size=30).round(1), np.arange(30) >= 18
    drawn = draw_resamples(persons(30), ["lesion-test" if i else "healthy-test" for i in ill], 5)
    found = uncertainty.scan_auroc(scores.tolist(), ill.tolist(), drawn)
    assert found.value == pytest.approx(roc_auc_score(ill, scores))
    for row in range(5):
        assert found.values[row] == pytest.approx(roc_auc_score(ill, scores, sample_weight=drawn[row]))


@pytest.mark.parametrize("name", ["ap", "auroc", "best_dice"])
def test_influences_are_derivatives(name: str) -> None:
    pieces = cohort(6, np.random.default_rng(1))
    found: Sampled = getattr(uncertainty.pooled(pieces, weights(6, 3)), name)
    step = 1e-4
    for row in range(6):
        moved = np.ones((1, 6))
        moved[0, row] += step
        value = getattr(uncertainty.pooled(pieces, moved), name).values[0]  # type: ignore[arg-type]
        assert (value - found.value) / step == pytest.approx(found.influence[row], rel=2e-3, abs=1e-6)


def test_pooled_figures_are_those_of_the_curve() -> None:
    pieces = cohort(20, np.random.default_rng(2))
    found, curve = uncertainty.pooled(pieces, weights(20, 3)), pieces.curve()
    assert found.ap.value == pytest.approx(curve.ap, abs=6e-3)  # 64 bins, far fewer than a record has
    assert found.auroc.value == pytest.approx(curve.auroc, abs=1e-9)
    assert found.best_dice.value == pytest.approx(curve.best_dice, abs=1e-9)


def test_an_interval_of_two_persons_that_differ_ends_at_0_and_1() -> None:
    """Its logarithm reaches further than the exponential of a float: no warning, an error in these tests."""
    values, errors = np.array([0.1, 0.4, 0.01, 0.3]), np.full((4, 2), 1e-4)
    figure = Sampled(0.2, np.array([0.2, -0.2]), values, errors, np.ones((4, 2), np.int64))
    assert interval(figure) == (0.2, 0.0, 1.0)


def test_few_bins_keep_the_spread() -> None:
    random = np.random.default_rng(4)
    scores = random.normal(size=(12, 4000)) + np.linspace(0, 1, 12)[:, None]
    edges = np.linspace(-4, 6, 6000).astype(np.float32)
    negatives = np.stack([np.histogram(own, np.append(edges, 9))[0] for own in scores - 1])
    positives = np.stack([np.histogram(own[:80], np.append(edges, 9))[0] for own in scores + 1])
    ids = tuple(f"s{row}" for row in range(12))
    pieces = Pieces(
        ids, edges, np.zeros(len(edges), bool), positives.astype(np.uint32), negatives.astype(np.uint32)
    )
    few = uncertainty.pooled(pieces, weights(12, 200))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("uadbench.evaluation.uncertainty.BINS", 10_000)
        fine = uncertainty.pooled(pieces, weights(12, 200))
    for name in ("ap", "auroc", "best_dice"):
        one, other = getattr(few, name), getattr(fine, name)
        assert one.value == pytest.approx(other.value, abs=5e-3)
        np.testing.assert_allclose(one.values - one.value, other.values - other.value, atol=2e-3)
        assert one.error == pytest.approx(other.error, rel=0.03)


def test_persons_are_drawn_within_their_partition_and_together_where_they_are_in_two() -> None:
    apart = draw_resamples(
        ["a", "b", "c", "d"], ["healthy-test", "healthy-test", "lesion-test", "lesion-test"], 50
    )
    assert (apart[:, :2].sum(1) == 2).all()
    assert (apart[:, 2:].sum(1) == 2).all()
    within = draw_resamples(
        ["a", "b", "a", "b"], ["healthy-test", "healthy-test", "lesion-test", "lesion-test"], 50
    )
    np.testing.assert_array_equal(within[:, :2], within[:, 2:])


def test_resamples_draw_persons_with_all_their_scans() -> None:
    def drawn(*persons: str) -> NDArray[np.int64]:
        return draw_resamples(persons, ["lesion-test"] * len(persons), 200, seed=3)

    counts = drawn("a", "b", "a", "c")
    assert (counts[:, 0] == counts[:, 2]).all()
    assert (counts[:, [0, 1, 3]].sum(1) == 3).all()
    np.testing.assert_array_equal(counts, drawn("a", "b", "a", "c"))
    np.testing.assert_array_equal(drawn("c", "a", "b")[:, [1, 2, 0]], counts[:, [0, 1, 3]])
    assert counts.mean(0) == pytest.approx(np.ones(4), abs=0.2)


def test_the_difference_in_ap_of_a_better_and_of_the_same_map() -> None:
    random = np.random.default_rng(5)
    better, worse = cohort(20, random), cohort(20, random, shift=1.0)
    found = difference_in_ap(better, worse, persons(20))
    assert 0 < found.low < found.value < found.high
    assert difference_in_ap(better, better, persons(20)) == (0, 0, 0)
    with pytest.raises(ValueError, match="same scans"):
        difference_in_ap(better, worse.only([0, 1]), persons(20))


def test_equal_figures_do_not_differ_and_an_offset_does() -> None:
    drawn = weights(40)
    values = np.random.default_rng(0).uniform(0.2, 0.6, 40)
    first, second = uncertainty.mean(values.tolist(), drawn), uncertainty.mean((values - 0.1).tolist(), drawn)
    apart, p = difference(first, first)
    assert (apart.value, p) == (0, 1)
    apart, p = difference(first, uncertainty.mean((values[::-1] - 0.15).tolist(), drawn))
    assert apart.low > 0
    assert p < 0.01
    assert difference(first, second)[0].value == pytest.approx(0.1)


def test_two_shares_differ_by_one_at_most() -> None:
    """Of four patients one decides the ratio: its interval was -.02 to 1.9 where values are .2 and .3."""
    drawn = weights(4)
    first, second = (
        uncertainty.ratio(np.array(parts), np.array([1.0, 10.0, 100.0, 1000.0]), drawn)
        for parts in ([0.9, 9.0, 20.0, 300.0], [0.01, 0.2, 60.0, 100.0])
    )
    tested = first.logarithm() - second.logarithm()
    apart, _ = difference(first, second)

    assert second.value * np.expm1(tested.value + uncertainty._reach(tested)[0]) > 1
    assert -1 <= apart.low < apart.value < apart.high == 1
    assert difference(second, first)[0].low >= -1


def test_holm_by_hand() -> None:
    """Sorted .01, .02, .04: times 3, 2 and 1: .03, .04, .04."""
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


def test_seeds_widen_the_interval() -> None:
    drawn = weights(30)
    values = np.random.default_rng(3).uniform(0.3, 0.5, 30)
    one = uncertainty.mean(values.tolist(), drawn)
    same = over_seeds([one, one, one])
    other = over_seeds([uncertainty.mean((values + shift).tolist(), drawn) for shift in (-0.1, 0.0, 0.1)])
    assert same.error == pytest.approx(one.error)
    assert other.value == pytest.approx(one.value)
    assert other.error == pytest.approx(np.hypot(one.error, 0.1 / np.sqrt(3)))
    wide, narrow = interval(other), interval(same)
    assert wide is not None
    assert narrow is not None
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_an_undefined_figure_has_no_interval() -> None:
    assert interval(uncertainty.mean([None, None], weights(2))) is None


# ---- simulation --------------------------------------------------------------------------------

COHORTS = 2000


def ap(pieces: Pieces, drawn: NDArray[np.int64]) -> Sampled:
    return uncertainty.pooled(pieces, drawn).ap


def mean_dsc(pieces: Pieces, drawn: NDArray[np.int64]) -> Sampled:
    """Mean over subjects of the Dice at a frozen threshold."""
    true, false, missed = pieces.dice_at(float(EDGES[40]))
    return uncertainty.mean((2 * true / (2 * true + false + missed)).tolist(), drawn)


@pytest.mark.slow
@pytest.mark.parametrize("figure", [ap, mean_dsc])
@pytest.mark.parametrize("subjects", [10, 30, 100])
def test_intervals_cover_the_truth(
    figure: Callable[[Pieces, NDArray[np.int64]], Sampled], subjects: int
) -> None:
    random = np.random.default_rng(subjects)
    many = [figure(cohort(20_000, random), np.ones((1, 20_000), np.int64)).value for _ in range(8)]
    truth, covered, drawn = float(np.mean(many)), 0, weights(subjects)
    for _ in range(COHORTS):
        found = interval(figure(cohort(subjects, random), drawn))
        assert found is not None
        covered += found.low <= truth <= found.high
    print(f"{figure.__name__}, {subjects} subjects: coverage {covered / COHORTS:.3f}")
    if subjects == 100:
        assert 0.93 <= covered / COHORTS <= 0.97


@pytest.mark.slow
def test_two_methods_that_do_not_differ_are_told_apart_in_one_of_twenty_cohorts() -> None:
    random, drawn, found = np.random.default_rng(0), weights(50), 0
    for _ in range(COHORTS):
        both = cohort(50, random), cohort(50, random)
        found += difference(ap(both[0], drawn), ap(both[1], drawn))[1] <= 0.05
    print(f"false-positive rate of the paired test {found / COHORTS:.3f}")
    assert 0.03 <= found / COHORTS <= 0.07
