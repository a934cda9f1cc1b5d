"""Whole volumes: what training draws of them, in memory and from disk, and what they refuse."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import training
from uadbench.learning.checkpoint import Checkpoint
from uadbench.learning.training import Batch, Schedule
from uadbench.learning.whole import WholeReconstruction, WholeVolumes
from uadbench.methods import Context
from uadbench.system.environment import seed_everything
from uadbench.system.errors import UserError
from uadbench.testing.toys import cut_stack

Toy = Callable[..., list[Prepared]]
GRID = GRIDS["g48"]
SCHEDULE = Schedule(steps=6, batch=2, learning_rate=1e-2, validate_every=3)


@pytest.fixture
def volumes(toy: Toy) -> Volumes:
    return Volumes(toy(range(3), True), GRID)


def test_a_batch_is_the_volumes_as_they_are_decoded(volumes: Volumes) -> None:
    whole = WholeVolumes(volumes, "cpu")
    assert len(whole) == 3
    batch = whole.take(np.array([2, 0, 2]))
    assert batch.image.shape == batch.brain.shape == (3, 1, *GRID.shape)
    assert batch.which.tolist() == [[2], [0], [2]]
    for place, number in enumerate((2, 0, 2)):
        np.testing.assert_array_equal(batch.image[place].numpy(), volumes[number].image)
        np.testing.assert_array_equal(batch.brain[place, 0].numpy(), volumes[number].brain)


def test_every_volume_is_drawn_equally_often(volumes: Volumes, monkeypatch: pytest.MonkeyPatch) -> None:
    """3,000 draws of three: each 1,000 times, with a deviation of 26. How much brain it has plays no part."""
    whole = WholeVolumes(volumes, "cpu")
    monkeypatch.setattr(whole, "take", lambda index: index)
    drawn: Any = whole.draw(3000, torch.Generator().manual_seed(0))
    assert np.bincount(drawn) == pytest.approx([1000] * 3, abs=100)


def test_volumes_on_disk_are_drawn_as_those_in_memory(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = WholeVolumes(volumes, "cpu")
    monkeypatch.setattr("uadbench.learning.slices.MEMORY_LIMIT", 3 * 48 * 56 * 48 * 2 - 1)
    on_disk = WholeVolumes(volumes, "cpu")
    assert packed._codes is not None
    assert on_disk._codes is None, "two bytes a voxel, and one too few"
    here, there = (torch.Generator().manual_seed(1) for _ in range(2))
    for _ in range(3):
        one, other = packed.draw(2, here), on_disk.draw(2, there)
        np.testing.assert_array_equal(one.which, other.which)
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.brain, other.brain)


def test_stacks_of_slices_are_refused(toy: Toy) -> None:
    stacks = [cut_stack(scan, 9 + 2 * number) for number, scan in enumerate(toy(range(2), True))]
    with pytest.raises(UserError, match="needs 48 axial slices of each, got 9: slices without geometry"):
        WholeVolumes(Volumes(stacks, GRID), "cpu")


def test_training_without_volumes_is_refused() -> None:
    with pytest.raises(UserError, match="at least one volume"):
        WholeVolumes(Volumes([], GRID), "cpu")


# ---- training and scoring ------------------------------------------------------------------------


class Denoiser(WholeReconstruction):
    """A convolution that learns to remove noise."""

    steps, batch, learning_rate, validate_every = 6, 2, 1e-2, 3

    def build(self) -> nn.Module:
        return nn.Conv3d(1, 1, 3, padding=1)

    def training_loss(self, network: Any, batch: Batch) -> Tensor:
        noisy = batch.image + 0.1 * torch.randn_like(batch.image)
        return ((network(noisy) - batch.image) ** 2).mean()  # type: ignore[no-any-return]


def fit(toy: Toy, folder: Path) -> Any:
    seed_everything(0)
    train, val = (Volumes(toy(part, True), GRID) for part in (range(3), range(3, 4)))
    return Denoiser().fit(train, val, Context(folder=folder))


def test_a_resumed_fit_equals_an_uninterrupted_one_to_the_bit(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(toy, tmp_path / "whole").state()
    monkeypatch.setattr(Checkpoint, "due", lambda _: True)
    loss = Denoiser.training_loss
    seen = 0

    def interrupted(method: Any, network: Any, batch: Batch) -> Tensor:
        nonlocal seen
        seen += network.training
        if seen == 5:
            raise KeyboardInterrupt
        return loss(method, network, batch)

    monkeypatch.setattr(Denoiser, "training_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(toy, tmp_path / "parts")
    monkeypatch.setattr(Denoiser, "training_loss", loss)
    np.testing.assert_equal(fit(toy, tmp_path / "parts").state(), whole)


def test_a_volume_is_answered_in_one_piece_and_alone(volumes: Volumes) -> None:
    method, asked = Denoiser(), []

    def network(part: Tensor) -> Tensor:
        asked.append(tuple(part.shape))
        return part.amax((2, 3, 4), keepdim=True).expand_as(part)

    method.network_, method.device_ = network, "cpu"
    volume: Volume = volumes[0]
    two = replace(volume, image=np.concatenate([volume.image, 0.5 * volume.image]), contrasts=("T1", "T2"))
    answer = method.reconstruct(two)
    assert asked == [(1, 1, *GRID.shape)] * 2
    highest = volume.image.max()
    np.testing.assert_allclose(answer, np.stack([highest * volume.brain, 0.5 * highest * volume.brain]))


def test_networks_of_three_dimensions_are_trained_channels_last(volumes: Volumes, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 1, 3, padding=1))
    laid: list[bool] = []

    def loss(network: Any, batch: Batch) -> Tensor:
        answer: Tensor = network(batch.image)
        laid.append(network[0](batch.image).is_contiguous(memory_format=torch.channels_last_3d))
        return (answer - batch.image).square().mean()

    whole = WholeVolumes(volumes, "cpu")
    none = Volumes([], GRID)
    training.train(network, loss, whole, none, Context(folder=tmp_path), replace(SCHEDULE, steps=1))
    assert laid == [True]
