"""Damaged tables: whatever lies beside the scans, an adapter answers, or says in one sentence what is wrong.

1,000 seeded cases for every adapter that reads a table: CSV and TSV changed at random, re-encoded, cut,
filled with values that nobody has, and Excel files with changed bytes.
"""

import io
import random
import re
import resource
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import openpyxl
import pytest

from uadbench import datasets, phantom, testing
from uadbench.data.tables import OLDEST_YEARS
from uadbench.datasets import Found
from uadbench.system.errors import UserError
from uadbench.testing import heads

CASES, SAMPLE = 1000, 40
MOST_KIB = 400 * 2**10  # by which the process may grow
SETS = {"camcan": "tsv", "ixi": "csv", "lgg": "csv", "mslub": "csv", "oasis1": "csv", "phantom": "tsv"}
CELLS = [
    *[
        "",
        "nan",
        "NaN",
        "inf",
        "-inf",
        "-1",
        "1e308",
        "1e400",
        "999",
        "0.5?",
        "N/A",
        "\x00",
        '"',
        "'",
        "=1+1",
    ],
    *[
        "\ufeff",
        "\u0663\u0664",
        "\u2028",
        "\x1b[31m",
        "\ud7ff",
        "M\xfcller",
        "x" * 200_000,
        "1,5",
        "1;5",
        "a\tb",
    ],
]

Damage = Callable[[random.Random, bytes], bytes]


def _same(chance: random.Random, content: bytes) -> bytes:
    return content


def _bytes(chance: random.Random, content: bytes) -> bytes:
    """Some bytes changed."""
    spoilt = bytearray(content)
    for _ in range(chance.choice([1, 3, 30])):
        spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
    return bytes(spoilt)


def _cut(chance: random.Random, content: bytes) -> bytes:
    start = chance.choice([0, 0, chance.randrange(len(content))])
    return content[start : chance.randrange(len(content) + 1)]


