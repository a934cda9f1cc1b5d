"""Cards: the facts about a method or a data set, as TOML beside its code.

Reading a card imports no plug-in code, so that listing methods stays fast and never loads torch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, get_args

from msgspec import Meta

from uadbench import catalog
from uadbench.system import toml
from uadbench.system.errors import UserError, check_known, unknown

Preset = Literal["ci", "demo", "cpu", "small", "paper"]
Family = Literal[
    "baseline", "AE", "VAE", "GAN", "diffusion", "disentangled", "restoration", "feature", "transformer"
]
Contrast = Literal["T1", "T1c", "T2", "FLAIR", "PD", "DWI", "ADC", "SWI", "T2star"]
Role = Literal["healthy", "lesion", "both"]
Population = Literal["volunteers", "patients", "implanted", "synthetic"]  # of whoever has lesions, if any
# native: each contrast where the scanner put it. co-registered, SRI24, Talairach: the contrasts of a
# subject share one space, which is not the template's. MNI152: taken as it lies.
# pixels: slices without geometry, in no space at all.
Space = Literal["native", "co-registered", "SRI24", "Talairach", "MNI152", "pixels"]
PRESETS: tuple[str, ...] = get_args(Preset)
BASES = {"cpu": "demo"}  # a preset whose table says in what it differs from another's
FAMILIES: tuple[str, ...] = get_args(Family)
AXES = {"L": "R", "P": "A", "I": "S"}  # direction -> its opposite, by which the axis is named
# Post-processing profiles that every record has; by which of them a test set's table ranks its card says
# before any result: baur5 where the median lesion is above 1 ml, else raw (protocol, rule 9).
Headline = Literal["raw", "median3", "baur5"]
HEADLINES: tuple[str, ...] = get_args(Headline)

OWN = "own data"  # how a card says that its scans are a folder of the user's: its `access`
Value = bool | int | float | str | tuple[bool | int | float | str, ...]  # of an option
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=10**6)]
Label = Annotated[int, Meta(ge=1, le=2**16)]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
Sentence = Annotated[str, Meta(min_length=1, max_length=300)]


class Needs(TypedDict, total=False):
    """What a run is to be given where no earlier record says it."""

    minutes: Annotated[float, Meta(gt=0, le=10**6)]
    memory_gb: Annotated[float, Meta(gt=0, le=10**5)]
    gpus: Annotated[int, Meta(ge=0, le=64)]


@dataclass(frozen=True, kw_only=True)
class MethodCard:
    """Facts about a method: where it comes from, what it needs, how far it departs from its paper.

    A folder may hold several rows of the leaderboard: those that share a network, or nearly all their
    code. Its card then describes the first, which bears the folder's name, and has a table `[row.<name>]`
    for each other one with the facts that differ and, under `set`, the options that make it what it is.
    """

    name: Name  # of the row
    folder: Name
    title: Sentence
    family: Family
    summary: str
    paper: str  # authors, title, venue
    year: Annotated[int, Meta(ge=1900, le=2100)]
    link: str  # arXiv id, DOI or address
    bibtex: tuple[str, ...] = ()  # entries of what a table with this row cites
    reference_licence: str  # licence of the published code; its code is not used
    input: str  # what the published method is fed
    differences: tuple[str, ...]  # from the paper
    trained: bool = True  # an untrained method runs without a healthy cohort
    template_space: bool = False  # needs volumes in MNI152
    synthetic: bool = False  # trained with synthetic anomalies
    patient_slices: bool = False  # trained on lesion-free slices of patients
    set: Mapping[str, Any] = field(default_factory=dict)  # field values that make the row
    preset: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # field values; absent: defaults
    smoke: Mapping[str, Any] = field(default_factory=dict)  # field values of the contract tests
    exempt: Mapping[str, str] = field(default_factory=dict)  # contract test -> reason
    source: Mapping[str, Sentence] = field(default_factory=dict)  # option -> file of public code, name there
    needs: Mapping[str, Needs] = field(default_factory=dict)  # by preset


@dataclass(frozen=True, kw_only=True)
class _Options:
    """What a folder's card and its rows say of options, before the one is laid over the other."""

    set: Mapping[str, Value] = field(default_factory=dict)
    preset: Mapping[Preset, Mapping[str, Value]] = field(default_factory=dict)
    needs: Mapping[Preset, Needs] = field(default_factory=dict)
    smoke: Mapping[str, Value] = field(default_factory=dict)
    source: Mapping[str, Sentence] = field(default_factory=dict)


