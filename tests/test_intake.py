"""Intake: who is taken for a subject, and whoever verify calls wrong is not scored."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from uadbench import catalog, datasets, testing
from uadbench.cards import dataset_card, method_card
from uadbench.cli import app
from uadbench.data.session import LeftOut, Session
from uadbench.datasets import Found
from uadbench.experiment import prepare_dataset as prepare_dataset_module
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.prepare_dataset import prepare_dataset
from uadbench.experiment.run import run
from uadbench.preprocessing.verify import Count, Report
from uadbench.system import errors
from uadbench.system.errors import UserError
from uadbench.testing import heads

Maker = Callable[..., Found]


def touch(root: Path, *names: str) -> None:
    """Tiny NIfTI files."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), path)


def reasons(found: Found) -> dict[str, str]:
    return {item.id: item.reason for item in found.left_out}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    """Write a fixture whose voxels do not matter, and find what lies there."""
    few = heads.Stored(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    monkeypatch.setattr(heads, "show_picture", lambda *_: few)

    def made(name: str, *corruptions: str, sessions: int = 3) -> Found:
        root = tmp_path / f"{name} {len(list(tmp_path.iterdir()))}"
        testing.write_fixture(name, root, subjects=sessions, corruptions=corruptions)
        return datasets.find_sessions(name, root)

    return made


# ---- healthy or not ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        *[(config, None) for config in ("", " ", "0", "0.0", "0,0", "+0")],
        *[(cell, "CDR 0.5: dementia") for cell in ("0.5", ".5", "0,5", "5e-1")],
        ("2", "CDR 2: dementia"),
        *[
            (cell, f"CDR {cell!r} is no rating: whether it is dementia is unknown")
            for cell in (
                "0.5?",
                "nan",
                "inf",
                "-1",
                "-0.5",
                "n/a",
                "N/A",
                "?",
                "0 (0.5)",
                "zero",
                "7",
                "1_0",
            )
        ],
    ],
)
def test_a_cdr_is_a_number_or_blank_and_anything_else_makes_nobody_healthy(
    cell: str, reason: str | None, make: Maker
) -> None:
    root = make("oasis1").root
    (table,) = root.glob("*.csv")
    lines = table.read_text().splitlines()
    quoted = f'"{cell}"' if "," in cell else cell
    lines[2] = f"{lines[2].rpartition(',')[0]},{quoted}"
    table.write_text("\n".join(lines) + "\n")
    found = datasets.find_sessions("oasis1", root)
    assert reasons(found) == ({} if reason is None else {"OAS1_0015_MR1": reason})
    assert ("OAS1_0015_MR1" in {s.id for s in found.sessions}) == (reason is None)


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ("OAS1_0015_MR1,F,R,70,0.5", "CDR 0.5: dementia"),
        ("OAS1_0015_MR2,F,R,70,1", "CDR 1: dementia"),
        ("OAS1_0015_MR1,F,R,70,0,1", "its row in the table is broken: its CDR is unknown"),
        ("OAS1_0015_MR1,F,R", "its row in the table is broken: its CDR is unknown"),
        ("oas1_0015_mr1,F,R,70,?", "CDR '?' is no rating: whether it is dementia is unknown"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_of_several_rows_the_worst_counts_wherever_it_stands(
    extra: str, reason: str, first: bool, make: Maker
) -> None:
    root = make("oasis1").root
    (table,) = root.glob("*.csv")
    lines = table.read_text().splitlines()
    lines.insert(1 if first else len(lines), extra)
    table.write_text("\n".join(lines) + "\n")
    found = datasets.find_sessions("oasis1", root)
    assert reasons(found)["OAS1_0015_MR1"] == reason
    assert "OAS1_0015_MR1" not in {s.id for s in found.sessions}


def test_a_table_cut_short_makes_nobody_healthy(make: Maker) -> None:
    root = make("oasis1").root
    (table,) = root.glob("*.csv")
    table.write_text(table.read_text().rstrip().rpartition(",")[0])
    assert "broken" in reasons(datasets.find_sessions("oasis1", root))["OAS1_0016_MR1"]


def test_the_age_of_a_person_scanned_twice_is_known_of_both_scans(make: Maker) -> None:
    found = make("ixi", "repeat_scan")
    assert len(found.sessions) == 4
    assert all(session.age is not None for session in found.sessions)


def test_contradicting_rows_are_remarked_and_in_the_report_of_verify(make: Maker) -> None:
    for name in ("ixi", "camcan", "oasis1"):
        found = make(name, "contradicting_rows")
        assert sum(session.age is None for session in found.sessions) == 1
        assert "contradict each other, the age is unknown" in found.remarks[0].reason


# ---- releases that share names -----------------------------------------------------------------

BRATS = ("t1n", "t1c", "t2w", "t2f", "seg")


def test_scans_after_treatment_are_not_the_release_of_2023(tmp_path: Path) -> None:
    for patient in ("BraTS-GLI-00001-000", "BraTS-GLI-00001-100", "BraTS-GLI-02345-103"):
        touch(tmp_path, *[f"{patient}/{patient}-{name}.nii.gz" for name in BRATS])
    found = datasets.find_sessions("brats21", tmp_path)
    assert [s.id for s in found.sessions] == ["BraTS-GLI-00001-000"]
    assert reasons(found) == {
        "BraTS 2024 or later": "2 (BraTS-GLI-00001-100, BraTS-GLI-02345-103): scanned after treatment: their "
        "label 4 is the cavity of a resection, not tumour"
    }
    shutil.rmtree(tmp_path / "BraTS-GLI-00001-000")
    with pytest.raises(UserError, match="No subject of brats21 .*2024 or later: 2 .*after treatment"):
        datasets.find_sessions("brats21", tmp_path)


def test_a_resection_cavity_under_a_name_of_2023_is_refused(tmp_path: Path) -> None:
    testing.write_fixture("brats21", tmp_path, subjects=1, layout="2023")
    (session,) = datasets.find_sessions("brats21", tmp_path).sessions
    assert session.mask_values == (1, 2, 3)
    image = nibabel.load(session.lesion_mask)
    voxels = np.asarray(image.dataobj).copy()
    voxels[:2, :2, :2] = 4
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), session.lesion_mask)
    done = CliRunner().invoke(
        app, ["verify", "brats21", "--root", str(tmp_path), "--quiet", "--workers", "1"]
    )
    assert done.exit_code == 1
    assert "has the labels [4], the data set's card lists [0, 1, 2, 3]" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("name", "other", "release"),
    [
        ("brats21", "BraTS-MEN-00004-000/BraTS-MEN-00004-000-t1n.nii.gz", "BraTS of other tumours"),
        ("brats21", "BraTS-PED-00004-000/BraTS-PED-00004-000-t1n.nii.gz", "BraTS of other tumours"),
        ("brats21", "BraTS-SSA-00004-000/BraTS-SSA-00004-000-t1n.nii.gz", "BraTS of other tumours"),
        ("brats21", "BraTS-MEN-RT-0004-1/BraTS-MEN-RT-0004-1_t1c.nii.gz", "BraTS of other tumours"),
        ("brats21", "Brats18_CBICA_AAM_1/Brats18_CBICA_AAM_1_t1.nii.gz", "BraTS 2017 to 2019"),
        ("isles22", "sub-stroke0004/ses-02/sub-stroke0004_ses-02_dwi.nii.gz", "ISLES 2024"),
        ("atlas2", "sub-r001s009_ses-1_space-orig_desc-brain_T1w.nii.gz", "ATLAS 3"),
        ("atlas2", "Site1/031768/t01/031768_t1w_deface_stx.nii.gz", "ATLAS R1"),
        ("msseg16", "training/013/flair_time01_on_middle_space.nii.gz", "MSSEG-2 (2021)"),
        ("oasis1", "OAS2_0001_MR1/RAW/mpr-1.nifti.hdr", "OASIS-2"),
        ("oasis1", "OAS30001_MR_d0129/anat/T1w.nii.gz", "OASIS-3 or 4"),
    ],
)
def test_another_release_of_like_names_is_left_out_by_name(
    name: str, other: str, release: str, make: Maker
) -> None:
    found = make(name)
    there = [s.id for s in found.sessions]
    (found.root / other).parent.mkdir(parents=True, exist_ok=True)
    (found.root / other).write_bytes(b"x" * 2000)
    again = datasets.find_sessions(name, found.root)
    assert [s.id for s in again.sessions] == there
    assert [item.id for item in again.left_out] == [release]
    for path in sorted(found.root.iterdir()):  # and where there is nothing else
        if path != found.root / Path(other).parts[0]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match=f"that can be used was found under .*{re.escape(release)}"):
        datasets.find_sessions(name, found.root)


