"""Order: what is asked of `uadbench inject`, and what of it can be refused before any scan is read."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from uadbench.experiment.config import LARGEST_SEED
from uadbench.implant.shapes import KINDS
from uadbench.system.errors import UserError, check_known

EDGE_MM = 2.0
LARGEST_EDGE_MM = 20.0
LARGEST_ML = 300.0  # a quarter of a brain
LARGEST_CONTRAST = 100.0
MOST_PER_SCAN = 50


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked for.

    Every scan gets `per_scan` lesions of one size (ml) and one signed contrast-to-noise; every subject is
    scanned once for each pair of both. A `mimic` has the level of grey matter, and takes no contrasts.
    """

    kind: str
    sizes: Sequence[float]
    contrasts: Sequence[float] = ()
    seed: int = 0
    per_scan: int = 1
    edge_mm: float = EDGE_MM
    shapes: Path | None = None  # folder of real lesion masks; None: drawn
    mr: str | None = None  # contrast of the scans; None: the first of the data set's card
    limit: int | None = None  # subjects


def check_order(order: Order) -> None:
    """Refuse what can be known to be wrong before any scan is read."""
    check_known("kind", order.kind, KINDS)
    sizes = f"ml above 0 and at most {LARGEST_ML:g}"
    _check_numbers("--sizes", order.sizes, sizes, lambda ml: 0 < ml <= LARGEST_ML)
    if order.kind == "mimic" and order.contrasts:
        raise UserError("A mimic has the level of grey matter in white matter: leave --contrasts out.")
    if order.kind != "mimic":
        ratios = f"numbers other than 0, from {-LARGEST_CONTRAST:g} to {LARGEST_CONTRAST:g}"
        _check_numbers("--contrasts", order.contrasts, ratios, lambda one: 0 < abs(one) <= LARGEST_CONTRAST)
    for name, number, low, high in (
        ("--seed", order.seed, 0, LARGEST_SEED),
        ("--per-scan", order.per_scan, 1, MOST_PER_SCAN),
        ("--limit", 1 if order.limit is None else order.limit, 1, LARGEST_SEED),
    ):
        if not low <= number <= high:
            raise UserError(f"{name} expects a whole number from {low} to {high}, got {number}.")
    if not 0 < order.edge_mm <= LARGEST_EDGE_MM:
        raise UserError(
            f"--edge expects a width above 0 and at most {LARGEST_EDGE_MM:g} mm, got {order.edge_mm:g}."
        )


def _check_numbers(name: str, numbers: Sequence[float], expected: str, fits: Callable[[float], bool]) -> None:
    """Refuse an empty list, a number that does not fit, and two that would have one name."""
    wrong = [number for number in numbers if not (math.isfinite(number) and fits(number))]
    if wrong or not numbers:
        raise UserError(f"{name} expects {expected}, got {f'{wrong[0]:g}' if wrong else 'none'}.")
    names = [f"{number:g}" for number in numbers]
    if twice := [one for one in names if names.count(one) > 1]:
        raise UserError(f"{name} names {twice[0]} twice: each once.")
