"""IterMask2: what is left of low frequencies, the masks, how they shrink, and the threshold of that."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from uadbench import methods
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volumes
from uadbench.learning import training
from uadbench.methods import Context
from uadbench.system.errors import UserError

module: Any = importlib.import_module(methods.load("itermask2").__module__)
masks: Any = importlib.import_module("uadbench.methods.itermask2.masks")
Toy = Callable[..., list[Prepared]]
G48 = GRIDS["g48"]


class Answers(torch.nn.Module):
    """A network that makes the given squared errors, one row of them a call, and notes what it saw."""

    def __init__(self, image: torch.Tensor, errors: list[torch.Tensor]) -> None:
        super().__init__()
        self.image, self.errors, self.seen = image, errors, list[torch.Tensor]()

    def forward(self, shown: torch.Tensor) -> torch.Tensor:
        self.seen.append(shown)
        return self.image[: len(shown)] + self.errors[len(self.seen) - 1].sqrt()


def row(*values: float) -> torch.Tensor:
    """Values as a slice of one row, (1, 1, 1, n)."""
    return torch.tensor(values).view(1, 1, 1, -1)


def prepared_method(image: torch.Tensor, first: torch.Tensor, errors: list[torch.Tensor]) -> Any:
    """A method with networks of known errors and a threshold of .5."""
    method: Any = module.IterMask2()
    inpaint = Answers(image, errors)
    method.network_ = {"first": Answers(image, [first]), "inpaint": inpaint}
    method.threshold_, method.device_ = 0.5, "cpu"
    return method


# What the networks see.


def test_low_frequencies_keep_their_phase_alone_by_hand() -> None:
    """Of 8 pixels: mean 2, one period of amplitude 3 and phase .7, three of amplitude 5; radius 2."""
    angle = 2 * torch.pi * torch.arange(8) / 8
    fine = 5 * (3 * angle).cos()
    image = 2 + 3 * (angle + 0.7).cos() + fine
    expected = 1 / 8 + 2 / 8 * (angle + 0.7).cos() + fine  # amplitudes of 1 in a spectrum of 8 numbers
    found = module.high_frequencies(image.view(1, 1, 1, 8), 2.0)
    np.testing.assert_allclose(found.flatten(), expected, atol=1e-5)


def test_the_spectrum_is_flat_within_the_radius_and_kept_beyond() -> None:
    image = torch.rand(2, 1, 12, 16, generator=torch.Generator().manual_seed(0))
    before, after = torch.fft.fft2(image), torch.fft.fft2(module.high_frequencies(image, 3.0))
    k = [np.minimum(np.arange(n), n - np.arange(n)) for n in (12, 16)]
    low = torch.from_numpy(np.hypot(k[0][:, None], k[1]) < 3).expand(2, 1, 12, 16)
    torch.testing.assert_close(after[~low], before[~low], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after[low].abs(), torch.ones(int(low.sum())), atol=1e-4, rtol=0)
    turned = (after * before.conj()).angle()
    assert turned.abs().max() < 1e-3


def test_what_is_inpainted_has_noise_in_the_mask_alone() -> None:
    torch.manual_seed(0)
    image, method = torch.full((1, 1, 40, 40), 2.5), module.IterMask2(radius=1.0)
    mask = torch.zeros(1, 1, 40, 40, dtype=torch.bool)
    mask[..., :20] = True
    shown = method.hide(image, mask)
    assert torch.equal(shown[:, :1][~mask], image[~mask])
    noise = shown[:, :1][mask]
    assert noise.mean().item() == pytest.approx(0, abs=0.15)
    assert noise.std().item() == pytest.approx(1, abs=0.1)
    torch.testing.assert_close(shown[:, 1:], module.high_frequencies(image, 1.0))


# Masks.


def test_blocks_by_hand() -> None:
    """Sides of 3 and 2 around row 1, column 3; an unwanted centre and one outside leave nothing."""
    rows, columns = torch.tensor([[1, 3, -1]]), torch.tensor([[3, 1, 2]])
    wanted = torch.tensor([[True, False, True]])
    like = torch.zeros(1, 1, 5, 6)
    three, two = (masks.blocks(rows, columns, wanted, like, side)[0, 0].int().tolist() for side in (3, 2))
    assert three == [[0, 0, 1, 1, 1, 0]] * 3 + [[0] * 6] * 2
    assert two == [[0] * 6, [0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 0], [0] * 6, [0] * 6]


def test_random_masks_lie_in_the_brain_and_differ() -> None:
    torch.manual_seed(0)
    brain = torch.zeros(60, 1, 48, 56, dtype=torch.bool)
    brain[..., 8:40, 10:46] = True
    found = masks.draw_masks(brain, 2)
    assert not found[~brain].any()
    shares = found.flatten(1).sum(1) / brain.flatten(1).sum(1)
    assert shares.min() > 0
    assert shares.std() > 0.05
    assert 0.1 < shares.mean() < 0.7
    assert found.float().mean(0)[brain[0]].min() > 0  # anywhere in the brain
    assert not masks.draw_masks(torch.zeros_like(brain), 2).any()


def test_the_worst_share_of_a_brain_by_hand() -> None:
    """Half of six pixels of brain are three; the largest error of all is outside."""
    error = row(9, 1, 5, 2, 4, 3, 0)
    brain = row(0, 1, 1, 1, 1, 1, 1) > 0
    assert module.worst(error, brain, 0.5).flatten().int().tolist() == [0, 0, 1, 0, 1, 1, 0]
    assert torch.equal(module.worst(error, brain, 1.0), brain)
    assert module.worst(torch.zeros_like(error), brain, 0.5).sum() == 3  # ties: the first ones


# How masks shrink.


def test_the_mask_shrinks_by_hand() -> None:
    """Of 10 pixels the worst 6; above .5 are 4 of them, then 2, then the same 2: the last mask."""
    image = row(*np.linspace(-3, 3, 10))
    first = row(9, 8, 7, 6, 5, 4, 0, 0, 0, 0)
    errors = [
        row(0.9, 0.9, 0.4, 0.8, 0.7, 0.1, 9, 9, 9, 9),
        row(0.9, 0.2, 0.9, 0.7, 0.3, 0.1, 9, 9, 9, 9),
        row(0.8, 0.1, 0.9, 0.6, 0.9, 0.1, 9, 9, 9, 9),
    ]
    method = prepared_method(image, first, errors)
    torch.manual_seed(0)
    score, restored = method.shrink(image, image > -9)
    np.testing.assert_allclose(score.flatten(), [0.8, 0, 0, 0.6, 0, 0, 0, 0, 0, 0], rtol=1e-5)
    torch.testing.assert_close(restored, image + errors[2].sqrt())
    hidden = [(one[:, :1] != image).flatten().int().tolist() for one in method.network_["inpaint"].seen]
    assert hidden == [[1] * 6 + [0] * 4, [1, 1, 0, 1, 1] + [0] * 5, [1, 0, 0, 1] + [0] * 6]


def test_each_slice_stops_for_itself() -> None:
    """The first slice's mask keeps all of its pixels at once, the second's loses them all in two rounds."""
    image = torch.zeros(2, 1, 1, 5)
    first = torch.cat([row(5, 4, 3, 0, 0), row(5, 4, 3, 0, 0)])
    errors = [torch.cat([row(1, 1, 1, 0, 0), row(1, 1, 0, 0, 0)]), row(0, 0, 0, 0, 0)]
    method = prepared_method(image, first, errors)
    score, _ = method.shrink(image, image > -1)
    assert score[:, 0, 0].tolist() == [[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert [len(one) for one in method.network_["inpaint"].seen] == [2, 1]


def test_a_loss_of_less_than_the_least_share_is_the_last() -> None:
    """From 6 to 5 pixels is a loss of a sixth."""
    image, first = torch.zeros(1, 1, 1, 10), row(9, 8, 7, 6, 5, 4, 0, 0, 0, 0)
    for least, rounds in ((0.2, 1), (0.1, 2)):
        errors = [row(1, 1, 1, 1, 1, 0, 0, 0, 0, 0)] * 2
        method = prepared_method(image, first, errors)
        method.least = least
        method.shrink(image, image > -1)
        assert len(method.network_["inpaint"].seen) == rounds


# The threshold.


def test_the_threshold_is_the_percentile_of_masked_errors_of_healthy_validation(toy: Toy) -> None:
    """Networks that answer 0 and 1: squared errors of x in the first mask, of x - 1 for the percentile."""
    val = Volumes(toy(range(5, 7), True), G48)
    method: Any = module.IterMask2(percentile=80.0, batch=7)
    method.network_ = {"first": lambda x: 0 * x[:, :1], "inpaint": lambda x: 0 * x[:, :1] + 1}
    slices = training.Slices(val, "cpu")
    errors = []
    for image, brain in zip(*val.read_slices(slices.which), strict=True):
        x = 6 * image[0] - 3
        inside = np.sort(x[brain] ** 2)
        worst = inside[-round(0.6 * len(inside)) :]
        errors.append((x[brain & (x**2 >= worst[0])] - 1) ** 2)
    assert method.find_threshold(slices) == pytest.approx(np.percentile(np.concatenate(errors), 80), rel=0.02)


def test_the_threshold_is_part_of_the_fit(toy: Toy, tmp_path: Path) -> None:
    train, val = Volumes(toy(range(2), True), G48), Volumes(toy(range(5, 6), True), G48)
    method: Any = methods.build("itermask2", "ci", {"steps": "1", "validate_every": "1"})
    torch.manual_seed(0)
    method.fit(train, val, Context(folder=tmp_path))
    assert method.state()["threshold"].tolist() == [method.threshold_]
    assert method.threshold_ > 0
    loaded: Any = methods.build("itermask2", "ci").load_state(method.state(), Context())
    assert loaded.threshold_ == method.threshold_


def test_without_healthy_validation_there_is_no_threshold(toy: Toy) -> None:
    train = Volumes(toy(range(2), True), G48)
    with pytest.raises(UserError, match="validation"):
        module.IterMask2(grid="g48").fit(train, Volumes([], G48), Context())


def test_losses_by_hand() -> None:
    """Networks that answer 1 for slices of .5, which is 0 within: the squared error is 1 everywhere."""
    image = torch.full((2, 1, 8, 8), 0.5)
    batch = training.Batch(image, image > 0, np.zeros((2, 2), np.int64))
    method: Any = module.IterMask2(radius=2.0)
    assert method.first_loss(lambda x: torch.ones_like(x), batch).item() == pytest.approx(1)
    assert method.inpaint_loss(lambda x: torch.ones_like(x[:, :1]), batch).item() == pytest.approx(1)


def test_the_score_is_0_outside_the_last_mask(toy: Toy) -> None:
    volume = Volumes(toy(range(1), healthy=False), G48)[0]
    method: Any = methods.build("itermask2", "ci")
    torch.manual_seed(0)
    method.network_, method.device_, method.threshold_ = method.build().eval(), "cpu", 4.0
    score = method.score(volume)
    inside = score.score_map > 0
    assert 0 < inside.sum() < 0.6 * volume.brain.sum()
    assert (score.score_map[inside] > 4).all()
    assert score.pseudo_healthy.shape == volume.image.shape
