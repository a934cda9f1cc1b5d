"""Check of a record made elsewhere: do its numbers follow from its pieces, and its names from its facts?

It proves that a record is consistent, not that it is authentic: whoever invents scores and counts them
correctly passes.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench import methods, record, splits
from uadbench.cards import DatasetCard, dataset_card, method_card
from uadbench.errors import UserError
from uadbench.evaluation.evaluate import Evaluation
from uadbench.evaluation.pieces import Pieces
from uadbench.evaluation.summary import rows, summarise
from uadbench.grids import Grid
from uadbench.protocol import (
    FALSE_POSITIVE_RATES,
    METRIC_VERSION,
    OPERATING_POINTS,
    PIXELS,
    VOLUMES,
    protocol,
    regime,
)
from uadbench.record import RunRecord

ROUNDING = 2e-6  # records hold six decimals
AUROC_ROUNDING = 1e-3  # beyond what the pieces leave open


def check(path: Path) -> list[str]:
    """Everything that is wrong with a record, in words; empty: it is consistent.

    A file that is no record, or whose pieces are not those it names, is a UserError.
    """
    made = record.read(path)
    wrong = list(_names(made, path))
    if wrong:
        return wrong  # nothing else can be recomputed
    evaluation = _evaluation(made, path)
    parts: Sequence[Callable[[RunRecord, Evaluation], Iterator[str]]] = (
        _people,
        _own_figures,
        _counts,
        _thresholds,
        _summary,
    )
    return [reason for part in parts for reason in part(made, evaluation)]


def _names(made: RunRecord, path: Path) -> Iterator[str]:
    """Whether the protocol, the data sets, the method and the place are what they are said to be."""
    try:
        protocol(made.protocol)
        test = dataset_card(made.test)
        train = dataset_card(made.train) if made.train else None
        method_card(made.method)
        usual = methods.parameters(methods.build(made.method, made.preset))
    except UserError as error:
        yield str(error)
        return
    if made.metric_version != METRIC_VERSION:
        yield f"metric_version is {made.metric_version}, expected {METRIC_VERSION}: score the run again"
    if path.parts[-len(made.place.parts) :] != made.place.parts:
        yield f"the file lies at {path.name} in another folder than its facts say: {made.place}"
    if made.contrast not in test.contrasts:
        yield f"{made.test} has no contrast {made.contrast}"
    allowed = {regime(train, test), "phantom"}  # a fixture of a real set is a phantom
    if made.regime not in allowed:
        yield f"regime is {made.regime}, but {made.train or 'none'} to {made.test} is {regime(train, test)}"
    unknown = sorted(set(made.parameters) - set(usual))  # a method may have got options since
    if unknown:
        yield f"{made.method} has no option {', '.join(unknown)}"
        return
    changed = sorted(key for key, value in made.parameters.items() if value != usual[key])
    for key in changed:
        if f"{key}=" not in made.variant:
            yield f"option {key} differs from preset {made.preset}, which '{made.variant}' does not say"
    if made.variant.split(",")[0] != made.preset:
        yield f"variant '{made.variant}' does not begin with its preset {made.preset}"


def _evaluation(made: RunRecord, path: Path) -> Evaluation:
    """What the record was summarised from."""
    arrays = record.read_pieces(path.with_name(made.pieces["file"]))
    apart = ("voxels", "lesions")
    return Evaluation(
        made.subjects,
        made.thresholds,
        {
            profile: Pieces.from_arrays({k: v for k, v in own.items() if k not in apart})
            for profile, own in arrays.items()
        },
        {profile: own["voxels"].astype(np.int64) for profile, own in arrays.items()},
        {profile: own["lesions"].astype(np.int64) for profile, own in arrays.items()},
    )


# ---- people ------------------------------------------------------------------------------------


def _people(made: RunRecord, evaluation: Evaluation) -> Iterator[str]:
    """Who was tested: each once, in the partition that the rule gives, and as many as were planned."""
    ids = [s["id"] for s in made.subjects]
    for profile, pieces in evaluation.pieces.items():
        if list(pieces.ids) != ids:
            yield f"the pieces of {profile} are of other subjects than the record, or in another order"
    by_partition: dict[str, list[Mapping[str, Any]]] = {}
    for subject in made.subjects:
        by_partition.setdefault(subject["partition"], []).append(subject)
    for partition, members in by_partition.items():
        if len({s["id"] for s in members}) < len(members):
            yield f"a subject is listed twice in {partition}"
        yield from _homes(made, partition, members)
    for partition, planned in made.splits.items():
        if partition == "healthy-train":
            continue
        left_out = sum(item["partition"] == partition for item in made.excluded)
        there = len(by_partition.get(partition, []))
        if there + left_out != planned["subjects"]:
            yield (
                f"{partition} has {planned['subjects']} subjects in the split, but {there} were scored and "
                f"{left_out} are listed as excluded"
            )


def _homes(made: RunRecord, partition: str, members: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for subject in members:
        try:
            card = dataset_card(subject["cohort"])
        except UserError as error:
            yield str(error)
            return
        expected = _partition_by_hash(subject, card, partition)
        if not card.published_split and expected != partition:
            yield f"{subject['id']} is in {partition}, but the split puts its person into {expected}"


def _partition_by_hash(subject: Mapping[str, Any], card: DatasetCard, partition: str) -> str:
    """The partition of a subject by the hash rule."""
    group = partition.split("-")[0]
    fractions = card.healthy_split if group == "healthy" or card.within else card.lesion_split
    place = splits.position(subject["cohort"], subject["person"])
    for name in ("train", "val"):
        place -= fractions.get(name, 0.0)
        if place < 0:
            return f"{group}-{name}"
    return f"{group}-test"


# ---- figures -----------------------------------------------------------------------------------


def _own_figures(made: RunRecord, evaluation: Evaluation) -> Iterator[str]:
    """Each subject's own AP and AUROC against its pieces."""
    for profile, pieces in evaluation.pieces.items():
        for row, subject in enumerate(made.subjects):
            chosen = np.zeros(len(pieces.ids), np.int64)
            chosen[row] = 1
            curve = pieces.curve(chosen)
            for name, value, open_ in (
                ("ap", curve.ap, curve.ap_error),
                ("auroc", curve.auroc, curve.auroc_error),
            ):
                said = subject[name].get(profile)
                if said is None:
                    continue
                if not math.isfinite(said) or not abs(said - value) <= open_ + AUROC_ROUNDING:
                    yield f"{subject['id']} has {name} {said} after {profile}, its pieces give {value:.4f}"


