"""THOR and AutoDDPM: heatmaps by hand, and both chains on toy denoisers."""

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
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import diffusion
from uadbench.learning.training import Batch
from uadbench.methods import Context

module: Any = importlib.import_module(methods.load("thor").__module__)
chains, heatmaps = module.chains, module.heatmaps
Toy = Callable[..., list[Prepared]]


def untrained(name: str = "thor", **settings: Any) -> Any:
    """A method whose network says something, if nothing sensible."""
    method: Any = methods.load(name)(**dict(method_card(name).smoke) | settings)
    torch.manual_seed(0)
    network = method.build()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return method.load_state(module.training.weights(network), Context())


def make_chain(see: Callable[[Tensor, int], Tensor], noise: float = 0.0, eta: float = 0.0) -> Any:
    """A chain whose network is a function, and whose noise is one number."""
    return chains.Chain(see, diffusion.linear(), eta, lambda: torch.full((1, 1, 4, 4), noise))


# ---- rows and training ----


def test_both_rows_share_the_fit() -> None:
    thor, autoddpm = (methods.build(name, "paper") for name in ("thor", "autoddpm"))
    assert methods.parameters(thor, "fit") == methods.parameters(autoddpm, "fit")
    assert (thor.inference, thor.start, thor.reach) == ("harmonise", 350, 6)  # type: ignore[attr-defined]
    assert (autoddpm.inference, autoddpm.start, autoddpm.reach) == ("stitch", 200, 1)  # type: ignore[attr-defined]
    assert thor.levels == [300, 150, 50]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("predicts", "loss"), [("noise", 0.8**2), ("image", 0.3**2)])
def test_the_loss_is_the_squared_error_of_what_is_predicted(predicts: str, loss: float) -> None:
    method = untrained(predicts=predicts)
    method.noise_.draw = lambda count, device: torch.ones(count, 1, 48, 56)
    image = torch.full((2, 1, 48, 56), 0.75)  # 0.5 in [-1, 1]
    batch = Batch(image, image > 0, np.zeros((2, 2), np.int64))
    found = method.training_loss(lambda noisy, level: torch.full_like(noisy, 0.2), batch)
    assert found.item() == pytest.approx(loss)


