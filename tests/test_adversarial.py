"""Adversarial: the critic's part of the game of Gulrajani 2017, against values computed by hand."""

import pytest
import torch
from torch import nn

from uadbench.learning import adversarial


class Linear(nn.Module):
    """A critic with the same gradient everywhere: `weight`."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return (image * self.weight).sum((1, 2, 3))[:, None]


def test_the_penalty_of_a_linear_critic_is_known_and_its_norm_is_over_all_axes_but_the_batchs() -> None:
    critic = Linear(torch.ones(1, 2, 8))  # norm of the gradient: 4; over one axis alone 1, 1.4 or 2.8
    real, fake = torch.rand(5, 1, 2, 8), torch.rand(5, 1, 2, 8)
    assert adversarial.gradient_penalty(critic, real, fake).item() == pytest.approx(9.0)


def test_a_critic_with_a_gradient_of_norm_1_is_not_punished() -> None:
    critic = Linear(torch.full((1, 2, 8), 0.25))
    assert adversarial.gradient_penalty(critic, torch.rand(3, 1, 2, 8), torch.rand(3, 1, 2, 8)).item() < 1e-10


def test_the_penalty_is_taken_slice_by_slice_between_real_and_made() -> None:
    """The critic's value is half the squared norm of a slice: its gradient is the slice itself."""

    class Square(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.flatten(1).square().sum(1, keepdim=True) / 2

    real, fake = torch.full((64, 1, 2, 2), 1.0), torch.full((64, 1, 2, 2), 2.0)  # norms 2 and 4
    torch.manual_seed(0)
    share = torch.rand(64, 1, 1, 1)
    expected = ((2 * share + 4 * (1 - share) - 1) ** 2).mean().item()
    torch.manual_seed(0)
    assert adversarial.gradient_penalty(Square(), real, fake).item() == pytest.approx(expected)


def test_the_penalty_teaches_the_critic_and_is_float32_under_bf16() -> None:
    critic = Linear(torch.ones(1, 2, 8))
    with torch.autocast("cpu", torch.bfloat16):
        penalty = adversarial.gradient_penalty(critic, torch.rand(3, 1, 2, 8), torch.rand(3, 1, 2, 8))
    assert penalty.dtype == torch.float32
    (gradient,) = torch.autograd.grad(penalty, critic.weight)
    # d (|w| - 1)^2 / dw = 2 (|w| - 1) w / |w| = 2 * 3 / 4
    torch.testing.assert_close(gradient, torch.full((1, 2, 8), 1.5))


def test_the_critic_wants_real_above_made_and_pays_for_its_slope() -> None:
    """Gulrajani 2017, algorithm 1: made - real + weight * penalty."""
    critic = Linear(torch.full((1, 2, 8), 0.5))  # penalty (2 - 1)^2 = 1
    real, fake = torch.full((4, 1, 2, 8), 0.5), torch.full((4, 1, 2, 8), -0.25)
    assert adversarial.wasserstein_distance(critic, real, fake).item() == pytest.approx(8 * 0.75)
    assert adversarial.critic_loss(critic, real, fake, 10.0).item() == pytest.approx(10.0 - 8 * 0.75)
