"""The parts of a record, each a type with its bounds: a file that differs is refused by name."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from uadbench.system.text import CONTROL

_SHOWN = rf"[^{CONTROL}]*\Z"
Text: TypeAlias = Annotated[str, Meta(max_length=4000, pattern=rf"^{_SHOWN}")]
Key: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200, pattern=rf"^{_SHOWN}")]
# A part of a path: no way out of the results folder.
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200, pattern=rf"^(?![.])[^/\\{CONTROL}]+\Z")]
Digest: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Size: TypeAlias = Annotated[float, Meta(ge=0, le=1e15)]  # of a volume, a time, an error
Number: TypeAlias = Annotated[float, Meta(ge=-3.5e38, le=3.5e38)]  # a score: any float32
Option: TypeAlias = bool | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | Number | Text | None
# No patterns here: msgspec 0.22 frees memory twice where a union holds a text with a pattern and a list.
# `RunRecord` looks at these texts itself.
_Loose: TypeAlias = Annotated[str, Meta(max_length=4000)]
_Value: TypeAlias = bool | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | Number | _Loose | None
Setting: TypeAlias = _Value | Annotated[list[_Value], Meta(max_length=1000)]


class Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Typed facts: nothing unknown in them; what has its default is left out of the file."""


class Part(Facts, frozen=True, kw_only=True):
    """A partition as it was planned."""

    subjects: Count
    persons: Count
    hash: Digest  # of who is in it


class Exclusion(Facts, frozen=True, kw_only=True):
    """Who was found but takes no part, and why; of a planned partition with what its hash is made of."""

    partition: Key
    id: Key
    reason: Text
    cohort: Key | None = None
    person: Key | None = None
    session: Key | None = None


class SplitList(Facts, frozen=True, kw_only=True):
    """The list of who of a data set is where."""

    rule: Key
    sha256: Digest


class SplitRule(Facts, frozen=True, kw_only=True):
    """The rule of the split that was asked for, and the lists by data set."""

    asked: Key = "published"
    lists: dict[Key, SplitList] = {}


class Preparation(Facts, frozen=True, kw_only=True):
    """How the scans that take part were prepared, see `uadbench.preprocessing.prepare`."""

    options: dict[Key, Option] = {}
    versions: dict[Key, Option] = {}
    brains: dict[Key, dict[Key, Count]] = {}  # by partition: in which ways, and how often
    flagged: dict[Key, Count] = {}  # scans by partition


class Stage(Facts, frozen=True, kw_only=True):
    """What a stage of the run took."""

    seconds: Size
    peak_memory_mb: Size
    peak_device_mb: Size | None = None  # of a GPU's memory, by torch's tensors
    trainings: dict[Key, Size] | None = None  # seconds of each training of a fit that has several


class PiecesFile(Facts, frozen=True, kw_only=True):
    """The file beside the record that holds its pieces."""

    file: Name
    sha256: Digest


class Elsewhere(Facts, frozen=True, kw_only=True):
    """Of maps that were made elsewhere: what is known of them. Nothing of their training is."""

    kind: Key  # "maps" or "masks"
    own_truth: bool  # held against lesion masks of one's own, not those of a data set of the benchmark
    untrained: bool = False  # stated: nothing was learned from healthy scans
    maps_sha256: Digest  # of all scores
    remarks: Annotated[list[Text], Meta(max_length=1000)] = []


class ImplantedResult(Facts, frozen=True, kw_only=True):
    """What was asked of the lesions that were put into a healthy scan (protocol, rule 18)."""

    ml: Size  # of each of them
    contrast: Number | None = None  # contrast-to-noise; None: the level of grey matter


