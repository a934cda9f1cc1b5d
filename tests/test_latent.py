"""Latents: the auto-encoder's loss, shapes and scale, and the two trainings of a fit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from uadbench import methods
from uadbench.cards import method_card
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volumes
from uadbench.learning import autoencoder_kl, training
from uadbench.learning.history import History
from uadbench.methods import Context

Toy = Callable[..., list[Prepared]]
AUTOENCODER: dict[str, Any] = {
    "grid": "g48", "autoencoder_width": 8, "autoencoder_multiples": "1", "autoencoder_blocks": 1,
    "autoencoder_fold": 4, "autoencoder_steps": 4, "autoencoder_batch": 2,
}  # fmt: skip
TINY: dict[str, Any] = AUTOENCODER | {
    "width": 8, "multiples": "1", "res_blocks": 1, "attention": 0, "head_channels": 8, "groups": 4,
    "steps": 4, "batch": 2, "validate_every": 3,
}  # fmt: skip
ROWS = ("reflect", "mad_ad", "ldm")


@pytest.fixture
def volumes(toy: Toy) -> tuple[Volumes, Volumes]:
    return tuple(Volumes(toy(numbers, True), GRIDS["g48"]) for numbers in (range(3), range(3, 5)))  # type: ignore[return-value]


def fit(name: str, volumes: tuple[Volumes, Volumes], folder: Path) -> Any:
    settings = TINY | ({"reflow_steps": 4} if name == "reflect" else {})
    settings |= {"levels": 2} if name == "ldm" else {}
    torch.manual_seed(7)
    np.random.seed(7)
    return methods.load(name)(**settings).fit(*volumes, Context(seed=7, folder=folder))


# ---- the auto-encoder -----------------------------------------------------------------------------


class Known(torch.nn.Module):
    """In the place of MONAI's network: known means and deviations, and a decoder that repeats pixels."""

    def encode(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full_like(image, 2.0), torch.full_like(image, 0.5)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        return latent


def test_the_loss_is_l1_and_kl_by_hand() -> None:
    """Mean 2 and deviation .5: KL = (4 + .25 - 1 - 2 log .5) / 2 of each of 6 latents, L1 = |2 - 1|."""
    autoencoder = autoencoder_kl.Autoencoder(4, "1", 1, 1, 2)
    autoencoder.network = Known()
    autoencoder.eval()
    image = torch.ones(3, 1, 2, 3)
    divergence = (4 + 0.25 - 1 - 2 * np.log(0.5)) / 2
    found = autoencoder_kl.autoencoder_loss(autoencoder, image, 0.1)
    assert float(found) == pytest.approx(1 + 0.1 * divergence * 6 / 6, rel=1e-6)

    torch.manual_seed(0)
    noise = torch.randn(3, 1, 2, 3)
    torch.manual_seed(0)
    drawn = autoencoder_kl.autoencoder_loss(autoencoder.train(), image, 0.0)
    torch.testing.assert_close(drawn, (2 + 0.5 * noise - 1).abs().mean(), rtol=1e-5, atol=0)


@pytest.mark.parametrize(("multiples", "fold", "factor"), [("1-2-2-2", 1, 8), ("1-1", 2, 4)])
def test_a_latent_stands_for_so_many_pixels_and_any_slice_comes_back(
    multiples: str, fold: int, factor: int
) -> None:
    autoencoder = autoencoder_kl.Autoencoder(8, multiples, 1, 4, 8, fold).eval()
    image = torch.rand(2, 1, 19, 33) * 2 - 1
    assert autoencoder.factor == factor
    assert autoencoder.encode(image).shape == (2, 4, -(-19 // factor), -(-33 // factor))
    assert autoencoder(image).shape == image.shape


def test_latents_are_scaled_to_a_deviation_of_one(volumes: tuple[Volumes, Volumes]) -> None:
    autoencoder = autoencoder_kl.Autoencoder(8, "1-1", 1, 4, 8, 2).eval().requires_grad_(False)
    slices = training.Slices(volumes[0], "cpu")
    before = autoencoder(2 * slices.take(slices.spread(4)).image - 1)
    autoencoder.set_scale(slices, 16)
    image = 2 * slices.take(slices.spread(training.VALIDATION_SLICES)).image - 1
    assert float(autoencoder.encode(image).std()) == pytest.approx(1, rel=1e-4)
    after = autoencoder(2 * slices.take(slices.spread(4)).image - 1)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=0)  # the decoder is given what it knows


def test_a_latent_is_in_the_brain_if_half_of_its_pixels_are() -> None:
    brain = torch.zeros(1, 1, 4, 5, dtype=torch.bool)
    brain[0, 0, :2, 0] = True  # half of a block of 2 x 2
    brain[0, 0, 3, 2] = True  # a quarter
    brain[0, 0, 2:, 4] = True  # half of a block that goes beyond the slice
    found = autoencoder_kl.latent_brain(brain, 2)
    assert found[0, 0].tolist() == [[True, False, False], [False, False, True]]


def test_a_gaussian_keeps_the_sum_and_has_its_deviation() -> None:
    maps = torch.zeros(1, 1, 41, 41)
    maps[0, 0, 20, 20] = 1
    assert autoencoder_kl.smoothed(maps, 0.0) is maps
    found = autoencoder_kl.smoothed(maps, 2.0)[0, 0].double()
    place = torch.arange(41, dtype=torch.float64) - 20
    assert float(found.sum()) == pytest.approx(1, abs=1e-6)
    assert float((found.sum(1) * place**2).sum()) == pytest.approx(4, rel=0.01)
    assert float(found[20, 22] / found[20, 20]) == pytest.approx(np.exp(-0.5), rel=1e-5)


def test_groups_of_one_channel_which_would_hide_the_time_are_refused() -> None:
    def answers(groups: int) -> list[torch.Tensor]:
        method = methods.load("reflect")(**(TINY | {"groups": groups}))
        torch.manual_seed(0)
        network: Any = method.build_latent()  # type: ignore[attr-defined]
        for weights in network.parameters():
            weights.requires_grad_(False).add_(0.1 * torch.randn_like(weights))  # the last ones begin at 0
        latent = torch.randn(1, 4, 12, 14)
        return [network(latent, torch.tensor([time])) for time in (0, 999)]

    early, late = answers(8)
    torch.testing.assert_close(early, late, atol=1e-4, rtol=0)
    early, late = answers(4)
    assert float((early - late).abs().max()) > 0.01
    with pytest.raises(ValueError, match="two channels or more"):
        methods.load("reflect")(**(TINY | {"groups": 8})).check()
    methods.load("reflect")(**TINY).check()


# ---- two trainings --------------------------------------------------------------------------------


def test_rows_with_the_same_options_have_the_same_auto_encoder(
    volumes: tuple[Volumes, Volumes], tmp_path: Path
) -> None:
    states = [training.weights(fit(n, volumes, tmp_path / n).network_["autoencoder"]) for n in ROWS]
    for other in states[1:]:
        np.testing.assert_equal(other, states[0])


@pytest.mark.parametrize(
    ("name", "stage"), [("reflect", "autoencoder"), ("mad_ad", "latent"), ("reflect", "reflow")]
)
def test_an_interrupted_fit_goes_on_in_its_training_as_if_unbroken(
    name: str, stage: str, volumes: tuple[Volumes, Volumes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, stages = training.loop, list[str]()

    def broken(update: Any, *rest: Any) -> History:
        """The loop with a checkpoint after each step, and an interruption in the third of one training."""
        *before, schedule, title = rest

        def step(batch: training.Batch, number: int) -> torch.Tensor:
            if title == stage and number == 2:
                raise KeyboardInterrupt
            return update(batch, number)  # type: ignore[no-any-return]

        return loop(step, *[*before, replace(schedule, checkpoint_s=0), title])

    def watched(update: Any, *rest: Any) -> History:
        def step(batch: training.Batch, number: int) -> torch.Tensor:
            stages.append(f"{rest[-1]} {number}")
            return update(batch, number)  # type: ignore[no-any-return]

        return loop(step, *rest)

    unbroken = fit(name, volumes, tmp_path / "unbroken").state()
    with monkeypatch.context() as patch:
        patch.setattr(training, "loop", broken)
        with pytest.raises(KeyboardInterrupt):
            fit(name, volumes, tmp_path / "broken")
    monkeypatch.setattr(training, "loop", watched)
    resumed = fit(name, volumes, tmp_path / "broken").state()
    np.testing.assert_equal(resumed, unbroken)
    assert stages[:2] == [f"{stage} 2", f"{stage} 3"], "what was done is not done again"


def test_the_row_of_the_floor_shares_the_fit_and_leaves_latents_as_they_are(
    toy: Toy, volumes: tuple[Volumes, Volumes], tmp_path: Path
) -> None:
    method = fit("reflect", volumes, tmp_path)
    floor = type(method)(**TINY, reflow_steps=4, **method_card("autoencoder_kl").set)
    assert methods.parameters(floor, "fit") == methods.parameters(method, "fit")
    floor.load_state(method.state(), Context())
    volume = Volumes(toy([7], False), GRIDS["g48"])[0]
    autoencoder = method.network_["autoencoder"]

    def decoded(image: torch.Tensor) -> torch.Tensor:
        return (autoencoder(2 * image - 1) + 1) / 2  # type: ignore[no-any-return]

    wanted = training.reconstruct(decoded, volume, "cpu")
    np.testing.assert_allclose(
        floor.score(volume).score_map, np.abs(volume.image - wanted)[0] * volume.brain, atol=1e-5
    )
