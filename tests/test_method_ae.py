"""Dense auto-encoder: the architecture of Baur 2021."""

import importlib
from typing import Any

import numpy as np
import pytest
import torch

from uadbench import methods
from uadbench.grids import GRIDS
from uadbench.learning.training import Batch

module: Any = importlib.import_module(methods.load("ae").__module__)


def parameters(rows: int, columns: int, width: int, latent: int) -> int:
    """Number of weights by hand: 5 x 5 kernels and their biases, two numbers a filter for batch norm."""
    filters = [width, 2 * width, 4 * width, 4 * width]
    narrow = filters[3] // 8
    features = narrow * -(-rows // 16) * -(-columns // 16)
    down = sum(25 * a * b + 3 * b for a, b in zip([1, *filters], filters, strict=False))
    up = sum(25 * a * b + 3 * b for a, b in zip([filters[3], *filters[:0:-1]], filters[::-1], strict=True))
    narrowing = filters[3] * narrow + narrow + narrow * filters[3] + filters[3]
    dense = features * latent + latent + latent * features + features
    return down + up + narrowing + dense + width + 1


@pytest.mark.parametrize(("width", "latent"), [(32, 128), (8, 16)])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_number_of_weights_is_that_of_the_published_layers(grid: str, width: int, latent: int) -> None:
    rows, columns, _ = GRIDS[grid].shape
    network = module.DenseAutoencoder(rows, columns, width, latent, 0.1)
    assert sum(p.numel() for p in network.parameters()) == parameters(rows, columns, width, latent)


def test_at_128_pixels_the_bottleneck_is_8_by_8_by_16_and_then_128_numbers() -> None:
    network = module.DenseAutoencoder(128, 128, 32, 128, 0.1).eval()
    features = network.encoder[:4](torch.zeros(2, 1, 128, 128))
    assert features.shape == (2, 128, 8, 8)
    assert network.encoder[4](features).shape == (2, 16, 8, 8)
    assert network.encoder(torch.zeros(2, 1, 128, 128)).shape == (2, 128)
    assert [layer[0].out_channels for layer in network.encoder[:4]] == [32, 64, 128, 128]


@pytest.mark.parametrize("grid", GRIDS)
def test_slices_of_every_grid_come_back_in_their_shape(grid: str) -> None:
    rows, columns, _ = GRIDS[grid].shape
    network = module.DenseAutoencoder(rows, columns, 8, 4, 0.1).eval()
    assert network(torch.zeros(1, 1, rows, columns)).shape == (1, 1, rows, columns)


def test_the_output_is_linear() -> None:
    network = module.DenseAutoencoder(16, 16, 8, 4, 0.0).eval()
    torch.nn.init.constant_(network.decoder[-1].bias, -3.0)
    torch.nn.init.zeros_(network.decoder[-1].weight)
    assert (network(torch.rand(1, 1, 16, 16)) == -3).all()


def test_the_loss_is_the_mean_absolute_error_over_the_whole_slice() -> None:
    image = torch.zeros(2, 1, 4, 4)
    image[0, 0, 0, 0] = 0.8
    batch = Batch(image, image > 0, np.zeros((2, 2), np.int64))
    assert module.l1_loss(torch.zeros_like, batch).item() == pytest.approx(0.8 / 32)
