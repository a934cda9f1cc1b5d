"""SSIM by matrices is SSIM by convolutions."""

import pytest
import torch
from monai.losses.ssim_loss import SSIMLoss
from monai.metrics.regression import compute_ssim_and_cs
from torch.nn import functional

from uadbench.learning.similarity import ssim


@pytest.mark.parametrize(
    ("shape", "window"), [((3, 1, 48, 56), 11), ((2, 5, 32, 32), 5), ((1, 1, 11, 20), 11)]
)
def test_values_and_gradients_are_those_of_convolutions(shape: tuple[int, ...], window: int) -> None:
    torch.manual_seed(0)
    image, other = torch.rand(2, *shape)
    image[..., : shape[-1] // 2] = 0.0  # background, where variances are 0
    other = (0.7 * image + 0.3 * other).requires_grad_()
    ours = 1 - ssim(other, image, window).mean()
    theirs = SSIMLoss(2, data_range=1.0, win_size=window)(other, image)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
    (gradient,), (expected,) = (torch.autograd.grad(loss, other) for loss in (ours, theirs))
    torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-4)


def test_outside_padded_slices_are_zeros() -> None:
    torch.manual_seed(0)
    maps = torch.rand(2, 2, 3, 32, 32)
    expected, _ = compute_ssim_and_cs(*functional.pad(maps, [2] * 4), 2, (5, 5), (1.5, 1.5), data_range=1.0)
    torch.testing.assert_close(ssim(maps[0], maps[1], 5, padded=True), expected, atol=1e-5, rtol=1e-4)


def test_slices_are_like_themselves_and_half_precision_changes_nothing() -> None:
    image = torch.rand(1, 1, 20, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ssim(image, image, 11)
    assert found.shape == (1, 1, 10, 14)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.ones_like(found))
