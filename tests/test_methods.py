"""What every method promises, checked with the small settings of its card's `[smoke]` table.

A method is excused from a test by a line in its card: `[exempt]`, test name -> reason.
"""

import socket
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, save
from sklearn.metrics import average_precision_score

from uadbench import methods
from uadbench.cards import PRESETS, method_card
from uadbench.data import prepared
from uadbench.data.prepared import Prepared
from uadbench.data.space import EVALUATION, GRIDS, make_frame
from uadbench.data.volumes import Volume, Volumes
from uadbench.experiment.score import score_volume
from uadbench.methods import Context, Method, Score, Stochastic
from uadbench.system import ranges
from uadbench.system.environment import seed_everything
from uadbench.system.errors import UserError

Toy = Callable[..., list[Prepared]]
SEED = 3


def smoke(name: str, **settings: Any) -> Method:
    """A method with the settings of these tests."""
    values: dict[str, Any] = dict(method_card(name).smoke) | settings
    return methods.load(name)(**values)


@dataclass
class World:
    """A fitted method, what it was fitted on, and three patients it has not seen."""

    method: Method
    train: Volumes
    val: Volumes
    patients: Volumes
    lesions: list[NDArray[np.bool_]]

    def fit(self, method: Method, folder: Path) -> Method:
        """Fit another method on the same volumes, as the harness does: seeds first."""
        seed_everything(SEED)
        return method.fit(self.train, self.val, Context(seed=SEED, folder=folder))

    def row(self, fitted: Method, wanted: Method) -> Method:
        """A fitted method, or the row that shares its fit and scores otherwise."""
        if methods.parameters(fitted) == methods.parameters(wanted):
            return fitted
        return wanted.load_state(fitted.state(), Context()).calibrate(self.val, Context())


# One fit serves all tests of a method, and all rows that share it; so does the second fit of the same seed.
_worlds: dict[str, World] = {}
_second_fits: dict[str, Method] = {}
_stacked_fits: set[str] = set()


def fit_of(name: str) -> str:
    """What rows that share a fit have in common."""
    return f"{method_card(name).folder} {methods.parameters(smoke(name), 'fit')}"


@pytest.fixture(params=methods.names())
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("A method reaches for the network.")

    for way in ("connect", "connect_ex", "sendto"):  # the class stays: libraries derive from it on import
        monkeypatch.setattr(socket.socket, way, refuse)
    method: str = request.param
    test = getattr(request.node, "originalname", "").removeprefix("test_")
    if test in method_card(method).exempt:
        pytest.skip(f"{method}: {method_card(method).exempt[test]}")
    return method


@pytest.fixture
def world(name: str, toy: Toy, tmp_path: Path) -> World:
    method = smoke(name)
    shared = fit_of(name)
    if shared not in _worlds:
        grid = GRIDS[method.grid]
        patients = toy(range(20, 23), False, method.grid)
        _worlds[shared] = World(
            method,
            Volumes(toy(range(8), True, method.grid), grid),
            Volumes(toy(range(10, 13), True, method.grid), grid),
            Volumes(patients, grid),
            [p.lesion() for p in patients],
        )
        assert _worlds[shared].fit(method, tmp_path / "fit") is method, "fit has to return self"
    fitted = _worlds[shared]
    return replace(fitted, method=fitted.row(fitted.method, method))


def reloaded(name: str, method: Method) -> Method:
    """A fresh method with the state of another, by way of a safetensors file's bytes."""
    return smoke(name).load_state(load(save(method.state())), Context())


DRAWS = 5  # of a score, where a claim is about what was learned and not about one noise field


def scored(method: Method, volume: Volume) -> Score:
    """A method's answer as the harness gets it: noise belongs to the volume, not to what came before."""
    return score_volume(method, volume, SEED, "it").score


# What can be seen without fitting.


def test_the_card_is_complete(name: str) -> None:
    card = method_card(name)
    for key in ("title", "summary", "paper", "link", "reference_licence", "input"):
        assert getattr(card, key).strip(), key
    assert 1950 < card.year < 2100
    assert card.differences or card.paper.startswith("None"), "what differs from the paper?"
    assert set(card.preset) == set(PRESETS)
    assert card.smoke
    for figure in card.reported:
        assert {"train", "test", "contrast", "metric", "value", "origin", "source"} == set(figure)


def test_exemptions_name_a_test_and_give_a_reason(name: str) -> None:
    for test, reason in method_card(name).exempt.items():
        assert f"test_{test}" in globals()
        assert len(reason.split()) > 3


