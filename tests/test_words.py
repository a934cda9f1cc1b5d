"""Words that a reader would stumble over do not come back, in any sentence that a user reads."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

import uadbench
from uadbench.cli import app

PACKAGE = Path(uadbench.__file__).resolve().parent
ROOT = PACKAGE.parent

pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="only a checkout has the docs")

# What was written, and what a reader knows it as.
WORDS = {
    r"\bpersons\b": "subjects (controls, patients)",
    r"\b(?:phantom|simulated) people\b": "simulated subjects",
    r"\bmakes? (?:itself|themselves)\b": "built in",
    r"⌈DSC⌉": "best-threshold Dice (oracle)",
    r"\bDSC \d": "Dice @ 1 % FPR",
    r"\brecall \d": "lesion recall @ 1 % FPR",
    r"\bAUROC (?:scan|slice)\b": "scan-level AUROC",
    r"(?i:\bshortcut control\b)": "confounder check",
    r"\bmachinery\b": "tests the software",
    r"(?i:\bfor whom it works\b)": "results by subgroup",
    r"(?:'|\"|\}|\)|\bbut \S+) came\b(?! (?:from|out|in|with))": "got",
    r"(?i:\bknown are\b)": "available",
    r"\bcarr(?:y|ies|ied) out (?:the |its |all )?(?:cells?|sweep)\b": "run the jobs",
    r"\banew\b": "again",
    r"\bso many\b": "n",
    r"\blearned from\b": "trained on",
    r"(?<![\w=/`-])T1(?:post|ce)\b": "T1c",
    r"\bis no NIfTI\b|\bno NIfTI file\b": "cannot be read as NIfTI",
    r"\bOf brains that come without\b": "skull stripping for scans without a brain mask",
    r"\bwhat to send with a question\b": "environment report",
    r"\bbootstrap does not tell\b|\bdo(?:es)? not tell (?:them|it) apart\b": "not significantly different",
    r"\bin brackets the ranks\b": "95 % interval of the rank",
    r"\bgo(?:es)? on\b": "resume, continue",
    r"\bhow (?:\w+ )?stands?\b": "status",
    r"\bstands? (?:in|beside|below|above) (?:the|a|its|their|each|this)\b": "is, are",
    r"\bregimes?\b": "training setting",
    r"\blies? (?:in|under|beside|there|here)\b": "is in, are in",
}
# Sentences that keep such a word: the name of a record's key, and literals that are part of the code by which
# the committed records of diffusion methods are known.
KEPT = re.compile(r"^regime is |from so many, for CPUs|blocks of so many pixels")
BAD = [(words, re.compile(pattern)) for pattern, words in WORDS.items()]


def pages() -> list[Path]:
    """Everything in Markdown that a user reads, but the list of changes, which says what was renamed."""
    tops = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    return [*tops, *sorted((ROOT / "docs").rglob("*.md"))]


def prose(page: Path) -> Iterator[str]:
    """A page line by line, without names of keys and options: what is set as code, and TOML."""
    text = re.sub(r"```(?:toml|json)\n.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    yield from re.sub(r"`[^`\n]*`", "``", text).splitlines()


def sentences(path: Path) -> Iterator[str]:
    """The texts within a module that could be shown: literals with a blank in them, no docstring or key."""
    yield from (
        text for text in _literals(ast.parse(path.read_text(encoding="utf-8"))) if not KEPT.search(text)
    )


def _literals(tree: ast.AST) -> Iterator[str]:
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    skipped |= {id(key) for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys}
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in skipped | inner:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r" |⌈", node.value):
            yield node.value


def helps(command: Any = None, name: str = "uadbench") -> Iterator[tuple[str, str]]:
    """The `--help` of every command."""
    command = command or typer.main.get_command(app)
    yield name, command.get_help(command.make_context(name, [], resilient_parsing=True))
    for part, inner in command.commands.items() if isinstance(command, TyperGroup) else ():
        if not inner.hidden:
            yield from helps(inner, f"{name} {part}")


def texts(value: Any) -> Iterator[str]:
    """The sentences of a card."""
    if isinstance(value, dict):
        for part in value.values():
            yield from texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)
    elif isinstance(value, str) and " " in value:
        yield re.sub(r"`[^`]*`", "``", value)


def found(lines: Iterator[str] | list[str]) -> list[str]:
    """The lines with such a word, and what to write."""
    return [
        f"{match.string[max(match.start() - 60, 0) : match.end() + 40].strip()} -> {words}"
        for line in lines
        for words, bad in BAD
        if (match := bad.search(line))
    ]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_documents(page: Path) -> None:
    assert not found(prose(page))


@pytest.mark.parametrize(("name", "text"), [pytest.param(*one, id=one[0]) for one in helps()])
def test_help(name: str, text: str) -> None:
    assert name
    assert not found([" ".join(text.split())])


@pytest.mark.parametrize("part", sorted(p.name for p in PACKAGE.iterdir() if p.suffix == ".py" or p.is_dir()))
def test_sentences_of_the_program(part: str) -> None:
    home = PACKAGE / part
    files = [home] if home.suffix else sorted(home.rglob("*.py"))
    assert not found([f"{file.name}: {text}" for file in files for text in sentences(file)])


@pytest.mark.parametrize("kind", ["methods", "datasets", "uadbench/templates"])
def test_cards(kind: str) -> None:
    cards = sorted((ROOT / kind).rglob("card.toml"))
    assert cards
    assert not found([f"{c.parent.name}: {t}" for c in cards for t in texts(tomllib.loads(c.read_text()))])


@pytest.mark.parametrize(
    "sentence",
    [
        "tested on 12 persons", "it makes itself", "'abc' came", "but 7 came", "known are: a, b",
        "from so many scans", "scans were learned from", "results for T1ce", "the same command goes on",
        "where the maps lie in", "AUROC scan", "DSC 1%", "rows stand below the table",
    ],
)  # fmt: skip
def test_a_word_of_the_list_is_found(sentence: str) -> None:
    assert found([sentence])


@pytest.mark.parametrize(
    "sentence",
    [
        "what came out of it", "values lie between 0 and 1", "it stands for a method", "voxels lie outside",
        "`T1ce` is a name of a contrast", "--contrast T1", "as many scans as fit", "what was learned",
    ],
)  # fmt: skip
def test_ordinary_english_is_left_alone(sentence: str) -> None:
    assert not found([re.sub(r"`[^`]*`", "``", sentence)])
