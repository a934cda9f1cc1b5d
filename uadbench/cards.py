"""Cards: the facts about a method or a data set, as TOML beside its code.

Reading a card imports no plug-in code, so that listing methods stays fast and never loads torch.
"""

import tomllib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from uadbench import catalog
from uadbench.errors import UserError, unknown

PRESETS = ("ci", "demo", "small", "paper")
FAMILIES = ("baseline", "AE", "VAE", "GAN", "diffusion", "disentangled", "restoration", "feature")
# native: each contrast where the scanner put it. co-registered, SRI24, Talairach: the contrasts of a
# subject share one space, which is not the template's. MNI152: taken as it lies.
# pixels: slices without geometry, in no space at all.
SPACES = ("native", "co-registered", "SRI24", "Talairach", "MNI152", "pixels")
AXES = {"L": "R", "P": "A", "I": "S"}  # direction -> its opposite, by which the axis is named
POPULATIONS = ("volunteers", "patients", "synthetic")
# Post-processing profiles that every record has; by which of them a test set's table ranks its card says
# before any result: baur5 where the median lesion is above 1 ml, else raw (protocol, rule 9).
HEADLINES = ("raw", "median3", "baur5")


@dataclass(frozen=True, kw_only=True)
class MethodCard:
    """Facts about a method: where it comes from, what it needs, how far it departs from its paper.

    A folder may hold several rows of the leaderboard: those that share a network, or nearly all their
    code. Its card then describes the first, which bears the folder's name, and has a table `[row.<name>]`
    for each other one with the facts that differ and, under `set`, the options that make it what it is.
    """

    name: str  # of the row
    folder: str
    title: str
    family: str  # one of FAMILIES
    summary: str
    paper: str  # authors, title, venue
    year: int
    link: str  # arXiv id, DOI or address
    reference_licence: str  # licence of the published code; its code is not used
    input: str  # what the published method is fed
    differences: tuple[str, ...]  # from the paper
    trained: bool = True  # an untrained method runs without a healthy cohort
    template_space: bool = False  # needs volumes in MNI152
    synthetic: bool = False  # trained with synthetic anomalies
    patient_slices: bool = False  # trained on lesion-free slices of patients
    set: Mapping[str, Any] = field(default_factory=dict)  # field values that make the row
    preset: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # field values by preset
    smoke: Mapping[str, Any] = field(default_factory=dict)  # field values of the contract tests
    reported: tuple[Mapping[str, Any], ...] = ()  # published figures with their source
    exempt: Mapping[str, str] = field(default_factory=dict)  # contract test -> reason
    # What a run is to be given where no earlier record says it: by preset, minutes, memory_gb and gpus.
    needs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """Facts about a data set: where it comes from, what may be done with it, what it should hold."""

    name: str
    title: str
    role: str  # "healthy", "lesion" or "both"
    population: str  # "volunteers", "patients" or "synthetic"
    summary: str
    address: str  # where to apply for the data
    access: str  # "open", "registration", ...
    licence: str
    forbids: str  # what the licence does not allow, "" for nothing
    citation: str
    layout: str  # the expected folders and file names, in words
    layout_confidence: str  # V seen, D documented, C from working loaders, M from memory
    contrasts: tuple[str, ...]
    space: str  # one of SPACES; a subject may differ
    skull_stripped: bool
    # Where the stored axes of files that do not say it point (Analyze), such as "LAS"; a header's own
    # statement in such a file is not believed. Voxel sizes are the header's.
    analyze_orientation: str | None = None
    protocol: str = "uad-1"
    headline: str = "raw"  # one of HEADLINES
    version: int = 1  # raised when the set's scans, labels or splits come to mean something else
    lesion_labels: tuple[int, ...] = (1,)
    ignore_labels: tuple[int, ...] = ()  # neither hit nor false
    other_labels: tuple[int, ...] = ()  # legal values that are background
    label_meaning: str = ""
    # Fractions of persons; what is left of 1 goes to the last partition.
    healthy_split: Mapping[str, float] = field(default_factory=dict)  # train, val (rest: test)
    lesion_split: Mapping[str, float] = field(default_factory=dict)  # val (rest: test)
    # Part of the release -> partition, where its publishers have divided it; goes before the fractions.
    published_split: Mapping[str, str] = field(default_factory=dict)
    # The healthy subjects are the patients' lesion-free slices: `healthy_split` holds for both, and of the
    # persons who are learned from nothing is tested.
    within: bool = False
    expected: Mapping[str, int] = field(default_factory=dict)  # subjects by contrast
    exclusions: Mapping[str, str] = field(default_factory=dict)  # subject id -> reason
    partners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # contrast -> healthy sets


