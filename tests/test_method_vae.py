"""Variational auto-encoder: the pieces of its loss, and what it draws when."""

import importlib
import math
from typing import Any

import pytest
import torch

from uadbench import methods
from uadbench.grids import GRIDS

module: Any = importlib.import_module(methods.load("vae").__module__)


def test_kl_divergence_on_values_by_hand() -> None:
    mean = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
    log_variance = torch.tensor([[0.0, 0.0], [0.0, 0.0], [math.log(4), 0.0]])
    expected = [0.0, 2.0, 0.5 * (4 - 1 - math.log(4))]  # mean^2 / 2, then a deviation of 2
    assert module.kl_divergence(mean, log_variance).tolist() == pytest.approx(expected)


def test_kl_divergence_is_that_of_torch() -> None:
    mean, log_variance = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(module.kl_divergence(mean, log_variance), expected)


@pytest.mark.parametrize("beta", [0.1, 1.0, 5.0])
def test_the_loss_is_the_summed_one_over_the_number_of_pixels(beta: float) -> None:
    image, reconstruction = torch.zeros(2, 1, 8, 4), torch.full((2, 1, 8, 4), 0.25)
    mean, log_variance = torch.ones(2, 3), torch.zeros(2, 3)
    summed = 32 * 0.25 + beta * 1.5
    loss = module.negative_elbo(image, reconstruction, mean, log_variance, beta)
    assert loss.item() == pytest.approx(summed / 32)
    # The same in terms of mean L1: KL weighs beta / pixels.
    assert loss.item() == pytest.approx(0.25 + beta / 32 * 1.5)


def test_scoring_uses_the_mean_of_the_code() -> None:
    network = module.VariationalAutoencoder(32, 32, 8, 4, 0.1).eval()
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(image), network(image))
        mean, _ = network.encode(image)
        assert torch.equal(network(image), network.decode(mean, 32, 32))


@pytest.mark.parametrize("grid", GRIDS)
def test_slices_of_every_grid_come_back_in_their_shape(grid: str) -> None:
    rows, columns, _ = GRIDS[grid].shape
    network = module.VariationalAutoencoder(rows, columns, 8, 4, 0.1).eval()
    mean, log_variance = network.encode(torch.zeros(1, 1, rows, columns))
    assert mean.shape == log_variance.shape == (1, 4)
    assert network(torch.zeros(1, 1, rows, columns)).shape == (1, 1, rows, columns)
