import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from uadbench.data.space import GRIDS, Grid
from uadbench.evaluation.medians import median
from uadbench.evaluation.metrics import measure
from uadbench.evaluation.postprocess import LOWEST, PROFILES, Profile, drop_components, eroded, filtered

GRID = Grid("toy", (24, 26, 20), 1.0, (0.0, 0.0, 0.0))


def ball(radius: float) -> NDArray[np.bool_]:
    """Voxels of GRID within a distance of its centre."""
    mesh = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in GRID.shape), indexing="ij")
    inside: NDArray[np.bool_] = sum(m**2 for m in mesh) <= radius**2
    return inside


def noise(shape: tuple[int, ...], kind: str, seed: int) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    values = random.normal(size=shape)
    if kind == "tied":
        values = np.round(values * 1.5)
    if kind == "constant":
        values[:] = values.flat[0]
    if kind == "sparse":
        values[random.random(shape) < 0.9] = 0
    return values.astype(np.float32)


@given(
    st.tuples(st.integers(1, 22), st.integers(1, 22), st.integers(1, 40)),
    st.sampled_from(["random", "tied", "constant", "sparse"]),
    st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 7)),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_median_is_that_of_scipy(
    shape: tuple[int, int, int], kind: str, window: tuple[int, int, int], seed: int
) -> None:
    volume = noise(shape, kind, seed)
    np.testing.assert_array_equal(median(volume, window), ndimage.median_filter(volume, window))


def test_median_keeps_the_voxels_that_are_not_asked_for() -> None:
    volume, where = noise(GRID.shape, "random", 3), ball(6)
    expected = np.where(where, ndimage.median_filter(volume, 5), volume)
    np.testing.assert_array_equal(median(volume, (5, 5, 5), where), expected)


def test_median_does_not_change_its_input() -> None:
    volume = noise(GRID.shape, "random", 4)
    before = volume.copy()
    median(volume, (5, 5, 5))
    np.testing.assert_array_equal(volume, before)


def test_a_nan_reaches_the_measurement_that_refuses_it() -> None:
    score_map = noise(GRID.shape, "random", 5)
    score_map[12, 13, 10] = np.nan
    brain = ball(9)
    for name in ("raw", "baur5"):
        found = filtered(score_map, brain, PROFILES[name], GRID)
        with pytest.raises(ValueError, match="finite"):
            measure(found, brain)


def test_profiles_are_those_of_the_protocol() -> None:
    assert list(PROFILES) == ["raw", "median3", "baur5", "dae20", "median4"]
    assert PROFILES["raw"] == Profile("raw", 0, 0, 0)
    assert PROFILES["median3"] == Profile("median3", 0, 3, 0)
    assert PROFILES["baur5"] == Profile("baur5", 3, 5, 7)
    assert PROFILES["dae20"] == Profile("dae20", 0, 0, 20)
    assert PROFILES["median4"] == Profile("median4", 0, 4, 0)


def test_raw_only_marks_what_lies_outside_the_brain() -> None:
    score_map, brain = noise(GRID.shape, "random", 6), ball(8)
    found = filtered(score_map, brain, PROFILES["raw"], GRID)
    np.testing.assert_array_equal(found, np.where(brain, score_map, LOWEST))
    assert found.dtype == np.float32


def test_baur5_takes_the_median_over_a_background_of_the_lowest_score_and_erodes_its_result() -> None:
    score_map, brain = noise(GRID.shape, "random", 7), ball(9)
    found = filtered(score_map, brain, PROFILES["baur5"], GRID)
    inside = np.where(brain, score_map, score_map[brain].min())
    expected = ndimage.median_filter(inside, 5)
    kept = eroded(brain, 3, GRID)
    np.testing.assert_array_equal(found[kept], expected[kept])
    assert (found[~kept] == LOWEST).all()
    assert 0 < kept.sum() < brain.sum()


@pytest.mark.parametrize("name", PROFILES)
def test_post_processing_knows_the_order_of_scores_alone(name: str) -> None:
    """Scores below 0 would lie under a background of 0, and scores around 1000 far above it."""

    def ranks(score_map: NDArray[np.float32]) -> NDArray[np.intp]:
        return np.unique(filtered(score_map, brain, PROFILES[name], GRID), return_inverse=True)[1]

    score_map, brain = np.round(10 * noise(GRID.shape, "random", 8)), ball(9)  # whole numbers: no two merge
    for image in (score_map - np.float32(1000), np.float32(1000) + score_map, score_map * np.float32(1e-44)):
        np.testing.assert_array_equal(ranks(image), ranks(score_map))


def test_erosion_is_in_millimetres_and_in_plane() -> None:
    brain = np.zeros(GRID.shape, bool)
    brain[4:19, 4:19, 5:8] = True
    at_1_mm = eroded(brain, 3, GRID)
    assert at_1_mm.sum() == 9 * 9 * 3
    at_2_mm = eroded(brain, 3, Grid("toy", GRID.shape, 2.0, GRID.origin_mm))
    assert at_2_mm.sum() == 13 * 13 * 3
    assert eroded(brain, 3, Grid("toy", GRID.shape, 4.0, GRID.origin_mm)).sum() == brain.sum()


def test_components_up_to_the_limit_are_dropped_and_diagonals_connect() -> None:
    binary = np.zeros(GRID.shape, bool)
    binary[0, 0, :7] = True
    binary[5, 5, :8] = True
    for step in range(9):  # one component by its corners only
        binary[10 + step, 10 + step, 5 + step] = True
    kept = drop_components(binary, PROFILES["baur5"], GRID)
    assert not kept[0].any()
    assert kept.sum() == 8 + 9
    assert not drop_components(binary, PROFILES["dae20"], GRID).any()
    np.testing.assert_array_equal(drop_components(binary, PROFILES["raw"], GRID), binary)
    assert not drop_components(np.zeros(GRID.shape, bool), PROFILES["baur5"], GRID).any()


def test_a_plane_is_filtered_as_in_two_dimensions() -> None:
    plane = noise((30, 31, 1), "random", 8)
    for size in (4, 5):
        expected = ndimage.median_filter(plane[:, :, 0], size)
        np.testing.assert_array_equal(median(plane, (size, size, size))[:, :, 0], expected)


def test_published_defect_axes_mixed_up_are_refused() -> None:
    grid = GRIDS["g48"]
    turned = np.zeros(grid.shape, np.float32).transpose(1, 0, 2)
    with pytest.raises(ValueError, match="g48"):
        filtered(turned, np.ones(grid.shape, bool), PROFILES["raw"], grid)
    with pytest.raises(ValueError, match="g48"):
        drop_components(turned > 0, PROFILES["raw"], grid)


def test_a_profile_means_the_same_millimetres_on_every_grid() -> None:
    baur, median4 = PROFILES["baur5"], PROFILES["median4"]

    assert [baur.median_voxels(GRIDS[name])[0] for name in ("g192", "g96", "g48")] == [5, 3, 1]
    assert [median4.median_voxels(GRIDS[name])[0] for name in ("g192", "g96")] == [4, 2]
    lone = np.zeros(GRIDS["g96"].shape, bool)
    lone[5, 5, 5] = True  # 8 mm3
    assert drop_components(lone, baur, GRIDS["g96"]).any()
    assert not drop_components(lone, PROFILES["dae20"], GRIDS["g96"]).any()
