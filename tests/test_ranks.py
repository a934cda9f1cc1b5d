"""Order statistics: those of sorting everything, whatever the type, order and number of the values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uadbench.preprocessing import ranks


def test_ranks_by_hand() -> None:
    assert ranks.find_ranked(np.array([30, 10, 20, 20]), range(4)) == [10, 20, 20, 30]
    assert ranks.percentile(np.array([0.0, 10.0, 20.0]), 25) == 5.0


@pytest.mark.parametrize("kind", ["uint8", "int16", "float32", "float64"])
@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.sampled_from([1, 2, 3, 1000, 70_000]), spread=st.booleans())
def test_ranked_values_are_those_of_sorting(kind: str, seed: int, count: int, spread: bool) -> None:
    random = np.random.default_rng(seed)
    values = (random.gamma(2, 30 if spread else 0.3, count)).astype(kind)
    for ordered in (values, np.sort(values), np.sort(values)[::-1]):
        places = [0, count // 100, count // 2, round(0.99 * (count - 1)), count - 1]
        assert ranks.find_ranked(ordered, places) == np.sort(values)[places].tolist()
        for percent in (0, 1, 50, 99.5, 100):
            assert ranks.percentile(ordered, percent) == np.percentile(values.astype(np.float64), percent)


def test_a_sample_that_misleads_is_no_harm() -> None:
    values = np.zeros(200_000)
    values[::10] = 1.0  # what a sample of every tenth value sees
    assert ranks.find_ranked(values, [0, 2000, 100_000, 198_000]) == [0, 0, 0, 1]
