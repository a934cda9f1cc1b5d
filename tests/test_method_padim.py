"""PaDiM: a Gaussian at each position and height, and the Mahalanobis distance to it."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from torch.nn import functional

from uadbench import methods
from uadbench.cards import method_card
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volumes
from uadbench.learning.features import Features
from uadbench.methods import Context
from uadbench.system.errors import UserError

module: Any = importlib.import_module(methods.load("padim").__module__)
Toy = Callable[..., list[Prepared]]
G48 = GRIDS["g48"]
OPTIONS: dict[str, Any] = {"grid": "g48", "last_stage": 2, "channels": 6, "side": 4, "slab_mm": 40.0}


def test_the_distance_by_hand() -> None:
    """Features -1 and 1 apart from their mean 3, and 0: variances 2 + .01 and .01, no covariance."""
    gaussians = module.Gaussians(1, 2)
    gaussians.add(torch.tensor([[[2.0, 4.0], [5.0, 5.0]]]))  # (P, d, n)
    mean, inverse = gaussians.solve()
    assert mean.tolist() == [[3.0, 5.0]]
    expected = torch.tensor([[[1 / 2.01**0.5, 0.0], [0.0, 10.0]]])
    torch.testing.assert_close(inverse, expected)
    found = module.mahalanobis(torch.tensor([[[3.0, 5.0, 3.0], [5.0, 5.0, 5.5]]]), mean, inverse)
    torch.testing.assert_close(found, torch.tensor([[0.0, 2 / 2.01**0.5, 5.0]]))


def test_distances_are_those_of_scipy_and_numpy() -> None:
    random = np.random.default_rng(0)
    healthy = random.normal(2, 1, (3, 5, 5)) @ random.normal(0, 1, (3, 5, 40))
    other = random.normal(0, 3, (3, 5, 4))
    gaussians = module.Gaussians(3, 5)
    for chunk in np.split(healthy.astype(np.float32), [1, 20], 2):
        gaussians.add(torch.from_numpy(chunk))
    mean, inverse = gaussians.solve()
    found = module.mahalanobis(torch.from_numpy(other.astype(np.float32)), mean, inverse)
    assert found.shape == (3, 4)
    for position in range(3):
        precision = np.linalg.inv(np.cov(healthy[position]) + 0.01 * np.eye(5))
        centre = healthy[position].mean(1)
        expected = [mahalanobis(one, centre, precision) for one in other[position].T]
        np.testing.assert_allclose(found[position].numpy(), expected, rtol=1e-3)


def test_one_slice_leaves_the_shrinkage_alone() -> None:
    gaussians = module.Gaussians(2, 3)
    gaussians.add(torch.ones(2, 3, 1))
    _, inverse = gaussians.solve()
    torch.testing.assert_close(inverse, 10 * torch.eye(3).expand(2, 3, 3))


def test_channels_are_drawn_by_the_seed_and_all_where_there_are_fewer(toy: Toy) -> None:
    volumes = Volumes(toy(range(2), True), G48)

    def drawn(seed: int, **settings: Any) -> list[int]:
        method = module.PaDiM(**OPTIONS | settings).fit(volumes, volumes, Context(seed=seed))
        channels: list[int] = method.state()["channels"].tolist()
        return channels

    assert drawn(0) == drawn(0) != drawn(1)
    assert len(set(drawn(0))) == 6
    assert drawn(0, channels=1000) == list(range(32 + 16 + 24))


def test_each_slab_has_gaussians_of_its_own_slices_and_a_slice_is_compared_with_its_slab(toy: Toy) -> None:
    train, ill = Volumes(toy(range(3), True), G48), Volumes(toy(range(5, 6), False), G48)
    method = module.PaDiM(**OPTIONS).fit(train, train, Context())
    state = method.state()
    which = train.slices()
    assert state["slab_slices"].tolist() == [10]
    assert state["slabs"].tolist() == sorted(set(which[:, 1] // 10))
    assert state["mean"].shape == (len(state["slabs"]), 16, 6)
    assert state["inverse"].shape == (len(state["slabs"]), 16, 6, 6)

    network = Features(2, 4)
    with torch.inference_mode():
        seen = network(torch.from_numpy(train.read_slices(which[which[:, 1] // 10 == 2])[0]))
        volume = ill[0]
        asked = network(torch.from_numpy(volume.image[:, None, :, :, 23].copy()))
    seen, asked = (one[:, state["channels"]].double().numpy() for one in (seen, asked))
    small = np.zeros((4, 4))
    for i, j in np.ndindex(4, 4):
        precision = np.linalg.inv(np.cov(seen[:, :, i, j].T) + 0.01 * np.eye(6))
        small[i, j] = mahalanobis(asked[0, :, i, j], seen[:, :, i, j].mean(0), precision)
    large = functional.interpolate(
        torch.from_numpy(small)[None, None], (48, 56), mode="bilinear", align_corners=True
    )
    expected = large[0, 0].numpy() * volume.brain[..., 23]
    np.testing.assert_allclose(method.score(volume).score_map[..., 23], expected, rtol=1e-3, atol=1e-4)


def test_slices_beyond_all_slabs_go_to_the_nearest(toy: Toy) -> None:
    train = Volumes(toy(range(3), True), G48)
    method = module.PaDiM(**OPTIONS).fit(train, train, Context())
    state = method.state()
    fewer = {key: state[key][1:2] if key in ("slabs", "mean", "inverse") else state[key] for key in state}
    alone = module.PaDiM(**OPTIONS).load_state(fewer, Context())
    volume = train[0]
    score_map = alone.score(volume).score_map
    covered = volume.brain.any((0, 1))
    assert (score_map.any((0, 1)) == covered).all()


def test_without_a_slice_there_is_nothing_to_learn() -> None:
    with pytest.raises(UserError, match="at least one slice"):
        module.PaDiM(**OPTIONS).fit(Volumes([], G48), Volumes([], G48), Context())


def test_the_card_says_that_this_is_a_variant_which_compares_places() -> None:
    card = method_card("padim")
    assert "lite0" in card.title
    assert "ResNet18" in card.differences[0]
    assert "not those of this variant" in card.differences[0]
    assert card.template_space