def test_what_is_predicted_leads_to_the_same_image() -> None:
    image, noise = torch.rand(1, 1, 4, 4) - 0.5, torch.randn(1, 1, 4, 4)
    noisy = diffusion.noised(image, noise, diffusion.linear()[200])
    for predicts, answer in (("noise", noise), ("image", image)):
        method = untrained(predicts=predicts)
        method.network_ = lambda noisy, level, answer=answer: answer
        torch.testing.assert_close(method.clean(noisy, 200), image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("levels", ["400-100", "300-300", "100-200"])
def test_levels_that_do_not_fall_are_refused(levels: str) -> None:
    kind: Any = methods.load("thor")
    with pytest.raises(ValueError, match="have to fall"):
        kind(harmonise_at=levels).check()
    kind(harmonise_at="300-150-50").check()
    kind(inference="stitch", start=200).check()  # which does not use them


# ---- heatmaps ----


def test_the_harmonic_mean_by_hand() -> None:
    maps = [torch.tensor([1.0, 0.5, 0.0]), torch.tensor([1.0, 0.25, 1.0]), torch.tensor([1.0, 1.0, 1.0])]
    expected = torch.tensor([1.0, 3 / (2 + 4 + 1), 0.0])
    torch.testing.assert_close(heatmaps.harmonic_mean(maps), expected, atol=1e-5, rtol=0)


def test_a_map_is_normalised_by_the_95th_percentile_of_the_brain() -> None:
    image = torch.full((1, 1, 4, 51), -1.0)
    image[0, 0, 0], image[0, 0, 1, :50] = 0.3, 0.3  # 101 pixels of brain
    heat = torch.zeros(1, 1, 4, 51)
    heat[image > -1] = torch.arange(101.0)
    heat[0, 0, 3] = 1000.0  # outside
    found = heatmaps.normalised(heat, image)
    torch.testing.assert_close(found[image > -1], (torch.arange(101) / 95).clamp(max=1))
    assert heatmaps.normalised(heat, torch.full_like(image, -1.0)).isfinite().all()
    assert not heatmaps.normalised(torch.zeros_like(heat), image).any()


def test_closing_fills_a_hole_and_dilation_widens() -> None:
    heat = torch.zeros(1, 1, 9, 9)
    heat[0, 0, 3:6, 3:6] = 1.0
    heat[0, 0, 4, 4] = 0.2  # a hole
    expected = torch.zeros(1, 1, 9, 9)
    expected[0, 0, 2:7, 2:7] = 1.0
    torch.testing.assert_close(heatmaps.widened(heat, 1), expected)
    assert heatmaps.dilated(heat, 6).shape == heat.shape  # a square of 13 pixels, as published
    torch.testing.assert_close(heatmaps.widened(heat, 0), heat)


def test_dissimilarity_is_one_less_the_cosine_over_four_stages() -> None:
    """Maps at right angles at the first stage, opposite at the second, alike at the others: (1 + 2) / 4."""

    class Axes(torch.nn.Module):
        def maps(self, image: Tensor) -> list[Tensor]:
            first = image.mean() > 0.5
            east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])
            directions = [east] * 6 if first else [east, north, -east, 7 * east, east, east]
            return [one.view(1, 2, 1, 1).expand(len(image), 2, 3, 3) for one in directions]

    image = torch.full((3, 1, 6, 6), 0.9)
    found = heatmaps.dissimilarity(Axes(), image, -image, batch=2)
    torch.testing.assert_close(found, torch.full((3, 1, 6, 6), 0.75))
    torch.testing.assert_close(heatmaps.dissimilarity(Axes(), image, image, batch=2), torch.zeros(3, 1, 6, 6))


def test_the_heatmap_is_normalised_residual_times_dissimilarity(monkeypatch: pytest.MonkeyPatch) -> None:
    method = untrained()
    monkeypatch.setattr(heatmaps, "dissimilarity", lambda *given: torch.full((1, 1, 4, 4), 0.3))
    image = torch.zeros(1, 1, 4, 4)
    restored = image.clone()
    restored[0, 0, 0, :2] = torch.tensor([0.5, -0.5])  # the 95th percentile of 16 values is 0.5
    expected = 0.3 * (restored.abs() > 0)
    torch.testing.assert_close(method.heatmap(image, restored), expected)


# ---- THOR ----


def test_harmonisation_by_hand() -> None:
    """One level between: the chain goes on from share x what is seen + (1 - share) x the slice, noised."""
    image, asked, given = torch.full((1, 1, 4, 4), 0.4), [], []
    alpha_bar = diffusion.linear()

    def see(noisy: Tensor, level: int) -> Tensor:
        asked.append((level, noisy.mean().item()))
        return torch.full_like(noisy, {350: 0.1, 150: -0.2}[level])

    def heatmap(restored: Tensor) -> Tensor:
        given.append(restored.mean().item())
        return torch.cat([torch.full((1, 1, 4, 2), 1.0), torch.full((1, 1, 4, 2), 0.25)], 3)

    noise = 0.7
    chain = make_chain(see, noise)
    restored, maps = chains.harmonise(chain, image, [350, -1], [150], heatmap, 0)

    # The chain from 350 to 150, without noise put back; there it is harmonised, noised, and ends in one step.
    assert [level for level, _ in asked] == [350, 150, 150]
    kept, rest = (alpha_bar[350].sqrt().item(), (1 - alpha_bar[350]).sqrt().item())
    assert asked[0][1] == pytest.approx(kept * 0.4 + rest * noise, abs=1e-5)
    epsilon = (asked[0][1] - kept * 0.1) / rest
    kept, rest = (alpha_bar[150].sqrt().item(), (1 - alpha_bar[150]).sqrt().item())
    assert asked[1][1] == pytest.approx(kept * 0.1 + rest * epsilon, abs=1e-5)
    mixture = (1.0 * -0.2 + (0.25 * -0.2 + 0.75 * 0.4)) / 2  # of the two halves of the slice
    assert asked[2][1] == pytest.approx(kept * mixture + rest * noise, abs=1e-5)
    torch.testing.assert_close(restored, torch.full_like(image, -0.2))
    assert given == pytest.approx([-0.2, -0.2]), (
        "maps of what is seen at the level, and of the restored slice"
    )
    assert len(maps) == 2


