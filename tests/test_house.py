"""The architecture that the folder list promises: rooms on floors, imports downwards, short modules."""

import ast
import re
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import uadbench

PACKAGE = Path(uadbench.__file__).resolve().parent
ROOT = PACKAGE.parent
# From the ground up: a room imports from the floors below its own, and from nothing beside or above it.
FLOORS = (
    {"system"},
    {"catalog"},
    {"cards", "source"},
    {"data"},
    {"protocol", "datasets", "methods"},
    {"learning", "phantom"},
    {"preprocessing", "evaluation"},
    {"experiment"},
    {"testing", "sweep", "scaffold", "implant"},
    {"report"},
    {"api"},
    {"cli"},
    {"__main__"},
)
LONGEST_MODULE = 300  # lines
MOST_PARAMETERS = 8
LINK = re.compile(r"\]\(((?!https?:)[\w./-]+)")  # of Markdown, to a file

pytestmark = pytest.mark.skipif(not (ROOT / "methods").is_dir(), reason="the layout is of a checkout")


def modules() -> list[Path]:
    """Every module of the core; templates are plug-ins."""
    return [
        path for path in sorted(PACKAGE.rglob("*.py")) if "templates" not in path.relative_to(PACKAGE).parts
    ]


def plugins() -> list[Path]:
    return sorted([*(ROOT / "methods").glob("*/*.py"), *(ROOT / "datasets").glob("*/*.py")])


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room(path: Path) -> str:
    """The folder of a module within the package, or its own name where it lies at the top."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """What a module imports from the package, wherever in the file, as parts of dotted names below it."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (tuple(name.split(".")[1:]) for name in names if name.split(".")[0] == "uadbench")


def test_rooms_import_from_the_floors_below() -> None:
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    unknown = {room(path) for path in modules()} - {*floor, "__init__"}
    assert not unknown, f"rooms without a floor: {unknown}"
    upwards = {
        f"{path.relative_to(ROOT)} imports {names[0]}"
        for path in modules()
        for names in imported(path)
        if room(path) != "__init__" and names[0] in floor and names[0] != room(path)
        if floor[names[0]] >= floor[room(path)]
    }
    assert not upwards


def test_no_module_imports_itself_by_way_of_others() -> None:
    there = {path.relative_to(PACKAGE).with_suffix("").parts for path in modules()}
    arrows = {
        path.relative_to(PACKAGE).with_suffix("").parts: {
            next((names[:n] for n in (len(names), len(names) - 1) if names[:n] in there), names)
            for names in _imported_at_once(path)
        }
        for path in modules()
    }
    done: set[tuple[str, ...]] = set()

    def walk(one: tuple[str, ...], way: list[tuple[str, ...]]) -> None:
        assert one not in way, " -> ".join(".".join(name) for name in [*way[way.index(one) :], one])
        if one not in done:
            for other in arrows.get(one, ()):
                walk(other, [*way, one])
            done.add(one)

    for one in arrows:
        walk(one, [])


def _imported_at_once(path: Path) -> Iterator[tuple[str, ...]]:
    """What a module imports when it is loaded itself, not later within a function."""
    for node in parsed(path).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "uadbench":
            yield from (tuple(f"{node.module}.{alias.name}".split(".")[1:]) for alias in node.names)


@pytest.mark.parametrize("path", [*modules(), *plugins()], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_can_be_read_at_a_sitting(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_MODULE, f"{lines} lines: divide it, or take away"


def test_functions_have_few_parameters() -> None:
    many = {
        f"{path.relative_to(ROOT)}: {node.name} has {_parameters(node)}"
        for path in [*modules(), *plugins()]
        if room_of_plugin(path) != "cli"  # a command's options are its parameters
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef) and _parameters(node) > MOST_PARAMETERS
    }
    assert not many


def room_of_plugin(path: Path) -> str:
    return room(path) if path.is_relative_to(PACKAGE) else path.parts[-3]


def _parameters(node: ast.FunctionDef) -> int:
    return len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs])


def test_a_method_and_a_data_set_are_short() -> None:
    methods = [_lines(path) for path in (ROOT / "methods").glob("*/method.py")]
    datasets = [_lines(path) for path in (ROOT / "datasets").glob("*/dataset.py")]
    assert statistics.median(methods) <= 110
    assert statistics.median(datasets) <= 60


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_nothing_points_at_what_nobody_can_open() -> None:
    here = Path(__file__).resolve()
    texts = [
        path
        for folder in ("uadbench", "methods", "datasets", "benchmarks", "tests", "docs", ".ci")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".toml", ".md") and path.resolve() != here
    ]
    assert len(texts) > 100
    for path in [*texts, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "Makefile"]:
        text = path.read_text(encoding="utf-8")
        for words in ("(design)", "confidence: D"):
            assert words not in text, f"{path.relative_to(ROOT)} holds '{words}'"
        for target in LINK.findall(text) if path.suffix == ".md" else ():
            assert (path.parent / target).resolve().is_relative_to(ROOT), f"{path.name} leaves with {target}"
