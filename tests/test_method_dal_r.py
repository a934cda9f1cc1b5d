"""DAL-R: operators on hand-made tensors, shapes and sizes of its networks, and what its parts must keep."""

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
from uadbench.data.volumes import Volumes
from uadbench.learning.tissues import in_brain, tissue_prior
from uadbench.learning.training import Batch, Slices
from uadbench.methods import Context
from uadbench.system.environment import seed_everything

package = methods.load("dal_r").__module__.rpartition(".")[0]
anatomy, imaging, decoder, restorer, synthesis, disentangle, fields, method = (
    importlib.import_module(f"{package}.{name}")
    for name in (
        "anatomy", "imaging", "decoder", "restorer", "synthesis", "disentangle", "fields", "method",
    )
)  # fmt: skip


def one_hot(labels: list[list[int]], classes: int = 4) -> torch.Tensor:
    """Maps (1, K, R, A) of labels."""
    return functional.one_hot(torch.tensor([labels]), classes).movedim(-1, 1).float()


# The one-hot operator.


def test_straight_through_is_hard_forwards_and_softmax_backwards() -> None:
    """SDNet's rounding: the value of arg max, the derivative p (1 - p) / temperature of the softmax."""
    logits = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).requires_grad_()
    maps = anatomy.one_hot(logits, "straight_through", 0.5, training=True)
    torch.testing.assert_close(maps.flatten(), torch.tensor([0.0, 1.0]))
    maps[0, 1].sum().backward()
    p = 1 / (1 + math.exp(-1 / 0.5))
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad.flatten(), torch.tensor([-1.0, 1.0]) * p * (1 - p) / 0.5)


def test_without_gradient_the_maps_are_exactly_0_and_1() -> None:
    with torch.no_grad():
        maps = anatomy.one_hot(torch.randn(2, 6, 9, 7), "straight_through", 0.5, training=False)
    assert set(maps.unique().tolist()) == {0.0, 1.0}
    assert (maps.sum(1) == 1).all()


def test_gumbel_draws_in_training_only() -> None:
    """HACA3's code draws at test time too, and the same scan gets another score each time."""
    logits = torch.zeros(1, 4, 16, 16)
    assert anatomy.one_hot(logits, "gumbel", 1.0, training=True).argmax(1).unique().numel() == 4
    still = anatomy.one_hot(logits + torch.tensor([0, 0.1, 0, 0]).view(1, 4, 1, 1), "gumbel", 1.0, False)
    assert (still.argmax(1) == 1).all()


def test_soft_is_the_softmax() -> None:
    logits = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1)
    torch.testing.assert_close(
        anatomy.one_hot(logits, "soft", 1.0, True).flatten(), torch.tensor([0.25, 0.75])
    )


def test_background_is_certain_outside_the_brain_and_impossible_inside() -> None:
    brain = torch.zeros(1, 1, 4, 4)
    brain[..., 1:3, 1:3] = 1
    share = anatomy.only_in_brain(torch.randn(1, 6, 4, 4), brain).softmax(1)
    torch.testing.assert_close(share[:, :1], 1 - brain)


def test_the_free_classes_stand_half_for_each_of_two_tissues() -> None:
    logits = torch.full((1, 6, 1, 1), -50.0)
    logits[0, 4] = 50
    tissues = anatomy.tissue_log_probability(logits).exp().flatten()
    torch.testing.assert_close(tissues, torch.tensor([0.0, 0.0, 0.5, 0.5]), atol=1e-5, rtol=0)
    torch.testing.assert_close(anatomy.MEANING.sum(1), torch.ones(6))


# Edges.

SQUARE = [[2, 2, 2, 2, 2, 2], *[[2, 3, 3, 3, 3, 2]] * 4, [2, 2, 2, 2, 2, 2]]


def test_per_class_edges_are_inner_boundaries_of_one_pixel() -> None:
    inner = anatomy.edges(one_hot(SQUARE), "per_class")[0, 3]
    ring = torch.zeros(6, 6)
    ring[1:5, 1:5] = 1
    ring[2:4, 2:4] = 0
    torch.testing.assert_close(inner, ring)