class SubjectResult(Facts, frozen=True, kw_only=True):
    """One scored scan. Sizes are in millilitres, or in pixels where slices have no geometry."""

    id: Key
    cohort: Key
    person: Key
    session: Key
    partition: Key
    site: Text | None
    sex: Text | None
    age: Annotated[float, Meta(ge=0, le=150)] | None
    lesion_kind: Key | None
    implanted: ImplantedResult | None = None
    voxels: Count  # that were evaluated
    lesion_ml: Size | None = None  # the patient's own
    lesion_ml_outside_counted_slices: Size | None = None
    lesion_pixels: Size | None = None
    lesion_pixels_outside_counted_slices: Size | None = None
    template_scale: Annotated[float, Meta(gt=0, le=1000)] = 1.0  # template volume over the patient's own
    voxel_ml: Annotated[float, Meta(gt=0, le=10)] | None = None  # of scans measured on their own voxels
    flags: Annotated[list[Text], Meta(max_length=100)] = []  # of the preparation
    scan_score: Number | None = None
    slice_scores: Annotated[list[Number], Meta(max_length=100_000)] | None = None
    slice_lesion: Annotated[list[bool], Meta(max_length=100_000)] | None = None
    intensity: Annotated[list[Number], Meta(max_length=100)] | None = None  # for the shortcut control
    draw_spread: Size | None = None  # standard deviation of its AP (healthy: of its score) over draws
    ap: dict[Key, Share]  # by profile
    auroc: dict[Key, Share]
    dsc: dict[Key, dict[Key, Share | None]]  # by profile and operating point
    restoration_l1: Size | None = None
    restoration_ssim: Annotated[float, Meta(ge=-1, le=1)] | None = None
    residual_ratio: Size | None = None

    @property
    def lesion_size(self) -> float:
        """Millilitres or pixels of lesion."""
        return self.lesion_ml or self.lesion_pixels or 0.0


class Pooled(Facts, frozen=True, kw_only=True):
    """Figures of the pooled voxels of some subjects; None where they are undefined."""

    ap: Share | None
    ap_error: Share | None
    auroc: Share | None
    auroc_error: Share | None
    prevalence: Share | None


class Group(Pooled, frozen=True, kw_only=True):
    """Pooled figures of a group of the lesion-test scans."""

    subjects: Count


class SizeBand(Facts, frozen=True, kw_only=True):
    """Lesions of one size at an operating point."""

    lesions: Count
    recall: Share | None
    false_components: Size | None


class OperatingPoint(Facts, frozen=True, kw_only=True):
    """Figures at one frozen threshold (protocol, rules 3, 10 and 11)."""

    threshold: Number | None
    dsc: Share | None
    dsc_mean: Share | None
    fpr_lesion_test: Share | None
    fpr_healthy_test: Share | None
    healthy_false_ml: Size | None = None
    healthy_false_pixels: Size | None = None
    recall: Share | None
    false_components: Size | None
    by_size: dict[Key, SizeBand]
    ceiling: Share | None = None


class Profile(Pooled, frozen=True, kw_only=True):
    """Figures after one post-processing profile."""

    ap_mean: Share | None
    kinds: dict[Key, Group]
    points: dict[Key, OperatingPoint]
    unflagged: Group | None = None  # without the flagged scans; None where no scan is flagged


class ScanLevel(Facts, frozen=True, kw_only=True):
    """Whole scans against each other."""

    auroc: Share | None
    rule: Text


class SliceLevel(Facts, frozen=True, kw_only=True):
    """Slices against each other, where these stand alone."""

    auroc_slice: Share | None
    rule: Text
    lesion_free: Count
    with_lesion: Count


class Restoration(Facts, frozen=True, kw_only=True):
    """Quality of the pseudo-healthy volumes; empty for methods that make none."""

    healthy_l1: Size | None = None
    healthy_ssim: Annotated[float, Meta(ge=-1, le=1)] | None = None
    residual_ratio: Size | None = None


class DrawSpread(Facts, frozen=True, kw_only=True):
    """How far AP moves from one draw of the scores to another."""

    subject: Size  # deviation of a scan's own AP, mean over scans
    ap_mean: Size  # deviation of the mean over scans


class Summary(Facts, frozen=True, kw_only=True):
    """Everything a row shows; a function of subjects, thresholds and pieces."""

    subjects: dict[Key, Count]  # by partition
    empty_masks: Count
    scan: ScanLevel
    slice: SliceLevel | None = None
    restoration: Restoration
    draw_spread: DrawSpread | None = None  # None with one draw
    profiles: dict[Key, Profile]


# ---- rounding -----------------------------------------------------------------------------------

# A scan's score orders scans, at whatever magnitude a method's scores have; an option is what was set, small
# as it may be; a float32 threshold comes back as it was from 9 significant digits; anything else is read by
# people.
_EXACT = {
    "parameters": 17,
    "threshold": 9,
    "thresholds": 9,
    "scan_score": 17,
    "slice_scores": 17,
    "intensity": 9,
    "voxel_ml": 9,
}


def round_facts(value: Any, digits: int | None = None) -> Any:
    """Floats at 6 decimals, or at so many significant digits, so that a diff shows what moved."""
    if isinstance(value, float):
        return round(value, 6) if digits is None else float(f"{value:.{digits}g}")
    if isinstance(value, Mapping):
        return {key: round_facts(item, _EXACT.get(key, digits)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [round_facts(item, digits) for item in value]
    return value