def test_the_constructor_stores_its_arguments_unchanged(name: str) -> None:
    settings = smoke(name)
    assert set(vars(settings)) == set(methods.options(settings)), "the constructor makes nothing"
    assert methods.parameters(settings) | dict(method_card(name).smoke) == methods.parameters(settings)
    row = methods.load(name)(**method_card(name).set)
    assert row == methods.load(name)(**methods.parameters(row))


def test_every_option_is_documented(name: str) -> None:
    for key, option in methods.options(methods.load(name)).items():
        assert option.metadata["stage"] in ("fit", "score"), key
        assert len(option.metadata["doc"].split()) > 1, key
        assert not option.metadata["choices"] or option.default in option.metadata["choices"], key


def test_every_number_among_the_options_has_a_range_that_holds_its_default(name: str) -> None:
    kind = methods.load(name)
    hints = methods.hints(kind)
    for key, option in methods.options(kind).items():
        assert ranges.fits(option.default, hints[key]) == option.default, key
        if type(option.default) in (int, float) and not option.metadata["choices"]:
            ends = ranges.bounds(hints[key])
            assert {"ge", "gt"} & set(ends), f"{key} has no lower end"
            assert {"le", "lt"} & set(ends), f"{key} has no upper end"


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_builds_on_a_known_grid_of_options_that_go_together(name: str, preset: str) -> None:
    method = methods.build(name, preset)
    assert method.grid in (*GRIDS, EVALUATION)
    method.check()


@pytest.mark.parametrize("preset", PRESETS)
def test_the_baselines_of_every_table_run_on_the_evaluation_grid(preset: str) -> None:
    for baseline in ("random", "intensity", "atlas_z", "pca"):
        assert methods.build(baseline, preset).grid == EVALUATION


def test_values_beyond_a_range_are_refused_before_anything_is_prepared(name: str) -> None:
    kind = methods.load(name)
    for key, option in methods.options(kind).items():
        if type(option.default) in (int, float):
            for text in (
                "-7",
                "nan",
                "inf",
                "1e999",
                "-1e999",
                "1" * 30,
                "1" * 5000,
                "many",
                "[1]",
                "true",
                "",
            ):
                with pytest.raises(UserError, match=key):
                    methods.build(name, "ci", {key: text})


def test_no_label_reaches_a_method_by_type() -> None:
    assert {f.name for f in fields(Volume)} == {"image", "brain", "spacing_mm", "contrasts"}
    public = {key for key in dir(Volumes) if not key.startswith("_")}
    assert public <= {"slices", "read_slices", "read_codes", "index", "count"}


# What needs a fit.


def test_score_map_and_pseudo_healthy_image_are_well_formed(world: World) -> None:
    for volume in world.patients:
        score = scored(world.method, volume)
        assert score.score_map.shape == volume.brain.shape
        assert score.score_map.dtype == np.float32
        assert np.isfinite(score.score_map).all()
        assert not score.score_map[~volume.brain].any(), "scores outside the brain are 0"
        assert score.score_map[volume.brain].std() > 0
        if score.pseudo_healthy is not None:
            assert score.pseudo_healthy.shape == volume.image.shape
            assert score.pseudo_healthy.dtype == np.float32
            assert np.isfinite(score.pseudo_healthy).all()


def test_a_volume_without_brain_gets_a_map_of_zeros(world: World) -> None:
    volume = world.patients[0]
    empty = replace(volume, image=np.zeros_like(volume.image), brain=np.zeros_like(volume.brain))
    assert not scored(world.method, empty).score_map.any()


def test_scoring_leaves_the_volume_and_the_method_as_they_were(world: World) -> None:
    volume = world.patients[0]
    image, brain = volume.image.copy(), volume.brain.copy()
    state = {key: array.copy() for key, array in world.method.state().items()}
    settings = methods.parameters(world.method)
    scored(world.method, volume)
    np.testing.assert_array_equal(volume.image, image)
    np.testing.assert_array_equal(volume.brain, brain)
    assert methods.parameters(world.method) == settings
    np.testing.assert_equal(world.method.state(), state)


def test_a_volume_alone_scores_as_among_others(name: str, world: World) -> None:
    among = [scored(world.method, volume).score_map for volume in world.patients]
    for index in (2, 0):
        alone = scored(reloaded(name, world.method), world.patients[index]).score_map
        np.testing.assert_array_equal(alone, among[index])


