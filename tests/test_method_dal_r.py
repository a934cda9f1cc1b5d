"""DAL-R: its operators on hand-made tensors, and what its parts must keep."""

import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from uadbench import methods
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning.tissues import in_brain, tissue_prior
from uadbench.methods import Context
from uadbench.system.environment import seed_everything

package = methods.load("dal_r").__module__.rpartition(".")[0]
model, variants, fields, method = (
    importlib.import_module(f"{package}.{name}") for name in ("model", "variants", "fields", "method")
)


def maps(labels: list[list[int]]) -> torch.Tensor:
    """Anatomy (1, 3, R, A) of labels 0, 1 and 2 for certain."""
    return functional.one_hot(torch.tensor([labels]), 3).movedim(-1, 1).float()


SQUARE = [[1, 1, 1, 1, 1, 1], *[[1, 2, 2, 2, 2, 1]] * 4, [1, 1, 1, 1, 1, 1]]
VAGUE = torch.full((1, 3, 1, 1), 1 / 3)


# Disentangle.


def test_the_imaging_code_is_each_tissues_mean_and_deviation() -> None:
    """Three tissues in three stripes, of a vague atlas; the inverted contrast has the inverted means."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 4000)
    prior = np.full((3, len(labels)), 0.2, np.float32)
    prior[labels, np.arange(len(labels))] = 0.6
    for means in ([0.1, 0.5, 0.9], [0.9, 0.6, 0.2]):
        image = (np.array(means)[labels] + 0.05 * random.standard_normal(len(labels))).astype(np.float32)
        code = model.imaging_code(image, prior)
        np.testing.assert_allclose(code, [means, [0.05] * 3], atol=0.01)


def test_the_imaging_code_of_a_large_scan_is_found_from_a_part_of_it(monkeypatch: Any) -> None:
    monkeypatch.setattr(model, "VOXELS", 10)
    image, prior = np.arange(35, dtype=np.float32), np.full((3, 35), 1 / 3, np.float32)
    np.testing.assert_equal(model.imaging_code(image, prior), model.imaging_code(image[::3], prior[:, ::3]))


def test_the_seen_anatomy_is_bayes_rule() -> None:
    """At .5, between tissues at .4 and .6 of deviation .1 and a third far away: as the atlas has it."""
    code = torch.tensor([[[0.4, 0.6, 9.0], [0.1, 0.1, 0.1]]])
    prior = torch.tensor([0.6, 0.3, 0.1]).view(1, 3, 1, 1)
    seen = model.seen_anatomy(torch.full((1, 1, 1, 1), 0.5), model.over_pixels(code[:, 0]), code, prior)
    torch.testing.assert_close(seen.flatten(), torch.tensor([0.61, 0.31, 0]) / 0.92)
    outside = model.seen_anatomy(torch.zeros(1, 1, 1, 1), model.over_pixels(code[:, 0]), code, 0 * prior)
    assert not outside.any()


# Restore.


@pytest.mark.parametrize(("kind", "with_prior"), [("anatomy", True), ("edges", False), ("nothing", True)])
def test_slices_of_any_grid_come_back_as_log_probabilities(kind: str, with_prior: bool) -> None:
    restorer = method.DalR(shown=kind, prior=with_prior, width=4).build().eval()
    for grid in ("g48", "g96"):
        rows, columns, _ = GRIDS[grid].shape
        anatomy, brain = torch.rand(1, 3, rows, columns), torch.ones(1, 1, rows, columns)
        answer = restorer(variants.shown(anatomy, kind), brain, torch.rand(1, 3, rows, columns))
        assert answer.shape == (1, 3, rows, columns)
        torch.testing.assert_close(answer.exp().sum(1), torch.ones(1, rows, columns))


def test_the_restoration_loss_is_the_cross_entropy_over_the_brain() -> None:
    """Two brain pixels with p = 1/2 and 1/4 of the right tissue, and one outside, which counts nothing."""
    restored = torch.tensor([[0.5, 0.25, 0.1], [0.25, 0.25, 0.1], [0.25, 0.5, 0.8]]).view(1, 3, 1, 3)
    anatomy = torch.tensor([[1.0, 1, 0], [0, 0, 0], [0, 0, 0]]).view(1, 3, 1, 3)
    loss = model.restoration_loss(restored.log(), anatomy)
    assert loss.item() == pytest.approx((math.log(2) + math.log(4)) / 2)


# Read the code again, recouple.


def test_smoothing_is_a_gaussians_in_three_dimensions() -> None:
    """The middle of a smoothed point is the product of three kernels' middles; the sum stays."""
    point = torch.zeros(21, 1, 21, 21)
    point[10, 0, 10, 10] = 1
    found = model.smoothed(point, 2.0)
    middle = 1 / sum(math.exp(-0.5 * (x / 2) ** 2) for x in range(-6, 7))
    assert found[10, 0, 10, 10].item() == pytest.approx(middle**3, rel=1e-5)
    assert found.sum().item() == pytest.approx(1, rel=1e-5)


