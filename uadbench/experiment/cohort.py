"""Cohort: the prepared volumes of one run, on the evaluation grid and on the model grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uadbench.data import splits
from uadbench.data.prepared import Prepared
from uadbench.data.space import Target
from uadbench.evaluation.scan_facts import extent
from uadbench.experiment.config import ResolvedRun, Runtime
from uadbench.preprocessing.duplicates import check_voxels, find_copies
from uadbench.preprocessing.prepare import Failure, prepare
from uadbench.system.environment import measured
from uadbench.system.errors import UserError
from uadbench.system.files import sha256_json

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
    lists: Mapping[str, Mapping[str, str]]  # by data set: rule and SHA-256 of the list of its split
    seconds: float
    peak_memory_mb: float

    def taking_part(self) -> dict[str, Sequence[Prepared]]:
        """The scans of every partition: those that are tested on the evaluation grid, those learned from."""
        return {"healthy-train": self.train, **self.evaluation}

    def fingerprint(self) -> str:
        """Hash of all volumes that take part."""
        tested = {name: sorted(p.key for p in members) for name, members in self.evaluation.items()}
        return sha256_json([tested, sorted(p.key for p in [*self.train, *self.val])])


def prepare_cohort(resolved: ResolvedRun, runtime: Runtime) -> Cohort:
    """Prepare every partition on the grids that need it; subjects that fail are kept as failures."""
    lists = {
        found.card.name: splits.write_list(
            found.sessions, found.left_out, found.card, runtime.paths.runs / "splits"
        )
        for found in (resolved.train, resolved.test)
        if found is not None
    }
    with measured() as cost:
        failures = _without_contrast(resolved)
        evaluation = _prepared(
            resolved, EVALUATED, resolved.contrast, resolved.protocol.grid, failures, runtime
        )
        model_on = resolved.model_target
        model = _prepared(resolved, EVALUATED, resolved.contrast, model_on, failures, runtime)
        learned: dict[str, list[Prepared]] = {"healthy-train": [], "healthy-val": []}
        for contrast in resolved.train_contrasts:
            on = resolved.model_target
            more = _prepared(resolved, tuple(learned), contrast, on, failures, runtime)
            for partition, members in more.items():
                learned[partition] += members.values()
        learned["healthy-train"], flagged = _unflagged(learned["healthy-train"])
        failures["healthy-train"] = [*failures.get("healthy-train", []), *flagged]
    scored = {
        part: [item for name, item in members.items() if name in model[part]]
        for part, members in evaluation.items()
    }
    _leave_copies_out(scored, learned, failures)
    check_voxels({**scored, "healthy-train": learned["healthy-train"]})
    _check_not_empty(resolved, scored, learned["healthy-train"], failures)
    _check_measurable(resolved.test.card.name, scored["lesion-test"])
    return Cohort(
        evaluation=scored,
        model={part: [model[part][item.session.id] for item in items] for part, items in scored.items()},
        train=learned["healthy-train"],
        val=learned["healthy-val"],
        failures=failures,
        lists=lists,
        seconds=cost.seconds,
        peak_memory_mb=cost.peak_memory_mb,
    )


def _without_contrast(resolved: ResolvedRun) -> dict[str, list[Failure]]:
    """The scans to be scored that lack the tested contrast: healthy ones, trained on in another.

    A record lists everyone of its split: as scored, or with the reason why not.
    """
    contrast = resolved.contrast
    return {
        part: [Failure(s.id, contrast, f"has no {contrast}") for s in members if contrast not in s.images]
        for part, members in resolved.parts.items()
        if part in EVALUATED
    }


def _unflagged(members: Sequence[Prepared]) -> tuple[list[Prepared], list[Failure]]:
    """The scans to learn from, and those that are not for their flags; all are learned from if all have some.

    What is wrong with a scan's brain mask would be learned as healthy. Flags know no label of a healthy scan.
    """
    flags = [item.facts.get("quality", {}).get("flags", []) for item in members]
    if all(flags):
        return list(members), []
    reasons = [
        Failure(item.session.id, item.contrast, f"not trained on because it was flagged: {'; '.join(found)}")
        for item, found in zip(members, flags, strict=True)
        if found
    ]
    return [item for item, found in zip(members, flags, strict=True) if not found], reasons


def _prepared(
    resolved: ResolvedRun,
    partitions: Sequence[str],
    contrast: str,
    on: Target,
    failures: dict[str, list[Failure]],
    runtime: Runtime,
) -> dict[str, dict[str, Prepared]]:
    """Prepared scans by partition and subject id; one pass over each data set that fills partitions."""
    by_partition: dict[str, dict[str, Prepared]] = {partition: {} for partition in partitions}
    cards = {
        resolved.card_of(part).name: resolved.card_of(part) for part in partitions if resolved.parts[part]
    }
    for card in cards.values():
        home = {
            session.id: part
            for part in partitions
            for session in resolved.parts[part]
            if session.cohort == card.name and contrast in session.images
        }
        sessions = [s for part in partitions for s in resolved.parts[part] if home.get(s.id) == part]
        cohort = prepare(
            sessions, contrast, on, card, runtime.paths.cache, runtime.workers, runtime.progress,
            resolved.config.preparation,
        )  # fmt: skip
        for item in cohort.prepared:
            by_partition[home[item.session.id]][item.session.id] = item
        for failure in cohort.failures:
            known = failures.setdefault(home[failure.subject_id], [])
            if failure not in known:
                known.append(failure)
    return by_partition


def _leave_copies_out(
    scored: dict[str, list[Prepared]],
    learned: dict[str, list[Prepared]],
    failures: dict[str, list[Failure]],
) -> None:
    """Take out of the partitions whoever shows the voxels of another subject of the data set."""
    together = {part: [*scored.get(part, []), *learned.get(part, [])] for part in {*scored, *learned}}
    for part, found in find_copies(together).items():
        failures.setdefault(part, []).extend(found)
        lost = {failure.subject_id for failure in found}
        for paths in (scored, learned):
            if part in paths:
                paths[part] = [item for item in paths[part] if item.session.id not in lost]


def _check_not_empty(
    resolved: ResolvedRun,
    evaluation: Mapping[str, Sequence[Prepared]],
    train: Sequence[Prepared],
    failures: Mapping[str, Sequence[Failure]],
) -> None:
    def reasons(part: str) -> str:
        return "; ".join(f"{f.subject_id}: {f.reason}" for f in failures.get(part, [])[:3])

    if not evaluation["lesion-test"]:
        why = reasons("lesion-test")
        raise UserError(f"No lesion-test subject of {resolved.test.card.name} could be prepared ({why}).")
    if resolved.card.trained and not train:
        raise UserError(
            f"{resolved.card.name} must be trained, but no healthy-train volume with "
            f"{' or '.join(resolved.train_contrasts) or resolved.contrast} could be prepared "
            f"({reasons('healthy-train') or 'none was found'})."
        )


def _check_measurable(name: str, tested: Sequence[Prepared]) -> None:
    """Stop where no scan has both what is to be found and what is not: no figure would be defined.

    Looks no further than the first scan that has both.
    """
    ill = well = False
    for item in tested:
        lesion = item.lesion()[extent(item) & ~item.ignored()]
        ill, well = ill or bool(lesion.any()), well or not lesion.all()
        if ill and well:
            return
    scans = f"the {len(tested)} lesion-test scans of {name}"
    what = f"in {scans} no measured voxel is lesion" if not ill else f"{scans} are lesion through and through"
    raise UserError(
        f"Nothing can be measured: {what}. Measured are the brain and the lesion on slices with at least "
        f"2,000 mm2 of brain; `uadbench verify {name}` looks at the masks."
    )
