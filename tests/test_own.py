"""Own scans: a folder is a data set like any other, and what is wrong in it is said in a sentence."""

import os
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from uadbench import api, catalog, datasets
from uadbench.cards import dataset_card
from uadbench.cli import app
from uadbench.data import plain
from uadbench.data.session import Session
from uadbench.data.space import GRIDS
from uadbench.experiment.check_record import check_record
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.look import look
from uadbench.experiment.own import name_dataset
from uadbench.experiment.prepare_dataset import prepare_dataset
from uadbench.experiment.run import run
from uadbench.sweep.run_sweep import Sweep
from uadbench.system import pool
from uadbench.system.errors import UserError
from uadbench.system.progress import Silent
from uadbench.testing import write_fixture
from uadbench.testing.toys import draw_ellipsoid

GRID = GRIDS["g48"]


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, GRID.affine if affine is None else affine), path)


def head(number: int = 0, lesion_radius_mm: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A brain on a background of 0, and its lesion."""
    random = np.random.default_rng(number)
    brain = draw_ellipsoid(GRID, (0, -18, 8), (66, 82, 62))
    lesion = draw_ellipsoid(GRID, (28, -30, 18), (lesion_radius_mm or 1e-6,) * 3)
    image = brain * (500 + random.normal(0, 30, GRID.shape)) + 300 * lesion
    return image.astype(np.float32), lesion.astype(np.uint8)


def test_what_a_scan_shows_is_its_own_whatever_the_order_in_which_processes_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backwards(work: Any, jobs: Any, workers: int) -> Any:
        return [(n, work(jobs[n])) for n in reversed(range(len(jobs)))]

    def session(name: str, **voxels: int) -> Session:
        paths = {contrast: tmp_path / f"{name}_{contrast}.nii.gz" for contrast in voxels}
        for contrast, count in voxels.items():
            save(paths[contrast], np.ones((count, 8, 8), np.float32))
        return Session(
            id=name, cohort="own", subject=name, images=paths, healthy=True, brain_mask=tmp_path / "mask.nii"
        )

    monkeypatch.setattr(pool, "results", backwards)
    one, two = session("one", T1=8), session("two", T1=8, FLAIR=9)

    assert look([one, two], 2, Silent())["space"] == "native", "the scans of `two` are on other voxels"


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder of three healthy subjects and two patients, T1 alone, the brain alone."""
    root = tmp_path / "My scans"
    for number in range(3):
        save(root / "healthy" / f"control{number}_T1.nii.gz", head(number)[0])
    for number in (7, 8):
        image, lesion = head(number, 20.0)
        save(root / "lesion" / f"patient{number}_T1.nii.gz", image)
        save(root / "masks" / f"patient{number}_T1_mask.nii.gz", lesion)
    (root / "card.toml").write_text('space = "MNI152"\n')
    return root


@pytest.mark.parametrize(
    ("place", "subject", "session", "contrast", "shows"),
    [
        ("lesion/sub1_FLAIR.nii.gz", "sub1", "", "FLAIR", "image"),
        ("lesion/IXI002-Guys-0828-T1.nii", "IXI002-Guys-0828", "", "T1", "image"),
        ("lesion/BraTS-GLI-00001-000-t1c.nii.gz", "BraTS-GLI-00001-000", "", "T1c", "image"),
        ("lesion/t2f/x7.nii.gz", "x7", "", "FLAIR", "image"),
        ("lesion/anna/flair.nii.gz", "anna", "", "FLAIR", "image"),
        ("lesion/anna/2019/anna_T2w.nii.gz", "anna", "2019", "T2", "image"),
        ("lesion/sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz", "sub-01", "2", "T1", "image"),
        ("healthy/sub-01_ses-02_T1w.nii.gz", "sub-01", "02", "T1", "image"),
        ("healthy/7.nii.gz", "7", "", None, "image"),
        ("healthy/anna/T1_brain.nii.gz", "anna", "", "T1", "image"),
        ("healthy/anna/brain.nii.gz", "anna", "", None, "brain"),
        ("lesion/anna/T1_brain_mask.nii.gz", "anna", "", "T1", "brain"),
        ("lesion/anna/anna-seg.nii.gz", "anna", "", None, "lesion"),
        ("masks/sub1_FLAIR_lesion_mask.nii.gz", "sub1", "", "FLAIR", "lesion"),
        ("masks/sub1.nii.gz", "sub1", "", None, "lesion"),
        ("Masks/anna/whatever.nii.gz", "anna", "", None, "lesion"),
        ("brains/sub1_T1_brain.nii.gz", "sub1", "", "T1", "brain"),
    ],
)
def test_a_volume_is_what_its_place_and_its_name_say(
    place: str, subject: str, session: str, contrast: str | None, shows: str, tmp_path: Path
) -> None:
    save(tmp_path / place, np.zeros((2, 2, 2), np.uint8))

    (volume,) = plain.read_volumes(tmp_path)

    found = (volume.subject, volume.session, volume.contrast, volume.shows)
    assert found == (subject, session, contrast, shows)
    assert volume.healthy == {"healthy": True, "lesion": False}.get(place.split("/")[0])


@pytest.mark.parametrize(
    ("image", "mask", "subject"),
    [
        ("pat1_FLAIR", "pat1_FLAIR-rater2", "pat1"),
        ("pat1_FLAIR", "pat1_outline", "pat1"),
        ("case7_0000", "case7", "case7_0000"),
        ("pat1_FLAIR", "pat10_outline", "pat10_outline"),  # of somebody else
        ("pat1_FLAIR_preproc", "pat1", "pat1_preproc"),
    ],
)
def test_a_mask_that_is_named_a_little_otherwise_finds_its_image(
    image: str, mask: str, subject: str, tmp_path: Path
) -> None:
    for place in (f"lesion/{image}", f"masks/{mask}", "lesion/other_FLAIR"):
        save(tmp_path / f"{place}.nii.gz", np.zeros((2, 2, 2), np.uint8))

    assert [one.subject for one in plain.read_volumes(tmp_path) if one.shows == "lesion"] == [subject]


def test_a_mask_that_could_be_of_two_images_is_of_neither(tmp_path: Path) -> None:
    for place in ("lesion/case7_0000", "lesion/case7_0001", "masks/case7"):
        save(tmp_path / f"{place}.nii.gz", np.zeros((2, 2, 2), np.uint8))

    assert [one.subject for one in plain.read_volumes(tmp_path) if one.shows == "lesion"] == ["case7"]


def test_a_folder_is_a_data_set_with_a_name_a_card_and_sessions(scans: Path, runtime: Runtime) -> None:
    table = "subject\tage\tsex\tcentre\tdiagnosis\npatient7\t61\tM\tBern\tglioma\n"
    (scans / "participants.tsv").write_text(table)
    said: list[str] = []

    name = name_dataset(str(scans), runtime, tell=said.append)

    assert name == "own_my_scans"
    assert said == [
        "own_my_scans: 2 subjects with lesions, 3 healthy; T1; the brain alone is shown; MNI152 space"
    ]
    card = dataset_card(name)
    assert (card.role, card.population, card.contrasts) == ("both", "patients", ("T1",))
    assert (card.space, card.skull_stripped, card.lesion_labels) == ("MNI152", True, (1,))
    assert card.headline == "baur5"  # 33 ml each
    assert card.partners == {"T1": (name,)}
    found = datasets.find_or_make(name, runtime.paths, 1, runtime.progress)
    assert [s.id for s in found.sessions] == ["control0", "control1", "control2", "patient7", "patient8"]
    patient = found.sessions[3]
    assert (patient.healthy, patient.age, patient.sex) == (False, 61.0, "M")
    assert (patient.site, patient.lesion_kind, patient.mask_contrast) == ("Bern", "glioma", "T1")
    assert patient.lesion_mask == scans / "masks" / "patient7_T1_mask.nii.gz"


def test_brains_beside_whole_heads_are_refused_unless_the_card_says_which_they_are(
    scans: Path, runtime: Runtime
) -> None:
    noise = np.abs(np.random.default_rng(5).normal(0, 40, GRID.shape))
    save(scans / "lesion" / "patient7_T1.nii.gz", (head(7, 20.0)[0] + noise).astype(np.float32))

    with pytest.raises(UserError, match="patient8 shows the brain alone and patient7 the whole head"):
        name_dataset(str(scans), runtime)

    (scans / "card.toml").write_text('space = "MNI152"\nskull_stripped = true\n')
    assert dataset_card(name_dataset(str(scans), runtime)).skull_stripped


def test_the_same_folder_has_the_same_name_and_another_of_its_name_another(
    scans: Path, runtime: Runtime
) -> None:
    other = scans.parent / "other" / "my-scans"
    save(other / "healthy" / "a_T1.nii.gz", head()[0])

    names = [name_dataset(str(place), runtime) for place in (scans, other, scans, f"{other}/.", other)]

    assert names[0] == names[2] == "own_my_scans"
    assert names[1] == names[3] == names[4] != names[0]
    assert names[1].startswith("own_my_scans_")
    assert name_dataset(names[1], runtime) == names[1]
    assert {names[0], names[1]} <= set(catalog.names("datasets"))


@pytest.mark.slow
def test_copies_of_brats_2013_in_bids_names_are_prepared_as_those_of_the_release(
    runtime: Runtime, tmp_path: Path
) -> None:
    write_fixture("brats13", tmp_path / "brats13", subjects=1)
    runtime.paths.remember_root("brats13", tmp_path / "brats13")
    (folder,) = (tmp_path / "brats13").glob("brats_2013_*")
    copies = {
        "sub-1/anat/sub-1_FLAIR": "Flair_subtrMeanDivStd",
        "sub-1/anat/sub-1_ce-gadolinium_T1w": "T1c_subtrMeanDivStd",
        "derivatives/truth/sub-1/anat/sub-1_desc-brain_mask": "brainmask",
        "derivatives/truth/sub-1/anat/sub-1_label-tumor_dseg": "OTMultiClass",
    }
    for place, name in copies.items():
        (tmp_path / "copy" / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / f"{name}.nii.gz", tmp_path / "copy" / f"{place}.nii.gz")
    (tmp_path / "copy" / "card.toml").write_text('space = "SRI24"\nskull_stripped = true\n')
    name = name_dataset(str(tmp_path / "copy"), runtime)
    assert (dataset_card(name).lesion_labels, dataset_card(name).headline) == ((1, 2, 3, 4), "baur5")

    prepare_dataset("brats13", [], ["g48"], runtime)
    made = sorted((runtime.paths.cache / "g48").iterdir())
    prepare_dataset(name, [], ["g48"], runtime)

    assert len(made) == 2
    assert sorted((runtime.paths.cache / "g48").iterdir()) == made  # the same by what they are made of


@pytest.mark.slow
def test_a_run_on_a_folder_has_a_record(scans: Path, runtime: Runtime) -> None:
    name = name_dataset(str(scans), runtime)
    config = RunConfig(
        method="intensity", dataset=name, preset="ci", protocol="uad-1-4mm", train="none", split="all-test"
    )

    made = run(config, runtime).record

    assert (made.test, made.regime) == (name, "none")
    assert {s.id for s in made.subjects} == {"patient7", "patient8"}


def test_healthy_scans_without_the_tested_contrast_are_in_the_record(scans: Path, runtime: Runtime) -> None:
    """Of a method that is trained on T1 and tested on FLAIR: each of the split, as check-record wants it."""
    for file in [*(scans / "lesion").iterdir(), *(scans / "masks").iterdir()]:
        file.rename(file.with_name(file.name.replace("T1", "FLAIR")))
    rule = "[healthy_split]\ntrain = 0.4\nval = 0.0\n"
    (scans / "card.toml").write_text(f'space = "MNI152"\n{rule}')
    name = name_dataset(str(scans), runtime)
    config = RunConfig(
        method="mean_residual", dataset=name, train=name, contrast="FLAIR", train_contrasts=("T1",),
        preset="ci", protocol="uad-1-4mm",
    )  # fmt: skip

    done = run(config, runtime)

    without = [one.id for one in done.record.excluded if one.reason == "has no FLAIR"]
    assert len(without) == done.record.splits["healthy-test"].subjects > 0
    assert check_record(done.path).wrong == []


def left_out(scans: Path, runtime: Runtime) -> dict[str, str]:
    found = datasets.find_or_make(name_dataset(str(scans), runtime), runtime.paths, 1, runtime.progress)
    return {item.id: item.reason for item in found.left_out}


def test_what_cannot_be_used_is_left_out_with_its_reason(scans: Path, runtime: Runtime) -> None:
    image, lesion = head(1, 20.0)
    save(scans / "lesion" / "bare_T1.nii.gz", image)
    save(scans / "healthy" / "ill_T1.nii.gz", image)
    save(scans / "masks" / "ill.nii.gz", lesion)
    save(scans / "healthy" / "twin_T1.nii.gz", image)
    save(scans / "lesion" / "twin_T1.nii.gz", image)
    save(scans / "lesion" / "patient7_T1w.nii.gz", image)
    save(scans / "lesion" / "patient8" / "untold.nii.gz", image)
    save(scans / "masks" / "nobody.nii.gz", lesion)
    save(scans / "brains" / "nobody.nii.gz", lesion)
    save(scans / "masks" / "patient8_seg.nii.gz", lesion)

    assert left_out(scans, runtime) == {
        "bare": "has no lesion mask",
        "ill": "is said to be healthy and has a lesion mask (masks/ill.nii.gz): one of both is wrong",
        "twin": "is said to be healthy and to have lesions: rename one where they are two people",
        "lesion/patient7_T1w.nii.gz": "a second T1 beside lesion/patient7_T1.nii.gz",
        "lesion/patient8/untold.nii.gz": "its name does not say the contrast (as _T1 or _FLAIR would)",
        "lesion masks without an image": "1 (masks/nobody.nii.gz)",
        "brain masks without an image": "1 (brains/nobody.nii.gz)",
        "masks/patient8_seg.nii.gz": "a second lesion mask beside masks/patient8_T1_mask.nii.gz",
    }


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            ["sub-1/anat/T1w.nii.gz"],
            r"no subject that can be used \(sub-1/anat/T1w.nii.gz: is not named as BIDS",
        ),
        (["sub-1/anat/sub-1_T1w.nii.gz"], "nothing says that the subject is healthy"),
        ([], "holds nothing; expected: healthy/ and lesion/"),
        (["notes.txt"], "holds no scan; expected: healthy/"),
        (["a.nii.gz"], r"holds 1 \(a.nii.gz\), in neither healthy/ nor lesion/; expected"),
        (["1/IM0001.dcm", "1/IM0002.dcm"], r"holds DICOM files \(2 \(IM0001.dcm, IM0002.dcm\)\): .*dcm2niix"),
        (["lesion/1/IM0001.IMA"], "holds DICOM files .*dcm2niix"),
        (["lesion/1/0001"], "holds DICOM files .*dcm2niix"),
        (["healthy/notes.txt"], "holds no scan; expected"),
        (["lesion/a_T1.nii.gz"], r"holds no subject that can be used \(a: has no lesion mask\); expected"),
        (["healthy/a.nii.gz"], "such as a.nii.gz, do not say which contrast they show: add --contrast"),
    ],
)
def test_a_folder_that_is_no_data_set_is_told_so(
    files: list[str], said: str, tmp_path: Path, runtime: Runtime
) -> None:
    root = tmp_path / "x"
    root.mkdir()
    for file in files:
        place = root / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(bytes(128) + b"DICM" + bytes(8) if place.suffix == "" else b"not read")

    with pytest.raises(UserError, match=said):
        name_dataset(str(root), runtime)

    assert not (runtime.paths.own / "datasets" / "own_x" / "card.toml").exists()


