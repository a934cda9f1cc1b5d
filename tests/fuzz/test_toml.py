"""Cards and sweeps that were spoilt at random: each is read, or refused with one sentence, at once."""

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from uadbench import catalog, methods
from uadbench.cards import PRESETS, all_datasets, all_methods, dataset_card, method_card
from uadbench.sweep import description
from uadbench.system.errors import UserError
from uadbench.system.text import HIDDEN

ROOT = Path(__file__).resolve().parents[2]
CODE = ROOT / "tests/plugins/methods/brightness/method.py"
CARDS = {
    kind: [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob(f"**/{kind}/*/card.toml"))]
    for kind in ("methods", "datasets")
}
SWEEPS = [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("tests/sweep/*.toml"))]
VALUES = [
    *[
        '""',
        "''",
        "0",
        "-1",
        "1",
        "2.5",
        "nan",
        "-inf",
        "1e400",
        "true",
        "[]",
        "{}",
        "[[]]",
        "1979-05-27",
        "07:32:00",
        "0x7f",
        "[-1]",
        "[true]",
        "['']",
    ],
    *[
        "'../..'",
        "'flair'",
        "'ci'",
        "['ci','cii']",
        "['T1','T1']",
        "'cuda:99'",
        "'%s{}[bold]'",
        "'é🧠'",
        "[1,'a']",
        "{a=1}",
    ],
    *('"\\u0000"', '"a\\nb"', '"\\u202e"', '"a b"', "{ a = { b = { c = 1 } } }"),
    *("9" * 25, "9" * 5000, f'"{"x" * 3000}"', "[" * 40 + "]" * 40, f"[{'0,' * 9000}]"),
]
TABLES = [
    *[
        "[row]",
        "[row.a]",
        "[preset]",
        "[[preset]]",
        "[preset.x.y]",
        "[slurm]",
        "[[slurm]]",
        "[[variant]]",
        "[variant]",
    ],
    *["[row.'a/b']", "[[exclude]]", "[smoke.a]", "[needs.ci]", "[partners]"],
]
KEYS = ("a", "version", "headline", "set", "x.y", "year", "contrasts")
SECONDS = 5.0


def spoilt(text: str, dice: random.Random) -> bytes:
    """One to four changes of a TOML file: of values, keys, tables, lines and bytes."""
    lines = text.splitlines()
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(lines))
        key, equals, _ = lines[at].partition("=")
        change = dice.randrange(8)
        if change <= 2 and equals:
            lines[at] = f"{key}= {dice.choice(VALUES)}"
        elif change == 3:
            lines.insert(at, dice.choice(TABLES))
        elif change == 4:
            lines.insert(dice.randrange(len(lines)), lines[at])
        elif change == 5 and len(lines) > 1:
            del lines[at]
        elif change == 6:
            lines[at] = lines[at].replace(dice.choice("abcdeilnorst"), dice.choice("xyz_é. '\"[]"), 1)
        else:
            lines.insert(at, f"{dice.choice(KEYS)} = {dice.choice(VALUES)}")
    content = bytearray("\n".join(lines).encode())
    if dice.random() < 0.2:
        content[dice.randrange(len(content))] = dice.randrange(256)
    if dice.random() < 0.05:
        del content[dice.randrange(len(content)) :]
    return bytes(content)


def read_method(folder: Path, content: bytes, number: int) -> None:
    home = folder / "methods" / f"case{number}"
    home.mkdir(parents=True)
    (home / "card.toml").write_bytes(content)
    shutil.copy(CODE, home / "method.py")
    try:
        assert "vae" in all_methods()[0] or b"row.vae" in content
        assert method_card(home.name).name == home.name
        for preset in PRESETS:
            methods.build(home.name, preset)
    finally:
        shutil.rmtree(home)


def read_dataset(folder: Path, content: bytes, number: int) -> None:
    home = folder / "datasets" / f"case{number}"
    home.mkdir(parents=True)
    (home / "card.toml").write_bytes(content)
    try:
        assert "phantom" in all_datasets()[0]
        assert dataset_card(home.name).contrasts
    finally:
        shutil.rmtree(home)


def read_sweep(folder: Path, content: bytes, number: int) -> None:
    path = folder / f"case{number}.toml"
    path.write_bytes(content)
    asked = description.read_description(path)
    assert len(asked.cells()) <= description.MOST_CELLS
    asked.left_out()


READERS: dict[str, tuple[Callable[[Path, bytes, int], None], list[str]]] = {
    "methods": (read_method, CARDS["methods"]),
    "datasets": (read_dataset, CARDS["datasets"]),
    "sweeps": (read_sweep, SWEEPS),
}


def drive(kind: str, cases: range, folder: Path) -> int:
    """Read so many spoilt files; how many were refused."""
    read, texts = READERS[kind]
    refused = 0
    for number in cases:
        dice = random.Random(f"{kind} {number}")
        content = spoilt(dice.choice(texts), dice)
        begun, said = time.monotonic(), ""
        try:
            read(folder, content, number)
        except UserError as error:
            said = str(error)
        except Exception as error:
            pytest.fail(f"{kind} case {number}: {type(error).__name__}: {error}\n{content[:2000]!r}")
        refused += bool(said)
        assert not HIDDEN.search(said), (number, said)
        assert len(said) < 3000, (number, len(said))
        assert time.monotonic() - begun < SECONDS, number
    return refused


@pytest.fixture(autouse=True)
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(catalog.PLUGINS_VARIABLE, os.fspath(tmp_path))


@pytest.mark.parametrize("kind", READERS)
def test_forty_spoilt_files_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    assert 20 < drive(kind, range(40), tmp_path) <= 40


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
def test_a_thousand_spoilt_files_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    assert 500 < drive(kind, range(1000), tmp_path) <= 1000