def test_agnostic_edges_do_not_tell_which_class_is_inside() -> None:
    other = [[{2: 1, 3: 2}[label] for label in row] for row in SQUARE]
    seen, changed = (anatomy.edges(one_hot(labels), "agnostic") for labels in (SQUARE, other))
    assert seen.shape == (1, 1, 6, 6)
    torch.testing.assert_close(seen, changed)
    assert not torch.equal(
        anatomy.edges(one_hot(SQUARE), "per_class"), anatomy.edges(one_hot(other), "per_class")
    )


def test_the_laplacian_of_a_step() -> None:
    step = torch.tensor([0.0, 0, 1, 1]).expand(1, 1, 4, 4)
    torch.testing.assert_close(anatomy.laplace(step)[0, 0, 1], torch.tensor([0, 1, 1, 0]) / 8)
    assert anatomy.edges(one_hot(SQUARE), "laplace").shape == (1, 1, 6, 6)


def test_gradients_pass_through_the_edges() -> None:
    logits = torch.randn(1, 4, 8, 8, requires_grad=True)
    anatomy.edges(anatomy.one_hot(logits, "straight_through", 1.0, True), "agnostic").sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0


# Networks.


def test_sizes_are_those_of_the_design() -> None:
    """BasicUNet of features (32, 32, 64, 128, 256, 32) has 1.98 million weights."""
    network = method.DalR().build()
    weights = {name: sum(p.numel() for p in part.parameters()) for name, part in network.items()}
    encoder = sum(p.numel() for p in network["disentangler"].anatomy.parameters())
    assert encoder == pytest.approx(1.98e6, rel=0.01)
    assert weights["restorer"] == pytest.approx(1.98e6, rel=0.01)
    assert imaging.CODE == 16
    assert [layer.out_channels for layer in network["disentangler"].imaging.layers] == [16, 32, 64, 64]
    assert [layer.out_channels for layer in network["disentangler"].decoder.layers] == [32, 32, 32]


@pytest.mark.parametrize("grid", ["g48", "g96"])
def test_slices_of_every_grid_come_back_in_their_shape(grid: str) -> None:
    rows, columns, _ = GRIDS[grid].shape
    network = method.DalR(grid=grid, width=4, decoder_width=4).build().eval()
    image = torch.rand(1, 1, rows, columns)
    maps = network["disentangler"].anatomy(image, torch.ones_like(image), torch.rand(1, 4, rows, columns))
    assert maps.shape == (1, 4, rows, columns)
    assert network["restorer"](image, image, torch.rand(1, 4, rows, columns)).shape == maps.shape
    made = network["disentangler"].decoder(maps.softmax(1), torch.zeros(1, 16), image, torch.ones_like(image))
    assert made.shape == image.shape


def test_the_imaging_code_sees_intensities_not_only_shapes() -> None:
    """MONAI trap 10: with instance norm an image and its half would have the same code."""
    encoder = imaging.ImagingEncoder(16).eval()
    image, brain = torch.rand(1, 1, 32, 32), torch.ones(1, 1, 32, 32)
    assert (encoder(image, brain)[0] - encoder(0.5 * image, brain)[0]).abs().max() > 1e-4
    assert not [m for m in encoder.modules() if "Norm" in type(m).__name__]


def test_the_code_pools_over_the_brain_alone() -> None:
    """Far from the brain (beyond the kernels' reach) nothing counts."""
    encoder = imaging.ImagingEncoder(16).eval()
    brain = torch.zeros(1, 1, 128, 128)
    brain[..., :32, :32] = 1
    image = torch.rand(1, 1, 128, 128)
    other = image.clone()
    other[..., 100:, 100:] = 0
    torch.testing.assert_close(encoder(image, brain)[0], encoder(other, brain)[0], atol=1e-4, rtol=0)


def test_the_robust_code_leaves_out_disagreeing_and_small_slices() -> None:
    """Codes 1..10: slice 10 disagrees, 9 too, slice 1 has too little brain; the median of 2..8 is 5."""
    codes = torch.arange(1.0, 11).view(10, 1)
    disagreement = torch.tensor([0.1] * 8 + [0.8, 0.9])
    counted = torch.tensor([False] + [True] * 9)
    assert imaging.robust_code(codes, disagreement, counted).item() == 5


