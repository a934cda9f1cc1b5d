"""Sweeps: figures over all thresholds, from score histograms and from the details of maps.

As in `further`, each is a function of a record's evidence; None: the record has not what it takes.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from uadbench.evaluation import uncertainty
from uadbench.evaluation.details import CALLED, FALSES, HITS, OVERLAP
from uadbench.evaluation.metrics import dice
from uadbench.evaluation.uncertainty import Sampled
from uadbench.report.evidence import Evidence, swept
from uadbench.report.further import kept_details, mean_of, of_sums, share_of

Array = NDArray[np.float64]
FROC_LEVELS = (0.125, 0.25, 0.5, 1, 2, 4, 8)  # false components a scan
AUPRO_LIMIT = 0.3  # false-positive rate

# ---- over all thresholds ---------------------------------------------------------------------------


def best_dice_of_subjects(evidence: Evidence) -> Sampled | None:
    """Mean over subjects of Dice at each one's own best threshold."""
    if not evidence.ill or evidence.record.of_masks:
        return None
    true, false = swept(evidence, evidence.ill)
    return mean_of(dice(true, false, true[:, -1:]).max(1), evidence)


def dice_at_realised(rate: float, evidence: Evidence) -> Sampled | None:
    """Pooled Dice at the lowest threshold that at most this share of non-lesion voxels reaches."""
    if not evidence.ill or evidence.record.of_masks:
        return None
    true, false = swept(evidence, evidence.ill)
    called = false.sum(0)
    place = int(np.searchsorted(called, rate * called[-1], "right")) - 1
    if place < 0 or not called[-1]:
        return None
    own, amiss, there = true[:, place], false[:, place], true[:, -1]
    return share_of(2 * own, own + amiss + there, evidence.ill_weights)


def ap_of_scans_with(band: int, evidence: Evidence) -> Sampled | None:
    """AP of the scans whose lesion has a size, all in all, of one of the bands."""
    sizes, subjects = evidence.sizes, evidence.record.subjects
    volumes = np.array([subjects[row].lesion_size for row in evidence.ill])
    own = np.flatnonzero((np.searchsorted(sizes.limits, volumes, "right") == band) & (volumes > 0))
    if not own.size or evidence.record.of_masks:
        return None
    pieces = evidence.read.pieces[evidence.record.headline].only([evidence.ill[n] for n in own])
    return uncertainty.pooled(pieces, evidence.ill_weights[:, own]).ap


# ---- from maps -------------------------------------------------------------------------------------


def ap_of_lesions(band: int, evidence: Evidence) -> Sampled | None:
    """Mean over subjects of AP of their lesions of one size."""
    kept = kept_details(evidence)
    return None if kept is None else mean_of(kept["size_ap"][evidence.ill, band], evidence)


def _sweep(evidence: Evidence, extra: Array) -> Array | None:
    """The sweep of each lesion-test scan, (scans, thresholds + 1, 4), `extra` (scans, 4) its last line."""
    kept = kept_details(evidence)
    if kept is None or not evidence.ill or not len(kept["thresholds"]):
        return None
    return np.concatenate([kept["sweep"][evidence.ill], extra[:, None]], axis=1)


def _totals(evidence: Evidence) -> Array:
    """Non-lesion voxels, lesions, scans (1) and lesions again of each lesion-test scan, (scans, 4)."""
    kept = kept_details(evidence)
    if kept is None:
        return np.zeros((len(evidence.ill), 4))
    negatives = evidence.read.pieces[evidence.record.headline].negatives[evidence.ill].sum(1, dtype=np.int64)
    lesions = kept["lesions"][evidence.ill]
    return np.stack([negatives, lesions, np.ones(len(lesions)), lesions], axis=1).astype(np.float64)


def froc(levels: Sequence[float], evidence: Evidence) -> Sampled | None:
    """Mean over the levels of the share of lesions found at so many false components a scan."""
    swept = _sweep(evidence, _totals(evidence))
    if swept is None or not swept[:, -1, HITS].any():
        return None
    counted = [*np.flatnonzero(~np.isnan(swept).any((0, 2)))]
    return of_sums(partial(froc_of, levels=levels), swept[:, counted], evidence.ill_weights)


def froc_of(sums: Array, levels: Sequence[float]) -> Array:
    """Mean sensitivity (B,) of sums (B, thresholds + 1, 4), the last line of them totals.

    Between two thresholds it is linear, as in LUNA16. Going down, components merge, and false ones may become
    fewer: what is found then counts as found at the most there were before.
    """
    false = sums[:, :-1, FALSES] / sums[:, -1:, FALSES]
    found = sums[:, :-1, HITS] / sums[:, -1:, HITS]
    false, found = (np.pad(np.maximum.accumulate(one, axis=1), [(0, 0), (1, 0)]) for one in (false, found))
    return np.asarray(_interpolated(np.asarray(levels, np.float64), false, found).mean(1))


def _interpolated(levels: Array, x: Array, y: Array) -> Array:
    """`np.interp` of each row of x and y (B, n), whose first x is 0, at levels (L,) from 0 on: (B, L)."""
    low = (x[:, None] <= levels[:, None]).sum(2) - 1
    rows, high = np.arange(len(x))[:, None], np.minimum(low + 1, x.shape[1] - 1)
    width = x[rows, high] - x[rows, low]
    slope = (y[rows, high] - y[rows, low]) / np.where(width > 0, width, 1)
    return np.asarray(slope * (levels - x[rows, low]) + y[rows, low])


def aupro(evidence: Evidence) -> Sampled | None:
    """Area under mean overlap with the lesions by false-positive rate, up to 30 %, over that 30 %."""
    swept = _sweep(evidence, _totals(evidence))
    if swept is None or not swept[:, -1, OVERLAP].any():
        return None
    return of_sums(aupro_of, swept[:, :, [CALLED, OVERLAP]], evidence.ill_weights)


def aupro_of(sums: Array, limit: float = AUPRO_LIMIT) -> Array:
    """AUPRO (B,) of sums (B, thresholds + 1, 2) of called voxels and overlap, the last line their totals."""
    rate, overlap = np.moveaxis(np.pad(sums / sums[:, -1:], [(0, 0), (1, 0), (0, 0)]), -1, 0)
    low, high = rate[:, :-1], rate[:, 1:]
    slope = np.diff(overlap, axis=1) / np.where(high > low, high - low, 1)
    width = np.minimum(high, limit) - np.minimum(low, limit)
    area = width * (overlap[:, :-1] + slope * width / 2)
    return np.asarray(area.sum(1) / limit)
