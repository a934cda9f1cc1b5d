"""Codes and transformers: quantisation, orders, what a code depends on, and the map of unlikely codes."""

import importlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from uadbench import methods
from uadbench.learning.training import Batch

module: Any = importlib.import_module(methods.load("vqvae_transformer").__module__)
networks: Any = importlib.import_module("uadbench.methods.vqvae_transformer.networks")


def known_codes(latent: Tensor) -> Any:
    """A book of three codes (0, 0), (4, 0) and (0, 3), and an encoder that says `latent`."""
    codes = networks.Codes(2, 1, 1, 3, 2, 0.5)
    codes.network.quantizer.quantizer.embedding.weight.copy_(torch.tensor([[0.0, 0], [4, 0], [0, 3]]))
    codes.network.encode = lambda image: latent
    return codes.eval()


# ---- the auto-encoder --------------------------------------------------------------------------------


def test_a_latent_is_read_as_the_nearest_code_by_hand() -> None:
    latent = torch.tensor([[1.0, 3.0, 0.5, 2.1], [1.0, -1.0, 2.0, 0.0]]).view(1, 2, 2, 2)
    found = known_codes(latent).read(torch.zeros(1, 1, 4, 4))
    assert found.tolist() == [[[0, 1], [2, 1]]]


def test_the_gradient_passes_straight_through_the_quantisation() -> None:
    latent = torch.tensor([3.0, -1.0]).view(1, 2, 1, 1).requires_grad_()
    codes = known_codes(latent)
    codes.network.decode = lambda latent: (latent * torch.tensor([5.0, 7.0]).view(1, 2, 1, 1)).sum(1, True)
    image = torch.zeros(1, 1, 1, 1)
    loss = codes.loss(Batch(image, image > 0, np.zeros((1, 2), np.int64)))
    # The code is (4, 0): L1 of 20; .25 of the mean of 1^2 and 1^2.
    assert float(loss.detach()) == pytest.approx(20 + 0.25)
    loss.backward()
    # That of the decoder, as if nothing were between, and .25 * 2 (z - code) / 2.
    assert latent.grad is not None
    assert latent.grad.flatten().tolist() == pytest.approx([5 - 0.25, 7 - 0.25])


def test_codes_begin_as_latents_in_brains() -> None:
    latent = torch.arange(8.0).view(1, 1, 2, 4).expand(1, 2, 2, 4)
    codes = known_codes(latent)
    brain = torch.zeros(1, 1, 4, 8, dtype=torch.bool)
    brain[..., :2, 2:6] = True  # the latents 1 and 2
    codes.start(Batch(brain.float(), brain, np.zeros((1, 2), np.int64)))
    quantiser = codes.network.quantizer.quantizer
    assert set(quantiser.embedding.weight.flatten().tolist()) <= {1.0, 2.0}
    assert torch.equal(quantiser.ema_w, quantiser.embedding.weight)


def test_a_slice_of_any_shape_is_read_and_written() -> None:
    codes = networks.Codes(4, 2, 1, 5, 3, 0.9).eval()
    read = codes.read(torch.rand(2, 1, 9, 14))
    assert read.shape == (2, *networks.codes_shape(9, 14, 2)) == (2, 3, 4)
    with torch.no_grad():
        assert codes.write(read, 9, 14).shape == (2, 1, 9, 14)


# ---- transformers ------------------------------------------------------------------------------------


def transformer(order: int, rows: int = 2, columns: int = 3) -> Any:
    torch.manual_seed(0)
    return networks.CodeTransformer(rows, columns, order, 4, 8, 1, 2).eval()


def test_orders_are_the_eight_ways_by_row_and_column() -> None:
    orders = [transformer(order).order.tolist() for order in range(8)]
    assert orders[0] == [0, 1, 2, 3, 4, 5]
    assert orders[1] == [3, 4, 5, 0, 1, 2]
    assert orders[2] == [2, 1, 0, 5, 4, 3]
    assert orders[4] == [0, 3, 1, 4, 2, 5]
    assert len(set(map(tuple, orders))) == 8


