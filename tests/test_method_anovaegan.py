"""AnoVAEGAN: the losses of both players against values computed by hand, and what a fit leaves behind."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from uadbench import methods
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volumes
from uadbench.learning.training import Batch
from uadbench.methods import Context
from uadbench.system.environment import seed_everything

kind: Any = methods.load("anovaegan")
module: Any = importlib.import_module(kind.__module__)


class Known(nn.Module):
    """Codes with KL 1 (mean (1, 1), variance 1) and slices that are wrong by .25 in each pixel."""

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        self.image = image
        return torch.ones(len(image), 2), torch.zeros(len(image), 2)

    def decode(self, code: Tensor, rows: int, columns: int) -> Tensor:
        return self.image + 0.25


@pytest.mark.parametrize(("beta", "expected"), [(1.0, 8 + 1), (3.0, 8 + 3)])
def test_a_bound_is_summed_l1_and_weighted_kl(beta: float, expected: float) -> None:
    """32 pixels wrong by .25: 8."""
    image = torch.rand(2, 1, 8, 4)
    restored, bound = kind(beta=beta).restore(Known().eval(), image)
    torch.testing.assert_close(restored, image + 0.25)
    assert bound.tolist() == pytest.approx([expected, expected])
    batch = Batch(image, image > 0, None)  # type: ignore[arg-type]
    assert kind(beta=beta).training_loss(Known().eval(), batch).item() == pytest.approx(expected / 32)


def test_the_auto_encoder_wants_a_small_bound_and_a_high_value_of_the_critic() -> None:
    """Bounds 9 and 11, values 2 and 6 with weight .5: (10 - .5 * 4) / 32."""
    loss = kind(realism=0.5).deceive(torch.tensor([9.0, 11.0]), torch.tensor([[2.0], [6.0]]), pixels=32)
    assert loss.item() == pytest.approx(8 / 32)


@pytest.fixture
def fitted(toy: Callable[..., list[Prepared]], tmp_path: Path) -> Callable[..., Any]:
    def fit(**settings: Any) -> Any:
        grid = GRIDS["g48"]
        train, val = (Volumes(toy(numbers, True), grid) for numbers in (range(3), range(10, 11)))
        tiny = {"grid": "g48", "width": 2, "latent_dim": 3, "steps": 3, "batch": 3, "validate_every": 3}
        seed_everything(7)
        folder = tmp_path / str(settings)
        return kind(**(tiny | settings)).fit(train, val, Context(seed=7, folder=folder))

    return fit


def test_the_critic_sees_healthy_slices_and_their_reconstructions_in_one_range(
    fitted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    original = module.critic_loss

    def watched(critic: nn.Module, real: Tensor, fake: Tensor, penalty: float) -> Tensor:
        assert penalty == 10
        seen.append((real, fake))
        return original(critic, real, fake, penalty)  # type: ignore[no-any-return]

    monkeypatch.setattr(module, "critic_loss", watched)
    fitted()
    assert len(seen) == 3
    for real, fake in seen:
        assert real.shape == fake.shape == (3, 1, 48, 64)  # padded to multiples of 16
        assert real.amin() == -1  # background
        assert not fake.requires_grad


def test_the_critic_has_a_say_and_is_not_kept(fitted: Callable[..., Any]) -> None:
    with_critic, without = fitted(realism=100.0).state(), fitted(realism=0.0).state()
    assert not any(key.startswith("critic") for key in with_critic)
    assert not np.array_equal(with_critic["decoder.0.weight"], without["decoder.0.weight"])
