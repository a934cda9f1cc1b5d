"""README and docs are run: what they show must work, what they repeat must be true, and links must hold.

`.ci/blocks.py` says what the comment above each block means.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

import uadbench
from uadbench.cli import app
from uadbench.report import formats

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / "docs").exists(), reason="only a checkout has the docs")
# Each goes on where the one before it ended: they are run in one folder, in this order.
SERIES = [f"docs/how-to/{name}.md" for name in ("data", "predict", "maps", "paper", "submit")]


def script(name: str) -> ModuleType:
    """A script of .ci, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


blocks = script("blocks") if (ROOT / "docs").exists() else None
PAGES = {str(page.relative_to(ROOT)): page.read_text() for page in blocks.pages()} if blocks else {}
TESTED = [name for name, text in PAGES.items() if "<!-- test" in text]
SLOW = [name for name, text in PAGES.items() if "<!-- slow" in text and name not in SERIES]


def run(text: str, kinds: tuple[str, ...], folder: Path) -> None:
    """The blocks of a text work, and answer what it says."""
    assert blocks is not None
    answers = blocks.run_page(text, kinds, folder)
    shown = {number: folded_anyhow(blocks.blocks(text)[number].text) for number in answers}
    answers = {number: folded_anyhow(answer) for number, answer in answers.items()}
    assert answers == shown, "python .ci/readme.py --answers writes what commands answer now"


def folded_anyhow(answer: str) -> str:
    """An answer without its ends of lines where they depend on how long the path of a folder is."""
    return " ".join(answer.split()) if blocks and blocks.HOME in answer else answer


@pytest.mark.parametrize("name", PAGES)
def test_every_block_says_what_becomes_of_it(name: str) -> None:
    assert blocks is not None
    found = blocks.blocks(PAGES[name])
    assert len(found) == PAGES[name].count("```") // 2
    for block in found:
        assert blocks.FATE.fullmatch(block.fate), block.text
        if block.kind == "file":
            assert block.text == (ROOT / block.fate.removeprefix("file: ")).read_text()
        elif block.kind == "make":
            for line in block.asked:
                assert re.match(r"make \w+|python (-m pip install|\.ci/\w+\.py)", line), line
        elif block.kind == "shown":
            assert block.language not in ("bash", "console", "python", "sh"), block.text
        else:
            assert block.language in ("bash", "console", "python"), block.text


