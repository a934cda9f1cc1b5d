"""Variational auto-encoder of whole volumes: its bound, what is erased, and what scoring draws."""

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from uadbench import methods
from uadbench.cards import method_card
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volumes
from uadbench.learning.training import Batch

module: Any = importlib.import_module(methods.load("vae3d").__module__)


@pytest.mark.parametrize("beta", [1.0, 10.0])
def test_the_bound_is_the_summed_one_over_the_number_of_voxels(beta: float) -> None:
    """Two volumes of 2 x 3 x 4 voxels, wrong by .25 and by .5 everywhere.

    KL of N(1, 1) from N(0, 1) is .5 for each number of the code, of N(0, 4) it is (4 - 1 - ln 4) / 2.
    """
    image = torch.zeros(2, 1, 2, 3, 4)
    reconstruction = torch.tensor([0.25, 0.5]).view(2, 1, 1, 1, 1).expand_as(image)
    mean = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    log_variance = torch.tensor([[0.0, 0.0, 0.0], [math.log(4), 0.0, 0.0]])
    first, second = 24 * 0.25 + beta * 1.5, 24 * 0.5 + beta * (4 - 1 - math.log(4)) / 2
    loss = module.negative_elbo(image, reconstruction, mean, log_variance, beta)
    assert loss.item() == pytest.approx((first + second) / 2 / 24)


def test_what_is_erased_is_one_box_of_the_stated_sides() -> None:
    torch.manual_seed(0)
    shape = (20, 30, 40)
    erased = module.erase_box(torch.ones(300, 1, *shape), 1.0)[:, 0] == 0
    for axis, edge in enumerate(shape):
        others = tuple(other for other in (1, 2, 3) if other != axis + 1)
        seen = erased.any(others[1]).any(others[0])  # (300, edge)
        sides = seen.sum(1)
        assert sides.min() == 0.1 * edge
        assert sides.max() == 0.5 * edge
        assert sides.float().mean().item() == pytest.approx(0.3 * edge, rel=0.06)
        assert (seen.int().diff(dim=1).abs().sum(1) <= 2).all(), "in one piece"
        assert seen.float().mean(0).min() > 0, "it may lie everywhere"
    volume = [
        int(one.any(2).any(1).sum() * one.any(2).any(0).sum() * one.any(1).any(0).sum()) for one in erased
    ]
    assert volume == erased.flatten(1).sum(1).tolist(), "a box"


def test_each_volume_is_erased_by_its_chance_and_what_is_left_is_as_it_was() -> None:
    torch.manual_seed(0)
    image = torch.rand(400, 1, 10, 10, 10) + 0.1
    assert torch.equal(module.erase_box(image, 0.0), image)
    erased = module.erase_box(image, 0.25)
    changed = (erased != image).flatten(1).any(1)
    assert changed.float().mean().item() == pytest.approx(0.25, abs=0.07)
    assert torch.equal(erased[erased != 0], image[erased != 0])


def test_the_network_sees_a_part_in_training_and_answers_for_the_whole() -> None:
    """Of a volume of 1 everywhere, 0 is reconstructed: the loss is 1, whatever was erased."""
    method, seen = module.ENTRY(grid="g48", erase=1.0), []

    class Zero(torch.nn.Module):
        def encode(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            seen.append(image)
            return torch.zeros(len(image), 2), torch.zeros(len(image), 2)

        def decode(self, code: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(like)

    image = torch.ones(2, 1, 16, 16, 16)
    batch = Batch(image, image > 0, np.zeros((2, 1), np.int64))
    network = Zero()
    assert method.training_loss(network.train(), batch).item() == pytest.approx(1)
    assert method.training_loss(network.eval(), batch).item() == pytest.approx(1)
    assert (seen[0] == 0).flatten(1).any(1).all()
    assert torch.equal(seen[1], image), "validation erases nothing"


@pytest.mark.parametrize("shape", [(16, 32, 16), (17, 20, 30)])
def test_volumes_come_back_in_their_shape_from_the_mean_of_the_code(shape: tuple[int, int, int]) -> None:
    network = module.VolumeAutoencoder(shape, 8, 3).eval()
    image = torch.rand(2, 1, *shape)
    with torch.no_grad():
        mean, log_variance = network.encode(image)
        assert mean.shape == log_variance.shape == (2, 3)
        assert network(image).shape == image.shape
        assert torch.equal(network(image), network.decode(mean, image))


def test_padding_is_background_behind_each_axis() -> None:
    network = module.VolumeAutoencoder((17, 20, 30), 8, 3).eval()
    image = torch.rand(1, 1, 17, 20, 30)
    padded = torch.zeros(1, 1, 32, 32, 32)
    padded[..., :17, :20, :30] = image
    with torch.no_grad():
        torch.testing.assert_close(network.encode(image), network.encode(padded))


def test_the_score_of_a_volume_depends_on_nothing_else(toy: Callable[..., list[Prepared]]) -> None:
    method = module.ENTRY(grid="g48", width=8, latent_dim=4)
    torch.manual_seed(0)
    method.network_, method.device_ = method.build().eval(), "cpu"
    volumes = Volumes(toy(range(2), False), GRIDS["g48"])
    alone = method.score(volumes[1])
    method.score(volumes[0])
    again = method.score(volumes[1])
    np.testing.assert_array_equal(alone.score_map, again.score_map)
    assert alone.pseudo_healthy is not None
    expected = np.abs(volumes[1].image - alone.pseudo_healthy)[0] * volumes[1].brain
    np.testing.assert_array_equal(alone.score_map, expected)


def test_the_card_asks_for_volumes() -> None:
    assert method_card("vae3d").template_space
    assert method_card("vae3d").trained
