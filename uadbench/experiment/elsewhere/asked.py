"""Asked: what a user wants of maps that were made elsewhere, and the scans that come of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.catalog import names
from uadbench.data.splits import RULES
from uadbench.experiment.config import LARGEST_SEED
from uadbench.experiment.record import NOBODY
from uadbench.protocol import PROTOCOLS
from uadbench.system.errors import UserError, check_known

Arrays = Mapping[str, NDArray[Any]]  # id -> volume (R, A, S)
Source = Path | NDArray[Any]  # of one volume
GRIDS_ASKED = ("native", "protocol")
NAME = re.compile(r"[^\W_][\w.+-]{0,99}")  # of a method, which is a folder of the results
REFUSED, LOWEST_SCORE = "refuse", "lowest"  # what becomes of scores that are no numbers


@dataclass(frozen=True, kw_only=True)
class MapsConfig:
    """What a user asks for: maps, what they are held against, and on which voxels.

    Volumes are a folder of NIfTI files, or a mapping of ids to arrays (R, A, S) with `spacing_mm`. Either
    `truth` or `dataset` says where the lesions are; `maps` may also be a table that names every file.
    """

    maps: Path | Arrays
    truth: Path | Arrays | None = None  # lesion masks; values above 0 are lesion
    brain: Path | Arrays | None = None  # brain masks; None: the whole volumes
    ignore: Path | Arrays | None = None  # neither hit nor false there
    healthy: Path | Arrays | None = None  # maps of healthy test scans
    val: Path | Arrays | None = None  # maps of healthy validation scans, for the thresholds at 1 % and 5 %
    spacing_mm: float | Sequence[float] | None = None  # of arrays, along R, A and S
    name: str = "my_method"
    dataset: str | None = None  # of the benchmark: truth, brain masks and split are its own
    contrast: str | None = None
    train: str | None = None  # the healthy data set the method was trained on, or none; None: not stated
    split: str = RULES[0]
    protocol: str | None = None  # whose grid is meant; None: that of the data set's card, or uad-1
    grid: str | None = None  # one of GRIDS_ASKED; None: the protocol's for a data set, else native
    nan: str = REFUSED
    leave_out: bool = False  # of scans that cannot be measured: leave them out, and say so in the record
    seed: int = 0

    @property
    def cohort(self) -> str:
        """What the scans of one's own are called: by the folder of the truth, or the table."""
        named = self.truth if isinstance(self.truth, Path) else self.maps
        words = named.expanduser().resolve().name if isinstance(named, Path) else "arrays"
        words = re.sub(r"[^\w.+-]+", "-", re.sub(r"[.](csv|tsv|txt)$", "", words))
        return words.strip(".-")[:100] or "own"

    def check(self) -> None:
        """Refuse what can be known to be wrong before any file is read."""
        for option, value, there in (
            ("--grid", self.grid or GRIDS_ASKED[0], GRIDS_ASKED),
            ("--nan", self.nan, (REFUSED, LOWEST_SCORE)),
            ("--split", self.split, RULES),
        ):
            check_known(f"value of {option}", value, there)
        if self.protocol is not None:
            check_known("protocol", self.protocol, PROTOCOLS)
        if not 0 <= self.seed <= LARGEST_SEED:
            raise UserError(f"The seed expects a whole number from 0 to {LARGEST_SEED}, got {self.seed}.")
        self._check_name()
        if self.dataset is not None and (self.truth is not None or self.brain is not None):
            raise UserError(
                f"{self.dataset} has lesion and brain masks of its own: leave --truth and --brain out, or "
                "--dataset."
            )
        self._check_arrays()

    def _check_name(self) -> None:
        if not NAME.fullmatch(self.name):
            raise UserError(
                f"--name expects letters, digits, '.', '_', '+' and '-', at most 100 of them, got "
                f"'{self.name[:60]}'."
            )
        if self.name.lower() in (known.lower() for known in names("methods")):
            raise UserError(
                f"--name {self.name} is a method of this benchmark, and the maps were made elsewhere: choose "
                "another name."
            )
        if self.train == "":
            raise UserError(f"--train expects a healthy data set or {NOBODY}, got nothing.")

    def _check_arrays(self) -> None:
        given = [self.maps, self.truth, self.brain, self.ignore, self.healthy, self.val]
        of_arrays = [isinstance(one, Mapping) for one in given if one is not None]
        if any(of_arrays) and not all(of_arrays):
            raise UserError("Maps, truth and masks must all be arrays by id, or all be folders.")
        if not any(of_arrays):
            return
        if self.spacing_mm is None:
            raise UserError("Arrays have no voxel size of their own: give spacing_mm, one number or three.")
        sides = sides_of(self.spacing_mm)
        if not all(np.isfinite(sides)) or min(sides) < 0.05 or max(sides) > 20:
            raise UserError(f"spacing_mm expects voxels of 0.05 to 20 mm, got {self.spacing_mm}.")


def sides_of(spacing_mm: float | Sequence[float]) -> tuple[float, float, float]:
    """The sides of a voxel along R, A and S, mm."""
    given = np.atleast_1d(np.asarray(spacing_mm, np.float64))
    if given.shape not in ((1,), (3,)):
        raise UserError(f"spacing_mm expects one number or three (R, A, S), got {spacing_mm}.")
    right, front, top = np.broadcast_to(given, 3).tolist()
    return right, front, top


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One scan: its map, what that is held against, and what is known of whoever was scanned."""

    id: str
    map: Source | None
    partition: str = "lesion-test"
    truth: Source | None = None
    brain: Source | None = None
    ignore: Source | None = None
    subject: str = ""  # of whom there may be several scans; "": the id
    session: str = "1"
    site: str | None = None
    age: float | None = None  # years
    sex: str | None = None
    lesion_kind: str | None = None

    @property
    def person(self) -> str:
        """The subject, by whose id resamples are drawn."""
        return self.subject or self.id
