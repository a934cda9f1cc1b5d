"""Controls that learn nothing of lesions: position alone, and a tissue model of the scan itself."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from uadbench import methods
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning.tissues import fit_tissues
from uadbench.methods import Context

Toy = Callable[..., list[Prepared]]
G48 = GRIDS["g48"]
tissue_model: Any = importlib.import_module(methods.load("gmm_atlas").__module__)


def test_edge_distance_is_how_deep_a_voxel_lies_in_its_slice() -> None:
    brain = np.zeros((9, 9, 2), bool)
    brain[1:8, 1:8, 0] = True
    image = np.random.default_rng(0).random((1, 9, 9, 2), np.float32) * brain
    deep: Any = methods.build("edge_distance", "ci")
    found = deep.score(Volume(image, brain, 2.0, ("T1",))).score_map
    assert [found[4, 4, 0], found[1, 4, 0], found[2, 2, 0]] == [
        8.0,
        2.0,
        4.0,
    ]  # mm to the first voxel outside
    assert not found[~brain].any()
    rim: Any = methods.build("edge_distance", "ci", {"deep": "false"})
    found = rim.score(Volume(image, brain, 2.0, ("T1",))).score_map
    assert [found[4, 4, 0], found[1, 4, 0]] == [0.125, 0.5]


def test_mean_residual_is_the_mean_deviation_from_the_healthy_mean_and_one_map_for_all(toy: Toy) -> None:
    train = Volumes(toy(range(3), True), G48)
    ill = Volumes(toy(range(5, 7), False), G48)
    method: Any = methods.build("mean_residual", "ci").fit(train, train, Context())
    images = np.stack([train[k].image[0] for k in range(3)]).astype(np.float64)
    expected = np.abs(images - images.mean(0)).mean(0)
    for number in (0, 1):
        volume = ill[number]
        np.testing.assert_allclose(method.score(volume).score_map, expected * volume.brain, atol=1e-6)


def test_expectation_maximisation_finds_known_tissues() -> None:
    random = np.random.default_rng(0)
    means, deviations = np.array([0.15, 0.55, 0.8]), np.array([0.05, 0.04, 0.03])
    truth = random.choice(3, 60_000, p=[0.2, 0.45, 0.35])
    intensities = random.normal(means[truth], deviations[truth])
    sure = np.eye(3)[truth].T * 0.4 + 0.2  # the atlas is right more often than not
    model = fit_tissues(intensities, sure / sure.sum(0))
    np.testing.assert_allclose(model.means, means, atol=0.005)
    np.testing.assert_allclose(model.deviations, deviations, atol=0.005)
    assert (model.posterior.argmax(0) == truth).mean() > 0.97
    np.testing.assert_allclose(model.posterior.sum(0), 1)


def test_a_scan_of_one_value_has_a_model_too() -> None:
    model = fit_tissues(np.full(10, 0.5), np.full((3, 10), 1 / 3))
    np.testing.assert_allclose(model.means, 0.5)
    assert np.isfinite(model.posterior).all()


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ((0.1, 0.5, 0.8), -1),  # T1: fluid is dark
        ((0.9, 0.5, 0.4), 1),  # T2: fluid is bright
        ((0.1, 0.6, 0.5), 1),  # FLAIR: fluid is suppressed, and water in tissue is bright
        ((0.7, 0.6, 0.5), 1),  # PD
    ],
)
def test_which_way_water_goes(means: tuple[float, ...], expected: float) -> None:
    assert tissue_model.towards_water(np.array(means)) == expected


def painted_brain() -> Volume:
    """The atlas's own tissues in three greys, and a bright lesion."""
    prior = tissue_model.tissue_prior("g48").numpy()  # (S, 4, R, A)
    brain = np.moveaxis(prior[:, 0] < 0.5, 0, 2)
    tissue = np.moveaxis(prior[:, 1:].argmax(1), 0, 2)
    image = np.array([0.1, 0.6, 0.5], np.float32)[tissue] * brain
    depth = distance_transform_edt(brain)
    place = tuple(slice(max(0, c - 2), c + 3) for c in np.unravel_index(depth.argmax(), depth.shape))
    image[place] = 0.9
    return Volume(image[None], brain, G48.spacing_mm, ("FLAIR",))


def test_the_atlas_is_painted_with_the_scan_s_own_tissues_and_a_lesion_stands_out() -> None:
    volume = painted_brain()
    lesion = volume.image[0] == np.float32(0.9)
    l1: Any = methods.build("gmm_atlas", "ci", {"score_kind": "l1"})
    found = l1.score(volume)
    assert found.pseudo_healthy is not None
    assert np.abs(found.pseudo_healthy[0] - volume.image[0])[volume.brain & ~lesion].mean() < 0.06
    assert found.score_map[lesion].mean() > 5 * found.score_map[volume.brain & ~lesion].mean()
    water: Any = methods.build("water", "ci")
    signed = water.score(volume).score_map
    residual = volume.image[0] - found.pseudo_healthy[0]
    np.testing.assert_allclose(
        signed, (np.maximum(residual, 0) + 0.25 * np.abs(residual)) * volume.brain, atol=1e-6
    )


def test_the_posterior_follows_the_scan_where_the_prior_follows_the_atlas() -> None:
    volume = painted_brain()
    prior, posterior = (
        methods.build("gmm_atlas", "ci", {"paint": paint}).reconstruct(volume)  # type: ignore[attr-defined]
        for paint in ("prior", "posterior")
    )
    errors = [np.abs(made[0] - volume.image[0])[volume.brain].mean() for made in (prior, posterior)]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("name", ["gmm_atlas", "edge_distance", "mean_residual"])
def test_a_scan_without_a_brain_has_no_score(name: str, toy: Toy) -> None:
    train = Volumes(toy(range(2), True), G48)
    empty = Volume(np.zeros((1, *G48.shape), np.float32), np.zeros(G48.shape, bool), G48.spacing_mm, ("T1",))
    method: Any = methods.build(name, "ci").fit(train, train, Context())
    if name == "gmm_atlas":
        method.score_kind = "l1"
    assert not method.score(empty).score_map.any()
