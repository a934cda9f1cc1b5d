"""Score: what the harness does around a method's `score`: seeds, repeated draws, healthy residuals, files.

Every command that scores a scan comes through here, so that a scan gets the same map from each of them.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uadbench.data.prepared import Prepared
from uadbench.data.volumes import Volume, Volumes
from uadbench.evaluation import maps
from uadbench.experiment.cohort import EVALUATED
from uadbench.experiment.fit import load_fit
from uadbench.experiment.full import told_when_full
from uadbench.experiment.work import Work
from uadbench.methods import Context, Method, Score, Stochastic
from uadbench.system.environment import measured, seed_everything, stage_seed
from uadbench.system.errors import UserError
from uadbench.system.files import sha256

CALIBRATION_VOLUMES = 64  # healthy-val volumes from which a score may take statistics
FOLDS = 4  # parts of healthy-val of which none is measured against itself
FEWEST_SUBJECTS = 3  # in healthy-val, so that each has two others
logger = logging.getLogger(__name__)


def make_maps(work: Work) -> None:
    """Score every evaluated volume whose map is not there yet."""
    resolved, runtime = work.resolved, work.runtime
    volumes = [p for partition in EVALUATED for p in work.cohort.model[partition]]
    wanted = [p for p in volumes if _is_wanted(work.map_file(p), work.redo)]
    if not wanted:
        return
    if len(wanted) < len(volumes):
        there = len(volumes) - len(wanted)
        logger.info("%d of %d maps are there: %d to score", there, len(volumes), len(wanted))
    method, context = load_fit(resolved, work.fit_hash, runtime)
    with runtime.progress.stage("scoring", len(wanted)) as stage:
        for members, healthy in divide_folds(method, wanted, work.cohort.val):
            calibrate_method(method, healthy, resolved.volumes, context)
            for prepared, volume in zip(members, resolved.volumes(members), strict=True):
                with told_when_full(resolved, "score", context.device), measured(context.device) as cost:
                    answer = score_volume(method, volume, context.seed, work.name)
                maps.write_map(
                    work.map_file(prepared), answer.score, cost.seconds, cost.peak_memory_mb, answer.draws,
                    cost.peak_device_mb,
                )  # fmt: skip
                stage.advance()


def _is_wanted(map_file: Path, redo: float) -> bool:
    """Whether a map is to be made."""
    if not map_file.exists() or map_file.stat().st_mtime < redo:
        return True
    if maps.is_whole(map_file):
        return False
    logger.warning("the map %s is damaged: made again", map_file)
    return True


# ---- one volume --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What a method says of one volume: the mean over its draws, and the map of each where there are more."""

    score: Score
    draws: tuple[NDArray[np.float32], ...] = ()  # each (R, A, S)


def score_volume(method: Method, volume: Volume, seed: int, name: str) -> Answer:
    """Score one volume; a method that draws is given noise that belongs to the volume's content.

    So two people never share a noise field, and a scan's map does not depend on what was scored before.
    """
    count, answers = count_draws(method), []
    # Hash of everything that a method sees of a volume's voxels.
    content = sha256(repr(volume.image.shape).encode() + volume.image.tobytes() + volume.brain.tobytes())
    for draw in range(count):
        seed_everything(stage_seed(seed, f"score {draw} {content}"))
        answers.append(check_score(method.score(volume), volume, name))
    if count == 1:
        return Answer(answers[0])
    restored = [one.pseudo_healthy for one in answers if one.pseudo_healthy is not None]
    mean = Score(_mean([one.score_map for one in answers]), _mean(restored) if restored else None)
    return Answer(mean, tuple(one.score_map for one in answers))


def count_draws(method: Method) -> int:
    """How many maps of different noise a score is the mean of; 1 where nothing is drawn."""
    return method.draws if isinstance(method, Stochastic) else 1


def _mean(maps: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.asarray(np.mean(maps, axis=0, dtype=np.float64), np.float32)


def check_score(answer: Score, volume: Volume, name: str) -> Score:
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
    count = len(_subjects(healthy_val))
    if method.calibrated and count < FEWEST_SUBJECTS:
        raise UserError(
            f"{name} measures each scan against those of other healthy-val subjects: it needs at least "
            f"{FEWEST_SUBJECTS} of them, and there are {count}; choose another score, or raise --limit."
        )


def calibrate_method(
    method: Method, healthy: Sequence[Prepared], volumes: Callable[[Sequence[Prepared]], Volumes], at: Context
) -> None:
    """Show a method healthy scans that it has not learned from, at most `CALIBRATION_VOLUMES` of them."""
    seed_everything(stage_seed(at.seed, "calibrate"))
    # Spread over the cohort, which lists one contrast after the other.
    method.calibrate(volumes(healthy[:: max(1, -(-len(healthy) // CALIBRATION_VOLUMES))]), at)


def divide_folds(
    method: Method, wanted: Sequence[Prepared], healthy_val: Sequence[Prepared]
) -> Iterator[tuple[list[Prepared], list[Prepared]]]:
    """Scans to score, with the healthy scans to calibrate on: of healthy-val those of other subjects.

    A residual that is standardised by itself is too small, and a threshold on it too low.
    """
    subjects = _subjects(healthy_val) if method.calibrated else []
    number = {subject: place % FOLDS for place, subject in enumerate(subjects)}
    for fold in (*range(min(FOLDS, len(subjects))), None):
        scored = [item for item in wanted if number.get(_subject(item)) == fold]
        others = [item for item in healthy_val if fold is None or number[_subject(item)] != fold]
        if scored:
            yield scored, others


def _subjects(prepared: Sequence[Prepared]) -> list[tuple[str, str]]:
    return sorted({_subject(item) for item in prepared})


def _subject(item: Prepared) -> tuple[str, str]:
    return item.session.cohort, item.session.subject
