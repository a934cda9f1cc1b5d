"""Evaluation of hand-made maps: numbers that can be counted, and the defects seen in published code."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.evaluation import maps
from uadbench.evaluation.evaluate import Evaluation, evaluate
from uadbench.evaluation.maps import Case
from uadbench.evaluation.postprocess import PROFILES
from uadbench.evaluation.scan_facts import extent, scan_score
from uadbench.evaluation.summary import summarise
from uadbench.methods import Score
from uadbench.system.progress import Silent

Make = Callable[[Prepared], NDArray[np.float32]]


@pytest.fixture
def evaluated(toy: Callable[..., list[Prepared]], tmp_path: Path) -> Callable[..., Evaluation]:
    """Evaluates the maps that a function makes of toy subjects in four partitions."""
    members = {
        "healthy-val": toy(range(0, 3), healthy=True),
        "healthy-test": toy(range(3, 6), healthy=True),
        "lesion-val": toy(range(6, 8), healthy=False),
        "lesion-test": toy(range(8, 12), healthy=False),
    }

    def work(
        make: Make, parts: Sequence[str] = tuple(members), profiles: Sequence[str] = ("raw",)
    ) -> Evaluation:
        cases = []
        for part in parts:
            for prepared in members[part]:
                file = tmp_path / "maps" / f"{prepared.key}.safetensors"
                maps.write_map(file, Score(np.ascontiguousarray(make(prepared), np.float32)), 0.1, 1.0)
                cases.append(Case(part, prepared, file, prepared.grid))
        return evaluate(cases, profiles, tmp_path / "scratch", 2, Silent())

    return work


def perfect(prepared: Prepared) -> NDArray[np.float32]:
    return prepared.lesion().astype(np.float32)


def brightness(prepared: Prepared) -> NDArray[np.float32]:
    return prepared.image()


def of(evaluation: Evaluation, profile: str = "raw") -> dict:  # type: ignore[type-arg]
    return summarise(evaluation, 0.064)["profiles"][profile]  # type: ignore[no-any-return]


def test_a_perfect_map_is_perfect_at_every_point_that_looks_at_labels(
    evaluated: Callable[..., Evaluation],
) -> None:
    summary = of(evaluated(perfect))

    assert summary["ap"] == pytest.approx(1)
    assert summary["auroc"] == pytest.approx(1)
    for point in ("oracle", "oracle_mean", "val"):
        assert summary["points"][point]["dsc"] == 1
        assert summary["points"][point]["recall"] == 1
        assert summary["points"][point]["false_components"] == 0


def test_a_profile_that_does_nothing_has_what_it_would_have_alone(
    evaluated: Callable[..., Evaluation],
) -> None:
    """A median of 3 mm is none on voxels of 4 mm: its figures are those of `raw`, which are found once."""
    assert PROFILES["median3"].effect(GRIDS["g48"]) == PROFILES["raw"].effect(GRIDS["g48"])
    assert PROFILES["median3"].effect(GRIDS["g192"]) != PROFILES["raw"].effect(GRIDS["g192"])
    together = evaluated(brightness, profiles=("raw", "median3", "baur5"))
    for profile in ("raw", "median3", "baur5"):
        alone = evaluated(brightness, profiles=(profile,))
        assert together.thresholds[profile] == alone.thresholds[profile]
        assert np.array_equal(together.lesions[profile], alone.lesions[profile])
        assert np.array_equal(together.pieces[profile].positives, alone.pieces[profile].positives)
        for one, other in zip(together.subjects, alone.subjects, strict=True):
            assert list(one["dsc"]) == ["raw", "median3", "baur5"]
            for figure in ("ap", "auroc", "dsc"):
                assert one[figure].get(profile) == other[figure].get(profile)


def test_an_inverted_map_finds_nothing(evaluated: Callable[..., Evaluation]) -> None:
    summary = of(evaluated(lambda p: -perfect(p)))

    assert summary["auroc"] == pytest.approx(0)
    assert summary["ap"] == pytest.approx(summary["prevalence"])  # every lesion voxel comes last, all tied


def test_swapping_axes_of_map_and_mask_together_changes_nothing_and_of_one_alone_does(
    evaluated: Callable[..., Evaluation],
) -> None:
    """A published axis mix-up left slice AUROC unchanged while voxel AUROC fell from .873 to .583."""
    right = of(evaluated(brightness))
    wrong = of(evaluated(lambda p: p.image()[::-1]))

    assert wrong["ap"] < right["ap"] - 0.1
    assert wrong["auroc"] < right["auroc"] - 0.01


def test_the_threshold_at_a_false_positive_rate_comes_from_healthy_val(
    evaluated: Callable[..., Evaluation],
) -> None:
    """FPR is false positives over all negatives, not over positives found, and not the TPR."""
    evaluation = evaluated(brightness)
    row = 3  # fpr1
    healthy_val = [n for n, s in enumerate(evaluation.subjects) if s["partition"] == "healthy-val"]
    false = evaluation.voxels["raw"][healthy_val, row, 1].sum()
    total = sum(evaluation.subjects[n]["voxels"] for n in healthy_val)

    assert 0.008 < false / total <= 0.01


def test_no_test_label_moves_a_frozen_threshold(evaluated: Callable[..., Evaluation]) -> None:
    with_test = evaluated(brightness).thresholds["raw"]
    without = evaluated(brightness, parts=("healthy-val", "healthy-test", "lesion-val")).thresholds["raw"]

    assert {p: with_test[p] for p in ("val", "fpr1", "fpr5")} == {
        p: without[p] for p in ("val", "fpr1", "fpr5")
    }
    assert without["oracle"] is None


def test_points_without_their_partition_are_blank(evaluated: Callable[..., Evaluation]) -> None:
    points = of(evaluated(brightness, parts=("lesion-test",)))["points"]

    assert set(points) == {"oracle", "oracle_mean"}


def test_dice_of_a_subject_is_that_of_its_counts(evaluated: Callable[..., Evaluation]) -> None:
    evaluation = evaluated(brightness)

    for n, subject in enumerate(evaluation.subjects):
        true, false, missed = evaluation.voxels["raw"][n, 0]
        expected = 2 * true / (2 * true + false + missed) if true + missed else None
        assert subject["dsc"]["raw"]["oracle"] == expected


def test_an_empty_mask_is_left_out_of_dice_means_and_still_counts_false_positives(
    evaluated: Callable[..., Evaluation],
) -> None:
    evaluation = evaluated(brightness)
    healthy = [n for n, s in enumerate(evaluation.subjects) if s["partition"] == "healthy-test"]

    assert all(evaluation.subjects[n]["dsc"]["raw"]["fpr5"] is None for n in healthy)
    assert evaluation.voxels["raw"][healthy, 4, 1].sum() > 0


def test_the_order_of_subjects_changes_no_pooled_number(evaluated: Callable[..., Evaluation]) -> None:
    forward = of(evaluated(brightness))
    parts = ("lesion-test", "lesion-val", "healthy-test", "healthy-val")
    backward = of(evaluated(brightness, parts=parts))

    assert forward["ap"] == backward["ap"]
    assert forward["points"] == backward["points"]


def test_scores_far_outside_the_unit_interval_are_taken_as_they_are(
    evaluated: Callable[..., Evaluation],
) -> None:
    """A published evaluation applied a sigmoid to scores outside [0, 1]; another divided by a maximum."""
    plain, stretched = of(evaluated(brightness)), of(evaluated(lambda p: 4096 * p.image()))

    assert stretched["ap"] == pytest.approx(plain["ap"], abs=2e-4)
    assert stretched["points"]["fpr5"]["dsc"] == pytest.approx(plain["points"]["fpr5"]["dsc"], abs=1e-3)


def test_voxels_outside_the_brain_and_thin_slices_are_not_counted(toy: Callable[..., list[Prepared]]) -> None:
    (prepared,) = toy(range(8, 9), healthy=False)
    counted = extent(prepared)
    areas = counted.sum((0, 1)) * prepared.grid.spacing_mm**2

    assert not (counted & ~prepared.brain() & ~prepared.lesion()).any()
    assert all(area == 0 or area >= 2000 for area in areas)


def test_the_scan_score_is_the_mean_of_the_top_hundredth() -> None:
    assert scan_score(np.arange(1000, dtype=np.float32)) == pytest.approx(994.5)
