"""Damaged records and pieces: one sentence that names the file, no traceback, memory bounded."""

import io
import json
import os
import random
import resource
import shutil
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from uadbench.cli import app
from uadbench.experiment import pieces_file, record
from uadbench.experiment.check_record import check_records
from uadbench.experiment.collect import collect_records
from uadbench.experiment.record import Stored
from uadbench.report import formats, leaderboard
from uadbench.report.compare import compare_records
from uadbench.system.errors import UserError
from uadbench.system.files import sha256

PLACE = Path("uad-1-4mm/phantom-to-phantom/T1/random/ci/seed-0.json")
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**70, -0.5, 1e300, "", "x", "\x1b", "x" * 5000, "../..", [], {}, [1],
    {"a": 1}, "lesion-test", "raw",
)  # fmt: skip


@pytest.fixture
def alone(results: Path) -> Path:
    """A results folder with one record; the others are kept apart."""
    for method in ("pca", "intensity"):
        shutil.rmtree(results / PLACE.parents[2] / method)
    for file in (results / PLACE).parent.glob("seed-1.*"):
        file.unlink()
    return results


def nodes(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything in a JSON."""
    found = [path] if path else []
    pairs = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for key, value in pairs:
        found += nodes(value, (*path, key))
    return found


def mutated_json(text: str, chance: random.Random) -> bytes:
    """The JSON of a record with something wrong in it."""
    if chance.random() < 0.2:
        content = bytearray(text.encode())
        for _ in range(chance.randrange(1, 4)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        return bytes(content[: chance.randrange(len(content))] if chance.random() < 0.3 else content)
    made = json.loads(text)
    paths = [p for p in nodes(made) if p[0] != "subjects"] * 3 + nodes(made)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        *above, last = chance.choice(paths)
        try:
            holder = made
            for key in above:
                holder = holder[key]
            if chance.random() < 0.3:
                del holder[last]
            else:
                holder[last] = chance.choice(VALUES)
        except (KeyError, IndexError, TypeError):  # an earlier change has taken it away
            continue
    return json.dumps(made).encode()


def mutated_array(array: np.ndarray, chance: random.Random) -> np.ndarray:
    """Other values, another shape or another kind of numbers."""
    kind = chance.randrange(7)
    if array.dtype.kind == "f":
        # What no whole number can hold, NaN and negative values of unsigned ones among it, is no cast.
        array = np.clip(np.nan_to_num(array), 0, 100) if kind == 1 else array
    if kind == 0:
        return array[: chance.randrange(len(array) + 1)] if array.ndim else array
    if kind == 1:
        return (
            array.astype(chance.choice((np.float64, np.int8, np.uint32)))
            if array.dtype.kind != "U"
            else array[::-1]
        )
    if kind == 2:
        return array.reshape(-1)
    if kind == 3:
        return np.concatenate([array, array]) if array.ndim else array
    if kind == 4:
        return np.zeros(chance.choice(((0,), (3, 0), (1, 1, 1, 1, 1))), array.dtype)
    if kind == 5 and array.dtype.kind == "f":
        return np.full_like(array, chance.choice((np.nan, np.inf, -np.inf, 0)))
    changed = array.copy()
    if changed.size and changed.dtype.kind in "uf":
        flat = changed.reshape(-1)
        for _ in range(chance.randrange(1, 50)):
            flat[chance.randrange(flat.size)] = chance.randrange(256)
    return changed


def mutated_npz(arrays: dict[str, np.ndarray], chance: random.Random) -> bytes:
    """The pieces of a record with something wrong in them."""
    made = dict(arrays)
    kind = chance.randrange(10)
    name = chance.choice(sorted(made))
    if kind == 0:
        made.pop(name)
    elif kind == 1:
        made[chance.choice(("extra", "raw/extra", "../x", "raw"))] = np.zeros(3)
    elif kind == 2:
        made[name] = made[chance.choice(sorted(made))]
    elif kind < 8:
        made[name] = mutated_array(made[name], chance)
    content = bytearray(pieces_file.packed(made))
    if kind >= 8:
        for _ in range(chance.randrange(1, 6)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        if kind == 9:
            return bytes(content[: chance.randrange(len(content))])
    return bytes(content)


def read_every_way(path: Path) -> str:
    """ "" where every reader takes the record or says in words why not; else the traceback."""
    results = path.parents[len(PLACE.parts) - 1]
    for read in (lambda: check_records([path]), lambda: shown(results), lambda: compared(path)):
        try:
            read()
        except UserError as error:
            if not str(error):
                return "an empty sentence"
        except Exception:
            return traceback.format_exc()
    return ""


def shown(results: Path) -> None:
    found = collect_records(results)
    tables = leaderboard.tables(found.records, resamples=20)
    failed = [(str(place), reason) for place, reason in record.failures(results)]
    formats.markdown(tables, failed, found.left_out)


def compared(path: Path) -> None:
    compare_records(path, path)


def drive(alone: Path, cases: int, write: Callable[[Path, random.Random], None]) -> None:
    """So many seeded cases: no traceback, and no more than 600 MB beyond what was taken before."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in range(cases):
        write(alone / PLACE, random.Random(case))
        problem = read_every_way(alone / PLACE)
        assert not problem, f"case {case}: {problem}"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000


def drive_json(alone: Path, cases: int) -> None:
    text = (alone / PLACE).read_text()

    def write(path: Path, chance: random.Random) -> None:
        path.write_bytes(mutated_json(text, chance))

    drive(alone, cases, write)


def drive_npz(alone: Path, cases: int) -> None:
    text, pieces = (alone / PLACE).read_text(), (alone / PLACE).with_suffix(".npz")
    with np.load(pieces, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}

    def write(path: Path, chance: random.Random) -> None:
        content = mutated_npz(arrays, chance)
        path.with_suffix(".npz").write_bytes(content)
        made = json.loads(text)
        made["pieces"]["sha256"] = sha256(content)
        path.write_text(json.dumps(made))

    drive(alone, cases, write)


@pytest.mark.thorough
def test_some_damaged_records(alone: Path) -> None:
    drive_json(alone, 40)


@pytest.mark.thorough
def test_some_damaged_pieces(alone: Path) -> None:
    drive_npz(alone, 40)


@pytest.mark.slow
def test_a_thousand_damaged_records(alone: Path) -> None:
    drive_json(alone, int(os.environ.get("UADBENCH_FUZZ_CASES", "1000")))


@pytest.mark.slow
def test_a_thousand_damaged_pieces(alone: Path) -> None:
    drive_npz(alone, int(os.environ.get("UADBENCH_FUZZ_CASES", "1000")))


@pytest.mark.thorough
@pytest.mark.parametrize("declared", [True, False], ids=["as its header says", "more than its header says"])
def test_an_archive_that_unpacks_to_gigabytes_is_refused_before_it_is_unpacked(
    alone: Path, declared: bool
) -> None:
    path = alone / PLACE
    with zipfile.ZipFile(path.with_suffix(".npz")) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    count = 2**31 if declared else 10
    header = io.BytesIO()
    said = {"descr": "|u1", "fortran_order": False, "shape": (1, count // 48, 48)}
    np.lib.format.write_array_header_1_0(header, said)
    with zipfile.ZipFile(path.with_suffix(".npz"), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            if name != "raw/positives.npy":
                archive.writestr(name, content)
        with archive.open("raw/positives.npy", "w", force_zip64=True) as opened:
            opened.write(header.getvalue())
            for _ in range(2**31 // 2**24):
                opened.write(bytes(2**24))
    content = json.loads(path.read_text())
    content["pieces"]["sha256"] = sha256(path.with_suffix(".npz").read_bytes())
    path.write_text(json.dumps(content))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="unpacks to 21.. MB"):
        pieces_file.read_pieces(Stored(record.read_record(path), path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    told = CliRunner().invoke(app, ["leaderboard", "--preset", "ci", "--results", str(alone)])
    assert "unpacks to" in told.output
