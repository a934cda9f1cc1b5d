"""Look: what somebody's own scans are, found from the files themselves, where a card would say it.

What is found is what a careful owner would write into a card, before any method has seen a scan.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

from uadbench.data.session import Session
from uadbench.evaluation.components import components
from uadbench.preprocessing import background, plausibility, scan
from uadbench.system import pool
from uadbench.system.errors import SubjectError, UserError
from uadbench.system.progress import Progress

MOST_LABELS = 20  # of a label file; more values are no labels
LOOKED_AT = 8  # scans without a brain mask that are opened, half of them healthy
CONSTANT_NOISE = 1e-6  # of the brightness, in the corners of a scan whose background is one value
HEAD_ML = 2200.0  # more stands out of a head with its skin than the largest brain has
LARGE_ML = 1.0  # median lesion above which a test set is ranked after baur5 (protocol, rule 9)
SPECK_ML = 0.1  # beside a tumour as an outline leaves them: they would make the median of any set of tumours


@dataclass(frozen=True)
class Seen:
    """What one session showed."""

    together: bool = False  # its images are on the same voxels
    labels: tuple[int, ...] = ()  # of the lesion mask, without 0
    lesions_ml: tuple[float, ...] = ()
    stripped: bool | None = None  # None: not looked at


def look(
    sessions: Sequence[Session], workers: int, progress: Progress, skull_stripped: bool | None = None
) -> dict[str, Any]:
    """Facts of a card: space, skull_stripped (unless it is known), lesion_labels, headline.

    A file that cannot be read says nothing here; preparation says what is wrong with it.

    Raises:
        UserError: some of the scans show the brain alone and others the whole head.
    """
    known = skull_stripped is not None
    bare = [one for one in sessions if not (known or one.brain_mask or one.contrast_masks)]
    groups = [[one.id for one in bare if one.healthy == healthy] for healthy in (True, False)]
    most = LOOKED_AT // len(groups)
    opened = {name for group in groups for name in group[:: max(1, -(-len(group) // most))]}  # evenly
    look_at, title = partial(_look_at, frozenset(opened)), "look at the scans"
    answers = pool.in_processes(look_at, sessions, workers, progress, title, attrgetter("id"))
    seen = [Seen() if isinstance(one, pool.Died) else one for one in answers]
    several = [one for one, session in zip(seen, sessions, strict=True) if len(session.images) > 1]
    lesions_ml = [size for one in seen for size in one.lesions_ml if size >= SPECK_ML]
    return {
        "space": "co-registered" if several and all(one.together for one in several) else "native",
        "skull_stripped": skull_stripped if known else _agree_on_stripped(sessions, seen),
        "lesion_labels": sorted({label for one in seen for label in one.labels}) or [1],
        "headline": "baur5" if lesions_ml and np.median(lesions_ml) > LARGE_ML else "raw",
    }


def _agree_on_stripped(sessions: Sequence[Session], seen: Sequence[Seen]) -> bool:
    """Whether those that were opened show the brain alone; a UserError where they differ."""
    by_answer = {one.stripped: session.id for one, session in zip(seen, sessions, strict=True)}
    if True in by_answer and False in by_answer:
        raise UserError(
            f"{by_answer[True]} shows the brain alone and {by_answer[False]} the whole head, and scans that "
            "were prepared in two ways differ by that: give every scan a brain mask, strip them all, or say "
            "which it is in a card.toml in the folder (skull_stripped = true or false)."
        )
    return True in by_answer


def _look_at(opened: frozenset[str], session: Session) -> Seen:
    """One session's files; of its images the headers, and the voxels of one where it is to be opened."""
    try:
        labels, sizes = _look_at_lesion(session)
        return Seen(
            together=_are_together(session),
            labels=labels,
            lesions_ml=sizes,
            stripped=_is_stripped(session) if session.id in opened else None,
        )
    except SubjectError:
        return Seen()


def _are_together(session: Session) -> bool:
    first, *others = (scan.read_lattice(path, session.orientation) for path in session.images.values())
    return all(first.same_lattice(other) for other in others)


def _look_at_lesion(session: Session) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The labels of a lesion mask, and the volumes of the lesions in ml."""
    if session.lesion_mask is None:
        return (), ()
    mask = scan.read_labels(session.lesion_mask, session.orientation)
    labels = [int(value) for value in np.unique(mask.array) if value > 0]
    if len(labels) > MOST_LABELS:
        return (), ()
    _, voxels = components(mask.array > 0)
    return tuple(labels), tuple(float(count * mask.voxel_ml) for count in voxels[1:])


def _is_stripped(session: Session) -> bool:
    """Whether the first image shows a brain on a background of one value, and nothing else."""
    name, path = next(iter(sorted(session.images.items())))
    image = scan.read_image(path, session.orientation)
    found = background.measure_background(image)
    if found.noise > CONSTANT_NOISE * found.brightness:
        return False
    try:
        brain = background.find_standing_out(image, name, found)
        plausibility.check_brain(brain, image, name, found)
    except SubjectError:
        return False
    return bool(np.count_nonzero(brain) * image.voxel_ml <= HEAD_ML)
