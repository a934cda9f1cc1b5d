"""Verify: what is wrong with a download is found, file by file, and what is legal is only remarked."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from uadbench import cards
from uadbench.cards import DatasetCard
from uadbench.cli import app
from uadbench.data.session import LeftOut, Session
from uadbench.datasets import Found
from uadbench.experiment.config import Runtime
from uadbench.preprocessing import scan
from uadbench.preprocessing.verify import Report, verify
from uadbench.system.progress import Silent
from uadbench.testing import write_fixture

AFFINE = np.diag([4.0, 4, 4, 1])


def save(path: Path, array: NDArray[Any], affine: NDArray[np.float64] = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def ball(shape: tuple[int, ...] = (24, 26, 22), radius: float = 9) -> NDArray[np.bool_]:
    middle = np.array(shape).reshape(3, 1, 1, 1) / 2
    return np.asarray(((np.indices(shape) - middle) ** 2).sum(0) < radius**2)


def session(folder: Path, name: str, **facts: Any) -> Session:
    image = ball() * np.random.default_rng(len(name) + ord(name[0])).integers(50, 90, (24, 26, 22))
    given: dict[str, Any] = {
        "images": {"T1": save(folder / f"{name}_t1.nii.gz", image.astype(np.int16))},
        "brain_mask": save(folder / f"{name}_brain.nii.gz", ball().astype(np.uint8)),
        "lesion_mask": save(folder / f"{name}_lesion.nii.gz", ball(radius=3).astype(np.uint8)),
        "healthy": False,
    }
    return Session(id=name, cohort="made", subject=name, **given | facts)


def card() -> DatasetCard:
    names = ("title", "summary", "address", "access", "licence", "forbids", "citation", "layout")
    words: dict[str, Any] = dict.fromkeys(names, "")
    return DatasetCard(
        **words,
        name="made",
        role="lesion",
        population="patients",
        layout_confidence="V",
        contrasts=("T1", "T2"),
        space="native",
        skull_stripped=False,
        ignore_labels=(2,),
        expected={"T1": 3, "T2": 1},
    )


def report(folder: Path, sessions: Sequence[Session], workers: int = 1) -> Report:
    left_out = (LeftOut("z", "has no image"),)
    return verify(Found(card(), folder, tuple(sessions), left_out), workers, Silent())


def problem(folder: Path, one: Session) -> str:
    found = report(folder, [one])
    assert not found.ok
    assert len(found.problems) == 1
    return str(found.problems[0])


def test_a_download_in_order_is_ok_and_a_part_of_it_too(tmp_path: Path) -> None:
    made = [session(tmp_path, "a"), session(tmp_path, "b")]
    found = report(tmp_path, made)
    assert found.ok
    assert [tuple(row) for row in found.counts] == [("T1", 3, 2, 1, 0), ("T2", 1, 0, 1, 0)]
    assert (found.sessions, found.subjects, found.healthy) == (2, 2, 0)
    content = json.loads(json.dumps(found.as_dict()))
    assert content["ok"] is True
    assert content["counts"][0] == {"contrast": "T1", "expected": 3, "found": 2, "missing": 1, "surplus": 0}
    assert content["left_out"] == [{"id": "z", "reason": "has no image"}]
    assert report(tmp_path, made, workers=2) == found


def test_surplus_and_unexpected_contrasts_are_counted(tmp_path: Path) -> None:
    made = [session(tmp_path, name) for name in "abcd"]
    images = {"PD": save(tmp_path / "pd.nii", (ball() * 9 + np.arange(22)).astype(np.int16))}
    made.append(session(tmp_path, "e", images=images))
    rows = {row.contrast: tuple(row)[1:] for row in report(tmp_path, made).counts}
    assert rows == {"T1": (3, 4, 0, 1), "T2": (1, 0, 1, 0), "PD": (None, 1, 0, 0)}


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "is empty"), (b"\x1f\x8b\x08\x00" + b"\x00" * 20, "cannot be read")]
)
def test_files_that_cannot_be_read_are_problems(content: bytes, words: str, tmp_path: Path) -> None:
    one = session(tmp_path, "a")
    one.images["T1"].write_bytes(content)
    assert words in problem(tmp_path, one)


def test_nan_constant_volumes_and_unknown_labels_are_problems(tmp_path: Path) -> None:
    bad = np.ones((24, 26, 22), np.float32)
    assert "one value 1" in problem(
        tmp_path, session(tmp_path, "a", images={"T1": save(tmp_path / "c.nii", bad)})
    )
    bad[0, 0, 0] = np.nan
    assert "NaN" in problem(tmp_path, session(tmp_path, "b", images={"T1": save(tmp_path / "n.nii", bad)}))
    labels = save(tmp_path / "l.nii.gz", ball(radius=3).astype(np.uint8) * 4)
    assert "has the labels [4], the data set's card lists [0, 1, 2]" in problem(
        tmp_path, session(tmp_path, "c", lesion_mask=labels)
    )


def test_another_shape_is_remarked_and_another_affine_of_the_same_shape_is_a_problem(
    tmp_path: Path,
) -> None:
    small = save(tmp_path / "small.nii.gz", ball((12, 13, 11), 2).astype(np.uint8), np.diag([8.0, 8, 8, 1]))
    found = report(tmp_path, [session(tmp_path, "a", lesion_mask=small)])
    assert found.ok
    assert "small.nii.gz has the shape (12, 13, 11)" in found.remarks[0].reason
    moved = AFFINE.copy()
    moved[0, 3] = 5
    shifted = save(tmp_path / "shifted.nii.gz", ball(radius=3).astype(np.uint8), moved)
    assert "another affine" in problem(tmp_path, session(tmp_path, "b", lesion_mask=shifted))


def test_a_lesion_subject_without_mask_is_a_problem_and_an_empty_mask_a_remark(tmp_path: Path) -> None:
    assert "without a lesion mask" in problem(tmp_path, session(tmp_path, "a", lesion_mask=None))
    empty = save(tmp_path / "empty.nii.gz", np.zeros((24, 26, 22), np.uint8))
    found = report(tmp_path, [session(tmp_path, "b", lesion_mask=empty)])
    assert found.ok
    assert "is empty" in found.remarks[0].reason


def test_a_subject_without_image_and_a_mask_without_brain_are_problems(tmp_path: Path) -> None:
    assert "no image" in problem(tmp_path, session(tmp_path, "a", images={}))
    empty = save(tmp_path / "empty.nii.gz", np.zeros((24, 26, 22), np.uint8))
    assert "covers 0 ml" in problem(tmp_path, session(tmp_path, "b", brain_mask=empty))


def test_a_full_head_without_a_mask_is_remarked(tmp_path: Path) -> None:
    found = report(tmp_path, [session(tmp_path, "a", brain_mask=None)])
    assert found.ok
    assert "full head" in found.remarks[0].reason


def test_duplicates_are_problems_between_subjects_and_remarks_within_one(tmp_path: Path) -> None:
    first = session(tmp_path, "a")
    copy = save(tmp_path / "copy.nii", scan.read_scan(first.images["T1"]).array, AFFINE)
    twin = session(tmp_path, "b", images={"T1": copy})
    found = report(tmp_path, [first, twin])
    assert [str(p) for p in found.problems] == [
        "b: T1 is the same image voxel by voxel as a T1: exclude one of them in the data set's card"
    ]
    filled = session(tmp_path, "c", images={"T1": first.images["T1"], "T2": copy})
    found = report(tmp_path, [filled])
    assert found.ok
    assert "same image voxel by voxel" in found.remarks[0].reason


def test_a_duplicate_across_partitions_names_both(tmp_path: Path) -> None:
    published = {"training": "lesion-val", "test": "lesion-test"}
    first = session(tmp_path, "a", part="training")
    copy = save(tmp_path / "copy.nii", scan.read_scan(first.images["T1"]).array, AFFINE)
    twin = session(tmp_path, "b", images={"T1": copy}, part="test")
    made = Found(replace(card(), published_split=published), tmp_path, (first, twin), ())
    found = verify(made, 1, Silent())
    assert [str(p) for p in found.problems] == [
        "b: T1 is the same image voxel by voxel as a T1 (lesion-val and lesion-test): exclude one of them in "
        "the data set's card"
    ]
    assert found.partitions["lesion-val"]["subjects"] == found.partitions["lesion-test"]["subjects"] == 1


def test_a_person_in_two_partitions_is_a_problem(tmp_path: Path) -> None:
    healthy = replace(session(tmp_path, "a", lesion_mask=None), healthy=True, subject="anna")
    found = report(tmp_path, [healthy, replace(session(tmp_path, "b"), subject="anna")])
    assert [str(p) for p in found.problems] == [
        "b: subject anna is in healthy-test and in lesion-test: correct the table or the adapter"
    ]


@pytest.mark.parametrize(
    ("corruption", "code"), [("", 0), ("duplicate", 1), ("truncated", 1), ("unknown_label", 1)]
)
def test_the_exit_code_is_1_when_something_is_wrong_and_the_json_says_all(
    corruption: str, code: int, runtime: Runtime, tmp_path: Path
) -> None:
    write_fixture("atlas2", tmp_path / "made", subjects=2, corruptions=[corruption] if corruption else [])
    said = tmp_path / "report.json"
    arguments = ["verify", "atlas2", "--root", str(tmp_path / "made"), "--report", str(said), "--quiet"]
    done = CliRunner().invoke(app, [*arguments, "--workers", "1"])
    assert done.exit_code == code
    content = json.loads(said.read_text())
    assert set(content) == {
        "version", "dataset", "root", "ok", "subjects", "persons", "healthy", "counts", "partitions",
        "left_out", "problems", "remarks",
    }  # fmt: skip
    assert content["ok"] == (code == 0)
    assert (content["subjects"], content["persons"], content["healthy"]) == (2, 2, 0)
    assert {problem["subject_id"] for problem in content["problems"]} == (
        {"sub-r003s002_ses-1"} if code else set()
    )
    assert all(set(problem) == {"subject_id", "file", "reason"} for problem in content["problems"])
    assert ("problem: " in done.stdout) == (code == 1)


def test_the_shipped_cards_are_complete() -> None:
    for name in ("ixi", "mslub", "brats13"):
        assert cards.dataset_card(name).layout_confidence
