"""Intensity statistics: ten low-level numbers of a scan for the shortcut control (rule 14)."""

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (5, 25, 50, 75, 95)
BINS = 64
STATISTICS = (
    "mean",
    "deviation",
    "skewness",
    "kurtosis",
    *[f"percentile {p}" for p in PERCENTILES],
    "entropy",
)


def statistics(values: NDArray[np.float32]) -> list[float]:
    """The ten `STATISTICS` of intensities in [0, 1]; zeros where there is none."""
    if not values.size:
        return [0.0] * len(STATISTICS)
    exact = values.astype(np.float64)
    mean, deviation = float(exact.mean()), float(exact.std())
    standard = (exact - mean) / max(deviation, 1e-9)
    share = np.histogram(values, BINS, (0, 1))[0] / values.size
    there = share[share > 0]
    return [
        mean,
        deviation,
        float((standard**3).mean()),
        float((standard**4).mean()),
        *map(float, np.percentile(values, PERCENTILES)),
        float(-(there * np.log2(there)).sum()),
    ]
