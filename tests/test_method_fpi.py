"""FPI and PII: the blend and its label, where patches lie, Poisson's equation, loss and score."""

import importlib
import math
from collections.abc import Callable
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
from uadbench.learning import training
from uadbench.learning.foreign import same_height
from uadbench.methods import Context

module: Any = importlib.import_module(methods.load("fpi").__module__)
patches: Any = importlib.import_module("uadbench.methods.fpi.patches")
poisson: Any = importlib.import_module("uadbench.methods.fpi.poisson")
Toy = Callable[..., list[Prepared]]
G48 = GRIDS["g48"]
MIDDLE = slice(1, 3), slice(1, 3)


def draw(*shape: int) -> torch.Tensor:
    """Numbers from 0 to 1, the same each time."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


# The blend of intensities, and what is asked for.


def test_interpolation_by_hand() -> None:
    image, foreign = torch.full((4, 4), 0.2), torch.full((4, 4), 0.6)
    found = patches.interpolate(image, foreign, MIDDLE, 0.25)
    expected = np.full((4, 4), 0.2)
    expected[1:3, 1:3] = 0.75 * 0.2 + 0.25 * 0.6
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert torch.equal(image, torch.full((4, 4), 0.2))  # the slice itself stays as it was


@pytest.mark.parametrize("kind", ["intensities", "gradients"])
def test_the_label_is_the_factor_where_something_foreign_is(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Factor .05 + .5 * .9; in the patch one pixel is outside the brain and one is equal in both slices."""
    image, foreign = draw(1, 1, 6, 6), draw(1, 1, 6, 6) / 2
    brain = torch.ones_like(image, dtype=torch.bool)
    brain[..., 2, 2] = False
    image, foreign = image * brain, foreign.clone()
    foreign[..., 3, 3] = image[..., 3, 3]
    monkeypatch.setattr(patches, "draw_rectangle", lambda *_: (slice(2, 4), slice(2, 5)))
    monkeypatch.setattr(torch, "rand", lambda *_: torch.tensor(0.5))
    changed, label = patches.corrupt(image, brain, foreign, kind)
    expected = torch.zeros(6, 6)
    expected[2:4, 2:5] = 0.5
    expected[2, 2] = expected[3, 3] = 0
    torch.testing.assert_close(label[0, 0], expected)
    outside = torch.ones(6, 6, dtype=torch.bool)
    outside[2:4, 2:5] = False
    assert torch.equal(changed[0, 0][outside], image[0, 0][outside])
    assert changed[0, 0, 2, 2] == 0
    assert (changed != image)[0, 0][expected > 0].all()


def test_factors_are_drawn_for_each_slice_between_their_ends() -> None:
    torch.manual_seed(0)
    ones = torch.ones(400, 1, 24, 24)
    _, label = patches.corrupt(ones, ones > 0, 0.5 * ones, "intensities")
    factors = label.flatten(1).amax(1)
    assert 0.05 <= factors.min() < 0.08
    assert 0.92 < factors.max() <= 0.95
    assert factors.mean().item() == pytest.approx(0.5, abs=0.05)


def test_rectangles_have_the_published_sides_and_places() -> None:
    """Of 60 x 100 pixels: sides of 6 to 24, centres in the middle four fifths, the border untouched."""
    torch.manual_seed(0)
    found = [patches.draw_rectangle(60, 100) for _ in range(2000)]
    rows, columns = (np.array([(one[axis].start, one[axis].stop) for one in found]) for axis in (0, 1))
    for spans, edge in ((rows, 60), (columns, 100)):
        assert spans.min() >= 1
        assert spans.max() <= edge - 1
        assert (np.diff(spans) >= 1).all()
        whole = (spans[:, 0] > 1) & (spans[:, 1] < edge - 1)
        sides = np.diff(spans[whole])
        assert 6 <= sides.min() <= 7  # rounded outwards
        assert 24 <= sides.max() <= 26
        centres = spans[whole].mean(1) / edge
        assert 0.05 < centres.min() < 0.15
        assert 0.85 < centres.max() < 0.95
    assert patches.draw_rectangle(3, 3) == (slice(1, 2), slice(1, 2))


# Poisson's equation.