# ---- folders -----------------------------------------------------------------------------------


def test_a_linked_folder_of_ixi_is_entered(make: Maker, tmp_path: Path) -> None:
    found = make("ixi")
    store = tmp_path / "store"
    store.mkdir()
    (found.root / "IXI-T2").rename(store / "IXI-T2")
    (found.root / "IXI-T2").symlink_to(store / "IXI-T2")
    assert all("T2" in session.images for session in datasets.find_sessions("ixi", found.root).sessions)


@pytest.mark.parametrize("name", ["atlas2", "brats13", "brats21", "isles22", "mslub", "msseg16", "wmh17"])
def test_images_without_masks_are_told_as_that(name: str, make: Maker) -> None:
    found = make(name)
    for session in found.sessions:
        Path(str(session.lesion_mask)).unlink()
    with pytest.raises(UserError, match=r"No subject of .* \(3 subjects, none with a lesion mask: "):
        datasets.find_sessions(name, found.root)


def test_a_data_set_none_of_which_was_fetched_says_how_to_fetch_it(make: Maker) -> None:
    found = make("atlas2", sessions=1)
    for path in found.root.rglob("*.nii.gz"):
        path.unlink()
        path.symlink_to(".git/annex/objects/none")
    with pytest.raises(UserError, match="links without content: the content of 3 .*`datalad get .`"):
        datasets.find_sessions("atlas2", found.root)


