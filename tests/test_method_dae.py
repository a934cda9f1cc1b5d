"""Denoising auto-encoder: its noise, its U-Net, where the loss counts, and its learning rate."""

import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from uadbench import methods
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volumes
from uadbench.learning.checkpoint import Checkpoint
from uadbench.learning.training import Batch
from uadbench.methods import Context
from uadbench.system.environment import seed_everything

module: Any = importlib.import_module(methods.load("dae").__module__)
Toy = Callable[..., list[Prepared]]


def noise(draws: int, size: int = 128, sigma: float = 0.2, cells: int = 16) -> torch.Tensor:
    """Noise of many draws of one slice each, (draws, R, A): each has a roll of its own."""
    torch.manual_seed(0)
    return torch.cat(
        [module.coarse_noise(torch.zeros(1, 1, size, size), sigma, cells)[0] for _ in range(draws)]
    )


# The noise.


def test_the_deviation_of_the_noise_is_two_thirds_of_sigma() -> None:
    """Bilinear weights 1 - f and f average the nodes: the mean of (1 - f)^2 + f^2 is 2/3 along each axis."""
    for sigma in (0.2, 0.05):
        drawn = noise(400, sigma=sigma)
        assert drawn.std().item() == pytest.approx(2 / 3 * sigma, rel=0.03)
        assert drawn.mean().item() == pytest.approx(0, abs=0.05 * sigma)


def test_the_noise_is_the_same_everywhere_because_it_is_rolled() -> None:
    """Without the roll the deviation would be sigma at the nodes and half of it in the middle of four."""
    deviation = noise(4000, size=32, cells=4).std(0)
    assert deviation.max() / deviation.min() < 1.25


def test_the_noise_comes_in_blotches_of_a_cell() -> None:
    """16 nodes over 128 pixels are 8.5 pixels apart: alike within half a cell, unrelated after two."""
    drawn = noise(300)[:, :64, :64]  # a quarter, mostly without the seams of the roll
    for lag, low, high in ((1, 0.95, 1.0), (4, 0.6, 0.85), (8, 0.15, 0.4), (18, -0.05, 0.05)):
        pair = drawn[:, :-lag].flatten(), drawn[:, lag:].flatten()
        assert low < torch.corrcoef(torch.stack(pair))[0, 1] < high, lag


def test_a_node_is_enlarged_bilinearly_and_rolled_along_both_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_node(*shape: int, device: Any) -> torch.Tensor:
        nodes = torch.zeros(shape, device=device)
        nodes[..., 1, 2] = 1
        return nodes

    monkeypatch.setattr(torch, "randn", one_node)
    # 3 nodes over 9 pixels are 4 apart: a pyramid of sides 1, .75, .5, .25, 0 around its top.
    slopes = torch.tensor([0.25, 0.5, 0.75, 1.0])
    tops = set()
    for seed in range(60):
        torch.manual_seed(seed)
        drawn = module.coarse_noise(torch.zeros(2, 1, 9, 9), 0.2, 3)
        row, column = divmod(int(drawn[0, 0].argmax()), 9)
        tops.add((row, column))
        upright = torch.roll(drawn, (4 - row, 8 - column), (2, 3))  # the node's own place
        torch.testing.assert_close(upright[0, 0, 1:5, 8], 0.2 * slopes)
        torch.testing.assert_close(upright[1, 0, 4, 5:], 0.2 * slopes)
    assert {row for row, _ in tops} == {column for _, column in tops} == set(range(9))


def test_noise_and_loss_are_in_the_brain_only() -> None:
    brain = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    brain[..., 4:12, 4:8] = True
    batch = Batch(0.5 * brain, brain, np.zeros((2, 2), np.int64))
    seen: list[torch.Tensor] = []

    def network(noisy: torch.Tensor) -> torch.Tensor:
        seen.append(noisy)
        return torch.where(brain, 0.8, 7.0)  # wrong by .3 inside, and by anything outside

    loss = module.denoising_loss(network, batch, sigma=0.2, cells=4)
    assert loss.item() == pytest.approx(0.09)
    assert not seen[0][~brain].any()
    assert (seen[0] - batch.image)[brain].abs().min() > 0


def test_a_random_curve_changes_the_contrast_and_not_the_geometry() -> None:
    """Equal grey values stay equal; where no slice is to be changed, none is."""
    torch.manual_seed(0)
    image = torch.rand(8, 1, 4, 4).repeat(1, 1, 2, 2)
    changed = module.recoloured(image, 1.0)
    assert not torch.allclose(changed, image, atol=0.05)
    torch.testing.assert_close(changed[..., :4, :4], changed[..., 4:, 4:])
    assert 0 <= changed.min() <= changed.max() <= 1
    torch.testing.assert_close(module.recoloured(image, 0.0), image)


