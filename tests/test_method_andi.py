"""ANDi: its noise levels and noise, what it minimises, and that its map is the published one."""

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from uadbench import methods
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volumes
from uadbench.learning import diffusion
from uadbench.learning.training import Batch

Toy = Callable[..., list[Prepared]]
module: Any = importlib.import_module(methods.load("andi").__module__)


def untrained(**settings: str) -> Any:
    method: Any = methods.build("andi", "ci", settings)
    torch.manual_seed(0)
    method.network_, method.device_, method.noise_ = method.build().eval(), "cpu", method.make_noise()
    return method


def test_levels_fall_from_the_first_signal_to_noise_ratio_to_the_last_and_are_shifted() -> None:
    share = module.shifted_cosine().double()
    log_snr = (share / (1 - share)).log()
    assert log_snr[500].item() == pytest.approx(2 * math.log(56 / 224), abs=0.02)  # the middle, shifted
    assert log_snr[-1].item() == pytest.approx(-15 + 2 * math.log(0.25), abs=0.1)
    assert (share.diff() <= 0).all()


def test_settings_are_the_published_ones() -> None:
    paper: Any = methods.build("andi", "paper")
    assert paper.levels() == list(range(125, 25, -1))
    assert [paper.width * int(m) for m in paper.multiples.split("-")] == [32, 32, 32, 64, 96, 128]


def test_pyramid_noise_has_deviation_1_and_is_smoother_than_white_noise() -> None:
    torch.manual_seed(0)
    noise = module.pyramid_noise(50, 48, 56)
    torch.testing.assert_close(noise.std((1, 2, 3)), torch.ones(50))
    neighbours = (noise[..., 1:] * noise[..., :-1]).mean()
    assert 0.3 < neighbours < 0.95
    assert not torch.equal(noise[0], noise[1])


def test_the_loss_is_the_squared_error_of_the_noise_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    method = untrained()
    image, noise = torch.full((2, 1, 48, 56), 0.75), torch.full((2, 1, 48, 56), 0.4)
    monkeypatch.setattr(module, "pyramid_noise", lambda *_: noise)
    monkeypatch.setattr(diffusion, "random_levels", lambda count, device: torch.tensor([30, 700]))
    share = method.alpha_bar[[30, 700]].view(-1, 1, 1, 1)
    velocity = share.sqrt() * 0.4 - (1 - share).sqrt() * 0.5  # of the noise .4 on the image .5
    batch = Batch(image, image > 0, np.zeros((2, 2), np.int64))
    assert method.training_loss(lambda noisy, level: velocity, batch).item() == pytest.approx(0, abs=1e-10)
    off = method.training_loss(lambda noisy, level: velocity + 0.1, batch).item()
    assert off == pytest.approx(float((share * 0.01).mean()), rel=1e-4)


def test_the_right_velocity_gives_the_image_back() -> None:
    method = untrained()
    image, noise = torch.rand(2, 3, 1, 48, 56) * 2 - 1
    share = method.alpha_bar[100]
    method.network_ = lambda noisy, level: share.sqrt() * noise - (1 - share).sqrt() * image
    torch.testing.assert_close(
        method.clean(diffusion.noised(image, noise, share), 100), image, atol=1e-5, rtol=0
    )


def test_the_map_is_the_published_one_up_to_one_factor() -> None:
    """Geometric mean over t of the squared difference of the posterior means of x_(t-1), given x0_t and x."""
    method = untrained(evaluations="4")
    image = torch.rand(2, 1, 48, 56) * 1.6 - 0.8
    share = method.alpha_bar.double()

    def published() -> Tensor:
        logarithms = torch.zeros_like(image, dtype=torch.float64)
        for level in method.levels():
            noisy, _ = method.add_noise(image, level)
            clean = method.clean(noisy, level)
            now, before = share[level], share[level - 1]
            of_clean = before.sqrt() * (1 - now / before) / (1 - now)  # Ho et al. 2020, eq. 7
            of_noisy = (now / before).sqrt() * (1 - before) / (1 - now)
            means = [of_clean * x.double() + of_noisy * noisy.double() for x in (clean, image)]
            logarithms += (means[0] - means[1]).abs().log() * 2
        return (logarithms / 4).exp()

    with torch.inference_mode():
        torch.manual_seed(3)
        ours = method.geometric_mean(image).double()
        torch.manual_seed(3)
        theirs = published()
    factor = ours / theirs
    assert factor.quantile(0.99) / factor.quantile(0.01) < 1.001
    assert torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1] > 0.9999


def test_a_score_is_the_map_in_the_brain_and_the_pseudo_healthy_slice_stands_beside_it(toy: Toy) -> None:
    volume = Volumes(toy(range(1), False), GRIDS["g48"])[0]
    method = untrained(evaluations="2")
    score = method.score(volume)
    assert score.score_map.shape == volume.brain.shape
    assert not score.score_map[~volume.brain].any()
    assert (score.score_map[volume.brain] > 0).all()
    assert score.pseudo_healthy is not None
    l1 = untrained(evaluations="2", score_kind="l1").score(volume)
    np.testing.assert_allclose(l1.score_map, np.abs(volume.image - l1.pseudo_healthy)[0], atol=1e-6)
