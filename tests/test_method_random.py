"""Random scores: uniform, and a function of seed and content."""

import numpy as np

from uadbench import methods
from uadbench.data.volumes import Volume, Volumes
from uadbench.experiment.score import score_volume
from uadbench.methods import Context

BRAIN = np.ones((40, 40, 40), bool)
VOLUME = Volume(np.full((1, 40, 40, 40), 0.5, np.float32), BRAIN, 4.0, ("T1",))
NOBODY = Volumes([], None)  # type: ignore[arg-type]  # never looked at


def scores(seed: int, volume: Volume = VOLUME) -> np.ndarray:
    return score_volume(methods.load("random")(), volume, seed, "random").score.score_map


def test_scores_are_uniform_between_0_and_1() -> None:
    counts, _ = np.histogram(scores(0), bins=20, range=(0, 1))
    assert counts.sum() == BRAIN.size
    # 64,000 draws in 20 bins: 3,200 each with a standard deviation of 55.
    assert np.abs(counts - 3200).max() < 5 * 55


def test_another_seed_or_another_volume_gives_another_map() -> None:
    other = Volume(VOLUME.image + np.float32(0.01), BRAIN, 4.0, ("T1",))
    assert abs(np.corrcoef(scores(0).ravel(), scores(1).ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(scores(0).ravel(), scores(0, other).ravel())[0, 1]) < 0.02


def test_nothing_is_learned() -> None:
    assert methods.load("random")().fit(NOBODY, NOBODY, Context()).parameter_count() == 0
