"""Intensity: the equalisation worked out by hand, and the directions."""

import numpy as np
import pytest

from uadbench import methods
from uadbench.data.volumes import Volume

# Eight voxels of brain: half are 0, then 2, 1 and 1 at higher values; behind them background.
# The middle values are centres of two of the 256 bins, between which the shares are interpolated.
VALUES = np.array([0, 0, 0, 0, 64.5 / 256, 64.5 / 256, 128.5 / 256, 1.0, 0, 0], np.float32)
BRAIN = np.array([True] * 8 + [False] * 2).reshape(10, 1, 1)
EQUALISED = [0.5, 0.5, 0.5, 0.5, 0.75, 0.75, 0.875, 1.0]  # share of the brain that is not brighter


def volume(*contrasts: str) -> Volume:
    image = np.stack([VALUES.reshape(10, 1, 1)] * len(contrasts))
    return Volume(image, BRAIN, 4.0, contrasts)


def score(shown: Volume, **settings: str) -> np.ndarray:
    return methods.load("intensity")(**settings).score(shown).score_map.ravel()


def test_equalised_intensity_is_the_share_of_the_brain_that_is_not_brighter() -> None:
    np.testing.assert_allclose(score(volume("FLAIR")), [*EQUALISED, 0, 0], atol=1e-6)


def test_dark_and_two_sided() -> None:
    equalised = np.array(EQUALISED)
    np.testing.assert_allclose(score(volume("FLAIR"), direction="dark")[:8], 1 - equalised, atol=1e-6)
    # The median of eight is between the fourth and the fifth.
    np.testing.assert_allclose(
        score(volume("FLAIR"), direction="two-sided")[:8], np.abs(equalised - 0.625), atol=1e-6
    )


@pytest.mark.parametrize(
    ("contrast", "direction"),
    [("T1", "two-sided"), ("T1c", "two-sided")]
    + [(contrast, "bright") for contrast in ("T2", "FLAIR", "PD")],
)
def test_auto_is_two_sided_on_t1_and_bright_elsewhere(contrast: str, direction: str) -> None:
    np.testing.assert_array_equal(score(volume(contrast)), score(volume(contrast), direction=direction))


def test_a_steady_change_of_brightness_changes_nothing() -> None:
    bright = volume("FLAIR")
    squeezed = Volume(bright.image * np.float32(0.5), BRAIN, 4.0, ("FLAIR",))
    np.testing.assert_allclose(score(squeezed), score(bright), atol=1e-6)


def test_channels_are_averaged() -> None:
    both = (score(volume("T1")) + score(volume("FLAIR"))) / 2
    np.testing.assert_allclose(score(volume("T1", "FLAIR")), both, atol=1e-6)


def test_a_brain_of_one_grey_gets_one_score() -> None:
    grey = Volume(np.float32(0.3) * BRAIN[None], BRAIN, 4.0, ("T1",))
    assert np.ptp(score(grey)[:8]) == 0
