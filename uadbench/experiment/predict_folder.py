"""Predict on a folder of scans: one after the other, a bad one named, and what is done not done again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from uadbench.data.layout import is_absent, walk_tree
from uadbench.data.session import Session
from uadbench.data.suffixes import files_of, volume_stem
from uadbench.experiment.config import Runtime
from uadbench.experiment.model import Model, load_model
from uadbench.experiment.predict import Ready, check_asked, make_session, predict_ready, prepare_scans
from uadbench.experiment.prediction import Asked, Prediction, find_earlier, find_key
from uadbench.system.errors import SubjectError, UserError
from uadbench.system.files import disk_fault, write_json, write_text
from uadbench.system.text import csv_text, visible

TABLE = "predictions"  # .csv and .json, of all scans of a folder
LEFT_OUT = ("note", "key", "files")  # of a prediction, in the table
# Names that HD-BET, SynthStrip's users and BIDS give to the mask of a scan NAME.
MASK_NAMES = ("{}", "{}_mask", "{}_brain_mask", "{}_brain", "{}_bet_mask", "{}_desc-brain_mask")

T1_NAMES = ("{}", "{}_T1", "{}_T1w")


@dataclass(frozen=True)
class Predictions:
    """What a method says of the scans of a folder, by their paths in it without suffix."""

    folder: Path  # of what was written
    done: Mapping[str, Prediction]
    failures: Mapping[str, str]  # why there is none
    earlier: int  # of those done, how many were there before


def predict_folder(run: Path, scans: Path, out: Path, runtime: Runtime, asked: Asked) -> Predictions:
    """Score every scan below a folder whose name fits `asked.match`, such as `*_T1w.nii.gz`.

    Each gets a folder of its own below `out`, as `predict_scan` writes it, under its path without suffix;
    `predictions.csv` and `predictions.json` list them all, and why some failed.
    """
    found = find_scans(scans, out, asked.match)
    model = load_model(run, runtime)
    check_asked(model, asked)
    for option, folder in (("--brain-mask", asked.brain_mask), ("--t1", asked.t1)):
        if folder is not None and not folder.is_dir():
            raise UserError(f"{option} expects a folder for a folder of scans, got {folder}.")
    done, failures, waiting = _look(found, model, out, asked)
    before = len(done)
    todo = [session for session, _ in waiting.values()]
    ready, reasons = prepare_scans(todo, model, runtime) if todo else ({}, {})
    failures |= reasons
    with runtime.progress.stage("predict", len(found)) as stage:
        stage.advance(len(found) - len(ready))
        for name, scan in ready.items():
            answer = _predict(scan, model, waiting[name][1], out / name, runtime)
            if isinstance(answer, str):
                failures[name] = answer
            else:
                done[name] = answer
            stage.advance(1, name)
    sorted_done = {name: done[name] for name in found if name in done}
    write_table(out, found, sorted_done, failures)
    return Predictions(out, sorted_done, failures, before)


def _look(
    found: Mapping[str, list[Path]], model: Model, out: Path, asked: Asked
) -> tuple[dict[str, Prediction], dict[str, str], dict[str, tuple[Session, Asked]]]:
    """The scans that are done already, those that cannot be used and why, and those to be done."""
    done, failures = dict[str, Prediction](), dict[str, str]()
    waiting = dict[str, tuple[Session, Asked]]()
    for name, paths in found.items():
        try:
            session, known = _take(name, paths, model, asked)
            earlier = find_earlier(out / name, find_key(session, model, known))
        except UserError as error:
            failures[name] = str(error)
            continue
        if earlier is None:
            waiting[name] = session, known
        else:
            done[name] = earlier
    return done, failures, waiting


def _predict(scan: Ready, model: Model, asked: Asked, out: Path, runtime: Runtime) -> Prediction | str:
    """What the method says of a scan, or why it cannot: one scan's fault is not that of the others."""
    try:
        return predict_ready(scan, model, asked, out, runtime)
    except OSError as error:
        if disk_fault(error):
            raise  # it would be that of every scan
        return f"{type(error).__name__}: {error}"
    except (UserError, SubjectError) as error:
        return str(error)
    except Exception as error:  # whatever a method raises
        return f"{type(error).__name__}: {' '.join(str(error).split())}"


# ---- the scans ---------------------------------------------------------------------------------


def find_scans(scans: Path, out: Path, pattern: str = "*") -> dict[str, list[Path]]:
    """The volumes below a folder by their path in it without suffix, sorted; what is below `out` is none.

    A name that several files have has all of them.
    """
    inside = out.resolve()
    found: dict[str, list[Path]] = {}
    tree = walk_tree(scans)
    for path in sorted([*tree.files, *tree.absent]):
        stem = volume_stem(path)
        if stem is None or not fnmatch(path.name, pattern) or path.resolve().is_relative_to(inside):
            continue
        if files_of(path)[0] == path:  # of a pair the header
            found.setdefault(path.with_name(stem).relative_to(scans).as_posix(), []).append(path)
    if not found:
        raise UserError(
            f"{scans} has no volume (.nii, .nii.gz, .hdr) whose name fits '{pattern}': name a folder of "
            "scans, or another --match."
        )
    return dict(sorted(found.items()))


def _take(name: str, paths: list[Path], model: Model, asked: Asked) -> tuple[Session, Asked]:
    """A scan as a session, with its own brain mask."""
    if len(paths) > 1:
        both = " and ".join(path.name for path in paths)
        raise UserError(f"{both} have one name without suffix: rename one of them.")
    (path,) = paths
    if is_absent(path):
        raise UserError(f"{path} is a link or pointer whose content is not here: fetch it first.")
    known = replace(
        asked,
        brain_mask=_find_beside(name, asked.brain_mask, MASK_NAMES, "brain mask"),
        t1=_find_beside(name, asked.t1, T1_NAMES, "T1"),
    )
    return make_session(name, path, model, known), known


def _find_beside(name: str, folder: Path | None, forms: Sequence[str], what: str) -> Path | None:
    """The file of a folder that goes with a scan, by its name; None where there is no folder."""
    if folder is None:
        return None
    place = folder / name
    wanted = [form.format(place.name) for form in forms]
    there = place.parent.iterdir() if place.parent.is_dir() else []
    found = [path for path in sorted(there) if volume_stem(path) in wanted and files_of(path)[0] == path]
    if len(found) != 1:
        count = "no" if not found else str(len(found))
        raise UserError(
            f"{folder} has {count} {what} of {name}: expected one {' or '.join(wanted[:2])}.nii.gz."
        )
    return found[0]


# ---- the table ---------------------------------------------------------------------------------


def write_table(
    out: Path, found: Mapping[str, Any], done: Mapping[str, Prediction], failures: Mapping[str, str]
) -> None:
    """One line for each scan, as CSV and JSON."""
    columns = [name for name in Prediction.__dataclass_fields__ if name not in LEFT_OUT]
    rows = []
    for name in found:
        facts = asdict(done[name]) if name in done else {}
        state = {"name": name, "status": "failed" if name in failures else "done"}
        reason = {"reason": visible(failures.get(name, ""))}
        rows.append(state | {key: facts.get(key) for key in columns} | reason)
    write_json(out / f"{TABLE}.json", rows)
    lines = [["; ".join(one) if isinstance(one, tuple) else one for one in row.values()] for row in rows]
    write_text(out / f"{TABLE}.csv", csv_text([rows[0], *lines]))