def test_a_lesion_of_which_another_tissue_is_made_has_no_say_in_the_means() -> None:
    seen = torch.zeros(8, 3, 16, 16)
    seen[:, 2] = 1
    image = torch.full((8, 1, 16, 16), 0.8)
    restored = seen.clone()
    image[2:5, :, 4:9, 4:9] = 0.1
    seen[2:5, :, 4:9, 4:9] = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)
    code = torch.tensor([[[0.2, 0.5, 0.8], [0.1, 0.1, 0.1]]])
    means = model.local_means(image, seen, restored, code, 3.0)
    torch.testing.assert_close(means[:, 2], torch.full((8, 16, 16), 0.8), atol=1e-5, rtol=0)


def test_the_means_follow_a_receive_field() -> None:
    """One tissue that is brighter to the right by 20 %: within 2 % of it away from the border."""
    field = torch.linspace(0.9, 1.1, 64).view(1, 1, 64, 1)
    anatomy = torch.zeros(4, 3, 64, 16)
    anatomy[:, 1] = 1
    code = torch.tensor([[[0.2, 0.5, 0.8], [0.1, 0.1, 0.1]]])
    means = model.local_means((0.5 * field).expand(4, 1, 64, 16), anatomy, anatomy, code, 4.0)
    made = model.paint(anatomy, means)
    torch.testing.assert_close(
        made[:, :, 12:-12], (0.5 * field).expand_as(made)[:, :, 12:-12], atol=0, rtol=0.02
    )


def test_painting_is_the_mean_intensity_of_what_there_is() -> None:
    anatomy = torch.tensor([0.5, 0.25, 0.25]).view(1, 3, 1, 1)
    assert model.paint(anatomy, torch.tensor([0.2, 0.4, 0.8]).view(1, 3, 1, 1)).item() == pytest.approx(0.4)


# Variants.


def test_one_hot_is_hard_forwards_and_soft_backwards() -> None:
    anatomy = torch.tensor([0.2, 0.5, 0.3]).view(1, 3, 1, 1).requires_grad_()
    hard = variants.one_hot(anatomy)
    torch.testing.assert_close(hard.detach().flatten(), torch.tensor([0.0, 1, 0]))
    (2 * hard[:, 2]).sum().backward()
    assert anatomy.grad is not None
    torch.testing.assert_close(anatomy.grad.flatten(), torch.tensor([0.0, 0, 2]))
    assert not variants.one_hot(torch.zeros(1, 3, 2, 2)).any(), "outside the brain there is no tissue"


def test_edges_lie_where_tissues_meet_and_do_not_tell_which_is_inside() -> None:
    found = variants.edges(maps(SQUARE))
    assert found.shape == (1, 1, 6, 6)
    assert not found[0, 0, 2:4, 2:4].any()
    assert found[0, 0, 1, 2].item() == pytest.approx(2 / 4), "one of four neighbours, in two maps"
    other = [[{1: 0, 2: 1}[label] for label in row] for row in SQUARE]
    torch.testing.assert_close(found, variants.edges(maps(other)))


def test_only_what_is_doubtful_is_restored() -> None:
    """They disagree by .2, .4 and 1: none, half and all of the restored anatomy."""
    seen = torch.tensor([[1.0, 1, 1], [0, 0, 0], [0, 0, 0]]).view(1, 3, 1, 3)
    restored = torch.tensor([[0.8, 0.6, 0.0], [0.2, 0.4, 1.0], [0, 0, 0]]).view(1, 3, 1, 3)
    ones = torch.ones(1, 1, 1, 3)
    code = torch.tensor([[[0.2, 0.5, 0.8], [0.1, 0.1, 0.1]]])
    found = model.Findings(np.arange(1), ones, ones, VAGUE, code, seen, restored, VAGUE)
    torch.testing.assert_close(variants.painted(found, "doubtful")[0, 0, 0], torch.tensor([1.0, 0.8, 0.0]))
    assert variants.painted(found, "seen") is seen


