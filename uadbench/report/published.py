"""Published figures: what was printed where, and where a correct re-implementation is expected.

`published.csv` holds every figure with its source as rows, `bands.csv` the ranges in which a correct
re-implementation is expected (a reading of the figures, itself not published).
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Published:
    """One printed figure; empty text where a fact was not stated."""

    table: str  # letter of the group it was read in
    method: str  # our row of the same method, "" where we have none
    label: str  # the method as printed
    train: str
    test: str
    contrast: str
    metric: str
    value: float
    spread: float | None
    regime: str
    resolution: str
    threshold: str  # the rule by which a Dice was thresholded
    averaging: str
    note: str
    status: str  # own, re-run, second hand
    source: str
    family: str  # one of report.field.words.FAMILIES
    kind: str  # of lesion: tumour, stroke, MS, small vessel disease, several
    part: str  # of the test set, where only that was tested
    low: float | None  # of the printed 95 % interval
    high: float | None
    false_alarms: float | None  # share of the lesion-free slices with one, at the threshold of a Dice
    version: str  # of a source that printed other values before or after
    other_version: float | None  # the value that the other version prints

    @property
    def own_metric(self) -> str:
        """The metric by our names: several papers average Dice and AP over volumes."""
        averaged = self.averaging.startswith("mean over") and self.metric in ("DSC", "AP")
        return f"{self.metric} mean" if averaged else self.metric

    @property
    def shown(self) -> str:
        """The value with its spread."""
        return f"{self.value:.3f}" + (f" ± {self.spread:.3f}" if self.spread else "")

    @property
    def place(self) -> str:
        """Where it stands and what it is called there."""
        return f"{self.table}: {self.label}"


@dataclass(frozen=True)
class Band:
    """Where a correct re-implementation is expected to lie."""

    method: str
    train: str
    test: str
    contrast: str
    metric: str
    low: float
    high: float
    threshold: str
    note: str

    @property
    def shown(self) -> str:
        """Its ends."""
        return f"{self.low:.2f} to {self.high:.2f}"

    @property
    def half_resolution(self) -> bool:
        """Whether it holds for maps at 2 mm."""
        return "half resolution" in self.note


@cache
def read_figures() -> tuple[Published, ...]:
    """Every published figure."""
    optional = ("spread", "low", "high", "false_alarms", "other_version")
    return tuple(
        Published(
            **row
            | {"value": float(row["value"])}
            | {name: float(row[name]) if row[name] else None for name in optional}
        )
        for row in _read_rows("published.csv")
    )


@cache
def read_bands() -> tuple[Band, ...]:
    """Every band."""
    ends = ("low", "high")
    return tuple(Band(**row | {end: float(row[end]) for end in ends}) for row in _read_rows("bands.csv"))


def _read_rows(name: str) -> list[dict[str, Any]]:
    with open(HERE / name, encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def edition(test: str) -> str:
    """A test set without its year: other editions are shown beside, and said not to be comparable."""
    return test.rstrip("0123456789")


@cache
def figures_of(method: str) -> tuple[Published, ...]:
    """The published figures of one of our rows."""
    return tuple(figure for figure in read_figures() if figure.method == method)
