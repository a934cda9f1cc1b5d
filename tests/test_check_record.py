"""A record that was changed by hand is refused, and told why."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uadbench import record
from uadbench.check_record import check
from uadbench.errors import UserError
from uadbench.files import sha256

RESULTS = Path(__file__).parent.parent / "results"
PLACE = Path("uad-1-2mm/phantom-to-phantom/T1/pca/ci/seed-0.json")
Content = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A copy of a committed record, with its pieces."""
    if not RESULTS.is_dir():
        pytest.skip("the committed records are not here")
    folder = (tmp_path / PLACE).parent
    folder.mkdir(parents=True)
    for file in (PLACE, PLACE.with_suffix(".npz")):
        shutil.copy(RESULTS / file, folder)
    return tmp_path / PLACE


def change(path: Path, edit: Callable[[Content], object]) -> list[str]:
    """What is found wrong after an edit of the JSON."""
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return check(path)


def change_pieces(path: Path, edit: Callable[[dict[str, Any]], object]) -> list[str]:
    """What is found wrong after an edit of the pieces, their hash in the JSON made to fit."""
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
        arrays = {name: stored[name].copy() for name in stored.files}
    edit(arrays)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            written = io.BytesIO()
            np.lib.format.write_array(written, array, allow_pickle=False)
            archive.writestr(f"{name}.npy", written.getvalue())
    path.with_suffix(".npz").write_bytes(buffer.getvalue())
    return change(path, lambda made: made["pieces"].update(sha256=sha256(buffer.getvalue())))


def test_a_record_as_it_was_made_is_consistent(path: Path) -> None:
    assert check(path) == []


def profile(made: Content) -> Content:
    found: Content = made["summary"]["profiles"]["baur5"]
    return found


def first(made: Content, partition: str) -> Content:
    found: Content = next(s for s in made["subjects"] if s["partition"] == partition)
    return found


def drop_worst(made: Content) -> None:
    made["subjects"].remove(first(made, "lesion-test"))


TAMPERINGS: dict[str, tuple[Callable[[Content], object], str]] = {
    "a better AP": (lambda m: profile(m).update(ap=0.9), "summary.profiles.baur5.ap is 0.9"),
    "a better Dice": (
        lambda m: profile(m)["points"]["fpr1"].update(dsc=0.8),
        "summary.profiles.baur5.points.fpr1.dsc is 0.8",
    ),
    "a better recall of small lesions": (
        lambda m: profile(m)["points"]["fpr1"]["by_size"]["under 0.1 ml"].update(recall=1.0),
        "recall is 1.0",
    ),
    "a kind of lesion left out": (lambda m: profile(m)["kinds"].pop("ms"), "kinds lacks ms"),
    "a subject's own AP": (lambda m: first(m, "lesion-test")["ap"].update(baur5=0.99), "has ap 0.99"),
    "a subject's own Dice": (
        lambda m: first(m, "lesion-test")["dsc"]["raw"].update(oracle=0.99),
        "has Dice 0.99",
    ),
    "a threshold tuned on the test set": (
        lambda m: m["thresholds"]["raw"].update(val=m["thresholds"]["raw"]["oracle"] * 3),
        "the threshold val of raw",
    ),
    "another false-positive rate": (
        lambda m: m["thresholds"]["baur5"].update(fpr1=m["thresholds"]["baur5"]["fpr5"]),
        "the threshold fpr1 of baur5 gives a rate of",
    ),
    "a subject moved into the test set": (
        lambda m: first(m, "lesion-val").update(partition="lesion-test"),
        "but the split puts its person into lesion-val",
    ),
    "a subject removed": (drop_worst, "are of other subjects than the record"),
    "a subject twice": (
        lambda m: first(m, "lesion-test").update(id=m["subjects"][-1]["id"]),
        "listed twice",
    ),
    "a shrunken split": (
        lambda m: m["splits"]["lesion-test"].update(subjects=3),
        "lesion-test has 3 subjects in the split",
    ),
    "another regime": (lambda m: m.update(regime="cross"), "regime is cross"),
    "another training set": (lambda m: m.update(train="ixi"), "another folder than its facts say"),
    "another method's name": (lambda m: m.update(method="vae"), "another folder than its facts say"),
    "an unknown method": (lambda m: m.update(method="oracle"), "There is no method 'oracle'"),
    "a hidden option": (lambda m: m["parameters"].update(components=4), "option components differs"),
    "an older metric": (lambda m: m.update(metric_version=0), "metric_version is 0"),
    "a scan AUROC": (lambda m: m["summary"]["scan"].update(auroc=1.0), "summary.scan.auroc is 1.0"),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_refused_with_the_reason(path: Path, name: str) -> None:
    edit, reason = TAMPERINGS[name]
    found = change(path, edit)
    assert any(reason in one for one in found), found


def test_pieces_that_were_changed_are_refused(path: Path) -> None:
    """Even where their hash was made to fit."""

    def swap(arrays: dict[str, Any]) -> None:
        arrays["raw/positives"], arrays["raw/negatives"] = arrays["raw/negatives"], arrays["raw/positives"]

    assert any("lesion voxels" in one for one in change_pieces(path, swap))


def test_hits_that_were_changed_are_refused(path: Path) -> None:
    found = change_pieces(path, lambda arrays: arrays["raw/voxels"].__imul__(2))
    assert any("at oracle (raw) are not those of its pieces" in one for one in found)


def test_pieces_of_another_record_are_refused(path: Path) -> None:
    shutil.copy(RESULTS / str(PLACE.with_suffix(".npz")).replace("pca", "random"), path.with_suffix(".npz"))
    with pytest.raises(UserError, match="are not those of"):
        check(path)


def test_what_is_no_record_is_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "seed-0.json"
    file.write_text("{}")
    with pytest.raises(UserError, match="is not a record"):
        check(file)


def test_every_committed_record_is_consistent() -> None:
    if not RESULTS.is_dir():
        pytest.skip("the committed records are not here")
    for made in record.read_all(RESULTS):
        assert check(RESULTS / made.place) == [], made.place
