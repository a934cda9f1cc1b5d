"""DDPM: the loss, one step against a chain, and what the score depends on."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from uadbench import methods
from uadbench.cards import method_card
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import diffusion
from uadbench.learning.noise import NOISES
from uadbench.learning.training import Batch
from uadbench.methods import Context

module: Any = importlib.import_module(methods.load("ddpm").__module__)
Toy = Callable[..., list[Prepared]]


def untrained(name: str = "ddpm", **settings: Any) -> Any:
    """A method whose network says something, if nothing sensible."""
    method: Any = methods.load(name)(**dict(method_card(name).smoke) | settings)
    torch.manual_seed(0)
    method.network_, method.device_, method.noise_ = method.build().eval(), "cpu", method.make_noise()
    for parameter in method.network_.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return method


def test_both_rows_share_the_fit() -> None:
    chain, one_step = (methods.build(name, "paper") for name in ("ddpm", "ddpm_onestep"))
    assert methods.parameters(chain, "fit") == methods.parameters(one_step, "fit")
    assert (one_step.start, one_step.evaluations) == (500, 1)  # type: ignore[attr-defined]
    assert (chain.start, chain.evaluations, chain.eta) == (481, 50, 0.0)  # type: ignore[attr-defined]


def test_the_loss_is_the_mean_absolute_error_of_the_predicted_image() -> None:
    method = untrained()
    image = torch.full((2, 1, 48, 56), 0.75)  # 0.5 in [-1, 1]
    batch = Batch(image, image > 0, np.zeros((2, 2), np.int64))

    def network(noisy: Tensor, level: Tensor) -> Tensor:
        return torch.full_like(noisy, 0.2)

    assert method.training_loss(network, batch).item() == pytest.approx(0.3)


def test_the_network_is_shown_the_image_at_a_random_level_of_the_cosine_schedule() -> None:
    method = untrained()
    method.noise_.draw = lambda count, device: torch.ones(count, 1, 48, 56)
    image = torch.zeros(64, 1, 48, 56)  # background: -1
    seen = []

    def network(noisy: Tensor, level: Tensor) -> Tensor:
        share = diffusion.cosine()[level].view(-1, 1, 1, 1)
        torch.testing.assert_close(noisy, ((1 - share).sqrt() - share.sqrt()).expand_as(noisy))
        seen.extend(level.tolist())
        return noisy

    method.training_loss(network, Batch(image, image > 0, np.zeros((64, 2), np.int64)))
    assert len(set(seen)) > 50
    assert min(seen) < 100
    assert max(seen) > 900


def test_one_step_is_the_answer_of_a_single_pass(volume: Volume) -> None:
    """Behrendt 2023: no chain."""
    method = untrained("ddpm_onestep")
    calls = []

    def network(noisy: Tensor, level: Tensor) -> Tensor:
        calls.append(level.tolist())
        return torch.full_like(noisy, 0.4)

    method.network_, method.score_batch = network, 1000
    restored = method.reconstruct(volume)
    assert [set(levels) for levels in calls] == [{500}]
    np.testing.assert_allclose(restored[0][volume.brain], 0.7, atol=1e-6)
    assert not restored[0][~volume.brain].any()


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("noise", NOISES)
def test_the_number_of_slices_at_once_does_not_change_the_scores(
    volume: Volume, eta: float, noise: str
) -> None:
    method = untrained(noise=noise, eta=eta)
    maps = []
    for count in (1, 7, 100):
        method.score_batch = count
        torch.manual_seed(5)
        maps.append(method.score(volume).score_map)
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-4)
    np.testing.assert_allclose(maps[2], maps[0], atol=1e-4)
    torch.manual_seed(6)
    assert np.abs(method.score(volume).score_map - maps[0]).max() > 1e-3, "drawn from the global generator"


def test_every_slice_of_a_volume_has_noise_of_its_own(volume: Volume) -> None:
    """In a volume of equal slices, no two come out the same (the published code shares the noise)."""
    same = replace(
        volume,
        image=np.repeat(volume.image[..., 24:25], 48, axis=3),
        brain=np.repeat(volume.brain[..., 24:25], 48, axis=2),
    )
    for noise in NOISES:
        restored = untrained("ddpm_onestep", noise=noise).reconstruct(same)[0]
        slices = restored.transpose(2, 0, 1).reshape(48, -1)
        distances = np.abs(slices[:, None] - slices[None]).max(-1) + np.eye(48)
        assert distances.min() > 1e-4


def test_scoring_with_a_loaded_state_makes_the_same_noise(volume: Volume) -> None:
    method = untrained(noise="simplex")
    loaded = methods.load("ddpm")(**methods.parameters(method)).load_state(method.state(), Context())
    maps = []
    for each in (method, loaded):
        torch.manual_seed(2)
        maps.append(each.score(volume).score_map)
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-5)


def test_a_training_that_was_cut_goes_on_to_the_same_weights(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, val = (Volumes(toy(numbers, True), GRIDS["g48"]) for numbers in (range(2), range(2, 3)))
    settings: dict[str, Any] = dict(method_card("ddpm").smoke) | {
        "steps": 4,
        "batch": 4,
        "validate_every": 2,
        "noise": "simplex",
    }

    def fit(folder: Path, cut: bool) -> Any:
        torch.manual_seed(3)
        method: Any = methods.load("ddpm")(**settings)
        if cut:
            usual, steps = module.DDPM.training_loss, []

            def loss(self: Any, network: Any, batch: Batch) -> Tensor:
                steps.extend([1] * network.training)
                if len(steps) > 3:
                    raise KeyboardInterrupt
                value: Tensor = usual(self, network, batch)
                return value

            monkeypatch.setattr(module.DDPM, "training_loss", loss)
            monkeypatch.setattr("uadbench.learning.checkpoint.Checkpoint.due", lambda _: True)
        try:
            return method.fit(train, val, Context(seed=3, folder=folder))
        finally:
            monkeypatch.undo()

    whole = fit(tmp_path / "whole", cut=False)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", cut=True)
    resumed = fit(tmp_path / "cut", cut=False)
    for key, array in whole.state().items():
        np.testing.assert_array_equal(resumed.state()[key], array)
