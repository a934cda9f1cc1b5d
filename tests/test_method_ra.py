"""RA: feature reversal, perceptual distance and the map, against values computed by hand."""

import importlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from uadbench import methods
from uadbench.data.volumes import Volume
from uadbench.learning.introspective import IntroVAE

kind: Any = methods.load("ra")
module: Any = importlib.import_module(kind.__module__)


def vectors(*numbers: tuple[float, float]) -> Tensor:
    """A map (1, 2, 1, N) of features of two numbers."""
    return torch.tensor(numbers).T[None, :, None]


def test_the_reversal_of_one_level_by_hand() -> None:
    """(1, 0) against (0, 1): squared error 1, cosine 0; (2, 0) against (1, 0): .5 and 1."""
    loss = module.reversal_loss([vectors((1, 0), (2, 0))], [vectors((0, 1), (1, 0))])
    assert loss.item() == pytest.approx(0.5 * (1 + 0.5) / 2 + (1 + 0) / 2)


def test_levels_are_added_and_equal_features_cost_nothing() -> None:
    one, other = vectors((1, 0)), vectors((0, 1))
    assert module.reversal_loss([one, one], [other, one]).item() == pytest.approx(0.5 + 1)
    assert module.reversal_loss([one, one], [one, one]).item() == pytest.approx(0, abs=1e-6)


def test_likeness_is_the_weighted_reversal_of_the_encoders_five_levels() -> None:
    torch.manual_seed(0)
    network, image, decoded = (
        IntroVAE(32, 32, 2, 3).eval(),
        torch.rand(2, 1, 32, 32),
        torch.rand(2, 1, 32, 32),
    )
    maps, others = network.encoder.features(image), network.encoder.features(decoded)
    assert len(maps) == 5
    expected = 0.005 * sum(module.reversal_loss([a], [b]) for a, b in zip(maps, others, strict=True))
    torch.testing.assert_close(kind().likeness(network, image, decoded), expected)


@pytest.mark.parametrize(("loss", "pays"), [("encoder_loss", True), ("decoder_loss", False)])
def test_the_encoder_alone_pays_for_the_reversal(loss: str, pays: bool) -> None:
    """Ten times the weight adds ten times the reversal to what it pays."""
    network = IntroVAE(48, 56, 2, 3).eval()
    image = torch.rand(2, 1, 48, 56)
    values = []
    for reversal in (0.0, 1.0, 10.0):
        torch.manual_seed(0)
        values.append(getattr(kind(grid="g48", reversal=reversal), loss)(network, image).item())
    assert (values[1] > values[0] + 1e-4) == pays
    assert values[2] - values[0] == pytest.approx(10 * (values[1] - values[0]), rel=1e-3)


def test_the_perceptual_distance_is_the_mean_angle_of_four_stages() -> None:
    """Features are the slice and its complement: the angle of (1, 0) and (0, 1) has cosine 0."""

    def maps(image: Tensor) -> list[Tensor]:
        return [torch.cat([image, 1 - image], 1)] * 5

    first, second = torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    distance = module.perceptual_distance(SimpleNamespace(maps=maps), torch.stack([first, second])[None])
    torch.testing.assert_close(distance, torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]))


def test_equalisation_works_slice_by_slice_and_leaves_flat_ones() -> None:
    volume = np.zeros((16, 16, 3), np.float32)
    volume[..., 0] = 0.3
    volume[..., 1] = np.linspace(0.4, 0.5, 16)
    equalised = module.equalise(volume)
    np.testing.assert_array_equal(equalised[..., [0, 2]], volume[..., [0, 2]])
    assert np.ptp(equalised[..., 1]) > 5 * np.ptp(volume[..., 1])
    np.testing.assert_array_equal(module.equalise(volume[..., 1:2]), equalised[..., 1:2])


@pytest.mark.parametrize(("score_kind", "expected"), [("perceptual", 0.25 * 0.5 * 0.1), ("l1", 0.25)])
def test_the_score_is_the_product_of_difference_and_both_distances(
    score_kind: str, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equalisation halves here, and slices above .6 have another distance than those below."""
    brain = np.zeros((32, 32, 2), bool)
    brain[4:20, 4:20] = True
    volume = Volume((1.0 * brain[None]).astype(np.float32), brain, 1.0, ("T1",))

    def distance(_: object, pair: Tensor) -> Tensor:
        plain = pair.amax() > 0.6
        return torch.full_like(pair[:, :1], 0.5 if plain else 0.1)

    monkeypatch.setattr(module, "equalise", lambda volume: volume / 2)
    monkeypatch.setattr(module, "perceptual_distance", distance)
    method = kind(score_kind=score_kind)
    method.network_, method.features_, method.device_ = lambda image: image - 0.5, None, "cpu"
    if score_kind == "l1":
        method.network_ = lambda image: image - 0.25
    score = method.score(volume)
    np.testing.assert_allclose(score.score_map, expected * brain, rtol=1e-6)
