"""PCA: subspaces, chunks, slabs."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from uadbench import methods
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volumes
from uadbench.methods import Context

PCA = methods.load("pca")
module: Any = importlib.import_module(PCA.__module__)
Toy = Callable[..., list[Prepared]]
GRID = GRIDS["g48"]
RANDOM = np.random.default_rng(0)


def rows(count: int, rank: int, length: int = 50) -> np.ndarray:
    """Points of an affine subspace."""
    plane = RANDOM.normal(size=(rank, length)) * np.linspace(1, 3, rank)[:, None]
    return (RANDOM.normal(size=(count, rank)) @ plane + 5).astype(np.float32)


def decomposed(points: np.ndarray, components: int, chunks: int) -> Any:
    model = module.IncrementalPCA(components, points.shape[1])
    for chunk in np.array_split(points, chunks):
        model.add(chunk)
    return model


@pytest.mark.parametrize("chunks", [1, 4])
def test_points_of_the_subspace_are_reconstructed(chunks: int) -> None:
    points = rows(40, rank=6)
    model = decomposed(points, 6, chunks)
    basis = model.basis()
    np.testing.assert_allclose(basis @ basis.T, np.eye(6), atol=1e-4)
    np.testing.assert_allclose(model.mean + (points - model.mean) @ basis.T @ basis, points, atol=1e-3)


@pytest.mark.parametrize("chunks", [1, 5])
def test_components_are_those_of_the_singular_value_decomposition(chunks: int) -> None:
    points = rows(60, rank=8)
    model = decomposed(points, 8, chunks)
    np.testing.assert_allclose(model.mean, points.mean(0), atol=1e-4)
    exact = np.linalg.svd(points - points.mean(0))[2][:8]
    agreement = np.abs(model.basis()[::-1] @ exact.T)  # ours come weakest first
    np.testing.assert_allclose(agreement, np.eye(8), atol=5e-3)


def test_a_basis_has_no_more_components_than_the_points_span() -> None:
    assert len(decomposed(rows(5, rank=20), 16, 1).basis()) == 4
    assert len(decomposed(rows(30, rank=3), 16, 3).basis()) == 3


def test_training_slices_come_back_where_all_components_are_kept(toy: Toy) -> None:
    train = Volumes(toy(range(3), True), GRID)
    score = PCA(components=64).fit(train, Volumes([], GRID), Context()).score(train[1])  # type: ignore[call-arg]
    seen = np.unique(train.slices()[train.slices()[:, 0] == 1, 1])
    assert score.pseudo_healthy is not None
    np.testing.assert_allclose(score.pseudo_healthy[..., seen], train[1].image[..., seen], atol=2e-3)


@pytest.mark.parametrize(("slab_mm", "slices"), [(4.0, 1), (8.0, 2), (10.0, 2), (1.0, 1)])
def test_a_slab_is_a_number_of_millimetres(toy: Toy, slab_mm: float, slices: int) -> None:
    train = Volumes(toy(range(2), True), GRID)
    method = PCA(slab_mm=slab_mm, components=2).fit(train, train, Context())  # type: ignore[call-arg]
    state = method.state()
    assert state["slab_slices"][0] == slices
    np.testing.assert_array_equal(state["slabs"], np.unique(train.slices()[:, 1] // slices))
