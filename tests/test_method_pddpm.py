"""Patched DDPM: boxes, what is noised, where the loss counts, and how the boxes are put together."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from uadbench import methods
from uadbench.cards import method_card
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volume
from uadbench.learning import diffusion, scores
from uadbench.learning.noise import NOISES
from uadbench.learning.training import Batch

module: Any = importlib.import_module(methods.load("pddpm").__module__)
Toy = Callable[..., list[Prepared]]


def untrained(**settings: Any) -> Any:
    method: Any = methods.load("pddpm")(**dict(method_card("pddpm").smoke) | settings)
    torch.manual_seed(0)
    method.network_, method.device_, method.noise_ = method.build().eval(), "cpu", method.make_noise()
    for parameter in method.network_.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return method


@pytest.mark.parametrize("grid", GRIDS)
def test_four_boxes_cover_the_slice_once(grid: str) -> None:
    rows, columns, _ = GRIDS[grid].shape
    boxes = module.boxes(rows, columns)
    assert boxes.shape == (4, 1, rows, columns)
    assert (boxes.sum(0) == 1).all()
    assert (boxes.sum((1, 2, 3)) == rows * columns // 4).all()
    corners = [box[0].nonzero()[0].tolist() for box in boxes]
    expected = [[r * rows // 2, c * columns // 2] for r in (0, 1) for c in (0, 1)]
    assert sorted(corners) == expected


def test_at_96_pixels_a_box_is_48_by_48() -> None:
    """Behrendt 2023: a fixed grid of two by two."""
    box = module.boxes(96, 96)[0, 0].nonzero()
    assert (box.amax(0) - box.amin(0) + 1).tolist() == [48, 48]


def test_the_loss_counts_inside_the_box_alone() -> None:
    image, answer = torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 9.0)
    box = module.boxes(4, 4)[[0, 3]]
    answer[box] = 0.25
    row, column = box[0, 0].nonzero()[0].tolist()
    answer[0, 0, row, column] = 1.25
    assert module.box_loss(answer, image, box).item() == pytest.approx((0.25 * 8 + 1) / 8)


def test_training_noises_one_random_box_of_each_slice() -> None:
    method, chosen = untrained(), []
    image = torch.rand(64, 1, 48, 56)

    def network(noisy: Tensor, level: Tensor) -> Tensor:
        touched = noisy != 2 * image - 1
        for one in touched:
            inside = [bool((one[box] > 0).float().mean() > 0.95) for box in module.boxes(48, 56)]
            outside = [not one[box].any() for box in module.boxes(48, 56)]
            assert (sum(inside), sum(outside)) == (1, 3)
            chosen.append(inside.index(True))
        return noisy

    method.training_loss(network, Batch(image, image > 0, np.zeros((64, 2), np.int64)))
    assert set(chosen) == {0, 1, 2, 3}


def test_scoring_noises_each_box_once_and_takes_it_from_that_pass(volume: Volume) -> None:
    method, passes = untrained(start=500, score_batch=1000), []
    slices = volume.image[..., volume.brain.any((0, 1))].transpose(3, 0, 1, 2)
    clean = torch.from_numpy(slices) * 2 - 1

    def network(noisy: Tensor, level: Tensor) -> Tensor:
        assert set(level.tolist()) == {500}
        passes.append(noisy != clean)
        return torch.full_like(noisy, 0.2 * len(passes))

    method.network_ = network
    restored = method.reconstruct(volume)[0]
    assert len(passes) == 4
    for number, (touched, box) in enumerate(zip(passes, module.boxes(48, 56), strict=True), 1):
        assert not touched[:, ~box].any(), "the context is clean"
        assert touched[:, box].float().mean() > 0.99
        expected = (0.2 * number + 1) / 2
        here = restored[box[0].numpy()][volume.brain[box[0].numpy()]]
        np.testing.assert_allclose(here, expected, atol=1e-6)


def test_noise_in_a_box_is_that_of_level_500_of_the_cosine_schedule(volume: Volume) -> None:
    method = untrained(start=500, score_batch=1000)
    method.noise_.draw = lambda count, device: torch.ones(count, 1, 48, 56)
    share = float(diffusion.cosine()[500])
    seen = []

    def network(noisy: Tensor, level: Tensor) -> Tensor:
        seen.append(noisy)
        return noisy

    method.network_ = network
    method.reconstruct(volume)
    corner = module.boxes(48, 56)[0, 0].nonzero()[0].tolist()  # background: -1
    expected = -(share**0.5) + (1 - share) ** 0.5
    assert seen[0][0, 0, corner[0], corner[1]].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("noise", NOISES)
def test_the_number_of_slices_at_once_does_not_change_the_scores(volume: Volume, noise: str) -> None:
    method, maps = untrained(noise=noise), []
    for count in (3, 100):
        method.score_batch = count
        torch.manual_seed(5)
        maps.append(method.score(volume).score_map)
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-4)


def test_the_fused_loss_by_hand() -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 1, 16, 16) * 2 - 1
    box = module.boxes(16, 16)[:2]
    outside = module.fusion_loss(image + 5 * ~box, image, box)
    assert outside.item() == pytest.approx(0, abs=1e-6)
    answer = torch.where(box, -image, image)
    first, other = (((one[0, 0, :, :, None] + 1) / 2).numpy().astype(np.float32) for one in (image, answer))
    own = scores.fusion(first, other) + 0.16 * np.abs(first - other)  # L1 in [-1, 1] is twice that in [0, 1]
    found = module.fusion_loss(answer[:1], image[:1], box[:1]).item()
    assert found == pytest.approx(own.mean(), abs=1e-4)


def test_low_and_high_frequencies_together_are_the_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    image = 0.5 + 0.1 * torch.rand(1, 1, 32, 32)
    coin = torch.zeros(1, 1, 1, 1)
    monkeypatch.setattr(torch, "rand", lambda *_, **__: coin)
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.full((1, 1, 1, 1), 4))
    monkeypatch.setattr(torch.Tensor, "clamp", lambda self, *_: self)
    low = module.cut_spectrum(image)
    coin += 1
    high = module.cut_spectrum(image)
    torch.testing.assert_close(low + high, image)
    assert low.mean() == pytest.approx(float(image.mean()), abs=1e-5)
    assert low.std() < image.std()


def test_masks_are_rectangles_of_the_brain_of_the_published_size() -> None:
    torch.manual_seed(0)
    brain = torch.zeros(300, 1, 64, 64, dtype=torch.bool)
    brain[:, :, 12:52, 16:48] = True
    image = torch.rand(300, 1, 64, 64)
    changed = module.mask_frequencies(image, brain) != image
    assert not changed[~brain].any()
    area = changed.sum((1, 2, 3))
    assert (area == 0).float().mean().item() == pytest.approx(1 / 6, abs=0.06)  # none to five, alike
    assert area.max() <= 5 * 8**2  # int(.18 * 40) = 7 pixels, which may touch 8
    assert area[area > 0].min() >= 3**2
    assert changed.any(0)[0, 12:52, 16:48].float().mean() > 0.8
