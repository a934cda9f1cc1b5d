"""Soft-IntroVAE: the losses of Daniel & Tamar 2021 against values computed by hand."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from uadbench import methods
from uadbench.data.space import GRIDS
from uadbench.learning import introspective

kind: Any = methods.load("sivae")
PIXELS = 48 * 56


def test_the_squared_error_is_a_mean_over_the_pixels_of_each_slice() -> None:
    image = torch.zeros(2, 1, 4, 4)
    image[1, 0, 0, 0] = 2.0
    assert introspective.squared_error(image, torch.zeros_like(image)).tolist() == [0, 0.25]


def test_denial_is_half_of_exp_of_minus_twice_the_bound() -> None:
    """Bounds 0 and log 2: (1 + 1/4) / 2 / 2."""
    assert introspective.denial(torch.tensor([0.0, math.log(2)])).item() == pytest.approx(0.3125)


def test_a_bound_is_weighted_error_and_weighted_kl_for_one_pixel() -> None:
    """KL of mean (2, 0) and variance 1 is 2."""
    method = kind(grid="g48", beta_rec=0.5)
    bound = method.bound(torch.tensor([0.4]), torch.tensor([[2.0, 0.0]]), torch.zeros(1, 2), 3.0)
    assert bound.item() == pytest.approx(0.2 + 6 / PIXELS)


def network_of(shift: float, real_mean: float, made_mean: float) -> Any:
    """Slices of 1 are healthy, all that is made is `shift`; a code's one number has the mean of its kind.

    KL is mean^2 / 2: the variance is 1.
    """

    def encoder(image: Tensor) -> tuple[Tensor, Tensor]:
        real = (image == 1).flatten(1).all(1, keepdim=True)
        mean = torch.where(real, torch.tensor(real_mean), torch.tensor(made_mean))
        return mean, torch.zeros_like(mean)

    def decoder(code: Tensor) -> Tensor:
        return torch.full((len(code), 1, 48, 56), shift)

    return SimpleNamespace(encoder=encoder, decoder=decoder)


def test_the_encoders_loss_by_hand() -> None:
    """Healthy: error (1 - .5)^2, KL 2. Made: restored without error, KL 8, both kinds alike."""
    method = kind(grid="g48", beta_rec=0.5, beta_kl=100.0, beta_neg=50.0)
    loss = method.encoder_loss(network_of(0.5, 2.0, 4.0), torch.ones(3, 1, 48, 56))
    healthy = 0.5 * 0.25 + 100 * 2 / PIXELS
    assert loss.item() == pytest.approx(healthy + 0.5 * math.exp(-2 * 50 * 8 / PIXELS))


def test_the_decoders_loss_by_hand() -> None:
    """As above: the error of healthy slices, and the KL of reconstructions and of samples, added."""
    method = kind(grid="g48", beta_rec=0.5, beta_kl=100.0)
    loss = method.decoder_loss(network_of(0.5, 2.0, 4.0), torch.ones(3, 1, 48, 56))
    assert loss.item() == pytest.approx(0.5 * 0.25 + 2 * 100 * 8 / PIXELS)


def test_the_decoder_pays_little_for_its_error_on_made_slices() -> None:
    """A decoder whose answers to codes of made slices are off by .5: gamma beta_rec (.25 + .25) more."""
    network = network_of(0.5, 2.0, 4.0)
    calls: list[int] = []

    def decoder(code: Tensor) -> Tensor:
        calls.append(len(code))
        return torch.full((len(code), 1, 48, 56), 0.5 if len(calls) == 1 else 0.0)

    network.decoder = decoder
    method = kind(grid="g48", beta_rec=0.5, beta_kl=0.0, gamma_r=0.1)
    loss = method.decoder_loss(network, torch.ones(3, 1, 48, 56))
    assert calls == [6, 6]
    assert loss.item() == pytest.approx(0.5 * 0.25 + 0.1 * 0.5 * 0.5)


def test_each_players_loss_teaches_its_own_weights() -> None:
    """No term is cut off from the player who has to act on it."""
    torch.manual_seed(0)
    method = kind(grid="g48", width=2, latent_dim=3)
    network, image = method.build(), torch.rand(2, 1, 48, 56)
    for module, loss in ((network.encoder, method.encoder_loss), (network.decoder, method.decoder_loss)):
        weights = list(module.parameters())
        gradients = torch.autograd.grad(loss(network, image), weights)
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0


@pytest.mark.parametrize("grid", GRIDS)
def test_slices_of_every_grid_come_back_in_their_shape_and_range(grid: str) -> None:
    rows, columns, _ = GRIDS[grid].shape
    network = introspective.IntroVAE(rows, columns, 2, 3).eval()
    restored = network(torch.rand(1, 1, rows, columns))
    assert restored.shape == (1, 1, rows, columns)
    assert restored.amin() >= 0
    assert restored.amax() <= 1


def test_at_128_pixels_there_are_five_levels_of_the_published_filters() -> None:
    encoder = introspective.Encoder(128, 128, 64, 128)
    with torch.no_grad():
        shapes = [tuple(features.shape[1:]) for features in encoder.features(torch.zeros(1, 1, 128, 128))]
    assert shapes == [(64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8), (512, 4, 4)]
