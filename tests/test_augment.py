"""Augmentation: slices stay slices, brains go along, and each kind does what it says."""

import math

import pytest
import torch
from torch import Tensor

from uadbench.learning import augment


def ellipse(count: int, rows: int = 60, columns: int = 48) -> tuple[Tensor, Tensor]:
    """Slices that brighten from left to right inside an ellipse, and the ellipse."""
    down = (torch.arange(rows) - (rows - 1) / 2)[:, None] / (0.3 * rows)
    right = (torch.arange(columns) - (columns - 1) / 2) / (0.4 * columns)
    brain = (down**2 + right**2 < 1).expand(count, 1, rows, columns)
    image = torch.linspace(0.2, 0.8, columns).expand(count, 1, rows, columns) * brain
    return image, brain


def always(monkeypatch: pytest.MonkeyPatch, **chances: float) -> None:
    """Change every slice in some ways and none in the others."""
    for name in ("GEOMETRIC", "PHOTOMETRIC"):
        monkeypatch.setattr(augment, name, chances.get(name, 0.0))


def test_slices_stay_in_range_and_dark_outside_the_brain() -> None:
    torch.manual_seed(0)
    image, brain = augment.augment(*ellipse(200))
    assert image.shape == (200, 1, 60, 48)
    assert brain.dtype == torch.bool
    assert image.min() >= 0
    assert image.max() <= 1
    assert not image[~brain].any()
    before = ellipse(200)[0]
    same = [
        torch.equal(one, old) or torch.equal(one, old.flip(2)) for one, old in zip(image, before, strict=True)
    ]
    assert 5 < sum(same) < 100  # a quarter of the photometric kinds, and half of the slices are mirrored


def test_without_luck_a_slice_is_mirrored_or_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    always(monkeypatch)
    torch.manual_seed(0)
    image, brain = augment.augment(*ellipse(100))
    old, old_brain = ellipse(1)
    kinds = [
        next(k for k, axes in enumerate([(), (1,), (2,), (1, 2)]) if torch.equal(one, old[0].flip(axes)))
        for one in image
    ]
    assert len(set(kinds)) >= 2  # front and back are alike here
    assert torch.equal(brain, old_brain.expand(100, -1, -1, -1))


@pytest.mark.parametrize("degrees", [0, 15, -10])
def test_a_turn_keeps_shape_and_area(degrees: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, columns = 80, 50  # pixels are square: a disc stays a disc in a slice that is none
    down, right = torch.arange(rows)[:, None] - 39.5, torch.arange(columns) - 24.5
    brain = (down**2 + right**2 < 15**2)[None, None]
    bar = ((down.abs() < 12) & (right.abs() < 3))[None, None]
    monkeypatch.setattr(augment, "chosen", lambda chance, like: torch.tensor([[[[True]]]]))
    turn = degrees * math.pi / 180
    draws = iter([turn / (math.pi * augment.TURN_DEGREES / 180), 1.0])
    monkeypatch.setattr(augment, "uniform", lambda low, high, like: torch.full((1, 1, 1, 1), next(draws)))
    monkeypatch.setattr(augment, "BEND", 0.0)
    image, covered = augment.deform(bar.float(), brain)
    assert (covered != brain).sum() <= 0.05 * brain.sum()  # pixels of the rim
    assert image.sum().item() == pytest.approx(bar.sum().item(), rel=0.02)
    far = torch.stack(torch.meshgrid(down[:, 0], right, indexing="ij"))
    moment = (image[0, 0] * far[0] * far[1]).sum() / (image[0, 0] * (far[0] ** 2 - far[1] ** 2)).sum()
    assert math.degrees(0.5 * math.atan(2 * float(moment))) == pytest.approx(degrees, abs=1.0)


def test_scales_enlarge_and_shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    image, brain = ellipse(2)
    monkeypatch.setattr(augment, "chosen", lambda chance, like: torch.ones(2, 1, 1, 1, dtype=torch.bool))
    draws = iter([torch.zeros(1), torch.tensor([0.75, 1.25]).view(2, 1, 1, 1)])
    monkeypatch.setattr(augment, "uniform", lambda low, high, like: torch.zeros(2, 1, 1, 1) + next(draws))
    monkeypatch.setattr(augment, "BEND", 0.0)
    _, covered = augment.deform(image, brain)
    areas = covered.sum((1, 2, 3)) / brain.sum((1, 2, 3))
    assert areas.tolist() == pytest.approx([0.75**2, 1.25**2], rel=0.03)


def test_a_blur_keeps_the_mean_and_smooths() -> None:
    torch.manual_seed(0)
    image = torch.zeros(3, 1, 40, 40)
    image[..., 20, 20] = 1
    found = augment.blurred(image)
    torch.testing.assert_close(found.sum((1, 2, 3)), torch.ones(3))
    assert (found.amax((1, 2, 3)) < 0.9).all()
    torch.testing.assert_close(found, found.mT)
