"""Evidence: the figures of one record in resamples of its subjects, from its score histograms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.data.sizes import PIXELS, VOLUMES, Sizes
from uadbench.evaluation import uncertainty
from uadbench.evaluation.components import FOUND, LESIONS
from uadbench.evaluation.metrics import UncertainFigureError
from uadbench.evaluation.uncertainty import Sampled
from uadbench.experiment import pieces_file
from uadbench.experiment.facts import SubjectResult
from uadbench.experiment.record import RunRecord, Stored
from uadbench.protocol import ALL_POINTS, GIVEN, PROFILES, protocol

# What two records must share before their numbers may be held against each other (protocol, rule 17).
SAME_TEST = ("protocol", "regime", "test", "contrast", "metric_version", "card_version", "headline")
TESTED = ("healthy-test", "lesion-test")
# Resamples of all records together that are made while one waits; of more records there are fewer of each.
RESAMPLES_IN_ALL = 100_000
FEWEST_RESAMPLES = 200


@lru_cache(maxsize=8)
def _weights(
    tested: tuple[tuple[str, str], ...], resamples: int, columns: tuple[int, ...] | None = None
) -> NDArray[np.int64]:
    """Resamples of scans, or some columns of them; one read-only array for all records of these scans."""
    if columns is None:
        found = uncertainty.draw_resamples([p for p, _ in tested], [part for _, part in tested], resamples)
    else:
        found = _weights(tested, resamples)[:, list(columns)]
    found.flags.writeable = False
    return found


def resamples_for(records: int) -> int:
    """How many resamples each of so many records gets: fewer of many, and never none."""
    return min(max(RESAMPLES_IN_ALL // max(records, 1), FEWEST_RESAMPLES), uncertainty.RESAMPLES)


@dataclass(frozen=True)
class Evidence:
    """One record with its score histograms and the resamples of its subjects.

    Scans are in the order of their ids, whatever their order in the record, so that two records of the
    same scans pair them by who they are. With `only`, lesion-test is restricted to these ids.
    """

    stored: Stored
    resamples: int = uncertainty.RESAMPLES
    only: frozenset[str] | None = None

    @property
    def record(self) -> RunRecord:
        """The record."""
        return self.stored.record

    @cached_property
    def chosen(self) -> list[int]:
        """Rows of the tested scans."""
        subjects = self.record.subjects
        tested = [
            row
            for row, s in enumerate(subjects)
            if s.partition in TESTED and (self.only is None or s.id in self.only)
        ]
        return sorted(tested, key=lambda row: (subjects[row].partition, subjects[row].id))

    @property
    def subjects(self) -> list[SubjectResult]:
        """The tested scans."""
        return [self.record.subjects[row] for row in self.chosen]

    @property
    def ids(self) -> tuple[str, ...]:
        """Who was tested, healthy or not."""
        return tuple(s.id for s in self.subjects)

    @cached_property
    def ill(self) -> list[int]:
        """Rows of the lesion-test scans, in this order."""
        return [row for row in self.chosen if self.record.subjects[row].partition == "lesion-test"]

    @cached_property
    def persons(self) -> int:
        """How many subjects with lesions were tested."""
        return len({self.record.subjects[row].person for row in self.ill})

    @cached_property
    def weights(self) -> Any:
        """Resamples of the tested scans, (resamples, scans)."""
        return _weights(self._tested, self.resamples)

    @cached_property
    def ill_weights(self) -> Any:
        """The same resamples, of the lesion-test scans alone."""
        place = {row: number for number, row in enumerate(self.chosen)}
        return _weights(self._tested, self.resamples, tuple(place[row] for row in self.ill))

    @property
    def _tested(self) -> tuple[tuple[str, str], ...]:
        """Person and partition of the tested scans."""
        return tuple((s.person, s.partition) for s in self.subjects)

    @cached_property
    def read(self) -> pieces_file.PiecesRead:
        """All that lies beside the record."""
        return pieces_file.read_pieces(self.stored)

    @cached_property
    def further(self) -> dict[str, Sampled | None]:
        """Figures of further columns, by name, each made once: see `columns.figure_of`."""
        return {}

    def figures(self) -> dict[str, Sampled]:
        """Every column of the leaderboard that the record has, by name."""
        headline = self.record.headline
        found: dict[str, Sampled] = {}
        for profile in dict.fromkeys([headline, *PROFILES]):
            if profile not in self.read.pieces or self.record.of_masks:
                continue
            voxels = uncertainty.pooled(self.read.pieces[profile].only(self.ill), self.ill_weights)
            found[f"ap_{profile}"] = voxels.ap
            if profile == headline:
                found |= {"ap": voxels.ap, "auroc": voxels.auroc, "dsc_oracle": voxels.best_dice}
        patients = [self.record.subjects[row] for row in self.ill]
        found["ap_mean"] = uncertainty.mean([s.ap.get(headline) for s in patients], self.ill_weights)
        thresholds = self.record.thresholds[headline]
        for point in ("val", "fpr1", "fpr5", GIVEN):
            if thresholds.get(point) is not None:
                found[f"dsc_{point}"] = self._dice(point)
        if thresholds.get("fpr1") is not None:
            counts = self.lesion_counts("fpr1")
            found["recall_fpr1"] = uncertainty.ratio(counts[:, FOUND], counts[:, LESIONS], self.ill_weights)
        sick = [s.partition == "lesion-test" for s in self.subjects]
        scores = [s.scan_score for s in self.subjects]
        if not all(sick) and None not in scores and not self.record.of_masks:
            found["auroc_scan"] = uncertainty.scan_auroc(scores, sick, self.weights)  # type: ignore[arg-type]
        return found

    def _dice(self, point: str) -> Sampled:
        """Pooled Dice at an operating point."""
        counts = self.read.voxels[self.record.headline][self.ill, ALL_POINTS.index(point)]
        true, false, missed = counts.astype(np.float64).T
        return uncertainty.ratio(2 * true, 2 * true + false + missed, self.ill_weights)

    def lesion_counts(self, point: str) -> Any:
        """At a point: lesions, found lesions and false components of each lesion-test scan, (scans, 3)."""
        counts = self.read.lesions[self.record.headline][self.ill, ALL_POINTS.index(point)]
        return counts.sum(1).astype(np.float64)  # over sizes

    def values(self) -> dict[str, float]:
        """The figures of pooled voxels as exactly as the histograms give them, by the names of `figures`.

        Of some of the scans alone the histograms may leave more open than is promised: those are left out.
        """
        found: dict[str, float] = {}
        for profile, pieces in ({} if self.record.of_masks else self.read.pieces).items():
            try:
                curve = pieces.only(self.ill).curve().certain()
            except UncertainFigureError:
                continue
            found[f"ap_{profile}"] = curve.ap
            if profile == self.record.headline:
                found |= {"ap": curve.ap, "auroc": curve.auroc, "dsc_oracle": curve.best_dice}
        return found

    @property
    def sizes(self) -> Sizes:
        """In what the sizes of lesions are counted."""
        return PIXELS if protocol(self.record.protocol).flat else VOLUMES

    @property
    def operating_point(self) -> str:
        """The point at which strata are told apart."""
        return operating_point(self.record)

    def counts(self) -> tuple[Any, Any]:
        """At the operating point: TP, FP, FN (scans, 3) and lesions (scans, sizes, kinds) of the tested."""
        point, headline = ALL_POINTS.index(self.operating_point), self.record.headline
        found = self.read.voxels[headline], self.read.lesions[headline]
        voxels, lesions = (counts[self.chosen, point].astype(np.float64) for counts in found)
        return voxels, lesions

    def banded_curve(self, points: int = 100, draws: int = 200) -> list[tuple[float, float, float, float]]:
        """Recall and precision over all voxels of lesion-test, and between which 95 % of resamples lie there.

        At about so many recalls; precision in a resample is interpolated between its own recalls.
        """
        weights, (true, false) = self.ill_weights[:draws], swept(self, self.ill)
        if not true.size or not true[:, -1].any():
            return []
        recall = true.sum(0) / true[:, -1].sum()
        wanted = np.searchsorted(recall, np.linspace(0.005, 1, points)).clip(max=len(recall) - 1)
        wanted = np.unique(wanted)
        at, precision = recall[wanted], _precision(true.sum(0)[wanted], false.sum(0)[wanted])
        hits, alarms = weights @ true[:, wanted], weights @ false[:, wanted]
        recalls, precisions = hits / np.maximum(weights @ true[:, -1], 1)[:, None], _precision(hits, alarms)
        drawn = [np.interp(at, own, height) for own, height in zip(recalls, precisions, strict=True)]
        band = np.quantile(drawn, [(1 - uncertainty.LEVEL) / 2, (1 + uncertainty.LEVEL) / 2], axis=0)
        return [
            (float(r), float(p), float(low), float(high))
            for r, p, low, high in np.round((at, precision, *band), 4).T
        ]


def swept(evidence: Evidence, rows: Sequence[int], profile: str = "") -> tuple[Any, Any]:
    """Lesion and other voxels of scans at each edge or above it, from the highest down, (scans, edges)."""
    pieces = evidence.read.pieces[profile or evidence.record.headline]
    both = pieces.positives, pieces.negatives
    true, false = (counts[rows, ::-1].cumsum(1, dtype=np.float64) for counts in both)
    return true, false


def operating_point(record: RunRecord) -> str:
    """The frozen threshold that is looked at most: 1 % false positives, else val, else the oracle."""
    known = record.thresholds.get(record.headline, {})
    return next((p for p in ("fpr1", "val", GIVEN) if known.get(p) is not None), "oracle")


def _precision(hits: Any, alarms: Any) -> Any:
    return hits / np.maximum(hits + alarms, 1)


def figures_of_row(seeds: Sequence[Evidence]) -> Mapping[str, Sampled]:
    """Figures of a row: means over its seeds, where every seed has them, of the same scans."""
    each = [one.figures() for one in seeds]
    if len({one.ids for one in seeds}) > 1:  # some healthy scans are not in every seed
        for figures in each:
            figures.pop("auroc_scan", None)
    shared = [name for name in each[0] if all(name in other for other in each)]
    return {name: uncertainty.over_seeds([one[name] for one in each]) for name in shared}
