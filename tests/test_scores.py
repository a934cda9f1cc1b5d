"""Residual scores on values worked out by hand."""

import numpy as np
import pytest

from uadbench.data.volumes import Volume
from uadbench.learning import scores
from uadbench.system.errors import UserError
from uadbench.system.progress import Silent

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.random((24, 20, 3), np.float32)
OTHER = RANDOM.random((24, 20, 3), np.float32)


@pytest.mark.parametrize("kind", scores.RESIDUALS)
def test_an_image_has_no_residual_to_itself(kind: str) -> None:
    np.testing.assert_allclose(scores.RESIDUALS[kind](IMAGE, IMAGE), 0, atol=1e-6)


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


def volume(value: float) -> Volume:
    """A flat volume (1, 9, 9, 9), all of it brain."""
    image = np.full((1, 9, 9, 9), value, np.float32)
    return Volume(image, np.ones((9, 9, 9), bool), 1.0, ("T1",))


def test_zres_standardises_by_the_healthy_residuals() -> None:
    """Residuals .1 and .3 of two healthy volumes: mean .2, deviation .1, which is the floor as well."""
    healthy = [volume(0.1), volume(0.3)]
    found = scores.HealthyResiduals.by_contrast(healthy, lambda v: np.zeros_like(v.image), Silent())  # type: ignore[arg-type]
    statistics = found[scores.ANY]
    np.testing.assert_allclose(statistics.mean, 0.2, rtol=1e-5)
    np.testing.assert_allclose(statistics.deviation, 0.1, rtol=1e-4)
    patient = volume(0.5)
    standardised = statistics.standardise(patient, np.zeros_like(patient.image))
    np.testing.assert_allclose(standardised, 0.3 / np.hypot(0.1, 0.1), rtol=1e-4)


def test_zres_of_one_volume_is_refused() -> None:
    with pytest.raises(UserError, match="at least two"):
        scores.HealthyResiduals.by_contrast([volume(0.1)], lambda v: v.image, Silent())  # type: ignore[arg-type]
