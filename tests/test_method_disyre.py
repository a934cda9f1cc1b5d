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
anomalies: Any = importlib.import_module("uadbench.methods.disyre.anomalies")
CENTRES = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])

Toy = Callable[..., list[Prepared]]
G48 = GRIDS["g48"]


def disc(count: int, edge: int = 48) -> Tensor:
    """Brains (count, 1, edge, edge): discs with three quarters of the edge as diameter."""
    axis = torch.arange(edge) - (edge - 1) / 2
    inside = axis[:, None] ** 2 + axis**2 < (0.375 * edge) ** 2
    return inside.expand(count, 1, edge, edge)


def test_the_severities_are_the_published_ones() -> None:
    found = anomalies.strengths()[[0, 24, 49, 74, 99]].tolist()
    assert found == pytest.approx([1.0, 0.73, 0.27, 0.05, 0.005], abs=0.006)


def test_the_severity_is_the_one_whose_strength_is_nearest() -> None:
    strength = torch.tensor([1.0, 0.0, 0.73, float(anomalies.strengths()[60])]).view(-1, 1, 1, 1)
    assert anomalies.severity_of(strength).tolist() == [0, 99, 24, 60]


@pytest.mark.parametrize(
    ("levels", "expected"), [(4, [99, 74, 49, 24]), (5, [99, 79, 59, 39, 19]), (1, [99])]
)
def test_severities_of_scoring_begin_with_the_mildest(levels: int, expected: list[int]) -> None:
    assert module.ENTRY(levels=levels).severities() == expected


def test_the_range_of_the_other_person_is_matched_in_the_region_by_hand() -> None:
    source = torch.tensor([[[[0.2, 0.4, 0.6, 1.0]]]])
    image = torch.tensor([[[[0.3, 0.4, 0.5, 0.0]]]])
    region = torch.tensor([[[[True, True, True, False]]]])
    found = anomalies.match_range(source, image, region)
    assert found.flatten().tolist() == pytest.approx([0.3, 0.4, 0.5, 0.7])
    assert anomalies.match_range(torch.full_like(source, 0.7), image, region).isfinite().all()  # no range


def test_every_class_of_intensity_is_shifted_alike() -> None:
    torch.manual_seed(0)
    image = torch.tensor([0.0, 0.1, 0.19, 0.21, 0.5, 0.95]).view(1, 1, 1, 6).expand(40, 1, 1, 6)
    shifts = anomalies.shift_classes(image, CENTRES.expand(40, -1)).view(40, 6)
    assert torch.equal(shifts[:, 0], shifts[:, 1])
    assert torch.equal(shifts[:, 1], shifts[:, 2])
    assert (shifts[:, 2] != shifts[:, 3]).all()
    assert len(shifts[:, 4].unique()) == 40
    assert 0.5 < shifts.abs().max() <= 0.6


@pytest.mark.parametrize("kind", ["dag", "fpi"])
def test_a_healthy_slice_is_unchanged_outside_the_mask_to_the_bit(kind: str) -> None:
    torch.manual_seed(0)
    brain = disc(32)
    image, foreign = torch.rand(2, 32, 1, 48, 48) * brain
    corrupted, t = anomalies.corrupt(image, brain, foreign, CENTRES.expand(32, -1), kind, 24)
    changed = corrupted != image
    assert not changed[~brain].any()
    for axis in (2, 3):  # within a region of at most the size
        extent = [int(c.nonzero().max() - c.nonzero().min()) for c in changed.any(axis).flatten(1) if c.any()]
        assert max(extent) <= 24
    assert changed.flatten(1).any(1).float().mean() > 0.8
    assert corrupted.min() >= 0
    assert corrupted.max() <= 1
    assert t.min() >= 0
    assert t.max() <= 99
    assert len(t.unique()) > 10


def test_the_corruption_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    image, foreign = torch.full((2, 1, 8, 8), 0.5), torch.rand(2, 1, 8, 8)
    half = torch.zeros_like(image)
    half[..., :4] = 1
    monkeypatch.setattr(anomalies, "boxes", lambda *_: half)
    monkeypatch.setattr(anomalies, "blobs", lambda *_: half)
    monkeypatch.setattr(anomalies, "match_range", lambda *_: torch.full_like(image, 0.9))
    monkeypatch.setattr(anomalies, "shift_classes", lambda image, _: torch.full_like(image, -0.2))
    shares = iter([0.25, 0.73])
    monkeypatch.setattr(anomalies, "uniform", lambda low, high, like: torch.full((2, 1, 1, 1), next(shares)))
    changed, t = anomalies.corrupt(image, image > 0, foreign, CENTRES.expand(2, -1), "dag", 4)
    assert changed[..., 4:].unique().tolist() == [0.5]
    assert changed[..., :4].unique().tolist() == pytest.approx([0.5 + 0.25 * 0.4 - 0.73 * 0.2])
    assert t.tolist() == [24, 24]  # of the stronger one
    shares = iter([0.25])
    changed, t = anomalies.corrupt(image, image > 0, foreign, CENTRES.expand(2, -1), "fpi", 4)
    assert changed[..., :4].unique().tolist() == pytest.approx([0.6])
    assert t.tolist() == [51, 51]  # s(51) = .247


