"""Atlas z-score: statistics, floor and intensity matching on values worked out by hand."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from uadbench import methods
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volume, Volumes
from uadbench.methods import Context
from uadbench.system.errors import UserError

AtlasZ = methods.load("atlas_z")
module: Any = importlib.import_module(AtlasZ.__module__)
Toy = Callable[..., list[Prepared]]
GRID = GRIDS["g48"]


def test_moments_are_those_of_numpy_even_far_from_zero() -> None:
    images = np.random.default_rng(0).normal(1e4, 1, (50, 6)).astype(np.float32)
    moments = module.Moments((6,))
    for image in images:
        moments.add(image)
    np.testing.assert_allclose(moments.mean, images.mean(0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(moments.deviation(), images.std(0, ddof=1, dtype=np.float64), rtol=1e-9)


@pytest.mark.parametrize(("sided", "expected"), [("both", 2.0), ("bright", -2.0), ("dark", 2.0)])
def test_the_score_is_the_distance_from_the_mean_in_deviations(sided: str, expected: float) -> None:
    shape = (4, 4, 4)
    state = {
        "T1.mean": np.full(shape, 0.7, np.float32),
        "T1.deviation": np.full(shape, 0.15, np.float32),
    }
    method = AtlasZ(sigma_mm=0.0, sided=sided).load_state(state, Context())  # type: ignore[call-arg]
    volume = Volume(np.full((1, *shape), 0.4, np.float32), np.ones(shape, bool), 4.0, ("T1",))
    np.testing.assert_allclose(method.score(volume).score_map, expected, rtol=1e-5)


def test_the_floor_keeps_voxels_without_variation_finite(toy: Toy) -> None:
    """Deviation and floor add up as variances: sqrt(0 + floor^2) where all volumes agree."""
    method = AtlasZ().fit(Volumes(toy(range(5), True), GRID), Volumes([], GRID), Context())
    deviation = method.state()["T1.deviation"]
    assert deviation.min() > 0
    corner = deviation[0, 0, 0]  # background in all volumes: the floor alone
    assert corner == deviation.min()


def test_smoothing_is_in_millimetres() -> None:
    point = np.zeros((41, 1, 1), np.float32)
    point[20] = 1
    for spacing_mm in (1.0, 2.0):
        smoothed = module.smooth(point, spacing_mm, sigma_mm=4.0)[:, 0, 0]
        position_mm = (np.arange(41) - 20) * spacing_mm
        # Across axes of one voxel everything else leaves the volume: compare shapes only.
        assert (smoothed / smoothed.sum() * position_mm**2).sum() == pytest.approx(16.0, rel=0.02)


def test_matching_recovers_slope_and_offset_although_a_lesion_is_there() -> None:
    random = np.random.default_rng(0)
    mean = random.random((10, 10, 10)).astype(np.float32)
    brain = random.random(mean.shape) > 0.3
    image = 0.6 * mean + 0.1
    image[:2, :4] = 1.0  # 8 % of the volume
    matched = module.match_mean(mean, image, brain)
    np.testing.assert_allclose(matched[brain], 0.6 * mean[brain] + 0.1, atol=1e-4)
    assert not matched[~brain].any()


def test_each_contrast_has_an_atlas_of_its_own(toy: Toy) -> None:
    t1 = toy(range(4), True)
    t2 = [replace(p, contrast="T2") for p in toy(range(4, 8), True)]
    nobody = Volumes([], GRID)
    both = AtlasZ().fit(Volumes([*t1, *t2], GRID), nobody, Context())
    alone = AtlasZ().fit(Volumes(t1, GRID), nobody, Context())
    assert set(both.state()) == {f"{c}.{part}" for c in ("T1", "T2") for part in ("mean", "deviation")}
    np.testing.assert_array_equal(both.state()["T1.mean"], alone.state()["T1.mean"])
    with pytest.raises(UserError, match="learned T1, got a volume of T2"):
        alone.score(Volumes(t2, GRID)[0])


def test_one_volume_is_not_enough(toy: Toy) -> None:
    with pytest.raises(UserError, match="at least 2"):
        AtlasZ().fit(Volumes(toy(range(1), True), GRID), Volumes([], GRID), Context())
