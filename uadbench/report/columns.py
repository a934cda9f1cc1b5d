"""Columns: every number that a row of the leaderboard may show, what it means, and how it is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from uadbench.data.sizes import PIXELS, VOLUMES
from uadbench.evaluation.regions import REGIONS
from uadbench.evaluation.uncertainty import Sampled
from uadbench.protocol import GIVEN, PROFILES
from uadbench.report import further, sweeps
from uadbench.report.evidence import Evidence
from uadbench.report.further import Figure
from uadbench.report.sweeps import FROC_LEVELS
from uadbench.system.errors import UserError


@dataclass(frozen=True)
class Column:
    """One number of a row and what it means."""

    name: str
    title: str
    meaning: str
    main: bool = True  # shown on a narrow screen too
    figure: Figure | None = None  # how it is made of the score histograms; None: it stands in the summary
    standard: bool = False  # shown unless other columns are asked for
    sortable: bool = True  # more is better
    share: bool = True  # in [0, 1]: others have no interval


AP_TITLES = {
    "raw": "AP without post-processing",
    "median3": "AP with median 3 mm",
    "baur5": "AP with post-processing",
}
POINTS = {
    "oracle": ("best threshold (oracle)", "the best single threshold on the test set, an oracle"),
    "val": ("val threshold", "the threshold frozen on lesion-val"),
    "fpr1": ("1 % FPR", "the threshold frozen at 1 % false positives on healthy-val"),
    "fpr5": ("5 % FPR", "the threshold frozen at 5 % false positives on healthy-val"),
    GIVEN: ("given mask", "the mask as it was made elsewhere"),
}
AT_POINTS = {  # name: title, meaning
    "dsc_mean": ("Mean Dice", "mean over subjects of Dice"),
    "lesion_f1": ("Lesion F1", "2 found / (found + lesions + false components) over all scans"),
    "recall": ("Lesion recall", "share of lesions found"),
    "false_components": ("False components", "false components a scan with lesions"),
    "fpr_healthy": ("FPR on controls", "realised false-positive rate on healthy-test scans"),
    "fpr_lesion": ("FPR on patients", "realised false-positive rate on the non-lesion voxels of lesion-test"),
    "alarms_scan": ("Scans with false alarm", "share of healthy-test scans with an alarm"),
    "alarms_slice": ("Slices with false alarm", "share of patients' lesion-free slices with an alarm"),
    "kept": ("Dice kept", "Dice as a share of the best-threshold Dice: how well the threshold transfers"),
    "nsd": ("NSD 2 mm", "normalised surface Dice at 2 mm, mean over subjects"),
}
NOT_RANKED = (
    "false_components",
    "fpr_healthy",
    "fpr_lesion",
    "alarms_scan",
    "alarms_slice",
)  # less is better
STANDARD_AT = (("lesion_f1", "fpr1"), ("recall", "fpr1"), ("alarms_slice", "fpr1"))
BESIDE_DICE = ("alarms", "fpr_realised")  # Dice is never shown without false alarms (protocol, rule 11)
OPERATING_POINT = "the operating point (1 % FPR, else val, else oracle)"


def _at_points() -> list[Column]:
    return [
        Column(
            f"{name}_{point}",
            f"{title} @ {where}",
            f"{meaning}, at {rule}",
            main=False,
            figure=further.at(point, further.AT_POINTS[name]),
            standard=(name, point) in STANDARD_AT,
            sortable=name not in NOT_RANKED,
            share=name != "false_components",
        )
        for name, (title, meaning) in AT_POINTS.items()
        for point, (where, rule) in POINTS.items()
        if (name, point) not in (("kept", "oracle"), ("kept", GIVEN))
    ]


def _by_size() -> list[Column]:
    """AP by lesion size; of slices without geometry sizes are in pixels."""
    both = [f"{ml}, or {pixels}" for ml, pixels in zip(VOLUMES.bands, PIXELS.bands, strict=True)]
    found = []
    for band, (name, words) in enumerate(zip(("tiny", "small", "medium", "large"), both, strict=True)):
        of_lesions, of_scans = (
            partial(figure, band) for figure in (sweeps.ap_of_lesions, sweeps.ap_of_scans_with)
        )
        title = VOLUMES.bands[band]
        found += [
            Column(
                f"ap_lesions_{name}",
                f"AP of lesions {title}",
                f"mean over subjects of the AP of their lesions of {words}",
                figure=of_lesions,
            ),
            Column(
                f"ap_scans_{name}",
                f"AP of scans with {title}",
                f"AP over the scans whose lesions measure {words} all in all",
                figure=of_scans,
            ),
        ]
    return found


def _froc() -> list[Column]:
    title = "Sensitivity @ {} FP a scan"
    meaning = "share of lesions found at {} false components a scan"
    levels = [
        Column(
            f"froc_{level:g}",
            title.format(f"{level:g}"),
            meaning.format(f"{level:g}"),
            figure=partial(sweeps.froc, (level,)),
        )
        for level in FROC_LEVELS
    ]
    mean = "mean of the sensitivities at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false components a scan"
    return [Column("froc", "FROC", mean, figure=partial(sweeps.froc, FROC_LEVELS)), *levels]


def _places() -> list[Column]:
    return [
        Column(
            f"fp_{region.replace(' ', '_')}",
            f"FP in {region}",
            f"share of the false-positive voxels that are in: {region}, at {OPERATING_POINT}",
            figure=further.at("", partial(further.false_positives_in, number)),
            sortable=False,
        )
        for number, region in enumerate(REGIONS)
    ]


COLUMNS = (
    *[
        Column(
            f"ap_{profile}",
            AP_TITLES.get(profile, f"AP after {profile}"),
            "average precision over all voxels"
            + (", of the map as the method emits it" if profile == "raw" else f", after `{profile}`"),
            standard=True,
        )
        for profile in PROFILES
    ],
    Column(
        "ap_unflagged",
        "AP unflagged",
        "the headline AP without the scans that preparation flagged",
        standard=True,
    ),
    Column(
        "ap_mean", "Mean AP", "mean over subjects of their own headline AP", main=False, standard=True
    ),
    Column("auroc", "AUROC", "over all voxels, after the headline profile", main=False, standard=True),
    Column(
        "dsc_oracle",
        "Best-threshold Dice (oracle)",
        "Dice at the best single threshold on the test set: an oracle",
        standard=True,
    ),
    Column(
        "dsc_val", "Dice @ val threshold", "Dice at the threshold frozen on lesion-val", main=False,
        standard=True,
    ),
    Column("dsc_fpr1", "Dice @ 1 % FPR", "Dice at 1 % false positives on healthy-val", standard=True),
    Column(
        "dsc_fpr5", "Dice @ 5 % FPR", "Dice at 5 % false positives on healthy-val", main=False,
        standard=True,
    ),
    Column(
        f"dsc_{GIVEN}",
        "Dice @ given mask",
        "Dice of masks that were made elsewhere, as they came",
        standard=True,
    ),
    Column(
        "alarms",
        "False alarms",
        f"share of healthy-test scans (where there are none: of patients' lesion-free slices) with an alarm, "
        f"at {OPERATING_POINT}",
        figure=further.at("", further.alarms),
        sortable=False,
        standard=True,
    ),
    Column(
        "fpr_realised",
        "FPR realised",
        "false-positive rate on healthy-test (where there are none: on non-lesion voxels of lesion-test), "
        f"at {OPERATING_POINT}: at 1 % FPR it was asked to be .010",
        main=False,
        figure=further.at("", further.realised_rate),
        sortable=False,
        standard=True,
    ),
    Column(
        "auroc_scan",
        "Scan-level AUROC",
        "healthy-test against lesion-test scans, mean of their top 1 %",
        standard=True,
    ),
    Column(
        "auroc_slice",
        "Slice-level AUROC",
        "lesion-free against lesion slices of patients, by their top 1 %",
        standard=True,
    ),
    *_at_points(),
    Column(
        "dsc_subjects",
        "Dice @ own thresholds (oracle)",
        "mean over subjects of Dice at each one's own best threshold: an oracle",
        figure=sweeps.best_dice_of_subjects,
    ),
    *[
        Column(
            f"dsc_realised{percent}",
            f"Dice @ {percent} % realised FPR",
            f"Dice where {percent} % of the non-lesion voxels of lesion-test are called: an oracle",
            figure=partial(sweeps.dice_at_realised, percent / 100),
        )
        for percent in (1, 5)
    ],
    Column(
        "ap_scan",
        "Scan-level AP",
        "average precision of healthy-test against lesion-test scans, mean of their top 1 %",
        figure=further.scan_ap,
    ),
    Column(
        "sensitivity_scan",
        "Scan-level sensitivity",
        "share of lesion-test scans found where at most 5 % of healthy-test scans are",
        figure=further.scan_sensitivity,
    ),
    *_froc(),
    Column(
        "aupro",
        "AUPRO",
        "area under mean overlap with each lesion by false-positive rate, up to 30 %",
        figure=sweeps.aupro,
    ),
    *_by_size(),
    *_places(),
    Column(
        "draw_spread",
        "Monte-Carlo SD of AP",
        "standard deviation of the mean AP from one draw of the method's noise to another",
        figure=further.draw_spread,
        share=False,
        sortable=False,
    ),
)  # fmt: skip
BY_NAME = {column.name: column for column in COLUMNS}
SORTABLE = ("ap", *[column.name for column in COLUMNS if column.sortable])  # `ap`: of the headline profile
STANDARD = tuple(column.name for column in COLUMNS if column.standard)


def figure_of(name: str, evidence: Evidence) -> Sampled | None:
    """The figure of a column that is made of a record's evidence; one that was made is not made again."""
    if name not in evidence.further:
        figure = BY_NAME[name].figure
        evidence.further[name] = figure and figure(evidence)
    return evidence.further[name]


def choose_columns(asked: Sequence[str]) -> tuple[str, ...]:
    """Names of columns as they were asked for, in the leaderboard's order; nothing asked: the standard set.

    `all` is every column; beside Dice false alarms are never left out. An unknown name is a UserError.
    """
    names = [name.strip() for text in asked for name in text.split(",") if name.strip()]
    available = ("all", "standard", "ap", *BY_NAME)
    for name in names:
        if name not in available:
            raise UserError(f"--columns got '{name}'; available are {', '.join(available)}.")
    if not names:
        return STANDARD
    chosen = set(names)
    if "all" in chosen:
        chosen |= set(BY_NAME)
    if "standard" in chosen:
        chosen |= set(STANDARD)
    if "ap" in chosen:
        chosen |= {f"ap_{profile}" for profile in PROFILES}
    if any(name.startswith(("dsc", "nsd", "kept")) for name in chosen):
        chosen |= set(BESIDE_DICE)
    return tuple(name for name in BY_NAME if name in chosen)
