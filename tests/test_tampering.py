"""A record that was changed by hand is refused, and told why; the leaderboard does not show it.

What passes is listed by `check-record` itself (`uadbench.experiment.check_record.CANNOT_SEE`).
"""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uadbench.data.sizes import VOLUMES
from uadbench.evaluation.evaluate import Evaluation
from uadbench.evaluation.summary import summarise
from uadbench.experiment import pieces_file, recompute, record
from uadbench.experiment.check_record import check_record
from uadbench.experiment.collect import collect_records
from uadbench.experiment.record import Stored
from uadbench.protocol import protocol
from uadbench.system.errors import UserError
from uadbench.system.files import sha256, sha256_json

FOLDER = Path("uad-1-4mm/phantom-to-phantom/T1")
PLACE = FOLDER / "pca/ci/seed-0.json"
Content = dict[str, Any]


@pytest.fixture
def path(results: Path) -> Path:
    """A record in a folder of its own, with its pieces: nothing lies beside it."""
    for other in ("random", "intensity"):
        shutil.rmtree(results / FOLDER / other)
    return results / PLACE


def wrong_with(path: Path) -> list[str]:
    """What is found wrong; a refusal to read counts."""
    try:
        return list(check_record(path).wrong)
    except UserError as error:
        return [str(error)]


def change(path: Path, edit: Callable[[Content], object]) -> list[str]:
    """What is found wrong after an edit of the JSON."""
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return wrong_with(path)


def change_pieces(path: Path, edit: Callable[[dict[str, Any]], object]) -> list[str]:
    """What is found wrong after an edit of the pieces, their hash in the JSON made to fit."""
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
        arrays = {name: stored[name].copy() for name in stored.files}
    edit(arrays)
    packed = pieces_file.packed(arrays)
    path.with_suffix(".npz").write_bytes(packed)
    return change(path, lambda made: made["pieces"].update(sha256=sha256(packed)))


def evaluation(path: Path) -> Evaluation:
    """What a record was made of, to be changed and written anew."""
    stored = Stored(record.read_record(path), path)
    return recompute.evaluation(stored.record, pieces_file.read_pieces(stored))


def write_anew(
    path: Path, changed: Evaluation, edit: Callable[[Content], object] = lambda made: None
) -> list[str]:
    """What is found wrong when everything that follows from an evaluation is made again: a careful forger."""
    digest = pieces_file.write_pieces(path.with_suffix(".npz"), changed)
    grid = protocol("uad-1-4mm").grid
    summary = record.typed_summary(summarise(changed, grid.voxel_size, VOLUMES))  # type: ignore[union-attr]

    def all_of_it(made: Content) -> None:
        made["subjects"] = changed.subjects
        made["summary"] = record.plain(summary)
        made["pieces"]["sha256"] = digest
        edit(made)

    return change(path, all_of_it)


def rows_of(whole: Evaluation, rows: list[int]) -> Evaluation:
    """Some of the subjects."""
    return Evaluation(
        [whole.subjects[row] for row in rows],
        whole.thresholds,
        {name: pieces.only(rows) for name, pieces in whole.pieces.items()},
        {name: counts[rows] for name, counts in whole.voxels.items()},
        {name: counts[rows] for name, counts in whole.lesions.items()},
    )


def split_hash(subjects: list[Content]) -> str:
    return sha256_json(sorted([s["cohort"], s["person"], s["session"], s["id"]] for s in subjects))


def profile(made: Content) -> Content:
    found: Content = made["summary"]["profiles"]["baur5"]
    return found


def first(made: Content, partition: str) -> Content:
    found: Content = next(s for s in made["subjects"] if s["partition"] == partition)
    return found