def test_the_decoder_starts_as_a_table_of_class_intensities() -> None:
    torch.manual_seed(0)
    network = decoder.Decoder(4, 8).eval()
    torch.nn.init.zeros_(network.field.weight)  # and without its bias field
    code, brain = torch.randn(1, 16), torch.ones(1, 1, 6, 6)
    made = network(one_hot(SQUARE), code, torch.rand(1, 1, 6, 6), brain)
    table = network.intensities(code)[0]
    expected = torch.where(one_hot(SQUARE)[0, 3] == 1, table[3], table[2])
    torch.testing.assert_close(made[0, 0], expected)


def test_the_bias_field_takes_up_a_global_factor_but_no_small_lesion() -> None:
    """A factor of 1.1 has logarithm .095; 0.2 tanh(.095 / .2) = .088. Four lesion voxels vanish in a cell."""
    network = decoder.Decoder(4, 8).eval()
    base, brain = torch.full((1, 1, 64, 64), 0.5), torch.ones(1, 1, 64, 64)
    factor = network.bias_field(1.1 * base, base, brain)
    log = 0.2 * math.tanh(math.log((0.55 + 0.05) / (0.5 + 0.05)) / 0.2)
    torch.testing.assert_close(factor, torch.full_like(factor, math.exp(log)))
    lesion = base.clone()
    lesion[..., 30:32, 30:32] = 1.0
    assert (network.bias_field(lesion, base, brain) - 1).abs().max() < 0.02
    assert network.bias_field(100 * base, base, brain).max() <= math.exp(0.2) + 1e-6


# Losses.


def test_the_label_loss_is_the_cross_entropy_over_the_brain() -> None:
    """Two brain pixels with p = 1/2 and 3/4 of the right class of two."""
    logits = torch.tensor([[0.0, 0.0, 9.0], [0.0, math.log(3), 0.0]]).view(1, 2, 1, 3)
    loss = disentangle.label_loss(logits, torch.tensor([[[0, 1, 1]]]), torch.tensor([[[[1.0, 1, 0]]]]))
    assert loss.item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2, rel=1e-5)


def test_the_prior_loss_of_a_class_that_is_what_the_prior_says() -> None:
    tissues = torch.tensor([0.0, 0.5, 0.5, 0.0]).view(1, 4, 1, 1)
    logits = torch.tensor([-99.0, 0, 0, -99]).view(1, 4, 1, 1)
    assert disentangle.prior_loss(logits, tissues, torch.ones(1, 1, 1, 1)).item() == pytest.approx(
        math.log(2), rel=1e-4
    )


def test_the_dice_loss_of_the_right_and_of_the_wrong_answer() -> None:
    labels = torch.tensor([SQUARE])
    right = 50 * one_hot(SQUARE)
    assert restorer.dice_loss(right, labels).item() == pytest.approx(0, abs=1e-5)
    wrong = 50 * one_hot([[1] * 6] * 6)
    # Classes 1 to 3: nothing of 36 predicted, of 20 and of 16 wanted.
    expected = 1 - (1 / 37 + 1 / 21 + 1 / 17) / 3
    assert restorer.dice_loss(wrong, labels).item() == pytest.approx(expected, abs=1e-4)


# Synthesis and corruption.


def test_synthetic_slices_are_labelled_images_in_the_brain() -> None:
    torch.manual_seed(0)
    drawn = synthesis.draw_slices(tissue_prior("g48")[20:26], 6, 4.0)
    assert drawn.image.shape == (6, 1, 48, 56)
    assert drawn.labels.shape == (6, 48, 56)
    assert drawn.image.min() >= 0
    assert drawn.image.max() <= 1
    assert not drawn.image[drawn.brain == 0].any()
    assert torch.equal(drawn.labels > 0, drawn.brain[:, 0] > 0)
    assert set(drawn.labels.unique().tolist()) == set(range(6))


def test_mixtures_have_classes_of_their_own_with_k_6() -> None:
    """Grey and white half and half is class 4, CSF and grey class 5, three quarters of white is white."""
    tissues = torch.tensor([[0.0, 0.5, 0.5], [0.5, 0.5, 0.0], [0.0, 0.25, 0.75]]).T.view(1, 3, 1, 3)
    brain = torch.ones(1, 1, 1, 3)
    assert synthesis.draw_labels(tissues, brain, 6).flatten().tolist() == [4, 5, 3]
    assert set(synthesis.draw_labels(tissues, brain, 4).flatten().tolist()) <= {1, 2, 3}


