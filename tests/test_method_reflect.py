"""REFLECT: the straight path and its velocity, the corruption of latents, and the score."""

import importlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from uadbench import methods

module: Any = importlib.import_module(methods.load("reflect").__module__)
shapes: Any = importlib.import_module("uadbench.methods.reflect.shapes")


# ---- the flow --------------------------------------------------------------------------------------


def test_the_path_is_straight_by_hand() -> None:
    start, end = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.tensor([[3.0, -2.0], [8.0, 4.0]])
    found = module.point(start, end, torch.tensor([0.25, 0.5]))
    assert found.tolist() == [[1.5, 1.0], [4.0, 4.0]]  # (1 - t) x0 + t x1


def test_the_velocity_that_is_learned_is_end_less_start() -> None:
    start, end = torch.randn(3, 4, 5, 6), torch.randn(3, 4, 5, 6)
    seen: list[torch.Tensor] = []

    def network(at: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        share = (time / 999).view(-1, 1, 1, 1)
        torch.testing.assert_close(at, (1 - share) * start + share * end)
        seen.append(time)
        return end - start + 0.5

    assert float(module.flow_loss(network, start, end)) == pytest.approx(0.25, rel=1e-5)
    assert 0 <= float(seen[0].min()) <= float(seen[0].max()) < 999
    assert len(set(seen[0].tolist())) == 3


def test_one_step_is_exact_where_the_velocity_is_constant_and_more_where_it_is_not() -> None:
    start, end = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    for steps in (1, 4):
        torch.testing.assert_close(module.euler(lambda at, time: end - start, start, steps), end)
    # dx/dt = 2 t: Euler's sum of 2 (k / 4) / 4 for k = 0 ... 3 is .75, and the end of the path 1.
    found = module.euler(lambda at, time: torch.full_like(at, 2 * time), torch.zeros(1), 4)
    assert found.tolist() == [0.75]


# ---- corruption ------------------------------------------------------------------------------------


def test_a_polygon_is_filled_by_hand() -> None:
    square = torch.tensor([[1.0, 1.0], [1.0, 4.0], [4.0, 4.0], [4.0, 1.0]])
    found = shapes.filled(square, 6, 6).int()
    assert found[1:4, 1:4].all(), "rows and columns 1 to 3 lie inside"
    assert found[[4, 4, 1], [4, 1, 4]].all(), "corners belong to the shape"
    assert int(found.sum()) == 9 + 3
    point = torch.tensor([[2.0, 3.0], [2.0, 3.0]])  # a walk that has gone nowhere
    assert shapes.filled(point, 6, 6).nonzero().tolist() == [[2, 3]]


def test_walks_step_to_neighbours_and_are_one_to_four() -> None:
    np.random.seed(0)
    walks, drawn = shapes.random_walks(4000, 32, 32)
    assert np.abs(np.diff(walks, axis=2)).max() == 1
    numbers = drawn.sum(1)
    chances = 0.9 * np.array([12, 6, 4, 3]) / 25  # 1 / n for 1 to 4, of nine slices in ten
    found = [(numbers == number).mean() for number in range(5)]
    np.testing.assert_allclose(found, [0.1, *chances], atol=0.03)
    # Of lengths u of the longest with density (10 - 9 u) / 5.5: the mean is (5 - 3) / 5.5.
    alone = walks[(numbers == 1), 0]
    lengths = np.array([np.flatnonzero(np.diff(walk, axis=0).any(1)).max(initial=-1) + 2 for walk in alone])
    assert lengths.mean() / 200 == pytest.approx(2 / 5.5, abs=0.02)


def test_latents_are_mixed_in_the_shapes_alone_and_never_outside_the_brain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    latent, brain = -torch.rand(2, 4, 5, 6), torch.ones(2, 1, 5, 6, dtype=torch.bool)
    drawn = torch.zeros(2, 4, 5, 6, dtype=torch.bool)
    drawn[0, 0, 1:3, 1:3] = drawn[0, 1, 2:4, 2:4] = True  # two that overlap in one latent
    monkeypatch.setattr(shapes, "draw_shapes", lambda _: drawn)
    monkeypatch.setattr(shapes, "draw_replacement", lambda latent: torch.full_like(latent, 2.0))
    found = shapes.corrupt(latent, brain)
    covered = drawn.any(1, keepdim=True)
    assert torch.equal(found[~covered.expand_as(found)], latent[~covered.expand_as(found)])
    places = {"first": (1, 1), "both": (2, 2), "second": (3, 3)}
    strengths = {}
    for name, (row, column) in places.items():
        x, y = latent[0, :, row, column], found[0, :, row, column]
        # y = sqrt(1 - m) x + 2 sqrt(m): the strength that the first channel says holds for all.
        grid = torch.linspace(0.2, 1, 80_001)
        m = grid[((1 - grid).sqrt() * x[0] + 2 * grid.sqrt() - y[0]).abs().argmin()]
        torch.testing.assert_close((1 - m).sqrt() * x + 2 * m.sqrt(), y, atol=1e-3, rtol=0)
        strengths[name] = float(m)
    assert strengths["both"] == pytest.approx(strengths["first"], abs=1e-3), "the first shape is on top"
    assert abs(strengths["first"] - strengths["second"]) > 1e-3


def test_shapes_start_and_stay_in_the_brain() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    brain = torch.zeros(40, 1, 12, 14, dtype=torch.bool)
    brain[:, :, 3:8, 4:11] = True
    brain[0] = False
    found = shapes.draw_shapes(brain)
    assert not (found & ~brain).any()
    assert not found[0].any()
    assert found[1:].flatten(1).any(1).float().mean() > 0.7


def test_half_of_the_replacements_are_latents_of_another_slice() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    latent = torch.arange(400.0).view(400, 1, 1, 1).expand(400, 2, 3, 3) + 1000
    found = shapes.draw_replacement(latent)
    texture = (found > 500).flatten(1).all(1)
    assert 0.4 < float(texture.float().mean()) < 0.6
    assert torch.equal(found[texture], latent.roll(1, 0)[texture])
    assert float(found[~texture].std()) == pytest.approx(1, abs=0.1)  # sqrt(a) n + sqrt(1 - a) n'


# ---- the score -------------------------------------------------------------------------------------


def test_the_score_is_the_mean_of_both_residuals_by_hand() -> None:
    method: Any = module.Reflect(blur=0.0, latent_blur=0.0)
    method.network_ = {"autoencoder": SimpleNamespace(factor=2)}
    before, after = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    after[..., 0, 0], after[..., 3, 3] = 0.1, -0.9  # .25 and, held to .4, 1
    latent, healed = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    healed[:, 0], healed[:, 1] = 0.2, -0.6  # mean .4: 1
    found = method.own_score(latent, healed, before, after)
    expected = torch.full((1, 1, 4, 4), 0.5)
    expected[..., 0, 0] += 0.125
    expected[..., 3, 3] += 0.5
    torch.testing.assert_close(found, expected)


def test_the_second_flow_learns_the_ends_of_the_first() -> None:
    """What `heal` does with a velocity that the network tells: one step at time 0."""
    method: Any = module.Reflect()
    method.network_ = {"latent": lambda at, time: at + time.view(-1, 1, 1, 1)}
    latent = torch.randn(3, 4, 2, 2)
    torch.testing.assert_close(method.heal(latent), 2 * latent)
    method.inference = "decoding"
    assert method.heal(latent) is latent
