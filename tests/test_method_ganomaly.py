"""GANomaly: the three losses, the discriminator's and the map, against values computed by hand."""

import importlib
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from uadbench import methods
from uadbench.data.volumes import Volume

kind: Any = methods.load("ganomaly")
module: Any = importlib.import_module(kind.__module__)


class Known(nn.Module):
    """Restores slices with an error of .5 in each pixel; codes (1, 2) and (1, 4)."""

    def recode(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        code, again = (torch.tensor([numbers]).repeat(len(image), 1) for numbers in ([1.0, 2.0], [1.0, 4.0]))
        return image + 0.5, code, again

    def forward(self, image: Tensor) -> Tensor:
        return image + 0.25


TWICE = SimpleNamespace(features=lambda image: 2 * image.flatten(1))  # a discriminator


def test_the_three_losses_by_hand() -> None:
    image = torch.rand(3, 1, 4, 4)
    restored, code, again = Known().recode(image)
    # Features: (2 * .5)^2; pixels: .5; codes: the mean of 0 and 2^2.
    assert module.adversarial_loss(2 * restored, 2 * image).item() == pytest.approx(1.0)
    assert module.contextual_loss(image, restored).item() == pytest.approx(0.5)
    assert module.encoder_loss(code, again).item() == pytest.approx(2.0)


def test_the_generators_loss_weighs_them_1_50_and_1() -> None:
    loss = kind().generator_loss(Known(), TWICE, torch.rand(3, 1, 4, 4))
    assert loss.item() == pytest.approx(1 * 1.0 + 50 * 0.5 + 1 * 2.0)
    other = kind(adversarial_weight=3.0, contextual_weight=0.0, encoder_weight=0.5)
    assert other.generator_loss(Known(), TWICE, torch.rand(3, 1, 4, 4)).item() == pytest.approx(3 + 1)


def test_the_discriminators_loss_is_cross_entropy() -> None:
    """Logits of log 3 and 0 say that a slice is real with probability 3/4 and 1/2."""
    real, made = torch.tensor([[math.log(3.0)]]), torch.tensor([[0.0]])
    expected = -(math.log(3 / 4) + math.log(1 / 2)) / 2
    assert module.discriminator_loss(real, made).item() == pytest.approx(expected)


@pytest.mark.parametrize(("slope", "fresh"), [(1.0, False), (50.0, True)])
def test_a_discriminator_that_has_won_begins_again(slope: float, fresh: bool) -> None:
    """On slices of ones and of minus ones a large slope has no loss left."""
    torch.manual_seed(0)
    linear = nn.Linear(4, 1)
    network = nn.Sequential(nn.Flatten(), linear)
    nn.init.constant_(linear.weight, slope)
    ones = torch.ones(2, 1, 2, 2)
    loss = module.discriminate(network, ones, -ones, watched=True)
    assert torch.equal(linear.weight, torch.full((1, 4), slope)) != fresh
    assert (loss.item() > 0.1) == fresh
    loss.backward()  # what was computed before the weights changed is not needed any more
    assert linear.weight.grad is not None


def test_the_score_is_the_residual_of_each_pixel_in_the_units_of_the_image() -> None:
    brain = np.zeros((4, 4, 2), bool)
    brain[1:3, 1:3] = True
    image = (0.5 * brain[None]).astype(np.float32)
    method = kind()
    method.network_, method.device_ = Known(), "cpu"
    score = method.score(Volume(image, brain, 1.0, ("T1",)))
    np.testing.assert_allclose(score.score_map, 0.25 * brain)


def test_codes_are_those_of_a_slice_and_of_its_reconstruction() -> None:
    network = module.Recoder(48, 56, 2, 5).eval()
    image = torch.rand(2, 1, 48, 64) * 2 - 1
    restored, code, again = network.recode(image)
    torch.testing.assert_close(code, network.encoder(image))
    torch.testing.assert_close(restored, network.decoder(code))
    torch.testing.assert_close(again, network.again(restored))
    assert code.shape == again.shape == (2, 5)
    assert restored.shape == image.shape


def test_slices_come_back_in_their_shape_and_range() -> None:
    restored = module.Recoder(48, 56, 2, 5).eval()(torch.rand(2, 1, 48, 56))
    assert restored.shape == (2, 1, 48, 56)
    assert restored.amin() >= 0
    assert restored.amax() <= 1