TAMPERINGS: dict[str, tuple[Callable[[Content], object], str]] = {
    "a better AP": (lambda m: profile(m).update(ap=0.9), "summary.profiles.baur5.ap is 0.9"),
    "a better Dice": (
        lambda m: profile(m)["points"]["fpr1"].update(dsc=0.8),
        "summary.profiles.baur5.points.fpr1.dsc is 0.8",
    ),
    "a better recall of small lesions": (
        lambda m: profile(m)["points"]["fpr1"]["by_size"]["1 to 10 ml"].update(recall=0.123),
        "recall is 0.123",
    ),
    "a kind of lesion left out": (lambda m: profile(m)["kinds"].pop("ms"), "kinds lacks ms"),
    "a smaller prevalence": (lambda m: profile(m).update(prevalence=0.001), "prevalence is 0.001"),
    "a bound of its own": (lambda m: profile(m).update(ap_error=0.5), "ap_error is 0.5"),
    "a figure without flagged scans where none is flagged": (
        lambda m: profile(m).update(
            unflagged={k: profile(m)[k] for k in ("ap", "ap_error", "auroc", "auroc_error", "prevalence")}
            | {"subjects": 3}
        ),
        "unflagged.subjects is 3",
    ),
    "a subject's own AP": (lambda m: first(m, "lesion-test")["ap"].update(baur5=0.99), "has ap 0.99"),
    "a subject without its AP": (lambda m: first(m, "lesion-test").update(ap={}, auroc={}), "lacks an AP"),
    "a subject's own Dice": (
        lambda m: first(m, "lesion-test")["dsc"]["raw"].update(oracle=0.99),
        "has Dice 0.99",
    ),
    "a subject without Dice": (
        lambda m: first(m, "lesion-test")["dsc"]["raw"].update(oracle=None),
        "has Dice None",
    ),
    "a threshold tuned on the test set": (
        lambda m: m["thresholds"]["raw"].update(val=m["thresholds"]["raw"]["oracle"] * 3),
        "the threshold val of raw",
    ),
    "another false-positive rate": (
        lambda m: m["thresholds"]["baur5"].update(fpr1=m["thresholds"]["baur5"]["fpr5"]),
        "of baur5",
    ),
    "a subject moved into the test set": (
        lambda m: first(m, "lesion-val").update(partition="lesion-test"),
        "but the split puts its subject into lesion-val",
    ),
    "a subject removed": (lambda m: m["subjects"].pop(), "are damaged"),
    "a subject twice": (
        lambda m: first(m, "lesion-test").update(id=m["subjects"][-1]["id"]),
        "listed twice",
    ),
    "two ids swapped in the JSON": (
        lambda m: swap_ids(m["subjects"]),
        "of other subjects than the record, or in another order",
    ),
    "fewer voxels": (lambda m: first(m, "lesion-test").update(voxels=3), "other numbers of voxels"),
    "a shrunken split": (
        lambda m: m["splits"]["lesion-test"].update(subjects=3),
        "lesion-test has 3 scans in the split",
    ),
    "another split hash": (
        lambda m: m["splits"]["lesion-test"].update(hash="0" * 64),
        "the hash of lesion-test is not that of the subjects",
    ),
    "more persons than there are": (
        lambda m: m["splits"]["lesion-test"].update(persons=23),
        "has 23 subjects in the split",
    ),
    "another regime": (
        lambda m: m.update(regime="cross"),
        "the training setting is phantom for these cohorts, not cross",
    ),
    "another training set": (lambda m: m.update(train="ixi"), "another folder than its facts say"),
    "another method's name": (lambda m: m.update(method="vae"), "another folder than its facts say"),
    "another seed": (lambda m: m.update(seed=7), "another folder than its facts say"),
    "an unknown method": (lambda m: m.update(method="oracle"), "There is no method 'oracle'"),
    "a way out of the folder": (lambda m: m.update(method="../x"), "is no record"),
    "a hidden option": (lambda m: m["parameters"].update(components=4), "option components differs"),
    "an older metric": (lambda m: m.update(metric_version=0), "metric_version is 0"),
    "another card": (lambda m: m.update(trained=False), "trained is False, the card says True"),
    "a scan AUROC": (lambda m: m["summary"]["scan"].update(auroc=1.0), "summary.scan.auroc is 1.0"),
    "perfect scan scores": (
        lambda m: [s.update(scan_score=float("lesion" in s["partition"])) for s in m["subjects"]],
        "the scan scores of",
    ),
    "a fact that nobody knows": (lambda m: m.update(rank=1), "is no record"),
    "a share above 1": (lambda m: profile(m).update(ap=1.5), "is no record"),
    "a control character": (lambda m: first(m, "lesion-test").update(site="\x1b[31m"), "is no record"),
    "a member of the phantom with another's age": (
        lambda m: first(m, "lesion-test").update(age=44.4),
        "is not the member of the phantom",
    ),
}


