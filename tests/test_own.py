"""Own scans: a folder is a data set like any other, and what is wrong in it is said in a sentence."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from uadbench import catalog, datasets
from uadbench.cards import dataset_card
from uadbench.data import plain
from uadbench.data.space import GRIDS
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.own import name_dataset
from uadbench.experiment.run import run
from uadbench.system.errors import UserError
from uadbench.testing.toys import draw_ellipsoid

GRID = GRIDS["g48"]
Write = Callable[..., Path]


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


def test_a_run_on_a_folder_has_a_record(scans: Path, runtime: Runtime) -> None:
    name = name_dataset(str(scans), runtime)
    config = RunConfig(
        method="intensity", dataset=name, preset="ci", protocol="uad-1-4mm", train="none", split="all-test"
    )

    made = run(config, runtime).record

    assert (made.test, made.regime) == (name, "none")
    assert {s.id for s in made.subjects} == {"patient7", "patient8"}


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
