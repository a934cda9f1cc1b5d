"""f-AnoGAN: the game of Gulrajani 2017 and the encoder of Schlegl 2019, piece by piece."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from uadbench import methods
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volumes
from uadbench.learning import training
from uadbench.learning.history import History
from uadbench.methods import Context
from uadbench.system.environment import seed_everything

module: Any = importlib.import_module(methods.load("f_anogan").__module__)
Toy = Callable[..., list[Prepared]]
TINY: dict[str, Any] = {
    "grid": "g48", "width": 4, "latent_dim": 6, "steps": 4, "critic_steps": 2, "batch": 3,
    "encoder_steps": 4, "validate_every": 2,
}  # fmt: skip


# ---- critic and generator ------------------------------------------------------------------------


def test_the_critics_value_of_a_slice_does_not_depend_on_its_batch() -> None:
    """Gulrajani 2017, section 4: batch normalisation in the critic would void the penalty."""
    critic = module.Critic(48, 56, 4, 1).train()
    images = torch.rand(4, 1, 48, 64)
    alone = torch.cat([critic(image[None]) for image in images])
    torch.testing.assert_close(critic(images), alone)


def test_the_losses_are_those_of_the_game() -> None:
    """Critic: made - real + weight * penalty; generator: - made (Gulrajani 2017, algorithm 1)."""
    linear = nn.Linear(16, 1, bias=False)
    nn.init.constant_(linear.weight, 0.5)  # penalty (2 - 1)^2 = 1
    critic = nn.Sequential(nn.Flatten(), linear)
    generator = nn.Sequential(nn.Linear(3, 16), nn.Unflatten(1, (1, 2, 8)))
    game = module.Game(generator, critic, latent_dim=3, penalty=10.0)
    real, fake = torch.full((4, 1, 2, 8), 0.5), torch.full((4, 1, 2, 8), -0.25)
    assert game.distance(real, fake).item() == pytest.approx(8 * 0.75)
    assert game.critic_loss(real, fake).item() == pytest.approx(10.0 - 8 * 0.75)
    torch.manual_seed(0)
    made = game.make(5)
    torch.manual_seed(0)
    assert made.shape == (5, 1, 2, 8)
    assert game.generator_loss(5).item() == pytest.approx(-critic(made).mean().item())


def test_a_step_of_one_player_leaves_the_other_alone() -> None:
    generator, critic = module.Generator(16, 16, 2, 3), module.Critic(16, 16, 2, 1)
    game = module.Game(generator, critic, 3, 10.0)
    before = {key: value.clone() for key, value in critic.state_dict().items()}
    module.minimise(game.generator_loss(4), generator, torch.optim.Adam(generator.parameters(), 0.1))
    assert all(torch.equal(value, before[key]) for key, value in critic.state_dict().items())
    assert all(parameter.grad is None for parameter in critic.parameters())


@pytest.mark.parametrize("grid", GRIDS)
def test_the_generator_makes_slices_of_every_grid_in_the_range_of_real_ones(grid: str) -> None:
    rows, columns, _ = GRIDS[grid].shape
    network = module.Reconstructor(rows, columns, 2, 4).eval()
    real = module.to_range(torch.rand(2, 1, rows, columns))
    made = network.generator(10 * torch.randn(2, 4))
    assert made.shape == real.shape
    assert made.abs().max() <= 1
    assert real.amin() >= -1
    assert real.amax() <= 1
    assert network(torch.rand(2, 1, rows, columns)).shape == (2, 1, rows, columns)


def test_the_range_is_minus_1_to_1_end_to_end_with_padding_as_background() -> None:
    image = torch.tensor([0.0, 0.5, 1.0]).repeat(3, 1)[None, None]  # (1, 1, 3, 3)
    padded = module.to_range(image)
    assert padded.shape == (1, 1, 16, 16)
    assert padded[0, 0, 0, :4].tolist() == [-1, 0, 1, -1]
    network = module.Reconstructor(16, 16, 2, 3).eval()
    nn.init.constant_(network.generator.layers[-2].bias, -30.0)  # the tanh's lower end
    assert network(torch.rand(1, 1, 16, 16)).abs().max() < 1e-6  # is background


def test_at_128_pixels_the_lowest_resolution_is_8_by_8_and_the_critic_mirrors_the_generator() -> None:
    """Baur 2021's architecture: four halvings, filters 32, 64, 128, 128."""
    generator, critic = module.Generator(128, 128, 32, 128), module.Critic(128, 128, 32, 1)
    assert generator.layers[1](generator.layers[0](torch.zeros(1, 128))).shape == (1, 128, 8, 8)
    assert critic.features[:-1](torch.zeros(1, 1, 128, 128)).shape == (1, 128, 8, 8)
    assert [block[0].out_channels for block in critic.features[:-1]] == [32, 64, 128, 128]


