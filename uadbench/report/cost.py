"""Cost: what a row takes in time, memory and weights, as its records state it."""

from collections.abc import Sequence
from dataclasses import dataclass

from uadbench.experiment.record import RunRecord

COLUMNS = {  # name: title, meaning
    "training_s": ("training s", "seconds of training, mean over seeds"),
    "scoring_s": ("scoring s/scan", "seconds of scoring per scan, mean over seeds"),
    "memory_mb": ("memory MB", "peak memory of training and scoring"),
    "parameters": ("parameters", "weights of the model"),
}
NO_COST = 1e-3  # seconds that an untrained method's fit takes to return


@dataclass(frozen=True)
class Cost:
    """What a row costs: means over its seeds; None where no record says it."""

    training_s: float | None
    scoring_s: float | None  # per scan
    memory_mb: float | None
    parameters: float | None
    hardware: str

    def number(self, name: str) -> float | None:
        """The number of one of `COLUMNS`."""
        value: float | None = getattr(self, name)
        return value

    def shown(self, name: str) -> str:
        """A number as every table prints it."""
        return digits(self.number(name))


def digits(value: float | None) -> str:
    """Three digits, thousands in full."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def of(records: Sequence[RunRecord]) -> Cost:
    """The cost of a row's records, one for each seed."""
    scans = max(len(records[0].subjects), 1)
    scored = _mean([_stage(r, "score", "seconds") for r in records])
    peaks = [max(_stage(r, s, "peak_memory_mb") or 0.0 for s in ("fit", "score")) or None for r in records]
    return Cost(
        training_s=_mean([_stage(r, "fit", "seconds") for r in records]),
        scoring_s=None if scored is None else scored / scans,
        memory_mb=_mean(peaks),
        parameters=float(records[0].n_parameters),
        hardware=", ".join(sorted({_hardware(r) for r in records})),
    )


def _stage(record: RunRecord, stage: str, what: str) -> float | None:
    there = record.timing.get(stage)
    return None if there is None else float(getattr(there, what))


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    if not there:
        return None
    found = sum(there) / len(there)
    return found if found >= NO_COST else 0.0


def _hardware(record: RunRecord) -> str:
    facts = record.hardware
    device = str(facts.get("device") or "")
    return f"{facts.get('processor', 'unknown')}, {facts.get('cores', '?')} cores" + (
        f", {device}" if device not in ("", "cpu") else ""
    )
