"""How many scores lie below and at each of some values, without sorting the scores."""

import numpy as np
import pytest
from numpy.typing import NDArray

from uadbench.evaluation.ordinals import below_and_at, ordinals, scores_at, tally


def test_scores_beside_values_by_hand() -> None:
    scores = np.array([-2, -0.0, 0, 0, 1, 1, 5], np.float32)

    below, at = below_and_at(np.array([-3, 0, 1, 2], np.float32), scores)

    np.testing.assert_array_equal(below, [0, 1, 4, 6])
    np.testing.assert_array_equal(at, [0, 3, 2, 0])


def of_kind(kind: str) -> NDArray[np.float32]:
    """200,000 scores, more than are worked on at a time."""
    random = np.random.default_rng(3)
    normal = random.normal(size=200_000)
    if kind == "neighbours":
        scores = scores_at(ordinals(np.array([1000], np.float32)) + (300 * normal).astype(int))
    elif kind == "every magnitude":
        scores = scores_at(random.integers(-0x7F7FFFFF, 0x7F7FFFFF, normal.size, endpoint=True))
    elif kind == "ends":
        scores = scores_at(random.choice([-0x7F7FFFFF, -1, 0, 1, 0x7F7FFFFF], normal.size))
    else:
        scores = (1e-42 * normal if kind == "subnormal" else normal).astype(np.float32)
        scores[::3] = 0
        scores[::7] = -0.0
    return scores


@pytest.mark.parametrize("kind", ["normal", "neighbours", "every magnitude", "ends", "subnormal"])
@pytest.mark.parametrize("among", [1, 2, 1000, 200_000])
def test_scores_beside_values_are_those_of_sorting(kind: str, among: int) -> None:
    scores = of_kind(kind)
    values = np.unique(scores[:among])

    below, at = below_and_at(values, scores)

    ordered = np.sort(scores)
    np.testing.assert_array_equal(below, np.searchsorted(ordered, values, "left"))
    np.testing.assert_array_equal(below + at, np.searchsorted(ordered, values, "right"))


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_places_are_counted_as_often_as_they_come(
    kind: type[np.signedinteger], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = np.array([3, 0, 3, 3, 1], np.int32)
    counts = np.ones(5, kind)
    tally(counts, places)
    monkeypatch.setattr("uadbench.evaluation.ordinals.csr_column_index1", None)
    tally(counts, places)

    np.testing.assert_array_equal(counts, [3, 3, 1, 7, 1])