@pytest.mark.parametrize("order", range(8))
def test_a_code_is_foreseen_from_those_before_it_alone(order: int) -> None:
    network = transformer(order)
    codes = torch.randint(4, (1, 2, 3), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = network.log_probabilities(codes)
        for step, place in enumerate(network.order.tolist()):
            changed = codes.flatten(1).clone()
            changed[0, place] = (changed[0, place] + 1) % 4
            moved = network.log_probabilities(changed.view(1, 2, 3)) - before
            where = (moved.abs() > 1e-6).any(1).flatten()[network.order]
            assert where.nonzero().flatten().tolist() == list(range(step + 1, 6))
    torch.testing.assert_close(before.exp().sum(1), torch.ones(1, 2, 3))


def test_the_loss_is_the_mean_log_likelihood() -> None:
    network = transformer(3)
    codes = torch.randint(4, (5, 2, 3), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = -module.likelihood(network.log_probabilities(codes), codes).mean()
        torch.testing.assert_close(network.loss(codes), expected)


# ---- the method --------------------------------------------------------------------------------------


def prepared(probabilities: list[list[float]], threshold: float, **options: Any) -> Any:
    """A method of one transformer that expects the same three codes whatever it reads, place by place."""
    method = module.VQVAETransformer(orders=1, halvings=1, blur=0.0, **options)
    expected = torch.tensor(probabilities).T.log().view(1, 3, 1, -1)
    codes = known_codes(torch.zeros(1, 2, 1, 4))
    codes.threshold.fill_(float(np.log(threshold)))
    codes.read = lambda image: torch.tensor([[[0, 1, 2, 0]]])
    codes.write = lambda codes, rows, columns: codes[:, None].float().repeat_interleave(2, 3)[..., :columns]
    one = torch.nn.Module()
    one.log_probabilities = lambda codes: expected  # type: ignore[assignment]
    method.network_ = {"codes": codes, "transformers": [one]}
    return method


EXPECTED = [[0.1, 0.2, 0.7], [0.1, 0.8, 0.1], [0.5, 0.48, 0.02], [0.3, 0.4, 0.3]]


def test_codes_below_the_threshold_become_the_likeliest_by_hand() -> None:
    method = prepared(EXPECTED, 0.2)
    codes = torch.tensor([[[0, 1, 2, 0]]])
    found = module.likelihood(method.log_probabilities(codes), codes).exp().flatten()
    assert found.tolist() == pytest.approx([0.1, 0.8, 0.02, 0.3])
    assert method.heal(codes).tolist() == [[[2, 1, 0, 0]]]


def test_the_mask_is_where_codes_were_replaced() -> None:
    healed, mask = prepared(EXPECTED, 0.2).restore(torch.zeros(1, 1, 1, 8))
    assert healed.flatten().tolist() == [2, 2, 1, 1, 0, 0, 0, 0]
    inner = mask[0, 0, 0]  # a bilinear map of 1, 0, 1, 0
    assert inner.tolist() == [1.0, 0.75, 0.25, 0.25, 0.75, 0.75, 0.25, 0.0]


def test_transformers_are_averaged() -> None:
    method = prepared(EXPECTED, 0.2)
    other = torch.nn.Module()
    other.log_probabilities = lambda codes: torch.zeros(1, 3, 1, 4)  # type: ignore[assignment]
    one = method.network_["transformers"][0]
    method.network_["transformers"], method.orders = [one, other], 2
    codes = torch.tensor([[[0, 1, 2, 0]]])
    torch.testing.assert_close(method.log_probabilities(codes), one.log_probabilities(codes) / 2)


def test_a_ninth_order_is_refused() -> None:
    with pytest.raises(ValueError, match="8 orders"):
        module.VQVAETransformer(orders=9).check()
