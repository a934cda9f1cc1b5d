"""Recompute: do the figures of a record follow from its pieces? Whatever shows a record asks this first."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.data.sizes import PIXELS, VOLUMES
from uadbench.data.space import Grid
from uadbench.evaluation.components import FOUND, LESIONS
from uadbench.evaluation.evaluate import Evaluation
from uadbench.evaluation.metrics import Curve, dice, or_none
from uadbench.evaluation.pieces import Pieces
from uadbench.evaluation.summary import summarise
from uadbench.experiment import pieces_file, record
from uadbench.experiment.pieces_file import PiecesRead
from uadbench.experiment.recompute_details import wrong_details
from uadbench.experiment.record import RunRecord, Stored
from uadbench.protocol import FALSE_POSITIVE_RATES, METRIC_VERSION, SCAN_FRACTION, protocol
from uadbench.system.errors import UserError

ROUNDING = 2e-6  # records hold six decimals
AUROC_ROUNDING = 1e-3  # beyond what the pieces leave open
RATE_SLACK = 0.25  # of a false-positive rate
THRESHOLD_SLACK = 2e-3  # of Dice, that an edge beside the best one gives


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a record's figures, in words, and the digest of its pieces where they were read."""

    wrong: Sequence[str]
    digest: str = ""


def wrong_figures(stored: Stored) -> Sequence[str]:
    """Every figure that does not follow from the record's pieces; empty: all do."""
    return examine_figures(stored).wrong


def examine_figures(stored: Stored) -> Verdict:
    """Make every figure of a record again from its pieces."""
    made = stored.record
    if made.metric_version != METRIC_VERSION:
        said = f"metric_version is {made.metric_version}, expected {METRIC_VERSION}: score the run again"
        return Verdict([said])
    try:
        wrong = list(_structure(made, protocol(made.protocol).flat))
        if wrong:
            return Verdict(wrong)
        read = pieces_file.read_pieces(stored)
    except UserError as error:  # an unknown protocol, or damaged pieces
        return Verdict([str(error)])
    with np.errstate(all="ignore"):
        try:
            for part in PARTS:
                wrong.extend(part(made, read))
        except (ArithmeticError, ValueError, LookupError, TypeError) as error:
            wrong.append(f"its pieces give no values: {error}")
    return Verdict(wrong, read.digest)


def _structure(made: RunRecord, flat: bool) -> Iterator[str]:
    """Whether the same profiles and operating points are everywhere; of the subjects the first is named."""
    profiles, points = set(made.thresholds), set(made.points)
    if made.headline not in profiles:
        yield f"the headline profile {made.headline} was not evaluated"
    if set(made.summary.profiles) != profiles:
        yield "the summary is of other profiles than the thresholds"
    if any(set(known) != points for known in made.thresholds.values()):
        yield f"each profile has a threshold, or none, at {', '.join(made.points)}"
    for subject in made.subjects:
        at_points = all(set(known) == points for known in subject.dsc.values())
        if set(subject.dsc) != profiles or not at_points:
            yield f"{subject.id} lacks Dice at an operating point"
        elif not set(subject.auroc) <= set(subject.ap) <= profiles:
            yield f"{subject.id} has AP or AUROC of other profiles than were evaluated"
        elif (subject.lesion_ml is None, subject.lesion_pixels is None) != (flat, not flat):
            yield f"{subject.id} has no size of its lesion in the unit of {made.protocol}"
        else:
            continue
        return


def _own_figures(made: RunRecord, read: PiecesRead) -> Iterator[str]:
    """Each subject's own AP and AUROC against its pieces."""
    curves: dict[tuple[int, int], Curve] = {}  # a profile that changes nothing shares its pieces with another
    for profile, pieces in read.pieces.items():
        for row, subject in enumerate(made.subjects):
            there = bool(pieces.positives[row].any()) and not made.of_masks
            if there != (profile in subject.ap):
                yield f"{subject.id} {'lacks' if there else 'has'} an AP after {profile}"
                continue
            if not there:
                continue
            key = id(pieces), row
            curve = curves[key] = curves.get(key) or pieces.only([row]).curve()
            for name, said, value, open_ in (
                ("ap", subject.ap[profile], curve.ap, curve.ap_error),
                ("auroc", subject.auroc.get(profile), curve.auroc, curve.auroc_error),
            ):
                if math.isnan(value):  # the whole brain is lesion: there is nothing to tell apart
                    continue
                if said is None or not abs(said - value) <= open_ + AUROC_ROUNDING:
                    yield f"{subject.id} has {name} {said} after {profile}, its pieces give {value:.4f}"


def _counts(made: RunRecord, read: PiecesRead) -> Iterator[str]:
    """Voxels and lesions at the operating points against the pieces, and Dice against the voxels."""
    there = None  # lesions; as many at each threshold
    for profile, pieces in read.pieces.items():
        lesion_voxels = pieces.positives.sum(1, dtype=np.int64)
        for number, point in enumerate(made.points):
            threshold = made.thresholds[profile][point]
            said = [subject.dsc[profile][point] for subject in made.subjects]
            if threshold is None:
                if any(value is not None for value in said):
                    yield f"there is Dice at {point} ({profile}), but no threshold"
                continue
            true, false, missed = read.voxels[profile][:, number].T
            counted = read.lesions[profile][:, number]
            there = counted[..., LESIONS] if there is None else there
            surplus = (counted[..., FOUND] > counted[..., LESIONS]) | (counted[..., LESIONS] != there)
            for what, wrong in (
                ("lesion voxels", true + missed != lesion_voxels),
                ("hits", _other_hits(pieces, profile, threshold, true, false)),
                ("lesions", surplus.any(1)),
            ):
                if wrong.any():
                    first = made.subjects[int(np.argmax(wrong))].id
                    yield f"the {what} of {first} at {point} ({profile}) are not those of its pieces"
            dices = dice(true, false, true + missed)
            for subject, value, one in zip(made.subjects, said, dices, strict=True):
                found = or_none(one)
                if (value is None) != (found is None) or abs((value or 0.0) - (found or 0.0)) > ROUNDING:
                    yield f"{subject.id} has Dice {value}, its voxels give another"