def swap_ids(subjects: list[Content]) -> None:
    tested = [s for s in subjects if s["partition"] == "lesion-test"]
    tested[0]["id"], tested[1]["id"] = tested[1]["id"], tested[0]["id"]


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_refused_with_the_reason(path: Path, name: str) -> None:
    edit, reason = TAMPERINGS[name]
    found = change(path, edit)
    assert any(reason in one for one in found), found


def test_pieces_that_were_changed_are_refused(path: Path) -> None:
    """Even where their hash was made to fit."""

    def swap(arrays: dict[str, Any]) -> None:
        arrays["raw/positives"], arrays["raw/negatives"] = arrays["raw/negatives"], arrays["raw/positives"]

    assert change_pieces(path, swap)


def test_hits_that_were_changed_are_refused(path: Path) -> None:
    found = change_pieces(path, lambda arrays: arrays["raw/voxels"].__imul__(2))
    assert any("at oracle (raw) are not those of its pieces" in one for one in found)


def test_more_lesions_found_than_there_are_is_refused(path: Path) -> None:
    def more(arrays: dict[str, Any]) -> None:
        arrays["raw/lesions"][..., 1] = arrays["raw/lesions"][..., 0] + 1

    assert any("the lesions of" in one for one in change_pieces(path, more))


def test_perfect_scan_scores_in_the_pieces_too_are_refused(path: Path) -> None:
    """Healthy scans whose score is lower than their voxels allow."""
    changed = evaluation(path)
    for subject in changed.subjects:
        subject["scan_score"] = 9.0 if "lesion" in subject["partition"] else -9.0
    assert any("by its voxels it is at least" in one for one in write_anew(path, changed))


def test_the_worst_patient_moved_to_the_excluded_is_refused(path: Path) -> None:
    """With every figure made again; of the phantom no scan can fail, and of others not many may."""
    whole = evaluation(path)
    tested = [row for row, s in enumerate(whole.subjects) if s["partition"] == "lesion-test"]
    worst = min(tested, key=lambda row: whole.subjects[row]["ap"]["baur5"])
    victim = whole.subjects[worst]
    fewer = rows_of(whole, [row for row in range(len(whole.subjects)) if row != worst])
    reason = {"partition": "lesion-test", "reason": "could not be registered"}
    who = {key: victim[key] for key in ("id", "cohort", "person", "session")}
    found = write_anew(path, fewer, lambda made: made["excluded"].append(reason | who))
    reason_given = f"{victim['id']} of the phantom is excluded (could not be registered)"
    assert found == [f"{reason_given}: each of its scans can be prepared"]


def test_many_patients_cannot_be_excluded(path: Path) -> None:
    whole = evaluation(path)
    tested = [row for row, s in enumerate(whole.subjects) if s["partition"] == "lesion-test"][:5]
    fewer = rows_of(whole, [row for row in range(len(whole.subjects)) if row not in tested])

    def exclude(made: Content) -> None:
        for row in tested:
            who = {key: whole.subjects[row][key] for key in ("id", "cohort", "person", "session")}
            made["excluded"].append({"partition": "lesion-test", "reason": "blurred"} | who)

    assert "5 of 24 scans of lesion-test are excluded: more than a tenth" in write_anew(path, fewer, exclude)


def test_a_patient_left_out_without_a_word_is_refused(path: Path) -> None:
    """The split said to be smaller, its hash as it was."""
    whole = evaluation(path)
    tested = [row for row, s in enumerate(whole.subjects) if s["partition"] == "lesion-test"]
    fewer = rows_of(whole, [row for row in range(len(whole.subjects)) if row != tested[0]])

    def without_hash(made: Content) -> None:
        made["splits"]["lesion-test"].update(subjects=23, persons=23)

    assert any("the hash of lesion-test" in one for one in write_anew(path, fewer, without_hash))


def test_two_patients_swapped_throughout_are_found_beside_another_record(results: Path) -> None:
    path = results / PLACE
    changed = evaluation(path)
    rows = [row for row, s in enumerate(changed.subjects) if s["partition"] == "lesion-test"][:2]
    a, b = (changed.subjects[row] for row in rows)
    for key in ("id", "person", "age", "sex", "site", "lesion_kind"):
        a[key], b[key] = b[key], a[key]
    ids = tuple(s["id"] for s in changed.subjects)
    from dataclasses import replace

    changed = replace(changed, pieces={n: replace(p, ids=ids) for n, p in changed.pieces.items()})
    assert any("is another scan than in" in one for one in write_anew(path, changed))