def test_the_number_of_weights_is_that_of_the_layers() -> None:
    width, latent, low = 4, 6, 16 * 3 * 4
    filters = [1, 4, 8, 16, 16]
    critic = sum(25 * a * b + b for a, b in pairwise(filters))
    critic += sum(2 * b for b in filters[2:]) + low + 1
    up = [16, 16, 16, 8, 4]
    generator = latent * low + low + 2 * 16 + sum(9 * a * b + 3 * b for a, b in pairwise(up))
    generator += 9 * width + 1
    assert sum(p.numel() for p in module.Critic(48, 56, width, 1).parameters()) == critic
    assert sum(p.numel() for p in module.Generator(48, 56, width, latent).parameters()) == generator


# ---- the encoder (Schlegl 2019, section 3.2) -------------------------------------------------------


def test_the_encoders_loss_by_hand() -> None:
    """Per pixel .5^2, per feature (2 * .5)^2: the critic's features are twice the image here."""

    class Twice(nn.Module):
        def features(self, image: torch.Tensor) -> torch.Tensor:
            return 2 * image.flatten(1)

    image, restored = torch.zeros(3, 1, 4, 4), torch.full((3, 1, 4, 4), 0.5)
    assert module.izi_f_loss(Twice(), image, restored, 0.0).item() == pytest.approx(0.25)
    assert module.izi_f_loss(Twice(), image, restored, 1.0).item() == pytest.approx(1.25)
    assert module.izi_f_loss(Twice(), image, restored, 0.1).item() == pytest.approx(0.35)


def test_the_code_is_a_tanh() -> None:
    network = module.Reconstructor(16, 16, 2, 3).eval()
    seen = []
    network.generator.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    nn.init.constant_(network.encoder.value.bias, 50.0)
    network(torch.rand(2, 1, 16, 16))
    assert torch.equal(seen[0], torch.ones(2, 3))


# ---- two trainings of one fit ----------------------------------------------------------------------


@pytest.fixture
def volumes(toy: Toy) -> tuple[Volumes, Volumes]:
    grid = GRIDS["g48"]
    return Volumes(toy(range(3), True), grid), Volumes(toy(range(10, 11), True), grid)


def fit(volumes: tuple[Volumes, Volumes], folder: Path, **settings: Any) -> Any:
    """A fit as the harness starts it: seeds first."""
    seed_everything(7)
    return methods.load("f_anogan")(**(TINY | settings)).fit(*volumes, Context(seed=7, folder=folder))


def test_generator_and_critic_are_frozen_while_the_encoder_learns(
    volumes: tuple[Volumes, Volumes], tmp_path: Path
) -> None:
    short, long = (fit(volumes, tmp_path / str(n), encoder_steps=n).state() for n in (0, 4))
    for key, value in short.items():  # running statistics of the generator's normalisation too
        if key.startswith("generator."):
            np.testing.assert_array_equal(long[key], value)
    assert not np.array_equal(long["encoder.value.weight"], short["encoder.value.weight"])
    assert not any(key.startswith("critic") for key in long)


@pytest.mark.parametrize(("name", "stop"), [("gan", 1), ("gan", 3), ("encoder", 2)])
def test_an_interrupted_fit_ends_with_the_weights_of_an_unbroken_one(
    volumes: tuple[Volumes, Volumes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, stop: int
) -> None:
    unbroken = fit(volumes, tmp_path / "unbroken").state()
    original = training.loop

    def always_saving(*arguments: Any, interrupt: bool = False) -> History:
        """The loop with a checkpoint after each step, and an interruption in one step of one training."""
        update, parts, kept, validate, slices, context, schedule, title = arguments

        def interrupted(batch: training.Batch, step: int) -> torch.Tensor:
            if interrupt and title == name and step == stop:
                raise KeyboardInterrupt
            return update(batch, step)  # type: ignore[no-any-return]

        saving = replace(schedule, checkpoint_s=0.0)
        return original(interrupted, parts, kept, validate, slices, context, saving, title)

    monkeypatch.setattr(training, "loop", lambda *a: always_saving(*a, interrupt=True))
    with pytest.raises(KeyboardInterrupt):
        fit(volumes, tmp_path / "broken")
    monkeypatch.setattr(training, "loop", always_saving)
    np.testing.assert_equal(fit(volumes, tmp_path / "broken").state(), unbroken)


def test_the_critic_gets_its_steps_with_slices_of_their_own(
    volumes: tuple[Volumes, Volumes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    loss = module.Game.critic_loss

    def watched(game: Any, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        seen.append(real)
        return loss(game, real, fake)  # type: ignore[no-any-return]

    monkeypatch.setattr(module.Game, "critic_loss", watched)
    fit(volumes, tmp_path, steps=1, critic_steps=5, encoder_steps=0)
    assert [len(real) for real in seen] == [3] * 5
    assert not torch.equal(seen[0], seen[1])