def test_who_draws_says_so_and_noise_belongs_to_the_volume(name: str, world: World) -> None:
    volume, method = world.patients[0], world.method
    scored(method, world.patients[1])
    first = scored(method, volume).score_map
    again = replace(volume, image=volume.image.copy(), brain=volume.brain.copy())
    np.testing.assert_array_equal(scored(method, again).score_map, first)
    other_seed = score_volume(method, volume, SEED + 1, name).score.score_map
    if not isinstance(method, Stochastic):
        np.testing.assert_array_equal(other_seed, first)
        return
    assert (other_seed != first)[volume.brain].mean() > 0.5
    touched = replace(volume, image=volume.image.copy())  # a voxel in a corner of one slice: another scan
    place = tuple(np.argwhere(volume.brain)[0])
    touched.image[0][place] = 1 - touched.image[0][place]
    far = volume.brain.copy()
    far[..., place[2]] = False
    assert (scored(method, touched).score_map != first)[far].mean() > 0.5


def test_the_same_seed_gives_the_same_map(name: str, world: World, tmp_path: Path) -> None:
    if fit_of(name) not in _second_fits:
        _second_fits[fit_of(name)] = world.fit(smoke(name), tmp_path / "again")
    again = world.row(_second_fits[fit_of(name)], smoke(name))
    np.testing.assert_array_equal(
        scored(again, world.patients[1]).score_map, scored(world.method, world.patients[1]).score_map
    )


def test_saved_and_loaded_it_gives_the_same_answer(name: str, world: World) -> None:
    loaded = reloaded(name, world.method)
    before, after = scored(world.method, world.patients[0]), scored(loaded, world.patients[0])
    np.testing.assert_array_equal(after.score_map, before.score_map)
    np.testing.assert_equal(after.pseudo_healthy, before.pseudo_healthy)
    assert loaded.parameter_count() == world.method.parameter_count()


def stacked(scan: Prepared, slices: int) -> Prepared:
    """The middle slices of a toy scan, without geometry, as lgg has them."""
    first = (len(scan.codes) - slices) // 2
    codes = np.asarray(scan.codes[first : first + slices])
    grid = make_frame(scan.grid).stack(scan.grid.shape[:2], slices)
    path = scan.path.with_name(f"stack-{scan.path.name}")
    pixels = [1e4 * float(one.any()) for one in codes]
    prepared.write_codes(path, codes, None, {**scan.facts, "slice_area_pixels": pixels})
    return Prepared(scan.session, scan.contrast, grid, path)


def test_stacks_may_have_unequal_numbers_of_slices(name: str, toy: Toy, tmp_path: Path) -> None:
    if method_card(name).template_space:
        return  # it refuses them
    if fit_of(name) in _stacked_fits:
        return  # another row with this fit was tried
    _stacked_fits.add(fit_of(name))
    method = smoke(name)
    scans = [stacked(scan, 9 + 2 * number) for number, scan in enumerate(toy(range(5), True, method.grid))]
    train, val = (Volumes(part, GRIDS[method.grid]) for part in (scans[:4], scans[4:]))
    seed_everything(SEED)
    method.fit(train, val, Context(seed=SEED, folder=tmp_path / "fit"))
    assert scored(method, val[0]).score_map.shape == val[0].brain.shape


def test_what_is_learned_finds_lesions_that_intensity_hides(name: str, world: World, tmp_path: Path) -> None:
    """The lesion gets the grey of healthy tissue elsewhere: only who knows what belongs where can find it."""
    if not method_card(name).trained:
        return  # this claim is about what is learned
    precision = hidden_lesion_precision(world, world.method)
    assert precision > 2.5 * np.mean([m.sum() for m in world.lesions]) / world.patients[0].brain.sum()
    if "steps" in methods.options(world.method):
        untrained = world.fit(smoke(name, steps=1), tmp_path / "untrained")
        assert precision > 2.5 * hidden_lesion_precision(world, untrained)


def hidden_lesion_precision(world: World, method: Method) -> float:
    """Mean average precision on the patients, their lesions as grey (0.45) as the toys' outer shell."""
    found = []
    if isinstance(method, Stochastic):
        method = copy(method)
        method.draws = DRAWS
    for volume, lesion in zip(world.patients, world.lesions, strict=True):
        noise = np.random.default_rng(0).normal(0, 0.03, int(lesion.sum()))
        image = volume.image.copy()
        image[0, lesion] = 0.45 + noise
        score_map = scored(method, replace(volume, image=image)).score_map
        found.append(average_precision_score(lesion[volume.brain], score_map[volume.brain]))
    return float(np.mean(found))
