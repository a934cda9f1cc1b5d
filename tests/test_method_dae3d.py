"""Denoising auto-encoder of whole volumes: its noise, where the loss counts, and its U-Net."""

import importlib
import itertools
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

module: Any = importlib.import_module(methods.load("dae3d").__module__)


def test_the_noise_has_mean_0_and_the_deviation_that_was_asked_for() -> None:
    torch.manual_seed(0)
    for deviation, shape in ((0.133, (46, 46, 46)), (0.3, (48, 56, 48))):
        drawn = module.coarse_noise(torch.zeros(60, 1, *shape), deviation, 16)
        assert drawn.std().item() == pytest.approx(deviation, rel=0.03)
        assert drawn.mean().item() == pytest.approx(0, abs=0.02 * deviation)


def test_the_variance_that_is_left_by_hand() -> None:
    """16 nodes over 46 voxels are 3 apart: 16 voxels keep all, 30 lie at a third and keep 4/9 + 1/9."""
    assert module.kept_variance(46, 16) == pytest.approx((16 + 30 * 5 / 9) / 46)
    assert module.kept_variance(9, 3) == pytest.approx((3 * 1 + 4 * 0.625 + 2 * 0.5) / 9)
    assert module.kept_variance(100_000, 16) == pytest.approx(2 / 3, rel=1e-3)  # (1 - f)^2 + f^2 on average


def test_a_node_is_enlarged_trilinearly_and_rolled_along_each_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_node(*shape: int, device: Any) -> torch.Tensor:
        nodes = torch.zeros(shape, device=device)
        nodes[..., 1, 1, 1] = 1
        return nodes

    monkeypatch.setattr(torch, "randn", one_node)
    # 3 nodes over 9 voxels are 4 apart: along each axis 1/4, 1/2, 3/4, 1, 3/4, 1/2, 1/4 around the node.
    line = torch.tensor([0, 1, 2, 3, 4, 3, 2, 1, 0]) / 4
    expected = 0.2 * (9 / 6.5) ** 1.5 * line[:, None, None] * line[:, None] * line
    tops = set()
    for seed in range(60):
        torch.manual_seed(seed)
        drawn = module.coarse_noise(torch.zeros(2, 1, 9, 9, 9), 0.2, 3)
        top = np.unravel_index(int(drawn[0, 0].argmax()), (9, 9, 9))
        tops.add(tuple(int(place) for place in top))
        upright = torch.roll(drawn, [4 - int(place) for place in top], (2, 3, 4))
        torch.testing.assert_close(upright[0, 0], expected)
        torch.testing.assert_close(upright[1, 0], expected)
    for axis in range(3):
        assert {top[axis] for top in tops} == set(range(9))


def test_noise_and_loss_are_in_the_brain_only() -> None:
    brain = torch.zeros(2, 1, 8, 8, 8, dtype=torch.bool)
    brain[..., 2:6, 2:4, 1:7] = True
    batch = Batch(0.5 * brain, brain, np.zeros((2, 1), np.int64))
    seen: list[torch.Tensor] = []

    def network(noisy: torch.Tensor) -> torch.Tensor:
        seen.append(noisy)
        return torch.where(brain, 0.8, 7.0)  # wrong by .3 inside, and by anything outside

    loss = module.ENTRY(noise_cells=4).training_loss(network, batch)
    assert loss.item() == pytest.approx(0.09)
    assert not seen[0][~brain].any()
    assert (seen[0] - batch.image)[brain].abs().min() > 0


def test_halving_takes_means_of_eight_voxels() -> None:
    features = torch.rand(2, 3, 4, 6, 8)
    by_hand = torch.zeros(2, 3, 2, 3, 4)
    for a, b, c in itertools.product(range(2), repeat=3):
        by_hand += features[:, :, a::2, b::2, c::2] / 8
    torch.testing.assert_close(module.halved(features), by_hand)


def test_a_standardised_convolution_sees_its_weights_up_to_scale_and_shift() -> None:
    torch.manual_seed(0)
    layer = module.StandardisedConvolution(2, 3, 3, padding=1, bias=False)
    image = torch.rand(1, 2, 6, 6, 6)
    before = layer(image)
    weight = layer.weight.detach()
    deviation = weight.flatten(1).std(1).view(3, 1, 1, 1, 1)
    by_hand = (weight - weight.mean((1, 2, 3, 4), keepdim=True)) / deviation
    torch.testing.assert_close(before, torch.conv3d(image, by_hand, padding=1), atol=5e-3, rtol=0)
    with torch.no_grad():
        layer.weight.mul_(5).add_(2)
    torch.testing.assert_close(layer(image), before, atol=5e-3, rtol=0)


def test_the_network_has_four_resolutions_and_as_many_weights_as_by_hand() -> None:
    """3 x 3 x 3 kernels, biases, two numbers a filter to normalise; 2 x 2 x 2 kernels upwards."""

    def block(inputs: int, filters: int) -> int:
        return 27 * inputs * filters + 27 * filters * filters + 6 * filters

    network = module.UNet(8)
    down = block(1, 8) + block(8, 16) + block(16, 32) + block(32, 64)
    up = sum(8 * 2 * a * a + a + block(2 * a, a) for a in (8, 16, 32))
    assert sum(p.numel() for p in network.parameters()) == down + up + 8 + 1


@pytest.mark.parametrize("shape", [(16, 16, 16), (9, 12, 15)])
def test_volumes_come_back_in_their_shape_as_from_padded_ones(shape: tuple[int, int, int]) -> None:
    network = module.UNet(8).eval()
    image = torch.rand(1, 1, *shape)
    padded = torch.zeros(1, 1, 16, 16, 16)
    right, front, top = shape
    padded[..., :right, :front, :top] = image
    with torch.no_grad():
        answer = network(image)
        assert answer.shape == image.shape
        torch.testing.assert_close(answer, network(padded)[..., :right, :front, :top])


def test_no_noise_is_added_when_scoring(
    toy: Callable[..., list[Prepared]], monkeypatch: pytest.MonkeyPatch
) -> None:
    method = module.ENTRY(grid="g48", width=8)
    method.network_, method.device_ = method.build().eval(), "cpu"
    monkeypatch.setattr(module, "coarse_noise", None)
    volume = Volumes(toy(range(1), False), GRIDS["g48"])[0]
    answer = method.score(volume)
    assert answer.pseudo_healthy is not None
    np.testing.assert_array_equal(
        answer.score_map, (np.abs(volume.image - answer.pseudo_healthy) * volume.brain)[0]
    )


def test_the_card_asks_for_volumes_and_names_the_extension() -> None:
    card = method_card("dae3d")
    assert card.template_space
    assert card.paper.startswith("None: an extension of this benchmark")
