"""Context-encoding VAE: what is hidden, the two shares of the loss, and the gradient of the bound."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from uadbench import methods
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volumes
from uadbench.learning.autoencoder import VariationalAutoencoder, kl_divergence
from uadbench.methods import Context

module: Any = importlib.import_module(methods.load("cevae").__module__)

SLICES = 4000


@pytest.fixture(scope="module")
def hidden() -> Tensor:
    """Where up to three squares of 3 x 3 cover slices of 12 x 8 pixels with a brain of 8 x 6."""
    torch.manual_seed(0)
    brain = torch.zeros(SLICES, 1, 12, 8, dtype=torch.bool)
    brain[:, :, 2:10, 1:7] = True
    return module.hide_squares(torch.ones(SLICES, 1, 12, 8), brain, 3, 3)[:, 0] == 0  # type: ignore[no-any-return]


def test_one_to_three_squares_are_equally_frequent_and_lie_in_the_box_around_the_brain(
    hidden: Tensor,
) -> None:
    assert hidden.any((1, 2)).all()
    alone = hidden.sum((1, 2)) == 9
    assert alone.float().mean().item() == pytest.approx(1 / 3 + 1 / 3 / 24 + 1 / 3 / 24**2, abs=0.03)
    assert hidden[:, 2:10, 1:7].any(0).all()
    assert not hidden.float().sum(0).bool()[:2].any()
    assert hidden.sum() == hidden[:, 2:10, 1:7].sum()


def test_a_square_has_its_side_and_is_black() -> None:
    torch.manual_seed(0)
    images, brain = torch.rand(3000, 1, 16, 16) + 0.1, torch.ones(3000, 1, 16, 16, dtype=torch.bool)
    before = images.clone()
    painted = module.hide_squares(images, brain, 1, 5)
    assert torch.equal(images, before)
    black = painted == 0
    assert (black.sum((1, 2, 3)) == 25).all()
    assert (black.any(3).sum((1, 2)) == 5).all()
    assert torch.equal(painted[~black], before[~black])
    assert black.any(0).all()


def test_a_brain_that_is_smaller_than_a_square_is_hidden_from_its_corner_on() -> None:
    brain = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    brain[0, 0, 4:7, 6:9] = True  # and a slice without a brain
    painted = module.hide_squares(torch.ones(2, 1, 16, 16), brain, 1, 5)
    assert (painted[0, 0, 4:9, 6:11] == 0).all()
    assert (painted == 0).sum() == 50


def test_slices_of_a_batch_do_not_share_their_squares(hidden: Tensor) -> None:
    assert len({tuple(slice_.flatten().tolist()) for slice_ in hidden[:50]}) > 20


@pytest.mark.parametrize(("beta", "share"), [(1.0, 0.5), (2.0, 0.25)])
def test_the_loss_by_hand(beta: float, share: float) -> None:
    """8 x 4 pixels: the VAE errs by 0.25 each, the completion by 0.5; KL of mean (1, 1) is 1."""
    image = torch.zeros(2, 1, 8, 4)
    mean, log_variance = torch.ones(2, 2), torch.zeros(2, 2)
    decoded, completed = image + 0.25, image - 0.5
    divergence = kl_divergence(mean, log_variance)
    loss = module.context_loss(image, decoded, completed, divergence, beta, share)
    assert loss.item() == pytest.approx(((1 - share) * (8 + beta * 1) + share * 16) / 32)


def test_kl_takes_the_logarithm_of_the_variance() -> None:
    """Not the deviation (a published implementation exponentiates twice): KL of deviation 2 is 0.807."""
    assert kl_divergence(torch.zeros(1, 1), torch.tensor([[np.log(4)]])).item() == pytest.approx(
        0.5 * (4 - 1 - np.log(4))
    )


class TwoPixels(torch.nn.Module):
    """A linear VAE of slices of one row and two pixels: the code is their sum, decoded to half of it each."""

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean = image.flatten(1).sum(1, keepdim=True)
        return mean, torch.zeros_like(mean)

    def decode(self, code: Tensor, rows: int, columns: int) -> Tensor:
        return (code / 2)[:, None, None, :].expand(-1, 1, rows, columns)


def test_the_gradient_map_by_hand() -> None:
    """L1 = |x1 - x2| has the gradient (1, -1), KL = (x1 + x2)^2 / 2 has the sum twice: 1 and 0.6."""
    images = torch.tensor([[[[0.8, 0.2]]], [[[0.2, 0.4]]]])
    found = module.gradient_magnitude(TwoPixels(), images, 1.0)
    assert found.flatten().tolist() == pytest.approx([1 + 1, abs(-1 + 1), abs(-1 + 0.6), 1 + 0.6])
    doubled = module.gradient_magnitude(TwoPixels(), images, 2.0)
    assert doubled.flatten().tolist() == pytest.approx([3, 1, 0.2, 2.2])


def test_gradients_are_there_where_scoring_switches_them_off() -> None:
    network = VariationalAutoencoder(16, 16, 8, 4, 0.1).eval()
    with torch.inference_mode():
        found = module.gradient_magnitude(network, torch.rand(2, 1, 16, 16), 1.0)
    assert found.min() >= 0
    assert found.amax((1, 2, 3)).min() > 0
    assert all(p.grad is None for p in network.parameters())


def test_the_score_is_the_residual_times_the_smoothed_gradient(
    toy: Callable[..., list[Prepared]], tmp_path: Path
) -> None:
    volumes = Volumes(toy(range(1), healthy=False), GRIDS["g48"])
    method: Any = module.ENTRY(grid="g48", width=8, latent_dim=4, steps=0, smoothing=1.5)
    method.fit(volumes, volumes, Context(folder=tmp_path))
    volume = volumes[0]
    score = method.score(volume)
    image = volume.image[..., 20]
    gradient = module.gradient_magnitude(method.network_, torch.from_numpy(image[None].copy()), 1.0)
    smooth = gaussian_filter(gradient[0, 0].numpy() * volume.brain[..., 20], 1.5)
    residual = np.abs(image - score.pseudo_healthy[..., 20])[0] * volume.brain[..., 20]
    # The gradient of an absolute value jumps where a pixel is restored exactly: hence the tolerance.
    np.testing.assert_allclose(score.score_map[..., 20], residual * smooth, atol=2e-3)
    plain = replace(method, score_kind="l1")
    plain.network_, plain.device_ = method.network_, method.device_
    np.testing.assert_allclose(plain.score(volume).score_map[..., 20], residual, atol=1e-6)


@pytest.mark.parametrize("grid", GRIDS)
def test_slices_of_every_grid_come_back_in_their_shape(grid: str) -> None:
    rows, columns, _ = GRIDS[grid].shape
    network = VariationalAutoencoder(rows, columns, 8, 4, 0.1).eval()
    assert network(torch.zeros(1, 1, rows, columns)).shape == (1, 1, rows, columns)