_OPTIONS = tuple(one.name for one in fields(_Options))


@dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """Facts about a data set: where it comes from, what may be done with it, what it should hold."""

    name: Name
    title: Sentence
    role: Role
    population: Population
    summary: str
    address: str  # where to apply for the data
    access: str  # "open", "registration", ...
    licence: str
    forbids: str  # what the licence does not allow, "" for nothing
    citation: str
    bibtex: tuple[str, ...] = ()  # entries of the same
    layout: str  # the expected folders and file names, in words
    layout_confidence: str  # V seen, D documented, C from working loaders, M from memory
    contrasts: Annotated[tuple[Contrast, ...], Meta(min_length=1, max_length=20)]
    space: Space  # a subject may differ
    skull_stripped: bool
    # Where the stored axes of files that do not say it point (Analyze), such as "LAS"; a header's own
    # statement in such a file is not believed. Voxel sizes are the header's.
    analyze_orientation: str | None = None
    protocol: str = "uad-1"
    version: Annotated[int, Meta(ge=1, le=10**6)] = 1  # raised where other scans or labels would be scored
    headline: Headline = "raw"  # the profile that ranks
    lesion_labels: tuple[Label, ...] = (1,)
    ignore_labels: tuple[Label, ...] = ()  # neither hit nor false
    other_labels: tuple[Label, ...] = ()  # legal values that are background
    label_meaning: str = ""
    # Fractions of subjects; what is left of 1 goes to the last partition.
    healthy_split: Mapping[str, Share] = field(default_factory=dict)  # train, val (rest: test)
    lesion_split: Mapping[str, Share] = field(default_factory=dict)  # val (rest: test)
    # Part of the release -> partition, where its publishers have divided it; goes before the fractions.
    published_split: Mapping[str, str] = field(default_factory=dict)
    # The healthy subjects are the patients' lesion-free slices: `healthy_split` holds for both, and of the
    # subjects who are learned from nothing is tested.
    within: bool = False
    expected: Mapping[str, Count] = field(default_factory=dict)  # subjects by contrast
    exclusions: Mapping[str, str] = field(default_factory=dict)  # subject id -> reason
    partners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # contrast -> healthy sets

    def __post_init__(self) -> None:
        """Refuse, with a ValueError, what one key alone cannot show."""
        axes = self.analyze_orientation
        if axes is not None and sorted(AXES.get(letter, letter) for letter in axes) != ["A", "R", "S"]:
            raise ValueError(
                f"analyze_orientation expects three letters, one of each pair R or L, A or P, S or I, "
                f"got '{axes}'"
            )
        for key in ("healthy_split", "lesion_split"):
            shares: Mapping[str, float] = getattr(self, key)
            if not set(shares) <= {"train", "val"} or sum(shares.values()) > 1:
                raise ValueError(
                    f"{key} expects shares of train and val that add up to 1 at most, got {dict(shares)}"
                )
        for key in ("expected", "partners"):
            if surplus := sorted(set(getattr(self, key)) - set(self.contrasts)):
                raise ValueError(f"{key} names {', '.join(surplus)}, which contrasts does not")
        labels = [*self.lesion_labels, *self.ignore_labels, *self.other_labels]
        if len(set(labels)) < len(labels):
            raise ValueError("lesion_labels, ignore_labels and other_labels give one label two meanings")


def contrast_named(name: str) -> str:
    """A contrast by the name that the project has for it: T1 after contrast agent has several."""
    return "T1c" if name.lower() in ("t1ce", "t1post", "t1gd") else name


def spelled(name: str, there: Iterable[str]) -> str | None:
    """A contrast as it is spelled there, whatever its case or other name; None where it is not there."""
    return next((one for one in there if one.lower() == contrast_named(name).lower()), None)


def contrast_of(card: DatasetCard, name: str) -> str:
    """A contrast as a data set's card spells it; an unknown one is a UserError."""
    found = spelled(name, card.contrasts)
    if found is None:
        raise unknown("contrast", name, card.contrasts, of=card.name)
    return found