def test_archives_that_were_not_unpacked_are_told(tmp_path: Path) -> None:
    for name in ("IXI-T1.tar", "IXI-T2.TAR.gz", "readme.txt"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=r"\(2 \(IXI-T1.tar, IXI-T2.TAR.gz\) to be unpacked\)"):
        datasets.find_sessions("ixi", tmp_path)


@pytest.mark.parametrize("name", ["brats13", "brats21", "mslub", "msseg16", "wmh17"])
def test_images_deeper_than_expected_are_told_as_that(name: str, make: Maker) -> None:
    found = make(name, sessions=1)
    (session,) = found.sessions
    for path in session.images.values():
        (path.parent / "nested").mkdir(exist_ok=True)
        path.rename(path.parent / "nested" / path.name)
    with pytest.raises(UserError, match="found deeper, under .*nested: move it up"):
        datasets.find_sessions(name, found.root)


# ---- what verify says --------------------------------------------------------------------------


def report(counts: list[Count], **facts: object) -> Report:
    usual: dict[str, object] = {"left_out": (), "problems": (), "remarks": (), "partitions": {}}
    about = {"dataset": "x", "root": "x", "sessions": 1, "subjects": 1, "healthy": 0, "counts": tuple(counts)}
    return Report(**about | usual | facts)  # type: ignore[arg-type]


def test_what_is_missing_is_never_called_nothing_wrong() -> None:
    some = report([Count("T1", 78, 54, 24, 0), Count("T2", 78, 78, 0, 0)])
    assert some.verdict == "what is used is in order; of the whole release are missing: 24 of 78 T1"
    whole = report([Count("T1", 78, 78, 0, 0)])
    assert whole.verdict == "nothing is wrong; the release is complete"
    unknown = report([Count("T1", None, 5, 0, 0)])
    assert unknown.verdict == "nothing is wrong; the size of the whole release is unknown"
    left = report([Count("T1", None, 5, 0, 0)], left_out=(LeftOut("a", "b"),))
    assert left.verdict == "what is used is in order (1 left out, see above)"


def test_verify_prints_what_is_missing_and_reasons_with_counts(runtime: Runtime, tmp_path: Path) -> None:
    testing.write_fixture("atlas2", tmp_path / "made", subjects=3)
    for mask in sorted((tmp_path / "made").rglob("*lesion_mask*"))[1:]:
        mask.unlink()
    done = CliRunner().invoke(
        app, ["verify", "atlas2", "--root", str(tmp_path / "made"), "-q", "--workers", "1"]
    )
    assert done.exit_code == 0, done.output
    assert "left out: 2 (sub-r002s001_ses-1, sub-r003s002_ses-1): has no lesion mask beside it" in done.stdout
    assert "of the whole release are missing: 654 of 655 T1" in done.stdout
    assert "nothing is wrong" not in done.stdout


# ---- copies ------------------------------------------------------------------------------------

BALLS = RunConfig(method="intensity", dataset="balls", preset="ci", protocol="uad-1-4mm")


@pytest.mark.parametrize("kinds", [("lesion-test", "lesion-test"), ("healthy-test", "lesion-test")])
def test_of_two_subjects_with_one_image_none_is_scored_that_contradicts(
    kinds: tuple[str, str], runtime: Runtime
) -> None:
    made = run(BALLS, runtime).record
    members = {kind: [s.id for s in made.subjects if s.partition == kind] for kind in kinds}
    first, second = members[kinds[0]][0], members[kinds[1]][-1]
    data = runtime.paths.data / "balls"
    shutil.copy(data / f"scan-{int(first[-2:])}.nii", data / f"scan-{int(second[-2:])}.nii")
    again = run(BALLS, runtime, force=True).record
    # Their lesions differ, or only one has any: which of them is what it is said to be nobody knows.
    assert {item.id: item.reason.split(":")[0] for item in again.excluded} == {
        first: f"T1 is the same image voxel by voxel as {second} T1",
        second: f"T1 is the same image voxel by voxel as {first} T1",
    }
    assert not {first, second} & {s.id for s in again.subjects}