def _other_hits(
    pieces: Pieces, profile: str, threshold: float, true: NDArray[np.int64], false: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whose voxels above a threshold are others than the pieces say."""
    try:
        called, amiss, _ = pieces.dice_at(float(np.float32(threshold)))
    except ValueError:
        return np.zeros(len(true), bool)  # `oracle_mean` and thresholds nobody reaches need not be edges
    more: NDArray[np.bool_] = (true > called) | (false > amiss)
    if profile == "raw":
        return more | (true < called) | (false < amiss)
    return more  # components may have been dropped after the threshold


def _thresholds(made: RunRecord, read: PiecesRead) -> Iterator[str]:
    """Frozen thresholds against the partitions they may be frozen on (protocol, rule 3)."""
    healthy = made.rows("healthy-val")
    for profile, pieces in read.pieces.items():
        said = made.thresholds[profile]
        for point, partition in (("oracle", "lesion-test"), ("val", "lesion-val")):
            chosen, threshold = made.rows(partition), said[point]
            if not chosen or threshold is None:
                continue
            own = pieces.only(chosen)
            best = own.curve().best_dice
            nearest = pieces.edges[np.abs(pieces.edges - np.float32(threshold)).argmin()]
            true, false, missed = (part.sum() for part in own.dice_at(float(nearest)))
            reached = or_none(dice(true, false, true + missed)) or 0.0
            if best - reached > THRESHOLD_SLACK:
                yield (
                    f"the threshold {point} of {profile} reaches Dice {reached:.4f} on {partition}, the best "
                    f"one {best:.4f}"
                )
        for point, rate in FALSE_POSITIVE_RATES.items():
            threshold = said[point]
            if threshold is None:
                continue
            if not healthy:
                yield f"{profile} has a threshold {point}, but no scan of healthy-val"
                continue
            realised, below = _rates(pieces.only(healthy), threshold)
            # The lowest threshold within the rate; where many voxels are tied it may lie far below the rate.
            if realised > (1 + RATE_SLACK) * rate or below < (1 - RATE_SLACK) * rate:
                yield f"the threshold {point} of {profile} gives a rate of {realised:.4f} on healthy-val"


def _rates(pieces: Pieces, threshold: float) -> tuple[float, float]:
    """The false-positive rate at a threshold, and at the next edge below it."""
    place = int(np.searchsorted(pieces.edges, np.float32(threshold)))
    total = max(int(pieces.negatives.sum()), 1)
    at, below = (pieces.negatives[:, first:].sum() for first in (place, max(place - 1, 0)))
    return float(at / total), float(below / total)


def _image_scores(made: RunRecord, read: PiecesRead) -> Iterator[str]:
    """The scores of scans or slices against the pieces file, and against the voxels of the scan."""
    for subject, kept in zip(made.subjects, read.image_scores, strict=True):
        said = [subject.scan_score] if subject.scan_score is not None else subject.slice_scores or []
        if len(said) != len(kept) or not np.allclose(said, kept, rtol=1e-9, atol=0.0):
            yield f"the scan scores of {subject.id} are not those of its pieces"
    if "raw" not in read.pieces:
        return
    for row, subject in enumerate(made.subjects):
        if subject.scan_score is None:
            continue
        lowest = _lowest(read.pieces["raw"], row)
        if subject.scan_score < lowest:
            yield (
                f"{subject.id} has the scan score {subject.scan_score:.4g}, by its voxels it is at least "
                f"{lowest:.4g}"
            )


# The scan score is of the whole brain; the pieces count the slices that are evaluated, and lesion outside the
# brain mask too. The top 1 % of the one are among the top 4 % of the other.
MOST_ABOVE = 4 * SCAN_FRACTION


def _lowest(pieces: Pieces, row: int) -> float:
    """What the mean of a scan's highest scores reaches at least, by the bins they are in."""
    counts = (pieces.positives[row] + pieces.negatives[row]).astype(np.int64)
    above = counts[::-1].cumsum()[::-1]  # in a bin or above it
    reached = np.flatnonzero(above >= max(MOST_ABOVE * counts.sum(), 1))
    if not reached.size:
        return -math.inf
    edge = float(pieces.edges[reached[-1]])
    return edge - 1e-5 * abs(edge)


def _summary(made: RunRecord, read: PiecesRead) -> Iterator[str]:
    """The whole summary, made again."""
    target = protocol(made.protocol).grid
    units = (target.voxel_size, VOLUMES) if isinstance(target, Grid) else (1.0, PIXELS)
    again = record.typed_summary(summarise(evaluation(made, read), *units))
    yield from _differences("summary", record.plain(made.summary), record.plain(again))


def evaluation(made: RunRecord, read: PiecesRead) -> Evaluation:
    """What a record was summarised from."""
    return Evaluation(
        [record.plain(subject) for subject in made.subjects],
        made.thresholds,
        dict(read.pieces),
        dict(read.voxels),
        dict(read.lesions),
        read.details,
    )


def _differences(place: str, said: Any, again: Any) -> Iterator[str]:
    if isinstance(again, Mapping) and isinstance(said, Mapping):
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


PARTS: Sequence[Callable[[RunRecord, PiecesRead], Iterator[str]]] = (
    _own_figures,
    _counts,
    _thresholds,
    _image_scores,
    _summary,
    wrong_details,
)
