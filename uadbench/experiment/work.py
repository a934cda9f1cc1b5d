"""Work: a run whose scans are prepared, with the names and places of what its stages leave.

Each stage leaves whole files named by the hash of what they depend on, so that a run that was killed goes on
where it stopped, and one fit serves every test set.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from uadbench import methods
from uadbench.data.prepared import Prepared
from uadbench.evaluation.maps import Case
from uadbench.experiment import identity
from uadbench.experiment.cohort import EVALUATED, Cohort, prepare_cohort
from uadbench.experiment.config import ResolvedRun, Runtime
from uadbench.system.files import sha256_json


@dataclass(frozen=True)
class Work:
    """A resolved run, its prepared scans, and the hashes that name its fit and its maps."""

    resolved: ResolvedRun
    cohort: Cohort
    runtime: Runtime
    fit_hash: str
    score_hash: str
    redo: float = -math.inf  # time of change of files (s): those that are older are made again

    @classmethod
    def of(cls, resolved: ResolvedRun, runtime: Runtime, redo: float = -math.inf) -> "Work":
        """Prepare what is missing of a run's scans."""
        cohort = prepare_cohort(resolved, runtime)
        fit_hash = sha256_json(identity.fit_identity(resolved, cohort))
        score_hash = sha256_json([fit_hash, methods.parameters(resolved.method, "score")])
        return cls(resolved, cohort, runtime, fit_hash, score_hash, redo)

    @property
    def name(self) -> str:
        """Of the method."""
        return self.resolved.card.name

    @property
    def record_path(self) -> Path:
        """Where the record lies, or will."""
        return self.runtime.paths.results / self.resolved.place

    @property
    def fit_folder(self) -> Path:
        """Of the state that was learned, its facts, checkpoints and logs."""
        return self.runtime.paths.fit(self.fit_hash)

    @property
    def logs(self) -> Path:
        """Of the training, for TensorBoard."""
        return self.fit_folder / "logs"

    @property
    def maps_folder(self) -> Path:
        """Of the score maps."""
        return self.runtime.paths.runs / "maps" / self.score_hash

    @property
    def pictures_folder(self) -> Path:
        """Of the pictures."""
        return self.runtime.paths.runs / "pictures" / self.resolved.place.with_suffix("")

    def map_file(self, on_model: Prepared) -> Path:
        """Of the score map of a scan on the model grid."""
        return self.maps_folder / f"{on_model.key}.safetensors"

    @cached_property
    def cases(self) -> Sequence[Case]:
        """Every scan that is evaluated, with its map."""
        return [
            Case(partition, on_evaluation, self.map_file(on_model), on_model.grid)
            for partition in EVALUATED
            for on_evaluation, on_model in zip(
                self.cohort.evaluation[partition], self.cohort.model[partition], strict=True
            )
        ]
