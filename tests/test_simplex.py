"""Simplex noise: the facts measured of AnoDDPM's fields, and that no two slices share one."""

import pytest
import torch

from uadbench.learning import simplex


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_fields_have_the_statistics_of_the_published_ones() -> None:
    """Measured of AnoDDPM's noise at 96 x 96: deviation .58, within an image .53, kurtosis 2.8."""
    fields = simplex.fields(80, 96, 96)[:, 0]
    assert fields.shape == (80, 96, 96)
    assert fields.std().item() == pytest.approx(0.58, abs=0.02)
    assert fields.var((1, 2)).mean().sqrt().item() == pytest.approx(0.53, abs=0.03)
    assert fields.mean((1, 2)).std().item() == pytest.approx(0.22, abs=0.08)
    centred = fields - fields.mean()
    assert ((centred**4).mean() / fields.var() ** 2).item() == pytest.approx(2.8, abs=0.1)
    assert abs(fields.mean().item()) < 0.06


def test_the_default_deviation_by_hand() -> None:
    assert simplex.deviation(1, 0.8) == simplex.DEVIATION
    expected = 0.361 * (1 + 0.64 + 0.4096 + 0.262144 + 0.16777216 + 0.1073741824) ** 0.5
    assert simplex.deviation(6, 0.8) == pytest.approx(expected)
    assert expected == pytest.approx(0.58, abs=0.002)


@pytest.mark.parametrize(("octaves", "persistence"), [(6, 0.8), (1, 0.8), (3, 0.5)])
def test_on_demand_the_variance_is_one(octaves: int, persistence: float) -> None:
    fields = simplex.fields(1500, 16, 16, octaves, persistence, scale_to=1.0)
    assert fields.std().item() == pytest.approx(1, abs=0.03)


def test_each_field_of_a_draw_is_its_own() -> None:
    """The published code repeats one field over the batch."""
    fields = simplex.fields(40, 32, 32).flatten(1)
    similar = torch.corrcoef(fields) - torch.eye(40)
    assert similar.abs().max() < 0.9
    assert similar.mean().abs() < 0.05
    assert not torch.equal(fields[:20], simplex.fields(20, 32, 32).flatten(1))


def test_noise_is_smooth_and_smoother_with_a_longer_wavelength() -> None:
    step = [
        (field[..., 1:] - field[..., :-1]).abs().max().item()
        for field in (simplex.fields(20, 64, 64, octaves=1, wavelength=w) for w in (8.0, 64.0))
    ]
    assert step[0] < 0.6
    assert step[1] < step[0] / 4


def test_noise_is_zero_at_lattice_points_and_the_same_for_the_same_seed() -> None:
    seed = torch.full((1,), 7, dtype=torch.int32)
    cell = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1], [4, -2, 5]])
    points = cell - cell.sum(1, keepdim=True) / 6
    noise = simplex.basis(points[:, 0], points[:, 1], points[:, 2], seed)
    torch.testing.assert_close(noise, torch.zeros(5), atol=2e-3, rtol=0)
    x, y, z = torch.rand(3, 50) * 10
    assert torch.equal(simplex.basis(x, y, z, seed), simplex.basis(x, y, z, seed))
    assert not torch.equal(simplex.basis(x, y, z, seed), simplex.basis(x, y, z, seed + 1))


def test_one_corner_by_hand() -> None:
    """Between two corners only these two reach a point; each adds (.6 - d^2)^4 times its slope."""
    seed = torch.full((1,), 3, dtype=torch.int32)
    edge = torch.tensor([5 / 6, -1 / 6, -1 / 6])  # to the next lattice point along the first axis
    for part in (0.25, 0.5):
        near, far = part * edge, (part - 1) * edge
        expected = 0.0
        for corner, offset in ((0, near), (1, far)):
            zero = torch.zeros(1, dtype=torch.int32)
            which = int(simplex._hash(zero + corner, zero, zero, seed)) % 12
            expected += float((0.6 - offset @ offset) ** 4 * (simplex.GRADIENTS[which] @ offset))
        # The other two corners of this simplex and of its neighbours are farther than sqrt(.6) or nearly so.
        noise = simplex.basis(near[:1], near[1:2], near[2:], seed).item()
        assert noise == pytest.approx(simplex.AMPLITUDE * expected, abs=0.05)


def test_gradients_are_the_twelve_edges_of_a_cube() -> None:
    assert simplex.GRADIENTS.shape == (12, 3)
    assert len({tuple(g) for g in simplex.GRADIENTS.tolist()}) == 12
    assert (simplex.GRADIENTS.square().sum(1) == 2).all()


def test_a_bank_cuts_windows_mirrored_or_negated_but_never_altered() -> None:
    whole = torch.arange(2 * 8 * 9, dtype=torch.float32).view(2, 1, 8, 9) + 1
    drawn = simplex.Bank(whole).draw(200, 5, 6)
    assert drawn.shape == (200, 1, 5, 6)
    places, orders, signs = set(), set(), set()
    for window in drawn[:, 0]:
        values = window.abs()
        down, across = (values[1, 0] - values[0, 0]).item(), (values[0, 1] - values[0, 0]).item()
        assert abs(down) == 9  # neighbours stay neighbours
        assert abs(across) == 1
        places.add(values.min().item())
        orders.add((down > 0, across > 0))
        signs.add(window[0, 0].sign().item())
    assert len(places) > 15  # of 2 x 4 x 4
    assert len(orders) == 4
    assert signs == {1.0, -1.0}


def test_windows_of_a_bank_are_not_shared() -> None:
    bank = simplex.Bank(simplex.fields(30, 64, 64))
    similar = torch.corrcoef(bank.draw(20, 24, 24).flatten(1)) - torch.eye(20)
    assert similar.abs().max() < 0.999
