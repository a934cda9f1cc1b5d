"""UniAD: who may look at whom, the jitter of features, the decoder's queries, loss and score."""

import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from uadbench import methods
from uadbench.cards import method_card
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volumes
from uadbench.learning import training
from uadbench.learning.features import Features
from uadbench.methods import Context
from uadbench.system.errors import UserError

module: Any = importlib.import_module(methods.load("uniad").__module__)
networks: Any = importlib.import_module("uadbench.methods.uniad.network")
Toy = Callable[..., list[Prepared]]
G48 = GRIDS["g48"]
OPTIONS: dict[str, Any] = {"grid": "g48", "stride": 8, "window": 3, "width": 16, "layers": 2, "heads": 2}


def untrained() -> Any:
    """A method with fresh weights, ready to score."""
    torch.manual_seed(0)
    method = module.UniAD(**OPTIONS)
    method.network_, method.backbone_, method.device_ = method.build().eval(), Features(5), "cpu"
    return method


def averaging(width: int) -> Any:
    """An attention without taste: every place takes the mean of those that it may look at."""
    attention = networks.Attention(width, 1)
    with torch.no_grad():
        attention.attend.in_proj_weight.copy_(torch.cat([torch.zeros(2 * width, width), torch.eye(width)]))
        attention.attend.in_proj_bias.zero_()
        attention.attend.out_proj.weight.copy_(torch.eye(width))
        attention.attend.out_proj.bias.zero_()
    attention.norm = torch.nn.Identity()
    return attention


# Who may look at whom.


def test_neighbours_of_a_row_by_hand() -> None:
    found = networks.neighbours(1, 5, 3).int().tolist()
    assert found == [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 0, 1, 1]]


def test_neighbours_of_a_map_by_hand() -> None:
    """Places of a map of 3 x 4, counted row by row."""
    hidden = networks.neighbours(3, 4, 3)
    assert hidden[0].nonzero().flatten().tolist() == [0, 1, 4, 5]  # a corner
    assert hidden[5].nonzero().flatten().tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert torch.equal(networks.neighbours(3, 4, 1), torch.eye(12, dtype=torch.bool))


def test_masked_attention_by_hand() -> None:
    """Values 1, 2, 4, 8, 16 in a row: each place adds the mean of those two and more places away."""
    tokens = torch.tensor([1.0, 2, 4, 8, 16]).view(1, 5, 1)
    found = averaging(1)(tokens, tokens, torch.zeros(5, 1), networks.neighbours(1, 5, 3))
    added = [(4 + 8 + 16) / 3, (8 + 16) / 2, (1 + 16) / 2, (1 + 2) / 2, (1 + 2 + 4) / 3]
    np.testing.assert_allclose(found.flatten().detach(), np.add([1, 2, 4, 8, 16], added), rtol=1e-6)


def test_attention_is_weighted_by_queries_keys_and_positions() -> None:
    """One head, everything written out."""
    torch.manual_seed(0)
    attention, hidden = networks.Attention(4, 1), networks.neighbours(1, 6, 3)
    query, memory, position = torch.randn(1, 6, 4), torch.randn(1, 6, 4), torch.randn(6, 4)
    found = attention(query, memory, position, hidden)
    ways = attention.attend.in_proj_weight.chunk(3)
    q, k, v = ((query + position) @ ways[0].T, (memory + position) @ ways[1].T, memory @ ways[2].T)
    alike = (q @ k.mT / math.sqrt(4)).masked_fill(hidden, -math.inf).softmax(-1)
    expected = functional.layer_norm(query + alike @ v @ attention.attend.out_proj.weight.T, [4])
    torch.testing.assert_close(found, expected)


def test_nothing_of_a_neighbourhood_reaches_its_place() -> None:
    """Except by way of the sum with what asks, which here comes from elsewhere."""
    torch.manual_seed(0)
    attention, hidden = networks.Attention(8, 2), networks.neighbours(4, 5, 3)
    memory = torch.randn(1, 20, 8, requires_grad=True)
    found = attention(torch.randn(1, 20, 8), memory, torch.randn(20, 8), hidden)
    for place in range(20):
        (slope,) = torch.autograd.grad(found[0, place].square().sum(), memory, retain_graph=True)
        assert torch.equal(slope[0].abs().sum(1) > 0, ~hidden[place])


@pytest.mark.parametrize(("window", "fine"), [(3, True), (5, True), (7, False), (11, False)])
def test_a_window_that_hides_all_from_the_middle_is_refused(window: int, fine: bool) -> None:
    """Of 6 x 7 places the middle one is three from either end of its row."""
    settings = {"grid": "g48", "stride": "8", "window": str(window)}
    if fine:
        method: Any = methods.build("uniad", "ci", settings)
        assert method.places() == (6, 7)
        assert not networks.neighbours(6, 7, window).all(1).any()
    else:
        assert networks.neighbours(6, 7, window).all(1).any()
        with pytest.raises(UserError, match="window"):
            methods.build("uniad", "ci", settings)


# Jitter, and the transformer.


