"""cDDPM: what the network is told, the ensemble over noise levels, and how intensities are changed."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets.resnet import ResNet
from torch import Tensor

from uadbench import methods
from uadbench.cards import method_card
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volumes
from uadbench.learning import diffusion
from uadbench.learning.training import Batch

module: Any = importlib.import_module(methods.load("cddpm").__module__)
intensities: Any = importlib.import_module("uadbench.methods.cddpm.intensities")
network: Any = importlib.import_module("uadbench.methods.cddpm.network")
Toy = Callable[..., list[Prepared]]


def untrained(**settings: Any) -> Any:
    """A method whose network says something, if nothing sensible."""
    method: Any = methods.load("cddpm")(**dict(method_card("cddpm").smoke) | settings)
    torch.manual_seed(0)
    method.network_, method.device_, method.noise_ = method.build().eval(), "cpu", method.make_noise()
    for parameter in method.network_.network.parameters():  # whose last layer begins with zeros
        torch.nn.init.normal_(parameter, std=0.05)
    return method


# ---- the condition ----


def test_the_code_is_added_to_the_embedding_of_time() -> None:
    network = untrained().network_
    noisy, image = torch.rand(2, 2, 1, 48, 56)
    level, embeddings = torch.tensor([3, 800]), []
    handle = network.network.middle_block.resnet_1.register_forward_hook(
        lambda _block, given, _answer: embeddings.append(given[1])
    )
    with torch.no_grad():
        code = network.encoder(image)
        network(torch.cat([noisy, image], 1), level)
        diffusion.Denoiser.forward(network, noisy, level)  # the same layers, told nothing
    handle.remove()
    told, untold = embeddings
    assert code.shape == untold.shape == (2, 4 * 16)
    assert code.abs().max() > 0.01
    torch.testing.assert_close(told, untold + code)


def test_the_condition_leaves_with_the_pass() -> None:
    network = untrained().network_
    both, level = torch.rand(2, 2, 48, 56), torch.tensor([3, 800])
    with torch.no_grad():
        once, again = (network(both, level) for _ in range(2))
    torch.testing.assert_close(again, once)
    assert not network.network.time_embed._forward_hooks


@pytest.mark.parametrize("condition", ["encoder", "histogram"])
def test_the_answer_depends_on_the_condition(condition: str) -> None:
    network, level = untrained(condition=condition).network_, torch.tensor([500])
    noisy = torch.rand(1, 1, 48, 56)
    answers = [network(torch.cat([noisy, torch.full_like(noisy, grey)], 1), level) for grey in (-0.5, 0.5)]
    assert (answers[0] - answers[1]).abs().max() > 1e-4


def test_without_a_condition_the_answer_is_that_of_the_plain_network() -> None:
    network, level = untrained(condition="zeros").network_, torch.tensor([500, 20])
    noisy, image = torch.rand(2, 2, 1, 48, 56)
    plain = diffusion.Denoiser.forward(network, noisy, level)
    torch.testing.assert_close(network(torch.cat([noisy, image], 1), level), plain)


def test_the_encoder_of_the_paper_is_a_resnet_50_with_512_numbers() -> None:
    """25.6 million numbers with 1,000 classes and three channels (He et al. 2016)."""
    with torch.device("meta"):
        encoder = methods.load("cddpm")().build().encoder  # type: ignore[attr-defined]
    assert isinstance(encoder, ResNet)
    count = sum(parameter.numel() for parameter in encoder.parameters())
    three_channels, thousand_classes = 2 * 64 * 7 * 7, (1000 - 512) * (2048 + 1)
    assert count == 25_557_032 - three_channels - thousand_classes


def test_a_histogram_by_hand() -> None:
    image = torch.full((1, 1, 2, 3), -1.0)  # outside the brain
    image[0, 0, 0] = torch.tensor([1.0, 0.999, -0.99])  # the last bin twice, the first
    image[0, 0, 1, 0] = 0.01  # 0.505 in [0, 1]: bin 16
    expected = torch.zeros(1, 32)
    expected[0, [31, 0, 16]] = torch.tensor([0.5, 0.25, 0.25])
    torch.testing.assert_close(network.histogram(image), expected)
    assert not network.histogram(torch.full((1, 1, 2, 2), -1.0)).any()


# ---- loss and ensemble ----


def test_the_loss_is_the_mean_absolute_error_and_the_network_is_told_of_the_clean_slice() -> None:
    method = untrained()
    image = torch.full((4, 1, 48, 56), 0.75)  # 0.5 in [-1, 1]

    class Network(torch.nn.Module):
        def forward(self, both: Tensor, level: Tensor) -> Tensor:
            torch.testing.assert_close(both[:, 1:], 2 * image - 1)
            assert (both[:, :1] - both[:, 1:]).abs().max() > 0.01
            return torch.full_like(both[:, :1], 0.2)

    batch = Batch(image, image > 0, np.zeros((4, 2), np.int64))
    assert method.training_loss(Network().eval(), batch).item() == pytest.approx(0.3)


def test_intensities_are_changed_in_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    method, image = untrained(), torch.full((2, 1, 48, 56), 0.75)
    monkeypatch.setattr(module, "change_intensities", lambda image, brain: torch.zeros_like(image))
    seen = []

    class Network(torch.nn.Module):
        def forward(self, both: Tensor, level: Tensor) -> Tensor:
            seen.append(both[:, 1:].mean().item())
            return both[:, 1:]

    batch = Batch(image, image > 0, np.zeros((2, 2), np.int64))
    for network in (Network().train(), Network().eval()):
        assert method.training_loss(network, batch).item() == pytest.approx(0.0), "the target is changed too"
    method.augment = False
    method.training_loss(Network().train(), batch)
    assert seen == pytest.approx([-1.0, 0.5, 0.5])


def test_the_restored_slice_is_the_mean_over_three_levels_with_a_noise_for_each() -> None:
    """Behrendt 2025: 250, 500 and 750 of 1 ... 1000."""
    method, asked, drawn = untrained(), [], []
    image = torch.zeros(5, 1, 48, 56)
    usual = method.noise_.draw

    def draw(count: int, device: str) -> Tensor:
        drawn.append(usual(count, device))
        noise: Tensor = drawn[-1]
        return noise

    def network(both: Tensor, level: Tensor) -> Tensor:
        asked.append(int(level[0]))
        return torch.full_like(both[:, :1], {249: 0.3, 499: 0.6, 749: 5.0}[asked[-1]])

    method.network_, method.noise_.draw = network, draw
    restored = method.restore(image)
    assert asked == [249, 499, 749]
    torch.testing.assert_close(restored, torch.full_like(image, (0.3 + 0.6 + 1.0) / 3))  # held to [-1, 1]
    assert len(drawn) == 3
    assert all((one - other).abs().max() > 0.1 for one, other in [drawn[:2], drawn[1:]])


def test_one_level_is_one_pass() -> None:
    method, asked = untrained(spread=0), []

    def network(both: Tensor, level: Tensor) -> Tensor:
        asked.append(level.tolist())
        return both[:, 1:]

    method.network_ = network
    image = torch.rand(2, 1, 48, 56)
    torch.testing.assert_close(method.restore(image), image)
    assert asked == [[499, 499]]


@pytest.mark.parametrize(("start", "spread"), [(100, 200), (800, 200)])
def test_levels_beyond_the_schedule_are_refused(start: int, spread: int) -> None:
    with pytest.raises(ValueError, match="levels of 0"):
        methods.load("cddpm")(start=start, spread=spread).check()  # type: ignore[call-arg]


def test_the_number_of_slices_at_once_does_not_change_the_scores(toy: Toy) -> None:
    volume, maps = Volumes(toy(range(1), False), GRIDS["g48"])[0], []
    for count in (7, 100):
        method = untrained(score_batch=count)
        torch.manual_seed(5)
        maps.append(method.score(volume).score_map)
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-4)


# ---- intensities ----


def test_changed_slices_stay_in_range_and_in_the_brain() -> None:
    torch.manual_seed(0)
    brain = torch.zeros(64, 1, 20, 24, dtype=torch.bool)
    brain[..., 4:16, 4:20] = True
    image = torch.rand(64, 1, 20, 24) * brain
    changed = intensities.change_intensities(image, brain)
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert not changed[~brain].any()
    alike = (changed == image).flatten(1).all(1).float().mean().item()
    assert 0.02 < alike < 0.35  # (1 - .5) (1 - .25) (1 - .25) (1 - .5) = .14 are left as they were


def test_a_bias_field_is_the_exponential_of_a_polynomial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intensities, "uniform", lambda low, high, like: torch.full((len(like), 1, 1, 1), 0.5))
    field = intensities.bias_field(torch.zeros(1, 1, 3, 3))[0, 0]
    assert field[1, 1].item() == pytest.approx(np.exp(0.5))  # the constant alone
    assert field[2, 2].item() == pytest.approx(np.exp(0.5 * 10))  # ten terms of order 0 to 3, all 1
    # At (-1, 1): each of them is 1 or -1 by the power of the row; (4 - 3 + 2 - 1) of them.
    assert field[0, 2].item() == pytest.approx(np.exp(0.5 * 2))


def test_ghosts_stand_where_the_weakened_lines_put_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every n-th line weakened by s is the slice less s times its n copies, shifted by 1/n each, over n."""
    rows, number, strength = 100, 4, 0.6
    monkeypatch.setattr(intensities, "GHOSTS", (number, number + 1))
    monkeypatch.setattr(intensities, "STRENGTHS", (strength, strength))
    monkeypatch.setattr(intensities, "SPARED", -1.0)  # not even the middle line
    monkeypatch.setattr(intensities, "chosen", lambda chance, like: torch.ones(len(like), 1, 1, 1) > 0)
    image = torch.rand(2, 1, rows, 6)
    copies = torch.stack([image.roll(rows // number * n, 2) for n in range(number)])
    expected = image - strength * copies.mean(0)
    torch.testing.assert_close(intensities.with_ghosts(image), expected, atol=1e-5, rtol=0)


def test_the_middle_of_the_spectrum_is_spared() -> None:
    """An even slice has nothing but its mean, which is the middle."""
    image = torch.full((8, 1, 96, 112), 0.4)
    torch.testing.assert_close(intensities.with_ghosts(image), image, atol=1e-5, rtol=0)
