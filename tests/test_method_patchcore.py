"""PatchCore: the patches, the pooling, the greedy coreset and the distance to it."""

import importlib
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch.nn import functional

from uadbench import methods
from uadbench.cards import method_card
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volumes
from uadbench.learning.features import STAGE_CHANNELS, Features, read_spread
from uadbench.methods import Context
from uadbench.system.errors import UserError

module: Any = importlib.import_module(methods.load("patchcore").__module__)
Toy = Callable[..., list[Prepared]]
G48 = GRIDS["g48"]


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# The features.


def test_maps_keep_their_own_resolutions_and_are_those_that_are_brought_to_one_size() -> None:
    features = Features(5, 16)
    image = torch.rand(2, 1, 48, 56, generator=torch.Generator().manual_seed(0))
    maps = features.maps(image)
    strides = (2, 2, 4, 8, 16, 16)
    expected = [(2, c, -(-48 // s), -(-56 // s)) for c, s in zip(STAGE_CHANNELS[:6], strides, strict=True)]
    assert [tuple(one.shape) for one in maps] == expected
    sized = [functional.interpolate(one, (16, 16), mode="bilinear", align_corners=True) for one in maps]
    assert torch.equal(features(image), torch.cat(sized, 1))


def test_slices_are_spread_over_the_volumes(toy: Toy) -> None:
    volumes = Volumes(toy(range(4), True), G48)
    which = volumes.slices()
    found = read_spread(volumes, 8)
    assert found.shape == (8, 1, 48, 56)
    rows = (np.arange(8) * (len(which) - 1) / 7).astype(int)
    assert sorted(which[rows][:, 0]) == [0, 0, 1, 1, 2, 2, 3, 3]
    np.testing.assert_array_equal(found, volumes.read_slices(which[rows])[0])
    assert len(read_spread(volumes, 10_000)) == len(which), "no slice twice"
    with pytest.raises(UserError, match="at least one slice"):
        read_spread(Volumes([], G48), 8)


# The patches.


def test_a_patch_is_the_mean_over_its_neighbourhood_in_both_stages() -> None:
    image = torch.rand(1, 1, 96, 112, generator=torch.Generator().manual_seed(0))
    patches = module.Patches(3)(image)
    assert patches.shape == (1, 40 + 112, 12, 14)
    maps = Features(5).maps(image)
    middle = maps[3][0, :, 4:7, 6:9].mean((1, 2))
    torch.testing.assert_close(patches[0, :40, 5, 7], middle)
    # Of the half as large map: each place lies a quarter of a step from one mean and three from the next.
    means = functional.avg_pool2d(maps[5], 3, 1, 1)[0]
    rows = 0.25 * means[:, 1] + 0.75 * means[:, 2]  # of row 4: at (4 + .5) / 2 - .5 = 1.75
    torch.testing.assert_close(patches[0, 40:, 4, 6], 0.25 * rows[:, 2] + 0.75 * rows[:, 3])


def test_pooling_is_that_of_each_stage_and_then_of_both() -> None:
    rows = draw(5, 152)
    halves = [functional.adaptive_avg_pool1d(part, 1024) for part in (rows[:, :40], rows[:, 40:])]
    expected = functional.adaptive_avg_pool1d(torch.cat(halves, 1), 1024)
    torch.testing.assert_close(rows @ module.pooling(1024), expected)
    # By hand: to 2 numbers each are means of 20 and of 56 channels, to 2 in all one mean of each stage.
    by_hand = torch.stack([rows[:, :40].mean(1), rows[:, 40:].mean(1)], 1)
    torch.testing.assert_close(rows @ module.pooling(2), by_hand)


def test_rows_stand_place_by_place() -> None:
    maps = draw(2, 3, 4, 5)
    rows = module.rows_of(maps)
    assert torch.equal(rows[1 * 20 + 2 * 5 + 3], maps[1, :, 2, 3])


# The coreset.


def test_centres_are_each_time_the_farthest_point_from_those_before() -> None:
    """On a line, from 1: 10 is 9 away; then 6 is 4 away, 4 is 3; then 4 is 2 away, 0 is 1."""
    points = torch.tensor([[0.0], [1.0], [4.0], [6.0], [10.0]])
    assert list(module.greedy_centres(points, 1)) == [1, 4, 3, 2, 0]


def test_centres_are_greedy_k_centre_in_many_dimensions() -> None:
    points = draw(200, 7)
    chosen = list(islice(module.greedy_centres(points, 17), 20))
    expected = [17]
    while len(expected) < 20:
        expected.append(int(torch.cdist(points, points[expected]).min(1).values.argmax()))
    assert chosen == expected


def test_equal_points_are_not_taken_twice() -> None:
    points = torch.ones(4, 3)
    assert sorted(module.greedy_centres(points, 2)) == [0, 1, 2, 3]


@pytest.mark.parametrize(("settings", "expected"), [({}, 24), ({"largest": 10}, 10), ({"share": 0.0}, 1)])
def test_the_coreset_is_a_share_of_the_patches_up_to_the_largest(
    toy: Toy, settings: dict[str, Any], expected: int
) -> None:
    """20 slices of 48 x 56 pixels have maps of 6 x 7 places: 840 patches."""
    volumes = Volumes(toy(range(2), True), G48)
    options = {"grid": "g48", "slices": 20, "share": 24 / 840, "length": 16} | settings
    method = module.PatchCore(**options).fit(volumes, volumes, Context())
    coreset = method.state()["coreset"]
    assert coreset.shape == (expected, 16)
    patches = module.rows_of(module.Patches(5)(torch.from_numpy(read_spread(volumes, 20))))
    pooled = (patches @ module.pooling(16)).numpy()
    gaps, _ = NearestNeighbors(n_neighbors=1).fit(pooled).kneighbors(coreset)
    assert gaps.max() < 1e-4, "each is a patch of the slices"
    assert method.parameter_count() == 16 * expected


# The score.


def test_distances_are_those_of_sklearn(monkeypatch: pytest.MonkeyPatch) -> None:
    points, coreset = draw(300, 40), draw(50, 40, seed=1)
    expected, _ = NearestNeighbors(n_neighbors=1).fit(coreset.numpy()).kneighbors(points.numpy())
    np.testing.assert_allclose(module.nearest_distance(points, coreset).numpy(), expected[:, 0], rtol=1e-5)
    monkeypatch.setattr(module, "CHUNK", 7)
    np.testing.assert_allclose(module.nearest_distance(points, coreset).numpy(), expected[:, 0], rtol=1e-5)


def test_the_distance_of_a_remembered_patch_is_exactly_0() -> None:
    coreset = 1000 + draw(50, 40)
    assert not module.nearest_distance(coreset[7:9], coreset).any()


def test_the_score_is_the_distance_of_each_place_enlarged_to_the_slice(toy: Toy) -> None:
    train, ill = Volumes(toy(range(2), True), G48), Volumes(toy(range(5, 6), False), G48)
    options = {"grid": "g48", "slices": 20, "share": 0.1, "length": 32}
    method = module.PatchCore(**options).fit(train, train, Context())
    volume = ill[0]
    score_map = method.score(volume).score_map
    with torch.inference_mode():
        patches = module.Patches(5)(torch.from_numpy(volume.image[:, None, :, :, 20].copy()))
    pooled = (module.rows_of(patches) @ module.pooling(32)).numpy()
    distances, _ = NearestNeighbors(n_neighbors=1).fit(method.state()["coreset"]).kneighbors(pooled)
    small = torch.from_numpy(distances.astype(np.float32)).reshape(1, 1, 6, 7)
    expected = functional.interpolate(small, (48, 56), mode="bilinear")[0, 0].numpy()
    np.testing.assert_allclose(score_map[..., 20], expected * volume.brain[..., 20], atol=1e-4)


def test_the_card_says_that_this_is_a_variant() -> None:
    card = method_card("patchcore")
    assert "lite0" in card.title
    assert "WideResNet50" in card.differences[0]
    assert "not those of this variant" in card.differences[0]
    assert card.family == "feature"
