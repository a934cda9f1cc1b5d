"""Summary: the numbers of one run, from per-subject numbers and pieces alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.data.sizes import VOLUMES, Sizes
from uadbench.data.splits import PARTITIONS
from uadbench.evaluation.components import FALSE, FOUND, LESIONS
from uadbench.evaluation.evaluate import Evaluation
from uadbench.evaluation.metrics import dice, measure, or_none
from uadbench.evaluation.pieces import Pieces
from uadbench.protocol import ALL_POINTS, FALSE_POSITIVE_RATES, GIVEN, dice_ceiling

Subjects = Sequence[Mapping[str, Any]]


def summarise(evaluation: Evaluation, voxel_ml: float, sizes: Sizes = VOLUMES) -> dict[str, Any]:
    """Everything a leaderboard row shows, by post-processing profile, and what is common to all.

    `voxel_ml` is the size of a voxel of the grid in the unit of `sizes`; it is divided by how much larger
    each scan is on the grid than in the patient's head. Of masks there are no areas under curves.
    """
    subjects, masks = evaluation.subjects, any(GIVEN in known for known in evaluation.thresholds.values())
    return {
        "subjects": {partition: len(rows(subjects, partition)) for partition in PARTITIONS},
        "empty_masks": sum(
            s["partition"] == "lesion-test" and not s[f"lesion_{sizes.unit}"] for s in subjects
        ),
        **(NO_SCAN_SCORE if masks else _image_level(subjects)),
        "restoration": _restoration(subjects),
        "draw_spread": _draw_spread(subjects),
        "profiles": {
            profile: _profile(evaluation, profile, voxel_ml, sizes) for profile in evaluation.pieces
        },
    }


NO_SCAN_SCORE = {"scan": {"auroc": None, "rule": "masks order no scans"}}


def rows(subjects: Subjects, partition: str, kind: str | None = None) -> list[int]:
    """Row numbers of a partition, or of one lesion kind in it."""
    return [
        row
        for row, subject in enumerate(subjects)
        if subject["partition"] == partition and kind in (None, subject["lesion_kind"])
    ]


def weights(count: int, chosen: Sequence[int]) -> NDArray[np.int64]:
    """Weights that count the chosen rows once and the others not at all."""
    counted = np.zeros(count, np.int64)
    counted[list(chosen)] = 1
    return counted


def pooled(pieces: Pieces, chosen: Sequence[int]) -> dict[str, float | None]:
    """Voxel-level AP and AUROC pooled over the chosen subjects, with their error bounds.

    A figure whose bound is wider than is promised is an UncertainFigureError.
    """
    curve = pieces.curve(weights(len(pieces.ids), chosen)).certain("AP", "AUROC")
    return {
        "ap": or_none(curve.ap),
        "ap_error": or_none(curve.ap_error),
        "auroc": or_none(curve.auroc),
        "auroc_error": or_none(curve.auroc_error),
        "prevalence": or_none(curve.prevalence),
    }


def _unordered(pieces: Pieces, chosen: Sequence[int]) -> dict[str, float | None]:
    """As `pooled`, of masks: they order no voxels, and so have no curve."""
    ill, well = (int(part[list(chosen)].sum(dtype=np.int64)) for part in (pieces.positives, pieces.negatives))
    prevalence = ill / (ill + well) if ill + well else None
    return {**dict.fromkeys(("ap", "ap_error", "auroc", "auroc_error")), "prevalence": prevalence}


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _image_level(subjects: Subjects) -> dict[str, Any]:
    """Whole scans against each other, or slices where these stand alone: the name says which."""
    if not any("slice_scores" in s for s in subjects):
        return {"scan": _scan_level(subjects)}
    return {"scan": {"auroc": None, "rule": "no scan is healthy: see slice"}, "slice": _slice_level(subjects)}


def _slice_level(subjects: Subjects) -> dict[str, Any]:
    """AUROC of the slices of healthy-test against those of lesion-test that hold lesion (rule 2)."""
    lesion_free = [score for row in rows(subjects, "healthy-test") for score in subjects[row]["slice_scores"]]
    with_lesion = [
        score
        for row in rows(subjects, "lesion-test")
        for score, ill in zip(subjects[row]["slice_scores"], subjects[row]["slice_lesion"], strict=True)
        if ill
    ]
    ill = np.repeat([False, True], [len(lesion_free), len(with_lesion)])
    auroc = _auroc(lesion_free + with_lesion, ill)
    counts = {"lesion_free": len(lesion_free), "with_lesion": len(with_lesion)}
    return {"auroc_slice": auroc, "rule": "mean of the slice's top 1 % of in-brain scores", **counts}


def _scan_level(subjects: Subjects) -> dict[str, Any]:
    """AUROC of healthy-test against lesion-test scans (protocol, rule 5)."""
    tested = [subjects[row] for part in ("healthy-test", "lesion-test") for row in rows(subjects, part)]
    ill = np.array([s["partition"] == "lesion-test" for s in tested], bool)
    auroc = _auroc([s["scan_score"] for s in tested], ill)
    return {"auroc": auroc, "rule": "mean of the top 1 % of in-brain scores"}


def _auroc(scores: Sequence[float], ill: NDArray[np.bool_]) -> float | None:
    """AUROC of single scores, by their order: float32 would make neighbours of means equal."""
    order = np.unique(np.array(scores, np.float64), return_inverse=True)[1].astype(np.float32)
    return or_none(measure(order, ill).auroc)


def _restoration(subjects: Subjects) -> dict[str, float | None]:
    """Pseudo-healthy quality (protocol, rule 16); empty for methods that emit no such volume."""
    if not any("restoration_l1" in s for s in subjects):
        return {}
    healthy = [subjects[row] for row in rows(subjects, "healthy-test")]
    lesion = [subjects[row] for row in rows(subjects, "lesion-test")]
    return {
        "healthy_l1": _mean([s["restoration_l1"] for s in healthy]),
        "healthy_ssim": _mean([s["restoration_ssim"] for s in healthy]),
        "residual_ratio": _mean([s.get("residual_ratio") for s in lesion]),
    }


def _draw_spread(subjects: Subjects) -> dict[str, float] | None:
    """How far figures move from one draw of noise to another (protocol, rule 12); None with one draw.

    `subject`: deviation of a lesion-test scan's own AP, mean over scans. `ap_mean`: deviation of the mean
    over scans; noise is drawn for each scan by itself, so that variances add.
    """
    spreads = [subjects[row].get("draw_spread") for row in rows(subjects, "lesion-test")]
    known = [spread for spread in spreads if spread is not None]
    if not known:
        return None
    mean = float(np.sqrt(np.square(known).sum()) / len(known))
    return {"subject": float(np.mean(known)), "ap_mean": mean}


def _profile(evaluation: Evaluation, profile: str, voxel_ml: float, sizes: Sizes) -> dict[str, Any]:
    subjects, pieces = evaluation.subjects, evaluation.pieces[profile]
    tested = rows(subjects, "lesion-test")
    kinds = sorted({subjects[row]["lesion_kind"] for row in tested if subjects[row]["lesion_kind"]})
    masks = GIVEN in evaluation.thresholds[profile]
    summary: dict[str, Any] = (_unordered if masks else pooled)(pieces, tested)
    summary["ap_mean"] = _mean([subjects[row]["ap"].get(profile) for row in tested])
    summary["unflagged"] = None if masks else _unflagged(subjects, pieces, tested)
    summary["kinds"] = (
        {}
        if masks
        else {
            kind: {"subjects": len(chosen), **pooled(pieces, chosen)}
            for kind in kinds
            for chosen in [rows(subjects, "lesion-test", kind)]
        }
    )
    summary["points"] = {
        point: _point(evaluation, profile, point, voxel_ml, sizes)
        for point, threshold in evaluation.thresholds[profile].items()
        if threshold is not None
    }
    return summary


def _unflagged(subjects: Subjects, pieces: Pieces, tested: Sequence[int]) -> dict[str, Any] | None:
    """The pooled figures without the scans whose preparation was flagged; None where none was."""
    kept = [row for row in tested if not subjects[row].get("flags")]
    return None if len(kept) == len(tested) else {"subjects": len(kept), **pooled(pieces, kept)}


def _point(evaluation: Evaluation, profile: str, point: str, voxel_ml: float, sizes: Sizes) -> dict[str, Any]:
    """Numbers of one operating point (protocol, rules 3, 10 and 11)."""
    subjects, number = evaluation.subjects, ALL_POINTS.index(point)
    tested, healthy = rows(subjects, "lesion-test"), rows(subjects, "healthy-test")
    voxels = evaluation.voxels[profile][:, number]
    lesions = evaluation.lesions[profile][tested][:, number].sum(0)
    true_positives, false_positives, false_negatives = (int(n) for n in voxels[tested].sum(0))
    summary: dict[str, Any] = {
        "threshold": evaluation.thresholds[profile][point],
        "dsc": or_none(dice(true_positives, false_positives, true_positives + false_negatives)),
        "dsc_mean": _mean([subjects[row]["dsc"][profile][point] for row in tested]),
        "fpr_lesion_test": _rate(evaluation, profile, number, tested),
        "fpr_healthy_test": _rate(evaluation, profile, number, healthy),
        f"healthy_false_{sizes.unit}": _mean(
            [float(voxels[row, 1] * _own_voxel(subjects[row], voxel_ml)) for row in healthy]
        ),
        "recall": _share(int(lesions[:, FOUND].sum()), int(lesions[:, LESIONS].sum())),
        "false_components": float(lesions[:, FALSE].sum() / len(tested)) if tested else None,
        "by_size": {
            band: {
                "lesions": int(lesions[row, LESIONS]),
                "recall": _share(int(lesions[row, FOUND]), int(lesions[row, LESIONS])),
                "false_components": float(lesions[row, FALSE] / len(tested)) if tested else None,
            }
            for row, band in enumerate(sizes.bands)
        },
    }
    if point in FALSE_POSITIVE_RATES and tested:
        total = sum(subjects[row]["voxels"] for row in tested)
        prevalence = (true_positives + false_negatives) / total if total else 0.0
        summary["ceiling"] = dice_ceiling(prevalence, FALSE_POSITIVE_RATES[point])
    return summary


def _own_voxel(subject: Mapping[str, Any], voxel: float) -> float:
    """What a voxel of a scan adds to a size: that of its own voxels, or of the grid in the patient's own."""
    own: float | None = subject.get("voxel_ml")
    return voxel / float(subject.get("template_scale", 1.0)) if own is None else own


def _rate(evaluation: Evaluation, profile: str, number: int, chosen: Sequence[int]) -> float | None:
    """Realised voxel false-positive rate: false positives over all voxels without lesion."""
    voxels = evaluation.voxels[profile][chosen, number].sum(0)
    total = sum(evaluation.subjects[row]["voxels"] for row in chosen)
    return _share(int(voxels[1]), total - int(voxels[0] + voxels[2]))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
