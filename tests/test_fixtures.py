"""Fixtures: every data set's adapter, verify and prepare on simulated subjects, layouts and corruptions."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from uadbench import cards, catalog, datasets, testing
from uadbench.cli import app
from uadbench.data import layout, splits
from uadbench.data.session import Session
from uadbench.data.space import GRIDS
from uadbench.data.splits import find_partition
from uadbench.datasets import Found
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.run import run
from uadbench.preprocessing import labels, scan
from uadbench.preprocessing.labels import Labels
from uadbench.preprocessing.prepare import prepare
from uadbench.preprocessing.verify import Report, verify
from uadbench.system.errors import UserError
from uadbench.system.progress import Silent
from uadbench.testing import heads
from uadbench.testing.corruptions import CORRUPTIONS
from uadbench.testing.name_corruptions import NAME_CORRUPTIONS

NINE = ["atlas2", "brats21", "camcan", "isles22", "ixi", "mslub", "msseg16", "oasis1", "wmh17"]
ALL = sorted([*NINE, "brats13", "labelmaps"])
SCANNED = [name for name in ALL if name != "labelmaps"]  # its scans are drawn: tests/test_labelmaps.py
HEALTHY = ["camcan", "ixi", "labelmaps", "oasis1"]

# (data set, layout) -> the ids of three subjects, sorted
IDS = {
    ("atlas2", "R001"): ["sub-r001s003_ses-1", "sub-r002s001_ses-1", "sub-r003s002_ses-1"],
    ("atlas2", "no site folders"): ["sub-r001s003_ses-1", "sub-r002s001_ses-1", "sub-r003s002_ses-1"],
    ("brats13", "brats_2013"): ["pat0001_1", "pat0002_1", "pat0003_1"],
    ("brats21", "2021"): ["BraTS2021_00012", "BraTS2021_00013", "BraTS2021_00014"],
    ("brats21", "2020"): ["BraTS20_Training_012", "BraTS20_Training_013", "BraTS20_Training_014"],
    ("brats21", "2023"): ["BraTS-GLI-00012-000", "BraTS-GLI-00013-000", "BraTS-GLI-00014-000"],
    ("camcan", "archive"): ["sub-CC110001", "sub-CC110002", "sub-CC110003"],
    ("camcan", "subjects"): ["sub-CC110001", "sub-CC110002", "sub-CC110003"],
    ("isles22", "rawdata"): [f"sub-strokecase000{n}_ses-0001" for n in (1, 2, 3)],
    ("isles22", "anat and dwi"): [f"sub-strokecase000{n}_ses-0001" for n in (1, 2, 3)],
    ("ixi", "IXI-T1"): ["IXI001-Guys-0801", "IXI002-IOP-0802", "IXI003-HH-0803"],
    ("ixi", "one folder"): ["IXI001-Guys-0801", "IXI002-IOP-0802", "IXI003-HH-0803"],
    ("ixi", "T1"): ["IXI001-Guys-0801", "IXI002-IOP-0802", "IXI003-HH-0803"],
    ("mslub", "official"): ["patient01", "patient02", "patient03"],
    ("mslub", "coregistered"): ["patient01", "patient02", "patient03"],
    ("mslub", "coregistered_resampled"): ["patient01", "patient02", "patient03"],
    ("mslub", "MNI"): ["patient01", "patient02", "patient03"],
    ("mslub", "raw"): ["patient01", "patient02", "patient03"],
    ("msseg16", "Training and Testing"): [
        "Testing_Center_07_Patient_02",
        "Training_Center_01_Patient_03",
        "Training_Center_07_Patient_01",
    ],
    ("msseg16", "centres"): ["Center_01_Patient_03", "Center_07_Patient_01", "Center_07_Patient_02"],
    ("msseg16", "patients"): ["Patient_01", "Patient_02", "Patient_03"],
    ("oasis1", "discs"): ["OAS1_0014_MR1", "OAS1_0015_MR1", "OAS1_0016_MR1"],
    ("oasis1", "sessions"): ["OAS1_0014_MR1", "OAS1_0015_MR1", "OAS1_0016_MR1"],
    ("oasis1", "one folder"): ["OAS1_0014_MR1", "OAS1_0015_MR1", "OAS1_0016_MR1"],
    ("wmh17", "training and test"): ["Amsterdam-GE3T-3", "Singapore-2", "Utrecht-1"],
    ("wmh17", "older"): ["Amsterdam-GE3T-3", "Singapore-2", "Utrecht-1"],
    ("wmh17", "orig"): ["Amsterdam-GE3T-3", "Singapore-2", "Utrecht-1"],
}
TARGETS = {  # the second person of the usual layout, whom a single corruption befalls
    "atlas2": "sub-r003s002_ses-1",
    "brats13": "pat0002_1",
    "brats21": "BraTS2021_00013",
    "camcan": "sub-CC110002",
    "isles22": "sub-strokecase0002_ses-0001",
    "ixi": "IXI002-IOP-0802",
    "mslub": "patient02",
    "msseg16": "Testing_Center_07_Patient_02",
    "oasis1": "OAS1_0015_MR1",
    "wmh17": "Singapore-2",
}
SPACES = {("mslub", "raw"): "native", ("wmh17", "orig"): "native"}  # unlike the card's
KINDS = {"atlas2": "stroke", "brats13": "glioma", "brats21": "glioma", "isles22": "stroke"}
KINDS |= {"mslub": "ms", "msseg16": "ms", "wmh17": "wmh"}
LABELS = {"brats13": [1, 2, 3, 4], ("brats21", "2023"): [1, 2, 3], "brats21": [1, 2, 4], "wmh17": [1, 2]}

Maker = Callable[..., Found]


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    """Write a fixture of three subjects and find what lies there."""

    def made(name: str, *corruptions: str, layout: str | None = None, sessions: int = 3) -> Found:
        root = tmp_path / f"{name} {len(list(tmp_path.iterdir()))}"
        testing.write_fixture(name, root, subjects=sessions, corruptions=corruptions, layout=layout)
        return datasets.find_sessions(name, root)

    return made


def check(found: Found) -> Report:
    return verify(found, 1, Silent())


def by_id(found: Found) -> dict[str, Session]:
    return {session.id: session for session in found.sessions}


def voxels(session: Session, contrast: str) -> NDArray[np.float32]:
    return np.asarray(scan.read_scan(session.images[contrast], session.orientation).array)


# ---- layouts -----------------------------------------------------------------------------------


def test_every_data_set_that_is_downloaded_has_a_fixture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(catalog.PLUGINS_VARIABLE, raising=False)
    assert testing.fixture_names() == sorted([*ALL, "lgg"])  # lgg: slices, see test_lgg.py
    assert sorted(IDS) == sorted(
        (name, variant) for name in SCANNED for variant in testing.fixture_layouts(name)
    )


@pytest.mark.parametrize(("name", "variant"), IDS, ids=lambda value: value)
def test_every_layout_gives_the_subjects_that_were_written(name: str, variant: str, make: Maker) -> None:
    found = make(name, layout=variant)
    card = found.card
    assert [session.id for session in found.sessions] == IDS[name, variant]
    assert len({session.subject for session in found.sessions}) == 3
    assert found.left_out == ()
    for session in found.sessions:
        assert sorted(session.images) == sorted(card.contrasts)
        assert session.healthy == (name in HEALTHY)
        assert session.lesion_kind == KINDS.get(name)
        assert session.space == SPACES.get((name, variant), card.space)
        assert session.skull_stripped == (card.skull_stripped or variant == "MNI")
        assert session.skull_stripped or all(session.mask_of(c) for c in session.images)
        assert (session.lesion_mask is None) == session.healthy
        if session.lesion_mask is not None:
            values = np.unique(scan.read_labels(session.lesion_mask).array).tolist()
            assert values == [0, *LABELS.get((name, variant), LABELS.get(name, [1]))]
    report = check(found)
    assert report.problems == ()
    if session.mask_contrast is None or session.space != "native":
        assert report.remarks == ()
    else:  # the other contrasts lie on other voxels than the mask
        assert all("brought over through world coordinates" in r.reason for r in report.remarks)


@pytest.mark.parametrize("name", NINE)
def test_six_subjects_fill_every_partition(name: str, make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = heads.Stored(np.zeros((2, 2, 2), np.uint8), np.eye(4))  # who is where needs no voxels
    monkeypatch.setattr(heads, "show_picture", lambda *_: empty)
    found = make(name, sessions=6)
    parts = splits.split_sessions(found.sessions, found.card)
    wanted = {"healthy-train": 3, "healthy-val": 1, "healthy-test": 1} if name in HEALTHY else {}
    for part, least in (wanted or {"lesion-val": 1, "lesion-test": 3}).items():
        assert len(parts[part]) >= least


def test_ages_and_sexes_come_from_the_tables(make: Maker) -> None:
    for name in ("camcan", "ixi", "oasis1"):
        assert all(s.age is not None and s.sex in ("F", "M") for s in make(name).sessions)


@pytest.mark.thorough
@pytest.mark.parametrize("name", SCANNED)
def test_the_first_contrast_of_every_data_set_is_prepared(name: str, make: Maker, tmp_path: Path) -> None:
    found = make(name, sessions=1)
    contrast = found.card.contrasts[0]
    cohort = prepare(found.sessions, contrast, GRIDS["g48"], found.card, tmp_path / "cache", 1, Silent())
    assert cohort.failures == ()
    (item,) = cohort.prepared
    assert 1500 < item.facts["brain_ml"] < 2300  # the template's has 1900
    assert (item.facts["lesion_ml"] > 1) == (name not in HEALTHY)
    assert (item.facts["registration"] is None) == (found.card.space == "MNI152")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), IDS, ids=lambda value: value)
def test_every_contrast_of_every_layout_is_prepared(
    name: str, variant: str, make: Maker, tmp_path: Path
) -> None:
    found = make(name, layout=variant, sessions=2)
    for contrast in found.card.contrasts:
        cohort = prepare(found.sessions, contrast, GRIDS["g48"], found.card, tmp_path / "cache", 2, Silent())
        assert cohort.failures == ()


def test_another_pathology_of_wmh17_is_neither_hit_nor_false(make: Maker) -> None:
    found = make("wmh17", sessions=1)
    (session,) = found.sessions
    assert session.ignore_mask == session.lesion_mask
    lesion, ignored = labels.read_lesion(session, Labels.of(found.card))
    stored = scan.read_scan(Path(str(session.lesion_mask))).array
    assert lesion is not None
    assert ignored is not None
    np.testing.assert_array_equal(lesion.array, stored == 1)
    np.testing.assert_array_equal(ignored.array, stored == 2)


def test_the_folder_of_wmh17_with_a_space_and_dots_is_a_site(make: Maker) -> None:
    found = make("wmh17", sessions=5)
    (there,) = found.root.glob("training/Amsterdam/Philips_VU .PETMR_01./5")
    assert by_id(found)["Amsterdam-Philips_VU_PETMR_01-5"].lesion_mask == there.absolute() / "wmh.nii.gz"


@pytest.mark.parametrize(
    ("name", "parts"), [("wmh17", ("training", "test")), ("msseg16", ("training", "testing"))]
)
def test_the_published_parts_of_a_challenge_are_its_partitions(
    name: str, parts: tuple[str, str], make: Maker
) -> None:
    found = make(name)  # the first and third person are in the first part
    assert sorted(str(s.part) for s in found.sessions) == sorted([parts[0], parts[1], parts[0]])
    homes = {
        s.id: part
        for part, members in splits.split_sessions(found.sessions, found.card).items()
        for s in members
    }
    assert homes == {
        s.id: {parts[0]: "lesion-val", parts[1]: "lesion-test"}[str(s.part)] for s in found.sessions
    }
    assert {s.part for s in make(name, layout=testing.fixture_layouts(name)[1]).sessions} == {None}


def test_the_lesions_of_isles22_belong_to_the_dwi_and_its_flair_has_moved(make: Maker) -> None:
    for session in make("isles22").sessions:
        assert session.mask_contrast == "DWI"
        assert session.lesion_mask is not None
        lesion = scan.read_scan(session.lesion_mask)
        dwi, adc, flair = (scan.read_scan(session.images[c]) for c in ("DWI", "ADC", "FLAIR"))
        assert dwi.same_lattice(lesion)
        assert adc.same_lattice(lesion)
        assert not flair.same_lattice(lesion)
        masks = [scan.read_scan(Path(str(session.mask_of(c)))) for c in ("DWI", "FLAIR")]
        centres = [m.affine[:3, :3] @ np.argwhere(m.array > 0).mean(0) + m.affine[:3, 3] for m in masks]
        np.testing.assert_allclose(centres[1] - centres[0], (3, -4, 2), atol=0.5)


def test_both_variants_of_isles22_under_one_root_are_one_subject_each(make: Maker) -> None:
    one, other = make("isles22"), make("isles22", layout="anat and dwi")
    for subject in other.root.glob("sub-*"):
        shutil.copytree(subject, one.root / subject.name)
    found = datasets.find_sessions("isles22", one.root)
    assert len(found.sessions) == 3
    assert len(found.left_out) == 9
    assert all("a second copy beside rawdata/" in item.reason for item in found.left_out)


def test_pre_is_preferred_to_orig(make: Maker) -> None:
    one, other = make("wmh17"), make("wmh17", layout="orig")
    shutil.copytree(other.root, one.root, dirs_exist_ok=True)
    for session in datasets.find_sessions("wmh17", one.root).sessions:
        assert session.space == "co-registered"
        assert {path.parent.name for path in session.images.values()} == {"pre"}


def test_the_orientation_of_analyze_files_is_the_cards_and_not_the_headers(make: Maker) -> None:
    found = make("oasis1", sessions=1)
    (session,) = found.sessions
    assert session.orientation == found.card.analyze_orientation == "LAS"
    before = voxels(session, "T1")
    header = session.images["T1"]
    content = bytearray(header.read_bytes())
    content[252] = 3  # the field `orient`: another of its values
    header.write_bytes(content)
    np.testing.assert_array_equal(voxels(session, "T1"), before)
    np.testing.assert_array_equal(np.asarray(scan.read_scan(header, "RAS").array), before[::-1])


def test_an_orientation_that_is_none_is_refused(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "plugins/datasets/oasis9"
    shutil.copytree(catalog.locate("datasets", "oasis1"), home)
    text = (home / "card.toml").read_text(encoding="utf-8")
    (home / "card.toml").write_text(text.replace('"LAS"', '"LRS"'), encoding="utf-8")
    monkeypatch.setenv(catalog.PLUGINS_VARIABLE, str(tmp_path / "plugins"))
    with pytest.raises(UserError, match="analyze_orientation expects three letters.* got 'LRS'"):
        cards.dataset_card("oasis9")


def test_the_number_after_n_in_names_of_oasis1_may_be_any(make: Maker) -> None:
    found = make("oasis1")
    names = {re.sub(r".*_(n\d)_.*", r"\1", s.images["T1"].name) for s in found.sessions}
    assert names == {"n3", "n4"}
    for path in sorted(found.root.rglob("*_n3_*")):
        path.rename(path.with_name(path.name.replace("_n3_", "_n12_")))
    assert [s.id for s in datasets.find_sessions("oasis1", found.root).sessions] == IDS["oasis1", "discs"]


def test_a_blank_cdr_of_oasis1_is_a_young_healthy_person(make: Maker) -> None:
    found = make("oasis1", sessions=1)
    (table,) = found.root.glob("*.csv")
    header, row = table.read_text().splitlines()
    table.write_text(f"{header}\n{row.rpartition(',')[0]},\n")
    assert [s.healthy for s in datasets.find_sessions("oasis1", found.root).sessions] == [True]


def test_dp_of_msseg16_is_pd(make: Maker) -> None:
    for session in make("msseg16").sessions:
        assert session.images["PD"].name == "DP_preprocessed.nii.gz"


def test_without_its_table_nobody_of_oasis1_is_taken_for_healthy(make: Maker) -> None:
    root = make("oasis1").root
    (root / "oasis_cross-sectional.csv").unlink()
    with pytest.raises(UserError, match="has no oasis_cross-sectional.csv"):
        datasets.find_sessions("oasis1", root)


def test_a_repeat_scan_of_a_person_with_dementia_is_left_out_too(make: Maker) -> None:
    found = make("oasis1", "repeat_scan")
    (table,) = found.root.glob("*.csv")
    rows = [re.sub(r"(OAS1_0014_MR1.*),[\d.]*$", r"\1,1", row) for row in table.read_text().splitlines()]
    table.write_text("\n".join(rows) + "\n")
    found = datasets.find_sessions("oasis1", found.root)
    reasons = {item.id: item.reason for item in found.left_out}
    assert reasons == {"OAS1_0014_MR1": "CDR 1: dementia", "OAS1_0014_MR2": "CDR 1: dementia"}


def test_a_mask_of_another_subject_whose_number_begins_alike_is_not_taken(tmp_path: Path) -> None:
    for name in ("Utrecht-11_FLAIR.nii.gz", "Utrecht-1_T1.nii.gz"):
        (tmp_path / "masks").mkdir(exist_ok=True)
        (tmp_path / "masks" / name).touch()
    masks = layout.find_own_masks(tmp_path)
    assert layout.find_own_mask(masks, "Utrecht-1_FLAIR") is None
    assert layout.find_own_mask(masks, "Utrecht-1") == tmp_path / "masks/Utrecht-1_T1.nii.gz"


# ---- corruptions -------------------------------------------------------------------------------

# What a corruption in one subject's files leads to. Handled: nothing, or a remark.
HANDLED = [
    ("brats13", "rounded_mask", None),
    ("brats13", "float_labels", None),
    ("brats13", "cut_view", "has the shape"),
    ("isles22", "mask_on_another_grid", "has the shape .* brought over through world coordinates"),
    ("mslub", "mask_on_another_grid", "has the shape .* brought over through world coordinates"),
    ("camcan", "oblique", None),
    ("brats21", "oblique", None),
    ("ixi", "four_axes", None),
    ("msseg16", "four_axes", None),
    ("ixi", "orientations", None),
    ("wmh17", "orientations", None),
    ("atlas2", "empty_mask", "is empty: the subject counts for false positives only"),
    ("camcan", "disguised_gzip", None),
    ("isles22", "disguised_gzip", None),
    ("ixi", "macos", None),
    ("msseg16", "macos", None),
    *[(name, "mixed_case", None) for name in SCANNED],
    *[(name, "folder_with_space", None) for name in SCANNED],
    *[(name, "capital_suffixes", None) for name in SCANNED],
    *[(name, "linked_folders", None) for name in SCANNED],
    *[(name, "doubled_folders", None) for name in ("brats13", "brats21", "ixi", "mslub", "oasis1")],
    *[
        (name, corruption, None)
        for name in ("camcan", "ixi", "oasis1")
        for corruption in ("unicode_text", "remark_lines", "impossible_age", "contradicting_rows")
    ],
    ("ixi", "semicolons", None),
    ("camcan", "semicolons", None),
    ("oasis1", "semicolons", None),
    ("ixi", "file_without_row", None),
    ("camcan", "file_without_row", None),
    ("brats21", "irregular_name", None),
]
# A problem that names the subject and the file.
PROBLEMS = [
    ("wmh17", "shifted_mask", "wmh.nii.gz has the shape of FLAIR, but another affine"),
    ("mslub", "disagreeing_forms", "has a qform and an sform that place a corner 12.0 mm apart"),
    ("oasis1", "nan", "voxels that are NaN or infinite"),
    ("ixi", "nan", "voxels that are NaN or infinite"),
    ("oasis1", "constant", "has the one value 5 in all voxels"),
    ("brats21", "constant", "has the one value 5 in all voxels"),
    ("atlas2", "unknown_label", r"has the labels \[9\], the data set.s card lists \[0, 1\]"),
    ("wmh17", "unknown_label", r"has the labels \[9\], the data set.s card lists \[0, 1, 2\]"),
    ("ixi", "truncated", "cannot be read .*fetch the file again"),
    ("oasis1", "truncated", "is cut short: .*fetch the file again"),
    ("msseg16", "zero_bytes", "is empty: fetch the file again"),
    ("oasis1", "zero_bytes", "is empty: fetch the file again"),
    ("camcan", "duplicate", "T1 is the same image voxel by voxel as sub-CC110001 T1"),
    ("oasis1", "duplicate", "T1 is the same image voxel by voxel as OAS1_0014_MR1 T1"),
]
# Left out with the reason.
LEFT_OUT = [
    ("atlas2", "no_lesion_mask", TARGETS["atlas2"], "has no lesion mask"),
    ("atlas2", "testing", TARGETS["atlas2"], "the part Testing has none"),
    ("atlas2", "absent_content", "links without content", "the content of 3 (ATLAS_2/Training/R003/"),
    ("isles22", "absent_content", "links without content", "`datalad get .`"),
    ("brats13", "no_lesion_mask", "brats_2013_pat0002_1", "has no lesion mask (label file OTMultiClass)"),
    ("brats21", "no_lesion_mask", TARGETS["brats21"], "has no lesion mask (segmentation"),
    ("isles22", "no_lesion_mask", TARGETS["isles22"], "has no lesion mask"),
    ("mslub", "no_lesion_mask", TARGETS["mslub"], "has no lesion mask (consensus_gt"),
    ("msseg16", "no_lesion_mask", TARGETS["msseg16"], "has no lesion mask (Consensus.nii.gz)"),
    ("msseg16", "raw_only", TARGETS["msseg16"], "has no pre-processed scan"),
    ("wmh17", "no_lesion_mask", TARGETS["wmh17"], "has no lesion mask (wmh.nii.gz)"),
    ("oasis1", "dementia", TARGETS["oasis1"], "CDR 0.5: dementia"),
    ("oasis1", "no_voxels", TARGETS["oasis1"], "without its .img"),
    ("oasis1", "file_without_row", TARGETS["oasis1"], "its CDR is unknown"),
    ("oasis1", "row_without_file", "oasis_cross-sectional.csv", "rows without an image: 1, OAS1_0015_MR1"),
    ("ixi", "row_without_file", "IXI.csv", "rows without an image: 1, IXI002"),
    ("camcan", "row_without_file", "participants.tsv", "rows without an image: 1, CC110002"),
]
# Left out besides the subjects, who stay all three.
BESIDES = [
    ("mslub", "longitudinal", "longitudinal patient01", "its gt is the change of lesions"),
    ("brats21", "two_releases", "BraTS 2020", "1 patients; BraTS 2021 is used"),
]
REPEATED = ["atlas2", "brats13", "brats21", "isles22", "ixi", "oasis1"]


def test_every_corruption_is_tested() -> None:
    tested = {corruption for _, corruption, *_ in [*HANDLED, *PROBLEMS, *LEFT_OUT, *BESIDES]}
    offered = {corruption for name in SCANNED for corruption in testing.corruption_names(name)}
    assert tested | {"repeat_scan"} == offered
    assert set(CORRUPTIONS | NAME_CORRUPTIONS) <= offered


@pytest.mark.parametrize(("name", "corruption", "remark"), HANDLED, ids=str)
def test_a_corruption_that_is_handled_harms_nobody(
    name: str, corruption: str, remark: str | None, make: Maker
) -> None:
    found = make(name, corruption)
    report = check(found)
    assert (len(found.sessions), found.left_out, report.problems) == (3, (), ())
    remarks = [r.reason for r in report.remarks if r.subject_id == TARGETS[name]]
    assert remark is None or any(re.search(remark, reason) for reason in remarks)


@pytest.mark.parametrize(("name", "corruption", "sentence"), PROBLEMS, ids=str)
def test_a_corruption_that_spoils_a_file_is_a_problem_of_that_subject_alone(
    name: str, corruption: str, sentence: str, make: Maker
) -> None:
    report = check(make(name, corruption))
    assert not report.ok
    assert {problem.subject_id for problem in report.problems} == {TARGETS[name]}
    assert any(re.search(sentence, problem.reason) for problem in report.problems)


@pytest.mark.parametrize(("name", "corruption", "item", "reason"), LEFT_OUT, ids=str)
def test_a_corruption_that_makes_a_subject_useless_leaves_it_out(
    name: str, corruption: str, item: str, reason: str, make: Maker
) -> None:
    found = make(name, corruption)
    assert {left.id: reason in left.reason for left in found.left_out} == {item: True}
    assert len(found.sessions) == 2
    assert TARGETS[name] not in by_id(found)
    assert check(found).ok


@pytest.mark.parametrize(("name", "corruption", "item", "reason"), BESIDES, ids=str)
def test_what_lies_beside_the_subjects_is_left_out(
    name: str, corruption: str, item: str, reason: str, make: Maker
) -> None:
    found = make(name, corruption)
    assert {left.id: reason in left.reason for left in found.left_out} == {item: True}
    assert len(found.sessions) == 3


@pytest.mark.parametrize("name", REPEATED)
def test_a_repeat_scan_is_the_same_person_and_in_the_same_partition(name: str, make: Maker) -> None:
    variant = "2023" if name == "brats21" else None
    found = make(name, "repeat_scan", layout=variant)
    assert (len(found.sessions), len({s.subject for s in found.sessions})) == (4, 3)
    first, second = [
        s for s in found.sessions if sum(s.subject == other.subject for other in found.sessions) == 2
    ]
    assert first.id != second.id
    assert find_partition(first, found.card) == find_partition(second, found.card)
    splits.check_subjects(splits.split_sessions(found.sessions, found.card))
    assert check(found).ok  # no duplicate: two scans of one head differ


def test_a_data_set_where_nobody_is_scanned_twice_offers_no_repeat_scan() -> None:
    there = {(name, v) for name, v in IDS if "repeat_scan" in testing.corruption_names(name, v)}
    assert {name for name, _ in there} == set(REPEATED)
    assert ("brats21", "2021") not in there


@pytest.mark.parametrize("corruption", ["orientations", "disguised_gzip", "four_axes", "macos", "mixed_case"])
def test_how_a_file_is_stored_does_not_change_what_is_read(corruption: str, make: Maker) -> None:
    clean, corrupted = by_id(make("ixi")), by_id(make("ixi", corruption))
    for name, session in clean.items():
        for contrast in session.images:
            np.testing.assert_array_equal(voxels(corrupted[name], contrast), voxels(session, contrast))


def test_labels_that_are_almost_whole_are_the_labels(make: Maker) -> None:
    clean, corrupted = by_id(make("brats13")), by_id(make("brats13", "float_labels"))
    for name, session in clean.items():
        before, after = (Path(str(s.lesion_mask)) for s in (session, corrupted[name]))
        np.testing.assert_array_equal(scan.read_labels(after).array, scan.read_labels(before).array)


def test_several_corruptions_befall_several_subjects(make: Maker) -> None:
    report = check(make("camcan", "truncated", "nan"))
    assert [p.subject_id for p in report.problems] == ["sub-CC110002", "sub-CC110003"]


# ---- the generator -----------------------------------------------------------------------------


def tree(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("name", ["oasis1", "isles22"])
def test_the_same_arguments_give_the_same_bytes_and_another_seed_others(name: str, tmp_path: Path) -> None:
    for folder, seed in (("one", 0), ("two", 0), ("three", 1)):
        testing.write_fixture(name, tmp_path / folder, subjects=2, seed=seed, corruptions=["nan"])
        heads.draw_head.cache_clear()
    one, two, three = (tree(tmp_path / folder) for folder in ("one", "two", "three"))
    assert one == two
    assert set(one) == set(three)
    assert one != three


def test_a_larger_fixture_only_adds_subjects(tmp_path: Path) -> None:
    for count in (1, 3):
        testing.write_fixture("brats13", tmp_path / str(count), subjects=count)
    small, large = (tree(tmp_path / str(count)) for count in (1, 3))
    assert small.items() <= large.items()


def test_a_fixture_says_that_it_is_one(make: Maker) -> None:
    text = (make("ixi", "nan").root / "FIXTURE.txt").read_text()
    assert "Nobody was scanned" in text
    assert "Corruptions: nan" in text


@pytest.mark.parametrize("option", ["--corruption", "--trap"])  # as it was called
def test_a_corruption_is_asked_for_by_name(option: str, tmp_path: Path) -> None:
    wanted = ["fixture", "ixi", "--out", str(tmp_path), "--subjects", "1", option, "macos"]
    done = CliRunner().invoke(app, wanted)
    assert done.exit_code == 0, done.output
    assert "Corruptions: macos" in (tmp_path / "FIXTURE.txt").read_text()


def test_mistakes_are_answered_with_what_is_known(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(
        UserError, match="no fixture of data set 'ixy'; did you mean 'ixi'\\? Available: atlas2, .*wmh17"
    ):
        testing.write_fixture("ixy", out)
    with pytest.raises(UserError, match="no fixture of data set 'phantom'"):
        testing.write_fixture("phantom", out)
    with pytest.raises(UserError, match=r"no corruption 'empty_mask' of .*\(IXI-T1\).* Available: absent"):
        testing.write_fixture("ixi", out, corruptions=["nan", "empty_mask"])
    with pytest.raises(UserError, match="no layout 'flat' of .* Available: IXI-T1, one folder, T1"):
        testing.write_fixture("ixi", out, layout="flat")
    with pytest.raises(UserError, match="at least one subject; asked for were 0"):
        testing.write_fixture("ixi", out, subjects=0)
    assert not out.exists()


def test_a_folder_with_something_in_it_is_never_written_to(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="is there already and not an empty folder"):
        testing.write_fixture("ixi", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


# ---- cards -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_adapters_and_their_fixtures_stay_short(name: str) -> None:
    for file in ("dataset.py", "fixture.py"):
        text = (catalog.locate("datasets", name) / file).read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 80


@pytest.mark.parametrize("name", ALL)
def test_cards_name_partners_that_have_the_contrast(name: str) -> None:
    card = cards.dataset_card(name)
    assert card.role == ("healthy" if name in HEALTHY else "lesion")
    assert card.address.startswith("http")
    assert (card.healthy_split if name in HEALTHY else card.lesion_split).keys() >= {"val"}
    for contrast, partners in card.partners.items():
        assert contrast in card.contrasts
        for partner in partners:
            assert cards.dataset_card(partner).role == "healthy"
            assert contrast in cards.dataset_card(partner).contrasts


@pytest.mark.thorough
def test_a_run_on_a_fixture_does_not_pass_for_one_on_patients(runtime: Runtime, tmp_path: Path) -> None:
    """The regime of made-up scans is `phantom`, whatever data set they are laid out as."""
    testing.write_fixture("brats13", tmp_path / "fixture", subjects=2)
    runtime.paths.remember_root("brats13", tmp_path / "fixture")
    config = RunConfig(method="random", dataset="brats13", preset="ci", protocol="uad-1-4mm")

    assert run(config, runtime).record.regime == "phantom"
