"""Residual scores on values worked out by hand."""

import numpy as np
import pytest

from uadbench import scores
from uadbench.volumes import Volume

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.random((24, 20, 3), np.float32)
OTHER = RANDOM.random((24, 20, 3), np.float32)


@pytest.mark.parametrize("kind", scores.KINDS)
def test_an_image_has_no_residual_to_itself(kind: str) -> None:
    np.testing.assert_allclose(scores.KINDS[kind](IMAGE, IMAGE), 0, atol=1e-6)


def test_l1_counts_both_signs_and_pos_only_what_is_too_bright() -> None:
    image, healthy = np.array([[[0.2, 0.9]], [[0.5, 0.5]]], np.float32)[..., None]  # (2, R, A, S)
    np.testing.assert_allclose(scores.l1(image, healthy).ravel(), [0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(scores.pos(image, healthy).ravel(), [0.0, 0.4], rtol=1e-6)


def test_ssim_of_flat_slices_is_wangs_luminance_term() -> None:
    bright, dark = np.full((40, 40, 1), 0.8, np.float32), np.full((40, 40, 1), 0.4, np.float32)
    expected = 1 - (2 * 0.8 * 0.4 + 1e-4) / (0.8**2 + 0.4**2 + 1e-4)
    assert scores.ssim(bright, dark)[20, 20, 0] == pytest.approx(expected, rel=1e-4)
    fused = 0.84 * expected / 2 + 0.16 * 0.4
    assert scores.fusion(bright, dark)[20, 20, 0] == pytest.approx(fused, rel=1e-4)


@pytest.mark.parametrize("window", [5, 11])
def test_ssim_is_the_textbook_sum_over_a_gaussian_window(window: int) -> None:
    """Wang 2004, eq. 13 to 16, at one pixel whose window lies inside the slice."""
    half = window // 2
    offsets = np.arange(-half, half + 1)
    weight = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    weight /= weight.sum()
    x, y = (a[12 - half : 13 + half, 9 - half : 10 + half, 1].astype(np.float64) for a in (IMAGE, OTHER))
    mean_x, mean_y = (weight * x).sum(), (weight * y).sum()
    variance_x, variance_y = (weight * (x - mean_x) ** 2).sum(), (weight * (y - mean_y) ** 2).sum()
    covariance = (weight * (x - mean_x) * (y - mean_y)).sum()
    expected = (2 * mean_x * mean_y + 1e-4) * (2 * covariance + 9e-4)
    expected /= (mean_x**2 + mean_y**2 + 1e-4) * (variance_x + variance_y + 9e-4)
    assert scores.structural_similarity(IMAGE, OTHER, window)[12, 9, 1] == pytest.approx(expected, rel=1e-3)


def test_slices_do_not_see_each_other() -> None:
    alone = scores.ssim(IMAGE[..., 1:2], OTHER[..., 1:2])
    np.testing.assert_allclose(scores.ssim(IMAGE, OTHER)[..., 1:2], alone, rtol=1e-5)


def test_a_residual_is_the_mean_over_channels_inside_the_brain() -> None:
    brain = RANDOM.random((24, 20, 3)) > 0.5
    volume = Volume(np.stack([IMAGE, OTHER]) * brain, brain, 2.0, ("T1", "T2"))
    score = scores.residual("l1", volume, np.zeros_like(volume.image))
    assert score.dtype == np.float32
    np.testing.assert_allclose(score, (IMAGE + OTHER) / 2 * brain, rtol=1e-6)