def relabelled(path: Path, subjects_too: bool) -> Path:
    """The phantom's record as if it were of patients: facts, cohorts, split hashes and place made to fit."""
    content = json.loads(path.read_text())
    content |= {"regime": "cross", "train": "ixi", "test": "mslub", "contrast": "FLAIR"}
    content |= {"headline": "raw"}  # as the card says
    if subjects_too:
        for s in content["subjects"]:
            s["cohort"] = "ixi" if s["partition"].startswith("healthy") else "mslub"
        for partition in ("healthy-val", "healthy-test", "lesion-val", "lesion-test"):
            own = [s for s in content["subjects"] if s["partition"] == partition]
            content["splits"][partition]["hash"] = split_hash(own)
    new = path.parents[5] / "uad-1-4mm/ixi-to-mslub/FLAIR/pca/ci/seed-0.json"
    new.parent.mkdir(parents=True)
    new.write_text(json.dumps(content))
    shutil.copy(path.with_suffix(".npz"), new.with_suffix(".npz"))
    return new


@pytest.mark.parametrize("subjects_too", [False, True])
def test_the_phantom_under_the_name_of_patients_is_refused(path: Path, subjects_too: bool) -> None:
    found = wrong_with(relabelled(path, subjects_too))
    reason = "the ages and sexes of the phantom" if subjects_too else "but the partition is of"
    assert any(reason in one for one in found), found


@pytest.mark.parametrize(
    "facts",
    [{"method": "vae", "parameters": {}}, {"seed": 1}, {"seed": 1, "score_hash": "c" * 64}],
    ids=["another method", "another seed", "another seed and hash"],
)
def test_a_copy_under_another_name_is_refused_and_counts_once(path: Path, facts: Content) -> None:
    results = path.parents[len(PLACE.parts) - 1]
    content = json.loads(path.read_text()) | facts
    name = f"seed-{content['seed']}"
    content["pieces"]["file"] = f"{name}.npz"
    copy = results / FOLDER / content["method"] / "ci" / f"{name}.json"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(json.dumps(content))
    shutil.copy(path.with_suffix(".npz"), copy.with_suffix(".npz"))

    assert any("one of the two is a copy" in one for one in wrong_with(copy))
    found = collect_records(results)
    assert len(found.records) == 1
    assert len(found.copies) == 1


def test_a_copy_whose_pieces_are_packed_otherwise_counts_once(path: Path) -> None:
    results = path.parents[len(PLACE.parts) - 1]
    copy = path.with_name("seed-1.json")
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
        np.savez(copy.with_suffix(".npz"), **{name: stored[name] for name in stored.files})
    content = json.loads(path.read_text()) | {"seed": 1, "score_hash": "d" * 64, "fit_hash": "d" * 64}
    content["pieces"] = {"file": "seed-1.npz", "sha256": sha256(copy.with_suffix(".npz").read_bytes())}
    copy.write_text(json.dumps(content))
    found = collect_records(results)
    assert [one.path for one in found.records] == [path]
    assert len(found.copies) == 1


@pytest.mark.parametrize(
    "name", ["a better AP", "a subject's own AP", "perfect scan scores", "a better Dice"]
)
def test_a_forged_record_is_named_and_not_shown(results: Path, name: str) -> None:
    change(results / PLACE, TAMPERINGS[name][0])
    found = collect_records(results)
    assert "pca" not in {one.record.method for one in found.records}
    ((place, reason),) = found.bad
    assert place == PLACE.as_posix()
    assert "not shown: " in reason


def test_a_profile_that_changes_nothing_is_written_once(path: Path) -> None:
    """On voxels of 4 mm both medians are of one voxel: their counts are those of the map as it is."""
    with zipfile.ZipFile(path.with_suffix(".npz")) as archive:
        there = {name.partition("/")[0] for name in archive.namelist()}
    assert there == {"raw", "details", "image-scores"}
    read = pieces_file.read_pieces(Stored(record.read_record(path), path))
    assert set(read.pieces) == {"raw", "median3", "baur5"}
    assert np.array_equal(read.pieces["median3"].negatives, read.pieces["raw"].negatives)

    def without_any(arrays: dict[str, Any]) -> None:
        for name in [name for name in arrays if name.startswith("raw/")]:
            del arrays[name]

    assert change_pieces(path, without_any)
