"""The code blocks of README and docs: what becomes of each, and how those of a page are run.

A comment above each block says what becomes of it:

    test, slow         run, one after the other, in one empty folder a page; `slow` where that takes minutes.
                       `test; with ixi mslub`: first, simulated subjects in these layouts are in downloads/
    file: PATH         shows that file of the repository
    slurm: PART        followed on a real Slurm by tests/sweep/test_slurm.py
    make               targets of the Makefile, or the installation; each takes minutes and is run by .ci/run
    shown              no command

Of a `console` block the lines after `$ ` are run, and what is below them is what they answered.
"""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"(?:<!-- ([^\n]*) -->\n)?```(\w*)\n(.*?)```", re.DOTALL)
FATE = re.compile(r"(?:test|slow)(?:; with [a-z0-9 ]+)?|file: \S+|slurm: \w+|make|shown")
HOME = "/home/you"  # what a page writes for the folder in which its commands were run
WIDTH = 100  # of the terminal
CLOCK = re.compile(r"^\d\d:\d\d:\d\d ")  # a line of progress, which no run repeats


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    fate: str
    language: str
    text: str
    place: tuple[int, int]  # of the text within the page

    @property
    def kind(self) -> str:
        """What becomes of it, without the rest of the comment."""
        return re.split("[:;]", self.fate)[0]

    @property
    def data(self) -> list[str]:
        """The data sets of which it needs simulated subjects."""
        return self.fate.partition("with ")[2].split()

    @property
    def asked(self) -> list[str]:
        """The command lines of a shell block."""
        if self.language == "console":
            return [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]
        return [line for line in self.text.splitlines() if line.strip() and not line.startswith("#")]


def pages() -> list[Path]:
    """README and everything in docs/."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(text: str) -> list[Block]:
    """The blocks of a page, in order."""
    return [Block(m[1] or "", m[2], m[3], m.span(3)) for m in FENCE.finditer(text)]


def run_page(text: str, kinds: Sequence[str], folder: Path) -> dict[int, str]:
    """Run the blocks of these kinds in a folder; by number of the block, what a console block now reads.

    A command outside a console block that fails is a RuntimeError with all that was printed.
    """
    answers = folder / ".answers"
    answers.mkdir()
    chosen = [(n, block) for n, block in enumerate(blocks(text)) if block.kind in kinds]
    data = dict.fromkeys(name for _, block in chosen for name in block.data)
    made = "[ -d downloads/{0} ] || uadbench fixture {0} --out downloads/{0} --subjects 8 >/dev/null"
    lines = [made.format(name) for name in data]
    for number, block in chosen:
        lines += _lines(number, block, answers)
    done = subprocess.run(
        ["bash", "-c", "\n".join(["set -euo pipefail", *lines])],
        cwd=folder, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return {n: _answered(n, block, answers, folder) for n, block in chosen if block.language == "console"}


def _lines(number: int, block: Block, answers: Path) -> Iterator[str]:
    if block.language == "python":
        code = answers / f"{number}.py"
        code.write_text(block.text)
        yield f'python -c "$(cat {code})"'
    elif block.language == "console":
        for place, line in enumerate(block.asked):
            said = answers / f"{number}-{place}"
            yield f"{{ {line.partition('  #')[0]}\n}} >{said}.out 2>{said}.err || echo $? >{said}.code"
    else:
        yield f"echo {number} >&2\n{block.text}"


def _answered(number: int, block: Block, answers: Path, folder: Path) -> str:
    parts = []
    for place, line in enumerate(block.asked):
        said = answers / f"{number}-{place}"
        printed = Path(f"{said}.out").read_text().splitlines()
        told = [line.rstrip() for line in printed if not CLOCK.match(line)]
        if Path(f"{said}.code").exists():  # what went wrong is said on the other stream, each in one line
            for mistake in Path(f"{said}.err").read_text().splitlines():
                told += textwrap.wrap(mistake, WIDTH, break_long_words=False, break_on_hyphens=False)
        parts += [f"$ {line}", *(one.replace(str(folder.resolve()), HOME) for one in told)]
    return "\n".join(parts) + "\n"


def environment() -> dict[str, str]:
    """The environment of a user who has set nothing of this program, on a terminal of `WIDTH` columns."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("UADBENCH_")}
    programs = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept | {"PATH": programs, "COLUMNS": str(WIDTH), "NO_COLOR": "1"}


def files(text: str) -> dict[int, str]:
    """By number of the block, the files that a page shows, as they are now."""
    return {
        number: (ROOT / block.fate.removeprefix("file: ")).read_text()
        for number, block in enumerate(blocks(text))
        if block.kind == "file"
    }


def refreshed(text: str, answers: dict[int, str]) -> str:
    """The page with other texts in some of its blocks."""
    there = blocks(text)
    for number in sorted(answers, reverse=True):
        begin, end = there[number].place
        text = text[:begin] + answers[number] + text[end:]
    return text
