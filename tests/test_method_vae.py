"""Variational auto-encoder: the pieces of its loss, and what it draws when."""

import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from uadbench import methods
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import training
from uadbench.learning.autoencoder import VariationalAutoencoder, kl_divergence
from uadbench.methods import Context

module: Any = importlib.import_module(methods.load("vae").__module__)


def test_kl_divergence_on_values_by_hand() -> None:
    mean = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
    log_variance = torch.tensor([[0.0, 0.0], [0.0, 0.0], [math.log(4), 0.0]])
    expected = [0.0, 2.0, 0.5 * (4 - 1 - math.log(4))]  # mean^2 / 2, then a deviation of 2
    assert kl_divergence(mean, log_variance).tolist() == pytest.approx(expected)


def test_kl_divergence_is_that_of_torch() -> None:
    mean, log_variance = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_divergence(mean, log_variance), expected)


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
    network = VariationalAutoencoder(32, 32, 8, 4, 0.1).eval()
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(image), network(image))
        mean, _ = network.encode(image)
        assert torch.equal(network(image), network.decode(mean, 32, 32))


@pytest.mark.parametrize("grid", GRIDS)
def test_slices_of_every_grid_come_back_in_their_shape(grid: str) -> None:
    rows, columns, _ = GRIDS[grid].shape
    network = VariationalAutoencoder(rows, columns, 8, 4, 0.1).eval()
    mean, log_variance = network.encode(torch.zeros(1, 1, rows, columns))
    assert mean.shape == log_variance.shape == (1, 4)
    assert network(torch.zeros(1, 1, rows, columns)).shape == (1, 1, rows, columns)


# Restoration (You et al. 2019, Chen et al. 2020).


class TwoPixels(torch.nn.Module):
    """A linear VAE of slices of one row and two pixels: the code is their sum, decoded to half of it each."""

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean = image.flatten(1).sum(1, keepdim=True)
        return mean, torch.zeros_like(mean)

    def decode(self, code: Tensor, rows: int, columns: int) -> Tensor:
        return (code / 2)[:, None, None, :].expand(-1, 1, rows, columns)


def test_total_variation_by_hand() -> None:
    first = [[0.0, 1.0, 1.0], [3.0, 1.0, 0.5]]  # rows: 3 + 0 + 0.5; columns: 1 + 0 + 2 + 0.5
    images = torch.tensor([first, [[2.0] * 3] * 2])[:, None]
    assert module.total_variation(images).tolist() == pytest.approx([7.0, 0.0])


@pytest.mark.parametrize(("beta", "tv_weight"), [(1.0, 0.0), (0.5, 0.3)])
def test_one_step_of_restoration_by_hand(beta: float, tv_weight: float) -> None:
    """At x = (.8, .2), x - D(E(x)) = (.3, -.3): L1 = |x1 - x2| has the gradient (1, -1).

    KL = (x1 + x2)^2 / 2 has (1, 1). Nothing has been changed yet: the total variation has none.
    """
    image = torch.tensor([[[[0.8, 0.2]]]])
    restored = module.restore_slices(TwoPixels(), image, beta, tv_weight, 1, 0.01)
    expected = [0.8 - 0.01 * (1 + beta), 0.2 - 0.01 * (-1 + beta)]
    assert restored.flatten().tolist() == pytest.approx(expected)
    # Second step: x - x_r = .01 (1 + beta, beta - 1); its variation falls where x1 grows and x2 falls.
    again = module.restore_slices(TwoPixels(), image, beta, tv_weight, 2, 0.01).flatten().tolist()
    code = sum(expected)
    gradient = [1 + beta * code - tv_weight, -1 + beta * code + tv_weight]
    assert again == pytest.approx([x - 0.01 * g for x, g in zip(expected, gradient, strict=True)])


