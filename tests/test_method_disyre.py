"""DISYRE: the corruption, its severities, the shapes of the anomalies, and what is averaged into a score."""

import importlib
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
from uadbench.learning import training
from uadbench.system.errors import UserError

module: Any = importlib.import_module(methods.load("disyre").__module__)

Toy = Callable[..., list[Prepared]]
G48 = GRIDS["g48"]


def disc(count: int, edge: int = 48) -> Tensor:
    """Brains (count, 1, edge, edge): discs with three quarters of the edge as diameter."""
    axis = torch.arange(edge) - (edge - 1) / 2
    inside = axis[:, None] ** 2 + axis**2 < (0.375 * edge) ** 2
    return inside.expand(count, 1, edge, edge)


def test_the_corruption_by_hand() -> None:
    image = torch.tensor([[[[0.2, 0.4, 0.6]]], [[[0.2, 0.4, 0.6]]]])
    source = torch.tensor([[[[1.0, 0.8, 0.0]]], [[[1.0, 0.8, 0.0]]]])
    mask = torch.tensor([[[[0.0, 1.0, 0.5]]], [[[0.0, 1.0, 0.5]]]])
    found = module.corrupt(image, source, mask, torch.tensor([100, 25]))
    expected = [0.2, 0.8, 0.3, 0.2, 0.75 * 0.4 + 0.25 * 0.8, 0.875 * 0.6]
    assert found.flatten().tolist() == pytest.approx(expected)


def test_the_severity_grows_linearly_from_a_hundredth_to_all() -> None:
    zeros, ones = torch.zeros(100, 1, 1, 1), torch.ones(100, 1, 1, 1)
    found = module.corrupt(zeros, ones, ones, torch.arange(1, 101)).flatten()
    torch.testing.assert_close(found, torch.linspace(0.01, 1, 100))


@pytest.mark.parametrize(
    ("levels", "expected"), [(5, [20, 40, 60, 80, 100]), (4, [25, 50, 75, 100]), (1, [100])]
)
def test_severities_of_scoring(levels: int, expected: list[int]) -> None:
    assert module.ENTRY(levels=levels).severities() == expected


@pytest.mark.parametrize("kind", ["dag", "fpi"])
def test_a_healthy_slice_is_unchanged_outside_the_mask_to_the_bit(kind: str) -> None:
    torch.manual_seed(0)
    brain = disc(32)
    image, foreign = torch.rand(2, 32, 1, 48, 48) * brain
    source, mask = module.anomalous(image, brain, foreign, kind, 24)
    corrupted = module.corrupt(image, source, mask, torch.randint(1, 101, (32,)))
    assert torch.equal(corrupted[mask == 0], image[mask == 0])
    assert torch.equal(corrupted[~brain], image[~brain])
    assert not torch.equal(corrupted, image)
    assert corrupted.min() >= 0
    assert corrupted.max() <= 1


@pytest.mark.parametrize("shapes", ["boxes", "blobs"])
def test_masks_lie_in_the_brain_within_the_size(shapes: str) -> None:
    torch.manual_seed(0)
    brain = disc(500)
    masks = getattr(module, shapes)(brain, 16)
    assert masks.shape == brain.shape
    assert masks.min() == 0
    assert masks.max() == 1
    assert not masks[~brain].any()
    for axis in (2, 3):
        covered = (masks > 0).any(axis).flatten(1)
        extent = torch.tensor([int(c.nonzero().max() - c.nonzero().min()) + 1 for c in covered if c.any()])
        assert len(extent) > 450
        assert extent.max() <= 17  # an edge of 16 pixels around a pixel's centre
        assert extent.float().mean() > 4
    assert (masks > 0).any(0)[brain[0]].float().mean() > 0.95  # anywhere in the brain


def test_boxes_are_rectangles_and_all_or_nothing() -> None:
    torch.manual_seed(0)
    masks = module.boxes(torch.ones(50, 1, 48, 48, dtype=torch.bool), 16)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    rows, columns = masks.amax(3).sum(2), masks.amax(2).sum(2)
    assert torch.equal(masks.sum((2, 3)), rows * columns)


def test_blobs_are_fullest_at_their_centre_and_fade() -> None:
    torch.manual_seed(0)
    masks = module.blobs(torch.ones(200, 1, 48, 48, dtype=torch.bool), 24)
    assert ((masks > 0) & (masks < 1)).flatten(1).any(1).float().mean() > 0.9
    assert masks.flatten(1).amax(1).median() == 1


def test_fpi_blends_in_the_other_person_and_dag_two_further_sources() -> None:
    torch.manual_seed(0)
    brain = disc(60)
    image, foreign = torch.full((60, 1, 48, 48), 0.5) * brain, torch.full((60, 1, 48, 48), 0.9)
    source, _ = module.anomalous(image, brain, foreign, "fpi", 16)
    assert torch.equal(source, foreign)
    source, _ = module.anomalous(image, brain, foreign, "dag", 16)
    of_the_other = (source == foreign).flatten(1).all(1)
    of_itself = (source == 0)[~brain].reshape(60, -1).all(1)  # a factor leaves the background 0
    assert 10 <= of_the_other.sum() <= 30
    assert 10 <= of_itself.sum() <= 30
    assert 10 <= (~of_the_other & ~of_itself).sum() <= 30
    assert source.min() >= 0
    assert source.max() <= 1


