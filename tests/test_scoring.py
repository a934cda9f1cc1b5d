"""Scoring: draws, and calibration on healthy scans that are not the scan itself."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from uadbench import datasets, methods
from uadbench.cards import dataset_card
from uadbench.data import splits
from uadbench.data.prepared import Prepared
from uadbench.data.session import Session
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volume, Volumes
from uadbench.evaluation import maps
from uadbench.experiment.cohort import prepare_cohort
from uadbench.experiment.config import RunConfig, Runtime, resolve_run
from uadbench.experiment.model import load_model
from uadbench.experiment.prepare_dataset import prepare_dataset
from uadbench.experiment.run import evaluate_again, run
from uadbench.experiment.score import check_calibration, divide_folds, score_volume
from uadbench.learning.reconstruction import Reconstruction
from uadbench.methods import Context
from uadbench.report import show
from uadbench.system.environment import seed_everything
from uadbench.system.errors import UserError

Toy = Callable[..., list[Prepared]]
CELL = RunConfig(method="random", dataset="balls", preset="ci")


# ---- draws -------------------------------------------------------------------------------------


def test_a_score_is_the_mean_of_its_draws(toy: Toy) -> None:
    volume = Volumes(toy([1], True), GRIDS["g48"])[0]
    once, thrice = (methods.load("random")(draws=count) for count in (1, 3))  # type: ignore[call-arg]
    alone, several = (score_volume(method, volume, 7, "random") for method in (once, thrice))

    assert alone.draws == ()
    assert len(several.draws) == 3
    np.testing.assert_array_equal(several.draws[0], alone.score.score_map)
    np.testing.assert_allclose(several.score.score_map, np.mean(several.draws, 0), atol=1e-6)
    inside = several.score.score_map[volume.brain]
    assert inside.std() == pytest.approx(np.sqrt(1 / 12 / 3), rel=0.02)
    for one in several.draws[1:]:
        assert abs(np.corrcoef(one[volume.brain], several.draws[0][volume.brain])[0, 1]) < 0.05


def test_no_global_state_leaks_into_a_score(toy: Toy) -> None:
    volume, other = Volumes(toy([1, 2], True), GRIDS["g48"])
    method = methods.load("random")()
    first = score_volume(method, volume, 7, "random").score.score_map
    seed_everything(99)
    score_volume(method, other, 7, "random")
    np.testing.assert_array_equal(score_volume(method, volume, 7, "random").score.score_map, first)
    elsewhere = score_volume(method, other, 7, "random").score.score_map
    both = volume.brain & other.brain
    assert abs(np.corrcoef(first[both], elsewhere[both])[0, 1]) < 0.05


@pytest.mark.thorough
def test_draws_are_a_row_of_their_own_and_their_spread_is_recorded(runtime: Runtime) -> None:
    once, thrice = (run(replace(CELL, settings={"draws": str(n)}), runtime) for n in (1, 3))

    assert (once.record.draws, thrice.record.draws) == (1, 3)
    assert once.record.stochastic
    assert thrice.record.variant == "ci,draws=3"
    assert once.record.fit_hash == thrice.record.fit_hash
    assert once.record.summary.draw_spread is None
    assert all(subject.draw_spread is None for subject in once.record.subjects)
    assert all((subject.draw_spread or 0) > 0 for subject in thrice.record.subjects)
    ill = [s.draw_spread for s in thrice.record.subjects if s.partition == "lesion-test" and s.draw_spread]
    spread = thrice.record.summary.draw_spread
    assert spread
    assert spread.subject == pytest.approx(np.mean(ill), abs=2e-6)
    assert spread.ap_mean == pytest.approx(math.sqrt(sum(np.square(ill))) / len(ill), abs=2e-6)
    assert evaluate_again(thrice.path, runtime).record.summary == thrice.record.summary
    file = next(thrice.maps.glob("*.safetensors"))
    stored = maps.read_map(file)
    assert stored.draws is not None
    np.testing.assert_allclose(stored.draws.mean(0), stored.score_map, atol=1e-6)
    assert not run(replace(CELL, method="intensity"), runtime).record.stochastic


# ---- healthy residuals -------------------------------------------------------------------------


@dataclass
class Remembering(Reconstruction):
    """Learns nothing; keeps what it was calibrated on."""

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        return self

    def reconstruct(self, volume: Volume) -> NDArray[np.float32]:
        return 0.9 * volume.image


def settings_of(kind: str) -> Any:
    return Remembering(score_kind=kind)


@pytest.mark.parametrize("count", [3, 4, 7])
def test_no_healthy_scan_is_standardised_by_itself(toy: Toy, count: int) -> None:
    val, ill = toy(range(count), True), toy(range(20, 22), False)
    wanted = [*val, *ill]
    done: list[str] = []
    for members, healthy in divide_folds(settings_of("zres"), wanted, val):
        own = {item.session.subject for item in members}
        shown = {item.session.subject for item in healthy}
        assert not own & shown
        assert len(shown) >= 2
        if any(item in ill for item in members):
            assert members == ill
            assert healthy == val
        done += [item.session.id for item in members]
    assert sorted(done) == sorted(item.session.id for item in wanted)


def test_repeat_scans_of_a_person_stay_in_one_fold(toy: Toy) -> None:
    val = toy(range(6), True)
    again = [replace(p, session=replace(p.session, id=p.session.id + "b")) for p in val]
    for members, healthy in divide_folds(settings_of("zres"), [*val, *again], [*val, *again]):
        assert not {p.session.subject for p in members} & {p.session.subject for p in healthy}


def test_what_is_not_calibrated_is_scored_in_one_go(toy: Toy) -> None:
    val = toy(range(3), True)
    assert [members for members, _ in divide_folds(settings_of("l1"), val, val)] == [val]


def test_too_few_healthy_persons_are_said_before_anything_is_fitted(toy: Toy) -> None:
    check_calibration(settings_of("l1"), [], "it")
    check_calibration(settings_of("zres"), toy(range(3), True), "it")
    with pytest.raises(UserError, match="it measures each scan .* at least 3 of them, and there are 2"):
        check_calibration(settings_of("zres"), toy(range(2), True), "it")


@pytest.mark.thorough
def test_zres_never_sees_a_training_volume_and_predict_scores_alike(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[Any, ...]] = []
    pca = methods.load("pca")
    usual = pca.calibrate

    def watched(self: Any, healthy: Volumes, context: Context) -> Any:
        shown.append(tuple(p.session.id for p in healthy._prepared))
        return usual(self, healthy, context)

    monkeypatch.setattr(pca, "calibrate", watched)
    made = run(replace(CELL, method="pca", settings={"score_kind": "zres"}), runtime)

    parts: dict[str, set[str]] = {}
    for subject in made.record.subjects:
        parts.setdefault(subject.partition, set()).add(subject.id)
    assert shown
    for people in shown:
        assert set(people) <= parts["healthy-val"]
    assert any(set(people) < parts["healthy-val"] for people in shown)  # the folds

    plan = resolve_run(RunConfig.of(made.record), runtime)
    patient = prepare_cohort(plan, runtime).model["lesion-test"][0]
    alone = load_model(made.path, runtime).score(patient).score_map
    np.testing.assert_array_equal(maps.read_map(made.maps / f"{patient.key}.safetensors").score_map, alone)


# ---- masks that leave nothing to measure -------------------------------------------------------


def masks(runtime: Runtime, fill: Callable[[int, NDArray[np.uint8]], NDArray[np.uint8]]) -> None:
    """Overwrite the lesion masks of the balls: `fill(number of the patient, its brain)`."""
    root = runtime.paths.data / "balls"
    make = run(replace(CELL, method="intensity"), runtime)  # writes the files
    make.path.unlink()
    for file in root.glob("lesion-*.nii"):
        number = int(file.stem.split("-")[1])
        brain = nibabel.load(root / f"mask-{number}.nii")
        made = fill(number, np.asarray(brain.dataobj).astype(np.uint8))
        nibabel.save(nibabel.Nifti1Image(made, brain.affine), file)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("fill", "complaint"),
    [
        (
            lambda _, brain: 0 * brain,
            "Nothing can be measured: in the 7 lesion-test scans .* no measured voxel is",
        ),
        (lambda _, brain: brain, "No lesion-test subject .*expected at most 75%"),
    ],
)
def test_when_nothing_can_be_measured_nothing_is_fitted(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, fill: Any, complaint: str
) -> None:
    masks(runtime, fill)
    monkeypatch.setattr(methods.load("pca"), "fit", None)  # must not be called
    with pytest.raises(UserError, match=complaint):
        run(replace(CELL, method="pca"), runtime)


@pytest.mark.thorough
def test_some_empty_masks_give_nulls_and_no_nan(runtime: Runtime) -> None:
    def fill(number: int, brain: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if number % 3 == 0:
            return 0 * brain
        return np.asarray(brain * (np.indices(brain.shape)[2] == 22), np.uint8)

    masks(runtime, fill)
    made = run(replace(CELL, method="pca"), runtime)

    text = made.path.read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    tested = [s for s in json.loads(text)["subjects"] if s["partition"] == "lesion-test"]
    empty = [s for s in tested if not s["lesion_ml"]]
    assert made.record.summary.empty_masks == len(empty) > 0
    assert all(s["dsc"]["raw"]["oracle"] is None and not s["ap"] for s in empty)
    raw = made.record.summary.profiles["raw"]
    assert 0 < (raw.ap or 0) <= 1
    assert 0 <= (raw.auroc or -1) <= 1


# ---- whom to test on -----------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_set_of_one_patient_says_how_to_test_on_it_and_can(
    runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(14, 24):  # of ten patients the first one alone, whose place in the split is val
        ball = f"ball-{number:02d}"
        card = dataset_card("balls")
        if splits.hash_position("balls", ball) < card.lesion_split["val"]:
            break
    run(replace(CELL, method="intensity"), runtime).path.unlink()
    module = datasets.load("balls")
    everybody = module.sessions

    def few(folder: Path) -> Iterator[Session]:
        return (s for s in everybody(folder) if s.healthy or s.id == ball)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "sessions", few)
        show.show_prepared(prepare_dataset("balls", ["T1"], [], runtime))
        said = " ".join(capsys.readouterr().out.split())
        assert "nobody to test on: all patients (1) are in lesion-val" in said
        assert "--split all-test" in said
        with pytest.raises(UserError, match="lesion-test partition of balls is empty.*--split all-test"):
            resolve_run(replace(CELL, method="intensity"), runtime)
        made = run(replace(CELL, method="intensity", split="all-test"), runtime).record
    assert made.variant == "ci,split=all-test"
    assert [s.id for s in made.subjects if s.partition == "lesion-test"] == [ball]
    assert made.split.asked == "all-test"
    assert made.split.lists["balls"].rule == "all-test"
    assert RunConfig.of(made).split == "all-test"


@pytest.mark.thorough
def test_a_run_without_a_healthy_cohort_is_asked_for_again_without_one(runtime: Runtime) -> None:
    made = run(replace(CELL, method="intensity", train="none"), runtime)
    assert (made.record.train, made.record.train_contrasts) == (None, [])
    assert made.path.parts[-5] == "none-to-balls"
    assert resolve_run(RunConfig.of(made.record), runtime).train is None
    assert evaluate_again(made.path, runtime).path == made.path
    assert made.record.model_grid == "g48"  # the evaluation grid of the set's protocol
    assert made.record.headline == "baur5"
    assert set(made.record.thresholds) == {"raw", "median3", "baur5"}
