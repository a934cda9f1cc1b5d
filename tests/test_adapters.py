"""Adapters: each on tiny files in the official layouts, with what is known to be wrong in downloads."""

import csv
import io
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from uadbench import datasets
from uadbench.data import splits, tables
from uadbench.data.session import LeftOut, Session
from uadbench.preprocessing.verify import verify
from uadbench.system.errors import UserError
from uadbench.system.progress import Silent

SITES = ("HH", "Guys", "IOP")


def touch(root: Path, *names: str) -> None:
    """Tiny NIfTI files."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), path)


def found(name: str, root: Path) -> tuple[dict[str, Session], dict[str, str]]:
    """Subjects and left-out items by id."""
    result = datasets.find_sessions(name, root)
    return {s.id: s for s in result.sessions}, {item.id: item.reason for item in result.left_out}


def old_excel(rows: list[list[str | float]]) -> bytes:
    """An .xls file of the oldest kind (BIFF2), which holds cells and nothing else."""
    records = [struct.pack("<HHHH", 0x0009, 4, 7, 0x0010)]
    for r, row in enumerate(rows):
        for c, cell in enumerate(row):
            place = struct.pack("<HH3x", r, c)
            if isinstance(cell, str):
                content = place + struct.pack("<B", len(cell)) + cell.encode("ascii")
                records.append(struct.pack("<HH", 0x0004, len(content)) + content)
            else:
                content = place + struct.pack("<d", cell)
                records.append(struct.pack("<HH", 0x0003, len(content)) + content)
    return b"".join([*records, struct.pack("<HH", 0x000A, 0)])


# ---- IXI ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("folders", [("", ""), ("IXI-T1/", "IXI-T2/"), ("T1/", "T2/")])
def test_ixi_in_one_folder_or_nested_gives_the_same_subjects(
    folders: tuple[str, str], tmp_path: Path
) -> None:
    first, second = folders
    touch(tmp_path, f"{first}IXI002-Guys-0828-T1.nii.gz", f"{second}IXI002-Guys-0828-T2.nii.gz")
    touch(tmp_path, f"{first}IXI012-HH-1211-T1.nii.gz", f"{second}IXI035-IOP-0873-T2.nii.gz")
    touch(tmp_path, f"{first}._IXI012-HH-1211-T1.nii.gz", f"{first}IXI012-HH-1211-MRA.nii.gz")
    sessions, left_out = found("ixi", tmp_path)
    assert not left_out
    assert {name: (s.subject, s.site, sorted(s.images)) for name, s in sessions.items()} == {
        "IXI002-Guys-0828": ("IXI002", "Guys", ["T1", "T2"]),
        "IXI012-HH-1211": ("IXI012", "HH", ["T1"]),
        "IXI035-IOP-0873": ("IXI035", "IOP", ["T2"]),
    }
    assert all(s.healthy and s.space == "native" and not s.skull_stripped for s in sessions.values())


def test_ixi_names_in_another_case_are_the_same_person(tmp_path: Path) -> None:
    touch(tmp_path, "t1/ixi002-guys-0828-t1.NII.GZ", "T2/IXI002-Guys-0828-T2.nii")
    sessions, _ = found("ixi", tmp_path)
    assert sorted(sessions["IXI002-Guys-0828"].images) == ["T1", "T2"]


COLUMNS = ["IXI_ID", "SEX_ID (1=m, 2=f)", "HEIGHT", "AGE"]
ROWS: list[list[str | float]] = [
    [2, 2, 164, 35.8],
    [12, 1, 175, 38.78],
    [35, 1, 170, 40.0],  # twice, and the ages contradict each other
    [35, 1, 170, 50.0],
    [33, 2, 160, ""],  # twice, once without an age
    [33, 2, 160, 61.5],
    [999, 1, 170, 33.0],  # no file
]
IMAGES = [f"IXI{n:03d}-HH-{n:04d}-T1.nii.gz" for n in (2, 12, 35, 33, 40)]  # 40: no row


def table_text(separator: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows([COLUMNS, *ROWS])
    return text.getvalue()


@pytest.mark.parametrize("kind", ["xls", "comma", "semicolon", "tab"])
def test_the_ixi_table_may_repeat_miss_and_contradict(kind: str, tmp_path: Path) -> None:
    touch(tmp_path, *IMAGES)
    if kind == "xls":
        (tmp_path / "IXI.xls").write_bytes(old_excel([list(COLUMNS), *ROWS]))
    else:
        separator = {"comma": ",", "semicolon": ";", "tab": "\t"}[kind]
        (tmp_path / "IXI.csv").write_text(table_text(separator))
    sessions, left_out = found("ixi", tmp_path)
    assert {s.subject: (s.age, s.sex) for s in sessions.values()} == {
        "IXI002": (35.8, "F"),
        "IXI012": (38.78, "M"),
        "IXI035": (None, "M"),
        "IXI033": (61.5, "F"),
        "IXI040": (None, None),
    }
    assert list(left_out.values()) == ["rows without an image: 1, IXI999 ..."]


def test_a_table_without_the_column_says_which_it_has(tmp_path: Path) -> None:
    touch(tmp_path, *IMAGES)
    (tmp_path / "IXI.csv").write_text("id,AGE\n2,35\n")
    with pytest.raises(UserError, match="has the columns id, AGE; expected one named IXI_ID"):
        found("ixi", tmp_path)


def test_ixi_masks_of_the_user_and_parcellations_are_found(tmp_path: Path) -> None:
    touch(tmp_path, "IXI-T1/IXI012-HH-1211-T1.nii.gz", "IXI-T2/IXI012-HH-1211-T2.nii.gz")
    touch(tmp_path, "IXI-T1/IXI013-HH-1212-T1.nii.gz", "IXI-T1/IXI014-HH-1236-T1.nii.gz")
    touch(tmp_path, "masks/IXI012-HH-1211-T1_bet.nii.gz", "masks/IXI012-HH-1211-T2.nii.gz")
    touch(tmp_path, "DLMUSE/IXI012-HH-1211_T1_DLMUSE.nii.gz", "DLMUSE/IXI013-HH-1212_T1_DLMUSE.nii.gz")
    sessions, left_out = found("ixi", tmp_path)
    assert not left_out
    names = {
        session.subject: {c: str(p.relative_to(tmp_path)) for c, p in session.contrast_masks.items()}
        for session in sessions.values()
    }
    assert names == {
        "IXI012": {"T1": "masks/IXI012-HH-1211-T1_bet.nii.gz", "T2": "masks/IXI012-HH-1211-T2.nii.gz"},
        "IXI013": {"T1": "DLMUSE/IXI013-HH-1212_T1_DLMUSE.nii.gz"},
        "IXI014": {},
    }


def test_a_second_copy_of_an_ixi_scan_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "IXI-T1/IXI012-HH-1211-T1.nii.gz", "T1/IXI012-HH-1211-T1.nii.gz")
    _, left_out = found("ixi", tmp_path)
    assert left_out == {"T1/IXI012-HH-1211-T1.nii.gz": "a second copy beside IXI-T1/IXI012-HH-1211-T1.nii.gz"}


def test_two_scans_of_one_person_stay_in_one_partition_and_a_part_keeps_its_split(
    tmp_path: Path,
) -> None:
    names = [f"IXI{n:03d}-{SITES[n % 3]}-{n:04d}-T1.nii.gz" for n in range(60)]
    names += [f"IXI{n:03d}-{SITES[n % 3]}-9{n:03d}-T1.nii.gz" for n in range(60)]  # second visits
    touch(tmp_path, *names)
    whole = datasets.find_sessions("ixi", tmp_path)
    parts = splits.split_sessions(whole.sessions, whole.card)
    splits.check_subjects(parts)
    assert all(parts[f"healthy-{part}"] for part in ("train", "val", "test"))
    for name in names[::2]:
        (tmp_path / name).unlink()
    for part, members in splits.split_sessions(
        datasets.find_sessions("ixi", tmp_path).sessions, whole.card
    ).items():
        assert {s.id for s in members} <= {s.id for s in parts[part]}


# ---- MSLUB -------------------------------------------------------------------------------------

OFFICIAL = ("FLAIR", "T1W", "T1WKS", "T2W", "consensus_gt", "brainmask")
MNI = "_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz"
GOLD = "GOLD_STANDARD_N4_noneck_reduced_winsor_regtoFLAIR_regtoMNI.nii.gz"
FOUR = ["FLAIR", "T1", "T1c", "T2"]


def repack(root: Path, kind: str, patient: str) -> None:
    folder = f"cross_sectional/{kind}/{patient}"
    if kind == "MNI":
        touch(root, *[f"{folder}/{c}{MNI}" for c in ("FLAIR", "T1", "T1POST", "T2")], f"{folder}/{GOLD}")
    else:
        touch(root, *[f"{folder}/{name}.nii.gz" for name in OFFICIAL])


def test_mslub_official_layout(tmp_path: Path) -> None:
    touch(tmp_path, *[f"patient01/patient01_{name}.nii.gz" for name in OFFICIAL])
    touch(tmp_path, "patient01/raw/patient01_FLAIR.nii.gz", "patient02/patient02_FLAIR.nii.gz")
    (tmp_path / "participants.csv").write_text("participant_id;age;sex\npatient01;39,5;F\n")
    sessions, left_out = found("mslub", tmp_path)
    (one,) = sessions.values()
    assert (one.id, sorted(one.images), one.age, one.sex) == ("patient01", FOUR, 39.5, "F")
    assert one.images["T1c"].name == "patient01_T1WKS.nii.gz"
    assert one.lesion_mask == (tmp_path / "patient01/patient01_consensus_gt.nii.gz").absolute()
    assert one.brain_mask is not None
    assert (one.space, one.skull_stripped) == ("co-registered", False)
    assert "consensus_gt" in left_out["patient02"]


def test_mslub_repack_uses_one_copy_of_a_patient_in_the_stated_order(tmp_path: Path) -> None:
    repack(tmp_path, "MNI", "patient07")
    for number, kinds in enumerate(
        [("raw", "MNI"), ("raw",), ("raw", "MNI", "coregistered_resampled"), ("MNI", "coregistered", "raw")]
    ):
        for kind in kinds:
            repack(tmp_path, kind, f"patient{number + 1:02d}")
    sessions, _ = found("mslub", tmp_path)
    copies = {name: s.images["FLAIR"].parent.parent.name for name, s in sessions.items()}
    assert copies == {
        "patient01": "MNI",
        "patient02": "raw",
        "patient03": "coregistered_resampled",
        "patient04": "coregistered",
        "patient07": "MNI",
    }
    assert all(sorted(s.images) == FOUR for s in sessions.values())
    mni = sessions["patient07"]
    assert (mni.space, mni.skull_stripped, mni.brain_mask) == ("co-registered", True, None)
    assert mni.images["T1"].name == f"T1{MNI}"
    assert mni.lesion_mask is not None
    assert mni.lesion_mask.name == GOLD
    assert sessions["patient02"].space == "native"


def test_mslub_longitudinal_change_is_never_a_lesion_mask(tmp_path: Path) -> None:
    repack(tmp_path, "MNI", "patient07")
    touch(tmp_path, "longitudinal/coregistered/patient07/gt.nii.gz", "longitudinal/MNI/patient03/gt.nii.gz")
    sessions, left_out = found("mslub", tmp_path)
    assert list(sessions) == ["patient07"]
    assert str(tmp_path / "cross_sectional") in str(sessions["patient07"].lesion_mask)
    assert left_out["longitudinal patient03"] == "its gt is the change of lesions, not the lesions"


def test_mslub_root_may_be_the_re_packs_inner_folder(tmp_path: Path) -> None:
    repack(tmp_path, "MNI", "patient07")
    for root in (tmp_path / "cross_sectional", tmp_path / "cross_sectional/MNI"):
        sessions, _ = found("mslub", root)
        assert sessions["patient07"].skull_stripped


# ---- BraTS 2013 --------------------------------------------------------------------------------

BRATS = ("Flair_subtrMeanDivStd", "T1c_subtrMeanDivStd", "brainmask", "OTMultiClass")


def test_brats13_layout(tmp_path: Path) -> None:
    touch(tmp_path, *[f"brats_2013_pat0001_1/{name}.nii.gz" for name in BRATS])
    touch(tmp_path, *[f"brats_2013_pat0001_2/{name}.nii.gz" for name in BRATS])
    touch(tmp_path, *[f"brats_2013_pat0003_1/{name}.nii.gz" for name in BRATS[:3]])
    sessions, left_out = found("brats13", tmp_path)
    assert {name: (s.subject, s.label) for name, s in sessions.items()} == {
        "pat0001_1": ("pat0001", "1"),
        "pat0001_2": ("pat0001", "2"),
    }
    one = sessions["pat0001_1"]
    assert {c: p.name for c, p in one.images.items()} == {
        "FLAIR": "Flair_subtrMeanDivStd.nii.gz",
        "T1c": "T1c_subtrMeanDivStd.nii.gz",
    }
    assert one.brain_mask is not None
    assert (one.space, one.skull_stripped, one.healthy) == ("SRI24", True, False)
    assert left_out == {"brats_2013_pat0003_1": "has no lesion mask (label file OTMultiClass)"}


# ---- shared ------------------------------------------------------------------------------------


def test_an_empty_root_says_where_the_data_are(tmp_path: Path) -> None:
    for name in ("ixi", "mslub", "brats13"):
        with pytest.raises(UserError, match=r"No subject of .* get the data at "):
            datasets.find_sessions(name, tmp_path)


def test_numbers_in_tables() -> None:
    assert [tables.parse_number(t) for t in ("3.5", "3,5", "", None, "n/a")] == [3.5, 3.5, None, None, None]


def test_adapters_stay_short() -> None:
    for name in ("ixi", "mslub", "brats13"):
        assert len(Path(str(datasets.load(name).__file__)).read_text().splitlines()) <= 80


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "folder", "count"),
    [("ixi", "ixi_hh_2mm", 96), ("mslub", "mslub", 2), ("brats13", "brats2013", 3)],
)
def test_the_real_samples_are_found_and_in_order(
    name: str, folder: str, count: int, real_scans: Callable[[str], Path]
) -> None:
    result = datasets.find_sessions(name, real_scans(folder))
    assert len(result.sessions) == count
    assert not any(isinstance(s, LeftOut) for s in result.sessions)
    assert verify(result, 2, Silent()).ok


def test_a_moved_copy_gives_the_same_subjects(tmp_path: Path) -> None:
    touch(tmp_path / "one", *IMAGES)
    shutil.copytree(tmp_path / "one", tmp_path / "two with a space")
    first, second = (set(found("ixi", tmp_path / name)[0]) for name in ("one", "two with a space"))
    assert first == second
