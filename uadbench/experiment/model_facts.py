"""Model facts: what of its run a trained method needs to be applied elsewhere; no subject is named."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from uadbench import __version__
from uadbench.cards import MethodCard, dataset_card
from uadbench.experiment.facts import (
    Count,
    Digest,
    Facts,
    Key,
    Name,
    Number,
    Option,
    Setting,
    Size,
    Text,
)
from uadbench.experiment.record import RunRecord
from uadbench.system.text import all_visible

POINTS = ("fpr1", "fpr5", "val")  # thresholds that looked at no test label
_Scores = Annotated[list[Number], Meta(max_length=100_000)]
_Long = Annotated[str, Meta(max_length=100_000)]


class Source(Facts, frozen=True, kw_only=True):
    """A data set that a model was made with, and what its card says of its licence."""

    name: Name
    use: Text  # in words
    title: _Long
    licence: _Long
    forbids: _Long  # what the licence does not allow, "" for nothing
    citation: _Long
    address: _Long


class About(Facts, frozen=True, kw_only=True):
    """What the card of the method says of where it comes from."""

    title: _Long
    family: Text
    summary: _Long
    paper: _Long
    year: Count
    link: _Long
    bibtex: list[_Long]
    reference_licence: _Long
    differences: list[_Long]


class ModelFacts(Facts, frozen=True, kw_only=True):
    """All that is known of a trained method beside its arrays."""

    uadbench: Text  # the version that made it
    about: About
    sources: list[Source]
    method: Name
    variant: Name
    preset: Name
    parameters: dict[Key, Setting]
    n_parameters: Count
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    precision: Name
    code: dict[Key, Digest]  # by file: the code that the method was fitted with
    protocol: Name
    metric_version: Count
    model_grid: Name
    contrast: Name
    regime: Key
    train: Name | None  # the cohort that was learned from; None for a method that learns nothing
    test: Name
    headline: Name  # the profile of post-processing by which the run is ranked
    thresholds: dict[Key, Number | None]  # of the headline profile, by operating point
    preparation: dict[Key, Option]  # options, see `uadbench.preprocessing.prepare_scan.Options`
    versions: dict[Key, Option]  # of the preparation
    scans: Count  # of the run that have a score
    highest_score: Number | None  # of all of them
    healthy_scores: _Scores  # of healthy-test, sorted
    highest_error: Size | None  # mean absolute error of the pseudo-healthy volumes, in [0, 1]
    fit_hash: Digest
    score_hash: Digest
    data_fingerprint: Digest
    packages: dict[Key, Text]
    hardware: dict[Key, Option]

    def __post_init__(self) -> None:
        if all_visible(self.parameters) != self.parameters:
            raise ValueError("an option of the method holds control characters")


def describe_model(made: RunRecord, card: MethodCard, code: Mapping[str, str]) -> ModelFacts:
    """The facts of the model of a run that was fitted with `code`, a hash by file."""
    scores = [one.scan_score for one in made.subjects if one.scan_score is not None]
    errors = [one.restoration_l1 for one in made.subjects if one.restoration_l1 is not None]
    healthy = [one.scan_score for one in made.subjects if one.partition == "healthy-test"]
    as_recorded = {*RunRecord.__struct_fields__} & {*ModelFacts.__struct_fields__}
    own = {
        "uadbench": __version__,
        "about": msgspec.convert({key: getattr(card, key) for key in About.__struct_fields__}, About),
        "sources": list(_sources(made)),
        "code": dict(code),
        "train": made.train if card.trained else None,
        "thresholds": {point: made.thresholds[made.headline].get(point) for point in POINTS},
        "preparation": made.preparation.options,
        "versions": made.preparation.versions,
        "scans": len(scores),
        "highest_score": max(scores, default=None),
        "healthy_scores": sorted(score for score in healthy if score is not None),
        "highest_error": max(errors, default=None),
    }
    return ModelFacts(**{name: getattr(made, name) for name in as_recorded} | own)


def _sources(made: RunRecord) -> list[Source]:
    """The data sets of a run, by what they gave the model."""
    uses: dict[str, list[str]] = {}
    if made.train is not None:
        uses[made.train] = ["training"] if made.trained else []
        uses[made.train].append("thresholds, scores of healthy scans")
    uses.setdefault(made.test, []).append("the threshold val, the test")
    return [_source(name, ", ".join(given)) for name, given in uses.items()]


def _source(name: str, use: str) -> Source:
    card = dataset_card(name)
    said = {key: getattr(card, key) for key in Source.__struct_fields__ if key != "use"}
    return Source(use=use, **said)


def as_text(facts: msgspec.Struct) -> str:
    """Facts as JSON with sorted keys: equal facts are equal text."""
    return msgspec.json.format(msgspec.json.encode(facts, order="sorted"), indent=1).decode() + "\n"