def test_the_chain_goes_through_its_levels_and_those_of_harmonisation() -> None:
    asked: list[int] = []

    def see(noisy: Tensor, level: int) -> Tensor:
        asked.append(level)
        return torch.zeros_like(noisy)

    image = torch.zeros(1, 1, 4, 4)
    _, maps = chains.harmonise(
        make_chain(see), image, diffusion.levels(350, 3), [300, 150, 50], torch.zeros_like, 1
    )
    assert asked == [350, 300, 300, 233, 150, 150, 116, 50, 50]
    assert len(maps) == 4


def test_where_nothing_differs_the_slice_is_put_back() -> None:
    """A network that sees 0 everywhere, and a heatmap that says that only one pixel differs."""
    image, last = torch.full((1, 1, 4, 4), 0.6), []

    def see(noisy: Tensor, level: int) -> Tensor:
        last.append(noisy)
        return torch.zeros_like(noisy)

    heat = torch.zeros(1, 1, 4, 4)
    heat[0, 0, 1, 2] = 1.0
    chains.harmonise(make_chain(see), image, [350, -1], [100], lambda restored: heat, 0)
    expected = torch.where(heat > 0, 0.0, diffusion.linear()[100].sqrt() * 0.6)
    torch.testing.assert_close(last[-1], expected)


# ---- AutoDDPM ----


def test_stitching_by_hand() -> None:
    """Two levels, two resamplings: what the network is shown inside and outside of the mask, step by step."""
    image, first = torch.full((1, 1, 4, 4), 0.4), torch.full((1, 1, 4, 4), -0.5)
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    mask[0, 0, 0, 0] = True
    noise, seen, alpha_bar = 0.7, 0.1, diffusion.linear().double()
    asked: list[tuple[int, float, float]] = []

    def see(noisy: Tensor, level: int) -> Tensor:
        asked.append((level, noisy[0, 0, 0, 0].item(), noisy[0, 0, 2, 2].item()))
        return torch.full_like(noisy, seen)

    restored = chains.stitch(make_chain(see, noise), image, first, mask, [50, 20, -1], 2)

    def noised(clean: float, share: float) -> float:
        return float(share**0.5 * clean + (1 - share) ** 0.5 * noise)

    high, low = alpha_bar[50].item(), alpha_bar[20].item()
    inside = outside = noised(-0.5, high)  # it starts from the first restoration
    expected = []
    for level, share, after in ((50, high, low), (20, low, 1.0)):
        for more in (True, False):
            expected.append((level, inside, outside))
            epsilon = (inside - share**0.5 * seen) / (1 - share) ** 0.5
            inside, outside = after**0.5 * seen + (1 - after) ** 0.5 * epsilon, noised(0.4, after)
            if more:
                inside, outside = noised(inside, share / after), noised(outside, share / after)
    np.testing.assert_allclose(asked, expected, atol=1e-5)
    torch.testing.assert_close(restored[mask], torch.tensor([seen]), atol=1e-5, rtol=0)
    assert (restored[~mask] == 0.4).all(), "outside the mask it is the slice itself"


def test_as_many_evaluations_as_levels_and_resamplings() -> None:
    asked: list[int] = []

    def see(noisy: Tensor, level: int) -> Tensor:
        asked.append(level)
        return noisy.clamp(-1, 1)

    image = torch.zeros(1, 1, 4, 4)
    chains.stitch(make_chain(see, eta=1.0), image, image, image > -1, diffusion.levels(50, 0), 5)
    assert asked == [level for level in range(50, -1, -1) for _ in range(5)]


