"""Cost: what a row takes in time, memory and weights, as its records state it."""

from collections.abc import Iterable, Sequence

from uadbench.experiment.record import RunRecord

COLUMNS = {  # name: title, meaning
    "training_s": ("training s", "seconds of training, mean over seeds"),
    "scoring_s": ("scoring s/scan", "seconds of scoring per scan, mean over seeds"),
    "memory_mb": ("memory MB", "peak memory of training and scoring"),
    "parameters": ("parameters", "weights of the model"),
}
ON_GPU = {"device_mb": ("GPU MB", "peak of the GPU's memory in training and scoring")}
NOTE = "Times compare only where the hardware is the same."
MEMORIES = ("peak_memory_mb", "peak_device_mb")
NO_COST = 1e-3  # seconds that an untrained method's fit takes to return


def show_digits(value: float | None) -> str:
    """Three digits, thousands in full."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def columns(rows: Iterable[Sequence[RunRecord]]) -> dict[str, tuple[str, str]]:
    """`COLUMNS`, and `ON_GPU` where a row was run on one."""
    return COLUMNS | (ON_GPU if any("device_mb" in measure_cost(records) for records in rows) else {})


def measure_cost(records: Sequence[RunRecord]) -> dict[str, float | None]:
    """What a row costs, by the names of `COLUMNS`: means over its seeds; None where no record says it.

    `ON_GPU` only where a record says it.
    """
    scored = _mean_of_known([_in_stage(r, "score", "seconds") for r in records])
    peaks, on_gpu = (_mean_of_known([_peak(r, what) for r in records]) for what in MEMORIES)
    more = {} if on_gpu is None else {"device_mb": on_gpu}
    return {
        "training_s": _mean_of_known([_in_stage(r, "fit", "seconds") for r in records]),
        "scoring_s": None if scored is None else scored / max(len(records[0].subjects), 1),
        "memory_mb": peaks,
        "parameters": None if records[0].elsewhere else float(records[0].n_parameters),
    } | more


def name_hardware(records: Sequence[RunRecord]) -> str:
    """On what a row was run."""
    names = set()
    for facts in (record.hardware for record in records):
        device = str(facts.get("device") or "")
        name = f"{facts.get('processor', 'unknown')}, {facts.get('cores', '?')} cores"
        names.add(name if device in ("", "cpu") else f"{name}, {device}")
    return ", ".join(sorted(names))


def _in_stage(record: RunRecord, stage: str, what: str) -> float | None:
    value = getattr(record.timing.get(stage), what, None)
    return None if value is None else float(value)


def _peak(record: RunRecord, what: str) -> float | None:
    """The larger of training and scoring; None where neither is stated."""
    return max(_in_stage(record, stage, what) or 0.0 for stage in ("fit", "score")) or None


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    if not there:
        return None
    found = sum(there) / len(there)
    return found if found >= NO_COST else 0.0
