"""AnoDDPM: the loss, the whole chain with simplex noise, the squared score."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from uadbench import methods
from uadbench.cards import method_card
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import diffusion
from uadbench.learning.training import Batch
from uadbench.methods import Context

module: Any = importlib.import_module(methods.load("anoddpm").__module__)
Toy = Callable[..., list[Prepared]]


def untrained(**settings: Any) -> Any:
    method: Any = methods.load("anoddpm")(**dict(method_card("anoddpm").smoke) | settings)
    torch.manual_seed(0)
    method.network_, method.device_, method.noise_ = method.build().eval(), "cpu", method.make_noise()
    for parameter in method.network_.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return method


def test_published_settings() -> None:
    paper: Any = methods.build("anoddpm", "paper")
    assert (paper.start, paper.evaluations, paper.eta, paper.wavelength) == (200, 0, 1.0, 64.0)
    assert len(diffusion.levels(paper.start, paper.evaluations)) == 202
    channels = [paper.width * int(m) for m in paper.multiples.split("-")]
    assert channels == [128, 128, 256, 256, 512, 512]
    assert channels[-1] // paper.head_channels == 2  # heads


def test_the_loss_is_the_squared_error_of_the_predicted_noise() -> None:
    method = untrained()
    noise = torch.full((2, 1, 48, 56), 0.5)
    method.noise_.draw = lambda count, device: noise
    image = torch.full((2, 1, 48, 56), 0.75)
    batch = Batch(image, image > 0, np.zeros((2, 2), np.int64))

    def network(noisy: Tensor, level: Tensor) -> Tensor:
        share = diffusion.linear()[level].view(-1, 1, 1, 1)
        torch.testing.assert_close(noisy, share.sqrt() * 0.5 + (1 - share).sqrt() * noise)
        return noise - 0.3

    assert method.training_loss(network, batch).item() == pytest.approx(0.09)


def test_who_knows_the_noise_restores_the_volume(volume: Volume) -> None:
    """With the true noise of each level as the answer, the chain ends at the image, at every level or few."""
    method = untrained(score_batch=1000)
    image = torch.from_numpy(volume.image[..., volume.brain.any((0, 1))]).permute(3, 0, 1, 2) * 2 - 1

    def network(noisy: Tensor, level: Tensor) -> Tensor:
        share = diffusion.linear()[int(level[0])]
        return (noisy - share.sqrt() * image) / (1 - share).sqrt()

    method.network_ = network
    for evaluations, eta in ((0, 1.0), (5, 1.0), (5, 0.0)):
        method.evaluations, method.eta = evaluations, eta
        np.testing.assert_allclose(method.reconstruct(volume), volume.image, atol=2e-3)


def test_each_step_puts_fresh_simplex_noise_back(volume: Volume) -> None:
    """Wyatt 2022; `eta=0` draws once only, to begin with."""
    method = untrained(start=9, evaluations=0)
    draws: list[Tensor] = []
    usual = method.noise_.draw

    def draw(count: int, device: str) -> Tensor:
        draws.append(usual(count, device))
        return draws[-1]

    method.noise_.draw = draw
    method.reconstruct(volume)
    assert len(draws) == 1 + 9  # the start, and each step but the last
    slices = int(volume.brain.any((0, 1)).sum())
    assert all(len(drawn) == slices for drawn in draws), "one field for every slice"
    first = torch.stack([drawn[0, 0].flatten() for drawn in draws])
    assert (torch.corrcoef(first) - torch.eye(10)).abs().max() < 0.999
    draws.clear()
    method.eta = 0.0
    method.reconstruct(volume)
    assert len(draws) == 1


def test_the_number_of_slices_at_once_does_not_change_the_scores(volume: Volume) -> None:
    method, maps = untrained(), []
    for count in (3, 100):
        method.score_batch = count
        torch.manual_seed(5)
        maps.append(method.score(volume).score_map)
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-4)


def test_the_squared_score_is_that_of_images_in_minus_one_to_one(volume: Volume) -> None:
    method, maps = untrained(score_batch=1000), {}
    for kind in ("l1", "squared"):
        method.score_kind = kind
        torch.manual_seed(5)
        maps[kind] = method.score(volume).score_map
    np.testing.assert_allclose(maps["squared"], (2 * maps["l1"]) ** 2, atol=1e-5)


def test_a_short_training_learns_to_see_the_noise(toy: Toy, tmp_path: Any) -> None:
    """It explains most of the variance of simplex noise (.336), which an untrained network does not."""
    train = Volumes(toy(range(4), True), GRIDS["g48"])
    torch.manual_seed(0)
    settings: dict[str, Any] = dict(method_card("anoddpm").smoke) | {"steps": 60}
    method: Any = methods.load("anoddpm")(**settings)
    method.fit(train, Volumes([], GRIDS["g48"]), Context(seed=0, folder=tmp_path))
    image, brain = train.read_slices(train.slices()[::8])
    batch = Batch(torch.from_numpy(image), torch.from_numpy(brain)[:, None], train.slices()[::8])
    with torch.no_grad():
        assert method.training_loss(method.network_, batch).item() < 0.6 * 0.336
