"""Reproduce: run what the published figures of a method on a test set need, and hold ours against them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from uadbench import catalog
from uadbench.cards import contrast_of, dataset_card, method_card
from uadbench.evaluation.uncertainty import FEW_PERSONS
from uadbench.experiment.config import RunConfig
from uadbench.experiment.record import RunRecord
from uadbench.report import beside, published
from uadbench.report.beside import HALF_RESOLUTION, NONE
from uadbench.report.formats import shown
from uadbench.report.published import Band, Published
from uadbench.report.sheets import Line, Sheet
from uadbench.system.errors import UserError

HEADERS = ("value", "trained on", "contrast", "metric", "threshold", "ours", "expected", "verdict")


@dataclass(frozen=True)
class Wanted:
    """What is published or expected of a method on a test set, and the runs that it needs."""

    figures: tuple[Published, ...]
    bands: tuple[Band, ...]
    configs: tuple[RunConfig, ...]
    skipped: tuple[str, ...]  # what cannot be run, and why


def find_wanted(
    method: str,
    dataset: str,
    train: str | None = None,
    contrast: str | None = None,
    preset: str = "paper",
    seed: int = 0,
) -> Wanted:
    """The runs that the published rows of a method on a test set need; a mistake lists what there is."""
    card, test = method_card(method), dataset_card(dataset)
    contrast = contrast and contrast_of(test, contrast)
    near, of_method = published.edition(dataset), published.figures_of(method)
    figures = [f for f in of_method if published.edition(f.test) == near and contrast in (None, f.contrast)]
    bands = [
        b
        for b in published.read_bands()
        if b.method in ("*", method) and b.test == dataset and contrast in (None, b.contrast)
    ]
    if not figures and not bands:
        known = sorted({f"{f.test} {f.contrast}".strip() for f in of_method})
        raise UserError(
            f"Nothing is published of {method} on {dataset}{f' {contrast}' if contrast else ''}; "
            f"values are available on: {', '.join(known) or 'no data set'}."
        )
    configs: list[RunConfig] = []
    skipped: dict[str, None] = {}
    needed = [(f.train, f.contrast, f.resolution.startswith("2 mm"), f.regime) for f in figures]
    needed += [(b.train, b.contrast, b.half_resolution, "") for b in bands]
    for of_train, of_contrast, half, regime in needed:
        if of_contrast not in test.contrasts:
            skipped |= {
                f"{of_contrast or 'an unknown contrast'}: {dataset} has {', '.join(test.contrasts)}": None
            }
            continue
        if regime == "within" and not test.within:
            skipped |= {f"{of_contrast}, training setting within: {dataset} has no lesion-free slices": None}
            continue
        # The published cohort, where it is one of ours; else the default, and the verdict says so.
        is_ours = card.trained and of_train in catalog.names("datasets")
        cohort = dataset if regime == "within" else of_train if is_ours else None
        config = RunConfig(
            method=method,
            dataset=dataset,
            train=train or cohort,
            contrast=of_contrast,
            preset=preset,
            seed=seed,
            protocol=HALF_RESOLUTION if half else None,
        )
        if config not in configs:
            configs.append(config)
    return Wanted(tuple(figures), tuple(bands), tuple(configs), tuple(skipped))


def judge_records(asked: Wanted, records: Sequence[RunRecord]) -> Sheet:
    """Each published value and each band with ours: inside band, outside band, or why not comparable."""
    notes = [
        "The bands are our reading of the published values; for a value without a band, a fifth of it, 0.03 "
        "or twice its spread, whichever is most.",
        *[f"Not run: {reason}." for reason in asked.skipped],
    ]
    lines = [line for record in records for line in _lines(asked, record)]
    return Sheet("Reproduction", HEADERS, tuple(lines), tuple(notes))


def _lines(asked: Wanted, record: RunRecord) -> Iterator[Line]:
    facts, remarks = (record.train or NONE, record.contrast), _remarks(record)
    for one in beside.find_beside([record]):
        figure = one.figure
        # Not the run that a figure of another resolution asked for.
        made_for = (record.protocol == HALF_RESOLUTION) == figure.resolution.startswith("2 mm")
        if figure in asked.figures and made_for:
            compared = (figure.own_metric, figure.threshold, shown(one.ours), figure.shown)
            name = f"{figure.place} ({figure.status})"
            yield (name, *facts, *compared, "; ".join([one.judgement, *remarks]))
    for judged in beside.judge_record(record):
        band = judged.band
        compared = (band.metric, band.threshold, shown(judged.ours), band.shown)
        yield ("band", *facts, *compared, "; ".join([judged.verdict, *remarks]))


def _remarks(record: RunRecord) -> list[str]:
    """What weakens a verdict, whichever it is."""
    persons = len({s.person for s in record.subjects if s.partition == "lesion-test"})
    return [
        *([f"preset {record.preset}, not the paper's"] if record.preset != "paper" else []),
        *([f"{persons} subjects only"] if persons < FEW_PERSONS else []),
    ]