# ---- where a folder is accepted ----------------------------------------------------------------


def uadbench(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    return done.output


def test_verify_takes_a_folder_and_says_what_is_wrong_with_each_file(scans: Path, runtime: Runtime) -> None:
    assert "nothing is wrong" in uadbench("verify", str(scans), "--workers", "1")
    image, lesion = head(9, 20.0)
    save(scans / "healthy" / "many_T1.nii.gz", np.stack([image, image], 3))
    (scans / "healthy" / "empty_T1.nii.gz").write_bytes(b"")
    save(scans / "lesion" / "astray_T1.nii.gz", image)
    moved = GRID.affine.copy()
    moved[:3, 3] += 40
    save(scans / "masks" / "astray.nii.gz", lesion, moved)

    done = CliRunner().invoke(app, ["verify", str(scans), "--workers", "1"])

    assert done.exit_code == 1
    said = " ".join(done.output.split())
    assert "expected three axes (further ones of length 1 are dropped): extract one volume" in said
    assert "empty_T1.nii.gz" in said
    assert "astray.nii.gz has the shape of T1, but another affine" in said
    assert "something is wrong with 3 (astray, empty, many)" in said


def test_prepare_and_load_volume_take_a_folder(scans: Path, runtime: Runtime) -> None:
    said = uadbench("prepare", str(scans), "--grid", "g48", "--workers", "1")
    volume = api.load_volume(scans, "patient7", grid="g48", runtime=runtime)

    assert "skull-stripped image 5" in " ".join(said.split())
    assert volume.image.shape == (1, *GRID.shape)
    assert abs(np.count_nonzero(volume.brain) / np.count_nonzero(head(7)[0]) - 1) < 0.02


def test_a_sweep_names_folders_anywhere(scans: Path, runtime: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text(
        f'methods = ["intensity"]\ndatasets = ["{scans}"]\ntrain = "{scans}"\n[[exclude]]\nseed = 3\n'
    )

    (task,) = Sweep(file, runtime).tasks

    assert (task.config.dataset, task.config.train, task.mistake) == ("own_my_scans", "own_my_scans", "")
    assert str(runtime.paths.own) not in os.environ.get(catalog.PLUGINS_VARIABLE, "")


def test_a_new_data_set_is_written_from_a_folder(
    scans: Path, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = uadbench("new", "dataset", "hospital", "--from", str(scans), "--folder", str(tmp_path / "mine"))

    assert said.startswith("hospital: 2 subjects with lesions, 3 healthy; T1;")
    monkeypatch.setenv(catalog.PLUGINS_VARIABLE, str(tmp_path / "mine"))
    assert dataset_card("hospital").space == "MNI152"
    assert len(datasets.find_or_make("hospital", runtime.paths, 1, runtime.progress).sessions) == 5
    assert "failed" not in uadbench("check-dataset", "hospital")


def test_a_folder_is_its_own_root(scans: Path, runtime: Runtime) -> None:
    done = CliRunner().invoke(app, ["verify", str(scans), "--root", str(scans.parent)])

    assert "is a folder of scans already: leave --root out" in str(done.exception)


@pytest.mark.parametrize("place", ["no/folder", "./scan.nii.gz", ""])
def test_what_is_no_folder_is_a_mistake_in_one_sentence(
    place: str, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan.nii.gz").write_bytes(b"")

    done = CliRunner().invoke(app, ["verify", place])

    assert isinstance(done.exception, UserError)
    assert not runtime.paths.own.exists()


def test_a_contrast_that_no_name_says_is_asked_for_and_remembered(tmp_path: Path, runtime: Runtime) -> None:
    save(tmp_path / "x" / "lesion" / "a.nii.gz", head(1, 20.0)[0])
    save(tmp_path / "x" / "masks" / "a.nii.gz", 255 * head(1, 20.0)[1])

    name = name_dataset(str(tmp_path / "x"), runtime, "flair")

    assert dataset_card(name).contrasts == ("FLAIR",)
    assert dataset_card(name).lesion_labels == (255,)
    assert name_dataset(str(tmp_path / "x"), runtime) == name
    assert dataset_card(name).contrasts == ("FLAIR",)
    with pytest.raises(UserError, match="There is no contrast 'T7'"):
        name_dataset(str(tmp_path / "x"), runtime, "T7")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("space = ", "is not valid TOML"),
        ('space = "Mars"', "There is no space 'Mars'"),
        ("spaces = 3", "There is no key 'spaces'"),
        ('contrasts = ["T9"]', "There is no contrast 'T9'"),
    ],
)
def test_a_card_in_the_folder_is_checked_under_its_own_name(
    content: str, said: str, scans: Path, runtime: Runtime
) -> None:
    (scans / "card.toml").write_text(content)

    with pytest.raises(UserError, match=said) as caught:
        name_dataset(str(scans), runtime)

    assert str(scans / "card.toml") in str(caught.value)


# ---- BIDS --------------------------------------------------------------------------------------


@pytest.fixture
def bids_set(tmp_path: Path) -> Path:
    """Two patients (one with two sessions), two controls, one of whom nothing is said."""
    root = tmp_path / "study"
    touch = np.zeros((2, 2, 2), np.uint8)
    for place in (
        "sub-01/ses-a/anat/sub-01_ses-a_T1w", "sub-01/ses-a/anat/sub-01_ses-a_ce-gad_T1w",
        "sub-01/ses-a/anat/sub-01_ses-a_FLAIR", "sub-01/ses-b/anat/sub-01_ses-b_FLAIR",
        "derivatives/manual/sub-01/ses-a/anat/sub-01_ses-a_space-FLAIR_label-lesion_mask",
        "derivatives/manual/sub-01/ses-b/anat/sub-01_ses-b_label-lesion_dseg",
        "sub-02/anat/sub-02_acq-hi_T1w", "sub-02/anat/sub-02_T1w", "sub-02/anat/sub-02_label-lesion_roi",
        "derivatives/prep/sub-02/anat/sub-02_desc-brain_mask",
        "derivatives/prep/sub-02/anat/sub-02_dseg", "derivatives/prep/sub-02/anat/sub-02_label-GM_probseg",
        "derivatives/prep/sub-02/anat/sub-02_space-MNI152NLin6Asym_desc-brain_mask",
        "derivatives/prep/sub-02/anat/sub-02_desc-preproc_T1w",
        "sub-03/anat/sub-03_T1w", "sub-04/anat/sub-04_T1w", "sub-05/anat/sub-05_T1w",
        "sub-03/func/sub-03_task-rest_bold", "sourcedata/sub-09/sub-09_T1w",
    ):  # fmt: skip
        save(root / f"{place}.nii.gz", touch)
    (root / "dataset_description.json").write_text('{"Name": "study", "BIDSVersion": "1.8.0"}')
    rows = ["participant_id\tage\tgroup", "sub-01\t50\tpatient", "sub-02\t60\tpatient"]
    rows += ["sub-03\t40\tHealthy Control", "sub-04\t41\thc", "sub-05\t42\tn/a"]
    (root / "participants.tsv").write_text("\n".join(rows))
    return root


def test_a_bids_set_is_read_by_its_names_and_its_groups(bids_set: Path, runtime: Runtime) -> None:
    name = name_dataset(str(bids_set), runtime)

    found = datasets.find_or_make(name, runtime.paths, 1, runtime.progress)
    sessions = {session.id: session for session in found.sessions}
    assert list(sessions) == ["sub-01_ses-a", "sub-01_ses-b", "sub-02", "sub-03", "sub-04"]
    first = sessions["sub-01_ses-a"]
    assert (first.subject, first.label, first.age, first.healthy) == ("sub-01", "a", 50.0, False)
    assert sorted(first.images) == ["FLAIR", "T1", "T1c"]
    assert (first.mask_contrast, first.brain_mask) == ("FLAIR", None)
    assert sessions["sub-01_ses-b"].lesion_mask is not None
    second = sessions["sub-02"]
    assert second.images["T1"].name == "sub-02_T1w.nii.gz"
    assert second.mask_of("T1") == bids_set / "derivatives/prep/sub-02/anat/sub-02_desc-brain_mask.nii.gz"
    assert [sessions[one].healthy for one in ("sub-03", "sub-04")] == [True, True]
    derived = "derivatives/prep/sub-02/anat/sub-02"
    assert {item.id: item.reason for item in found.left_out} == {
        "sub-02/anat/sub-02_acq-hi_T1w.nii.gz": "a second T1 beside sub-02/anat/sub-02_T1w.nii.gz",
        f"{derived}_dseg.nii.gz": "does not say that its labels are lesions: name it with label-lesion",
        f"{derived}_space-MNI152NLin6Asym_desc-brain_mask.nii.gz": (
            "a mask in the space MNI152NLin6Asym, in which no image is used"
        ),
        "sub-05": "has no lesion mask, and nothing says that the subject is healthy",
    }


def test_a_card_in_the_folder_says_that_all_without_a_mask_are_healthy(
    bids_set: Path, runtime: Runtime
) -> None:
    (bids_set / "participants.tsv").unlink()
    (bids_set / "card.toml").write_text('role = "healthy"\n')

    found = datasets.find_or_make(name_dataset(str(bids_set), runtime), runtime.paths, 1, runtime.progress)

    assert [s.id for s in found.sessions if s.healthy] == ["sub-03", "sub-04", "sub-05"]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("sub-02/anat/sub-02_acq-a_acq-b_T1w", "is not named as BIDS demands"),
        ("sub-02/anat/sub-02_scan_T1w", "is not named as BIDS demands"),
        ("sub-02/anat/sub-_T1w", "is not named as BIDS demands"),
        ("sub-02/anat/T1w", "is not named as BIDS demands"),
        ("sub-02/anat/sub-03_run-2_T1w", "is named after another subject than its folder, sub-02"),
        ("derivatives/m/sub-77/anat/sub-77_label-lesion_mask", "a mask in the space of the scanner"),
        ("sub-02/anat/sub-02_run-2_T1w", "a second T1 beside"),
        ("sub-03/anat/sub-03_label-lesion_mask", "is said to be healthy and has a lesion mask"),
    ],
)
def test_what_is_wrong_in_a_bids_set_is_left_out(
    place: str, reason: str, bids_set: Path, runtime: Runtime
) -> None:
    save(bids_set / f"{place}.nii.gz", np.zeros((2, 2, 2), np.uint8))

    assert any(said.startswith(reason) for said in left_out(bids_set, runtime).values())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{not json", "cannot be read as JSON"),
        ("", "cannot be read as JSON"),
        ("[1]", "cannot be read as JSON"),
        ('{"Name": "x", "BIDSVersion": 1.8}', "expects text as BIDSVersion"),
    ],
)
def test_a_description_that_is_none_is_a_mistake(
    content: str, said: str, bids_set: Path, runtime: Runtime
) -> None:
    (bids_set / "dataset_description.json").write_text(content)

    with pytest.raises(UserError, match=said):
        name_dataset(str(bids_set), runtime)


def test_without_a_description_with_links_in_circles_and_pickles_a_bids_set_is_read(
    bids_set: Path, runtime: Runtime
) -> None:
    (bids_set / "dataset_description.json").unlink()
    (bids_set / "sub-01" / "loop").symlink_to(bids_set)
    (bids_set / "sub-03" / "anat" / "sub-03_FLAIR.nii.gz").symlink_to("nowhere")
    (bids_set / ".ancpbids-dataset.pickle").write_bytes(b"never loaded")

    name = name_dataset(str(bids_set), runtime)
    found = datasets.find_or_make(name, runtime.paths, 1, runtime.progress)

    assert len(found.sessions) == 5
    assert any(item.id == "links without content" for item in found.left_out)
    assert "dataset_description.json" in {remark.id for remark in found.remarks}