def test_a_contrast_change_keeps_order_and_geometry() -> None:
    torch.manual_seed(0)
    values = synthesis.knots(8, torch.device("cpu"))
    assert (values.diff(dim=1) > 0).all()
    torch.testing.assert_close(values[:, [0, -1]], torch.tensor([[0.0, 1.0]]).expand(8, 2))
    rising = torch.linspace(0, 1, 40).expand(8, 1, 1, 40)
    assert (synthesis.monotone(rising, values).diff(dim=3) > 0).all()
    identity = torch.linspace(0, 1, 5).expand(8, 5)
    torch.testing.assert_close(synthesis.monotone(rising, identity), rising)


def test_spoiling_changes_some_of_the_brain_and_nothing_outside() -> None:
    torch.manual_seed(0)
    brain = torch.zeros(16, 1, 48, 56)
    brain[..., 8:40, 8:48] = 1
    labels = torch.randint(1, 6, (16, 48, 56)) * brain[:, 0].long()
    spoilt = restorer.spoil_labels(labels, brain, 6, 4.0)
    changed = spoilt != labels
    assert not changed[brain[:, 0] == 0].any()
    assert (spoilt[brain[:, 0] > 0] > 0).all(), "no holes of background in the brain"
    untouched = (~changed.flatten(1).any(1)).float().mean()
    assert untouched == pytest.approx(0.2 + 0.8 / 4, abs=0.2)  # a fifth, and those that drew 0 regions
    assert set(spoilt.unique().tolist()) == set(range(6))


def test_edges_get_lost_but_none_appear() -> None:
    torch.manual_seed(0)
    seen, brain = torch.ones(4, 1, 48, 56), torch.ones(4, 1, 48, 56)
    kept = restorer.drop_edges(seen, brain, 4.0)
    assert 0.7 < kept.mean() < 0.96
    assert set(kept.unique().tolist()) == {0.0, 1.0}


# Prior.


def test_the_prior_is_a_distribution_with_ventricles_in_the_middle() -> None:
    maps = tissue_prior("g48")
    assert maps.shape == (48, 4, 48, 56)
    torch.testing.assert_close(maps.sum(1), torch.ones(48, 48, 56))
    # (-24, -10, 28) mm is white matter of the left hemisphere, (0, -90, 60) mm lies outside the brain.
    position = np.rint((np.array([-24, -10, 28]) - GRIDS["g48"].origin_mm) / 4).astype(int)
    assert maps[position[2], :, position[0], position[1]].argmax() == 3
    outside = np.rint((np.array([0, 88, 60]) - GRIDS["g48"].origin_mm) / 4).astype(int)
    assert maps[outside[2], 0, outside[0], outside[1]] > 0.99


def test_the_prior_knows_the_mask_and_is_even_where_the_atlas_has_no_brain() -> None:
    maps = torch.tensor([[0.5, 0.1, 0.3, 0.1], [1.0, 0, 0, 0], [0.2, 0.2, 0.2, 0.4]]).T.view(1, 4, 1, 3)
    inside = in_brain(maps, torch.tensor([[[[1.0, 1, 0]]]]))[0, :, 0]
    torch.testing.assert_close(inside[:, 0], torch.tensor([0, 0.11, 0.31, 0.11]) / 0.53)
    torch.testing.assert_close(inside[:, 1], torch.tensor([0, 1, 1, 1]) / 3)
    torch.testing.assert_close(inside[:, 2], torch.tensor([1.0, 0, 0, 0]))


# Scoring.


def test_the_match_is_not_bent_by_a_lesion() -> None:
    random = np.random.default_rng(0)
    made = random.uniform(0.2, 0.6, (4, 1, 20, 20)).astype(np.float32)
    image = (0.8 * made + 0.1).astype(np.float32)
    image[:, :, :6, :6] = 1.0
    matched = method.match_intensities(made, image, np.ones(made.shape, bool))
    np.testing.assert_allclose(matched, 0.8 * made + 0.1, atol=0.01)


def test_stages_share_the_steps() -> None:
    assert method.DalR().stage_steps() == (2001, 39999, 40000)
    assert sum(method.DalR(steps=1).stage_steps()) == 1


# Training.