def test_jitter_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vector (3, 4) of length 5 and two channels: the deviation is 20 * 5 / 2."""
    features = torch.tensor([[3.0, 0.0], [4.0, 0.0]]).view(1, 2, 1, 2)
    monkeypatch.setattr(torch, "randn_like", lambda x: torch.tensor([[0.1, 1], [-0.2, 1]]).view_as(x))
    found = networks.jitter(features, 20.0)
    np.testing.assert_allclose(found.flatten(), [3 + 5, 0, 4 - 10, 0], rtol=1e-6)


def test_the_deviation_of_jitter_follows_the_length_of_each_vector() -> None:
    torch.manual_seed(0)
    features = torch.ones(2, 4, 50, 50)
    features[1] *= 3
    noise = networks.jitter(features, 2.0) - features
    assert noise[0].std().item() == pytest.approx(2 * 2 / 4, rel=0.05)
    assert noise[1].std().item() == pytest.approx(2 * 6 / 4, rel=0.05)


def test_every_layer_of_the_decoder_has_queries_that_matter() -> None:
    network = untrained().network_
    features = torch.randn(2, 192, 6, 7)
    restored = network(features)
    assert restored.shape == features.shape
    assert network.queries.shape == (2, 42, 16)
    restored.square().sum().backward()
    assert (network.queries.grad.abs().sum((1, 2)) > 0).all()


def test_channels_are_standardised_and_brought_back() -> None:
    network = untrained().network_
    features = 5 * torch.randn(8, 192, 6, 7) + torch.arange(192.0).view(1, -1, 1, 1)
    network.standardise(features)
    np.testing.assert_allclose(network.mean.flatten(), features.mean((0, 2, 3)), atol=1e-4)
    np.testing.assert_allclose(network.deviation.flatten(), features.std((0, 2, 3)), rtol=1e-4)
    with torch.no_grad():
        network.restore.weight.zero_()
        network.restore.bias.fill_(2.0)  # of deviations above the mean
        expected = (network.mean + 2 * network.deviation).expand(2, -1, 6, 7)
        torch.testing.assert_close(network(features[:2]), expected)


# Loss and score.


def test_features_are_those_of_four_stages_at_one_size() -> None:
    method, image = untrained(), torch.rand(2, 1, 48, 56)
    features, maps = method.features(image), method.backbone_.maps(image)
    assert features.shape == (2, 16 + 24 + 40 + 112, 6, 7)
    torch.testing.assert_close(features[:, 40:80], maps[3])  # 1/8 of the slice: as it is


def test_the_loss_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of 2 in all 192 channels of one of 42 places: 192 * 4 / 42; noise in training alone."""
    method, features = untrained(), torch.randn(1, 192, 6, 7)
    image = torch.rand(1, 1, 48, 56)
    batch = training.Batch(image, image > 0, np.zeros((1, 2), np.int64))
    monkeypatch.setattr(module.UniAD, "features", lambda *_: features)
    seen = []

    class Wrong(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            wrong = features.clone()
            wrong[..., 2, 3] += 2
            return wrong

    assert method.training_loss(Wrong().eval(), batch).item() == pytest.approx(192 * 4 / 42, rel=1e-5)
    assert method.training_loss(Wrong().train(), batch).item() == pytest.approx(192 * 4 / 42, rel=1e-5)
    assert torch.equal(seen[0], features)
    assert not torch.isclose(seen[1], features).any(1).all()


def test_the_score_is_the_distance_enlarged_to_the_slice(toy: Toy) -> None:
    method, volume = untrained(), Volumes(toy(range(1), False), G48)[0]
    with torch.no_grad():
        features = method.features(torch.from_numpy(volume.image[:, None, :, :, 20].copy()))
        small = (method.network_(features) - features).square().sum(1, keepdim=True).sqrt()
        large = functional.interpolate(small, (48, 56), mode="bilinear")[0, 0].numpy()
    found = method.score(volume).score_map
    np.testing.assert_allclose(found[..., 20], large * volume.brain[..., 20], rtol=1e-3, atol=1e-3)


def test_training_lowers_the_loss_and_leaves_the_backbone_alone(toy: Toy, tmp_path: Path) -> None:
    volumes = Volumes(toy(range(2), True), G48)
    fit: dict[str, Any] = {"steps": 20, "batch": 4, "learning_rate": 3e-3, "validate_every": 20}
    method = module.UniAD(**OPTIONS | fit).fit(volumes, volumes, Context(folder=tmp_path))
    for name, weight in Features(5).state_dict().items():
        assert torch.equal(weight, method.backbone_.state_dict()[name]), name
    batch = training.Slices(volumes, "cpu").take(np.arange(8))
    fresh = untrained().network_
    fresh.standardise(method.features(training.Slices(volumes, "cpu").take(np.arange(24)).image))
    with torch.no_grad():
        assert method.training_loss(method.network_, batch) < 0.8 * method.training_loss(fresh, batch)


def test_the_card_says_that_this_is_a_variant() -> None:
    card = method_card("uniad")
    assert "lite0" in card.title
    assert "not those of this variant" in card.differences[0]
