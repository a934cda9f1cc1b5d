"""Prediction: what is asked of a scan of one's own, what is answered, and whether that is there already."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from uadbench.data.session import Session
from uadbench.data.suffixes import files_of
from uadbench.experiment.model import Model
from uadbench.experiment.model_facts import POINTS
from uadbench.system.errors import UserError
from uadbench.system.files import read_json, sha256_file, sha256_json

SPACES = ("native", "co-registered", "MNI152")
JSON = "prediction.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What is known of scans, and which threshold is wanted.

    `point` is one of POINTS or a number, a threshold of one's own; None: the first of POINTS there is.
    """

    brain_mask: Path | None = None  # of a folder of scans a folder with masks of the same names
    stripped: bool = False  # they show the brain alone
    space: str = SPACES[0]  # of SPACES
    # T1 of the same session (a folder, of a folder of scans), on which a brain without a mask is found; where
    # they are co-registered, it is registered to MNI152 in the scan's place.
    t1: Path | None = None
    point: str | None = None
    match: str = "*"  # of a folder of scans those with such a name


@dataclass(frozen=True)
class Prediction:
    """What a method says about a scan; volumes are files beside the JSON, in the scan's own voxels.

    Without a threshold there is no mask: `operating_point`, `threshold` and `suspicious_ml` are None then.
    """

    scan: str
    method: str
    variant: str
    trained_on: str | None  # None for a method that learns nothing
    contrast: str
    profile: str  # of post-processing: that by which the run is ranked
    operating_point: str | None  # "given" for a threshold that was asked for as a number
    threshold: float | None
    suspicious_ml: float | None  # of the mask on the evaluation grid, in the patient's own millilitres
    scan_score: float
    healthy_percentile: float | None  # share of the run's healthy test scans with a lower score, percent
    warnings: tuple[str, ...]
    note: str = "A research tool: it marks what is unusual, which is neither a finding nor a diagnosis."
    key: str = ""  # hash of scan, model and what was asked
    files: Mapping[str, str] = field(default_factory=dict)  # what was written -> SHA-256


def find_threshold(model: Model, point: str | None) -> tuple[str | None, float | None]:
    """The operating point and its threshold; None where nothing was asked for and the run has none."""
    known = model.facts.thresholds
    there = [name for name in POINTS if known.get(name) is not None]
    if point is None:
        return (there[0], known[there[0]]) if there else (None, None)
    if point in POINTS:
        if point not in there:
            raise UserError(
                f"{model.path} has no threshold {point}; it has {', '.join(there) or 'none'}: use --point "
                f"with {'one of them or ' if there else ''}a number, or leave it out."
            )
        return point, known[point]
    try:
        value = float(point)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise UserError(f"--point expects one of {', '.join(POINTS)} or a number, got '{point}'.")
    return "given", value


def find_key(session: Session, model: Model, asked: Asked) -> str:
    """A hash of all that decides a prediction: the files' content, the model, and what is asked for."""
    files = {**session.images, "brain": session.brain_mask}
    digests = {
        name: [sha256_file(path) for path in files_of(file)]
        for name, file in files.items()
        if file is not None
    }
    point = find_threshold(model, asked.point)
    return sha256_json([digests, model.digest, asked.stripped, asked.space, point])


def find_earlier(out: Path, key: str) -> Prediction | None:
    """The prediction of this key in a folder, if every file of it is as it was written."""
    if not (out / JSON).is_file():
        return None
    earlier = read_json(out / JSON, Prediction)
    if earlier is None or earlier.key != key:
        return None
    try:
        whole = all(sha256_file(out / Path(name).name) == known for name, known in earlier.files.items())
    except OSError:
        whole = False
    if not whole:
        logger.warning("%s is damaged or was not finished: it is made again", out)
    return earlier if whole else None