def test_the_patch_of_another_person_is_of_the_same_height_and_contrast(toy: Toy) -> None:
    train, val = Volumes(toy(range(3), True), G48), Volumes(toy(range(5, 6), True), G48)
    which = np.array([(0, 20), (1, 24), (2, 18)] * 8)
    drawn = module.same_height(which, train, train)
    for slice_, (volume, position) in zip(drawn, which, strict=True):
        found = [np.array_equal(slice_[0], train[k].image[0, ..., position]) for k in range(3)]
        assert sum(found) == 1
        assert not found[volume]
    of_val = module.same_height(np.array([(0, 20)]), val, train)  # validation borrows from training
    assert any(np.array_equal(of_val[0], train[k].image[..., 20]) for k in range(3))


def test_one_person_alone_is_refused(toy: Toy) -> None:
    alone = Volumes(toy(range(1), True), G48)
    with pytest.raises(UserError, match="two subjects"):
        module.same_height(np.array([(0, 20)]), alone, alone)


def test_patches_are_cut_at_one_place_from_all_tensors() -> None:
    torch.manual_seed(0)
    pixels = torch.arange(4.0 * 30 * 20).reshape(4, 1, 30, 20)
    first, second = module.cut_patches([pixels, 2 * pixels], 16)
    assert first.shape == (4, 1, 16, 16)
    assert torch.equal(second, 2 * first)
    assert (first[:, 0].diff(dim=1) == 20).all()  # neighbours stay neighbours
    assert (first[:, 0].diff(dim=2) == 1).all()
    assert len({int(corner) % 600 for corner in first[:, 0, 0, 0]}) > 1  # each slice has its own place
    whole = module.cut_patches([pixels], 128)[0]
    assert torch.equal(whole, pixels)


def test_an_untrained_network_changes_nothing() -> None:
    network = module.Restorer(8, 1).eval()
    for rows, columns in ((48, 56), (37, 50)):
        image = torch.rand(2, 1, rows, columns)
        assert torch.equal(network(image, torch.tensor([3, 90])), image)


def test_the_network_hears_the_severity_and_each_slice_stands_alone() -> None:
    torch.manual_seed(0)
    network = module.Restorer(8, 1).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    image = torch.rand(2, 1, 24, 24)
    with torch.no_grad():
        mild, severe = (network(image, torch.tensor([t, t])) for t in (10, 100))
        alone = network(image[:1], torch.tensor([10]))
    assert not torch.allclose(mild, severe)
    torch.testing.assert_close(alone, mild[:1], atol=1e-5, rtol=1e-4)


class Darker(torch.nn.Module):
    """Restores by taking t / 1000 away."""

    def forward(self, image: Tensor, t: Tensor) -> Tensor:
        return image - t[:, None, None, None] / 1000


def test_the_score_is_the_mean_residual_over_the_severities(toy: Toy) -> None:
    volume = Volumes(toy(range(1), healthy=False), G48)[0]
    method: Any = module.ENTRY(grid="g48", levels=4)
    method.network_, method.device_ = Darker(), "cpu"
    score = method.score(volume)
    np.testing.assert_allclose(score.score_map, 0.0625 * volume.brain, atol=1e-6)  # .025, .05, .075, .1
    expected = (volume.image - 0.0625) * volume.brain
    np.testing.assert_allclose(score.pseudo_healthy, expected, atol=1e-6)
    # Where restorations differ in sign the mean residual is not the residual to their mean.
    method.network_.forward = lambda image, t: image + torch.where(t > 50, 0.1, -0.1)[:, None, None, None]
    np.testing.assert_allclose(method.score(volume).score_map, 0.1 * volume.brain, atol=1e-6)
    method.score_kind = "l1"
    np.testing.assert_allclose(method.score(volume).score_map, 0 * volume.brain, atol=1e-6)


def test_larger_slices_are_restored_from_overlapping_patches() -> None:
    seen: list[tuple[int, ...]] = []

    class Spy(Darker):
        def forward(self, image: Tensor, t: Tensor) -> Tensor:
            seen.append(tuple(image.shape[1:]))
            return super().forward(image, t)

    image = torch.rand(2, 1, 40, 28)
    method: Any = module.ENTRY(patch=32)
    method.network_, method.device_ = Spy(), "cpu"
    with torch.inference_mode():
        torch.testing.assert_close(method._restored(image, 50), image - 0.05)
    assert set(seen) == {(1, 32, 28)}
    seen.clear()
    method._restored(image[..., :32, :], 50)
    assert seen == [(1, 32, 28)]  # a slice that fits goes through whole


def test_the_loss_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    image, foreign = torch.full((2, 1, 8, 8), 0.5), torch.full((2, 1, 8, 8), 0.9)
    batch = training.Batch(image, torch.ones_like(image, dtype=torch.bool), np.zeros((2, 2), np.int64))
    half = torch.zeros_like(image)
    half[..., :4] = 1
    monkeypatch.setattr(module, "anomalous", lambda image, brain, foreign, *_: (foreign, half))
    monkeypatch.setattr(module, "cut_patches", lambda tensors, size: tensors)
    monkeypatch.setattr(torch, "randint", lambda low, high, size, **_: torch.full(size, 25))
    loss = module.ENTRY()._loss(lambda x, t: x, batch, foreign)
    assert loss.item() == pytest.approx(0.1**2 / 2)  # a quarter of .4 on half of the pixels
