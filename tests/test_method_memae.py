"""MemAE: addresses, shrinkage and losses of Gong 2019, against values computed by hand."""

import importlib
import math
from typing import Any

import pytest
import torch

from uadbench import methods
from uadbench.data.space import GRIDS
from uadbench.learning.training import Batch

module: Any = importlib.import_module(methods.load("memae").__module__)
E = math.e


def test_an_address_is_a_softmax_of_cosines() -> None:
    """Items along both axes; a query along the first has cosines 1 and 0, however long the vectors are."""
    items = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    weights = module.address(torch.tensor([[7.0, 0.0], [1.0, 1.0], [0.0, -2.0]]), items, threshold=0.0)
    expected = torch.tensor([[E / (E + 1), 1 / (E + 1)], [0.5, 0.5], [E / (E + 1), 1 / (E + 1)]])
    torch.testing.assert_close(weights, expected)


def test_shrinkage_leaves_what_is_above_the_threshold_with_sum_1() -> None:
    """Of .7, .2, .1 the first two pass .15; they are divided by .9."""
    shrunk = module.shrink(torch.tensor([0.7, 0.2, 0.1]), 0.15)
    torch.testing.assert_close(shrunk, torch.tensor([7 / 9, 2 / 9, 0.0]))


def test_an_address_below_the_threshold_everywhere_is_0_and_keeps_a_finite_gradient() -> None:
    weights = torch.tensor([0.5, 0.5], requires_grad=True)
    shrunk = module.shrink(weights, 0.6)
    assert shrunk.tolist() == [0, 0]
    shrunk.sum().backward()
    assert weights.grad is not None
    assert torch.isfinite(weights.grad).all()


def test_a_shrunken_address_recalls_one_of_two_items() -> None:
    """e / (e + 1) = .73 passes a threshold of .5, 1 / (e + 1) = .27 does not: the item itself comes back."""
    memory = module.Memory(2, 2, threshold=0.5)
    memory.items.data = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    features = torch.tensor([[7.0, 0.1], [0.0, 9.0]]).T[None, :, None]  # (1, 2 channels, 1, 2 places)
    recalled, weights = memory(features)
    torch.testing.assert_close(weights, torch.eye(2)[None, None])
    torch.testing.assert_close(recalled[0, :, 0].T, memory.items.data)


def test_without_shrinkage_the_items_are_mixed() -> None:
    memory = module.Memory(2, 2, threshold=0.0)
    memory.items.data = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    recalled, _ = memory(torch.tensor([7.0, 0.0])[None, :, None, None])
    torch.testing.assert_close(recalled.flatten(), torch.tensor([3 * E / (E + 1), 0.5 / (E + 1)]))


def test_the_entropy_of_an_address_in_nats() -> None:
    weights = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.75, 0.25]])
    expected = [math.log(2), 0.0, -0.75 * math.log(0.75) - 0.25 * math.log(0.25)]
    assert module.entropy(weights).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_loss_is_squared_error_and_weighted_entropy() -> None:
    class Known:
        def recall(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return image + 0.5, torch.tensor([[[[0.5, 0.5], [1.0, 0.0]]]])  # entropies log 2 and 0

    image = torch.rand(1, 1, 4, 4)
    batch = Batch(image, image > 0, None)  # type: ignore[arg-type]
    kind: Any = methods.load("memae")
    assert kind(entropy_weight=0.1).training_loss(Known(), batch).item() == pytest.approx(
        0.25 + 0.1 * math.log(2) / 2
    )


def test_the_decoder_sees_only_what_the_memory_recalls() -> None:
    """With one item every slice is restored as the same one."""
    network = module.MemoryAutoencoder(4, 6, items=1, threshold=0.0).eval()
    one, other = network(torch.rand(2, 1, 48, 56))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("grid", GRIDS)
def test_there_is_a_query_for_each_16th_of_a_slice(grid: str) -> None:
    rows, columns, _ = GRIDS[grid].shape
    network = module.MemoryAutoencoder(4, 6, items=9, threshold=0.1).eval()
    restored, weights = network.recall(torch.rand(2, 1, rows, columns))
    assert restored.shape == (2, 1, rows, columns)
    assert weights.shape == (2, -(-rows // 16), -(-columns // 16), 9)
