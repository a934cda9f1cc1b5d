"""Command lines that were put together at random: each ends at once, with a word and an exit code."""

import io
import random
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.cli import main

NAMES = [
    "vae",
    "vea",
    "pca",
    "random",
    "mslub",
    "brats21",
    "ixi",
    "bratz21",
    "T1",
    "flair",
    "Flair",
    "ci",
    "paper",
]
NUMBERS = [
    *["0", "1", "-1", "7", "4294967295", "4294967296", "1e9", "nan", "inf", "-inf", "0.5", "0x10", "٣"],
    "9" * 400,
]
ODD = [
    *[
        "-",
        "--",
        "=",
        "a=b",
        "../x",
        "/",
        ".",
        "~",
        "é",
        "🧠",
        "'",
        ";",
        "$(x)",
        "%s",
        "{}",
        "[bold]",
        "None",
        "true",
        "cuda:99",
        "cuda:x",
        "cpu",
        "gpu",
        "bf16",
        "fp16",
    ],
    *("", " ", "a" * 5000, "\x00", "\x1b[31m", "\ud800", '"'),
]
SETTINGS = [
    "steps=0",
    "steps=1",
    "latent_dim=-3",
    "width=nan",
    "widht=3",
    "=",
    "beta=",
    "grid=g7",
    "score_kind=l2",
]
RUN = "--train --contrast --preset --seed --set --device --limit --workers --results"
OPTIONS = {
    "run": f"{RUN} -m -d --train-contrast --precision --protocol --split --extractor --n4",
    "reproduce": f"{RUN} -d",
    "prepare": "--root --contrast --grid --extractor --n4 --workers",
    "verify": "--root --workers --quiet",
    "methods": "--plugins",
    "datasets": "--plugins",
    "sweep": "--jobs --timeout --on --results --retry-failed",
    "score": "--workers --results",
    "predict": "--out --point --device --brain-mask",
}
FLAGS = {"--n4", "--quiet", "--retry-failed"}
SECONDS = 20.0


def line(dice: random.Random, folder: Path) -> list[str]:
    """A command with up to six options, most of a kind that it may have. Nothing in it has work to do."""
    command = dice.choice(list(OPTIONS))
    words = [command]
    if command == "run":
        words += ["-m", dice.choice(["vae", "pca", "vea"]), "-d", dice.choice(["mslub", "bratz21"])]
    elif command == "sweep":
        words += [str(folder / "sweep.toml"), "--dry-run"]
    else:
        words += dice.choices([*NAMES[:9], *ODD], k=dice.randint(0, 2))
    for _ in range(dice.randint(0, 6)):
        option = dice.choice(OPTIONS[dice.choice([command] * 5 + list(OPTIONS))].split())
        words.append(option)
        if option not in FLAGS:
            words.append(dice.choice(dice.choice([NAMES, NUMBERS, ODD, SETTINGS])))
    return words


def ended(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[object, str]:
    """Exit code and what was said on standard error, as in a process of its own."""
    said = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "argv", ["uadbench", *words])
    with redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="ascii")), redirect_stderr(said):
        try:
            main()
        except SystemExit as exit:
            code = exit.code
    said.seek(0)
    return code, said.read()


def drive(cases: range, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "sweep.toml").write_text("methods = ['pca', 'vea']\ndatasets = ['mslub']\nseeds = [0, 1]\n")
    for number in cases:
        words = line(random.Random(number), folder)
        begun = time.monotonic()
        code, said = ended(words, monkeypatch)
        assert code in (0, None) or (code in (1, 2) and said), (number, words, code)
        assert "Traceback" not in said, (number, words)
        assert time.monotonic() - begun < SECONDS, (number, words)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PLUGINS_VARIABLE, raising=False)
    for name in ("data", "runs", "results"):
        monkeypatch.setenv(f"UADBENCH_{name.upper()}", str(tmp_path / name))


def test_forty_command_lines_end_with_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drive(range(40), tmp_path, monkeypatch)


@pytest.mark.slow
def test_a_thousand_command_lines_end_with_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drive(range(1000), tmp_path, monkeypatch)
