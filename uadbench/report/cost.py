"""Cost: what a row takes in time, memory and weights, as its records state it."""

from collections.abc import Sequence

from uadbench.experiment.record import RunRecord

COLUMNS = {  # name: title, meaning
    "training_s": ("training s", "seconds of training, mean over seeds"),
    "scoring_s": ("scoring s/scan", "seconds of scoring per scan, mean over seeds"),
    "memory_mb": ("memory MB", "peak memory of training and scoring"),
    "parameters": ("parameters", "weights of the model"),
}
NOTE = "Times compare only where the hardware is the same."
NO_COST = 1e-3  # seconds that an untrained method's fit takes to return


def show_digits(value: float | None) -> str:
    """Three digits, thousands in full."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def measure_cost(records: Sequence[RunRecord]) -> dict[str, float | None]:
    """What a row costs, by the names of `COLUMNS`: means over its seeds; None where no record says it."""
    scored = _mean_of_known([_in_stage(r, "score", "seconds") for r in records])
    peaks = [max(_in_stage(r, s, "peak_memory_mb") or 0.0 for s in ("fit", "score")) for r in records]
    return {
        "training_s": _mean_of_known([_in_stage(r, "fit", "seconds") for r in records]),
        "scoring_s": None if scored is None else scored / max(len(records[0].subjects), 1),
        "memory_mb": _mean_of_known([peak or None for peak in peaks]),
        "parameters": None if records[0].elsewhere else float(records[0].n_parameters),
    }


def name_hardware(records: Sequence[RunRecord]) -> str:
    """On what a row was run."""
    names = set()
    for facts in (record.hardware for record in records):
        device = str(facts.get("device") or "")
        name = f"{facts.get('processor', 'unknown')}, {facts.get('cores', '?')} cores"
        names.add(name if device in ("", "cpu") else f"{name}, {device}")
    return ", ".join(sorted(names))


def _in_stage(record: RunRecord, stage: str, what: str) -> float | None:
    there = record.timing.get(stage)
    return None if there is None else float(getattr(there, what))


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    if not there:
        return None
    found = sum(there) / len(there)
    return found if found >= NO_COST else 0.0