def _cell(chance: random.Random, content: bytes) -> bytes:
    """Some cells replaced by what no cell should hold."""
    text = content.decode("latin-1")
    for _ in range(chance.choice([1, 2, 8])):
        parts = re.split(r"([,;\t\n])", text)
        parts[2 * chance.randrange((len(parts) + 1) // 2)] = chance.choice(CELLS)
        text = "".join(parts)
    return text.encode("utf-8", "replace")


def _encoded(chance: random.Random, content: bytes) -> bytes:
    names = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "cp037", "utf-7"]
    return content.decode("latin-1").encode(chance.choice(names))


def _lines(chance: random.Random, content: bytes) -> bytes:
    """Lines lost, doubled, exchanged, cut and put in."""
    lines = content.split(b"\n")
    for _ in range(chance.choice([1, 2, 5])):
        place = chance.randrange(len(lines))
        act = chance.randrange(5)
        if act == 0 and len(lines) > 1:
            del lines[place]
        elif act == 1:
            lines.insert(place, lines[chance.randrange(len(lines))])
        elif act == 2:
            lines[place] = lines[place][: chance.randrange(len(lines[place]) + 1)]
        elif act == 3:
            lines.insert(place, b"# a remark, with; separators\tand \xe4")
        else:
            chance.shuffle(lines)
    return b"\n".join(lines)


def _separated(chance: random.Random, content: bytes) -> bytes:
    return re.sub(rb"[,;\t]", chance.choice([b",", b";", b"\t", b"|", b" ", b"\x00", b'","']), content)


def _page(chance: random.Random, content: bytes) -> bytes:
    return b"<html><body><table><tr><td>" + content + b"</td></tr></table>"


def _spreadsheet(chance: random.Random, content: bytes) -> bytes:
    """The table as .xlsx, at times with changed bytes."""
    book = openpyxl.Workbook()
    assert book.active is not None
    for line in re.sub(r"[^\t\n\r -~\xa0-\xff]", "", content.decode("latin-1")).splitlines():
        book.active.append(re.split(r"[,;\t]", line))
    file = io.BytesIO()
    book.save(file)
    damage: Damage = chance.choice([_same, _bytes, _cut])
    return damage(chance, file.getvalue())


def _old_spreadsheet(chance: random.Random, content: bytes) -> bytes:
    """The table as .xls of the oldest kind, at times with changed bytes."""
    records = [struct.pack("<HHHH", 0x0009, 4, 7, 0x0010)]
    for row, line in enumerate(content.decode("latin-1").splitlines()[:100]):
        for column, cell in enumerate(re.split(r"[,;\t]", line)[:50]):
            letters = cell[:200].encode("ascii", "replace")
            body = struct.pack("<HH3xB", row, column, len(letters)) + letters
            records.append(struct.pack("<HH", 0x0004, len(body)) + body)
    damage: Damage = chance.choice([_same, _bytes, _cut])
    return damage(chance, b"".join([*records, struct.pack("<HH", 0x000A, 0)]))


def _compound(chance: random.Random, content: bytes) -> bytes:
    """The beginning of a compound file, in which newer .xls lie, and then anything."""
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + chance.randbytes(chance.choice([0, 10, 600, 5000]))


DAMAGES: list[Damage] = [
    *[
        _bytes,
        _cut,
        _cell,
        _cell,
        _encoded,
        _lines,
        _lines,
        _separated,
        _page,
        _spreadsheet,
        _old_spreadsheet,
        _compound,
    ],
]


@pytest.fixture(params=SETS)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Path]:
    """A data set of a few people and the table beside it; the voxels do not matter."""
    name, root = request.param, tmp_path / "root"
    if name == "phantom":
        for member in phantom.make_members(4, 1):
            for path in phantom.list_files(root, member.id, member.kind is not None).values():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        rows = [member.row() for member in phantom.make_members(4, 1)]
        lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
        (root / "participants.tsv").write_text("\n".join(lines) + "\n")
    else:
        few = heads.Stored(np.zeros((2, 2, 2), np.uint8), np.eye(4))
        monkeypatch.setattr(heads, "show_picture", lambda *_: few)
        testing.write_fixture(name, root, subjects=2 if name == "lgg" else 4)
    if name == "mslub":  # whose table is the user's own
        text = "participant_id,age,sex\npatient01,39.5,F\npatient02,41,M\npatient03,30,F\n"
        (root / "participants.csv").write_text(text)
    (table,) = root.rglob(f"*.{SETS[name]}")
    return name, table


def _check(found: Found) -> None:
    for session in found.sessions:
        assert session.age is None or 0 <= session.age <= OLDEST_YEARS
        assert session.sex in (None, "F", "M")


def _cases(name: str, table: Path, count: int) -> Iterator[str]:
    """The answer to every damaged table: "read" or the sentence of its refusal."""
    whole = table.read_bytes()
    root = next(parent for parent in table.parents if parent.name == "root")
    for number in range(count):
        chance = random.Random(f"{name} {number}")
        content = whole
        for _ in range(chance.choice([1, 1, 2])):
            content = chance.choice(DAMAGES)(chance, content or b"x")
        path = table.with_suffix(chance.choice([table.suffix, table.suffix, ".xls", ".xlsx"]))
        if path.suffix != table.suffix and name not in ("ixi", "oasis1"):
            path = table
        path.write_bytes(content)
        if path != table:
            table.unlink(missing_ok=True)
        try:
            _check(datasets.find_sessions(name, root))
            yield "read"
        except UserError as error:
            yield str(error)
        path.unlink()


def _try(place: tuple[str, Path], count: int) -> None:
    name, table = place
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers = list(_cases(name, table, count))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KIB
    assert len(answers) == count
    assert not any("\n" in answer for answer in answers)
    assert answers.count("read") > count // 4  # much is damaged in a way that harms nobody


def test_a_damaged_table_is_read_or_named(place: tuple[str, Path]) -> None:
    _try(place, SAMPLE)


@pytest.mark.slow
def test_a_thousand_damaged_tables_are_read_or_named(place: tuple[str, Path]) -> None:
    _try(place, CASES)
