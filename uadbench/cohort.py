"""Cohort: the prepared volumes of one run, on the evaluation grid and on the model grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uadbench.environment import measured
from uadbench.errors import UserError
from uadbench.files import sha256_json
from uadbench.grids import Grid
from uadbench.plan import Machine, Plan
from uadbench.prepare import Failure, check_voxels, prepare
from uadbench.prepared import Prepared

# Partitions whose scans are scored; healthy-train is only learned from.
EVALUATED = ("healthy-val", "healthy-test", "lesion-val", "lesion-test")


@dataclass(frozen=True)
class Cohort:
    """Prepared volumes by partition: on the evaluation grid, on the model grid, and for training."""

    evaluation: Mapping[str, Sequence[Prepared]]
    model: Mapping[str, Sequence[Prepared]]
    train: Sequence[Prepared]
    val: Sequence[Prepared]
    failures: Mapping[str, Sequence[Failure]]
    seconds: float
    peak_memory_mb: float

    def fingerprint(self) -> str:
        """Hash of all volumes that take part."""
        tested = {name: sorted(p.key for p in members) for name, members in self.evaluation.items()}
        return sha256_json([tested, sorted(p.key for p in [*self.train, *self.val])])


def prepare_cohort(plan: Plan, machine: Machine) -> Cohort:
    """Prepare every partition on the grids that need it; subjects that fail are kept as failures."""
    failures: dict[str, list[Failure]] = {}

    def prepared(partition: str, contrast: str, on: Grid) -> dict[str, Prepared]:
        subjects = [s for s in plan.parts[partition] if contrast in s.images]
        if not subjects:
            return {}
        card, cache = plan.card_of(partition), machine.places.cache
        cohort = prepare(subjects, contrast, on, card, cache, machine.workers, machine.progress)
        known = failures.setdefault(partition, [])
        known.extend(failure for failure in cohort.failures if failure not in known)
        return {p.subject.id: p for p in cohort.prepared}

    with measured() as cost:
        evaluation, model = {}, {}
        for partition in EVALUATED:
            measured_there = prepared(partition, plan.contrast, plan.protocol.grid)
            modelled = prepared(partition, plan.contrast, plan.model_grid)
            both = [name for name in measured_there if name in modelled]
            evaluation[partition] = [measured_there[name] for name in both]
            model[partition] = [modelled[name] for name in both]
        train, val = (
            [p for c in plan.train_contrasts for p in prepared(part, c, plan.model_grid).values()]
            for part in ("healthy-train", "healthy-val")
        )
    check_voxels({**evaluation, "healthy-train": train})
    _check_not_empty(plan, evaluation, train, failures)
    return Cohort(evaluation, model, train, val, failures, cost.seconds, cost.peak_memory_mb)


def _check_not_empty(
    plan: Plan,
    evaluation: Mapping[str, Sequence[Prepared]],
    train: Sequence[Prepared],
    failures: Mapping[str, Sequence[Failure]],
) -> None:
    reasons = "; ".join(f"{f.subject_id}: {f.reason}" for part in failures.values() for f in part[:3])
    if not evaluation["lesion-test"]:
        raise UserError(f"No lesion-test subject of {plan.test.card.name} could be prepared ({reasons}).")
    if plan.card.trained and not train:
        raise UserError(
            f"{plan.card.name} must be trained, but no healthy-train volume with "
            f"{' or '.join(plan.train_contrasts) or plan.contrast} could be prepared "
            f"({reasons or 'none was found'})."
        )