def test_the_mask_is_the_widened_heatmap_above_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    method, masks = untrained("autoddpm"), []
    heat = torch.zeros(2, 1, 48, 56)
    heat[0, 0, 10, 20], heat[0, 0, 30, 40] = 0.14, 0.12
    monkeypatch.setattr(type(method), "heatmap", lambda self, image, restored: heat)

    def stitch(chain: Any, image: Tensor, first: Tensor, mask: Tensor, *rest: Any) -> Tensor:
        masks.append(mask)
        return image

    monkeypatch.setattr(chains, "stitch", stitch)
    method.threshold_ = 0.13
    _, score = method.stitch(torch.rand(2, 1, 48, 56))
    expected = torch.zeros(2, 1, 48, 56, dtype=torch.bool)
    expected[0, 0, 9:12, 19:22] = True  # 3 x 3
    torch.testing.assert_close(masks[0], expected)
    assert not score.any(), "no residual, no score"


def test_the_threshold_is_the_95th_percentile_of_healthy_heatmaps(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, healthy = untrained("autoddpm"), Volumes(toy(range(2), True), GRIDS["g48"])
    monkeypatch.setattr(type(method), "first_heat", lambda self, volume: volume.image[0])
    method.calibrate(healthy, Context())
    values = np.concatenate([volume.image[0][volume.brain] for volume in healthy])
    assert (values > method.threshold_).mean() == pytest.approx(0.05, abs=0.001)
    loaded = methods.load("autoddpm")(**methods.parameters(method))
    loaded.load_calibration(method.calibration_state())
    assert loaded.threshold_ == method.threshold_  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="threshold"):
        loaded.load_calibration({})


def test_calibration_has_the_same_noise_each_time_and_leaves_the_generators_alone(toy: Toy) -> None:
    method, healthy = untrained("autoddpm"), Volumes(toy(range(1), True), GRIDS["g48"])
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        expected = torch.Generator().manual_seed(seed)
        found.append(method.calibrate(healthy, Context()).threshold_)
        assert torch.rand(()) == torch.rand((), generator=expected)
    assert found[0] == found[1] > 0


def test_the_score_is_nothing_outside_the_mask_and_depends_on_the_noise_inside(volume: Volume) -> None:
    method = untrained("autoddpm")
    method.threshold_ = 1e9
    assert not method.score(volume).score_map.any()
    np.testing.assert_allclose(method.score(volume).pseudo_healthy, volume.image, atol=1e-6)
    method.threshold_ = 0.1
    maps = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        maps.append(method.score(volume).score_map)
    both = (maps[0] > 0) & (maps[1] > 0)
    assert both.any()
    assert (maps[0] != maps[1])[both].mean() > 0.9


# ---- scores ----


@pytest.mark.parametrize("name", ["thor", "autoddpm"])
def test_the_number_of_slices_at_once_does_not_change_the_scores(volume: Volume, name: str) -> None:
    method, maps = untrained(name), []
    method.threshold_ = -1.0  # everything is masked
    for count in (7, 100):
        method.score_batch = count
        torch.manual_seed(5)
        maps.append(method.score(volume))
    np.testing.assert_allclose(maps[1].score_map, maps[0].score_map, atol=2e-4)
    np.testing.assert_allclose(maps[1].pseudo_healthy, maps[0].pseudo_healthy, atol=2e-4)
    assert not maps[0].score_map[~volume.brain].any()


def test_other_scores_are_those_of_all_tables(volume: Volume) -> None:
    method = untrained(score_kind="l1")
    torch.manual_seed(1)
    score = method.score(volume)
    assert score.pseudo_healthy is not None
    np.testing.assert_allclose(score.score_map, np.abs(volume.image - score.pseudo_healthy)[0], atol=1e-6)