# ---- reading -----------------------------------------------------------------------------------


def _state(path: Path) -> tuple[int, int]:
    """When a file was changed (ns), and its bytes: a card is read again when one of them is another."""
    try:
        state = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    return state.st_mtime_ns, state.st_size


@cache
def _read_dataset(path: Path, changed_ns: int, size: int) -> DatasetCard:
    """The card of a data set; a mistake in it is a UserError that names the file."""
    return toml.typed(DatasetCard, toml.parse(path) | {"name": path.parent.name}, str(path))


@cache
def _read_methods(path: Path, changed_ns: int, size: int) -> dict[str, MethodCard]:
    """The cards of all rows of a folder; a mistake in one of them is a UserError that names the file."""
    facts, folder = toml.parse(path), path.parent.name
    rows = toml.typed(dict[str, dict[str, Any]], facts.pop("row", {}), f"[row] of {path}")
    for where, table in (("", facts), *((f"[row.{name}] of ", own) for name, own in rows.items())):
        toml.typed(_Options, {k: v for k, v in table.items() if k in _OPTIONS}, f"{where}{path}")
    for name in rows:
        if not catalog.NAME.fullmatch(name):
            raise UserError(f"{path}: a name expects letters, digits, _ and -, got {name!a}.")
    return {
        name: toml.typed(MethodCard, _row(facts, own) | {"name": name, "folder": folder}, str(path))
        for name, own in {folder: {}, **rows}.items()
    }


def _row(facts: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of one row of a folder: the folder's, and over them the row's own."""
    chosen = own.get("set", {})
    shared, apart = facts.get("preset", {}), own.get("preset", {})
    presets = {
        preset: shared.get(BASES.get(preset), {}) | shared.get(preset, {}) | chosen | apart.get(preset, {})
        for preset in PRESETS
    }
    smoke = facts.get("smoke", {}) | chosen | own.get("smoke", {})
    source = facts.get("source", {}) | own.get("source", {})
    return {**facts, **own, "preset": presets, "smoke": smoke, "source": source}


def _all_methods() -> tuple[dict[str, MethodCard], dict[str, UserError]]:
    """The card of every row, and what is wrong with the others, by the name of row or folder."""
    found: dict[str, MethodCard] = {}
    wrong: dict[str, UserError] = {}
    folders = catalog.there("methods")
    for folder in sorted(folders):
        path = folders[folder] / "card.toml"
        try:
            rows = _read_methods(path, *_state(path))
        except UserError as error:
            wrong[folder] = error
            continue
        for name, card in rows.items():
            first = found.setdefault(name, card)
            if first.folder != folder:
                other = folders[first.folder] / "card.toml"
                wrong[name] = UserError(f"{path} and {other} both have a row '{name}': rename one of them.")
    return {name: card for name, card in sorted(found.items()) if name not in wrong}, wrong


def method_card(name: str) -> MethodCard:
    """The card of a row; an unknown name lists what there is."""
    found, wrong = _all_methods()
    if name in wrong:
        raise wrong[name]
    check_known("method", name, found)
    return found[name]


def method_cards() -> dict[str, MethodCard]:
    """The cards of all rows of all method folders by name, without those that cannot be read."""
    return _all_methods()[0]


def method_names() -> list[str]:
    """All rows of all method folders, sorted."""
    return list(method_cards())


def all_methods() -> tuple[dict[str, MethodCard], list[str]]:
    """The cards of all rows by name, and what is wrong with the others."""
    found, wrong = _all_methods()
    return found, sorted({str(error) for error in wrong.values()})


def dataset_card(name: str) -> DatasetCard:
    """The card of a data set; an unknown name lists what there is."""
    path = catalog.locate("datasets", name) / "card.toml"
    return _read_dataset(path, *_state(path))


def all_datasets() -> tuple[dict[str, DatasetCard], list[str]]:
    """The cards of all data sets by name, and what is wrong with the others."""
    found: dict[str, DatasetCard] = {}
    wrong: set[str] = set()
    for name in catalog.names("datasets"):
        try:
            found[name] = dataset_card(name)
        except UserError as error:
            wrong.add(str(error))
    return found, sorted(wrong)