def laplacian(rows: int, columns: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The matrix of five-point differences on a rectangle with 0 around it, written out pixel by pixel."""
    matrix = np.zeros((rows * columns, rows * columns))
    for row in range(rows):
        for column in range(columns):
            matrix[row * columns + column, row * columns + column] = -4
            for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                if 0 <= row + down < rows and 0 <= column + right < columns:
                    matrix[row * columns + column, (row + down) * columns + column + right] = 1
    return matrix


@pytest.mark.parametrize("shape", [(6, 6), (1, 1), (3, 7)])
def test_the_solution_is_that_of_the_dense_system(shape: tuple[int, int]) -> None:
    divergence = draw(*shape)
    expected = np.linalg.solve(laplacian(*shape), divergence.double().numpy().ravel()).reshape(shape)
    np.testing.assert_allclose(poisson.solve_poisson(divergence), expected, atol=1e-5)


def test_the_sines_are_orthogonal_and_symmetric() -> None:
    matrix = poisson.sines(7, torch.device("cpu"))
    torch.testing.assert_close(matrix @ matrix, torch.eye(7), atol=1e-6, rtol=0)
    torch.testing.assert_close(matrix, matrix.T)


def test_a_patch_of_6_x_6_is_the_dense_solution_of_its_mixed_gradients() -> None:
    """Every pixel's differences to its four neighbours, the larger of both slices', summed by hand."""
    image, foreign, factor = draw(8, 8), draw(8, 8).flip(0) ** 2, 0.4
    x, y = image.double().numpy(), foreign.double().numpy()
    right = np.zeros((6, 6))
    for row in range(1, 7):
        for column in range(1, 7):
            for down, across in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                there = row + down, column + across
                own, other = (1 - factor) * (x[there] - x[row, column]), factor * (y[there] - y[row, column])
                right[row - 1, column - 1] += own if abs(own) > abs(other) else other
                if there[0] in (0, 7) or there[1] in (0, 7):
                    right[row - 1, column - 1] -= x[there]  # a neighbour that is known
    expected = x.copy()
    expected[1:7, 1:7] = np.linalg.solve(laplacian(6, 6), right.ravel()).reshape(6, 6)
    found = poisson.interpolate_gradients(image, foreign, (slice(1, 7), slice(1, 7)), factor)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_factor_of_0_changes_nothing_and_a_flat_patch_becomes_smooth() -> None:
    image, where = draw(9, 9), (slice(2, 7), slice(2, 7))
    unchanged = poisson.interpolate_gradients(image, draw(9, 9).flip(1), where, 0.0)
    torch.testing.assert_close(unchanged, image, atol=1e-6, rtol=0)
    # Of a ramp a share stays; nothing is borrowed from a flat slice: half the ramp and a harmonic rest.
    ramp = torch.linspace(0, 1, 9).expand(9, 9)
    found = poisson.interpolate_gradients(ramp, torch.zeros(9, 9), where, 0.5)
    torch.testing.assert_close(found, ramp)  # half of its Laplacian is 0 as well


def test_gradients_are_blended_without_an_edge_along_the_border() -> None:
    """Two flat slices differ in brightness alone: the patch takes nothing over, unlike by intensities."""
    image, foreign, where = torch.full((8, 8), 0.3), torch.full((8, 8), 0.9), (slice(2, 6), slice(2, 6))
    torch.testing.assert_close(poisson.interpolate_gradients(image, foreign, where, 0.5), image)
    assert patches.interpolate(image, foreign, where, 0.5)[3, 3].item() == pytest.approx(0.6)


# Loss, network and score.


def test_the_loss_by_hand() -> None:
    """Factors .3 and 0 against predictions of .5 and .2."""
    logits = torch.tensor([0.0, math.log(0.2 / 0.8)])
    expected = (-0.3 * math.log(0.5) - 0.7 * math.log(0.5) - math.log(0.8)) / 2
    found = module.cross_entropy(logits, torch.tensor([0.3, 0.0]))
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_the_loss_is_least_at_the_factor_itself() -> None:
    shares = torch.linspace(0.01, 0.99, 99)
    losses = [module.cross_entropy(one.logit(), torch.tensor(0.3)).item() for one in shares]
    assert shares[int(np.argmin(losses))].item() == pytest.approx(0.3, abs=1e-6)


@pytest.mark.parametrize("size", [(48, 56), (37, 50)])
def test_the_network_answers_for_slices_of_any_shape(size: tuple[int, int]) -> None:
    assert module.Regressor(8, 1).eval()(torch.rand(2, 1, *size)).shape == (2, 1, *size)


def test_the_score_is_the_predicted_factor(toy: Toy) -> None:
    volume = Volumes(toy(range(1), healthy=False), G48)[0]
    method: Any = module.FPI(grid="g48")
    method.network_, method.device_ = lambda image: 4 * image - 2, "cpu"
    expected = volume.brain / (1 + np.exp(2 - 4 * volume.image[0]))
    np.testing.assert_allclose(method.score(volume).score_map, expected, atol=1e-6)


@pytest.mark.parametrize("row", ["fpi", "pii"])
def test_training_lowers_the_loss(row: str, toy: Toy, tmp_path: Path) -> None:
    train, val = Volumes(toy(range(4), True), G48), Volumes(toy(range(5, 7), True), G48)
    torch.manual_seed(0)
    np.random.seed(0)
    method: Any = methods.build(row, "ci", {"steps": "25"}).fit(train, val, Context(folder=tmp_path))
    batch = training.Slices(val, "cpu").take(np.arange(8))
    foreign = training.Slices(train, "cpu").find(same_height(batch.which, val, train)).image
    changed, label = patches.corrupt(batch.image, batch.brain, foreign, method.blend)
    with torch.no_grad():
        trained, fresh = (
            module.cross_entropy(network.eval()(changed), label)
            for network in (method.network_, method.build())
        )
    assert trained < 0.7 * fresh


def test_the_rows_share_all_but_their_paper_and_blend() -> None:
    fpi, pii = method_card("fpi"), method_card("pii")
    assert fpi.synthetic
    assert pii.synthetic
    assert (fpi.year, pii.year) == (2020, 2021)
    assert pii.set == {"blend": "gradients"}