def test_restoration_minimises_sums_so_that_slices_do_not_share_a_fate() -> None:
    network = VariationalAutoencoder(16, 16, 8, 4, 0.1).eval()
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    together = module.restore_slices(network, images, 1.0, 0.5, 3, 1e-3)
    alone = module.restore_slices(network, images[1:2], 1.0, 0.5, 3, 1e-3)
    torch.testing.assert_close(together[1:2], alone, atol=1e-6, rtol=0)
    assert (together - images).abs().amax((1, 2, 3)).min() > 5e-4  # each of them moves


def test_restoration_works_where_scoring_switches_gradients_off() -> None:
    network = VariationalAutoencoder(16, 16, 8, 4, 0.1).eval()
    with torch.inference_mode():
        image = torch.rand(1, 1, 16, 16)
        restored = module.restore_slices(network, image, 1.0, 0.5, 2, 1e-3)
    assert not torch.equal(restored, image)
    assert not restored.requires_grad
    assert all(p.grad is None for p in network.parameters())


def tiny_vae(**settings: Any) -> Any:
    return module.ENTRY(grid="g48", width=8, latent_dim=4, steps=0, restoration_steps=2, **settings)


def test_the_weight_is_the_one_that_changes_healthy_validation_slices_least(
    toy: Callable[..., list[Prepared]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, val = (Volumes(toy(numbers, True), GRIDS["g48"]) for numbers in (range(2), range(5, 6)))
    slices = training.Slices(val, "cpu")
    expected = slices.take(slices.spread(16)).image
    seen: list[float] = []

    def restored(self: Any, image: Tensor, tv_weight: float) -> Tensor:
        assert torch.equal(image, expected)
        seen.append(tv_weight)
        return image + (tv_weight - 0.7) ** 2

    monkeypatch.setattr(module.ENTRY, "_restored", restored)
    method = tiny_vae().fit(train, val, Context(folder=tmp_path))
    assert seen == [k / 10 for k in range(20)]
    assert float(method.network_.tv_weight) == pytest.approx(0.7)
    loaded = tiny_vae(inference="restoration").load_state(method.state(), Context())
    assert float(loaded.network_.tv_weight) == pytest.approx(0.7)


@pytest.mark.parametrize(("option", "used"), [(-1.0, 0.7), (0.0, 0.0), (1.2, 1.2)])
def test_an_option_overrules_the_chosen_weight(
    option: float, used: float, toy: Callable[..., list[Prepared]], monkeypatch: pytest.MonkeyPatch
) -> None:
    method = tiny_vae(inference="restoration", tv_weight=option)
    method.network_, method.device_ = method.build(), "cpu"
    method.network_.tv_weight.fill_(0.7)
    monkeypatch.setattr(method, "_restored", lambda image, weight: torch.full_like(image, weight))
    volume = Volumes(toy(range(1), healthy=True), GRIDS["g48"])[0]
    np.testing.assert_allclose(method.reconstruct(volume)[0], used * volume.brain)


def test_the_score_is_what_restoration_changes(toy: Callable[..., list[Prepared]], tmp_path: Path) -> None:
    volumes = Volumes(toy(range(2), healthy=False), GRIDS["g48"])
    method = tiny_vae(inference="restoration", tv_weight=0.5)
    method.fit(volumes, volumes, Context(folder=tmp_path))
    volume: Volume = volumes[0]
    score = method.score(volume)
    image = torch.from_numpy(volume.image[..., 20][None].copy())
    with training.repeatable(tf32=False):
        restored = module.restore_slices(method.network_, image, 1.0, 0.5, 2, 1e-3)[0].numpy()
    expected = np.abs(volume.image[..., 20] - restored)[0] * volume.brain[..., 20]
    np.testing.assert_allclose(score.score_map[..., 20], expected, atol=1e-6)


def test_restoration_shares_the_fit_of_the_vae() -> None:
    for preset in ("ci", "demo", "cpu", "small", "paper"):
        rows = [methods.build(name, preset) for name in ("vae", "vae_restoration")]
        assert methods.parameters(rows[0], "fit") == methods.parameters(rows[1], "fit")
