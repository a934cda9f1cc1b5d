"""RD4AD: shapes of bottleneck and student, the angle between features, loss, score and optimiser."""

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

module: Any = importlib.import_module(methods.load("rd4ad").__module__)
Toy = Callable[..., list[Prepared]]
G48 = GRIDS["g48"]
OPTIONS: dict[str, Any] = {"grid": "g48", "width": 16, "blocks": 1}


def draw_maps(*size: int) -> list[torch.Tensor]:
    """Maps as the teacher makes them of slices of a size, of random numbers."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, c, -(-size[0] // s), -(-size[1] // s)) for c, s in ((24, 4), (40, 8), (112, 16))]
    return [torch.randn(shape, generator=generator) for shape in shapes]


# The networks.


@pytest.mark.parametrize("size", [(192, 224), (128, 128), (48, 56), (50, 70)])
def test_restored_maps_have_the_shapes_of_the_teachers_at_any_size_of_slice(size: tuple[int, int]) -> None:
    maps = draw_maps(*size)
    teacher = Features(5).maps(torch.rand(2, 1, *size))
    assert [one.shape for one in maps] == [teacher[stage].shape for stage in (2, 3, 5)]
    student = module.Student(16, 1).eval()
    embedding = student.bottleneck(maps)
    assert embedding.shape == (2, 16, -(-size[0] // 32), -(-size[1] // 32))
    assert [one.shape for one in student(maps)] == [one.shape for one in maps]


def test_the_student_sees_nothing_but_the_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    student, maps = module.Student(16, 1).eval(), draw_maps(48, 56)
    monkeypatch.setattr(student.bottleneck, "forward", lambda _: torch.ones(2, 16, 2, 2))
    others = [one + 1 for one in maps]
    for one, other in zip(student(maps), student(others), strict=True):
        assert torch.equal(one, other)


def test_a_residual_block_without_change_of_shape_adds_its_input() -> None:
    block = module.Residual(3, 3).eval()
    assert isinstance(block.skip, torch.nn.Identity)
    torch.nn.init.zeros_(block.body[2][0].weight)
    image = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(block(image), image)
    assert module.Residual(3, 5, 2)(image).shape == (1, 5, 2, 2)


def test_the_number_of_weights_by_hand() -> None:
    """Kernels of 3 x 3 without biases and two numbers a filter to normalise; 1 x 1 where shapes change."""

    def convolution(a: int, b: int) -> int:
        return 9 * a * b + 2 * b

    def residual(a: int, b: int) -> int:
        return convolution(a, b) + convolution(b, b) + a * b + 2 * b

    fuse = sum(convolution(a, b) for a, b in ((24, 8), (8, 8), (40, 8), (112, 8)))
    decode = residual(16, 8) + residual(8, 4) + residual(4, 2)
    heads = 112 * (8 + 1) + 40 * (4 + 1) + 24 * (2 + 1)
    weights = sum(one.numel() for one in module.Student(16, 1).parameters())
    assert weights == fuse + residual(24, 16) + decode + heads


# The loss and the score.


def test_the_dissimilarity_by_hand() -> None:
    """Features (1, 0) against themselves twice as long, (1, 1), (0, 3) and (-1, 0): angles 0, 45, 90, 180."""
    one = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 1, 4)
    other = torch.tensor([[2.0, 1.0, 0.0, -1.0], [0.0, 1.0, 3.0, 0.0]])[None, :, None]
    (found,) = module.dissimilarities([one], [other])
    assert found.shape == (1, 1, 1, 4)
    np.testing.assert_allclose(found.flatten().numpy(), [0, 1 - math.sqrt(0.5), 1, 2], atol=1e-6)


def compare(network: Any, image: torch.Tensor) -> list[torch.Tensor]:
    """1 - cosine at each place, written out."""
    maps = [Features(5).maps(image)[stage] for stage in (2, 3, 5)]
    found = []
    for one, other in zip(maps, network(maps), strict=True):
        found.append(1 - (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1)))
    return found


def test_the_loss_is_the_sum_over_stages_of_means_over_places() -> None:
    method = module.RD4AD(**OPTIONS)
    network, method.teacher_ = method.build().eval(), Features(5)
    image = torch.rand(3, 1, 48, 56, generator=torch.Generator().manual_seed(0))
    batch = training.Batch(image, image > 0, np.zeros((3, 2), np.int64))
    with torch.no_grad():
        loss = method.training_loss(network, batch)
        expected = sum(one.mean().item() for one in compare(network, image))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert 0 <= loss.item() <= 6


def test_the_score_is_the_sum_of_the_stages_enlarged_to_the_slice(toy: Toy) -> None:
    method = module.RD4AD(**OPTIONS)
    method.network_, method.teacher_, method.device_ = method.build().eval(), Features(5), "cpu"
    volume = Volumes(toy(range(1), False), G48)[0]
    with torch.no_grad():
        stages = compare(method.network_, torch.from_numpy(volume.image[:, None, :, :, 20].copy()))
        large = [functional.interpolate(one[:, None], (48, 56), mode="bilinear") for one in stages]
    expected = torch.stack(large).sum(0)[0, 0].numpy() * volume.brain[..., 20]
    np.testing.assert_allclose(method.score(volume).score_map[..., 20], expected, atol=1e-4)


# Training.


def test_training_lowers_the_loss_and_leaves_the_teacher_alone(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    class Adam(torch.optim.Adam):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            made.append(self)

    monkeypatch.setattr(torch.optim, "Adam", Adam)
    volumes = Volumes(toy(range(2), True), G48)
    fit: dict[str, Any] = {"steps": 20, "batch": 4, "learning_rate": 5e-3, "validate_every": 20}
    method = module.RD4AD(**OPTIONS | fit).fit(volumes, volumes, Context(folder=tmp_path))
    (adam,) = made
    assert adam.param_groups[0]["betas"] == (0.5, 0.999)
    assert adam.param_groups[0]["lr"] == 5e-3
    trained = {id(weight) for weight in adam.param_groups[0]["params"]}
    assert trained == {id(weight) for weight in method.network_.parameters()}
    for name, weight in Features(5).state_dict().items():
        assert torch.equal(weight, method.teacher_.state_dict()[name]), name
    batch = training.Slices(volumes, "cpu").take(np.arange(8))
    with torch.no_grad():
        before = module.RD4AD(**OPTIONS).build().eval()
        assert method.training_loss(method.network_, batch) < 0.8 * method.training_loss(before, batch)


def test_the_card_says_that_this_is_a_variant() -> None:
    card = method_card("rd4ad")
    assert "lite0" in card.title
    assert "WideResNet50" in card.differences[0]
    assert "not those of this variant" in card.differences[0]
    assert "equation 2" in " ".join(card.differences)