def _counts(made: RunRecord, evaluation: Evaluation) -> Iterator[str]:
    """Voxels at the operating points against the pieces, and Dice against the voxels."""
    for profile, pieces in evaluation.pieces.items():
        voxels = evaluation.voxels[profile]
        lesion = pieces.positives.sum(1, dtype=np.int64)
        for number, point in enumerate(OPERATING_POINTS):
            threshold = made.thresholds[profile][point]
            if threshold is None:
                continue
            true, false, missed = voxels[:, number].T
            yield from _against_pieces(made, pieces, profile, point, true + missed != lesion, "lesion voxels")
            if profile == "raw":  # no component is dropped after the threshold
                wanted = _at(pieces, threshold)
                if wanted is not None:
                    other = (true != wanted[0]) | (false != wanted[1])
                    yield from _against_pieces(made, pieces, profile, point, other, "hits")
            for row, subject in enumerate(made.subjects):
                said = subject.get("dsc", {}).get(profile, {}).get(point)
                total = 2 * true[row] + false[row] + missed[row]
                if said is not None and abs(said - 2 * true[row] / total) > ROUNDING:
                    yield f"{subject['id']} has Dice {said} at {point} ({profile}), its voxels give another"


def _at(pieces: Pieces, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    try:
        true, false, _ = pieces.dice_at(float(np.float32(threshold)))
    except ValueError:
        return None  # `oracle_mean` and thresholds nobody reaches need not be edges
    return true, false


def _against_pieces(
    made: RunRecord, pieces: Pieces, profile: str, point: str, wrong: NDArray[np.bool_], what: str
) -> Iterator[str]:
    if wrong.any():
        first = made.subjects[int(np.argmax(wrong))]["id"]
        yield f"the {what} of {first} at {point} ({profile}) are not those of its pieces"


def _thresholds(made: RunRecord, evaluation: Evaluation) -> Iterator[str]:
    """Frozen thresholds against the partitions they may be frozen on (protocol, rule 3)."""
    for profile, pieces in evaluation.pieces.items():
        said = made.thresholds[profile]
        for point, partition in (("oracle", "lesion-test"), ("val", "lesion-val")):
            chosen = rows(made.subjects, partition)
            threshold = said[point]
            if not chosen or threshold is None:
                continue
            own = pieces.only(chosen)
            curve = own.curve()
            true, false, missed = (part.sum() for part in own.dice_at(_edge(pieces, threshold)))
            reached = 2 * true / max(2 * true + false + missed, 1)
            if curve.best_dice - reached > 2e-3:
                yield (
                    f"the threshold {point} of {profile} reaches Dice {reached:.4f} on {partition}, the best "
                    f"one {curve.best_dice:.4f}"
                )
        healthy = rows(made.subjects, "healthy-val")
        for point, rate in FALSE_POSITIVE_RATES.items():
            threshold = said[point]
            if not healthy or threshold is None:
                continue
            own = pieces.only(healthy)
            above = own.negatives[:, np.searchsorted(own.edges, np.float32(threshold)) :].sum()
            realised = above / max(own.negatives.sum(), 1)
            if abs(realised - rate) > 0.25 * rate:
                yield f"the threshold {point} of {profile} gives a rate of {realised:.4f} on healthy-val"


def _edge(pieces: Pieces, threshold: float) -> float:
    """The edge of the pieces nearest to a threshold."""
    return float(pieces.edges[np.abs(pieces.edges - np.float32(threshold)).argmin()])


def _summary(made: RunRecord, evaluation: Evaluation) -> Iterator[str]:
    """The whole summary, made again."""
    flat = protocol(made.protocol).flat
    target = protocol(made.protocol).grid
    voxel = target.voxel_size if isinstance(target, Grid) else 1.0
    again = summarise(evaluation, voxel, PIXELS if flat else VOLUMES)
    yield from _differences("summary", made.summary, again)


def _differences(place: str, said: Any, again: Any) -> Iterator[str]:
    if isinstance(again, Mapping):
        for key in again:
            if key not in said:
                yield f"{place} lacks {key}"
            else:
                yield from _differences(f"{place}.{key}", said[key], again[key])
        for key in said:
            if key not in again:
                yield f"{place} has a surplus {key}"
    elif isinstance(again, float) and isinstance(said, int | float):
        slack = AUROC_ROUNDING if place.endswith(("ap_mean", "auroc_mean")) else ROUNDING
        if not abs(said - again) <= max(slack, 1e-6 * abs(again)):
            yield f"{place} is {said}, the subjects give {again:.6f}"
    elif said != again:
        yield f"{place} is {said}, the subjects give {again}"
