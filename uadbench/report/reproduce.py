"""Reproduce: run what the published figures of a method on a test set need, and hold ours against them."""

from collections.abc import Sequence
from dataclasses import dataclass

from uadbench import catalog
from uadbench.cards import contrast_of, dataset_card, method_card
from uadbench.evaluation.uncertainty import FEW_PERSONS
from uadbench.experiment.config import RunConfig
from uadbench.experiment.record import RunRecord
from uadbench.report import published
from uadbench.report.listing import Listing
from uadbench.report.published import Band, Published
from uadbench.system.errors import UserError

HALF_RESOLUTION = "uad-1-2mm"
HEADERS = ("figure", "trained on", "contrast", "metric", "threshold", "ours", "expected", "verdict")


@dataclass(frozen=True)
class Wanted:
    """What is published or expected of a method on a test set, and the runs that it needs."""

    figures: tuple[Published, ...]
    bands: tuple[Band, ...]
    configs: tuple[RunConfig, ...]
    skipped: tuple[str, ...]  # what cannot be run, and why


def wanted(
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
    near = published.edition(dataset)
    figures = [
        f
        for f in published.figures()
        if f.method == method and published.edition(f.test) == near and contrast in (None, f.contrast)
    ]
    bands = [
        b
        for b in published.bands()
        if b.method in ("*", method) and b.test == dataset and contrast in (None, b.contrast)
    ]
    if not figures and not bands:
        known = sorted({f"{f.test} {f.contrast}".strip() for f in published.figures() if f.method == method})
        raise UserError(
            f"Nothing is published of {method} on {dataset}{f' {contrast}' if contrast else ''}; "
            f"figures are known on: {', '.join(known) or 'no data set'}."
        )
    configs: list[RunConfig] = []
    skipped: dict[str, None] = {}
    needed = [(f.train, f.contrast, f.resolution.startswith("2 mm"), f.regime) for f in figures]
    needed += [(b.train, b.contrast, "half resolution" in b.note, "") for b in bands]
    for of_train, of_contrast, half, regime in needed:
        if of_contrast not in test.contrasts:
            skipped[f"{of_contrast or 'an unknown contrast'}: {dataset} has {', '.join(test.contrasts)}"] = (
                None
            )
            continue
        if regime == "within" and not test.within:
            skipped[f"{of_contrast}, regime within: no lesion-free slices of {dataset} are prepared"] = None
            continue
        config = RunConfig(
            method=method,
            dataset=dataset,
            train=train or (dataset if regime == "within" else _partner(of_train, card.trained)),
            contrast=of_contrast,
            preset=preset,
            seed=seed,
            protocol=HALF_RESOLUTION if half else None,
        )
        if config not in configs:
            configs.append(config)
    return Wanted(tuple(figures), tuple(bands), tuple(configs), tuple(skipped))


def _partner(train: str, trained: bool) -> str | None:
    """The training cohort, where it is one of ours; else the default partner, and the verdict says so."""
    return train if trained and train in catalog.names("datasets") else None


def verdicts(asked: Wanted, records: Sequence[RunRecord]) -> Listing:
    """Each published figure and each band with ours: inside band, outside band, or why not comparable."""
    lines = []
    for record in records:
        remarks = _remarks(record)
        for one in published.beside([record]):
            figure = one.figure
            if figure in asked.figures and _made_for(record, figure):
                spread = f" ± {figure.spread:.3f}" if figure.spread else ""
                lines.append(
                    (
                        f"{figure.table}: {figure.label} ({figure.status})",
                        record.train or published.NONE,
                        record.contrast,
                        published.definition(figure),
                        figure.threshold,
                        "" if one.ours is None else f"{one.ours:.3f}",
                        f"{figure.value:.3f}{spread}",
                        "; ".join([one.judgement, *remarks]),
                    )
                )
        for judged in published.judge(record):
            band = judged.band
            lines.append(
                (
                    "band",
                    record.train or published.NONE,
                    record.contrast,
                    band.metric,
                    band.threshold,
                    "" if judged.ours is None else f"{judged.ours:.3f}",
                    f"{band.low:.2f} to {band.high:.2f}",
                    "; ".join([judged.verdict, *remarks]),
                )
            )
    notes = [
        "Bands are readings of the figures, not published: of a figure without one, a fifth of it, 0.03 or "
        "twice its spread, whichever is most.",
        *[f"Not run: {reason}." for reason in asked.skipped],
    ]
    return Listing("Reproduction", HEADERS, tuple(lines), tuple(notes))


def _remarks(record: RunRecord) -> list[str]:
    """What weakens a verdict, whichever it is."""
    persons = len({s.person for s in record.subjects if s.partition == "lesion-test"})
    return [
        *([f"preset {record.preset}, not the paper's"] if record.preset != "paper" else []),
        *([f"{persons} subjects only"] if persons < FEW_PERSONS else []),
    ]


def _made_for(record: RunRecord, figure: Published) -> bool:
    """Whether the record is the run that a figure asked for, not that of a figure of another resolution."""
    return (record.protocol == HALF_RESOLUTION) == figure.resolution.startswith("2 mm")
