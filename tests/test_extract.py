"""Brain extraction and rigid motion: on imagined heads with a known brain, and on real ones if here."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from uadbench import cards, datasets
from uadbench.data.session import Session
from uadbench.data.space import GRIDS
from uadbench.preprocessing import brains, extract, prepare, prepare_scan, rigid, scan
from uadbench.preprocessing.brains import Kept
from uadbench.preprocessing.labels import Labels
from uadbench.preprocessing.prepare_scan import Options
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import SubjectError, UserError
from uadbench.system.files import sha256_file
from uadbench.system.progress import Silent
from uadbench.testing import heads


def native() -> NDArray[np.float64]:
    """MNI152 mm -> scanner mm: smaller, nodding, off the centre."""
    turn = heads.turn_by(-9, 3, 4)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn * 0.92, (6, -12, 20)
    return matrix


def known_motion() -> NDArray[np.float64]:
    """A motion of the head between two acquisitions: some degrees about its middle, some millimetres."""
    matrix = np.eye(4)
    matrix[:3, :3] = heads.turn_by(5, -4, 3)
    middle = np.array([6.0, -28.0, 34.0])
    matrix[:3, 3] = middle - matrix[:3, :3] @ middle + (4, -6, 5)
    return matrix


def head(contrast: str, moved: NDArray[np.float64] | None = None) -> Scan:
    """The whole head of an imagined patient with noise, in the scanner's space."""
    image = heads.draw_head(1, "glioma", 3).images[contrast]
    noise = 0.02 * np.random.default_rng(len(contrast)).standard_normal(image.shape)
    world = native() if moved is None else moved @ native()
    return Scan((500 * np.abs(image + noise)).astype(np.float32), world @ heads.DRAWN.affine)


def dice(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> float:
    return float(2 * (one & two).sum() / (one.sum() + two.sum()))


@cache
def extracted(contrast: str) -> NDArray[np.bool_]:
    return extract.extract_brain(head(contrast), contrast, "head")


def save(path: Path, image: Scan) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(image.array, image.affine), path)
    return path


def patient(folder: Path, *contrasts: str, **facts: Any) -> Session:
    """The imagined patient; every contrast but the first was taken after the head had moved."""
    images = {
        c: save(folder / f"{c}.nii.gz", head(c, known_motion() if c != contrasts[0] else None))
        for c in contrasts
    }
    return Session(id="a", cohort="made", subject="a", images=images, **{"healthy": True} | facts)


def kept(folder: Path, session: Session, extractor: str = extract.DEFAULT) -> Kept:
    files = [p for p in [*session.images.values(), session.brain_mask, *session.contrast_masks.values()] if p]
    return Kept(folder / "cache", extractor, {str(path): sha256_file(path) for path in files})


# ---- extraction --------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("contrast", ["T1", "T2", "FLAIR"])
def test_the_brain_of_a_full_head_is_found_in_any_contrast(contrast: str) -> None:
    brain = heads.draw_head(1, "glioma", 3).brain
    assert dice(extracted(contrast), brain) > 0.85


@pytest.mark.thorough
def test_the_same_head_gives_the_same_bits() -> None:
    again = extract.extract_brain(head("T2"), "T2", "head")
    assert again.tobytes() == extracted("T2").tobytes()


def test_what_is_no_head_is_refused() -> None:
    noise = np.random.default_rng(0).random((40, 40, 40)).astype(np.float32)
    with pytest.raises(SubjectError, match="supply a brain mask"):
        extract.extract_brain(Scan(noise, np.diag([1.0, 1, 1, 1])), "T1", "noise")


# ---- rigid motion ------------------------------------------------------------------------------


@pytest.mark.parametrize("contrast", ["T2", "FLAIR"])
def test_a_known_motion_between_contrasts_is_recovered_within_a_millimetre(contrast: str) -> None:
    still, brain = head("T1"), heads.draw_head(1, "glioma", 3).brain
    found = rigid.find_motion(still, brain, head(contrast, known_motion()), "head")
    points = np.argwhere(brain)[::500] @ still.affine[:3, :3].T + still.affine[:3, 3]
    difference = found - known_motion()
    error = points @ difference[:3, :3].T + difference[:3, 3]
    assert np.linalg.norm(error, axis=1).max() < 1.0
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-9)


# ---- which mask a scan gets --------------------------------------------------------------------


@pytest.mark.thorough
def test_the_brain_is_found_on_t1_kept_and_carried_to_a_moved_contrast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = patient(tmp_path, "T1", "T2")
    images = {c: scan.read_image(path) for c, path in session.images.items()}
    calls: list[str] = []

    def find(image: Scan, contrast: str, name: str) -> NDArray[np.bool_]:
        calls.append(contrast)
        return heads.draw_head(1, "glioma", 3).brain

    monkeypatch.setattr(extract, "extract_brain", find)
    carried, how = brains.find_brain(session, "T2", images["T2"], kept(tmp_path, session))
    assert (how["by"], how["on"]) == ("atlas", "T1")
    # Both lattices were moved with the head, so that the brain lies on the same voxels.
    assert dice(carried, heads.draw_head(1, "glioma", 3).brain) > 0.97
    again, _ = brains.find_brain(session, "T1", images["T1"], kept(tmp_path, session))
    np.testing.assert_array_equal(again, heads.draw_head(1, "glioma", 3).brain)
    assert calls == ["T1"]
    mask = next((tmp_path / "cache/brains").iterdir())
    mask.write_bytes(mask.read_bytes()[:-9])  # damaged: made anew
    brains.find_brain(session, "T1", images["T1"], kept(tmp_path, session))
    assert calls == ["T1", "T1"]