class Pairs:
    """Partners of a batch of which the first half has another contrast."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def same_scan(self, which: Any) -> Any:
        return self._batch

    def other_contrast(self, which: Any) -> Any:
        return self._batch, np.arange(len(which)) < len(which) // 2


@pytest.mark.parametrize(("classes", "with_prior"), [(6, True), (4, False)])
def test_both_stages_have_losses_that_reach_every_weight(classes: int, with_prior: bool) -> None:
    torch.manual_seed(0)
    brain = torch.ones(4, 1, 48, 56, dtype=torch.bool)
    batch = Batch(torch.rand(4, 1, 48, 56), brain, np.array([[0, 20], [0, 22], [1, 24], [1, 26]]))
    network = disentangle.Disentangler(classes, 4, 4, with_prior)
    losses = disentangle.Losses(
        tissue_prior("g48"),
        4.0,
        classes,
        "straight_through",
        with_prior,
        0.5,
        7,
        10,
        Pairs(batch),
        None,
    )
    assert losses.views(batch, losses.train).parts == (4, 4, 2, 2)
    loss = losses.warm_up(network.anatomy, batch) + losses.disentangle(network, batch)
    assert torch.isfinite(loss)
    loss.backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert not without
    assert network.step == 1, "the schedules go on in training"
    network.eval()
    losses.disentangle(network, batch)
    assert network.step == 1, "and stand still in validation"


@pytest.fixture
def pairs(toy: Callable[..., list[Prepared]]) -> Volumes:
    """Two people in T1, one of them in T2 as well."""
    return Volumes([*toy(range(2), True), *toy([1], True, contrast="T2")], GRIDS["g48"])


def test_partners_are_the_same_slice_of_the_same_person_in_another_contrast(pairs: Volumes) -> None:
    partners = disentangle.Partners(Slices(pairs, "cpu"))
    which = np.array([[0, 20], [1, 21], [2, 22]])
    batch, there = partners.other_contrast(which)
    assert there.tolist() == [False, True, True]
    assert batch.which[1:].tolist() == [[2, 21], [1, 22]]
    np.random.seed(0)
    assert partners.same_scan(which).which[:, 0].tolist() == [0, 1, 2]


@pytest.mark.thorough
def test_a_fit_cut_off_between_its_stages_goes_on_and_ends_the_same(
    tmp_path: Path, pairs: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"grid": "g48", "width": 2, "decoder_width": 2, "steps": 8, "warmup_share": 0.25, "batch": 2}
    small |= {"restore_share": 0.375, "ssim_window": 0, "validate_every": 100}

    def fit(folder: str) -> dict[str, np.ndarray]:
        seed_everything(0)
        context = Context(folder=tmp_path / folder)
        return method.DalR(**small).fit(pairs, pairs, context).state()  # type: ignore[no-any-return]

    whole = fit("whole")
    with monkeypatch.context() as patch:
        patch.setattr(restorer, "dice_loss", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fit("cut")
    assert {file.stem for file in (tmp_path / "cut").glob("*.checkpoint")} == {"warm-up", "disentangle"}
    np.testing.assert_equal(fit("cut"), whole)


def test_the_atlas_segments_any_contrast_alike() -> None:
    """Three tissues in three stripes; the inverted contrast and a vague prior give the same classes."""
    labels = torch.tensor([1] * 8 + [2] * 8 + [3] * 8).expand(1, 24, 24)
    tissues = functional.one_hot(labels, 4).movedim(-1, 1).float()
    vague = 0.5 * tissues + 0.5 * torch.tensor([0, 1 / 3, 1 / 3, 1 / 3]).view(1, 4, 1, 1)
    noise = 0.02 * torch.randn(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    brain = torch.ones(1, 1, 24, 24)
    for means in ([0.1, 0.5, 0.9], [0.9, 0.6, 0.2]):
        image = torch.tensor([0, *means])[labels][:, None] + noise
        seen = anatomy.atlas_log_posterior(image, brain, vague, 4)[:, 1:].argmax(1) + 1
        assert (seen == labels).all()
    mixture = torch.tensor([0, 0.1, 0.5, 0.9])[labels][:, None].clone()
    mixture[:, :, :4, 20:] = 0.7  # half way between grey and white
    seen = anatomy.atlas_log_posterior(mixture, brain, vague, 6)[:, 1:].argmax(1) + 1
    assert (seen[:, :4, 20:] == 4).all()