@pytest.mark.thorough
@pytest.mark.parametrize("name", TESTED)
def test_blocks_that_are_quick_work(name: str, tmp_path: Path) -> None:
    run(PAGES[name], ("test",), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_all_blocks_of_a_page_work_one_after_the_other(name: str, tmp_path: Path) -> None:
    run(PAGES[name], ("test", "slow"), tmp_path)


@pytest.mark.slow
def test_the_pages_on_real_data_can_be_followed_in_order(tmp_path: Path) -> None:
    run("\n".join(PAGES[name] for name in SERIES), ("test", "slow"), tmp_path)


@pytest.mark.parametrize("name", [pytest.param("run", marks=pytest.mark.slow), "maps"])
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    cells = json.loads((ROOT / f"docs/notebooks/{name}.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 6
    assert not any(cell.get("outputs") for cell in cells), "clear the outputs: nobody checks them"
    assert blocks is not None
    environment = blocks.environment() | {"MPLBACKEND": "Agg"}
    subprocess.run([sys.executable, "-c", "\n".join(code)], cwd=tmp_path, env=environment, check=True)


# ---- what is repeated --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def readme() -> ModuleType:
    return script("readme")


@pytest.fixture(scope="module")
def committed(readme: ModuleType) -> Any:
    """The tables of the committed records, and what was left out."""
    return readme.committed()


def test_what_the_readme_repeats_is_what_the_program_says(readme: ModuleType, committed: Any) -> None:
    parts = readme.parts(committed[0])
    assert readme.filled(PAGES["README.md"], parts) == PAGES["README.md"], "run python .ci/readme.py"


def test_the_committed_leaderboard_is_that_of_the_committed_records(committed: Any) -> None:
    tables, left_out = committed
    assert (ROOT / "results/LEADERBOARD.md").read_text() == formats.markdown(tables, (), left_out)


def test_the_frozen_leaderboard_is_that_of_the_committed_records(committed: Any) -> None:
    folder = ROOT / "results"
    said = json.loads((folder / "LEADERBOARD.json").read_text())
    made = script("freeze").frozen(committed[0], said["commit"], said["date"])
    assert made == {name: (folder / name).read_text() for name in made}, "make leaderboard"
    assert said["version"] == uadbench.__version__, "make leaderboard"


def test_the_readme_is_read_in_one_and_a_half_screens() -> None:
    prose = re.sub(r"```console\n.*?```", "", PAGES["README.md"], flags=re.DOTALL)
    assert len(prose.splitlines()) <= 110


# ---- what is named -------------------------------------------------------------------------------


def mentioned() -> list[str]:
    """The commands of the text between the blocks that are whole: without `...` and alternatives."""
    found = []
    for text in PAGES.values():
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        found += [" ".join(words.split()) for words in re.findall(r"`(uadbench [^`]*)`", prose)]
    return sorted({command for command in found if "..." not in command and "COMMAND" not in command})


@pytest.mark.parametrize("line", mentioned())
def test_a_command_in_a_sentence_is_understood(line: str) -> None:
    _, *arguments = line.split()
    command = typer.main.get_command(app)
    while isinstance(command, TyperGroup):
        if arguments[0] not in command.commands:
            arguments = ["run", *arguments]  # `uadbench sweep FILE`
        name, *arguments = arguments
        command = command.commands[name]
    # What it must be given may be left out of a sentence; an option that is not there is an error.
    context = command.make_context(name, arguments, resilient_parsing=True)
    known = {option for one in command.params for option in one.opts}
    assert {word for word in arguments if word.startswith("--")} <= known | {"--help"}, context


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_names_is_there(name: str) -> None:
    text = PAGES[name]
    for path in re.findall(r"`((?:methods|datasets|tests|benchmarks|uadbench|\.ci)/[\w./-]+)`", text):
        assert re.search("NAME|mine|hospital", path) or (ROOT / path).exists(), path
    for target in re.findall(r"`make (\w+)", text):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


@pytest.mark.parametrize("name", PAGES)
def test_links_hold(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file.read_text()), target


def anchors(text: str) -> set[str]:
    """Of the headings of a page, and of the rules of the protocol."""
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | {f"rule-{number}" for number in re.findall(r"^(\d+)\. \*\*", text, re.MULTILINE)}


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"([\w/-]+\.md)", (ROOT / "mkdocs.yml").read_text()))
    assert listed == {name.removeprefix("docs/") for name in PAGES if name.startswith("docs/")}


def test_the_documents_say_what_executes_code() -> None:
    said = " ".join(PAGES["docs/explanation/security.md"].split())
    for word in ("UADBENCH_PLUGINS", "`table.toml`", "`setup`", "`runs/`", "pickles", "`results/`", "`PATH`"):
        assert word in said, word


# ---- the site --------------------------------------------------------------------------------------


def test_the_reference_has_every_command_method_and_data_set() -> None:
    site = script("site_hooks")
    commands = dict(site.walk())
    assert {"uadbench run", "uadbench sweep status", "uadbench new method"} <= set(commands)
    for name in commands:
        assert f"## `{name}`" in site.commands()
    for kind in ("methods", "datasets"):
        folders = {path.parent.name for path in (ROOT / kind).glob("*/card.toml")}
        assert folders <= set(re.findall(r"\{#(\w+)\}", getattr(site, kind)()))
    assert site.published().count("\n## ") > 10
    assert len(site.published_values()) > 40_000


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_asks_the_network_for_nothing(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="`make docs` installs it")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    built = list((tmp_path / "site").rglob("*.html"))
    assert len(built) >= len(PAGES) - 2
    loads = re.compile(r'<(?:script|img|link)[^>]*(?:src|href)="(https?://[^"]*)"')
    for page in built:
        assert not loads.findall(page.read_text()), page.name