def test_a_users_own_mask_wins_and_goes_before_extraction(tmp_path: Path) -> None:
    session = patient(tmp_path, "T1")
    own = heads.draw_head(1, "glioma", 3).brain.copy()
    own[:, :, :20] = False
    path = save(tmp_path / "mask.nii.gz", Scan(own.astype(np.uint8), head("T1").affine))
    session = replace(session, brain_mask=path)
    found, how = brains.find_brain(session, "T1", head("T1"), kept(tmp_path, session))
    np.testing.assert_array_equal(found, own)
    assert how == {"by": "own mask", "on": "T1"}


@pytest.mark.thorough
def test_a_lesion_mask_drawn_on_a_moved_contrast_is_brought_over(tmp_path: Path) -> None:
    drawn = heads.draw_head(1, "glioma", 3)
    lesion = save(
        tmp_path / "lesion.nii.gz",
        Scan(drawn.lesion.astype(np.uint8), known_motion() @ native() @ heads.DRAWN.affine),
    )
    session = patient(tmp_path, "FLAIR", "DWI", lesion_mask=lesion, healthy=False, mask_contrast="DWI")
    image = scan.read_image(session.images["FLAIR"])
    order = prepare_scan.Order(GRIDS["g48"], Labels((1,), (), ()), tmp_path, Options())
    files = {str(p): sha256_file(p) for p in [*session.images.values(), lesion]}
    job = prepare_scan.Job(session, "FLAIR", order, {}, files, tmp_path / "x", "FLAIR", tmp_path / "t")
    found, _ = prepare_scan._labels(job, image, drawn.brain)
    assert found is not None
    there = np.argwhere(drawn.lesion).mean(0)
    right = (native() @ heads.DRAWN.affine)[:3] @ [*there, 1]
    np.testing.assert_allclose(found.affine[:3] @ [*there, 1], right, atol=1.0)
    lonely = replace(session, images={"FLAIR": session.images["FLAIR"]})
    with pytest.raises(SubjectError, match="drawn on DWI, which is not there"):
        prepare_scan.position_of(lonely, "FLAIR")


# ---- external programs -------------------------------------------------------------------------

PROGRAM = """#!{python}
import sys, nibabel, numpy as np
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
image = nibabel.load(arguments["-i"])
mask = (np.asarray(image.dataobj) > 100).astype(np.uint8)
nibabel.save(nibabel.Nifti1Image(mask, image.affine), arguments["-m"])
"""


def test_an_external_extractor_is_used_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    program = tmp_path / "bin/mri_synthstrip"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    with pytest.raises(UserError, match="which is not on the PATH"):
        extract.check_extractor("hd-bet")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    extract.check_extractor("synthstrip")
    assert extract.find_version("synthstrip") == "unknown"
    image = head("T1")
    np.testing.assert_array_equal(extract.run_extractor(image, "synthstrip", "head"), image.array > 100)


def test_the_version_of_an_external_extractor_is_told_by_what_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("hd-bet", "mri_synthstrip"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / program).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / program).chmod(0o755)
    (tmp_path / "lib/python3.11/site-packages/hd_bet-2.0.1.dist-info").mkdir(parents=True)
    (tmp_path / "build-stamp.txt").write_text("freesurfer-linux-7.4.1\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("FREESURFER_HOME", raising=False)
    assert extract.find_version("hd-bet") == "2.0.1"
    assert extract.find_version("synthstrip") == "freesurfer-linux-7.4.1"
    assert extract.find_version("atlas") == extract.EXTRACTION_VERSION


# ---- the whole way -----------------------------------------------------------------------------


@pytest.mark.slow
def test_one_and_two_workers_extract_register_and_correct_to_the_same_bytes(tmp_path: Path) -> None:
    sessions = [replace(patient(tmp_path, "T1", "T2"), id="a"), patient(tmp_path / "b", "FLAIR", "T2")]
    sessions[1] = replace(sessions[1], id="b", subject="b")
    made = {}
    for workers in (1, 2):
        cohort = prepare.prepare(
            sessions, "T2", GRIDS["g48"], cards.dataset_card("ixi"), tmp_path / str(workers), workers,
            Silent(), Options(n4=True),
        )  # fmt: skip
        assert not cohort.failures
        made[workers] = [item.path.read_bytes() for item in cohort.prepared]
        assert [item.facts["brain"]["on"] for item in cohort.prepared] == ["T1", "T2"]
    assert made[1] == made[2]


@pytest.mark.slow
def test_real_heads_are_extracted_as_their_parcellations_say(real_scans: Callable[[str], Path]) -> None:
    found = []
    for session in datasets.find_sessions("ixi", real_scans("ixi_hh_2mm")).sessions[::8]:
        image, truth = scan.read_image(session.images["T1"]), scan.read_scan(session.contrast_masks["T1"])
        found.append(dice(extract.extract_brain(image, "T1", session.id), truth.array > 0.5))
    assert np.mean(found) >= 0.95
    assert min(found) >= 0.93