def test_of_two_equal_subjects_the_first_is_kept(runtime: Runtime) -> None:
    made = run(BALLS, runtime).record
    first, *_, second = [s.id for s in made.subjects if s.partition == "lesion-test"]
    data = runtime.paths.data / "balls"
    for kind in ("scan", "lesion", "mask"):
        shutil.copy(data / f"{kind}-{int(first[-2:])}.nii", data / f"{kind}-{int(second[-2:])}.nii")
    again = run(BALLS, runtime, force=True).record
    assert [item.id for item in again.excluded] == [second]
    assert first in {s.id for s in again.subjects}
    prepared = prepare_dataset("balls", ["T1"], ["g48"], runtime)
    assert [failure.subject_id for failure in prepared.failures] == [second]


# ---- who is excluded from a run ----------------------------------------------------------------


@pytest.mark.thorough
def test_a_run_on_slices_lists_only_what_its_own_contrast_lacks(runtime: Runtime, tmp_path: Path) -> None:
    testing.write_fixture("lgg", tmp_path / "fixture", subjects=12, corruptions=["missing_sequence"])
    runtime.paths.remember_root("lgg", tmp_path / "fixture")
    config = RunConfig(method="intensity", dataset="lgg", contrast="FLAIR", preset="ci")
    assert run(config, runtime).record.excluded == []
    (item,) = run(
        RunConfig(method="intensity", dataset="lgg", contrast="T1c", preset="ci"), runtime
    ).record.excluded
    assert item.reason == "the sequence is missing and replaced by FLAIR"
    said = CliRunner().invoke(
        app, ["run", "-m", "intensity", "-d", "lgg", "--contrast", "T1c", "--preset", "ci", "-q"]
    )
    assert said.stdout.count("left out") == 1
    listed = json.loads((runtime.paths.runs / "splits" / "lgg.json").read_text())["left_out"]
    assert [set(one) for one in listed] == [{"id", "reason"}]


def test_reasons_are_told_once_with_counts() -> None:
    items = [LeftOut(f"s{n}", "has no image") for n in range(7)] + [LeftOut("t", "is empty")]
    assert datasets.by_reason(items) == ["7 (s0, s1, s2, s3, s4, ...): has no image", "t: is empty"]


def test_the_flags_of_a_stack_are_told_once(tmp_path: Path) -> None:
    """Not of the whole stack, and again of its lesion-free slices."""
    facts = {"quality": {"flags": ["brain of 9 ml, expected 900 to 2200"]}}
    whole = Session(id="a", cohort="lgg", subject="a", images={"T1": tmp_path}, healthy=False)
    free = replace(whole, id="a_lesion-free", healthy=True, slices="lesion-free")
    alone = replace(free, id="b_lesion-free", subject="b")
    stacks = [SimpleNamespace(session=one, contrast="T1", facts=facts) for one in (whole, free, alone)]
    flags = list(prepare_dataset_module._flags(stacks))  # type: ignore[arg-type]
    assert [flag.subject_id for flag in flags] == ["a", "b_lesion-free"]


# ---- names that are none -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "../datasets/ixi",
        "ixi/",
        "./ixi",
        ".",
        "..",
        "",
        " ",
        "a.b",
        "/etc",
        "i\x00xi",
        "\x1b[31m",
        "ixi\n",
    ],
)
def test_what_is_no_name_is_a_mistake_in_one_sentence(name: str) -> None:
    for card, what in ((dataset_card, "data set"), (method_card, "method")):
        with pytest.raises(UserError, match=f"^There is no {what} '") as caught:
            card(name)
        assert str(caught.value).isprintable()
    for find in (datasets.load, lambda one: catalog.locate("methods", one)):
        with pytest.raises(UserError, match=r"^There is no (data set|method) '"):
            find(name)


@pytest.mark.parametrize("command", ["datasets", "methods", "verify", "prepare"])
def test_a_path_instead_of_a_name_ends_a_command_with_a_sentence(command: str, runtime: Runtime) -> None:
    done = CliRunner().invoke(app, [command, "../datasets/ixi"])
    assert isinstance(done.exception, UserError)
    assert str(done.exception).startswith("There is no ")


def test_a_folder_whose_name_cannot_be_a_modules_is_no_plug_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(catalog.locate("datasets", "ixi"), tmp_path / "datasets" / "my.set")
    monkeypatch.setenv(catalog.PLUGINS_VARIABLE, str(tmp_path))
    assert "my.set" not in catalog.names("datasets")
    with pytest.raises(UserError, match="There is no data set 'my.set'"):
        datasets.load("my.set")


def test_a_name_that_is_nearly_right_is_guessed() -> None:
    there = ["ixi", "oasis1", "BraTS"]
    assert "did you mean 'oasis1'? Available: ixi, oasis1, BraTS." in str(
        errors.unknown("data set", "OASIS", there)
    )
    assert "did you mean 'BraTS'?" in str(errors.unknown("data set", "brats", there))
    assert "did you mean" not in str(errors.unknown("data set", "quite another", there))
