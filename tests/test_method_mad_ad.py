"""MAD-AD: noise levels, the blocks that are noised, the loss, and the update of what looks noised alone."""

import importlib
from typing import Any

import numpy as np
import pytest
import torch

from uadbench import methods

module: Any = importlib.import_module(methods.load("mad_ad").__module__)


def test_ten_levels_fall_like_a_squared_cosine() -> None:
    found = module.shares()
    time = (torch.arange(1, 11) / 10 + 0.008) / 1.008 * torch.pi / 2
    start = np.cos(0.008 / 1.008 * np.pi / 2)
    assert found.shape == (10,)
    torch.testing.assert_close(found, time.cos() ** 2 / start**2, atol=1e-4, rtol=0)


# ---- the blocks ------------------------------------------------------------------------------------


def test_blocks_have_the_drawn_sides_and_share_and_lie_in_the_brain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np.random, "choice", lambda *_, **__: np.array([2, 4]))
    torch.manual_seed(0)
    brain = torch.ones(500, 1, 8, 12, dtype=torch.bool)
    found = module.draw_blocks(brain, 0.4)
    blocks = found.view(500, 4, 2, 3, 4).transpose(2, 3).flatten(3)  # of 2 x 4 latents
    assert torch.equal(blocks.any(3), blocks.all(3))
    numbers = blocks.all(3).flatten(1).sum(1)
    # Of 12 blocks ceil(12 u) for u uniform in [0, .4]: 1 to 5, of which 5 stands for .4 - 4 / 12.
    share = [(numbers == number).float().mean() for number in range(7)]
    np.testing.assert_allclose(share, [0, 5 / 24, 5 / 24, 5 / 24, 5 / 24, 4 / 24, 0], atol=0.06)
    brain[:, :, 3:] = False
    assert not (module.draw_blocks(brain, 1.0) & ~brain).any()


def test_sides_are_drawn_as_published() -> None:
    np.random.seed(0)
    torch.manual_seed(0)
    one = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    areas = [int(module.draw_blocks(one, 1e-9).sum()) for _ in range(1000)]  # a single block
    assert np.mean(np.array(areas) == 1) == pytest.approx(0.2**2, abs=0.02)
    assert np.mean(np.array(areas) == 64) == pytest.approx(0.2**2, abs=0.02)
    assert np.mean(np.array(areas) == 4) == pytest.approx(0.3**2 + 2 * 0.2 * 0.3, abs=0.04)


def test_blocks_at_the_edge_are_cut_off() -> None:
    np.random.seed(1)
    assert module.draw_blocks(torch.ones(2, 1, 5, 7, dtype=torch.bool), 1.0).shape == (2, 1, 5, 7)


# ---- loss and inference -----------------------------------------------------------------------------


def test_the_loss_is_that_of_latents_and_mask_and_noise_is_in_the_mask_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method: Any = module.MadAD()
    latent, mask = torch.randn(3, 4, 2, 2), torch.zeros(3, 1, 2, 2, dtype=torch.bool)
    mask[:, :, 0, 0] = True
    monkeypatch.setattr(module, "draw_blocks", lambda *_: mask)

    def network(shown: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        assert torch.equal((shown != latent).any(1, keepdim=True), mask)
        assert set(time.tolist()) <= {99 + 100 * level for level in range(10)}
        return torch.cat([latent + 0.5, mask + 0.2], 1)

    found = method.latent_loss(network, latent, torch.ones_like(mask))
    assert float(found) == pytest.approx(0.5**2 + 0.2**2, rel=1e-5)


def test_only_what_looks_noised_is_replaced_by_what_was_there() -> None:
    """Of four latents two are said to be noised, one of them at the last two levels only."""
    method: Any = module.MadAD(latent_channels=1)
    times: list[float] = []

    def network(latent: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        times.append(float(time[0]))
        noised = torch.tensor([0.9, 0.5, 0.1, 0.9 if time[0] < 299 else 0.0]).view(1, 1, 1, 4)
        return torch.cat([torch.full_like(latent, 7.0), noised.expand(len(latent), 1, 1, 4)], 1)

    method.network_ = {"latent": network}
    latent = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4)
    healed = method.heal(latent)
    assert healed.flatten().tolist() == [7.0, 2.0, 3.0, 7.0]
    assert times == [999 - 100 * step for step in range(10)]


def test_a_step_without_noise_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """At two levels of shares .25 and .64: z' = .8 x0 + .6 (z - .5 x0) / sqrt(.75), then x0."""
    monkeypatch.setattr(module, "LEVELS", 2)
    monkeypatch.setattr(module, "shares", lambda: torch.tensor([0.64, 0.25]))
    method: Any = module.MadAD(latent_channels=1, eta=0.0)
    seen: list[float] = []

    def network(latent: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        seen.append(float(latent))
        return torch.cat([torch.full_like(latent, 2.0), torch.ones_like(latent)], 1)

    method.network_ = {"latent": network}
    assert float(method.heal(torch.full((1, 1, 1, 1), 3.0))) == pytest.approx(2.0)
    assert seen == pytest.approx([3.0, 0.8 * 2 + 0.6 * (3 - 0.5 * 2) / 0.75**0.5])


def test_the_score_is_four_times_the_residual_up_to_a_quarter() -> None:
    method: Any = module.MadAD(blur=0.0)
    before = torch.tensor([0.0, 0.1, -0.5]).view(1, 1, 1, 3)
    after = torch.tensor([0.0, 0.2, 0.5]).view(1, 1, 1, 3)
    found = method.own_score(before, before, before, after)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.0, 0.4, 1.0]))