def test_no_noise_is_added_when_scoring(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    method = module.DAE(grid="g48", width=8)
    method.network_, method.device_ = method.build().eval(), "cpu"
    monkeypatch.setattr(module, "coarse_noise", None)
    volume = Volumes(toy(range(1), False), GRIDS["g48"])[0]
    answer = method.score(volume)
    assert answer.pseudo_healthy is not None
    np.testing.assert_array_equal(
        answer.score_map, (np.abs(volume.image - answer.pseudo_healthy) * volume.brain)[0]
    )


# The network.


def test_the_network_has_four_resolutions_of_64_to_512_filters() -> None:
    network = module.UNet(64)
    assert [part[0].out_channels for part in network.down] == [64, 128, 256, 512]
    assert sum(p.numel() for p in network.parameters()) == parameters(64)


def parameters(width: int) -> int:
    """Weights by hand: 3 x 3 kernels, biases, two numbers a filter to normalise; 2 x 2 kernels upwards."""

    def block(inputs: int, filters: int) -> int:
        return 9 * inputs * filters + 9 * filters * filters + 6 * filters

    filters = [width, 2 * width, 4 * width, 8 * width]
    down = sum(block(a, b) for a, b in zip([1, *filters], filters, strict=False))
    up = sum(4 * 2 * a * a + a + block(2 * a, a) for a in filters[:3])
    return down + up + width + 1


def test_the_blocks_are_standardised_convolution_group_normalisation_swish_with_reflection() -> None:
    network = module.UNet(16)
    for part in (*network.down, *network.up):
        for convolution, norm, activation in (part[:3], part[3:]):
            assert isinstance(convolution, module.StandardisedConvolution)
            assert convolution.padding_mode == "reflect"
            assert convolution.kernel_size == (3, 3)
            assert isinstance(norm, torch.nn.GroupNorm)
            assert isinstance(activation, torch.nn.SiLU)  # x * sigmoid(x)
    assert all(type(layer) is torch.nn.ConvTranspose2d for layer in network.enlarge)
    assert not any(
        isinstance(layer, torch.nn.MaxPool2d | torch.nn.BatchNorm2d) for layer in network.modules()
    )


def test_a_standardised_convolution_sees_its_weights_up_to_scale_and_shift() -> None:
    torch.manual_seed(0)
    layer = module.StandardisedConvolution(3, 4, 3, padding=1, padding_mode="reflect", bias=False)
    image = torch.rand(1, 3, 8, 8)
    before = layer(image)
    weight = layer.weight.detach()
    by_hand = (weight - weight.mean((1, 2, 3), keepdim=True)) / weight.flatten(1).std(1).view(4, 1, 1, 1)
    padded = torch.nn.functional.pad(image, (1, 1, 1, 1), mode="reflect")
    torch.testing.assert_close(before, torch.nn.functional.conv2d(padded, by_hand), atol=2e-3, rtol=0)
    with torch.no_grad():
        layer.weight.mul_(5).add_(2)
    torch.testing.assert_close(layer(image), before, atol=2e-3, rtol=0)


def test_the_skips_carry_what_the_bottom_cannot() -> None:
    """With everything from below silenced, a change of one pixel still arrives: there is no bottleneck."""
    torch.manual_seed(0)
    network = module.UNet(8).eval()
    with torch.no_grad():
        for enlarge in network.enlarge:
            enlarge.weight.zero_()
        image = torch.rand(1, 1, 32, 32)
        touched = image.clone()
        touched[0, 0, 16, 16] += 0.5
        change = (network(touched) - network(image)).abs()[0, 0]
    assert change[14:19, 14:19].max() > 5 * change[:8, :8].max()


@pytest.mark.parametrize("shape", [GRIDS[name].shape[:2] for name in GRIDS] + [(45, 50)])
def test_slices_of_every_grid_come_back_in_their_shape(shape: tuple[int, int]) -> None:
    assert module.UNet(8).eval()(torch.zeros(1, 1, *shape)).shape == (1, 1, *shape)


def test_the_output_is_linear() -> None:
    network = module.UNet(8).eval()
    torch.nn.init.zeros_(network.output.weight)
    torch.nn.init.constant_(network.output.bias, -3.0)
    assert (network(torch.rand(1, 1, 16, 16)) == -3).all()


# The training.


def test_the_learning_rate_of_the_paper_falls_and_rises_21_times() -> None:
    """Cosine with T_max 100 epochs of 32 steps and no restart, over 2,100 epochs."""
    paper = methods.build("dae", "paper")
    schedule = module.Oscillating(67_200, 16, 1e-4, half_period=paper.half_period)  # type: ignore[attr-defined]
    rates = np.array([schedule.rate(step) for step in range(67_201)])
    assert rates[0] == rates[6400] == rates[64_000] == 1e-4
    assert rates[1600] == pytest.approx(0.5e-4)
    assert rates[[3200, 9600, 67_200]] == pytest.approx([0, 0, 0], abs=1e-12)
    turns = np.flatnonzero(np.diff(np.sign(np.diff(rates))))
    assert len(turns) == 20  # inner ones: 21 halves
    assert schedule.rate(800) == pytest.approx(1e-4 * 0.5 * (1 + math.cos(math.pi / 4)))


def fit(toy: Toy, folder: Path, **settings: Any) -> Any:
    values = {
        "grid": "g48",
        "width": 8,
        "batch": 2,
        "steps": 6,
        "half_period": 6,
        "validate_every": 3,
    } | settings
    seed_everything(0)
    train, val = (Volumes(toy(part, True), GRIDS["g48"]) for part in (range(2), range(2, 3)))
    return module.DAE(**values | settings).fit(train, val, Context(folder=folder))


def test_the_optimiser_is_adam_with_amsgrad_and_weight_decay(toy: Toy, tmp_path: Path) -> None:
    fit(toy, tmp_path, steps=2)
    optimiser = torch.load(tmp_path / "dae.checkpoint", weights_only=True)["parts"]["optimiser"]
    (group,) = optimiser["param_groups"]
    assert group["amsgrad"]
    assert group["weight_decay"] == 1e-5
    assert not group.get("decoupled_weight_decay", False)
    assert "max_exp_avg_sq" in optimiser["state"][0]


def test_interrupted_it_goes_on_as_if_it_had_not_been(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(toy, tmp_path / "whole").state()

    monkeypatch.setattr(Checkpoint, "due", lambda _: True)
    rate = module.Oscillating.rate

    def interrupted(schedule: Any, step: int) -> float:
        if step == 4:
            raise KeyboardInterrupt
        value: float = rate(schedule, step)
        return value

    monkeypatch.setattr(module.Oscillating, "rate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(toy, tmp_path / "parts")
    monkeypatch.setattr(module.Oscillating, "rate", rate)
    np.testing.assert_equal(fit(toy, tmp_path / "parts").state(), whole)


def test_without_validation_volumes_the_last_weights_are_kept(toy: Toy, tmp_path: Path) -> None:
    train, none = Volumes(toy(range(1), True), GRIDS["g48"]), Volumes([], GRIDS["g48"])
    method = module.DAE(grid="g48", width=8, batch=2, steps=2, half_period=2)
    method.fit(train, none, Context(folder=tmp_path))
    assert np.isfinite(method.score(train[0]).score_map).all()


# The score.


def test_the_papers_border_factor_asks_for_24_of_25_neighbours_in_the_slice() -> None:
    brain = np.zeros((12, 12, 2), bool)
    brain[1:9, 1:9, 0] = True
    expected = np.zeros_like(brain)
    expected[3:7, 3:7, 0] = True
    np.testing.assert_array_equal(module.interior(brain), expected)
    brain[1, 1, 0] = False  # one of 25 of the corner's neighbours: .96; another and it is .92
    np.testing.assert_array_equal(module.interior(brain), expected)
    brain[1, 2, 0] = False
    expected[3, 3, 0] = expected[3, 4, 0] = False
    expected[3, 4, 0] = True  # it misses (1, 2) only
    np.testing.assert_array_equal(module.interior(brain), expected)


def test_the_border_factor_is_a_score_option(toy: Toy) -> None:
    volume = Volumes(toy(range(1), False), GRIDS["g48"])[0]
    full, trimmed = (module.DAE(grid="g48", width=8, trim_border=trim) for trim in (False, True))
    assert methods.parameters(full, "fit") == methods.parameters(trimmed, "fit")
    full.network_ = trimmed.network_ = full.build().eval()
    full.device_ = trimmed.device_ = "cpu"
    inside = module.interior(volume.brain)
    np.testing.assert_array_equal(trimmed.score(volume).score_map, full.score(volume).score_map * inside)
    assert inside.sum() < volume.brain.sum()