def _build(path: Path, facts: Mapping[str, Any], card_type: type[Any]) -> Any:
    """A card of the facts that a file states; a surplus or a missing fact is a UserError."""
    known = {f.name: f for f in fields(card_type)}
    surplus = sorted(set(facts) - set(known))
    if surplus:
        raise UserError(f"{path} has unknown keys {surplus}; known are: {', '.join(known)}.")
    needed = [f.name for f in known.values() if f.default is MISSING and f.default_factory is MISSING]
    missing = sorted(set(needed) - set(facts))
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}: a card states them all.")
    return card_type(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
    )


def parse(path: Path) -> dict[str, Any]:
    """The content of a TOML file, a copy for the caller; a syntax error names the file."""
    state = path.stat()
    return deepcopy(_parsed(path, state.st_mtime_ns, state.st_size))


@cache
def _parsed(path: Path, changed_ns: int, size: int) -> dict[str, Any]:
    """The content of a TOML file as it was then; the plan of one cell reads every card several times."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}.") from error


def method_names() -> list[str]:
    """All rows of all method folders, sorted."""
    return sorted(_rows())


def _rows() -> dict[str, Path]:
    """The card file of every row."""
    rows: dict[str, Path] = {}
    for folder in catalog.names("methods"):
        path = catalog.locate("methods", folder) / "card.toml"
        for name in (folder, *parse(path).get("row", {})):
            if rows.setdefault(name, path) != path:
                raise UserError(f"{path} and {rows[name]} both have a row '{name}': rename one of them.")
    return rows


def _row(facts: dict[str, Any], name: str) -> dict[str, Any]:
    """The facts of one row of a folder: the folder's, and over them the row's own."""
    rows = facts.pop("row", {})
    own: dict[str, Any] = rows.get(name, {})
    chosen = own.get("set", {})
    presets = {
        preset: dict(values) | chosen | own.get("preset", {}).get(preset, {})
        for preset, values in facts.get("preset", {}).items()
    }
    smoke = dict(facts.get("smoke", {})) | chosen | own.get("smoke", {})
    return facts | ({"reported": []} if own else {}) | own | {"preset": presets, "smoke": smoke}


def method_card(name: str) -> MethodCard:
    """The card of a row; an unknown name lists the known ones."""
    rows = _rows()
    if name not in rows:
        raise unknown("method", name, rows)
    return _method_card(name, rows[name])


def method_cards() -> dict[str, MethodCard]:
    """The cards of all rows by name; each file is read once."""
    return {name: _method_card(name, path) for name, path in sorted(_rows().items())}


def _method_card(name: str, path: Path) -> MethodCard:
    facts = _row(parse(path), name) | {"name": name, "folder": path.parent.name}
    card: MethodCard = _build(path, facts, MethodCard)
    if card.family not in FAMILIES:
        raise UserError(
            f"The family of method '{name}' is '{card.family}'; expected one of {', '.join(FAMILIES)}."
        )
    return card


def dataset_card(name: str) -> DatasetCard:
    """The card of a data set; an unknown name lists the known ones."""
    path = catalog.locate("datasets", name) / "card.toml"
    card: DatasetCard = _build(path, {"name": name} | parse(path), DatasetCard)
    for value, known in (
        (card.space, SPACES),
        (card.population, POPULATIONS),
        (card.headline, HEADLINES),
    ):
        if value not in known:
            raise UserError(
                f"The card of data set '{name}' says '{value}'; expected one of {', '.join(known)}."
            )
    axes = card.analyze_orientation
    if axes is not None and sorted(AXES.get(letter, letter) for letter in axes) != ["A", "R", "S"]:
        raise UserError(
            f"The card of data set '{name}' has the analyze_orientation '{axes}'; expected are three "
            "letters, one of each pair R or L, A or P, S or I."
        )
    return card