def test_classes_are_found_in_the_healthy_scans_of_each_contrast(toy: Toy) -> None:
    train = Volumes(toy(range(3), True), G48)
    centres = module.find_classes(train, 0)
    assert set(centres) == set(train.contrasts)
    (found,) = centres.values()
    values = np.concatenate([train[k].image[train[k].brain[None]] for k in range(3)])
    assert len(found) == 5
    assert (np.diff(found) > 0).all()
    assert values.min() < found[0]
    assert found[-1] < values.max()
    np.testing.assert_array_equal(module.find_classes(train, 0)[train.contrasts[0]], found)


@pytest.mark.parametrize("shapes", ["boxes", "blobs"])
def test_masks_lie_in_the_brain_within_the_size(shapes: str) -> None:
    torch.manual_seed(0)
    brain = disc(500)
    masks = getattr(anomalies, shapes)(brain, 16)
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
    masks = anomalies.boxes(torch.ones(50, 1, 48, 48, dtype=torch.bool), 16)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    rows, columns = masks.amax(3).sum(2), masks.amax(2).sum(2)
    assert torch.equal(masks.sum((2, 3)), rows * columns)


def test_blobs_are_fullest_at_their_centre_and_fade() -> None:
    torch.manual_seed(0)
    masks = anomalies.blobs(torch.ones(200, 1, 48, 48, dtype=torch.bool), 24)
    assert ((masks > 0) & (masks < 1)).flatten(1).any(1).float().mean() > 0.9
    assert masks.flatten(1).amax(1).median() == 1


def test_the_patch_of_another_person_is_of_the_same_height_and_contrast(toy: Toy) -> None:
    train, val = Volumes(toy(range(3), True), G48), Volumes(toy(range(5, 6), True), G48)
    which = np.array([(0, 20), (1, 24), (2, 18)] * 8)
    drawn = module.same_height(which, train, train)
    np.testing.assert_array_equal(drawn[:, 1], which[:, 1])
    assert (drawn[:, 0] != which[:, 0]).all()
    assert {tuple(pair) for pair in drawn} == {
        (k, p) for k, p in ((0, 24), (0, 18), (1, 20), (1, 18), (2, 20), (2, 24))
    }
    of_val = module.same_height(np.array([(0, 20)] * 30), val, train)  # validation borrows from training
    assert set(of_val[:, 0]) == {0, 1, 2}


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
    network = module.Restorer(8, "1-2-4-4", 1, 0).eval()
    for rows, columns in ((48, 56), (37, 50)):
        image = torch.rand(2, 1, rows, columns)
        assert torch.equal(network(image, torch.tensor([3, 90])), image)


def test_the_network_hears_the_severity_and_each_slice_stands_alone() -> None:
    torch.manual_seed(0)
    network = module.Restorer(8, "1-2-4-4", 1, 0).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    image = torch.rand(2, 1, 24, 24)
    with torch.no_grad():
        mild, severe = (network(image, torch.tensor([t, t])) for t in (10, 99))
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
    np.testing.assert_allclose(score.score_map, 0.0615 * volume.brain, atol=1e-6)  # .099, .074, ...
    expected = (volume.image - 0.0615) * volume.brain
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
    image = torch.full((2, 1, 8, 8), 0.5)
    batch = training.Batch(image, torch.ones_like(image, dtype=torch.bool), np.zeros((2, 2), np.int64))
    changed = image.clone()
    changed[..., :4] = 0.6
    monkeypatch.setattr(module, "corrupt", lambda *_: (changed, torch.tensor([3, 7])))
    monkeypatch.setattr(module, "cut_patches", lambda tensors, size: tensors)
    loss = module.ENTRY(augmented=False)._loss(lambda x, t: x, batch, image, CENTRES.expand(2, -1))
    assert loss.item() == pytest.approx(0.1**2 / 2)  # .1 on half of the pixels
