"""Diffusion: schedules against closed forms, steps against MONAI's, chains on perfect denoisers."""

import math
from itertools import pairwise

import pytest
import torch
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from uadbench.data.space import GRIDS
from uadbench.learning import diffusion
from uadbench.learning.noise import NOISES, Noise

SCHEDULES = {"linear_beta": diffusion.linear(), "cosine": diffusion.cosine()}


def no_noise() -> Tensor:
    raise AssertionError("A chain without eta draws nothing.")


def test_the_linear_schedule_is_the_product_of_what_is_kept() -> None:
    """Ho et al. 2020, section 4: beta rises linearly from 1e-4 to .02."""
    alpha_bar, kept = diffusion.linear(), 1.0
    for level in range(1000):
        kept *= 1 - (1e-4 + (0.02 - 1e-4) * level / 999)
        assert alpha_bar[level].item() == pytest.approx(kept, rel=1e-5)
    assert alpha_bar[250].item() == pytest.approx(0.5214, abs=1e-3)


def test_the_cosine_schedule_is_a_squared_cosine() -> None:
    """Nichol & Dhariwal 2021, eq. 17; the last variance is cut at .999."""
    alpha_bar = diffusion.cosine()
    scale = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    for level in range(999):
        expected = math.cos(((level + 1) / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 / scale
        assert alpha_bar[level].item() == pytest.approx(expected, rel=1e-4)
    assert 0 < alpha_bar[999] < alpha_bar[998]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_schedules_are_those_of_monai(schedule: str) -> None:
    scheduler = DDPMScheduler(1000, schedule)
    torch.testing.assert_close(SCHEDULES[schedule], scheduler.alphas_cumprod, rtol=2e-3, atol=1e-7)


def test_level_481_of_cosine_is_as_noisy_as_250_of_linear() -> None:
    assert diffusion.cosine()[481].item() == pytest.approx(diffusion.linear()[250].item(), abs=0.002)


def test_noised_and_denoised_by_hand() -> None:
    image, noise = torch.full((1, 1, 2, 2), 0.5), torch.full((1, 1, 2, 2), -1.0)
    noisy = diffusion.noised(image, noise, 0.64)
    torch.testing.assert_close(noisy, torch.full((1, 1, 2, 2), 0.8 * 0.5 - 0.6))
    torch.testing.assert_close(diffusion.denoised(noisy, noise, 0.64), image)


def test_half_precision_images_leave_the_schedule_as_it_was() -> None:
    """MONAI's `add_noise` rounds its own schedule to the images' precision and keeps it so."""
    scheduler, image = DDPMScheduler(1000, "linear_beta"), torch.zeros(1, 1, 2, 2, dtype=torch.bfloat16)
    scheduler.add_noise(image, image, torch.tensor([3]))
    assert scheduler.alphas_cumprod.dtype == torch.bfloat16
    alpha_bar = diffusion.linear()
    diffusion.noised(image, image, alpha_bar[3])
    torch.testing.assert_close(alpha_bar, diffusion.linear(), rtol=0, atol=0)
    assert alpha_bar.dtype == torch.float32


def test_levels_of_a_chain() -> None:
    assert diffusion.levels(500, 1) == [500, -1]
    assert diffusion.levels(4, 0) == diffusion.levels(4, 5) == diffusion.levels(4, 99) == [4, 3, 2, 1, 0, -1]
    through = diffusion.levels(490, 50)
    assert len(through) == 51
    assert (through[0], through[-1]) == (490, -1)
    assert {a - b for a, b in pairwise(through)} <= {9, 10}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("level", [1, 2, 250, 998])
def test_with_eta_1_a_step_to_the_next_level_is_that_of_ddpm(schedule: str, level: int) -> None:
    noisy, clean = torch.randn(2, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    clean = clean.clamp(-1, 1)
    scheduler = DDPMScheduler(1000, schedule, prediction_type="sample")
    expected, _ = scheduler.step(clean, level, noisy, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    here, there = (float(scheduler.alphas_cumprod[at]) for at in (level, level - 1))
    step = diffusion.step_back(noisy, clean, here, there, 1.0, noise)
    torch.testing.assert_close(step, expected, atol=2e-4, rtol=1e-3)


def test_with_eta_0_a_step_is_that_of_ddim_where_monai_is_right() -> None:
    """With all 1,000 levels MONAI's DDIM takes neighbouring ones, as it should."""
    noisy, clean = torch.randn(2, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    clean = clean.clamp(-1, 1)
    scheduler = DDIMScheduler(1000, "linear_beta", prediction_type="sample", clip_sample=False)
    scheduler.set_timesteps(1000)
    expected, _ = scheduler.step(clean, 300, noisy, eta=0.0)
    here, there = (float(scheduler.alphas_cumprod[at]) for at in (300, 299))
    step = diffusion.step_back(noisy, clean, here, there, 0.0, None)
    torch.testing.assert_close(step, expected, atol=1e-4, rtol=1e-4)


def test_in_long_steps_monai_takes_other_levels() -> None:
    """Why the update is written out here: 7 of 1,000 levels, from 999 to 832.5, end at 999 - 142."""
    scheduler = DDIMScheduler(1000, "linear_beta")
    scheduler.set_timesteps(7)
    stride = scheduler.num_train_timesteps // 7
    listed = scheduler.timesteps.tolist()
    assert any(level - stride != following for level, following in pairwise(listed))


@pytest.mark.parametrize("evaluations", [0, 1, 7, 50])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_perfect_denoiser_gives_the_image_back(schedule: str, evaluations: int) -> None:
    alpha_bar, generator = SCHEDULES[schedule], torch.Generator().manual_seed(0)
    image = torch.rand(2, 1, 8, 8, generator=generator) * 2 - 1
    noisy = diffusion.noised(image, torch.randn(2, 1, 8, 8, generator=generator), alpha_bar[350])
    through = diffusion.levels(350, evaluations)
    result = diffusion.run_chain(lambda *_: image, noisy, alpha_bar, through, 0.0, no_noise)
    torch.testing.assert_close(result, image, rtol=0, atol=0)


def test_ddim_keeps_the_noise_it_sees() -> None:
    """With eta 0 and the true image every level of a chain holds the noise of the first."""
    alpha_bar, generator = diffusion.cosine(), torch.Generator().manual_seed(0)
    image, noise = torch.rand(1, 1, 8, 8, generator=generator), torch.randn(1, 1, 8, 8, generator=generator)
    noisy, seen = diffusion.noised(image, noise, alpha_bar[400]), []

    def restore(now: Tensor, level: int) -> Tensor:
        seen.append(level)
        torch.testing.assert_close(
            now, diffusion.noised(image, noise, alpha_bar[level]), atol=1e-4, rtol=1e-4
        )
        return image

    through = diffusion.levels(400, 9)
    diffusion.run_chain(restore, noisy, alpha_bar, through, 0.0, no_noise)
    assert seen == through[:-1]


def test_a_chain_starts_where_it_is_told_and_draws_for_every_level_but_the_last() -> None:
    alpha_bar, draws, seen = diffusion.linear(), [], []

    def draw() -> Tensor:
        draws.append(1)
        return torch.zeros(1, 1, 2, 2)

    def restore(noisy: Tensor, level: int) -> Tensor:
        seen.append(level)
        return torch.full_like(noisy, 5.0)

    through = diffusion.levels(3, 0)
    result = diffusion.run_chain(restore, torch.zeros(1, 1, 2, 2), alpha_bar, through, 1.0, draw)
    assert seen == [3, 2, 1, 0]
    assert len(draws) == 3
    assert (result == 1).all(), "what the network sees is held to [-1, 1]"


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("bank", [0, 8])
def test_every_slice_of_every_draw_has_a_field_of_its_own(kind: str, bank: int) -> None:
    torch.manual_seed(0)
    noise = Noise(kind, 24, 28, wavelength=16.0, bank=bank)
    drawn = torch.cat([noise.draw(6, "cpu"), noise.draw(6, "cpu")])
    assert drawn.shape == (12, 1, 24, 28)
    assert (torch.corrcoef(drawn.flatten(1)) - torch.eye(12)).abs().max() < 0.99


def test_a_bank_is_always_the_same_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    first = Noise("simplex", 8, 8, bank=4)
    expected = first.draw(3, "cpu")
    torch.manual_seed(1)
    again = Noise("simplex", 8, 8, bank=4)
    assert torch.equal(again.draw(3, "cpu"), expected)


@pytest.mark.parametrize("fold", [1, 2, 4])
@pytest.mark.parametrize("grid", ["g48", "g96"])
def test_slices_of_every_grid_come_back_in_their_shape(grid: str, fold: int) -> None:
    rows, columns, _ = GRIDS[grid].shape
    network = diffusion.Denoiser(8, "1-1-1-2", 1, 0, 8, 8, fold).eval()
    with torch.no_grad():
        answer = network(torch.zeros(2, 1, rows, columns), torch.tensor([0, 999]))
    assert answer.shape == (2, 1, rows, columns)


def test_the_layers_follow_the_multiples() -> None:
    unet = diffusion.Denoiser(16, "1-2-2", 1, 1, 8, 8).network
    assert list(unet.block_out_channels) == [16, 32, 32]
    assert list(unet.attention_levels) == [False, False, True]
    assert list(unet.num_res_blocks) == [1, 1, 1]
    assert unet.conv_in.conv.weight.shape == (16, 1, 3, 3)
    folded = diffusion.Denoiser(16, "1-2-2", 1, 1, 8, 8, fold=2).network
    assert folded.conv_in.conv.weight.shape == (16, 4, 3, 3)
    assert folded.out[-1].conv.weight.shape == (4, 16, 3, 3)


def test_the_network_is_told_the_level() -> None:
    network = diffusion.Denoiser(8, "1-2", 1, 0, 8, 8).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    noisy = torch.zeros(2, 1, 8, 8)
    with torch.no_grad():
        answer = network(noisy, torch.tensor([10, 800]))
        assert not torch.allclose(answer[0], answer[1])
        for level, expected in ((10, answer[0]), (800, answer[1])):
            parts = diffusion.in_batches(network, noisy, level, batch=1)
            torch.testing.assert_close(parts[0], expected)