def test_the_likelihood_ratio_is_high_where_only_the_seen_anatomy_explains_the_scan() -> None:
    """x at the first tissue's mean: log N(0) - log N(5 deviations) = 12.5, but for what is left of doubt."""
    seen, restored = maps([[0, 0]]), maps([[0, 1]])
    code = torch.tensor([[[0.0, 0.5, 9.0], [0.1, 0.1, 0.1]]])
    image, ones = torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1, 2)
    means = model.over_pixels(code[:, 0]).expand(1, 3, 1, 2)
    found = model.Findings(np.arange(1), image, ones, VAGUE, code, seen, restored, means)
    ratio = variants.likelihood_ratio(found)[0, 0, 0]
    expected = math.log(1.001) - math.log(0.001 + 1.001 * math.exp(-12.5))
    torch.testing.assert_close(ratio, torch.tensor([0.0, expected]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("means", "brighter"), [([0.2, 0.6, 0.9], 0), ([0.9, 0.5, 0.3], 1), ([0.1, 0.6, 0.5], 1)]
)
def test_water_is_dark_on_t1_and_bright_on_t2_and_flair(means: list[float], brighter: int) -> None:
    """One pixel .2 brighter and one .2 darker than white matter: a quarter of it on the side of no water."""
    code = torch.tensor([[means, [0.1] * 3]])
    image = torch.tensor([means[2] - 0.2, means[2] + 0.2]).view(1, 1, 1, 2)
    white, ones = maps([[2, 2]]), torch.ones(1, 1, 1, 2)
    at = model.over_pixels(code[:, 0]).expand(1, 3, 1, 2)
    score = variants.towards_water(model.Findings(np.arange(1), image, ones, VAGUE, code, white, white, at))
    expected = [0.05, 0.05]
    expected[brighter] = 0.25
    torch.testing.assert_close(score.flatten(), torch.tensor(expected))


# Spoil.


@pytest.mark.parametrize("kind", fields.SPOILT)
def test_spoiling_changes_some_of_the_brain_and_nothing_outside(kind: str) -> None:
    torch.manual_seed(0)
    brain = torch.zeros(16, 1, 48, 56)
    brain[..., 8:40, 8:48] = 1
    image = 0.5 * brain
    changed = (fields.spoil(image, brain, kind, 4.0) != image).float()
    assert not changed[brain == 0].any()
    share = changed[brain > 0].mean()
    assert {"regions": 0.02 < share < 0.6, "nothing": share == 0}.get(kind, share > 0.9)


# Fit and score.


@pytest.fixture
def pairs(toy: Callable[..., list[Prepared]]) -> Volumes:
    """Two people in T1, one of them in T2 as well."""
    return Volumes([*toy(range(2), True), *toy([1], True, contrast="T2")], GRIDS["g48"])


SMALL = {"grid": "g48", "width": 2, "steps": 6, "batch": 2, "validate_every": 100, "score_kind": "l1"}


def test_a_contrast_and_its_negative_have_the_same_anatomy(pairs: Volumes, tmp_path: Path) -> None:
    """What makes R work where it learned nothing."""
    seed_everything(0)
    fitted = method.DalR(**SMALL).fit(pairs, pairs, Context(folder=tmp_path))
    volume = pairs[0]
    negative = Volume((1 - volume.image) * volume.brain, volume.brain, volume.spacing_mm, volume.contrasts)
    one, other = fitted.findings(volume), fitted.findings(negative)
    torch.testing.assert_close(one.seen, other.seen, atol=1e-3, rtol=0)
    torch.testing.assert_close(one.restored, other.restored, atol=1e-3, rtol=0)
    made, mirrored = fitted.reconstruct(volume), fitted.reconstruct(negative)
    np.testing.assert_allclose(mirrored, (1 - made) * volume.brain, atol=2e-3)


@pytest.mark.thorough
def test_a_fit_cut_off_goes_on_and_ends_the_same(
    tmp_path: Path, pairs: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(folder: str) -> dict[str, np.ndarray]:
        seed_everything(0)
        return method.DalR(**SMALL).fit(pairs, pairs, Context(folder=tmp_path / folder)).state()  # type: ignore[no-any-return]

    whole = fit("whole")
    assert {file.stem for file in (tmp_path / "whole").glob("*.checkpoint")} == {"restore"}
    np.testing.assert_equal(fit("whole"), whole)


# The atlas.


def test_the_prior_is_a_distribution_with_ventricles_in_the_middle() -> None:
    atlas = tissue_prior("g48")
    assert atlas.shape == (48, 4, 48, 56)
    torch.testing.assert_close(atlas.sum(1), torch.ones(48, 48, 56))
    # (-24, -10, 28) mm is white matter of the left hemisphere, (0, -90, 60) mm lies outside the brain.
    position = np.rint((np.array([-24, -10, 28]) - GRIDS["g48"].origin_mm) / 4).astype(int)
    assert atlas[position[2], :, position[0], position[1]].argmax() == 3
    outside = np.rint((np.array([0, 88, 60]) - GRIDS["g48"].origin_mm) / 4).astype(int)
    assert atlas[outside[2], 0, outside[0], outside[1]] > 0.99


def test_the_prior_knows_the_mask_and_is_even_where_the_atlas_has_no_brain() -> None:
    atlas = torch.tensor([[0.5, 0.1, 0.3, 0.1], [1.0, 0, 0, 0], [0.2, 0.2, 0.2, 0.4]]).T.view(1, 4, 1, 3)
    inside = in_brain(atlas, torch.tensor([[[[1.0, 1, 0]]]]))[0, :, 0]
    torch.testing.assert_close(inside[:, 0], torch.tensor([0, 0.11, 0.31, 0.11]) / 0.53)
    torch.testing.assert_close(inside[:, 1], torch.tensor([0, 1, 1, 1]) / 3)
    torch.testing.assert_close(inside[:, 2], torch.tensor([1.0, 0, 0, 0]))
