"""Scoring: what the harness does around a method's `score`: seeds, repeated draws, healthy residuals.

Every command that scores a scan comes through here, so that a scan gets the same map from each of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uadbench.data.prepared import Prepared
from uadbench.data.volumes import Volume, Volumes
from uadbench.methods import Context, Method, Score, Stochastic
from uadbench.system.environment import seed_everything, stage_seed
from uadbench.system.errors import UserError
from uadbench.system.files import sha256

CALIBRATION_VOLUMES = 64  # healthy-val volumes from which a score may take statistics
FOLDS = 4  # parts of healthy-val of which none is measured against itself
FEWEST_PERSONS = 3  # in healthy-val, so that each has two others


@dataclass(frozen=True)
class Answer:
    """What a method says of one volume: the mean over its draws, and the map of each where there are more."""

    score: Score
    draws: tuple[NDArray[np.float32], ...] = ()  # each (R, A, S)


def answer(method: Method, volume: Volume, seed: int, name: str) -> Answer:
    """Score one volume; a method that draws is given noise that belongs to the volume's content.

    So two people never share a noise field, and a scan's map does not depend on what was scored before.
    """
    count, content, answers = draws(method), _content(volume), []
    for draw in range(count):
        seed_everything(stage_seed(seed, f"score {draw} {content}"))
        answers.append(checked(method.score(volume), volume, name))
    if count == 1:
        return Answer(answers[0])
    restored = [one.pseudo_healthy for one in answers if one.pseudo_healthy is not None]
    mean = Score(_mean([one.score_map for one in answers]), _mean(restored) if restored else None)
    return Answer(mean, tuple(one.score_map for one in answers))


def draws(method: Method) -> int:
    """How many maps of different noise a score is the mean of; 1 where nothing is drawn."""
    return method.draws if isinstance(method, Stochastic) else 1


def _content(volume: Volume) -> str:
    """Hash of everything that a method sees of a volume's voxels."""
    return sha256(repr(volume.image.shape).encode() + volume.image.tobytes() + volume.brain.tobytes())


def _mean(maps: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.asarray(np.mean(maps, axis=0, dtype=np.float64), np.float32)


def checked(answer: Score, volume: Volume, name: str) -> Score:
    """A method's answer, if it keeps the contract; the harness does not take a method's word."""
    shape = volume.brain.shape
    expected = {"score map": (answer.score_map, shape)}
    if answer.pseudo_healthy is not None:
        expected["pseudo-healthy volume"] = (answer.pseudo_healthy, volume.image.shape)
    for what, (array, wanted) in expected.items():
        if array.shape != wanted or array.dtype != np.float32:
            raise ValueError(
                f"The {what} of {name} must be float32 of shape {wanted}; "
                f"it is {array.dtype} of {array.shape}."
            )
        if not np.isfinite(array).all():
            raise ValueError(f"The {what} of {name} has values that are not finite.")
    return answer


# ---- healthy residuals -------------------------------------------------------------------------


def check_calibration(method: Method, healthy_val: Sequence[Prepared], name: str) -> None:
    """Refuse, before anything is fitted, a score against healthy residuals that nobody can give."""
    count = len(_persons(healthy_val))
    if method.calibrated and count < FEWEST_PERSONS:
        raise UserError(
            f"{name} measures each scan against those of other healthy-val subjects: it needs at least "
            f"{FEWEST_PERSONS} of them, and there are {count}; choose another score, or raise --limit."
        )


def calibrate(
    method: Method, healthy: Sequence[Prepared], volumes: Callable[[Sequence[Prepared]], Volumes], at: Context
) -> None:
    """Show a method healthy scans that it has not learned from, at most `CALIBRATION_VOLUMES` of them."""
    seed_everything(stage_seed(at.seed, "calibrate"))
    # Spread over the cohort, which lists one contrast after the other.
    method.calibrate(volumes(healthy[:: max(1, -(-len(healthy) // CALIBRATION_VOLUMES))]), at)


def folds(
    method: Method, wanted: Sequence[Prepared], healthy_val: Sequence[Prepared]
) -> Iterator[tuple[list[Prepared], list[Prepared]]]:
    """Scans to score, with the healthy scans to calibrate on: of healthy-val those of other subjects.

    A residual that is standardised by itself is too small, and a threshold on it too low.
    """
    subjects = _persons(healthy_val) if method.calibrated else []
    number = {subject: place % FOLDS for place, subject in enumerate(subjects)}
    for fold in (*range(min(FOLDS, len(subjects))), None):
        scored = [item for item in wanted if number.get(_person(item)) == fold]
        others = [item for item in healthy_val if fold is None or number[_person(item)] != fold]
        if scored:
            yield scored, others


def _persons(prepared: Sequence[Prepared]) -> list[tuple[str, str]]:
    return sorted({_person(item) for item in prepared})


def _person(item: Prepared) -> tuple[str, str]:
    return item.session.cohort, item.session.subject
